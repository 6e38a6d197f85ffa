"""Pruned mass of rows, from that of all keys and the survivors, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.pruned_mass import gap_weights
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import scale_layout
from latte.rtl.wide.payloads import survivor_layout
from latte.rtl.wide.row_limiter import group_mass_layout
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, row_lengths
from tests.cocotb.weighed import ONE_GROUP, PRUNING, await_tables, fill_tables, flat_scale, held_scale, weight_end

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


_IDLE_CYCLES = 64


class WeighedSurvivors(wiring.Component):
    """Survivor mass with two filled tables; a row's survivors wait for its mass.

    Nothing takes a pruned mass until no survivor has moved for some time: the queue of them is full then, or all is in.

    A mass that is `missing` comes too late: an item `lost` is due for it.

    `late`: a row's end is refused though the sums of the last one have left and all that was asked for was taken.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        survivors, pruned = (stream.Signature(layout(config)) for layout in (survivor_layout, group_mass_layout))
        self.mass = data.StructLayout({**group_mass_layout(config).members, "missing": 1})
        super().__init__({"job": In(stream.Signature(scale_layout())), "i": In(survivors), "o": Out(survivors),
                          "masses": In(stream.Signature(self.mass)), "pruned": Out(pruned), "lost_valid": Out(1),
                          "lost": Out(1), "late": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        tables = fill_tables(m, self.config, wiring.flipped(self.job))
        m.submodules.mass = mass = SurvivorMass(self.config)
        # As many sums as a row of survivors may ask for are there before it ends.
        m.submodules.masses = waiting = StreamQueue(self.mass, 64)
        begins = await_tables(m, tables) & (waiting.level > 2 * self.config.key_groups)
        wiring.connect(m, wiring.flipped(self.masses), waiting.i)
        given = waiting.o.payload
        m.d.comb += [mass.masses.valid.eq(waiting.o.valid & ~given.missing), waiting.o.ready.eq(mass.masses.ready),
                     mass.masses.payload.mass.eq(given.mass), mass.masses.payload.last.eq(given.last),
                     self.lost_valid.eq(mass.overflow), self.lost.eq(1)]
        # A row's end is withdrawn where the queue of masses has filled up meanwhile: what takes it bears that.
        m.submodules.behind = behind = StreamQueue(survivor_layout(self.config), 4)
        wiring.connect(m, mass.o, behind.i)
        wiring.connect(m, wiring.flipped(self.o), behind.o)
        taken, idle_cycles = Signal(), Signal(range(_IDLE_CYCLES))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += idle_cycles.eq(0)
        with m.Elif(begins):
            m.d.sync += [idle_cycles.eq(idle_cycles + 1), taken.eq(taken | (idle_cycles == _IDLE_CYCLES - 1))]
        m.d.comb += [self.pruned.payload.eq(mass.pruned.payload), self.pruned.valid.eq(mass.pruned.valid & taken),
                     mass.pruned.ready.eq(self.pruned.ready & taken)]
        m.d.comb += [mass.i.payload.eq(self.i.payload), mass.i.valid.eq(self.i.valid & begins),
                     self.i.ready.eq(mass.i.ready & begins), mass.fill.eq(tables.fill)]
        survivor, ends = self.i.payload, self.i.valid & self.i.ready & self.i.payload.row_last
        sums = 1 << (survivor.group_bits if self.config.group_bits else 0)
        leaving, asked = Signal(range(max(2, self.config.key_groups))), Signal(16)
        m.d.sync += [
            leaving.eq(Mux(ends, sums - 1, Mux(leaving == 0, 0, leaving - 1))),
            asked.eq(asked + Mux(ends & survivor.compensated, sums, 0) - (self.pruned.valid & self.pruned.ready)),
        ]
        # The queue's room follows.
        idle = Cat(delay(m, asked == 0, cycles, name=f"idle_{cycles}") for cycles in range(4)).all()
        m.d.comb += self.late.eq(self.i.valid & begins & survivor.row_last & behind.i.ready & ~mass.i.ready
                                 & (leaving == 0) & idle)
        return m


@pytest.mark.parametrize("config", [PRUNING, ONE_GROUP], ids=lambda config: config.name)
def test_survivor_mass(config, check):
    rng = random.Random(SEED)
    low, high = limits(config.est_bits)
    scales = [flat_scale(config), held_scale(rng, config)]
    survivors, masses, pruned = [], [], []
    for length in [*row_lengths(config, rng, 40), *[1] * 60, *[2] * 160]:
        row_max = rng.choice([high, rng.randint(low, high)])
        table, compensated = rng.getrandbits(1), rng.random() < (0.3 if length == 1 else 0.7)
        group_bits = rng.randint(0, config.group_bits)
        estimates = [max(low, row_max - rng.choice([
            0, 1, rng.randint(0, 300), rng.getrandbits(rng.randint(1, config.est_bits)),
            weight_end(scales[table], config) - rng.getrandbits(1)])) for _ in range(length)]
        groups = np.array([rng.randrange(1 << group_bits) for _ in range(length)])
        weights = gap_weights(row_max - np.array(estimates), scales[table], config)
        job_last = rng.getrandbits(1)
        for n in range(length):
            survivors.append({"estimate": estimates[n], "key": rng.randrange(config.max_seq_len),
                              "slot": rng.randrange(config.query_rows), "bank": rng.getrandbits(1),
                              "row_last": n == length - 1, "table": table, "row_max": row_max, "job_last": job_last,
                              "compensated": compensated} | (
                {"group": int(groups[n]), "group_bits": group_bits} if config.group_bits else {}))
        for g in range(1 << group_bits if compensated else 0):
            rest, last = rng.choice([0, rng.getrandbits(20)]), g == (1 << group_bits) - 1
            missing = rng.random() < 0.05
            masses.append({"mass": rest + int(weights[groups == g].sum()), "last": last, "missing": missing})
            pruned.append({"last": last} | ({} if missing else {"mass": rest}))
    lost = sum(mass["missing"] for mass in masses)
    # What the last rows wait for, and nobody takes.
    masses += [{"mass": 0, "last": 0, "missing": 0}] * (2 * config.key_groups + 4)
    jobs = [{"mantissa": mantissa, "shift": shift, "used": 1} for mantissa, shift in scales[::-1]]
    check(WeighedSurvivors(config), f"survivor-mass-{config.name}",
          {"job": Offer(jobs), "i": Offer(survivors), "masses": Offer(masses)},
          {"o": Expect(survivors), "pruned": Expect(pruned), "lost": Expect([1] * lost)}, quiet=["late"])
