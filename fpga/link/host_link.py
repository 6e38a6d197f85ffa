"""The host's side door to the core: requests over a UART become stream items, and outputs become answers."""

from amaranth import Array, C, Cat, Module, Mux, Signal
from amaranth.hdl import Shape, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.fpga.link.frame import FrameReceiver, FrameSender
from latte.fpga.link.protocol import (
    CONTINUED,
    ERROR,
    RESPONSE,
    STREAMS,
    Failure,
    Request,
    byte_size,
    identity,
    identity_layout,
    item_shape,
    report_layout,
    trailer_layout,
)
from latte.fpga.link.request_queue import RequestQueue
from latte.fpga.link.uart import UartReceiver, UartTransmitter, clocks_per_bit
from latte.golden.config import AttentionConfig
from latte.rtl.common.core import Core, counters_layout, status_layout
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.ram import RAM_LATENCY, Ram

__all__ = ["HostLink", "connect_core"]

_WORD_BITS, _WORD_BYTES = 32, 4
_GROUP_WORDS = 4
_DISCARDED_BITS = 16


class HostLink(wiring.Component):
    """Carries out the requests of `latte.fpga.link.protocol`.

    Data flow::

        rx -> UartReceiver -> FrameReceiver -> Ram (requests | answers) -> FrameSender -> UartTransmitter -> tx
                                                 |            ^
                                                 v            |
                                               item  <--------+-- identity, status, counters
                                                 |  ^
                     job, parameter, q, k, v <---+  +------------ o

    Requests are carried out and answered one after the other; the next ones arrive meanwhile, up to `window` in all.
    A good frame is queued only if it has the next sequence number, so each is carried out once and in order. The last
    `window` answers stay in the memory; one is sent again if its request is repeated. No request waits longer than
    `patience` cycles for a stream: a write answers how many items it handed over, a read gives what there is. An item
    once handed over stays on offer until the core takes it. A write that continues one that was cut short hands over
    nothing.

    Parameters
    ----------
    config
    clock_hz, baud
        The line's speed.
    payload_bytes : int
        Power of two; the longest payload of a frame.
    window : int
        Power of two; requests that may be under way. Two, with their answers, fill one block RAM of ECP5 or Gowin, and
        are enough: one arrives while the other is carried out and answered.
    patience : int
        Power of two; cycles.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    job, parameter, q, k, v, o, clear, status, counters
        The core's, seen from the other side.
    reset : Out(1)
        Resets the core.
    session : Out(1)
        A host has said HELLO.
    busy : Out(1)
        A request is being carried out or answered.

    Raises
    ------
    LatteError
        The baud rate cannot be made from the clock.
    """

    def __init__(self, config: AttentionConfig, clock_hz: float, baud: int, *, payload_bytes: int = 512,
                 window: int = 2, patience: int = 4096):
        self.config = config
        self.clocks = clocks_per_bit(clock_hz, baud)
        self.payload_bytes = payload_bytes
        self.window = window
        self.patience = patience
        streams = {name: Out(stream.Signature(item_shape(request, config))) for request, name in STREAMS.items()}
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), **streams, "o": In(stream.Signature(output_layout(config))),
            "clear": Out(1), "status": In(status_layout()), "counters": In(counters_layout()),
            "reset": Out(1), "session": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        """Return the circuit."""
        m = Module()
        m.submodules.uart_receiver = uart_receiver = UartReceiver(self.clocks)
        m.submodules.uart_transmitter = uart_transmitter = UartTransmitter(self.clocks)
        m.submodules.frame_receiver = receiver = FrameReceiver(self.payload_bytes)
        m.submodules.frame_sender = sender = FrameSender(self.payload_bytes)
        m.submodules.request_queue = queue = RequestQueue(self.payload_bytes, self.window)
        m.submodules.buffer = buffer = Ram(8, 2 * self.window * self.payload_bytes)
        m.d.comb += [
            uart_receiver.rx.eq(self.rx), self.tx.eq(uart_transmitter.tx),
            receiver.data.eq(uart_receiver.data), receiver.valid.eq(uart_receiver.valid),
            receiver.enable.eq(queue.enable), queue.session.eq(self.session), queue.frame.eq(receiver.frame),
            queue.header.type.eq(receiver.type), queue.header.sequence.eq(receiver.sequence),
            queue.header.length.eq(receiver.length),
        ]
        wiring.connect(m, sender.o, uart_transmitter.i)

        discarded, bad_frame = Signal(_DISCARDED_BITS), Signal()
        m.d.sync += bad_frame.eq(receiver.discarded)
        with m.If(bad_frame & ~discarded.all()):
            m.d.sync += discarded.eq(discarded + 1)

        # The memory: requests in the low half, answers in the high half.
        item = Signal(8 * self._item_bytes())
        fetched, stored = Signal(16), Signal(range(self.payload_bytes + 1))
        store, sending, slot = Signal(), Signal(), Signal.like(queue.first)
        half = exact_log2(self.payload_bytes)
        # Registered: there is time between received bytes, and they come while answers are made.
        lands, landed, landing = Signal(), Signal(8), Signal.like(buffer.write_addr)
        m.d.sync += [lands.eq(receiver.write_en), landed.eq(receiver.write_data),
                     landing.eq(Cat(receiver.write_index, queue.landing, 0))]
        m.d.comb += [
            buffer.write_en.eq(store | lands),
            buffer.write_addr.eq(Mux(lands, landing, Cat(stored[:half], slot, 1))),
            buffer.write_data.eq(Mux(lands, landed, item[:8])),
            buffer.read_addr.eq(Mux(sending, Cat(sender.read_index, slot, 1), Cat(fetched[:half], queue.first, 0))),
            sender.read_data.eq(buffer.read_data), sender.length.eq(stored),
        ]
        self._control(m, queue, sender, buffer, discarded, item, fetched, stored, slot, store, lands, sending)
        return m

    def _item_bytes(self) -> int:
        shapes = [item_shape(request, self.config) for request in (*STREAMS, Request.READ_OUTPUT)]
        return max(_WORD_BYTES, *map(byte_size, shapes))

    def _control(self, m, queue, sender, buffer, discarded, item, fetched, stored, slot, store, lands, sending):
        """State machine: wait for a request, carry it out, answer."""
        config = self.config
        request, answer = Signal.like(queue.request), Signal(8)
        sequence = request.sequence
        to_store, word_index, last_word = Signal(range(self._item_bytes() + 1)), Signal(5), Signal(5)
        gathered, wait = Signal(range(self._item_bytes())), Signal(range(RAM_LATENCY + 1))
        # What an answer of few bytes says: items accepted, why it failed, the trailer.
        reply, waited = Signal(16), Signal(range(self.patience))
        # Of a write: all its items were handed over. Of an item: it ends the answer.
        job_last, whole, last = Signal(), Signal(), Signal()
        choice = Signal.like(item)
        failed, reads, tells = (Signal(name=name) for name in ("failed", "reads", "tells"))
        word, identity_words = self._word(m, discarded, word_index)
        handing = Signal()
        taken, item_ends = self._offers(m, request.type, item, gathered, handing)
        beat_bytes = byte_size(item_shape(Request.READ_OUTPUT, config))
        trailer = Signal(trailer_layout())
        # Comparisons are registered: the state machine has cycles to spare, the clock has not.
        exhausted, fits, more_words, expired = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            expired.eq(waited.all()), exhausted.eq(fetched == request.length), more_words.eq(word_index <= last_word),
            reads.eq(request.type == Request.READ_OUTPUT),
            tells.eq((request.type == Request.HELLO) | (request.type == Request.REPORT)),
        ]
        m.d.comb += [
            sender.type.eq(answer), sender.sequence.eq(sequence), slot.eq(sequence), queue.answer.type.eq(answer),
            queue.answer.sequence.eq(sequence), queue.answer.length.eq(stored), trailer.job_last.eq(job_last),
            trailer.status.eq(self.status),
        ]
        m.d.sync += [self.reset.eq(0), self.clear.eq(0), self.o.ready.eq(0)]

        # What an item is loaded with is chosen a cycle before: then it is shifted or loaded, and no more.
        def fail(reason):
            m.d.sync += reply.eq(reason)
            m.next = "FAIL"

        with m.FSM() as fsm:
            m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), sending.eq(fsm.ongoing("SEND"))]
            with m.State("IDLE"):
                m.d.sync += request.eq(queue.request)
                with m.If(queue.due):
                    m.d.comb += queue.resent.eq(1)
                    m.d.sync += [sequence.eq(queue.again.sequence), answer.eq(queue.again.type),
                                 stored.eq(queue.again.length)]
                    m.next = "OPEN"
                with m.Elif(queue.waiting):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [
                    answer.eq(request.type | RESPONSE), stored.eq(0), fetched.eq(0),
                    gathered.eq(0), reply.eq(0), waited.eq(0), job_last.eq(0), word_index.eq(0),
                    last_word.eq(identity_words - 1), fits.eq(1), failed.eq(0), last.eq(0),
                ]
                with m.If((request.type != Request.HELLO) & ~self.session):
                    fail(Failure.NO_SESSION)
                with m.Else(), m.Switch(request.type):
                    with m.Case(Request.HELLO):
                        m.d.sync += self.session.eq(1)
                        m.next = "SELECT WORD"
                    with m.Case(Request.RESET):
                        m.d.sync += self.reset.eq(1)
                        m.next = "KEEP"
                    with m.Case(Request.CLEAR):
                        m.d.sync += self.clear.eq(1)
                        m.next = "KEEP"
                    with m.Case(Request.REPORT):
                        m.d.sync += [word_index.eq(identity_words),
                                     last_word.eq(identity_words + len(_words(report_layout())) - 1)]
                        m.next = "SELECT WORD"
                    with m.Case(Request.READ_OUTPUT):
                        m.next = "TAKE OUTPUT"
                    with m.Case(*STREAMS):
                        m.next = "FETCH"
                    with m.Case(*(code | CONTINUED for code in STREAMS)):
                        m.next = "FETCH"
                        with m.If(~whole):
                            m.next = "COUNT"
                    with m.Default():
                        fail(Failure.UNKNOWN_TYPE)

            # Writes: gather the bytes of an item, hand it over.
            with m.State("FETCH"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == RAM_LATENCY):
                    m.d.sync += item.eq(Cat(item[8:], buffer.read_data))
                with m.If(exhausted & (wait != 0)):
                    m.d.sync += [wait.eq(0), whole.eq(1)]
                    m.next = "COUNT"
                    with m.If(gathered != 0):
                        m.d.sync += whole.eq(0)
                        fail(Failure.BAD_LENGTH)
                with m.Elif(wait == RAM_LATENCY):
                    m.d.sync += [fetched.eq(fetched + 1), wait.eq(0), gathered.eq(gathered + 1)]
                    with m.If(item_ends):
                        m.d.sync += [gathered.eq(0), waited.eq(0)]
                        m.next = "HAND OVER"
            with m.State("HAND OVER"):
                m.d.comb += handing.eq(1)
                m.d.sync += waited.eq(waited + 1)
                with m.If(taken):
                    m.d.sync += reply.eq(reply + 1)
                    m.next = "FETCH"
                with m.Elif(expired):
                    m.d.sync += whole.eq(0)
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [choice.eq(reply), to_store.eq(2)]
                m.next = "LOAD"
            with m.State("FAIL"):
                m.d.sync += [answer.eq(ERROR), failed.eq(1), choice.eq(reply), to_store.eq(1)]
                m.next = "LOAD"

            # Reads: load an item, store its bytes.
            with m.State("SELECT WORD"):
                m.next = "PASS WORD"
            with m.State("PASS WORD"):
                m.next = "TAKE WORD"
            with m.State("TAKE WORD"):
                m.d.sync += [choice.eq(word), to_store.eq(_WORD_BYTES), word_index.eq(word_index + 1)]
                m.next = "LOAD"
            with m.State("TAKE OUTPUT"):
                # What is on offer is chosen in any case: whether it counts is known late. It stays on offer until it is
                # accepted, a cycle later.
                m.d.sync += [waited.eq(waited + 1), choice.eq(self.o.payload.data)]
                with m.If(~fits | job_last):
                    m.next = "CONCLUDE"
                with m.Elif(self.o.valid):
                    m.d.sync += [self.o.ready.eq(1), job_last.eq(self.o.payload.job_last), waited.eq(0),
                                 to_store.eq(beat_bytes)]
                    m.next = "LOAD"
                with m.Elif(expired):
                    m.next = "CONCLUDE"
            with m.State("CONCLUDE"):
                m.d.sync += reply.eq(trailer)
                m.next = "TAKE TRAILER"
            with m.State("TAKE TRAILER"):
                m.d.sync += [choice.eq(reply), to_store.eq(byte_size(trailer_layout())), last.eq(1)]
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += item.eq(choice)
                m.next = "STORE"
            # What arrives is stored first.
            with m.State("STORE"), m.If(~lands):
                m.d.comb += store.eq(1)
                m.d.sync += [item.eq(item[8:]), stored.eq(stored + 1), to_store.eq(to_store - 1),
                             fits.eq(stored < self.payload_bytes - beat_bytes - byte_size(trailer_layout()))]
                with m.If(to_store == 1):
                    m.next = "KEEP"
                    with m.If(~failed & ~last & reads):
                        m.next = "TAKE OUTPUT"
                    with m.Elif(~failed & tells & more_words):
                        m.next = "SELECT WORD"
            with m.State("KEEP"):
                m.d.comb += queue.done.eq(1)
                m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += sender.start.eq(1)
                m.next = "SEND"
            with m.State("SEND"), m.If(sender.done):
                m.next = "IDLE"

    def _word(self, m, discarded, index):
        """Return (word `index` two cycles later, number of words of the identity); the report's words follow."""
        fields = identity(self.config, self.payload_bytes, self.window)
        constant = identity_layout().const(fields).as_bits()
        words = [C((constant >> offset) & (1 << _WORD_BITS) - 1, _WORD_BITS) for offset in _words(identity_layout())]
        report = Signal(report_layout())
        m.d.comb += [report.status.eq(self.status.as_value()), report.discarded.eq(discarded)]
        m.d.comb += [report[name].eq(self.counters[name]) for name, _ in counters_layout()]
        values = [report.as_value()[offset:offset + _WORD_BITS] for offset in _words(report_layout())]
        # In two steps: four to one, then the rest.
        all_words, step = [*words, *values], exact_log2(_GROUP_WORDS)
        groups = [Signal(_WORD_BITS, name=f"group_{n}") for n in range(0, len(all_words), _GROUP_WORDS)]
        word = Signal(_WORD_BITS)
        m.d.sync += [group.eq(Array(all_words[first:first + _GROUP_WORDS])[index[:step]])
                     for group, first in zip(groups, range(0, len(all_words), _GROUP_WORDS), strict=True)]
        m.d.sync += word.eq(Array(groups)[index[step:]])
        return word, len(words)

    def _offers(self, m, request, item, gathered, handing):
        """Keep one item on offer at each stream; return (the request's stream takes `item`, `item` is complete)."""
        taken, item_ends = Signal(), Signal()
        for code, name in STREAMS.items():
            port, shape = getattr(self, name), item_shape(code, self.config)
            size, width = byte_size(shape), Shape.cast(shape).width
            # Known long before it matters, so it is registered.
            selected = Signal(name=f"{name}_selected")
            m.d.sync += selected.eq(request & ~CONTINUED == code)
            with m.If(port.ready | self.reset):
                m.d.sync += port.valid.eq(0)
            with m.If(selected):
                m.d.sync += item_ends.eq(gathered == size - 1)
                m.d.comb += taken.eq(~port.valid)
                with m.If(handing & ~port.valid):
                    # The bytes came in at the top.
                    m.d.sync += [port.valid.eq(1), Value.cast(port.payload).eq(item[len(item) - 8 * size:][:width])]
        return taken, item_ends


def _words(layout) -> range:
    """Return the offsets of the 32-bit words of a layout."""
    return range(0, Shape.cast(layout).width, _WORD_BITS)


def connect_core(m: Module, link: HostLink, core: Core) -> None:
    """Connect everything but the core's reset, which belongs to whoever makes the core."""
    for name in STREAMS.values():
        wiring.connect(m, getattr(link, name), getattr(core, name))
    wiring.connect(m, core.o, link.o)
    m.d.comb += [core.clear.eq(link.clear), Value.cast(link.status).eq(core.status),
                 Value.cast(link.counters).eq(core.counters)]
