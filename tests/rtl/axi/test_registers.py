"""Registers over AXI4-Lite against the table: every access, in any order of the channels, legal or not."""

import random

import pytest
from amaranth import Module, Value
from amaranth.lib import wiring

from latte.golden.config import preset
from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.bus import MasterParameters, Response, lite_members
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.register_types import Access
from latte.rtl.axi.registers import register_table
from latte.rtl.common.identity import MAGIC
from tests.rtl.axi.agents import Steady, simulate

TABLE = register_table(preset("tiny"), MasterParameters())
BY_OFFSET = {register.offset: register for register in TABLE}
BY_NAME = {register.name: register for register in TABLE}


class Registers(wiring.Component):
    """Slave and bank; what hardware gives is the register's offset, in every field."""

    def __init__(self) -> None:
        self.bank = RegisterBank(TABLE)
        super().__init__(lite_members())

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.slave = slave = AxiLiteSlave(RegisterBank.read_latency)
        for name, member in lite_members().items():
            inside, outside = getattr(slave, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if member.flow is wiring.In else outside.eq(inside)
        m.d.comb += [
            bank.write.eq(slave.write), bank.write_word.eq(slave.write_word), bank.write_data.eq(slave.write_data),
            bank.write_strobe.eq(slave.write_strobe), slave.write_refused.eq(bank.write_refused),
            bank.read_word.eq(slave.read_word), slave.read_data.eq(bank.read_data),
            slave.read_refused.eq(bank.read_refused)]
        for register in TABLE:
            name = register.name.lower()
            if name in bank.signature.members and bank.signature.members[name].flow is wiring.In:
                m.d.comb += Value.cast(getattr(bank, name)).eq(given(register))
        return m


def given(register) -> int:
    """Return what the bench gives as a register that the bank does not hold."""
    return register.offset * 0x01010101 & sum(field.mask for field in register.fields) if len(
        register.fields) == 1 else register.offset & 0x7F


class Master:
    """Carries out transactions, one write and one read at a time, with the channels in any order."""

    def __init__(self, dut, writes: list, reads: list, rng: random.Random, idle: float) -> None:
        self.dut, self.writes, self.reads, self.rng, self.idle = dut, writes, reads, rng, idle
        self.answers, self.values = [], []
        self.state = dict.fromkeys(("aw", "w", "ar"), False)
        self.sent = {"aw": 0, "w": 0, "ar": 0}
        self.b, self.r = Steady("B"), Steady("R")

    def drive(self, ctx) -> None:
        dut = self.dut
        for channel, done, items in (("aw", self.answers, self.writes), ("w", self.answers, self.writes),
                                     ("ar", self.values, self.reads)):
            if (not self.state[channel] and self.sent[channel] == len(done) < len(items)
                    and self.rng.random() >= self.idle):
                self.state[channel] = True
                item = items[len(done)]
                if channel == "aw":
                    ctx.set(dut.awaddr, item[0])
                elif channel == "w":
                    ctx.set(dut.wdata, item[1])
                    ctx.set(dut.wstrb, item[2])
                else:
                    ctx.set(dut.araddr, item)
            ctx.set(getattr(dut, f"{channel}valid"), self.state[channel])
        self.ready = {name: self.rng.random() >= self.idle for name in "br"}
        ctx.set(dut.bready, self.ready["b"])
        ctx.set(dut.rready, self.ready["r"])

    def observe(self, ctx) -> None:
        dut = self.dut
        for channel in self.state:
            if self.state[channel] and ctx.get(getattr(dut, f"{channel}ready")):
                self.state[channel] = False
                self.sent[channel] += 1
        response = ctx.get(dut.bresp)
        if self.b.see(ctx.get(dut.bvalid), self.ready["b"], response):
            self.answers.append(Response(response))
        value = Response(ctx.get(dut.rresp)), ctx.get(dut.rdata)
        if self.r.see(ctx.get(dut.rvalid), self.ready["r"], value):
            self.values.append(value)
        assert len(self.answers) <= min(self.sent["aw"], self.sent["w"]) and len(self.values) <= self.sent["ar"]


def run(writes: list, reads: list, idle: float = 0.0, each=lambda ctx, cycle: None, bank=None) -> Master:
    """Carry out transactions and return the master with its answers."""
    dut = Registers()
    master = Master(dut, writes, reads, random.Random(8), idle)
    simulate(dut, [master], lambda: len(master.answers) == len(writes) and len(master.values) == len(reads), then=5,
             each=lambda ctx, cycle: each(ctx, dut.bank))
    return master


def test_constants_read_as_the_table_says():
    constants = [register for register in TABLE
                 if all(field.access is Access.CONSTANT for field in register.fields)]
    assert TABLE[0].name == "ID" and TABLE[0].offset == 0 and len(constants) >= 8
    values = run([], [register.offset for register in constants]).values
    assert values == [(Response.OKAY, register.reset) for register in constants]
    assert values[0][1] == MAGIC


def test_fingerprint_is_that_of_bits_and_interface():
    def fingerprint(config, **master):
        table = register_table(config, MasterParameters(**master))
        return next(register.reset for register in table if register.name == "FINGERPRINT")

    tiny = preset("tiny")
    assert fingerprint(tiny) == fingerprint(tiny.replace(query_rows=32, name="other"), data_bits=128)
    assert fingerprint(tiny) != fingerprint(tiny.replace(heads=3))


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_every_access(idle):
    """Illegal ones are answered with SLVERR and change nothing."""
    rng = random.Random(7)
    offsets = [*BY_OFFSET, *BY_OFFSET, *range(0, 0x200, 4), *range(1, 0x90, 3), 0xFFC, 0xFFF]
    rng.shuffle(offsets)
    writes = [(at, rng.getrandbits(32), rng.choice([15, 15, rng.randrange(16)])) for at in offsets]
    held = {register.offset: 0 for register in TABLE if register.writable and not register.external}
    expected = []
    for at, data, strobe in writes:
        register = BY_OFFSET.get(at)
        legal = register is not None and register.writable and not (
            register.whole and strobe & register.byte_mask != register.byte_mask)
        expected.append(Response.OKAY if legal else Response.SLVERR)
        if legal and at in held:
            mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
            fields = sum(field.mask for field in register.fields if field.access is Access.READ_WRITE)
            held[at] = (held[at] & ~(mask & fields)) | (data & mask & fields)
    first = run(writes, [], idle)
    assert first.answers == expected
    dut = Registers()
    master = Master(dut, writes, [], rng, idle)
    readers = Master(dut, [], offsets, rng, idle)

    class Then:
        """Writes first, then reads."""

        def drive(self, ctx):
            (master if len(master.answers) < len(writes) else readers).drive(ctx)

        def observe(self, ctx):
            (master if len(master.answers) < len(writes) else readers).observe(ctx)

    simulate(dut, [Then()], lambda: len(readers.values) == len(offsets))
    for at, (response, value) in zip(offsets, readers.values, strict=True):
        register = BY_OFFSET.get(at)
        if register is None:
            assert (response, value) == (Response.SLVERR, 0), hex(at)
            continue
        readable = sum(field.mask for field in register.fields if field.access not in (
            Access.WRITE_ONLY, Access.WRITE_1_TO_PULSE))
        if at in held:
            want = held[at]
        elif all(field.access is Access.CONSTANT for field in register.fields):
            want = register.reset
        else:
            want = spread(register)
        assert (response, value) == (Response.OKAY, want & readable), register.name


def spread(register) -> int:
    """Return what the bench gives, with the fields in their places."""
    value, word = given(register), 0
    for field in register.fields:
        word |= (value & ((1 << field.width) - 1)) << field.low
        value >>= field.width
    return word


def test_ones_clear_and_hardware_wins():
    register = BY_NAME["ERROR"]
    seen = []

    def each(ctx, bank):
        cycle = len(seen)
        ctx.set(bank.error_set.as_value(), 0b110 if cycle == 1 else 0b100 if bank_written(ctx, bank) else 0)
        seen.append(ctx.get(bank.error.as_value()))

    def bank_written(ctx, bank):
        return ctx.get(bank.write)

    run([(register.offset, 0b000, 15), (register.offset, 0b111, 15)], [], each=each)
    assert 0b110 in seen and seen[-1] == 0b100


def test_what_is_locked_or_refused_is_answered_with_an_error():
    writes = [(BY_NAME[name].offset, 64, 15) for name in ("RING_BASE_LOW", "RING_SIZE", "RING_HEAD", "CONTROL")]

    def locked(ctx, bank):
        ctx.set(bank.locked, 1)
        ctx.set(bank.refuse, 1)

    assert run(writes, [], each=locked).answers == [Response.SLVERR] * 3 + [Response.OKAY]
    assert run(writes, []).answers == [Response.OKAY] * 4


def test_pulses_last_a_cycle():
    seen = []
    run([(BY_NAME["CONTROL"].offset, 0b111, 15)], [],
        each=lambda ctx, bank: seen.append((ctx.get(bank.control.soft_reset), ctx.get(bank.control.enable))))
    assert sum(pulse for pulse, _ in seen) == 1 and seen[-1] == (0, 1)
