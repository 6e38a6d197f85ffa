"""Wishbone slave: answers what it was asked, once, in time."""

from amaranth import Mux, Signal

from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.wishbone_slave import WishboneSlave
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_LATENCY = RegisterBank.read_latency


def _cycles(s: Setting) -> None:
    dut = WishboneSlave(_LATENCY)
    inside, m = s.add(dut), s.m
    asked, answered = dut.cyc & dut.stb, dut.ack | dut.err
    payload = {name: getattr(dut, name) for name in ("we", "adr", "dat_w", "sel")}
    # A master may give a cycle up, but changes nothing in it.
    for name, value in payload.items():
        s.assume(f"{name}_stands", ~s.held(f"{name}_asked", asked & ~answered) | ~asked
                 | (value == s.held(f"{name}_before", value)))
    waited = Signal(range(_LATENCY + 3))
    with m.If(asked & ~answered):
        m.d.sync += waited.eq(Mux(waited == _LATENCY + 2, waited, waited + 1))
    with m.Else():
        m.d.sync += waited.eq(0)
    held, left, writes = inside["held"], inside["left"], inside["writes"]
    s.invariant("held", held == ((waited != 0) & ~answered))
    s.invariant("left", ~held | ((left + waited == _LATENCY + 1) & (writes == s.held("wrote", dut.we)))
                | (writes & (waited == 1) & (left == 0) & s.held("we", dut.we)))
    s.invariant("word", ~held | ((dut.read_word == s.held("adr", dut.adr))
                                 & (dut.write_data == s.held("dat_w", dut.dat_w))
                                 & (dut.write_strobe == s.held("sel", dut.sel))))
    was_asked = s.held("was_asked", asked)
    s.claim("ack_asked_for", "ACK and ERR only for a cycle that was asked for", was_asked, when=answered)
    s.claim("ack_once", "one of them, for one cycle", ~(dut.ack & dut.err) & ~s.held("answered", answered),
            when=answered)
    s.within("ack_in_time", "a read is answered as many cycles later as registers take, and two", _LATENCY + 2,
             waits=asked & ~answered & ~dut.we)
    s.within("write_in_time", "a write two cycles later", 2, waits=asked & ~answered & dut.we)
    s.claim("write_once", "the registers are written in the cycle before the answer to a write, and never else",
            answered, when=s.held("written", dut.write))
    s.claim("written", "a write that is answered was written", s.held("was_written", dut.write),
            when=answered & s.held("was_write", dut.we))
    s.claim("write_carries", "what is sent, where it was sent", (dut.write_word == dut.adr)
            & (dut.write_data == dut.dat_w) & (dut.write_strobe == dut.sel) & dut.we, when=dut.write)
    s.claim("read_address", "the registers see the address until they have answered", dut.read_word == dut.adr,
            when=asked & (waited != 0) & ~answered)
    wrong = s.held("wrong", Mux(dut.we, dut.write_refused, dut.read_refused))
    s.claim("err_tells", "ERR for what is refused, and ACK else", dut.err == wrong, when=answered)
    s.claim("r_carries", "DAT is what the registers say, and 0 with ERR",
            dut.dat_r == Mux(wrong, 0, s.held("said", dut.read_data)), when=answered & ~s.held("write", dut.we))
    s.claim("ack_silent", "no answer behind reset", ~answered, when=s.after_reset)


PROOFS = (Proof("WishboneSlave", _cycles, "induction", _LATENCY + 3, 12, f"registers that take {_LATENCY} cycles"),)
