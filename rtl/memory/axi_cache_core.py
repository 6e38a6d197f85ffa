"""The core with keys in memory with standard buses: what a system on chip instantiates."""

from amaranth import Cat, Module, Value

from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.axi.bus import MasterParameters, prefixed, read_members, write_members
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.memory.cache_core import CacheCore, master_of
from latte.rtl.memory.cache_registers import AREAS, cache_register_table
from latte.rtl.memory.cache_runner import CacheRunner

__all__ = ["AxiCacheCore", "rows_master_of"]


def rows_master_of(build: MemoryBuild) -> MasterParameters:
    """Return the master for descriptors and rows that suits a build."""
    return MasterParameters(data_bits=8 * build.bus_bytes)


class AxiCacheCore(AxiCore):
    """A `CacheCore` behind AXI4-Lite registers and two AXI4 masters, with one interrupt::

        s_axil -> AxiLiteSlave -> RegisterBank -> irq
                                   |     ^
         parameters, addresses ----+     +---- status, counters
                       |           |     |
                       v           v     |
                   CacheCore <-> CacheRunner <-> ReadEngine, WriteEngine <-> m_axi
                       ^
                       +-> m_axi_cache

    Registers, ring and interrupt are those of `AxiCore`, with `cache_register_table` and
    `latte.rtl.memory.cache_descriptors`. Outputs and memory are those of the bare core, to the bit.

    There are two masters, since a system may have pages in a memory of their own; an interconnect joins them where it
    has not. `m_axi` moves descriptors, rows of Q, K and V, outputs and status words: little. `m_axi_cache` moves
    records, page tables, pages and what is spilled, and is paced by the memory's width. Neither waits for the other, so
    one memory may serve both in any order.

    Whatever happens, each descriptor gets its status word once: of one that is invalid, refused or has failed as well.
    A soft reset (`BusCore`) waits until everything that was begun on both buses is answered.

    Parameters
    ----------
    build
        With thresholds by mass or key groups.
    parameters
        Of `m_axi`, as wide as the build's bus; by default `rows_master_of` the build.
    cache_parameters
        Of `m_axi_cache`, as wide; by default `master_of` the build.
    register_port
        As of `BusCore`.

    Members
    -------
    s_axil_*, m_axi_*, irq
        As of `AxiCore`.
    m_axi_cache_awaddr ... m_axi_cache_rready
        AXI4 master of the core.
    """

    core: CacheCore

    def __init__(self, build: MemoryBuild, parameters: MasterParameters | None = None,
                 cache_parameters: MasterParameters | None = None, *, register_port: str = "axi-lite") -> None:
        self.build = build
        self.cache_parameters = cache_parameters or master_of(build)
        parameters = parameters or rows_master_of(build)
        super().__init__(build.core, parameters, core=CacheCore(build, self.cache_parameters),
                         register_port=register_port, registers=cache_register_table(build, parameters),
                         ports=prefixed("m_axi_cache", self._cache_members()))

    def _cache_members(self) -> dict[str, object]:
        return write_members(self.cache_parameters) | read_members(self.cache_parameters)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, runner = self.core, CacheRunner(self.build, self.parameters)
        bank, resetting = self._surround(m, runner, core.idle)
        self._ports(m, "m_axi_cache", self._cache_members(), core, "m_axi_")
        m.d.comb += [
            core.stop.eq(resetting), core.rows_failed.eq(runner.rows_failed), runner.core_drained.eq(core.drained),
            bank.error_set.job_failed.eq(runner.failed),
            *(address.eq(self._base(bank, area)) for address, area in zip(
                (core.records, core.first_page, core.spill), AREAS, strict=True)),
        ]
        return m

    def _base(self, bank: RegisterBank, area: str) -> Value:
        """Return the address of an area."""
        return Cat(*(getattr(bank, f"{area}_base_{half}").address for half in ("low", "high")))

    def _misplaced(self, bank: RegisterBank) -> dict[str, Value]:
        beat = self.parameters.data_bytes
        bases = Cat(self._base(bank, area) & (beat - 1) for area in AREAS)
        return super()._misplaced(bank) | {"base_unaligned": bases.any()}
