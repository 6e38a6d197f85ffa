"""Verify a board: run heads through the driver and compare what comes back with the golden model."""

from collections.abc import Iterator

import numpy as np

from latte.fpga.host.driver import Board, BoardReport, JobRefused
from latte.golden.attention import HeadTrace
from latte.golden.jobs import Job
from latte.golden.register_image import RegisteredVectors
from latte.golden.vectors import VectorSet
from latte.rtl.common.core import COUNTER_BITS
from latte.sim.verdict import HeadRun, JudgedHead, list_differences

__all__ = ["verify_heads"]


def verify_heads(board: Board, vectors: VectorSet) -> Iterator[HeadRun]:
    """Yield the outcome of each head of `vectors`, which must fit the board's configuration.

    Heads of `RegisteredVectors` use the image that `Board.load_image` wrote; others write their own entry.

    Output codes, counted pairs and survivors, and the mass of pruned keys are compared. Cycles are the board's own
    count, in which it also waits for the serial line.
    """
    config = board.config
    for h in range(len(vectors)):
        judged = JudgedHead(vectors, h, config)
        board.clear()
        register = 0
        if isinstance(vectors, RegisteredVectors):
            register = vectors.register(h)
        else:
            board.load_parameters({register: vectors.parameters(h, config)})
        try:
            output = board.run(Job(register, vectors.q[h], vectors.k[h], vectors.v[h], causal=vectors.causal))
        except JobRefused as error:
            yield judged.failed(str(error))
            continue
        report, trace = board.report(), judged.trace()
        counters = report.counters
        yield judged.judge(trace, output, _differences(trace, output, report), kept=counters["survivors"],
                           visible=counters["pairs_estimated"], cycles=counters["cycles"],
                           utilisation=counters["estimator_beats"] / max(1, counters["cycles"]))


def _differences(trace: HeadTrace, output: np.ndarray, report: BoardReport) -> list[str]:
    """Return what differs from the golden model: output codes and counters."""
    lines = list_differences("output", output, trace.output, lambda index: f"row {index[0]}, element {index[1]}")
    mass = int(trace.mass.sum()) % (1 << COUNTER_BITS)
    for name, expected in (("survivors", trace.keep.sum()), ("pairs_estimated", trace.visible.sum()),
                           ("pruned_mass", mass)):
        if report.counters[name] != expected:
            lines.append(f"{name}: expected {expected}, the board counted {report.counters[name]}")
    if "overflow" in report.status:
        lines.append("status: a queue of the core lost an entry")
    return lines
