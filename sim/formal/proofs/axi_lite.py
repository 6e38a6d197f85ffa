"""AXI4-Lite slave: answers what it was asked, once, in time, whatever the master does with READY."""

from amaranth import Cat, Mux, Signal

from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.bus import Response
from latte.rtl.axi.register_bank import RegisterBank
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_LATENCY = RegisterBank.read_latency


def _writes(s: Setting) -> None:
    dut = AxiLiteSlave(_LATENCY)
    inside, m = s.add(dut), s.m
    aw, w, b = dut.awvalid & dut.awready, dut.wvalid & dut.wready, dut.bvalid & dut.bready
    addresses, data = s.count("addresses", aw, b, 2), s.count("data", w, b, 2)
    executes = (addresses != 0) & (data != 0) & ~dut.bvalid
    s.invariant("addresses", addresses == inside["addressed"] + dut.bvalid)
    s.invariant("data", data == inside["given"] + dut.bvalid)

    s.stable("b_stable", "BVALID and BRESP stand until BREADY", dut.bvalid, dut.bready, dut.bresp)
    s.claim("b_asked_for", "BVALID only for an address and data that were accepted", (addresses != 0) & (data != 0),
            when=dut.bvalid)
    s.within("b_in_time", "a write is answered a cycle after its address and data were accepted, whatever BREADY does",
             1, waits=executes)
    s.claim("writes_bounded", "at most two writes are accepted and unanswered", (addresses <= 2) & (data <= 2))
    s.reach("most_writes", (addresses == 2) & (data == 2))
    s.claim("write_ready", "AWREADY and WREADY are high if nothing is unanswered", dut.awready & dut.wready,
            when=(addresses == 0) & (data == 0))

    address = Signal(12)
    word = Signal(32)
    strobe = Signal(4)
    with m.If(aw):
        m.d.sync += address.eq(dut.awaddr)
    with m.If(w):
        m.d.sync += [word.eq(dut.wdata), strobe.eq(dut.wstrb)]
    s.invariant("address", ~inside["addressed"] | (inside["_writes.address"] == address))
    s.invariant("word", ~inside["given"] | ((dut.write_data == word) & (dut.write_strobe == strobe)))
    unaligned = address[:2] != 0
    s.claim("write_carries", "the registers are written what was sent, where it was sent, at aligned addresses alone",
            (dut.write_word == address[2:]) & (dut.write_data == word) & (dut.write_strobe == strobe)
            & (address[:2] == 0), when=dut.write)
    s.claim("write_once", "the registers are written once for each response, in the cycle before it, unless the "
            "address is unaligned", (dut.write == ~unaligned) & executes, when=dut.write | executes)
    wrong = s.held("wrong", unaligned | dut.write_refused)
    s.claim("b_tells", "BRESP is SLVERR for what is unaligned or refused, and OKAY else",
            dut.bresp == Mux(wrong, Response.SLVERR, Response.OKAY), when=s.held("executes", executes))
    s.claim("b_silent", "no BVALID behind reset", ~dut.bvalid, when=s.after_reset)


def _reads(s: Setting) -> None:
    dut = AxiLiteSlave(_LATENCY)
    inside, m = s.add(dut), s.m
    ar, r = dut.arvalid & dut.arready, dut.rvalid & dut.rready
    asked = s.count("asked", ar, r, 1)
    waits = (asked != 0) & ~dut.rvalid
    s.invariant("asked", asked == inside["waiting"] + dut.rvalid)
    address = Signal(12)
    with m.If(ar):
        m.d.sync += address.eq(dut.araddr)
    s.invariant("address", ~waits | (inside["_reads.address"] == address))

    s.stable("r_stable", "RVALID, RDATA and RRESP stand until RREADY", dut.rvalid, dut.rready,
             Cat(dut.rdata, dut.rresp))
    s.claim("r_asked_for", "RVALID only for an address that was accepted", asked != 0, when=dut.rvalid)
    s.within("r_in_time", "a read is answered one cycle more than the registers take later, whatever RREADY does",
             _LATENCY + 1, waits=waits)
    s.claim("read_ready", "ARREADY is high if nothing is unanswered", dut.arready, when=asked == 0)
    s.claim("read_address", "the registers see the address that was accepted until they are answered for",
            dut.read_word == address[2:], when=waits)
    wrong = s.held("wrong", dut.read_refused | (address[:2] != 0))
    answers = s.held("waits", waits) & dut.rvalid
    s.claim("r_carries", "RDATA is what the registers say, and 0 with SLVERR for what is unaligned or refused",
            (dut.rdata == Mux(wrong, 0, s.held("said", dut.read_data)))
            & (dut.rresp == Mux(wrong, Response.SLVERR, Response.OKAY)), when=answers)
    s.reach("refused", answers & wrong)
    s.claim("r_silent", "no RVALID behind reset", ~dut.rvalid, when=s.after_reset)


_BUILD = f"registers that take {_LATENCY} cycles"
PROOFS = (
    Proof("AxiLiteSlave", _writes, "induction", 3, 10, _BUILD),
    Proof("AxiLiteSlave", _reads, "induction", _LATENCY + 3, 12, _BUILD),
)
