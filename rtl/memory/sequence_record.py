"""The record of a sequence while a job appends to it and asks it: what is read, counted on, and written back."""

from collections.abc import Iterator

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import HEADER_BYTES, SUM_BYTES, StateFormat
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.common.payloads import groups_layout, length_shape
from latte.rtl.common.primitives import delay, next_modulo, register, slice_address
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.tile_payloads import group_shape

__all__ = ["SequenceRecord", "added_layout", "group_sum_layout", "slice_shape"]


def slice_shape(build: MemoryBuild) -> range:
    """Shape of the number of a slice of a value: of as many elements as a beat of the bus has bytes."""
    return range(max(2, build.core.head_dim // build.bus_bytes))


def added_layout(build: MemoryBuild) -> data.StructLayout:
    """A slice of an appended key's value, and the key's group, which stands from the first to the `last`."""
    return data.StructLayout({"group": group_shape(build), "slice": slice_shape(build), "last": 1,
                              "values": data.ArrayLayout(signed(8), build.bus_bytes)})


def group_sum_layout(build: MemoryBuild) -> data.ArrayLayout:
    """A slice of a group's sum of V; exact for 65,536 keys."""
    return data.ArrayLayout(signed(8 * SUM_BYTES), build.bus_bytes)


class SequenceRecord(wiring.Component):
    """`latte.golden.memory.sequence_state` of one sequence::

        beat -+-> header, keys of the groups, numbers -------------+-> StreamQueue -> o
              +-> three beats -> [sums: LUT RAM] --+--> register --+
        add ----------------------> + <------------+        +-> sums

    Whoever reads, adds or writes lets the one before end: the sums have one read port. A build without compensation has
    the header alone, and `groups` and `numbers` are there in a build with several key groups.

    Latency: `latency` cycles from a group to its keys and sums; what was added can be read in the next cycle. Six
    cycles from `write` to the first beat. Throughput: a beat per cycle.

    Parameters
    ----------
    build

    Members
    -------
    begin : In(1)
        A record comes.
    beat_valid, beat : In(8 * bus_bytes)
        All of it, in order.
    complete : Out(1)
        It is here.
    live, generation, length, table_address : Out
        As they lie in the record, so that a length beyond the build is seen to be one.
    groups_set, new_groups : In(groups_layout)
        An empty sequence takes the groups of its first keys.
    groups : Out(groups_layout)
    numbers : Out(page_rows * group_bits)
        Group numbers of the page with the last key, also if it is full.
    add_valid, add : In(added_layout)
        One key more: `length`, `numbers` and the group's keys change with its last slice.
    read_group, read_slice : In
    keys : Out(length_shape), sums : Out(group_sum_layout)
        Of that group, and of that slice of it.
    write : In(1)
        Begins to give the record.
    o : Out(stream of 8 * bus_bytes)
    overflow : Out(1)
        The queue has lost a beat.
    """

    latency = RAM_LATENCY

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.beats = StateFormat(build).state_bytes // build.bus_bytes
        core = build.core
        numbered = {"groups_set": In(1), "new_groups": In(groups_layout(core)), "groups": Out(groups_layout(core)),
                    "numbers": Out(build.page_rows * core.group_bits)} if core.group_bits else {}
        summed = {"read_group": In(group_shape(build)), "read_slice": In(slice_shape(build)),
                  "keys": Out(length_shape(core)), "sums": Out(group_sum_layout(build))} if core.key_groups else {}
        super().__init__({
            "begin": In(1), "beat_valid": In(1), "beat": In(8 * build.bus_bytes), "complete": Out(1),
            "live": Out(1), "generation": Out(16), "length": Out(32), "table_address": Out(ADDRESS_BITS),
            **numbered, "add_valid": In(1), "add": In(added_layout(build)), **summed,
            "write": In(1), "o": Out(stream.Signature(8 * build.bus_bytes)), "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, core, beat_bits = self.build, self.build.core, 8 * self.build.bus_bytes
        before_sums = StateFormat(build).sums_offset // build.bus_bytes
        # Keys of the groups.
        counts = Signal(data.ArrayLayout(length_shape(core), core.key_groups), reset_less=True)
        number = Signal(range(self.beats + 1))
        m.d.comb += self.complete.eq(number == self.beats)
        with m.If(self.begin):
            m.d.sync += number.eq(0)
        with m.Elif(self.beat_valid):
            m.d.sync += number.eq(number + 1)
        with m.If(self.beat_valid), m.Switch(number):
            for n in range(before_sums):
                with m.Case(n):
                    for offset, field in self._fields(counts):
                        low, high = max(offset, n * beat_bits), min(offset + len(field), (n + 1) * beat_bits)
                        if low < high:
                            m.d.sync += field[low - offset:high - offset].eq(
                                self.beat[low - n * beat_bits:high - n * beat_bits])
        self._count(m, counts)

        # What is given: a beat's number, and a word of sums with the part of it that the beat is.
        m.submodules.queue = queue = StreamQueue(beat_bits, producer_latency=self.latency)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.comb += self.overflow.eq(queue.overflow)
        gives, given, goes = Signal(), Signal(range(self.beats)), Signal()
        m.d.comb += goes.eq(gives & queue.room)
        with m.If(self.write):
            m.d.sync += [gives.eq(1), given.eq(0)]
        with m.Elif(goes):
            m.d.sync += [given.eq(given + 1), gives.eq(given != self.beats - 1)]
        image = Signal(before_sums * beat_bits)
        for offset, field in self._fields(counts, written=True):
            m.d.comb += image[offset:offset + len(field)].eq(field)
        shown = delay(m, given, self.latency, name="given", reset_less=True)
        m.d.comb += [queue.i.valid.eq(delay(m, goes, self.latency, name="goes")),
                     queue.i.payload.eq(image.word_select(shown, beat_bits))]
        if core.key_groups:
            word, part = self._sum(m, self.beat_valid & (number >= before_sums), gives,
                                   goes & (given >= before_sums))
            with m.If(self.begin | self.write):
                m.d.sync += [word.eq(0), part.eq(0)]
            shown_part = delay(m, part, self.latency, name="part", reset_less=True)
            with m.If(shown >= before_sums):
                m.d.comb += queue.i.payload.eq(self.sums.as_value().word_select(shown_part, beat_bits))
        return m

    def _fields(self, counts: data.View, *, written: bool = False) -> Iterator[tuple[int, Value]]:
        """Yield (offset in bits, value) of what stands in front of the sums; as it is read, or as it is `written`."""
        core, form = self.build.core, StateFormat(self.build)
        fields: dict[int, Value] = {0: self.live, 2: self.generation, 4: self.length, 8: self.table_address}
        if core.group_bits:
            fields[16] = self.groups.group_bits
            fields |= {17 + n: self.groups.elements[n] for n in range(core.group_bits)}
            fields |= {20 + n: self.groups.cuts[n] for n in range(core.group_bits)}
            # Behind a full page, its numbers are those of the next one: none.
            fields[form.numbers_offset] = Mux(self._row() == 0, 0, self.numbers) if written else self.numbers
        fields |= {HEADER_BYTES + 4 * n: counts[n] for n in range(core.key_groups)}
        return ((8 * offset, Value.cast(field)) for offset, field in fields.items())

    def _row(self) -> Value:
        """Return the place in its page of the key that comes next."""
        return self.length[:exact_log2(self.build.page_rows)]

    def _count(self, m: Module, counts: data.View) -> None:
        """Count keys that are added, and take the groups of an empty sequence."""
        core, add = self.build.core, self.add
        with m.If(self.add_valid & add.last):
            m.d.sync += self.length.eq(self.length + 1)
            if core.key_groups:
                m.d.sync += counts[add.group].eq(counts[add.group] + 1)
            if core.group_bits:
                with m.If(self._row() == 0):
                    m.d.sync += self.numbers.eq(add.group)
                with m.Else():
                    m.d.sync += self.numbers.word_select(self._row(), core.group_bits).eq(add.group)
        if core.group_bits:
            with m.If(self.groups_set):
                m.d.sync += self.groups.group_bits.eq(self.new_groups.group_bits)
                for n in range(core.group_bits):
                    # The record says nothing of comparisons that are not used, whatever the register file does.
                    used = self.new_groups.group_bits > n
                    m.d.sync += [self.groups.elements[n].eq(Mux(used, self.new_groups.elements[n], 0)),
                                 self.groups.cuts[n].eq(Mux(used, self.new_groups.cuts[n], 0))]
        if core.key_groups:
            group = register(m, self.read_group, "read_group_held")
            m.d.sync += self.keys.eq(counts[group])

    def _sum(self, m: Module, comes: Value, gives: Value, gone: Value) -> tuple[Signal, Signal]:
        """Keep the sums; return the (word, part of it) that comes or goes next: a word is three beats."""
        build, core, beat_bits = self.build, self.build.core, 8 * self.build.bus_bytes
        slices = core.head_dim // build.bus_bytes
        words = core.key_groups * slices
        m.submodules.memory = kept = memory.Memory(shape=group_sum_layout(build), depth=max(2, words), init=[])
        write, read = kept.write_port(), kept.read_port(domain="comb")
        word, part = Signal(range(max(2, words))), Signal(range(SUM_BYTES))
        last = part == SUM_BYTES - 1
        with m.If(comes | gone):
            m.d.sync += part.eq(next_modulo(part, SUM_BYTES))
            with m.If(last):
                m.d.sync += word.eq(word + 1)
        first_beats = Signal((SUM_BYTES - 1) * beat_bits, reset_less=True)
        with m.If(self.beat_valid):
            m.d.sync += first_beats.eq(Cat(first_beats, self.beat)[beat_bits:])
        place = Mux(self.add_valid, slice_address(self.add.slice, self.add.group, slices),
                    Mux(gives, word, slice_address(self.read_slice, self.read_group, slices)))
        address = register(m, place, "address", range(max(2, words)))
        adds, values = delay(m, self.add_valid, 1, name="adds"), register(m, self.add.values, "values")
        # Written with each of its beats, whole with the last one.
        loaded = data.View(group_sum_layout(build), Cat(first_beats, self.beat))
        m.d.comb += [read.addr.eq(address), write.en.eq(adds | comes), write.addr.eq(Mux(adds, address, word))]
        m.d.comb += [write.data[n].eq(Mux(adds, read.data[n] + values[n], loaded[n])) for n in range(build.bus_bytes)]
        m.d.sync += self.sums.eq(read.data)
        return word, part
