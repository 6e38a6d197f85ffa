"""Everything between queued jobs, streams of rows and the core."""

import functools
import operator

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.rtl.axi.bus import StreamParameters, prefixed, receiver_members
from latte.rtl.axi.job_dispatcher import JobDispatcher
from latte.rtl.axi.job_registers import JOB_STATUS_BITS, JOBS_MAX, packet_fault_layout
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.axi.packet_receiver import PacketReceiver
from latte.rtl.axi.packet_sender import PacketSender
from latte.rtl.axi.packet_transmitter import transmitted_layout
from latte.rtl.axi.payloads import STREAMS, begun_layout, job_causes_layout
from latte.rtl.common.payloads import job_layout, output_layout, verdict_layout
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["StreamRunner", "queued_layout"]


def queued_layout() -> data.StructLayout:
    """A job as registers describe it."""
    return data.StructLayout({"job": job_layout(), "interrupt": 1})


class StreamRunner(wiring.Component):
    """Queues jobs, has the core carry them out, takes their rows and gives their outputs::

        push -> StreamQueue -> JobDispatcher -> job | verdict
                                 |  |
                                 |  +-> rows -> PacketReceiver q, k, v -> q, k, v
                                 |                        |
                                 +-> begun       faults --+          o -> OutputPacker
                                       |           |                          |
                                       +-------> PacketSender <---------------+
                                                     |
                                                     +-> beats

    A job's keys are taken while its predecessor computes, as the core's two banks allow.

    Parameters
    ----------
    config
    parameters
        Of the streams.

    Members
    -------
    enable : In(1)
        Begin queued jobs.
    push : In(1), queued : In(queued_layout)
        Queue a job.
    lost : Out(1)
        In the same cycle: there is no place for it.
    settled : In(1)
        As of `JobDispatcher`.
    job, q, k, v : Out(stream), o : In(stream), verdict : In
        The core's, from the other side; beats of rows as plain bits.
    q_tdata ... v_tready
        Streams of rows, as of `PacketReceiver`.
    beats : Out(stream of transmitted_layout), sent : In(1)
        As of `PacketSender`.
    submitted, finished : Out(16)
        Jobs queued, and done.
    status_<slot> : Out
        Bits of `JOB_STATUS_BITS`, of the last job with this number modulo `JOBS_MAX`.
    done, refused, invalid, interrupt, drained : Out(1)
        For one cycle: a job is done; was refused by the core; went on with a sequence that could not be loaded; asks
        for an interrupt; was the last.
    faults : Out(packet_fault_layout)
        For one cycle: of a packet.
    busy, empty : Out(1)
        A job is being carried out; all are done.
    taken, stalled : Out(3)
        For each stream: a beat came; one is waited for.
    """

    def __init__(self, config: AttentionConfig, parameters: StreamParameters) -> None:
        self.config = config
        self.parameters = parameters
        rows = Out(stream.Signature(8 * config.bus_bytes))
        ports = {name: member for stream_name in STREAMS
                 for name, member in prefixed(stream_name, receiver_members(parameters)).items()}
        super().__init__({
            "enable": In(1), "push": In(1), "queued": In(queued_layout()), "lost": Out(1), "settled": In(1),
            "job": Out(stream.Signature(job_layout())), "verdict": In(verdict_layout()), **dict.fromkeys(STREAMS, rows),
            "o": In(stream.Signature(output_layout(config))), **ports,
            "beats": Out(stream.Signature(transmitted_layout(parameters))), "sent": In(1),
            "submitted": Out(COUNT_BITS), "finished": Out(COUNT_BITS),
            **{f"status_{slot}": Out(data.StructLayout(dict.fromkeys(JOB_STATUS_BITS, 1))) for slot in range(JOBS_MAX)},
            "done": Out(1), "refused": Out(1), "invalid": Out(1), "interrupt": Out(1), "drained": Out(1),
            "faults": Out(packet_fault_layout()), "busy": Out(1), "empty": Out(1),
            "taken": Out(len(STREAMS)), "stalled": Out(len(STREAMS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, parameters = self.config, self.parameters
        m.submodules.job_queue = jobs = StreamQueue(queued_layout(), JOBS_MAX)
        m.submodules.dispatcher = dispatcher = JobDispatcher(job_causes_layout())
        m.submodules.begun_queue = begun = StreamQueue(begun_layout(job_causes_layout()), JOBS_MAX)
        m.submodules.output_packer = packer = OutputPacker(config, parameters, StreamQueue.gapless_depth(0))
        m.submodules.sender = sender = PacketSender(packer.row_bytes, parameters)
        wiring.connect(m, dispatcher.job, wiring.flipped(self.job))
        wiring.connect(m, dispatcher.begun, begun.i)
        wiring.connect(m, begun.o, sender.begun)
        wiring.connect(m, wiring.flipped(self.o), packer.o)
        wiring.connect(m, packer.beat, sender.beat)
        wiring.connect(m, sender.o, wiring.flipped(self.beats))
        running, asked = Signal(), dispatcher.asked
        m.d.comb += [
            jobs.i.payload.eq(self.queued), jobs.i.valid.eq(self.push & ~self.lost),
            asked.payload.job.eq(jobs.o.payload.job), asked.payload.interrupt.eq(jobs.o.payload.interrupt),
            # What the dispatcher has seen, it finishes.
            asked.valid.eq(jobs.o.valid & (self.enable | running)), jobs.o.ready.eq(asked.ready),
            dispatcher.settled.eq(self.settled), dispatcher.verdict.eq(self.verdict), sender.sent.eq(self.sent),
        ]
        m.d.sync += running.eq(asked.valid & ~asked.ready)
        faults = [self._rows(m, n, name, dispatcher, sender) for n, name in enumerate(STREAMS)]
        m.d.comb += self.faults.eq(functools.reduce(operator.or_, faults))
        self._count(m, jobs, sender)
        # Begun and not done: what goes on when nothing more is begun.
        at_work = Signal(range(JOBS_MAX + 1))
        m.d.sync += at_work.eq(at_work + (asked.valid & asked.ready) - sender.done)
        m.d.comb += self.busy.eq(running | (at_work != 0) | (self.enable & ~self.empty))
        return m

    def _rows(self, m: Module, n: int, name: str, dispatcher: JobDispatcher, sender: PacketSender) -> Value:
        """Take the rows of one stream, and keep the faults of each packet until its job's end; return them."""
        receiver = PacketReceiver(self.config.head_dim, self.config.bus_bytes, self.parameters)
        # As many as there can be jobs.
        commands, fetched = StreamQueue(COUNT_BITS, JOBS_MAX), StreamQueue(packet_fault_layout(), JOBS_MAX)
        m.submodules[f"{name}_receiver"], m.submodules[f"{name}_rows"] = receiver, commands
        m.submodules[f"{name}_fetched"] = fetched
        rows = getattr(dispatcher, f"rows_{name}")
        wiring.connect(m, commands.o, receiver.rows)
        wiring.connect(m, receiver.o, wiring.flipped(getattr(self, name)))
        wiring.connect(m, fetched.o, getattr(sender, f"fetched_{name}"))
        m.d.comb += [
            commands.i.valid.eq(rows.valid), commands.i.payload.eq(rows.payload.rows), rows.ready.eq(commands.i.ready),
            fetched.i.valid.eq(receiver.finished), fetched.i.payload.eq(receiver.faults),
            self.taken[n].eq(receiver.beat), self.stalled[n].eq(receiver.stall),
        ]
        for port, member in receiver_members(self.parameters).items():
            outside, inside = getattr(self, f"{name}_{port}"), getattr(receiver, port)
            m.d.comb += inside.eq(outside) if member.flow is In else outside.eq(inside)
        return Mux(receiver.finished, receiver.faults.as_value(), 0)

    def _count(self, m: Module, jobs: StreamQueue, sender: PacketSender) -> None:
        """Count jobs, and keep how they ended."""
        under_way = Signal(range(JOBS_MAX + 1))
        pushed, causes = jobs.i.valid, sender.causes
        m.d.comb += [
            self.lost.eq(self.push & ((under_way == JOBS_MAX) | ~jobs.i.ready)),
            self.done.eq(sender.done), self.interrupt.eq(sender.done & sender.interrupt),
            self.refused.eq(sender.done & Cat(causes[f"refused_{name}"] for name in REFUSALS).any()),
            self.invalid.eq(sender.done & causes.sequence_invalid),
            self.drained.eq(sender.done & (under_way == 1) & ~pushed),
            self.empty.eq(under_way == 0),
        ]
        m.d.sync += [under_way.eq(under_way + pushed - sender.done), self.submitted.eq(self.submitted + pushed),
                     self.finished.eq(self.finished + sender.done)]
        place = ceil_log2(JOBS_MAX)
        for slot in range(JOBS_MAX):
            status = getattr(self, f"status_{slot}")
            with m.If(sender.done & (self.finished[:place] == slot)):
                m.d.sync += [status[name].eq(causes[name]) for name in causes.shape().members]
                m.d.sync += [status.done.eq(1), status.error.eq(causes.as_value().any())]
            with m.Elif(pushed & (self.submitted[:place] == slot)):
                m.d.sync += status.as_value().eq(0)
