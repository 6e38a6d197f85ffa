"""Registers over AXI4-Lite and Wishbone against the table: every access, legal or not, and what hardware does then."""

import random
from collections.abc import Sequence

import pytest
from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import preset
from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.bus import (
    LITE_ADDRESS_BITS,
    LITE_BYTES,
    WORD_ADDRESS_BITS,
    MasterParameters,
    Response,
    StreamParameters,
    register_members,
)
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.register_types import REGISTER_BITS, Access, Field, Register
from latte.rtl.axi.registers import register_table
from latte.rtl.axi.wishbone_slave import WishboneSlave
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

STRIDE = 0x9E3779B1
"""Times a register's offset: makes what hardware gives differ in each."""
COUNT = 12
"""Bits that count transactions."""


def context_layout() -> data.StructLayout:
    """What hardware does about an access: `set` when it begins if that is `early`, else when it writes."""
    return data.StructLayout({"locked": 1, "refuse": 1, "early": 1, "set": REGISTER_BITS, "given": REGISTER_BITS})


class RegisterBench(wiring.Component):
    """A bank of registers behind a slave, and hardware around it.

    Parameters
    ----------
    registers
    slave
    members
        Ports of the bus.

    Members
    -------
    seen : Out
        In the cycle behind a write, if `seen_valid`: fields and, of the write's cycle, pulses and what is handed on.
    wrong : Out(1)
        Something is handed on, or pulses, without a write.
    """

    def __init__(self, registers: Sequence[Register], slave: wiring.Component, members: dict[str, wiring.Member]
                 ) -> None:
        self.registers, self.slave, self.bank = registers, slave, RegisterBank(registers)
        ports = self.bank.signature.members
        self.fields = {name: member.shape for name, member in ports.items()
                       if member.flow is Out and isinstance(member.shape, data.Layout)}
        self.external = [name for name in ports if name.endswith("_written")]
        seen = data.StructLayout({**self.fields, **dict.fromkeys(self.external, 1), "written_data": REGISTER_BITS})
        super().__init__({**members, "seen": Out(seen), "seen_valid": Out(1), "wrong": Out(1)})

    def _surround(self, m: Module, held: data.View, given: Value, begins: Value, begun: data.View) -> None:
        """Connect slave and hardware to the bank.

        Parameters
        ----------
        m
        held
            Context of the write that is under way.
        given
            What makes the values of a read.
        begins, begun
            An access begins, with this context.
        """
        m.submodules.bank, m.submodules.slave = bank, slave = self.bank, self.slave
        for name, member in register_members().items():
            asks, answers = getattr(slave, name), getattr(bank, name)
            m.d.comb += asks.eq(answers) if member.flow is In else answers.eq(asks)
        sets = Signal(REGISTER_BITS)
        m.d.comb += [bank.locked.eq(held.locked), bank.refuse.eq(held.refuse),
                     sets.eq(Mux(begins & begun.early, begun.set, Mux(slave.write & ~held.early, held.set, 0)))]
        at = 0
        for register in self.registers:
            name, value = register.name.lower(), given ^ (register.offset * STRIDE % (1 << REGISTER_BITS))
            if name in bank.signature.members and name not in self.fields:
                m.d.comb += [getattr(bank, name)[field.name].eq(value[field.low:field.low + field.width])
                             for field in register.fields if field.access is not Access.CONSTANT]
            if f"{name}_set" in bank.signature.members:
                m.d.comb += Value.cast(getattr(bank, f"{name}_set")).eq(sets[at:at + len(register.fields)])
                at += len(register.fields)
        m.d.sync += [self.seen_valid.eq(slave.write), self.seen.written_data.eq(bank.written_data),
                     *(self.seen[name].eq(getattr(bank, name)) for name in self.external)]
        pulses = []
        for register in self.registers:
            name = register.name.lower()
            for field in register.fields if name in self.fields else ():
                view, seen = getattr(bank, name)[field.name], self.seen[name][field.name]
                if field.access is Access.WRITE_1_TO_PULSE:
                    m.d.sync += seen.eq(view)
                    pulses.append(view)
                else:
                    m.d.comb += seen.eq(view)
        happens = Cat(pulses, (getattr(bank, name) for name in self.external)).any()
        m.d.comb += self.wrong.eq(happens & ~slave.write)


