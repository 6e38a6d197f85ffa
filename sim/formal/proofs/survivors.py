"""Rows behind the filter: their real and their virtual survivors."""

from amaranth import Cat, Signal, Value

from latte.golden.config import preset
from latte.rtl.wide.virtual_survivors import VirtualSurvivors
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_CONFIG = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=1, query_rows=4, weight_bits=4,
                 threshold_kinds=("relative",), key_groups=2)


def _rows(s: Setting) -> None:
    dut = VirtualSurvivors(_CONFIG)
    inside, m = s.add(dut), s.m
    given, o = dut.compensation.payload, dut.o.payload
    for name in ("i", "added", "compensation", "denominator"):
        port = getattr(dut, name)
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
    item, back = dut.i.valid & dut.i.ready, dut.compensation.valid & dut.compensation.ready
    key, total = dut.added.valid & dut.added.ready, dut.denominator.valid & dut.denominator.ready
    # Of a row, virtual survivors up to the last one, or a single item that says that there are none.
    within = Signal()
    with m.If(back):
        m.d.sync += within.eq(~given.last)
    s.assume("compensation", ~dut.compensation.valid | given.virtual | (given.last & ~within))
    # The row's last survivor has passed.
    ended = Signal()
    ends = item & dut.i.payload.row_last
    with m.If(back & given.last):
        m.d.sync += ended.eq(0)
    with m.Elif(ends):
        m.d.sync += ended.eq(1)
    s.invariant("ended", inside["ended"] == ended)
    gives = dut.compensation.valid & given.virtual & (~given.last | (ended & inside["there"]))
    s.invariant("held", ~inside["held"] | inside["adds"] | gives)
    s.claim("row_ends", "each row ends once: with the last of what is given back, behind its last survivor",
            (o.row_last == s.held("gave_last", back & given.last)) & dut.o.valid,
            when=s.held("offers", item | key | (back & given.virtual)))
    s.claim("after_survivors", "a row's end is behind its last survivor, or is it", ended | ends,
            when=back & given.last)
    s.claim("next_row", "no survivor of the next row passes before that", ~ended, when=item)
    s.stable("stable", "an item stands until it is taken", dut.o.valid, dut.o.ready, Cat(Value.cast(o), dut.sum_end))
    s.claim("nothing_else", "an item is a survivor, a key that is added, or a virtual survivor, each once",
            s.held("one", item | key | (back & given.virtual)) | s.held("waits", dut.o.valid & ~dut.o.ready),
            when=dut.o.valid)
    s.claim("one_item", "two of them never go into one item", (item + key + (back & given.virtual)) == 1,
            when=item | key | (back & given.virtual))
    s.claim("denominator", "each row takes one denominator, its own, a cycle behind its end",
            total & (dut.sum_end == dut.denominator.payload), when=s.held("row_over", back & given.last))
    s.claim("one_denominator", "and no other", s.held("over", back & given.last), when=total)
    s.reach("virtual_row", back & given.last & given.virtual)
    s.reach("real_row", back & given.last & ~given.virtual)


PROOFS = (Proof("VirtualSurvivors", _rows, "induction", 3, 12, "two key groups"),)
