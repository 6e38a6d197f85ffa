"""What a core behind a bus has whatever its rows come by: registers, register file, soft reset, interrupt."""

from collections.abc import Sequence

from amaranth import Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.bus import DataParameters, lite_members, prefixed, register_members, wishbone_members
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.register_types import REGISTER_BITS, Register
from latte.rtl.axi.registers import register_table
from latte.rtl.axi.wishbone_slave import WishboneSlave
from latte.rtl.common.entry_words import ENTRY_WORDS_MAX, parameter_layout
from latte.rtl.common.primitives import next_modulo
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.engines import create_core

__all__ = ["REGISTER_PORTS", "BusCore"]

REGISTER_PORTS = {"axi-lite": ("s_axil", lite_members, AxiLiteSlave),
                  "wishbone": ("s_wb", wishbone_members, WishboneSlave)}
"""By name: prefix, signals and slave of the registers' bus."""
_PARAMETER_DEPTH = 16
"""Words: as many as come over the bus, one in two cycles at best, while the core looks an entry up and takes none."""
assert 2 * _PARAMETER_DEPTH >= ENTRY_WORDS_MAX


class BusCore(wiring.Component):
    """A core behind registers on a bus; a subclass brings the ports of its rows, and a *runner* that carries jobs out.

    A soft reset begins nothing more on the ports of rows, waits until everything that was begun has ended, and then
    resets core and runner; registers keep their values, the counters of jobs and the register file do not.

    Parameters
    ----------
    config
    parameters
        Of the ports of rows.
    ports
        They.
    probe
        The core's taps are a port, for a scoreboard.
    core
        What computes: a `Core`, or what has its ports with other layouts; by default the engine of the configuration.
    register_port
        Of `REGISTER_PORTS`.
    registers
        By default those of `register_table`.

    Attributes
    ----------
    registers
        Their table.
    """

    def __init__(self, config: AttentionConfig, parameters: DataParameters, ports: dict[str, wiring.Member], *,
                 probe: bool, core: wiring.Component | None, register_port: str,
                 registers: Sequence[Register] | None = None) -> None:
        self.config = config
        self.parameters = parameters
        self.core = create_core(config) if core is None else core
        self.registers = register_table(config, parameters) if registers is None else list(registers)
        taps = {"probe": Out(self.core.signature.members["probe"].shape)} if probe else {}
        self.register_port = register_port
        prefix, members, _ = REGISTER_PORTS[register_port]
        super().__init__({**prefixed(prefix, members()), **ports, "irq": Out(1), **taps})

    def _assemble(self, m: Module, runner: wiring.Component, idle: Value) -> tuple[RegisterBank, Signal]:
        """Put registers, core and runner in and connect what they share; return (registers, a soft reset is under way).

        Parameters
        ----------
        m
        runner
            Has ``enable``, ``settled``, the core's ports, and tells of jobs that are ``done``, ``refused``, ``invalid``
            or ``drained``, and of one that asks for an ``interrupt``; ``busy``.
        idle
            Everything has ended that was begun on the ports of rows.
        """
        m.submodules.bank = bank = RegisterBank(self.registers)
        prefix, members, slave_class = REGISTER_PORTS[self.register_port]
        m.submodules.slave = slave = slave_class(RegisterBank.read_latency)
        queue = StreamQueue(parameter_layout(), _PARAMETER_DEPTH)
        reset, resetting = self._soft_reset(m, bank, idle)
        for name, block in (("attention_core", self.core), ("runner", runner), ("parameter_queue", queue)):
            m.submodules[name] = ResetInserter({"sync": reset})(block)
        self._ports(m, prefix, members(), slave)
        for name, member in register_members().items():
            asks, answers = getattr(slave, name), getattr(bank, name)
            m.d.comb += asks.eq(answers) if member.flow is In else answers.eq(asks)
        if "probe" in self.signature.members:
            m.d.comb += self.probe.eq(self.core.probe)
        self._connect(m, runner)
        self._write_parameters(m, bank, queue, runner, resetting)
        self._control(m, bank, runner, resetting)
        return bank, resetting

    def _ports(self, m: Module, prefix: str, members: dict[str, wiring.Member], block: wiring.Component,
               inner: str = "") -> None:
        """Connect the signals of a bus to the block that has them, there under the prefix `inner`."""
        for name, member in members.items():
            outside, inside = getattr(self, f"{prefix}_{name}"), getattr(block, f"{inner}{name}")
            m.d.comb += inside.eq(outside) if member.flow is In else outside.eq(inside)

    def _soft_reset(self, m: Module, bank: RegisterBank, idle: Value) -> tuple[Signal, Signal]:
        """Return (reset of core and runner, one is under way)."""
        reset, resetting = Signal(), Signal()
        # A register: it goes to everything that is reset.
        m.d.sync += reset.eq(resetting & ~reset & idle)
        with m.If(bank.control.soft_reset):
            m.d.sync += resetting.eq(1)
        with m.Elif(reset):
            m.d.sync += resetting.eq(0)
        return reset, resetting

    def _connect(self, m: Module, runner: wiring.Component) -> None:
        """Connect core and runner."""
        core = self.core
        wiring.connect(m, runner.job, core.job)
        wiring.connect(m, core.o, runner.o)
        m.d.comb += runner.verdict.eq(core.verdict)
        for name in STREAMS:
            rows, port = getattr(runner, name), getattr(core, name)
            m.d.comb += [Value.cast(port.payload).eq(rows.payload), port.valid.eq(rows.valid),
                         rows.ready.eq(port.ready)]

    def _write_parameters(self, m: Module, bank: RegisterBank, queue: StreamQueue, runner: wiring.Component,
                          resetting: Signal) -> None:
        """Queue what PARAMETER_DATA is written, and tell the runner when all of it is in the register file."""
        select = Signal.like(bank.parameter_select)
        words = Signal(range(_PARAMETER_DEPTH + 2))
        pushed, pulled = Signal(), Signal()
        wiring.connect(m, queue.o, self.core.parameter)
        m.d.comb += [
            bank.parameter_select.eq(select), queue.i.payload.head.eq(select.head),
            queue.i.payload.word.eq(select.word), queue.i.payload.data.eq(bank.written_data),
            queue.i.valid.eq(bank.parameter_data_written & ~resetting),
            bank.error_set.parameter_lost.eq(bank.parameter_data_written & ~pushed),
            pushed.eq(queue.i.valid & queue.i.ready), pulled.eq(queue.o.valid & queue.o.ready),
            runner.settled.eq((words == 0) & ~pushed),
        ]
        with m.If(pushed ^ pulled):
            m.d.sync += words.eq(words + pushed - pulled)
        with m.If(bank.parameter_select_written):
            m.d.sync += select.as_value().eq(bank.written_data)
        with m.Elif(pushed):
            m.d.sync += select.word.eq(next_modulo(select.word, 1 << len(select.word)))

    def _control(self, m: Module, bank: RegisterBank, runner: wiring.Component, resetting: Signal) -> None:
        """Connect the registers that every form has."""
        core = self.core
        m.d.comb += [
            core.clear.eq(bank.control.clear),
            core.clear_status.as_value().eq(bank.written_data & bank.core_status_written.replicate(REGISTER_BITS)),
            bank.status.busy.eq(runner.busy), bank.status.resetting.eq(resetting), bank.core_status.eq(core.status),
            bank.error_set.job_refused.eq(runner.refused),
            bank.interrupt_status_set.error.eq(bank.error_set.as_value().any()),
        ]
        m.d.sync += self.irq.eq((bank.interrupt_status.as_value() & bank.interrupt_enable.as_value()).any())
        for name in core.counters.shape().members:
            m.d.comb += getattr(bank, f"counter_{name}").count.eq(core.counters[name])

    def _count(self, m: Module, bank: RegisterBank, events: dict[str, Value]) -> None:
        """Count what happens on the ports of rows: for each counter of theirs, by how much it grows."""
        for name, event in events.items():
            step, count = Signal.like(event, name=f"{name}_step"), Signal(REGISTER_BITS, name=f"{name}_count")
            m.d.sync += [step.eq(event), count.eq(count + step)]
            with m.If(bank.control.clear):
                m.d.sync += count.eq(0)
            m.d.comb += getattr(bank, f"counter_{name}").count.eq(count)
