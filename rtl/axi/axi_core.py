"""The attention core with standard buses: what a system on chip instantiates."""

import functools
import operator
from collections.abc import Sequence

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import MasterParameters, fault_layout, prefixed, read_members, write_members
from latte.rtl.axi.bus_core import BusCore
from latte.rtl.axi.descriptor_runner import READERS, DescriptorRunner
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.register_types import Register
from latte.rtl.axi.write_engine import WriteEngine

__all__ = ["AxiCore"]


class AxiCore(BusCore):
    """A core behind AXI4-Lite registers and an AXI4 master, with one interrupt::

        s_axil -> AxiLiteSlave -> RegisterBank -> irq
                                   |     ^
                    parameters ----+     +---- status, counters
                       |           |     |
                       v           v     |
                      core <-> DescriptorRunner <-> ReadEngine, WriteEngine <-> m_axi
                       '----------------'
                          soft reset

    Software writes descriptors to a ring in memory and rings the doorbell; the hardware fetches them, their queries,
    keys and values, writes outputs and a status word each, and interrupts. Registers are `register_table`, descriptors
    `latte.rtl.axi.descriptors`. Any engine is the core; its bits are those of the bare one.

    A soft reset (`BusCore`) waits until everything that was begun on the bus is answered.

    Clock and reset are `clk` and `rst`, one clock for everything, reset synchronous and high.

    Parameters
    ----------
    config
    parameters
        Of the master.
    probe, core, register_port, registers
        As of `BusCore`.
    ports
        Further ones.

    Members
    -------
    s_axil_awaddr ... s_axil_rready
        AXI4-Lite slave, 32 bits. In its place `s_wb_cyc ... s_wb_dat_r`, Wishbone B4 classic, if that was chosen.
    m_axi_awaddr ... m_axi_rready
        AXI4 master, 64-bit addresses, one ID.
    irq : Out(1)
        High while a bit of INTERRUPT_STATUS is set that INTERRUPT_ENABLE names.
    probe : Out
        Of the core.
    """

    parameters: MasterParameters

    def __init__(self, config: AttentionConfig, parameters: MasterParameters | None = None, *,
                 probe: bool = False, core: wiring.Component | None = None, register_port: str = "axi-lite",
                 registers: Sequence[Register] | None = None, ports: dict[str, wiring.Member] | None = None) -> None:
        parameters = parameters or MasterParameters()
        master = prefixed("m_axi", write_members(parameters) | read_members(parameters))
        super().__init__(config, parameters, master | (ports or {}), probe=probe, core=core,
                         register_port=register_port, registers=registers)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._surround(m, DescriptorRunner(self.config, self.parameters))
        return m

    def _surround(self, m: Module, runner: wiring.Component, *idle: Value) -> tuple[RegisterBank, Signal]:
        """Put everything around the core; return (registers, a soft reset is under way).

        Parameters
        ----------
        m
        runner
            A `DescriptorRunner`, or what has its ports with the core's layouts.
        *idle
            What else has ended before the core is reset.
        """
        parameters = self.parameters
        m.submodules.read_engine = reads = ReadEngine(parameters, len(READERS))
        m.submodules.write_engine = writes = WriteEngine(parameters)
        bank, resetting = self._assemble(m, runner, functools.reduce(operator.and_, idle, reads.idle & writes.idle))
        self._ports(m, "m_axi", read_members(parameters), reads)
        self._ports(m, "m_axi", write_members(parameters), writes)
        m.d.comb += [reads.stop.eq(resetting), writes.stop.eq(resetting)]
        self._data(m, runner, reads, writes)
        self._ring(m, bank, runner, resetting)
        self._watch(m, bank, runner, reads, writes)
        return bank, resetting

    def _data(self, m: Module, runner: wiring.Component, reads: ReadEngine, writes: WriteEngine) -> None:
        """Connect runner and master."""
        for n, name in enumerate(READERS):
            wiring.connect(m, getattr(runner, f"request_{name}"), getattr(reads, f"request_{n}"))
            m.d.comb += getattr(runner, f"taken_{name}").eq(getattr(reads, f"taken_{n}"))
        wiring.connect(m, runner.burst, writes.burst)
        wiring.connect(m, runner.write, writes.beat)
        m.d.comb += [
            runner.data.eq(reads.data), runner.fault.eq(reads.fault), runner.answered.eq(writes.answered),
            runner.write_fault.eq(writes.fault), runner.unanswered.eq(~writes.idle),
        ]

    def _misplaced(self, bank: RegisterBank) -> dict[str, Value]:
        """Return what lies where it cannot: by the bit of ERROR that says so while the ring is enabled."""
        return {"ring_unaligned": (bank.ring_base_low.address & (DESCRIPTOR_BYTES - 1)).any()}

    def _ring(self, m: Module, bank: RegisterBank, runner: wiring.Component, resetting: Signal) -> None:
        """Connect the registers of the ring."""
        misplaced = self._misplaced(bank)
        m.d.comb += [
            runner.enable.eq(bank.control.enable & ~resetting & ~functools.reduce(operator.or_, misplaced.values())),
            runner.base.eq(Cat(bank.ring_base_low.address, bank.ring_base_high.address)),
            runner.size_log2.eq(bank.ring_size.log2),
            runner.ring.eq(bank.ring_head_written & ~resetting), runner.number.eq(bank.written_data[:COUNT_BITS]),
            bank.refuse.eq(bank.error_set.parameter_lost | runner.overflow | (resetting & bank.ring_head_written)),
            bank.locked.eq(bank.control.enable | runner.busy | resetting),
            bank.ring_head.number.eq(runner.head), bank.ring_tail.number.eq(runner.tail),
            bank.status.ring_empty.eq(runner.empty),
            *(bank.error_set[name].eq(bank.control.enable & wrong) for name, wrong in misplaced.items()),
        ]

    def _watch(self, m: Module, bank: RegisterBank, runner: wiring.Component, reads: ReadEngine, writes: WriteEngine
               ) -> None:
        """Keep errors, interrupts and the counters of the master."""
        came = Signal()
        m.d.comb += came.eq(0)
        for n in range(len(READERS)):
            with m.If(getattr(reads, f"taken_{n}")):
                m.d.comb += came.eq(1)
        errors, interrupts = bank.error_set, bank.interrupt_status_set
        for kind in fault_layout().members:
            m.d.comb += [errors[f"read_{kind}"].eq(came & reads.fault[kind]),
                         errors[f"write_{kind}"].eq(writes.answered & writes.fault[kind])]
        m.d.comb += [
            errors.descriptor_invalid.eq(runner.invalid), errors.ring_overflow.eq(runner.overflow),
            interrupts.descriptor_done.eq(runner.interrupt), interrupts.ring_empty.eq(runner.drained),
        ]
        self._count(m, bank, {"read_beats": reads.beat, "write_beats": writes.moved, "read_stalls": reads.stall,
                              "descriptors": runner.done})
