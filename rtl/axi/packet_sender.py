"""Makes packets of output rows, and so brings jobs to their end."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import StreamParameters
from latte.rtl.axi.job_registers import PACKET_FAULTS, packet_fault_layout
from latte.rtl.axi.packet_transmitter import transmitted_layout
from latte.rtl.axi.payloads import STREAMS, begun_layout, job_causes_layout
from latte.rtl.axi.write_engine import beat_layout
from latte.rtl.common.primitives import times

__all__ = ["PacketSender"]


class PacketSender(wiring.Component):
    """Brings jobs to their end, in order::

        begun -> all beats but one -> packets of q, k, v ended? -> last beat, with TLAST and TUSER -> taken -> done

    A job with queries is one packet of as many rows, whatever becomes of it: a refused one gives rows of zeros. The
    last beat waits for the ends of the packets that came in, since TUSER says whether anything was wrong. A job whose
    packets were, runs to its end: the core was fed zeros or what came, and the status says that its output means
    nothing. Only what is built on keys or values that were not loaded is worthless, too: a job that goes on with such a
    sequence gets `sequence_invalid`, until a fresh one has been loaded whole.

    Parameters
    ----------
    row_bytes
        Of an output row; each begins with a beat of its own, and bytes behind its end are zero.
    parameters

    Members
    -------
    begun : In(stream of begun_layout)
    fetched_q, fetched_k, fetched_v : In(stream of packet_fault_layout)
        For each job, when its packet has ended.
    beat : In(stream of beat_layout)
        Output rows.
    o : Out(stream of transmitted_layout), sent : In(1)
        To `PacketTransmitter`, whose packet was taken.
    done : Out(1)
        For one cycle: a job is done, with `causes` and `interrupt` beside it.
    """

    def __init__(self, row_bytes: int, parameters: StreamParameters) -> None:
        self.row_bytes = row_bytes
        self.parameters = parameters
        causes = job_causes_layout()
        super().__init__({
            "begun": In(stream.Signature(begun_layout(causes))),
            **{f"fetched_{name}": In(stream.Signature(packet_fault_layout())) for name in STREAMS},
            "beat": In(stream.Signature(beat_layout(parameters))),
            "o": Out(stream.Signature(transmitted_layout(parameters))), "sent": In(1),
            "done": Out(1), "causes": Out(causes), "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.parameters.data_bytes
        row_beats = ceil_div(self.row_bytes, size)
        begun, causes, broken = Signal.like(self.begun.payload), self.causes, Signal()
        left, last, offers = Signal(range((row_beats << COUNT_BITS) + 1)), Signal(), Signal()
        fetched = {name: getattr(self, f"fetched_{name}") for name in STREAMS}
        beat = self.beat.payload
        kept = beat.data if self.row_bytes % size == 0 else beat.data & Cat(bit.replicate(8) for bit in beat.strobe)
        m.d.comb += [
            self.interrupt.eq(begun.interrupt), last.eq(left == 1),
            self.o.valid.eq(offers & (begun.refused | self.beat.valid)),
            self.beat.ready.eq(offers & ~begun.refused & self.o.ready),
            self.o.payload.data.eq(Mux(begun.refused, 0, kept)), self.o.payload.last.eq(last),
            self.o.payload.error.eq(last & causes.as_value().any()),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.begun.ready.eq(1)
                m.d.sync += [begun.eq(self.begun.payload), causes.eq(self.begun.payload.causes),
                             left.eq(times(self.begun.payload.rows, row_beats))]
                with m.If(self.begun.valid):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += offers.eq(left > 1)
                m.d.sync += causes.sequence_invalid.eq(~begun.fresh & broken)
                with m.If(left <= 1):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                with m.If(Cat(port.valid for port in fetched.values()).all()):
                    m.d.comb += [port.ready.eq(1) for port in fetched.values()]
                    for fault in PACKET_FAULTS:
                        m.d.sync += causes[fault].eq(Cat(port.payload[fault] for port in fetched.values()).any())
                    lost = Cat(fetched[name].payload.as_value() for name in "kv").any() & ~begun.refused
                    m.d.sync += broken.eq(Mux(begun.fresh, 0, broken) | lost)
                    m.next = "LAST"
            with m.State("LAST"):
                m.d.comb += offers.eq(last)
                with m.If((left == 0) & self.sent):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
