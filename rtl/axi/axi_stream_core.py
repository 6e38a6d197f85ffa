"""The attention core with AXI4-Stream ports: what stands beside a DMA engine, or another core."""

from amaranth import Module, Signal

from latte.golden.config import AttentionConfig
from latte.rtl.axi.bus import StreamParameters, prefixed, receiver_members, transmitter_members
from latte.rtl.axi.bus_core import BusCore
from latte.rtl.axi.job_registers import JOBS_MAX, PACKET_FAULTS
from latte.rtl.axi.packet_transmitter import PacketTransmitter
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.stream_runner import StreamRunner
from latte.rtl.common.core import Core
from latte.rtl.common.payloads import job_layout

__all__ = ["AxiStreamCore"]


class AxiStreamCore(BusCore):
    """A core behind AXI4-Lite registers, with AXI4-Stream ports for its rows and one interrupt::

        s_axil -> AxiLiteSlave -> RegisterBank -> irq
                                   |     ^
              jobs, parameters ----+     +---- status of jobs, counters
                       |           |     |
                       v           v     |
                      core <-> StreamRunner <- s_axis_q, s_axis_k, s_axis_v
                       '----------------'   -> PacketTransmitter -> m_axis_o
                          soft reset

    Software queues jobs by registers, and has packets of rows sent (`PacketReceiver`): for each job one of queries, one
    of keys, one of values, none where it has no rows. Its outputs are a packet (`PacketSender`). They may come before
    the job is queued: they wait. Registers are `register_table`. Any engine is the core; its bits are those of the bare
    one.

    A soft reset (`BusCore`) ends the output packet that was begun, and waits until it is taken; of packets that come in
    it knows nothing any more, so their sources are stopped before.

    Clock and reset are `clk` and `rst`, one clock for everything, reset synchronous and high.

    Parameters
    ----------
    config
    parameters
        Of the streams.
    probe, core, register_port
        As of `BusCore`.

    Members
    -------
    s_axil_awaddr ... s_axil_rready
        AXI4-Lite slave, 32 bits. In its place `s_wb_cyc ... s_wb_dat_r`, Wishbone B4 classic, if that was chosen.
    s_axis_q_tdata ... s_axis_v_tready
        AXI4-Stream subordinates: queries, keys, values.
    m_axis_o_tdata ... m_axis_o_tready
        AXI4-Stream manager: outputs.
    irq : Out(1)
        High while a bit of INTERRUPT_STATUS is set that INTERRUPT_ENABLE names.
    probe : Out
        Of the core.
    """

    parameters: StreamParameters

    def __init__(self, config: AttentionConfig, parameters: StreamParameters | None = None, *,
                 probe: bool = False, core: Core | None = None, register_port: str = "axi-lite") -> None:
        parameters = parameters or StreamParameters()
        ports = {port: member for name in STREAMS
                 for port, member in prefixed(f"s_axis_{name}", receiver_members(parameters)).items()}
        super().__init__(config, parameters, ports | prefixed("m_axis_o", transmitter_members(parameters)),
                         probe=probe, core=core, register_port=register_port)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.transmitter = transmitter = PacketTransmitter(self.parameters)
        runner = StreamRunner(self.config, self.parameters)
        bank, resetting = self._assemble(m, runner, transmitter.idle)
        for name in STREAMS:
            self._ports(m, f"s_axis_{name}", receiver_members(self.parameters), runner, f"{name}_")
        self._ports(m, "m_axis_o", transmitter_members(self.parameters), transmitter)
        m.d.comb += [
            transmitter.i.payload.eq(runner.beats.payload), transmitter.i.valid.eq(runner.beats.valid),
            runner.beats.ready.eq(transmitter.i.ready), runner.sent.eq(transmitter.idle),
            transmitter.stop.eq(resetting),
        ]
        self._jobs(m, bank, runner, resetting)
        self._watch(m, bank, runner, transmitter)
        return m

    def _jobs(self, m: Module, bank: RegisterBank, runner: StreamRunner, resetting: Signal) -> None:
        """Connect the registers of jobs."""
        written = bank.job_rows_written
        rows = Signal.like(bank.job_rows)
        described = {"head": bank.job.head, "fresh": bank.job.fresh, "causal": bank.job.causal,
                     "query_rows": rows.query_rows, "load_rows": rows.load_rows}
        m.d.comb += [rows.as_value().eq(bank.written_data), runner.queued.interrupt.eq(bank.job.interrupt)]
        m.d.comb += [runner.queued.job[name].eq(described[name]) for name in job_layout().members]
        m.d.comb += [
            runner.enable.eq(bank.control.enable & ~resetting), runner.push.eq(written & ~resetting),
            bank.error_set.job_lost.eq(runner.lost | (written & resetting)),
            bank.refuse.eq(bank.error_set.parameter_lost | bank.error_set.job_lost),
            bank.jobs_queued.number.eq(runner.submitted), bank.jobs_done.number.eq(runner.finished),
            bank.status.queue_empty.eq(runner.empty),
        ]
        m.d.comb += [getattr(bank, f"job_status_{slot}").eq(getattr(runner, f"status_{slot}"))
                     for slot in range(JOBS_MAX)]

    def _watch(self, m: Module, bank: RegisterBank, runner: StreamRunner, transmitter: PacketTransmitter) -> None:
        """Keep errors, interrupts and the counters of the streams."""
        errors, interrupts = bank.error_set, bank.interrupt_status_set
        m.d.comb += [errors[fault].eq(runner.faults[fault]) for fault in PACKET_FAULTS]
        m.d.comb += [
            errors.sequence_invalid.eq(runner.invalid), interrupts.job_done.eq(runner.interrupt),
            interrupts.queue_empty.eq(runner.drained),
        ]
        self._count(m, bank, {"input_beats": sum(runner.taken), "output_beats": transmitter.moved,
                              "input_stalls": runner.stalled.any(), "jobs": runner.done})
