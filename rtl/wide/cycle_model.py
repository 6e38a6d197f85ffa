"""Cycle model of the wide engine: when each tile, row and output beat moves through the RTL, without simulating it.

A recurrence over tiles and rows. Everything that happens to a row depends on earlier rows only, so one pass in row
order suffices; inside a row, key groups are handled as arrays. Sources and sink are taken as never stalling.
"""

import numpy as np

from latte.golden.config import AttentionConfig, ceil_div
from latte.rtl.common.head_work import HeadWork, Prediction
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer
from latte.rtl.wide.gap_table import FillTables
from latte.rtl.wide.key_counts import KeyCounts
from latte.rtl.wide.mass_compensation import MassCompensation
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import weighs_gaps
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_limiter import RowLimiter
from latte.rtl.wide.row_limits import LimitSearch, MassThreshold
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.score_queue import ROW_QUEUE_DEPTH, ScoreQueue
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.tile_sequencer import TileSequencer
from latte.rtl.wide.value_accumulator import ValueAccumulator

__all__ = ["WideCycleModel"]


class _Sequencer:
    """`JobSequencer` and the K and V loaders: when a job's keys are in place."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.idle = 0
        self.bank = 0
        self.bank_free = [0, 0]
        self.loader_free: list[int] = []

    def load(self, rows: int, begins: bool) -> tuple[int, int]:
        """Return the cycles in which (the query loader, the tile sequencer) see the job's command."""
        command = self.idle + JobSequencer.check_cycles_of(self.config)
        if begins:
            self.bank = 1 - self.bank if self.config.kv_banks == 2 else 0
            command = max(command, self.bank_free[self.bank]) + 1
        beats = rows * self.config.head_dim // self.config.bus_bytes
        dispatch = command + JobSequencer.command_cycles + KeyValueLoader.overhead + beats
        self.idle = dispatch + 1
        return command + StreamQueue.latency, dispatch + StreamQueue.latency

    def release(self, cycle: int) -> None:
        """The present bank's last job left it."""
        self.bank_free[self.bank] = max(self.bank_free[self.bank], cycle)


class _Queries:
    """`QueryBuffer`: when each row is there for the tile sequencer."""

    def __init__(self, config: AttentionConfig) -> None:
        self.beats = config.head_dim // config.bus_bytes
        self.whole_rows = config.dim_slices == 1
        # A row of a single beat has begun before the next knows of it.
        late = int(self.beats == 1)
        self.depth = QueryBuffer.waiting_rows(config) - late * self.whole_rows
        self.ring = config.query_rows - late
        self.latency = QueryBuffer.latency_of(config)
        self.end = -1
        self.taken: list[int] = []
        self.retired: list[int] = []

    def command(self, seen: int) -> None:
        """A job's rows may follow."""
        self.end = max(seen, self.end + 1)

    def next_row(self) -> int:
        """Load the next row; return the cycle in which it is offered to the tile sequencer."""
        row = len(self.taken)
        start = self.end + 1
        if row >= self.ring:
            start = max(start, self.retired[row - self.ring] + 4)
        if row >= self.depth:
            start = max(start, self.taken[row - self.depth] + 2)
        self.end = start + self.beats - 1
        offered = self.end + self.latency
        # The queue gives a row in every other cycle.
        return max(offered, self.taken[-1] + 2) if self.whole_rows and row else offered


class _Tables:
    """`FillTables`: when a job's gap weights are in place. Each job is taken to have a scale of its own."""

    def __init__(self) -> None:
        self.idle = 0
        self.released = [0, 0]

    def fill(self, asked: int, weights: int) -> int:
        """Return the cycle in which the tile sequencer sees the table of a job that weighs so many gaps."""
        begin = max(asked + StreamQueue.latency, self.idle)
        if weights:
            begin = max(begin, self.released[-2]) + weights + FillTables.overhead
        self.idle = begin + 1
        return begin + 1


