"""Comparison of everything the core shows of a job with the golden trace, bit for bit."""

import dataclasses

import numpy as np

from latte.golden.attention import HeadTrace
from latte.golden.config import AttentionConfig, ceil_div
from latte.sim.packing import PayloadReader
from latte.sim.verdict import list_differences

__all__ = ["JobRecord", "JobResult", "RowSplitter", "Segment", "compare_job"]


@dataclasses.dataclass
class Segment:
    """What one tap or stream showed of one job.

    Parameters
    ----------
    payloads
    first_cycle, last_cycle
        Clock cycles of the first and the last payload.
    """

    payloads: list[int] = dataclasses.field(default_factory=list)
    first_cycle: int = 0
    last_cycle: int = 0


class RowSplitter:
    """Cuts the payloads of a tap into jobs by counting rows.

    Parameters
    ----------
    row_last
        Offset of the bit that ends a row.
    rows : list of int
        Rows of each job; jobs without rows are not listed.
    """

    def __init__(self, row_last: int, rows: list[int]) -> None:
        self.segments: list[Segment] = []
        self._row_last = 1 << row_last
        self._rows = iter(rows)
        self._left = next(self._rows, 0)
        self._current = Segment()
        self.surplus = 0

    def receive(self, payload: int, cycle: int) -> None:
        """Take one payload."""
        segment = self._current
        if not segment.payloads:
            if not self._left:
                self.surplus += 1
                return
            segment.first_cycle = cycle
        segment.payloads.append(payload)
        if payload & self._row_last:
            self._left -= 1
            if self._left == 0:
                segment.last_cycle = cycle
                self.segments.append(segment)
                self._current = Segment()
                self._left = next(self._rows, 0)


