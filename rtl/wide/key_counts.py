"""How many keys of each group a row sees, and the reciprocals of these numbers."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.payloads import key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.normalizer import count_layout
from latte.rtl.wide.reciprocal import Reciprocal

__all__ = ["ROW_BITS", "KeyCounts", "added_key_layout"]


ROW_BITS = 5
"""Rows are numbered so far, from the one that is counted to the one whose values are accumulated."""


def added_key_layout(config: AttentionConfig) -> data.StructLayout:
    """A key of a bank whose value is added to its group's sum, as its `first`, for the row of that number."""
    group = {"group": config.group_bits} if config.group_bits else {}
    return data.StructLayout({"key": key_shape(config), "bank": 1, "first": 1, "row": ROW_BITS, **group})


class KeyCounts(wiring.Component):
    """Follows the keys that the rows see, in order: each is counted in its group, and told to the value accumulator.

    A row that sees fewer keys than the one before begins anew. Reciprocals are made again for a row whose keys are not
    the last one's, on the other of two sides: those of the last row are still needed.

    Latency: of a row that sees `k` more keys, ``k + latency`` cycles until it is `counted`, else one; a reciprocal is
    there `Reciprocal.latency` cycles after it was asked for, a group per cycle.

    Members
    -------
    restart : In(1)
        The keys are of a new sequence: what was counted is forgotten.
    begin, keys, bank, row : In
        In a cycle with `ready`: the row of that number sees so many keys of that bank.
    ready : Out(1)
        The last row's reciprocals are asked for.
    counted : Out(1), divide : In(1)
        The row's keys are counted; its reciprocals may take the place of those on the side that is not the last row's.
    side : Out(1)
        Where the reciprocals are of the row that was divided last.
    group_bank, group_key : Out
        Address of a key's group; `group` : In, `RAM_LATENCY` cycles later, in a build with several groups.
    added_valid, added : Out(added_key_layout)
        Never refused; begun in a cycle of `added_room` : In.
    divided : Out(stream of length_shape)
        A number of keys whose reciprocal is wanted; `divided_valid`, `divided_by` : In,
        `Reciprocal.latency` cycles later.
    which, which_side : In
        A group, and a side; `reciprocal` : Out is its reciprocal.
    """

    latency = RAM_LATENCY + 2
    """The first key's address; the last one's group, its count, a look at both."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        group = max(1, config.group_bits)
        super().__init__({
            "restart": In(1), "begin": In(1), "keys": In(length_shape(config)), "bank": In(1),
            "row": In(ROW_BITS), "ready": Out(1),
            "counted": Out(1), "divide": In(1), "side": Out(1),
            "group_bank": Out(1), "group_key": Out(key_shape(config)), "group": In(group),
            "added_valid": Out(1), "added": Out(added_key_layout(config)), "added_room": In(1),
            "divided": Out(stream.Signature(length_shape(config))), "divided_valid": In(1),
            "divided_by": In(count_layout(config)), "which": In(group), "which_side": In(1),
            "reciprocal": Out(count_layout(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        groups = config.key_groups
        counted, wanted = Signal(length_shape(config)), Signal(length_shape(config))
        bank, row = Signal(), Signal(ROW_BITS)
        # Groups with keys, whether any number of keys has changed since reciprocals were asked for, and what is to be.
        some, changed, asks = Signal(groups), Signal(), Signal(groups)
        step = Signal()
        key = delay(m, counted, RAM_LATENCY, name="key", reset_less=True)
        under_way = delay(m, step, RAM_LATENCY - 1, name="under_way")
        arrives = delay(m, under_way, 1, name="arrives")
        group = self.group if config.group_bits else Const(0)
        here = Signal(groups)
        m.submodules.numbers = counts = memory.Memory(shape=length_shape(config), depth=max(2, groups), init=[])
        write, read, asked = counts.write_port(), counts.read_port(domain="comb"), counts.read_port(domain="comb")
        known = (some & here).any()
        next_group = Signal(range(max(2, groups)))
        for n in reversed(range(groups)):
            with m.If(asks[n]):
                m.d.comb += next_group.eq(n)
        m.d.comb += [
            self.group_bank.eq(bank), self.group_key.eq(counted), here.eq(1 << group),
            read.addr.eq(group), write.addr.eq(group), write.en.eq(arrives),
            write.data.eq(Mux(known, read.data, 0) + 1), asked.addr.eq(next_group),
            self.added_valid.eq(arrives), self.added.key.eq(key), self.added.first.eq(~known),
            self.added.bank.eq(bank), self.added.row.eq(row),
            self.divided.payload.eq(asked.data),
        ]
        if config.group_bits:
            m.d.comb += self.added.group.eq(group)
        with m.FSM():
            with m.State("ROW"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [wanted.eq(self.keys), bank.eq(self.bank), row.eq(self.row)]
                with m.If(self.begin):
                    m.next = "COUNTED"
                    with m.If(self.restart | (self.keys < counted)):
                        m.d.sync += [counted.eq(0), some.eq(0)]
                    with m.If(self.restart | (self.keys != counted)):
                        m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += step.eq(self.added_room & (counted != wanted))
                with m.If(step):
                    m.d.sync += counted.eq(counted + 1)
                with m.If(counted == wanted):
                    m.next = "WAIT"
            with m.State("WAIT"), m.If(~arrives & ~under_way):
                m.next = "COUNTED"
            with m.State("COUNTED"):
                m.d.comb += self.counted.eq(1)
                with m.If(self.divide):
                    m.d.sync += [changed.eq(0), asks.eq(Mux(changed, some, 0)), self.side.eq(self.side ^ changed)]
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += self.divided.valid.eq(asks.any())
                with m.If(self.divided.ready):
                    m.d.sync += asks.eq(asks & (asks - 1)[:groups])
                with m.If(~asks.any()):
                    m.next = "ROW"
        with m.If(arrives):
            m.d.sync += [some.eq(some | here), changed.eq(1)]

        m.submodules.reciprocals = reciprocals = memory.Memory(shape=count_layout(config), init=[],
                                                               depth=2 * max(2, groups))
        write, read = reciprocals.write_port(), reciprocals.read_port(domain="comb")
        # An answer belongs to the group that was asked for so many cycles before.
        answered = delay(m, Cat(next_group, self.side), Reciprocal.latency, name="answered", reset_less=True)
        m.d.comb += [write.en.eq(self.divided_valid), write.addr.eq(answered), write.data.eq(self.divided_by),
                     read.addr.eq(Cat(self.which, self.which_side)), self.reciprocal.eq(read.data)]
        return m
