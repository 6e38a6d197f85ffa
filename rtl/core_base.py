"""What LATTE and its dense baseline share: ports, work list, row buffer, status and counters."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.estimate_buffer import EstimateBuffer
from latte.rtl.head_registers import HeadRegisters
from latte.rtl.job_sequencer import JobSequencer
from latte.rtl.normalizer import Normalizer
from latte.rtl.payloads import job_layout, output_layout, parameter_layout
from latte.rtl.primitives import StreamQueue
from latte.rtl.query_buffer import QueryBuffer
from latte.rtl.row_scanner import RowScanner
from latte.rtl.tile_sequencer import TileSequencer

__all__ = ["COUNTER_BITS", "CoreBase", "counters_layout", "status_layout"]

COUNTER_BITS = 32
COMPUTE_QUEUE_DEPTH = 4


def status_layout() -> data.StructLayout:
    """Sticky bits, set by the event and cleared by `clear` or reset.

    ``qk_saturated``: a Q or K element above 119 was limited. ``head_invalid``: a job or parameter named a head that
    does not exist or was never written; the job was refused. ``too_long``: a job had more rows than the build, or
    its sequence, holds; refused. ``no_keys``: a job had no keys to attend to; refused. ``overflow``: a queue lost an
    entry, or a single-ported memory was read while it was written, which the design excludes; results since then are
    wrong.
    """
    return data.StructLayout({"qk_saturated": 1, "head_invalid": 1, "too_long": 1, "no_keys": 1, "overflow": 1})


def counters_layout() -> data.StructLayout:
    """Performance counters; they wrap at 2**32.

    ``cycles``: a job was being loaded or computed. ``estimator_beats``: the estimator worked. ``pairs_estimated``,
    ``survivors``: (query, key) pairs seen by the filter, and kept. ``compensation_beats``, ``value_beats``: those
    units worked. ``stall_*``: the estimator stood still because keys or values were loading, the next tile's queries
    were not there, or no tile buffer was free. ``filter_stalls``: the filter waited for the survivor queue.
    ``output_stalls``: an output beat waited for its consumer.
    """
    return data.StructLayout(dict.fromkeys((
        "cycles", "estimator_beats", "pairs_estimated", "survivors", "compensation_beats", "value_beats",
        "stall_key_load", "stall_query_load", "stall_filter", "filter_stalls", "output_stalls"), COUNTER_BITS))


class CoreBase(wiring.Component):
    """Ports of an attention core and the blocks around its datapath.

    Members
    -------
    job : In(stream of job_layout)
    parameter : In(stream of parameter_layout)
        Writes the head-wise register file; a job takes the entry that was there when it was accepted.
    q, k, v : In(stream of bus_bytes int8 elements)
        Row-major rows in job order.
    o : Out(stream of output_layout)
    clear : In(1)
        Clears status and counters.
    status : Out(status_layout)
    counters : Out(counters_layout)
    probe : Out
        Taps for a scoreboard; unused in a build.
    """

    def __init__(self, config: AttentionConfig, probe: data.StructLayout):
        self.config = config
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        super().__init__({
            "job": In(stream.Signature(job_layout())),
            "parameter": In(stream.Signature(parameter_layout(config))),
            "q": In(stream.Signature(beat)), "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)),
            "o": Out(stream.Signature(output_layout(config))),
            "clear": In(1), "status": Out(status_layout()), "counters": Out(counters_layout()),
            "probe": Out(probe)})

    def _work_list(self, m: Module, storage) -> None:
        """Connect ports, register file and sequencers to `storage`, which loads the keys and values."""
        config = self.config
        m.submodules.head_registers = self._registers = registers = HeadRegisters(config)
        m.submodules.job_sequencer = self._jobs = jobs = JobSequencer(config)
        m.submodules.query_buffer = self._queries = queries = QueryBuffer(config)
        m.submodules.tile_sequencer = self._tiles = tiles = TileSequencer(config)
        wiring.connect(m, wiring.flipped(self.parameter), registers.parameter)
        wiring.connect(m, wiring.flipped(self.job), jobs.job)
        wiring.connect(m, wiring.flipped(self.k), storage.k)
        wiring.connect(m, wiring.flipped(self.v), storage.v)
        wiring.connect(m, wiring.flipped(self.q), queries.q)
        wiring.connect(m, jobs.kv_load, storage.load)
        m.submodules.query_commands = commands = StreamQueue(jobs.query_load.payload.shape(), COMPUTE_QUEUE_DEPTH)
        wiring.connect(m, jobs.query_load, commands.i)
        wiring.connect(m, commands.o, queries.load)
        m.submodules.compute_queue = compute = StreamQueue(jobs.compute.payload.shape(), COMPUTE_QUEUE_DEPTH)
        wiring.connect(m, jobs.compute, compute.i)
        wiring.connect(m, compute.o, tiles.compute)
        wiring.connect(m, queries.o, tiles.rows)
        m.d.comb += [
            registers.look_up.eq(jobs.look_up), registers.head.eq(jobs.head), jobs.entry.eq(registers.entry),
            jobs.known.eq(registers.known), jobs.loaded.eq(storage.loaded),
        ]

    def _row_buffer(self, m: Module, est_valid, est) -> RowScanner:
        """Buffer the array's beats until their row's maximum is known; return the scanner of complete rows."""
        m.submodules.estimate_buffer = estimates = EstimateBuffer(self.config)
        m.submodules.row_scanner = self._scanner = scanner = RowScanner(self.config)
        wiring.connect(m, self._tiles.tile, estimates.tile)
        wiring.connect(m, estimates.scan, scanner.scan)
        m.d.comb += [
            estimates.est_valid.eq(est_valid), estimates.est.eq(est),
            estimates.read_index.eq(scanner.read_index), estimates.read_row.eq(scanner.read_row),
            scanner.read_data.eq(estimates.read_data),
        ]
        return scanner

    def _output(self, m: Module, values) -> None:
        """Divide the rows of the accumulator `values` and send them out."""
        m.submodules.normalizer = normalizer = Normalizer(self.config)
        wiring.connect(m, normalizer.o, wiring.flipped(self.o))
        m.d.comb += [
            normalizer.row_reserve.eq(values.row_reserve), values.row_room.eq(normalizer.row_room),
            normalizer.sum_valid.eq(values.sum_valid), normalizer.weight_sum.eq(values.weight_sum),
            normalizer.job_last.eq(values.job_last),
            normalizer.word_valid.eq(values.word_valid), normalizer.word.eq(values.word),
            self._jobs.release.eq(values.release), self._jobs.release_bank.eq(values.release_bank),
        ]

    def _report(self, m: Module, storage, *, overflow, visible, survivors, compensation_beats, value_beats) -> None:
        """Keep the sticky status bits and the counters."""
        jobs, tiles, scanner = self._jobs, self._tiles, self._scanner
        events = {
            "qk_saturated": storage.saturated | self._queries.saturated,
            "head_invalid": jobs.head_invalid | self._registers.head_invalid,
            "too_long": jobs.too_long, "no_keys": jobs.no_keys, "overflow": overflow,
        }
        increments = {
            "cycles": jobs.busy, "estimator_beats": tiles.key_valid,
            "pairs_estimated": _population(visible), "survivors": _population(survivors),
            "compensation_beats": compensation_beats, "value_beats": value_beats,
            "stall_key_load": jobs.waiting_for_keys, "stall_query_load": tiles.waiting_for_queries,
            "stall_filter": tiles.waiting_for_filter, "filter_stalls": scanner.stalled,
            "output_stalls": self.o.valid & ~self.o.ready,
        }
        self._keep(m, events, increments)

    def _keep(self, m: Module, events: dict, increments: dict) -> None:
        """Keep status bits of `events` and counters of `increments`."""
        for name, event in events.items():
            # Registered first, as the increments are below: the events come from everywhere.
            seen = Signal(name=f"{name}_seen")
            m.d.sync += seen.eq(event)
            with m.If(seen):
                m.d.sync += self.status[name].eq(1)
            with m.Elif(self.clear):
                m.d.sync += self.status[name].eq(0)
        # On from reset: one register for both is all that the counters' many bits hang on.
        wipe = Signal(init=1)
        m.d.sync += wipe.eq(self.clear)
        for name, increment in increments.items():
            # The adders are long.
            step = Signal(increment.shape(), name=f"{name}_step")
            counter = Signal(COUNTER_BITS, name=f"{name}_count", reset_less=True)
            m.d.sync += [step.eq(increment), counter.eq(counter + step)]
            m.d.comb += self.counters[name].eq(counter)
            with m.If(wipe):
                m.d.sync += counter.eq(0)


def _population(bits):
    """Return the number of ones of a bit vector."""
    total = bits[0]
    for bit in bits[1:]:
        total = total + bit
    return total
