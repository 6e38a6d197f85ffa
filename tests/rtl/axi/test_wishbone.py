"""Registers over Wishbone: each access is answered once, as the bank says; what is given up is not answered."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring

from latte.golden.config import preset
from latte.rtl.axi.bus import MasterParameters, register_members, wishbone_members
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.register_types import Access
from latte.rtl.axi.registers import register_table
from latte.rtl.axi.wishbone_slave import WishboneSlave
from tests.rtl.axi.agents import simulate

TABLE = register_table(preset("tiny"), MasterParameters())
BY_NAME = {register.name: register for register in TABLE}


class Registers(wiring.Component):
    """Slave and bank."""

    def __init__(self) -> None:
        super().__init__(wishbone_members())

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = RegisterBank(TABLE)
        m.submodules.slave = slave = WishboneSlave(RegisterBank.read_latency)
        for name, member in register_members().items():
            asks, answers = getattr(slave, name), getattr(bank, name)
            m.d.comb += asks.eq(answers) if member.flow is wiring.In else answers.eq(asks)
        for name, member in wishbone_members().items():
            inside, outside = getattr(slave, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if member.flow is wiring.In else outside.eq(inside)
        return m


class Master:
    """Carries out cycles, (offset, data or None, strobes); gives some up after a cycle, and asks again."""

    def __init__(self, dut, cycles: list, rng: random.Random, idle: float, gives_up: float) -> None:
        self.dut, self.cycles, self.rng, self.idle, self.gives_up = dut, cycles, rng, idle, gives_up
        self.answers = []
        self.asking = False

    def drive(self, ctx) -> None:
        dut = self.dut
        waits = len(self.answers) < len(self.cycles)
        self.asking = waits and (self.rng.random() >= self.gives_up if self.asking else self.rng.random() >= self.idle)
        ctx.set(dut.cyc, self.asking or self.rng.random() < 0.5)
        ctx.set(dut.stb, self.asking)
        if self.asking:
            offset, data, strobes = self.cycles[len(self.answers)]
            ctx.set(dut.adr, offset // 4)
            ctx.set(dut.we, data is not None)
            ctx.set(dut.dat_w, data or 0)
            ctx.set(dut.sel, strobes)

    def observe(self, ctx) -> None:
        ack, err = ctx.get(self.dut.ack), ctx.get(self.dut.err)
        assert not (ack and err)
        if self.asking and (ack or err):
            self.answers.append(("ack" if ack else "err", ctx.get(self.dut.dat_r)))
            self.asking = False


@pytest.mark.parametrize(("idle", "gives_up"), [(0.0, 0.0), (0.5, 0.0), (0.3, 0.2)])
def test_every_register(idle, gives_up):
    """Writes that the table allows are acknowledged, and read back; all else is an error."""
    rng = random.Random(4)
    cycles, want = [], []
    for offset in range(0, TABLE[-1].offset + 16, 4):
        register = next((register for register in TABLE if register.offset == offset), None)
        cycles += [(offset, 0x0F0F0F0F, 15), (offset, None, 15)]
        kept = 0
        for field in register.fields if register and not register.external else ():
            if field.access is Access.READ_WRITE:
                kept |= field.mask & 0x0F0F0F0F
            elif field.access is Access.CONSTANT:
                kept |= field.reset << field.low
        want += ["ack" if register and register.writable else "err", ("ack" if register else "err", kept)]
    dut = Registers()
    master = Master(dut, cycles, rng, idle, gives_up)
    spent = simulate(dut, [master], lambda: len(master.answers) == len(cycles), then=5)
    for (answer, value), expected in zip(master.answers, want, strict=True):
        assert (answer if isinstance(expected, str) else (answer, value)) == expected
    if not idle and not gives_up:
        # Three cycles a write, `read_latency` + 3 a read, and those behind the end.
        assert spent <= len(cycles) // 2 * (3 + RegisterBank.read_latency + 3) + 6


def test_strobes():
    """A byte without a strobe keeps its value."""
    offset = BY_NAME["RING_BASE_LOW"].offset
    dut = Registers()
    cycles = [(offset, 0x11223344, 15), (offset, 0xAABBCCDD, 5), (offset, None, 15)]
    master = Master(dut, cycles, random.Random(1), 0.0, 0.0)
    simulate(dut, [master], lambda: len(master.answers) == len(cycles))
    assert master.answers[-1] == ("ack", 0x11BB33DD)
