"""Which requests are carried out, and in which order; which answers are sent again."""

from amaranth import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.fpga.link.protocol import Request

__all__ = ["RequestQueue", "header_layout"]


def header_layout(payload_bytes: int) -> data.StructLayout:
    """Return the layout of what is kept of a frame beside its payload of at most `payload_bytes`."""
    return data.StructLayout({"type": 8, "sequence": 8, "length": range(payload_bytes + 1)})


class RequestQueue(wiring.Component):
    """Headers of the requests that wait and of the answers that were sent; their payloads are in a memory of slots.

    A good frame is queued if it is the next one by its sequence number, or HELLO, or if there is no session. If its
    answer is still here, that is due again. Anything else is ignored: what is under way will be answered, and what
    follows a lost request comes again after it.

    Latency: a frame waits, or its answer is due again, in the cycle after `frame`.

    Parameters
    ----------
    payload_bytes : int
    window : int
        Power of two, at least 2; requests that wait, and answers that are kept.

    Members
    -------
    session : In(1)
    frame : In(1)
        One cycle: a good frame has arrived with `header`, which stands for some cycles before.
    header : In
    enable : Out(1)
        There is room.
    landing : Out
        Slot for the payload of what arrives.
    waiting : Out(1)
        A request waits; it is `request`, its payload in the slot `first`.
    request, first : Out
    done : In(1)
        `request` was carried out; `answer` is kept in the slot of its sequence number's low bits.
    answer : In
    due : Out(1)
        The answer `again` is to be sent again.
    again : Out
    resent : In(1)
        It is being sent.
    """

    def __init__(self, payload_bytes: int, window: int):
        self.window = window
        header, slot = Out(header_layout(payload_bytes)), Out(exact_log2(window))
        super().__init__({
            "session": In(1), "frame": In(1), "header": header.flip(), "enable": Out(1), "landing": slot,
            "waiting": Out(1), "request": header, "first": slot, "done": In(1), "answer": header.flip(),
            "due": Out(1), "again": header, "resent": In(1)})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        slot_bits = len(self.landing)
        requests = Array(Signal(self.header.shape(), name=f"request_{n}") for n in range(self.window))
        answers = Array(Signal(self.header.shape(), name=f"answer_{n}") for n in range(self.window))
        arrived, served = Signal(slot_bits + 1), Signal(slot_bits + 1)
        expected, due = Signal(8), Signal(self.window)
        is_next, is_known = Signal(), Signal()
        own = self.header.sequence[:slot_bits]
        m.d.sync += [
            self.enable.eq((arrived - served)[:len(arrived)] != self.window),
            is_next.eq((self.header.type == Request.HELLO) | ~self.session | (self.header.sequence == expected)),
            is_known.eq(answers[own].sequence == self.header.sequence),
        ]
        m.d.comb += [self.landing.eq(arrived), self.first.eq(served), self.waiting.eq(arrived != served),
                     self.request.eq(requests[self.first]), self.due.eq(due.any())]
        with m.If(self.frame & is_next):
            m.d.sync += [requests[self.landing].eq(self.header), arrived.eq(arrived + 1),
                         expected.eq(self.header.sequence + 1)]
        with m.If(self.done):
            m.d.sync += [served.eq(served + 1), answers[self.answer.sequence[:slot_bits]].eq(self.answer)]
        # The lowest; answers that the host lacks are none of each other's.
        lowest = due & -due
        for n in range(self.window):
            with m.If(lowest[n]):
                m.d.comb += self.again.eq(answers[n])
                with m.If(self.resent):
                    m.d.sync += due[n].eq(0)
            with m.If(self.frame & ~is_next & is_known & (own == n)):
                m.d.sync += due[n].eq(1)
        return m