class WideCycleModel:
    """The core, one row after the other; cycles count from the first job's acceptance."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.sequencer = _Sequencer(config)
        self.queries = _Queries(config)
        self.tables = _Tables()
        self.heads: list[int] = []
        self.beats = {"estimator": 0, "cross": 0, "value": 0}
        self.stalls = {"key_load": 0, "query_load": 0, "filter": 0}
        self.last_output = 0
        # Tile sequencer.
        self.loader_idle = 0
        self.query_ready = 0
        self.tile_accepted = -1
        self.finished: list[int] = []
        self.scanned: list[int] = []
        self.load_cycles = ScoreEstimator.load_cycles_of(config)
        self.estimated = RAM_LATENCY + ScoreEstimator.latency_of(config) + EstimateBuffer.latency
        # Behind it.
        self.rows = _RowPipeline(config)

    def run(self, job: HeadWork) -> None:
        """Add one job."""
        config = self.config
        m, n = job.keep.shape
        load_rows = n if job.load_rows is None else job.load_rows
        command, dispatched = self.sequencer.load(load_rows, job.begins)
        if job.begins:
            self.rows.counted = 0
        if m == 0:
            return
        self.queries.command(command)
        if weighs_gaps(config):
            dispatched = max(dispatched, self.tables.fill(command - StreamQueue.latency, job.weights))
        wait_for_bank = max(dispatched, self.loader_idle) + 1
        keys_of_row = np.arange(n - m + 1, n + 1) if job.causal else np.full(m, n)
        self.rows.begin_job(job, keys_of_row)
        first_group = None
        for first in range(0, m, config.query_lanes):
            rows = range(first, min(first + config.query_lanes, m))
            beats = ceil_div(int(keys_of_row[rows[-1]]), config.key_lanes) * config.dim_slices
            complete = self._estimate(wait_for_bank, len(rows), beats, dispatched if first == 0 else None)
            wait_for_bank = self.loader_idle
            scan = max(complete, self.scanned[-1] + 1 if self.scanned else 0)
            for row in rows:
                begin, scan = self.rows.add(row, scan)
                self.queries.retired.append(self.rows.refined + CrossProductUnit.retire_latency)
                if first_group is None:
                    first_group = begin + ThresholdFilter.probe_latency
            self.scanned.append(scan - 1)
        self.tables.released.append(self.rows.refined + SurvivorMass.release_latency)
        self.sequencer.release(self.rows.value_end + ValueAccumulator.release_latency + 1)
        self.heads.append(self.rows.output - max(self.last_output, first_group))
        self.last_output = self.rows.output
        kept = int(np.count_nonzero(job.keep))
        self.beats["cross"] += kept * config.cross_slices
        self.beats["value"] += kept * config.value_slices + self.rows.virtual_beats
        self.rows.virtual_beats = 0

    def _estimate(self, wait_for_bank: int, rows: int, beats: int, dispatched: int | None) -> int:
        """Load and estimate one tile; return the cycle in which it may be scanned."""
        queries, finished = self.queries, self.finished
        if len(finished) >= 2:
            wait_for_bank = max(wait_for_bank, finished[-2] + TileSequencer.bank_drain + 1)
        accept = wait_for_bank
        for _ in range(rows):
            accept = max(accept + 1, queries.next_row(), self.query_ready)
            queries.taken.append(accept)
            self.query_ready = accept + self.load_cycles + 1
        loaded = max(self.query_ready, accept + 1, self.tile_accepted + 1) + 1
        self.loader_idle = loaded
        previous_end = finished[-1] if finished else loaded
        buffer_free = self.scanned[-TILE_BUFFERS] + 1 if len(self.scanned) >= TILE_BUFFERS else 0
        self.tile_accepted = max(loaded, previous_end, buffer_free)
        if finished:
            waited = max(0, self.tile_accepted - previous_end - 1)
            waited_for_filter = min(waited, self.tile_accepted - max(loaded, previous_end))
            waited_for_keys = min(waited - waited_for_filter, max(0, (dispatched or 0) - previous_end))
            self.stalls["filter"] += waited_for_filter
            self.stalls["key_load"] += waited_for_keys
            self.stalls["query_load"] += waited - waited_for_filter - waited_for_keys
        finished.append(self.tile_accepted + beats)
        self.beats["estimator"] += beats
        return finished[-1] + self.estimated

    def prediction(self) -> Prediction:
        """Return what was found."""
        return Prediction(self.heads, self.last_output + 1, self.rows.value_end + 2, self.beats["estimator"],
                          self.beats["cross"], self.beats["value"], self.stalls)


class _RowPipeline:
    """Scanner to output: the times of the present row, and of as many earlier ones as the queues remember.

    Attributes
    ----------
    refined
        The row's last survivor has left the survivor queue.
    value_end
        Its last value is read.
    output
        Its last output beat.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.score_latency = CrossProductUnit.latency_of(config)
        self.value_latency = ValueAccumulator.latency_of(config)
        self.refined = self.value_end = self.output = 0
        self.fetched: list[int] = []
        self.softmax_end = self.value_free = self.sums_free = self.sent = 0
        self.group_held = 0
        # Rows that wait for their limit: their groups, as (first, begin, end) of each that was judged.
        self.weighs = weighs_gaps(config)
        self.held_room = RowLimiter.depth_of(config) - StreamQueue.count_under_way(RowScanner.latency)
        self.held_groups = self.row_scanned = self.thresholds_free = 0
        self.entered = [0] * LimitSearch.loop_latency
        self.judged: list[tuple[int, int, int]] = []
        # Compensation: keys whose values are in the groups' sums, and when it takes another row.
        self.counted = self.compensated = self.divided = self.begun_taken = self.virtual_beats = 0
        # What a producer can have in a queue before `room` stops it, and then until a place is free again: the margin
        # is empty when room ends, and what was under way fills it, a group in about every other cycle.
        groups = StreamQueue.count_under_way(SurvivorQueue.producer_latency_of(config))
        scores = StreamQueue.count_under_way(self.score_latency)
        maxima = StreamQueue.count_under_way(self.score_latency + RunningMaximum.latency)
        weights = StreamQueue.count_under_way(Softmax.weight_latency)
        self.group_room = config.survivor_fifo_depth - groups + ceil_div(groups, 2)
        self.row_room = config.query_rows - StreamQueue.count_under_way(RowScanner.row_latency)
        self.score_room = (ScoreQueue.depth_of(config) - scores
                           + (self.score_latency + 1) // config.cross_slices)
        self.maxima_room = ROW_QUEUE_DEPTH - maxima + 1
        self.weight_room = Softmax.depth_of(config) - weights + 1
        self.taken = {name: np.zeros(0, np.int64) for name in ("group", "score", "weight")}

    def begin_job(self, job: HeadWork, keys_of_row: np.ndarray) -> None:
        """Cut a job's rows in groups, and forget the times to which its queues cannot refer."""
        pairs, slices = self.config.pairs_per_cycle, self.config.cross_slices
        keep = job.keep
        m, n = keep.shape
        self.job = job
        self.keys_of_row = keys_of_row.tolist()
        padded = np.zeros((m, ceil_div(n, pairs) * pairs), bool)
        padded[:, :n] = keep
        counts = padded.reshape(m, -1, pairs).sum(axis=2)
        rows, self.group = np.nonzero(counts)
        count = counts[rows, self.group]
        self.service = count * slices
        self.work = np.cumsum(self.service)
        self.first_score = np.cumsum(count) - count
        self.group_ends = np.cumsum(np.count_nonzero(counts, axis=1)).tolist()
        self.kept = counts.sum(axis=1).tolist()
        self.scan_steps = (-(-keys_of_row // pairs)).tolist()
        self.weights_done = 0
        room = {"group": self.group_room, "score": self.score_room, "weight": self.weight_room}
        new = {"group": len(count), "score": int(count.sum()), "weight": int(count.sum())}
        self.seen = {name: min(room[name], len(times)) for name, times in self.taken.items()}
        self.taken = {name: np.concatenate([times[len(times) - self.seen[name]:], np.zeros(new[name], np.int64)])
                      for name, times in self.taken.items()}

    def add(self, row: int, scan: int) -> tuple[int, int]:
        """Take a row that may be scanned from `scan` on; return when it comes to the filter, and its scan's end."""
        number, steps = len(self.fetched), self.scan_steps[row]
        if number >= self.row_room:
            scan = max(scan, self.fetched[number - self.row_room] + 4)
        scan_end = None
        if self.weighs:
            scan, scan_end = self._limit(scan, steps)
        begin = scan + (0 if self.weighs else RowScanner.latency)
        if number >= self.maxima_room:
            self.refined = max(self.refined, self.fetched[number - self.maxima_room] + 3)
        low, high = self.group_ends[row - 1] if row else 0, self.group_ends[row]
        for start in range(low, high, self.group_room):
            scan = self._scan(start, min(start + self.group_room, high), high, scan, steps)
        if self.weighs:
            self.judged.append((self.held_groups, begin, scan + steps))
            self.held_groups += steps
        self._weigh(self.kept[row], self.keys_of_row[row])
        return begin, scan_end or scan + steps

    def _limit(self, scan: int, steps: int) -> tuple[int, int]:
        """Hold a row until its limit is known; return when it may be judged, and when its scan is over."""
        # A row ends no sooner than the sums of the last one have left.
        scan = max(scan, self.row_scanned + max(1, self.job.groups) - steps)
        for offset in (0, steps - 1):
            wanted = self.held_groups + offset - self.held_room
            if wanted >= 0:
                scan = max(scan, self._judged_at(wanted) + 2 - offset)
        end = scan + steps
        self.row_scanned = end
        summed = end - 1 + RowScanner.latency + MassScan.latency_of(self.config) + max(1, self.job.groups)
        product = MassThreshold.mass_cycles if self.job.by_mass else MassThreshold.other_cycles
        self.thresholds_free = max(summed + StreamQueue.latency, self.thresholds_free) + product
        entered = max(self.thresholds_free, self.entered[0] + LimitSearch.latency - StreamQueue.latency)
        self.entered = [*self.entered[1:], entered]
        return max(entered + LimitSearch.latency, self.judged[-1][2] if self.judged else 0), end

    def _judged_at(self, group: int) -> int:
        """Return when a group of estimates has left for the filter; those of a row leave evenly."""
        while len(self.judged) > 1 and self.judged[1][0] <= group:
            self.judged.pop(0)
        first, begin, end = self.judged[0]
        return min(begin + group - first, end)

    def _scan(self, low: int, stop: int, row_end: int, scan: int, steps: int) -> int:
        """Scan and refine key groups with survivors, no more than the survivor queue holds.

        `scan` is the cycle in which the row's first group was scanned, or would have been without later waiting;
        returned is the same, moved by the waiting of these groups.
        """
        group, service = self.group[low:stop], self.service[low:stop]
        before = int(self.work[low]) - int(service[0])
        work = self.work[low:stop] - before
        place = self.seen["group"] + low
        taken = self.taken["group"]
        scanned = group + scan
        limited = max(0, self.group_room - place)  # groups before this one cannot find the queue full
        room = taken[place + limited - self.group_room:max(0, place + stop - low - self.group_room)] + 2
        if len(room) and room[-1] > scanned[limited]:
            scanned[limited:] += np.maximum(np.maximum.accumulate(room - scanned[limited:]), 0)
            scan = int(scanned[-1] - group[-1])

        # A group waits for its successor, or for its row's end.
        pushed = np.empty(len(group), np.int64)
        pushed[:-1] = scanned[1:]
        pushed[-1] = scan + (self.group[stop] if stop < row_end else steps)
        pushed += SurvivorQueue.producer_latency_of(self.config) - 1  # it leaves as the other comes up behind it
        loaded = pushed + StreamQueue.latency
        self._wait_for_scores(low, loaded)
        finished = np.maximum(np.maximum.accumulate(loaded - work + service), self.refined) + work
        held = finished - service
        taken[place] = self.group_held
        taken[place + 1:place + len(group)] = held[:-1]
        np.maximum(taken[place:place + len(group)], pushed + StreamQueue.latency - 1,
                   out=taken[place:place + len(group)])
        self.group_held, self.refined = int(held[-1]), int(finished[-1])
        return scan

    def _wait_for_scores(self, low: int, loaded: np.ndarray) -> None:
        """Hold groups back until the score queue has room for their survivors."""
        index = self.seen["score"] + self.first_score[low:low + len(loaded)] - self.score_room
        if index[-1] >= 0:
            np.maximum(loaded, np.where(index >= 0, self.taken["score"][np.maximum(index, 0)] + 1, 0), out=loaded)

    def _weigh(self, kept: int, keys: int) -> None:
        """Softmax, compensation, P·V and normaliser of a row of `kept` survivors among `keys`."""
        config, slices = self.config, self.config.value_slices
        known = self.refined + self.score_latency + ScoreQueue.latency
        # The queues of rows give one item in three cycles at most.
        fetch = max(known, self.softmax_end, self.fetched[-1] + 3 if self.fetched else 0)
        if config.key_groups:
            fetch = max(fetch, self.begun_taken)
        value = max(fetch + Softmax.latency_of(config), self.value_free)
        last = max(value + (kept - 1) * slices, self.sums_free)
        survivors_end = last
        if config.key_groups:
            last = max(self._compensate(fetch, keys, value + kept * slices), self.sums_free)
        self.fetched.append(fetch)
        self.value_free = last + slices
        self.value_end = self.value_free - 1

        done = self.weights_done
        self.weights_done += kept
        weights = self.taken["weight"]
        place = self.seen["weight"] + done
        weights[place:place + kept] = np.arange(value, value + kept * slices, slices)
        weights[place + kept - 1] = survivors_end
        self.softmax_end = fetch + kept + bool(config.key_groups)
        if place + kept > self.weight_room:
            self.softmax_end = max(self.softmax_end, int(weights[place + kept - 1 - self.weight_room]))
        scores = self.taken["score"]
        place = self.seen["score"] + done
        scores[place:place + kept] = np.arange(self.softmax_end - kept + 1, self.softmax_end + 1)

        divided = last + ValueAccumulator.sum_latency + Reciprocal.latency + 1
        hand_over = max(divided, last + self.value_latency + slices, self.sent)
        self.sums_free = hand_over + 1
        self.sent = self.sums_free + config.head_dim // config.normalizer_lanes
        self.output = self.sent - 1 + Normalizer.beat_latency + StreamQueue.latency

    def _compensate(self, fetch: int, keys: int, survived: int) -> int:
        """Return when the last item of a row begins, whose survivors have passed by `survived`."""
        groups, slices = self.job.groups, self.config.value_slices
        # The keys of a row are counted while the one before is compensated.
        begin = max(fetch + 2, self.divided)
        self.begun_taken = begin
        rescaled = fetch + 1 + Softmax.weight_latency + StreamQueue.latency
        if not groups:
            self.compensated = self.divided = max(begin, rescaled, self.compensated + MassCompensation.loop_latency) + 2
            return max(survived - slices, self.compensated + StreamQueue.latency)
        added = keys - (0 if keys < self.counted else self.counted)
        self.counted = keys
        counted = begin + 1
        if added:
            # A few find room in the queue; the others wait for the end of the survivors.
            adding = max(begin + 1 + RAM_LATENCY + StreamQueue.latency, survived)
            survived = adding + added * slices
            self.virtual_beats += added * slices
            counted += max(added, survived - begin - MassCompensation.items * slices) + KeyCounts.latency
        # Its reciprocals take the place of the last row's.
        self.divided = max(counted, rescaled, self.compensated) + 2 + min(added, groups)
        mass = max(self.divided, self.refined + SurvivorMass.latency)
        self.virtual_beats += groups * slices
        self.compensated = mass + MassCompensation.row_cycles(groups)
        return max(max(mass + MassCompensation.latency, survived) + (groups - 1) * slices,
                   mass + MassCompensation.latency + groups)
