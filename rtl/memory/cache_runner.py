"""Everything between the ring of descriptors and the core with keys in memory."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptor_runner import connect_ring, ring_members
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.axi.row_fetcher import RowFetcher
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.cache_completer import CacheCompleter
from latte.rtl.memory.cache_descriptor_fetcher import CacheDescriptorFetcher
from latte.rtl.memory.cache_dispatcher import CacheDispatcher, cache_begun_layout
from latte.rtl.memory.cache_payloads import cache_job_layout, cache_verdict_layout
from latte.rtl.memory.tile_payloads import check_master, tile_config

__all__ = ["CacheRunner"]


class CacheRunner(wiring.Component):
    """Fetches descriptors, has the core carry them out, writes outputs and status::

        DescriptorRing -> CacheDescriptorFetcher -> CacheDispatcher -> job | verdict
                                                      |  |    ^
                                                      |  +----+-> RowFetcher q, k, v -> q, k, v
                                                      |     faults
                                                      +-> begun, ended        o -> OutputPacker
                                                              |                        |
                                                              +--> CacheCompleter <----+
                                                                        |
                                                                        +-> burst, write

    The next descriptor is read while a job is carried out; the job begins while outputs and status of the one before
    are written.

    Parameters
    ----------
    build
    parameters
        Of the master, as wide as the build's bus.

    Members
    -------
    enable ... busy
        As of `DescriptorRunner`.
    job, q, k, v : Out(stream), o : In(stream), verdict : In
        The core's, from the other side; beats of rows as plain bits.
    core_drained : In(1), rows_failed : Out(1)
        The core's ``drained`` and ``rows_failed``.
    failed : Out(1)
        For one cycle: a job is done that failed in course.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        check_master(build, parameters)
        self.build = build
        self.parameters = parameters
        self.config = config = tile_config(build)
        rows = Out(stream.Signature(8 * build.bus_bytes))
        super().__init__({
            **ring_members(parameters), "job": Out(stream.Signature(cache_job_layout())),
            "verdict": In(cache_verdict_layout()), **dict.fromkeys(STREAMS, rows),
            "o": In(stream.Signature(output_layout(config))), "core_drained": In(1), "rows_failed": Out(1),
            "failed": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, parameters = self.config, self.parameters
        m.submodules.descriptor_fetcher = fetcher = CacheDescriptorFetcher(parameters)
        m.submodules.dispatcher = dispatcher = CacheDispatcher(config.head_dim)
        m.submodules.begun_queue = begun = StreamQueue(cache_begun_layout())
        m.submodules.output_packer = packer = OutputPacker(config, parameters, 2 * parameters.burst_beats)
        m.submodules.completer = completer = CacheCompleter(packer.row_bytes, parameters, packer.depth)
        connect_ring(m, self, fetcher, completer)
        wiring.connect(m, fetcher.checked, dispatcher.asked)
        wiring.connect(m, dispatcher.job, wiring.flipped(self.job))
        wiring.connect(m, dispatcher.begun, begun.i)
        wiring.connect(m, begun.o, completer.begun)
        wiring.connect(m, dispatcher.ended, completer.ended)
        wiring.connect(m, wiring.flipped(self.o), packer.o)
        wiring.connect(m, packer.beat, completer.beat)
        # A row's first beat comes behind the last one's last.
        inside, moves = Signal(), Signal()
        m.d.comb += [
            dispatcher.settled.eq(self.settled), dispatcher.verdict.eq(self.verdict),
            dispatcher.drained.eq(self.core_drained), self.rows_failed.eq(dispatcher.rows_failed),
            moves.eq(self.o.valid & self.o.ready), completer.given.eq(moves & ~inside),
            completer.level.eq(packer.level), self.failed.eq(completer.done & completer.failed),
        ]
        with m.If(moves):
            m.d.sync += inside.eq(~self.o.payload.row_last)
        for name in STREAMS:
            self._rows(m, name, dispatcher)
        return m

    def _rows(self, m: Module, name: str, dispatcher: CacheDispatcher) -> None:
        """Fetch the rows of one stream."""
        m.submodules[f"{name}_fetcher"] = fetcher = RowFetcher(self.config.head_dim, self.build.bus_bytes,
                                                               self.parameters)
        rows, taken = getattr(dispatcher, f"rows_{name}"), getattr(self, f"taken_{name}")
        wiring.connect(m, fetcher.request, wiring.flipped(getattr(self, f"request_{name}")))
        wiring.connect(m, fetcher.o, wiring.flipped(getattr(self, name)))
        m.d.comb += [
            fetcher.command.valid.eq(rows.valid), rows.ready.eq(fetcher.command.ready),
            *(fetcher.command.payload[field].eq(rows.payload[field]) for field in rows.payload.shape().members),
            fetcher.taken.eq(taken), fetcher.data.eq(self.data), fetcher.fault.eq(self.fault),
            getattr(dispatcher, f"lost_{name}").eq(taken & self.fault.as_value().any()),
        ]