class LiteBench(RegisterBench):
    """Registers behind AXI4-Lite; each access waits until so many of the other kind were answered.

    Members
    -------
    aw, w, ar : In(stream)
    b, r : Out(stream)
    unsteady : Out(1)
        Another word than that of the address is read.
    """

    def __init__(self, registers: Sequence[Register]) -> None:
        address = {"address": LITE_ADDRESS_BITS, "protection": 3, "context": context_layout(), "after": COUNT}
        members = {name: In(stream.Signature(data.StructLayout(address))) for name in ("aw", "ar")}
        members["w"] = In(stream.Signature(data.StructLayout({"data": REGISTER_BITS, "strobe": LITE_BYTES})))
        members |= {"b": Out(stream.Signature(2)), "unsteady": Out(1)}
        members["r"] = Out(stream.Signature(data.StructLayout({"data": REGISTER_BITS, "response": 2})))
        super().__init__(registers, AxiLiteSlave(RegisterBank.read_latency), members)

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        slave, aw, ar = self.slave, self.aw.payload, self.ar.payload
        held, given = Signal(context_layout()), Signal(REGISTER_BITS)
        # Answered so far.
        writes, reads = Signal(COUNT), Signal(COUNT)
        moved = {name: Signal(name=f"{name}_moved") for name in ("aw", "ar")}
        for name, count in (("aw", reads), ("ar", writes)):
            port, valid, ready = getattr(self, name), getattr(slave, f"{name}valid"), getattr(slave, f"{name}ready")
            may = count >= port.payload.after
            m.d.comb += [valid.eq(port.valid & may), port.ready.eq(ready & may), moved[name].eq(valid & ready),
                         getattr(slave, f"{name}addr").eq(port.payload.address),
                         getattr(slave, f"{name}prot").eq(port.payload.protection)]
        with m.If(moved["aw"]):
            m.d.sync += held.eq(aw.context)
        asked, reading = Signal(WORD_ADDRESS_BITS), Signal()
        with m.If(moved["ar"]):
            m.d.sync += [given.eq(ar.context.given), asked.eq(ar.address >> 2), reading.eq(1)]
        with m.Elif(slave.rvalid):
            m.d.sync += reading.eq(0)
        m.d.comb += self.unsteady.eq(reading & ~slave.rvalid & (slave.read_word != asked))
        m.d.comb += [
            slave.wvalid.eq(self.w.valid), self.w.ready.eq(slave.wready), slave.wdata.eq(self.w.payload.data),
            slave.wstrb.eq(self.w.payload.strobe), self.b.valid.eq(slave.bvalid), slave.bready.eq(self.b.ready),
            self.b.payload.eq(slave.bresp), self.r.valid.eq(slave.rvalid), slave.rready.eq(self.r.ready),
            self.r.payload.data.eq(slave.rdata), self.r.payload.response.eq(slave.rresp)]
        m.d.sync += [writes.eq(writes + (self.b.valid & self.b.ready)), reads.eq(reads + (self.r.valid & self.r.ready))]
        self._surround(m, held, given, moved["aw"], aw.context)
        return m


