"""Entries of the register file as the rows of a tile need them."""

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, entry_words
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.payloads import groups_layout
from latte.rtl.common.primitives import delay
from latte.rtl.memory.tile_payloads import tile_row_layout

__all__ = ["EntryReader", "entry_ask_layout", "entry_layout"]


def entry_ask_layout(build: MemoryBuild) -> data.StructLayout:
    """An entry, and the octave of a row's length, for which it has a code."""
    return data.StructLayout({"head": COUNT_BITS + 1, "octave": range(max(2, build.core.code_octaves.stop))})


def entry_layout(build: MemoryBuild) -> data.StructLayout:
    """What an entry says: whether it is ``known``, its row's fields but its keys, how its head's keys are grouped."""
    fields = {name: field.shape for name, field in tile_row_layout(build) if name != "keys"}
    groups = {"groups": groups_layout(build.core)} if build.core.group_bits else {}
    return data.StructLayout({"known": 1, "row": data.StructLayout(fields), **groups})


class EntryReader(wiring.Component):
    """Looks the words of an entry up, one after the other, but for codes of other octaves::

        ask -> head, index -> [HeadRegisters] -> word, known -> o

    An octave that has no code of its own (a row of one key) takes the first one's.

    Latency: one cycle for each word and `HeadRegisters.latency` + 2. One entry at a time.

    Parameters
    ----------
    build

    Members
    -------
    ask : In(stream of entry_ask_layout)
    look_up, head, index, word, known
        Of `HeadRegisters`.
    o : Out(stream of entry_layout)
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.words = entry_words(build.core)
        super().__init__({
            "ask": In(stream.Signature(entry_ask_layout(build))), "look_up": Out(1), "head": Out(COUNT_BITS),
            "index": Out(range(len(self.words))), "word": In(ENTRY_WORD_BITS), "known": In(1),
            "o": Out(stream.Signature(entry_layout(build)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        names = list(self.words)
        codes = [n for n, name in enumerate(names) if name.startswith("code_") or name == "tau"]
        octave = Signal(self.ask.payload.octave.shape())
        exists = Signal()
        # Words in front of the codes, then one code.
        asked = Signal(range(codes[0] + 2))
        is_code = asked == codes[0]
        code = codes[0] + (octave - self.build.core.code_octaves.start if self.build.core.code_octaves else 0)
        m.d.comb += [self.index.eq(asked), self.o.payload.known.eq(exists & self.known)]
        with m.If(is_code & (octave >= max(1, self.build.core.code_octaves.start))):
            m.d.comb += self.index.eq(code)
        came = delay(m, Cat(self.look_up, asked), HeadRegisters.latency, name="came")
        with m.If(came[0]), m.Switch(came[1:]):
            for place, name in enumerate(names[:codes[0] + 1]):
                with m.Case(place):
                    m.d.sync += [ours.eq(value) for ours, value in self._fields(name)]
        with m.FSM():
            with m.State("ASK"):
                m.d.comb += self.ask.ready.eq(1)
                m.d.sync += [self.head.eq(self.ask.payload.head), octave.eq(self.ask.payload.octave), asked.eq(0),
                             exists.eq(~self.ask.payload.head[-1])]
                with m.If(self.ask.valid):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += self.look_up.eq(1)
                m.d.sync += asked.eq(asked + 1)
                with m.If(is_code):
                    m.next = "AWAIT"
            with m.State("AWAIT"), m.If(came[1:] == codes[0]):
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "ASK"
        return m

    def _fields(self, name: str) -> list[tuple[Value, Value]]:
        """Return what a word says, as (a field of the payload, its value)."""
        layout, payload = self.words[name], self.o.payload
        word = data.View(layout, self.word[:layout.size])
        if name.startswith("code_") or name == "tau":
            return [(payload.row.code, self.word)]
        if name.startswith("group_"):
            bit = int(name.removeprefix("group_"))
            return [(payload.groups.elements[bit], word[f"element_{bit}"]),
                    (payload.groups.cuts[bit], word[f"cut_{bit}"])]
        fields = [(payload.row[field], word[field]) for field in payload.row.shape().members if field in layout.members]
        if name == "control" and self.build.core.group_bits:
            fields.append((payload.groups.group_bits, word.group_bits))
        return fields
