"""Head-wise register file: threshold, softmax scale, gains and key groups of every (block, head)."""

import bisect

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.jobs import COUNT_BITS
from latte.golden.key_groups import GROUP_BITS_MAX
from latte.golden.pruned_mass import table_holds
from latte.golden.quantizer import MASS_CODE_BITS, SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS, SCALE_SHIFT_MAX
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, entry_words, parameter_layout
from latte.rtl.common.ram import RAM_LATENCY, Ram

__all__ = ["HeadRegisters"]

_GROUP_BITS = 4
"""Flags are looked up in groups of 16 first."""


class HeadRegisters(wiring.Component):
    """Holds one `HeadParameters` entry per head, word by word, and remembers which were written since reset.

    An entry is written from its first word to its last (`entry_words`). From the first on its head is unknown; it is
    known with the last, if every word was in turn, in range, and something that the build has. So nothing is ever
    computed with half an entry.

    A relative threshold written as 0 is held as 1, the smallest that keeps the row's maximum.

    Latency: `word` and `known` follow `look_up` by `latency` cycles, `known` if `head` stands still. A write is checked
    as it is taken and carried out a cycle later; a look-up sees it from the second cycle on.

    Members
    -------
    parameter : In(stream of parameter_layout)
        Writes; ready but in the cycle of a look-up.
    look_up, head, index : In
        In each cycle of `look_up`, word `index` of the entry of `head`.
    word : Out(ENTRY_WORD_BITS)
    known : Out(1)
        The head exists and was written.
    head_invalid : Out(1)
        A write to a head that does not exist was ignored; a cycle after it was taken.
    entry_invalid : Out(1)
        A word came out of turn, and was ignored, or is none that an entry of this build can have: its head stays
        unknown. A cycle after the word was taken.
    """

    latency = RAM_LATENCY + 1
    """A large register file is several block RAMs, and those who look up are far away: what is chosen is registered."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.words = entry_words(config)
        super().__init__({
            "parameter": In(stream.Signature(parameter_layout())), "look_up": In(1), "head": In(COUNT_BITS),
            "index": In(range(len(self.words))), "word": Out(ENTRY_WORD_BITS), "known": Out(1),
            "head_invalid": Out(1), "entry_invalid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        heads = self.config.heads
        count = len(self.words)
        m.submodules.entries = entries = Ram(ENTRY_WORD_BITS, heads << ceil_log2(count))
        offer = self.parameter.payload
        # Checked as it is taken: what is between a register and the memory's ports is the order of words alone.
        write, fault, writes = Signal(parameter_layout(), reset_less=True), Signal(reset_less=True), Signal()
        taken, exists = Signal(), Signal()
        m.d.comb += [self.parameter.ready.eq(~self.look_up), taken.eq(self.parameter.valid & self.parameter.ready),
                     exists.eq(offer.head < heads)]
        m.d.sync += [write.eq(offer), writes.eq(taken & exists), self.head_invalid.eq(taken & ~exists)]
        self._check(m, offer, taken & exists, fault, write.data)

        starts, ends, in_turn = (Signal(name=name) for name in ("starts", "ends", "in_turn"))
        head, index = write.head[:ceil_log2(max(2, heads))], write.word[:len(self.index)]
        # The entry under way, and which word of it is next; 0: none is under way.
        entry_head, turn, good = Signal.like(head, reset_less=True), Signal(range(count)), Signal()
        m.d.comb += [
            starts.eq(write.word == 0), ends.eq(turn == count - 1),
            in_turn.eq(starts | ((write.word == turn) & (head == entry_head))),
            self.entry_invalid.eq(writes & (fault | ~in_turn)),
            entries.write_en.eq(writes & in_turn), entries.write_addr.eq(Cat(index, head)),
            entries.write_data.eq(write.data), entries.read_addr.eq(Cat(self.index, self.head)),
        ]
        m.d.sync += self.word.eq(entries.read_data)
        with m.If(writes):
            m.d.sync += good.eq((starts | good) & in_turn & ~fault)
            with m.If(starts):
                m.d.sync += [entry_head.eq(head), turn.eq(1)]
            with m.Elif(in_turn):
                m.d.sync += turn.eq(Mux(ends, 0, turn + 1))

        # One flag per head takes two cycles to set, and one to find.
        written = Signal(heads)
        new, new_head, new_known = Signal(), Signal.like(head, reset_less=True), Signal(reset_less=True)
        m.d.sync += [new.eq(writes & (starts | (in_turn & ends))), new_head.eq(head),
                     new_known.eq(~starts & good & ~fault)]
        with m.If(new):
            m.d.sync += written.bit_select(new_head, 1).eq(new_known)
        groups = [written[first:first + (1 << _GROUP_BITS)] for first in range(0, heads, 1 << _GROUP_BITS)]
        found, possible = Signal(len(groups)), Signal()
        m.d.sync += [found.eq(Cat(group.bit_select(self.head[:_GROUP_BITS], 1) for group in groups)),
                     possible.eq(self.head < heads)]
        m.d.comb += self.known.eq(possible & found.bit_select(self.head[_GROUP_BITS:], 1))
        return m

    def _check(self, m: Module, offer: data.View, accepted: Value, fault: Signal, held: Value) -> None:
        """Find out whether a word is none that an entry of this build can have; mend what is `held` of it."""
        config = self.config
        kinds = [list(ThresholdKind).index(ThresholdKind(kind)) for kind in config.threshold_kinds]
        relative, mass, absolute = range(len(ThresholdKind))
        kind, shift = Signal(range(len(ThresholdKind)), reset_less=True), Signal(SCALE_SHIFT_BITS, reset_less=True)
        small = Signal(reset_less=True)
        m.d.sync += fault.eq(0)
        with m.Switch(offer.word[:len(self.index)]):
            for place, (name, layout) in enumerate(self.words.items()):
                with m.Case(place):
                    word = Signal(layout, name=f"{name}_word")
                    m.d.comb += word.as_value().eq(offer.data)
                    rest = offer.data[layout.size:]
                    if name == "control":
                        # Every number of groups that the word can say may be there.
                        grouped = word.group_bits > config.group_bits if config.group_bits < GROUP_BITS_MAX else 0
                        m.d.sync += fault.eq(~Cat(word.kind == n for n in kinds).any() | rest.any() | grouped)
                        with m.If(accepted):
                            m.d.sync += [kind.eq(word.kind), shift.eq(word.scale_shift)]
                    elif name == "scale":
                        too_small = self._too_small(word.scale_mantissa, shift)
                        with m.If(accepted):
                            m.d.sync += small.eq(too_small)
                        if mass in kinds:
                            m.d.sync += fault.eq((kind == mass) & too_small)
                    elif name == "gains":
                        m.d.sync += fault.eq((word.mean_gain > word.denominator_gain)
                                             | (small & (word.denominator_gain != 0)))
                    elif name.startswith("group_"):
                        m.d.sync += fault.eq(word.as_value()[:8] >= config.head_dim if config.head_dim < 256 else 0)
                    else:
                        code = word.as_value()
                        sign = code[config.est_bits - 1:]
                        too_large = {relative: code[config.est_bits:].any(), mass: code[MASS_CODE_BITS:].any(),
                                     absolute: sign.any() & ~sign.all()}
                        m.d.sync += fault.eq(Array(too_large.get(n, Const(0)) for n in range(len(ThresholdKind)))[kind]
                                             if len(kinds) > 1 else too_large[kinds[0]])
                        # A threshold of 0 would leave a row without survivors.
                        if relative in kinds:
                            is_relative = kind == relative if len(kinds) > 1 else Const(1)
                            with m.If(is_relative & (code == 0)):
                                m.d.sync += held.eq(1)

    def _too_small(self, mantissa: Value, shift: Signal) -> Value:
        """Return whether the table of weights does not hold a softmax scale's (`table_holds`)."""
        top = 1 << (SCALE_MANTISSA_BITS - 1)
        holds: Value = Const(0)
        for at in range(SCALE_SHIFT_MAX + 1):
            # The least mantissa of this shift that it holds: a larger one is a larger scale.
            least = bisect.bisect_left(range(2 * top), True, top,
                                       key=lambda m, at=at: table_holds((m, at), self.config))
            if least < 2 * top:
                holds |= (shift == at) & (mantissa >= least)
        return ~holds
