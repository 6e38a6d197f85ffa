"""Registers of a table: what software writes is held and handed on, what it reads is what is held."""

from amaranth import Cat, Const, Mux, Signal

from latte.rtl.axi.bus import LITE_BYTES
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.register_types import Access, Field, Register
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_REGISTERS = (
    Register("IDENTITY", 0x00, (Field("number", 4, 8, Access.CONSTANT, "", 0xA5),), ""),
    Register("MODE", 0x04, (Field("low", 0, 4, Access.READ_WRITE, ""), Field("high", 6, 8, Access.READ_WRITE, "")), ""),
    Register("EVENTS", 0x08, (Field("bits", 2, 2, Access.WRITE_1_TO_CLEAR, ""),), ""),
    Register("START", 0x0C, (Field("go", 1, 1, Access.WRITE_1_TO_PULSE, ""),), ""),
    Register("BASE", 0x10, (Field("place", 4, 8, Access.READ_WRITE, ""),), "", whole=True, locked=True),
    Register("ENTRY", 0x14, (Field("word", 0, 16, Access.READ_WRITE, ""),), "", external=True),
    Register("STATE", 0x20, (Field("count", 0, 4, Access.READ_ONLY, ""),), ""),
)
"""One of each kind, in two groups of words with a gap."""


def _bank(s: Setting) -> None:
    dut = RegisterBank(_REGISTERS)
    s.add(dut)
    m, word = s.m, {register.name: register.offset // LITE_BYTES for register in _REGISTERS}
    at = {name: dut.write_word == number for name, number in word.items()}
    strobes = Cat(strobe.replicate(8) for strobe in dut.write_strobe)
    data = dut.write_data & strobes
    whole = dut.write_strobe[:2].all()
    refused = Mux(at["BASE"], dut.locked | ~whole, Mux(at["ENTRY"], dut.refuse, ~Cat(
        at[name] for name in ("MODE", "EVENTS", "START")).any()))
    takes = dut.write & ~refused
    # What is held, as software sees it.
    mode, events, base = Signal(14), Signal(2), Signal(8)
    cleared = Mux(dut.write & at["EVENTS"], data[2:4], 0)
    m.d.sync += events.eq((events & ~cleared) | dut.events_set.bits)
    with m.If(takes & at["MODE"]):
        m.d.sync += mode.eq((mode & ~strobes[:14]) | data[:14])
    with m.If(takes & at["BASE"]):
        m.d.sync += base.eq(dut.write_data[4:12])
    values = {"IDENTITY": Const(0xA5 << 4), "MODE": mode & 0b11_1111_1100_1111, "EVENTS": events << 2,
              "START": Const(0), "BASE": base << 4, "ENTRY": dut.entry.word, "STATE": dut.state.count}
    held = (dut.mode.low == mode[:4]) & (dut.mode.high == mode[6:]) & (dut.base.place == base)
    s.invariant("fields", held & (dut.events.bits == events))
    s.claim("fields", "a field holds what was written to it last, byte by byte as strobes say, a cycle later", held,
            when=s.held("took", takes & (at["MODE"] | at["BASE"])))
    s.claim("events", "events stand until ones are written to them; what sets wins", dut.events.bits == events,
            when=s.held("cleared", cleared != 0) | (events != 0))
    s.claim("pulse", "a pulse is given in the cycle of a write of a one, and never else",
            dut.start.go == (dut.write & at["START"] & data[1]), when=dut.start.go | at["START"])
    s.claim("handed_on", "what is written to a register that another block holds is handed on in its cycle, of bytes "
            "with a strobe", (dut.entry_written == (dut.write & at["ENTRY"])) & (dut.written_data == data),
            when=dut.entry_written | at["ENTRY"])
    s.claim("refused", "refused is a word that cannot be written, a locked one while it is, a whole one in part, and "
            "what its block refuses", dut.write_refused == refused, when=dut.write)
    latest, before = (s.held("read_word", dut.read_word, cycles) for cycles in (1, dut.read_latency))
    stands = (latest == before) & s.held("begun", Const(1), dut.read_latency)
    for name, value in values.items():
        was = s.held(f"was_{name.lower()}", value, 2)
        s.claim(f"reads_{name.lower()}", "a read gives what the register held, as long later as reads take",
                (dut.read_data == was) & ~dut.read_refused, when=stands & (before == word[name]))
    s.claim("reads_refused", "and is refused where there is no register",
            dut.read_refused == ~Cat(before == number for number in word.values()).any(), when=stands)


PROOFS = (
    Proof("RegisterBank", _bank, "induction", 3, 6, "a register of each kind"),
)
