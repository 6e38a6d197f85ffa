"""Rows that are appended: how many are taken, and where each part of them is looked up."""

from amaranth import Array, Cat, Const, Mux, Signal

from latte.rtl.memory.page_table import PagePart
from latte.rtl.memory.row_appender import RowAppender
from latte.sim.formal.proofs.axi_master import MASTER
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_BUILD = small_build()
_PARTS = (PagePart.VALUE, PagePart.LOW, PagePart.HIGH)
"""In the order in which a row's are written; in this build each is a beat, or part of one."""


def _appends(s: Setting) -> None:
    dut = RowAppender(_BUILD, MASTER)
    inside, m = s.add(dut), s.m
    marks_inside = inside.part("marks")
    marks = QueueState(s, marks_inside.block, marks_inside, "marks")
    windows = [marks.storage.read_port(domain="comb") for _ in range(marks.queue.depth)]
    command, most, looks = dut.command.payload, _BUILD.core.max_seq_len, inside["looks"]
    s.assume("command", ~dut.command.valid | (command.rows + command.place <= most))
    for name in ("command", "k", "v"):
        port = getattr(dut, name)
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
    # The command under way, or the last one; rows of K and V that were taken; rows and parts that were looked up.
    under_way, failed = Signal(name="under_way"), Signal(name="has_failed")
    rows, place, keys, values, looked = (Signal(range(most + 1), name=f"its_{name}") for name in (
        "rows", "place", "keys", "values", "looked"))
    part = Signal(range(len(_PARTS)), name="its_part")
    last_part = part == len(_PARTS) - 1
    m.d.sync += [keys.eq(keys + (dut.k.valid & dut.k.ready)), values.eq(values + (dut.v.valid & dut.v.ready))]
    with m.If(looks):
        m.d.sync += [part.eq(Mux(last_part, 0, part + 1)), looked.eq(looked + last_part)]
    with m.If(dut.write_answered & dut.write_fault.as_value().any()):
        m.d.sync += failed.eq(1)
    with m.If(dut.done):
        m.d.sync += under_way.eq(0)
    with m.If(dut.command.valid & dut.command.ready):
        m.d.sync += [under_way.eq(1), rows.eq(command.rows), place.eq(command.place),
                     *(signal.eq(0) for signal in (keys, values, looked, part, failed))]
    # Only the last mark of a command says so, and with it the command's rows are through.
    through, layout, first = (looked == rows) & (part == 0), marks.queue.shape, marks.storage.read_ports[0]
    s.invariant("mark_held", ~marks.out | ~layout(marks_inside["held"]).last | (through & (marks.items == 1)))
    s.invariant("mark_fetched", ~marks.fetched | ~layout(first.data).last | (
        through & (marks.items == marks.out + 1)))
    for n, window in enumerate(windows):
        m.d.comb += window.addr.eq((first.addr + n) % marks.queue.depth)
        s.invariant(f"mark_{n}", (n >= marks_inside["stored"]) | ~layout(window.data).last | (
            through & (marks_inside["stored"] == n + 1)))
    s.invariant("through", inside.state("WRITE") | (through & (marks.items == 0)))
    s.invariant("no_more", ~inside.state("WRITE") | (rows != 0))
    state, at = inside.state, inside["_look_up.place"]
    turns = Array(Const(turn, 2) for turn in _PARTS)
    for name, condition in {
            "any": state(), "under_way": under_way == ~state("IDLE"), "most": rows + place <= most,
            "keys": (inside["elaborate.keys"] == rows - keys) & (keys <= rows),
            "values": (inside["elaborate.values"] == rows - values) & (values <= rows),
            "rows": inside["elaborate.rows"] == rows - looked, "part": inside["_look_up.part"] == turns[part],
            "parts": part < len(_PARTS), "place": at == (place + looked)[:len(at)],
            "first_beat": (inside["_take_keys.beat"] == 0) & (inside["_take_values.beat"] == 0),
            "looked": (looked <= keys) & (looked <= values) & ((part == 0) | ((looked < keys) & (looked < values))),
            "fault": dut.fault == failed}.items():
        s.invariant(name, condition)
    s.claim("append_takes", "no more rows of K and V are taken than the command has", Cat(
        ~port.ready | (count < rows) for port, count in ((dut.k, keys), (dut.v, values))).all(),
        when=dut.k.ready | dut.v.ready)
    s.claim("append_looks_up", "the parts of each row are looked up, one after the other, when all of it is here",
            (Cat(dut.look_up.row, dut.look_up.page) == (place + looked)[:len(at)])
            & (dut.look_up.part == turns[part]) & (looked < keys) & (looked < values), when=looks)
    s.claim("append_limits", "it is told that an element of K was limited", dut.saturated == s.held("above", (
        dut.k.valid & dut.k.ready & Cat(element > _BUILD.core.qk_max for element in dut.k.payload).any())),
        when=dut.saturated | s.held("took_key", dut.k.valid & dut.k.ready))
    s.claim("append_added", "the record is told of a value with the beat that has it, all of whose bytes are written",
            dut.beat.valid & dut.beat.ready & dut.beat.payload.strobe.all()
            & (dut.add.values.as_value() == dut.beat.payload.data), when=dut.add_valid)
    s.claim("append_ends", "a command ends once, when all its rows were taken and looked up, and all is answered",
            under_way & (keys == rows) & (values == rows) & through & dut.write_idle, when=dut.done)
    s.claim("append_idle", "it is idle from then to the next", dut.idle == ~under_way, when=dut.idle | ~under_way)
    s.claim("append_fault", "an answer that was an error is told, until the next command", dut.fault == failed,
            when=dut.fault | failed)
    s.reach("row", dut.done & (rows == 1))
    s.seek(dut.k.valid & dut.v.valid & (~dut.command.valid | (command.rows <= 1)))


PROOFS = (
    Proof("RowAppender", _appends, "induction", 2, 23, "40 keys, a row of each part in a beat"),
)
