"""The attention core with standard buses: what a system on chip instantiates."""

from amaranth import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.bus import MasterParameters, fault_layout, lite_members, prefixed, read_members, write_members
from latte.rtl.axi.descriptor_runner import READERS, DescriptorRunner
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.registers import MASTER_COUNTERS, REGISTER_BITS, register_table
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.core import Core, counters_layout
from latte.rtl.common.entry_words import parameter_layout
from latte.rtl.common.primitives import next_modulo
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.engines import create_core

__all__ = ["AxiCore"]

_PARAMETER_DEPTH = 16
"""Words: more than come over the bus while the core looks an entry up and takes none."""


class AxiCore(wiring.Component):
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

    A soft reset begins nothing more on the bus, waits until everything that was begun is answered, and then resets core
    and runner; registers keep their values, the ring's counters and the register file do not.

    Clock and reset are `clk` and `rst`, one clock for everything, reset synchronous and high.

    Parameters
    ----------
    config
    parameters
        Of the master.
    probe
        The core's taps are a port, for a scoreboard.
    core
        What computes; by default the engine of the configuration.

    Members
    -------
    s_axil_awaddr ... s_axil_rready
        AXI4-Lite slave, 32 bits.
    m_axi_awaddr ... m_axi_rready
        AXI4 master, 64-bit addresses, one ID.
    irq : Out(1)
        High while a bit of INTERRUPT_STATUS is set that INTERRUPT_ENABLE names.
    probe : Out
        Of the core.
    """

    def __init__(self, config: AttentionConfig, parameters: MasterParameters | None = None, *,
                 probe: bool = False, core: Core | None = None) -> None:
        self.config = config
        self.parameters = parameters or MasterParameters()
        self.core = create_core(config) if core is None else core
        self.registers = register_table(config, self.parameters)
        taps = {"probe": Out(self.core.signature.members["probe"].shape)} if probe else {}
        super().__init__({
            **prefixed("s_axil", lite_members()),
            **prefixed("m_axi", write_members(self.parameters) | read_members(self.parameters)),
            "irq": Out(1), **taps})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, parameters = self.core, self.parameters
        m.submodules.bank = bank = RegisterBank(self.registers)
        m.submodules.slave = slave = AxiLiteSlave(RegisterBank.read_latency)
        m.submodules.read_engine = reads = ReadEngine(parameters, len(READERS))
        m.submodules.write_engine = writes = WriteEngine(parameters)
        runner = DescriptorRunner(self.config, parameters)
        queue = StreamQueue(parameter_layout(), _PARAMETER_DEPTH)
        reset, resetting = self._soft_reset(m, bank, reads, writes)
        for name, block in (("attention_core", core), ("runner", runner), ("parameter_queue", queue)):
            m.submodules[name] = ResetInserter({"sync": reset})(block)
        self._ports(m, "s_axil", lite_members(), slave)
        self._ports(m, "m_axi", read_members(parameters), reads)
        self._ports(m, "m_axi", write_members(parameters), writes)
        m.d.comb += [
            bank.write.eq(slave.write), bank.write_word.eq(slave.write_word), bank.write_data.eq(slave.write_data),
            bank.write_strobe.eq(slave.write_strobe), slave.write_refused.eq(bank.write_refused),
            bank.read_word.eq(slave.read_word), slave.read_data.eq(bank.read_data),
            slave.read_refused.eq(bank.read_refused),
        ]
        if "probe" in self.signature.members:
            m.d.comb += self.probe.eq(core.probe)
        self._data(m, runner, reads, writes)
        lost, settled = self._write_parameters(m, bank, queue, resetting)
        self._control(m, bank, runner, resetting, lost, settled)
        self._watch(m, bank, runner, reads, writes, lost)
        return m

    def _ports(self, m: Module, prefix: str, members: dict[str, wiring.Member], block: wiring.Component) -> None:
        """Connect the signals of a bus to the block that has them."""
        for name, member in members.items():
            outside, inside = getattr(self, f"{prefix}_{name}"), getattr(block, name)
            m.d.comb += inside.eq(outside) if member.flow is In else outside.eq(inside)

    def _soft_reset(self, m: Module, bank: RegisterBank, reads: ReadEngine, writes: WriteEngine
                    ) -> tuple[Signal, Signal]:
        """Return (reset of core and runner, one is under way)."""
        reset, resetting = Signal(), Signal()
        m.d.comb += [reads.stop.eq(resetting), writes.stop.eq(resetting)]
        # A register: it goes to everything that is reset.
        m.d.sync += reset.eq(resetting & ~reset & reads.idle & writes.idle)
        with m.If(bank.control.soft_reset):
            m.d.sync += resetting.eq(1)
        with m.Elif(reset):
            m.d.sync += resetting.eq(0)
        return reset, resetting

    def _data(self, m: Module, runner: DescriptorRunner, reads: ReadEngine, writes: WriteEngine) -> None:
        """Connect core, runner and master."""
        core = self.core
        for n, name in enumerate(READERS):
            wiring.connect(m, getattr(runner, f"request_{name}"), getattr(reads, f"request_{n}"))
            m.d.comb += getattr(runner, f"taken_{name}").eq(getattr(reads, f"taken_{n}"))
        wiring.connect(m, runner.burst, writes.burst)
        wiring.connect(m, runner.write, writes.beat)
        wiring.connect(m, runner.job, core.job)
        wiring.connect(m, core.o, runner.o)
        for name in STREAMS:
            rows, port = getattr(runner, name), getattr(core, name)
            m.d.comb += [Value.cast(port.payload).eq(rows.payload), port.valid.eq(rows.valid),
                         rows.ready.eq(port.ready)]
        m.d.comb += [
            runner.data.eq(reads.data), runner.fault.eq(reads.fault), runner.answered.eq(writes.answered),
            runner.write_fault.eq(writes.fault), runner.unanswered.eq(~writes.idle), runner.verdict.eq(core.verdict),
        ]

    def _write_parameters(self, m: Module, bank: RegisterBank, queue: StreamQueue, resetting: Signal
                          ) -> tuple[Signal, Signal]:
        """Queue what PARAMETER_DATA is written; return (a word is lost, all are in the register file)."""
        select = Signal.like(bank.parameter_select)
        words = Signal(range(_PARAMETER_DEPTH + 2))
        lost, settled, pushed, pulled = Signal(), Signal(), Signal(), Signal()
        wiring.connect(m, queue.o, self.core.parameter)
        m.d.comb += [
            bank.parameter_select.eq(select), queue.i.payload.head.eq(select.head),
            queue.i.payload.word.eq(select.word), queue.i.payload.data.eq(bank.written_data),
            queue.i.valid.eq(bank.parameter_data_written & ~resetting),
            lost.eq(bank.parameter_data_written & ~pushed),
            pushed.eq(queue.i.valid & queue.i.ready), pulled.eq(queue.o.valid & queue.o.ready),
        ]
        m.d.comb += settled.eq((words == 0) & ~pushed)
        with m.If(pushed ^ pulled):
            m.d.sync += words.eq(words + pushed - pulled)
        with m.If(bank.parameter_select_written):
            m.d.sync += select.as_value().eq(bank.written_data)
        with m.Elif(pushed):
            m.d.sync += select.word.eq(next_modulo(select.word, 1 << len(select.word)))
        return lost, settled

    def _control(self, m: Module, bank: RegisterBank, runner: DescriptorRunner, resetting: Signal, lost: Signal,
                 settled: Signal) -> None:
        """Connect the registers that software writes."""
        core, unaligned = self.core, DESCRIPTOR_BYTES - 1
        cleared, misplaced = core.clear_status.as_value(), (bank.ring_base_low.address & unaligned).any()
        m.d.comb += [
            core.clear.eq(bank.control.clear),
            cleared.eq(bank.written_data & bank.core_status_written.replicate(REGISTER_BITS)),
            runner.enable.eq(bank.control.enable & ~resetting & ~misplaced), runner.settled.eq(settled),
            runner.base.eq(Cat(bank.ring_base_low.address, bank.ring_base_high.address)),
            runner.size_log2.eq(bank.ring_size.log2),
            runner.ring.eq(bank.ring_head_written & ~resetting), runner.number.eq(bank.written_data[:COUNT_BITS]),
            bank.refuse.eq(lost | runner.overflow | (resetting & bank.ring_head_written)),
            bank.locked.eq(bank.control.enable | runner.busy | resetting),
            bank.ring_head.number.eq(runner.head), bank.ring_tail.number.eq(runner.tail),
            bank.status.busy.eq(runner.busy), bank.status.ring_empty.eq(runner.empty),
            bank.status.resetting.eq(resetting), bank.core_status.eq(core.status),
            bank.error_set.ring_unaligned.eq(bank.control.enable & misplaced),
        ]

    def _watch(self, m: Module, bank: RegisterBank, runner: DescriptorRunner, reads: ReadEngine, writes: WriteEngine,
               lost: Signal) -> None:
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
            errors.descriptor_invalid.eq(runner.invalid), errors.job_refused.eq(runner.refused),
            errors.ring_overflow.eq(runner.overflow), errors.parameter_lost.eq(lost),
            interrupts.descriptor_done.eq(runner.interrupt), interrupts.ring_empty.eq(runner.drained),
            interrupts.error.eq(errors.as_value().any()),
        ]
        m.d.sync += self.irq.eq((bank.interrupt_status.as_value() & bank.interrupt_enable.as_value()).any())
        for name in counters_layout().members:
            m.d.comb += getattr(bank, f"counter_{name}").count.eq(self.core.counters[name])
        events = {"read_beats": reads.beat, "write_beats": writes.moved, "read_stalls": reads.stall,
                  "descriptors": runner.done}
        for name in MASTER_COUNTERS:
            step, count = Signal(name=f"{name}_step"), Signal(REGISTER_BITS, name=f"{name}_count")
            m.d.sync += [step.eq(events[name]), count.eq(count + step)]
            with m.If(bank.control.clear):
                m.d.sync += count.eq(0)
            m.d.comb += getattr(bank, f"counter_{name}").count.eq(count)