class WishboneBench(RegisterBench):
    """Registers behind Wishbone; some cycles are given up, and while there is none one of CYC and STB may be high.

    Members
    -------
    cycle : In(stream)
        `gives_up`: behind so many cycles, if any; then CYC is low if `drops` has bit 0, STB if it has bit 1.
    answer : Out
        Of each cycle that is answered, if `answer_valid`, and how long that took.
    unasked : Out(1)
        There is an answer to nothing, or two at once.
    """

    def __init__(self, registers: Sequence[Register]) -> None:
        cycle = data.StructLayout({"word": WORD_ADDRESS_BITS, "write": 1, "data": REGISTER_BITS, "strobe": LITE_BYTES,
                                   "gives_up": 3, "drops": 2, "pause": 2, "context": context_layout()})
        answer = data.StructLayout({"ack": 1, "data": REGISTER_BITS, "cycles": 3})
        super().__init__(registers, WishboneSlave(RegisterBank.read_latency), {
            "cycle": In(stream.Signature(cycle)), "answer": Out(answer), "answer_valid": Out(1), "unasked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        slave, cycle = self.slave, self.cycle.payload
        time, given_up, asks, answered = Signal(3), Signal(), Signal(), Signal()
        m.d.comb += [
            asks.eq(self.cycle.valid & ~given_up), answered.eq(slave.ack | slave.err),
            slave.cyc.eq(Mux(asks, 1, Mux(given_up, ~cycle.drops[0], cycle.drops == 1))),
            slave.stb.eq(Mux(asks, 1, Mux(given_up, ~cycle.drops[1], cycle.drops == 2))),
            slave.we.eq(cycle.write), slave.adr.eq(cycle.word), slave.dat_w.eq(cycle.data), slave.sel.eq(cycle.strobe),
            self.answer.ack.eq(slave.ack), self.answer.data.eq(slave.dat_r), self.answer.cycles.eq(time),
            self.answer_valid.eq(answered), self.cycle.ready.eq(Mux(given_up, time == cycle.pause, answered)),
        ]
        m.d.sync += time.eq(Mux(self.cycle.valid & ~self.cycle.ready, time + 1, 0))
        with m.If(given_up):
            m.d.sync += given_up.eq(~self.cycle.ready)
        with m.Elif(asks & (time + 1 == cycle.gives_up)):
            m.d.sync += [given_up.eq(1), time.eq(0)]
        self._surround(m, cycle.context, cycle.context.given, asks & (time == 0), cycle.context)
        m.d.comb += self.unasked.eq((answered & ~asks) | (slave.ack & slave.err))
        return m


class Registers:
    """What registers hold, as the table says, and what is seen of them.

    Parameters
    ----------
    table
    rng
    """

    def __init__(self, table: Sequence[Register], rng: random.Random) -> None:
        self.rng = rng
        self.by_word = {register.offset // LITE_BYTES: register for register in table}
        self.held = {register.name: 0 for register in table if register.writable and not register.external}
        self.seen = []
        self.events = sum(len(fields_of(register, Access.WRITE_1_TO_CLEAR)) for register in table
                          if register.name in self.held)

    def context(self, word: int) -> dict[str, int]:
        """Return what hardware does about an access: it mostly sets bits when software clears some."""
        rng, register = self.rng, self.by_word.get(word)
        clears = register is not None and bool(fields_of(register, Access.WRITE_1_TO_CLEAR))
        some = rng.choice([rng.getrandbits(self.events) & rng.getrandbits(self.events),
                           1 << rng.randrange(self.events)])
        return {"locked": rng.random() < 0.2, "refuse": rng.random() < 0.2, "early": rng.random() < 0.5 - 0.4 * clears,
                "set": some if rng.random() < 0.1 + 0.7 * clears else 0, "given": rng.getrandbits(REGISTER_BITS)}

    def set(self, context: dict[str, int]) -> None:
        """Let hardware set bits."""
        bits = context["set"]
        for register in self.by_word.values():
            if width := len(fields_of(register, Access.WRITE_1_TO_CLEAR)) * (register.name in self.held):
                self.held[register.name] |= bits & ((1 << width) - 1)
                bits >>= width

    def write(self, word: int, value: int, strobe: int, context: dict[str, int]) -> bool:
        """Write a word, and keep what is seen of it; return whether it is legal."""
        register = self.by_word.get(word)
        bits = sum(0xFF << 8 * byte for byte in range(LITE_BYTES) if strobe >> byte & 1)
        taken = register is not None and register.writable and not (
            (register.locked and context["locked"])
            or (register.whole and strobe & register.byte_mask != register.byte_mask))
        if taken and register.name in self.held:
            writes, clears = (mask_of(register, access) for access in (Access.READ_WRITE, Access.WRITE_1_TO_CLEAR))
            held = self.held[register.name]
            self.held[register.name] = (held & ~(writes & bits) & ~(clears & bits & value)) | (value & bits & writes)
        if not context["early"]:
            self.set(context)
        seen = {}
        for other in self.by_word.values():
            if other.name in self.held:
                pulses = value & bits & mask_of(other, Access.WRITE_1_TO_PULSE) * (taken and other is register)
                seen[other.name.lower()] = {field.name: ((self.held[other.name] | pulses) & field.mask) >> field.low
                                            for field in other.fields}
            elif other.external:
                seen[f"{other.name.lower()}_written"] = taken and other is register
        if taken and register.external:
            seen["written_data"] = value & bits
        self.seen.append(seen)
        return taken and not (register.external and context["refuse"])

    def read(self, word: int, context: dict[str, int]) -> int | None:
        """Return what a word reads as, None if there is no register."""
        register = self.by_word.get(word)
        if register is None:
            return None
        given = context["given"] ^ register.offset * STRIDE
        value = self.held.get(register.name, given) & ~mask_of(register, Access.WRITE_ONLY)
        value &= ~mask_of(register, Access.CONSTANT) & ~mask_of(register, Access.WRITE_1_TO_PULSE)
        return (value & sum(field.mask for field in register.fields)) | register_constants(register)

    def writes(self) -> list[tuple[int, int, int]]:
        """Return writes (word, data, strobe): of every register often, of other words, of words with one bit more."""
        rng, known = self.rng, list(self.by_word)
        strobed = [(word, strobe) for word in known for strobe in (15, 15, *range(16), *range(16))
                   if self.by_word[word].writable]
        strobed += [(word, 15) for word in known for _ in fields_of(self.by_word[word], Access.WRITE_1_TO_CLEAR) * 4]
        strobed += [(word, 15) for word in (*known, *range(known[-1] + 9))]
        strobed += [(word ^ 1 << rng.randrange(WORD_ADDRESS_BITS), 15) for word in known for _ in range(2)]
        rng.shuffle(strobed)
        return [(word, rng.getrandbits(REGISTER_BITS), strobe) for word, strobe in strobed]

    def reads(self) -> list[int]:
        """Return words to read: of every register often, others, with one bit more."""
        known = list(self.by_word)
        words = [*known * 5, *range(known[-1] + 9), *(word ^ 1 << self.rng.randrange(WORD_ADDRESS_BITS)
                                                      for word in known for _ in range(2))]
        self.rng.shuffle(words)
        return words


def fields_of(register: Register, access: Access) -> list[Field]:
    """Return the fields that software can do this with."""
    return [field for field in register.fields if field.access is access]


def mask_of(register: Register, access: Access) -> int:
    """Return ones in their places."""
    return sum(field.mask for field in fields_of(register, access))


def register_constants(register: Register) -> int:
    """Return the constant fields of a register."""
    return sum(field.reset << field.low for field in fields_of(register, Access.CONSTANT))


@pytest.mark.parametrize("stall", STALLS)
def test_axi_lite(check, stall):
    """Channels come in any order; what is illegal, or no word's address, gives SLVERR and changes nothing."""
    rng, table = random.Random(SEED), register_table(preset("tiny"), MasterParameters())
    registers = Registers(table, rng)
    offered, wanted = {name: [] for name in ("aw", "w", "ar")}, {name: [] for name in "br"}

    def access(channel: str, word: int, context: dict[str, int]) -> bool:
        """Offer an address; return whether it is a word's."""
        low, after = rng.choice([0] * 9 + [1, 2, 3]), len(offered["aw" if channel == "ar" else "ar"])
        offered[channel].append({"address": LITE_BYTES * word + low, "protection": rng.getrandbits(3),
                                 "context": context, "after": after if ordered else 0})
        return low == 0

    def write(word: int, value: int, strobe: int) -> None:
        context = registers.context(word)
        offered["w"].append({"data": value, "strobe": strobe})
        aligned = access("aw", word, context)
        if context["early"]:
            registers.set(context)
        legal = aligned and registers.write(word, value, strobe, context)
        wanted["b"].append(Response.OKAY if legal else Response.SLVERR)

    def read(word: int) -> None:
        context = registers.context(word)
        value = registers.read(word, context) if access("ar", word, context) else None
        wanted["r"].append({"data": value or 0, "response": Response.SLVERR if value is None else Response.OKAY})

    # At first, both go on by themselves: what is read depends on no write.
    ordered = False
    writes, reads = registers.writes(), registers.reads()
    for word in reads:
        register = registers.by_word.get(word)
        if register is None or register.name not in registers.held:
            read(word)
    for one in writes[::2]:
        write(*one)
    ordered = True
    for n, word in enumerate([*reads, *reads]):
        if n < len(writes):
            write(*writes[n])
        read(word)
    check(LiteBench(table), "axi-lite", {name: Offer(items) for name, items in offered.items()},
          {"seen": Expect(registers.seen), **{name: Expect(items) for name, items in wanted.items()}},
          quiet=["wrong", "unsteady"])


@pytest.mark.parametrize("stall", ["none", "source"])
def test_wishbone(check, stall):
    """Each cycle is answered once, in time, as the table says; what is given up is not, and writes nothing."""
    rng, table = random.Random(SEED), register_table(preset("tiny"), StreamParameters())
    registers, latency = Registers(table, rng), RegisterBank.read_latency
    cycles, answers = [], []
    accesses = [(word, rng.getrandbits(REGISTER_BITS), rng.getrandbits(LITE_BYTES), 0)
                for word in registers.reads() * 2]
    accesses += [(*one, 1) for one in registers.writes()]
    rng.shuffle(accesses)
    for word, value, strobe, writes in accesses:
        context, patience = registers.context(word), 1 if writes else latency + 1
        gives_up = rng.choice([*[0] * 3 * patience, *range(1, patience + 1)])
        cycles.append({"word": word, "write": writes, "data": value, "strobe": strobe, "gives_up": gives_up,
                       "drops": rng.randrange(1, 4), "pause": rng.choice([0, 0, 1, 3]), "context": context})
        if context["early"]:
            registers.set(context)
        if gives_up:
            continue
        if writes:
            answers.append({"ack": registers.write(word, value, strobe, context), "cycles": 2})
        else:
            read = registers.read(word, context)
            answers.append({"ack": read is not None, "data": read or 0, "cycles": latency + 2})
    check(WishboneBench(table), "wishbone", {"cycle": Offer(cycles)},
          {"seen": Expect(registers.seen), "answer": Expect(answers)}, quiet=["wrong", "unasked"])
