"""The core with keys in memory and a memory beside it, ready to be simulated as one."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.memory.cache_core import CacheCore, cache_counters_layout, cache_status_layout
from latte.rtl.memory.cache_payloads import cache_verdict_layout
from latte.rtl.memory.spill_store import spill_bytes
from latte.sim.memory_model import MemoryModel, connect_master, word_layout
from latte.sim.memory_timing import PartTiming

__all__ = ["CacheSystem", "end_layout", "setup_layout"]

_ROWS = ("k", "v", "q", "o")


def setup_layout() -> data.StructLayout:
    """Where page 0 lies, and what comes: words of the register file before the first job, jobs.

    With 0 jobs any number may come, and memory is never shown.
    """
    return data.StructLayout({"first_page": ADDRESS_BITS, "writes": 32, "jobs": 32})


def end_layout() -> data.StructLayout:
    """At a job's end: its verdict, status bits and counters since reset."""
    return data.StructLayout({"verdict": cache_verdict_layout(), "status": cache_status_layout(),
                              "counters": cache_counters_layout()})


class CacheSystem(wiring.Component):
    """A `CacheCore` whose jobs begin when memory and register file are filled; behind the last one, memory is shown.

    Records begin at address 0; what tiles spill lies at the memory's end.

    Parameters
    ----------
    build
    parameters
        Of the master.
    words
        That the memory has beside those for what is spilled.
    latencies, pauses, timing
        As of `MemoryModel`.

    Members
    -------
    setup : In(stream of setup_layout)
        One item.
    fill, parameter, job, k, v, q, o, shown
        As of `MemoryModel` and `CacheCore`.
    end_valid, end : Out(end_layout)
        A cycle behind a job's verdict.
    wrong : Out(1)
        As of `MemoryModel`.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters, words: int, *,
                 latencies: tuple[int, int] = (3, 40), pauses: bool = True, timing: PartTiming | None = None) -> None:
        self.build = build
        self.words = words
        self.core = CacheCore(build, parameters)
        spilled = build.tile_rows * spill_bytes(build) // build.bus_bytes
        self.memory = MemoryModel(parameters, words + spilled, latencies=latencies, pauses=pauses,
                                  timing=timing)
        members = self.core.signature.members
        super().__init__({
            "setup": In(stream.Signature(setup_layout())), "fill": In(stream.Signature(word_layout(parameters))),
            "shown": Out(stream.Signature(parameters.data_bits)), "end_valid": Out(1), "end": Out(end_layout()),
            "wrong": Out(1), **{name: members[name] for name in ("parameter", "job", *_ROWS)}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.core, m.submodules.memory = core, memory = self.core, self.memory
        connect_master(m, core, memory, "m_axi_")
        for name in _ROWS:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(core, name))
        wiring.connect(m, wiring.flipped(self.fill), memory.fill)
        wiring.connect(m, memory.shown, wiring.flipped(self.shown))
        known, setup = Signal(), Signal(setup_layout())
        written, ended = Signal(32), Signal(32)
        writes, begins = self.parameter.valid & self.parameter.ready, known & memory.filled & (written >= setup.writes)
        m.d.comb += self.setup.ready.eq(~known)
        with m.If(self.setup.valid & self.setup.ready):
            m.d.sync += [known.eq(1), setup.eq(self.setup.payload)]
        m.d.sync += [written.eq(written + writes), ended.eq(ended + core.verdict.valid),
                     self.end_valid.eq(core.verdict.valid), self.end.verdict.eq(core.verdict)]
        m.d.comb += [
            core.records.eq(0), core.first_page.eq(setup.first_page), core.spill.eq(self.words * self.build.bus_bytes),
            core.parameter.valid.eq(self.parameter.valid), core.parameter.payload.eq(self.parameter.payload),
            self.parameter.ready.eq(core.parameter.ready), core.job.valid.eq(self.job.valid & begins),
            core.job.payload.eq(self.job.payload), self.job.ready.eq(core.job.ready & begins),
            self.end.status.eq(core.status), self.end.counters.eq(core.counters),
            memory.show.eq(self.end_valid & (ended == setup.jobs)), self.wrong.eq(memory.wrong),
        ]
        return m