@dataclasses.dataclass(frozen=True)
class JobRecord:
    """The segments of one job; a core that does not show scores and weights leaves theirs empty."""

    group: Segment
    output: Segment
    score: Segment = dataclasses.field(default_factory=Segment)
    weight: Segment = dataclasses.field(default_factory=Segment)

    def clear(self) -> None:
        """Forget the payloads; a long program would fill the memory."""
        for segment in (self.group, self.score, self.weight, self.output):
            segment.payloads.clear()


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What the hardware produced for one job, and where it differs.

    Parameters
    ----------
    keep : bool [m, n]
    score : int32 [m, n]
        0 where not kept.
    output : int32 [m, d]
        Output codes.
    mismatches : list of str
        Empty if every bit agrees.
    """

    keep: np.ndarray
    score: np.ndarray
    output: np.ndarray
    mismatches: list[str]


def compare_job(record: JobRecord, trace: HeadTrace, config: AttentionConfig, layouts: dict[str, object]) -> JobResult:
    """Compare one job of the core with its golden trace.

    Parameters
    ----------
    record
    trace
    config
    layouts
        Payload layouts of ``group`` and ``output``, and of ``score`` and ``weight`` if the core shows them: the dense
        baseline's groups hold its scores.

    Returns
    -------
    JobResult
        Reconstructed from what the hardware showed alone.
    """
    mismatches: list[str] = []
    keep, estimate = _compare_groups(PayloadReader(layouts["group"], record.group.payloads), trace, config, mismatches)
    if "score" in layouts:
        score = _compare_scores(PayloadReader(layouts["score"], record.score.payloads), keep, trace, mismatches)
        _compare_weights(PayloadReader(layouts["weight"], record.weight.payloads), trace, mismatches)
    else:
        score = np.where(keep, estimate, 0).astype(np.int32)
    output = _compare_outputs(PayloadReader(layouts["output"], record.output.payloads), trace, config, mismatches)
    return JobResult(keep, score, output, mismatches)


def _compare_groups(reader: PayloadReader, trace: HeadTrace, config: AttentionConfig,
                    mismatches: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Check estimates, visibility and the filter's decision; return the mask and the estimates the hardware showed."""
    pairs = config.pairs_per_cycle
    queries, keys = trace.visible.shape
    keep = np.zeros((queries, ceil_div(keys, pairs) * pairs), bool)
    estimate = np.zeros(keep.shape, np.int64)
    row, group = _rows_and_places(reader)
    expected_groups = -(-trace.visible.sum(axis=1) // pairs)
    if not _same_counts("groups of estimates", row, expected_groups, mismatches):
        return keep[:, :keys], estimate[:, :keys]
    columns = group[:, None] * pairs + np.arange(pairs)

    def golden(values: np.ndarray) -> np.ndarray:
        padded = np.zeros(keep.shape, values.dtype)
        padded[:, :keys] = values
        return padded[row[:, None], columns]

    visible, kept = reader.bits("visible"), reader.bits("keep")
    seen = golden(trace.visible)

    def where(index: tuple[int, ...]) -> str:
        return f"row {row[index[0]]}, key {columns[index]}"

    mismatches += list_differences("visible", visible, seen, where)
    mismatches += list_differences("estimate", np.where(seen, reader.ints("estimate"), 0),
                                   np.where(seen, golden(trace.estimate), 0), where)
    mismatches += list_differences("keep", kept, golden(trace.keep), where)
    keep[row[:, None], columns] = kept
    estimate[row[:, None], columns] = reader.ints("estimate")
    return keep[:, :keys], estimate[:, :keys]


def _compare_scores(reader: PayloadReader, keep: np.ndarray, trace: HeadTrace, mismatches: list[str]) -> np.ndarray:
    """Check key order and scores of the survivors; return the score matrix that the hardware showed."""
    queries, keys = trace.keep.shape
    score = np.zeros((queries, keys), np.int32)
    row, _ = _rows_and_places(reader)
    if not _same_counts("scores", row, trace.keep.sum(axis=1), mismatches):
        return score
    key, value = reader.ints("key"), reader.ints("score")
    golden_row, golden_key = np.nonzero(trace.keep)

    def where(index: tuple[int, ...]) -> str:
        return f"row {golden_row[index[0]]}, key {golden_key[index[0]]}"

    mismatches += list_differences("key of a score", key, golden_key, where)
    mismatches += list_differences("score", value, trace.score[trace.keep], where)
    inside = key < keys
    score[row[inside], key[inside]] = value[inside]
    return score


def _compare_weights(reader: PayloadReader, trace: HeadTrace, mismatches: list[str]) -> None:
    row, _ = _rows_and_places(reader)
    if not _same_counts("weights", row, trace.keep.sum(axis=1), mismatches):
        return
    golden_row, golden_key = np.nonzero(trace.keep)

    def where(index: tuple[int, ...]) -> str:
        return f"row {golden_row[index[0]]}, key {golden_key[index[0]]}"

    mismatches += list_differences("weight", reader.ints("weight"), trace.weight[trace.keep], where)


def _compare_outputs(reader: PayloadReader, trace: HeadTrace, config: AttentionConfig,
                     mismatches: list[str]) -> np.ndarray:
    """Check the output beats; return the output codes that the hardware produced."""
    queries, dim = trace.output.shape
    row, _ = _rows_and_places(reader)
    beats = np.full(queries, dim // config.normalizer_lanes)
    if not _same_counts("beats of output", row, beats, mismatches):
        return np.zeros((queries, dim), np.int32)
    output = reader.ints("data").reshape(queries, dim)
    mismatches += list_differences("output", output, trace.output, lambda index: f"row {index[0]}, element {index[1]}")
    job_last = reader.ints("job_last")
    mismatches += list_differences("job_last", job_last, np.arange(len(job_last)) == len(job_last) - 1,
                                   lambda index: f"row {row[index[0]]}")
    return output.astype(np.int32)


def _rows_and_places(reader: PayloadReader) -> tuple[np.ndarray, np.ndarray]:
    """Return each payload's row and its place in that row, from the `row_last` bits."""
    last = reader.ints("row_last").astype(bool)
    row = np.concatenate([[0], np.cumsum(last)[:-1]]).astype(np.int64)
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    return row, np.arange(len(last)) - starts[row]


def _same_counts(what: str, row: np.ndarray, expected: np.ndarray, mismatches: list[str]) -> bool:
    """Check the number of payloads of each row; without it the comparison would be out of step."""
    counts = np.bincount(row, minlength=len(expected))
    before = len(mismatches)
    mismatches += list_differences(f"number of {what}", counts, expected, lambda index: f"row {index[0]}")
    return len(mismatches) == before
