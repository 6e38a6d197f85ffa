"""Small pieces every block uses: pipeline registers, block RAM with its output register, stream queues."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RAM_LATENCY", "Ram", "StreamQueue", "add_modulo", "delay", "next_modulo", "slice_address",
           "times"]

RAM_LATENCY = 2
"""Cycles from `Ram.read_addr` to `Ram.read_data`: the array, and the register that keeps logic off its slow output."""

WHOLE_DEPTH = 1024
"""Words up to which one block RAM, of whatever width it then has, is better than two."""


def delay(m: Module, value, cycles: int, *, name: str, reset_less: bool = False):
    """Return `value` as it was `cycles` cycles ago, of the same shape."""
    for stage in range(cycles):
        register = Signal(value.shape(), name=f"{name}_d{stage + 1}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value


def times(value: Value, factor: int) -> Value:
    """Return ``value * factor`` for a small constant as shifts and adds: no multiplier block is spent on it."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def next_modulo(value: Signal, modulus: int) -> Value:
    """Return the successor of `value` in ``0 .. modulus - 1``."""
    if modulus == 1:
        return Const(0)
    if 1 << len(value) == modulus:
        return (value + 1)[:len(value)]
    return Mux(value == modulus - 1, 0, value + 1)


def add_modulo(value: Value, addend: Value, modulus: int) -> Value:
    """Return ``value + addend`` in ``0 .. modulus - 1``, for two numbers of which the first is there already."""
    total = value + addend
    if modulus & (modulus - 1) == 0:
        return total[:modulus.bit_length() - 1]
    return Mux(total >= modulus, total - modulus, total)


def slice_address(row: Value, part: Value, rows: int) -> Value:
    """Return ``part * rows + row``: where slice `part` of a row lies if the same slices of all `rows` lie together.

    Powers of two need no adder between the registers and the memory.
    """
    if rows & (rows - 1) == 0:
        return Cat(row[:rows.bit_length() - 1], part)
    return times(part, rows) + row


def part_sizes(depth: int) -> list[int]:
    """Return the powers of two, largest first, that make up a deep memory; a shallow one stays whole.

    Block RAMs are powers of two deep. A synthesiser that rounds another depth to many short ones puts the
    multiplexer between them before the output register, where there is no time for it.
    """
    largest = 1 << (depth.bit_length() - 1)
    return [depth] if depth <= WHOLE_DEPTH or depth == largest else [largest, *part_sizes(depth - largest)]


class Ram(wiring.Component):
    """Memory with one write and one read port, both synchronous, and a register behind the read port.

    A deep memory is made of `part_sizes`, each with its own register; one choice between them comes after.

    Latency: a word written in one cycle is read by an address given in the next; `RAM_LATENCY` cycles later it is at
    `read_data`. Contents survive reset.

    Parameters
    ----------
    shape
        Shape of one word.
    depth
        Words.
    init
        Initial words; a table that is never written leaves `write_en` at 0.

    Members
    -------
    write_en, write_addr, write_data : In
    read_addr : In(range(depth))
    read_data : Out(shape)
    """

    def __init__(self, shape, depth: int, init=()):
        self.shape = shape
        self.depth = depth
        self.init = init
        super().__init__({
            "write_en": In(1), "write_addr": In(range(max(2, depth))), "write_data": In(shape),
            "read_addr": In(range(max(2, depth))), "read_data": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        first = 0
        chosen = delay(m, self.read_addr, RAM_LATENCY, name="chosen", reset_less=True)
        for n, size in enumerate(part_sizes(max(2, self.depth))):
            array = memory.Memory(shape=self.shape, depth=size, init=self.init[first:first + size])
            m.submodules[f"array_{n}"] = array
            if not self.init:
                write = array.write_port()
                here = (self.write_addr >= first) & (self.write_addr < first + size)
                m.d.comb += [write.addr.eq(self.write_addr), write.data.eq(self.write_data),
                             write.en.eq(self.write_en & here)]
            read = array.read_port()
            register = Signal(self.shape, name=f"register_{n}", reset_less=True)
            m.d.comb += read.addr.eq(self.read_addr)
            m.d.sync += register.eq(read.data)
            with m.If(chosen >= first):
                m.d.comb += self.read_data.eq(register)
            first += size
        return m


class StreamQueue(wiring.Component):
    """First-in first-out queue of stream payloads, with a register in front of the consumer.

    Producers that cannot be stopped at once look at `level` and leave room for what is under way.

    Latency: 3 cycles from an empty queue. Throughput: one per cycle, or one in two cycles.

    Parameters
    ----------
    shape
        Of the payload.
    depth
        Entries.
    every_other
        Give one item in two cycles at most: then what enables a wide register does not come from the consumer.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Entries held, not counting the one at the output.
    """

    def __init__(self, shape, depth: int, *, every_other: bool = False):
        self.shape = shape
        self.depth = depth
        self.every_other = every_other
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "level": Out(range(depth + 1))})

    def elaborate(self, platform):
        m = Module()
        width = len(Value.cast(self.i.payload))
        m.submodules.storage = storage = memory.Memory(shape=width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port()
        # Words in the memory, and, known beforehand, whether there are any and whether there is room for another.
        stored, some, full = Signal(range(self.depth)), Signal(), Signal()
        # A word behind the memory's read port, and none in the register behind that.
        fetched, vacant = Signal(), Signal(init=1)
        held = Signal(width, reset_less=True)
        push, pull, fetch, advance = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            push.eq(self.i.valid & ~full), self.i.ready.eq(~full),
            advance.eq(vacant if self.every_other else vacant | self.o.ready),
            # On in every cycle in which the register behind it is: one block RAM holds both, and may tie them.
            fetch.eq(~fetched | advance),
            pull.eq(fetch & some),
            write.en.eq(push), write.data.eq(self.i.payload), read.en.eq(fetch),
            self.o.valid.eq(~vacant), self.o.payload.eq(held), self.level.eq(stored + fetched),
        ]
        for port, moves in ((write, push), (read, pull)):
            with m.If(moves):
                m.d.sync += port.addr.eq(next_modulo(port.addr, self.depth))
        with m.If(push ^ pull):
            m.d.sync += [stored.eq(stored + Mux(push, 1, -1)), some.eq(push | (stored != 1)),
                         full.eq(push & (stored == self.depth - 2))]
        with m.If(fetch):
            m.d.sync += fetched.eq(some)
        with m.If(advance):
            m.d.sync += [vacant.eq(~fetched), held.eq(read.data)]
        with m.Elif(self.o.ready):
            m.d.sync += vacant.eq(1)
        return m
