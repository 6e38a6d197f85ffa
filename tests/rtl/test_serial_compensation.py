"""Finisher of the serial core with compensation: virtual survivors, sums of weights, weights by gap."""

import numpy as np
import pytest
from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.sim import Simulator

from latte.golden.config import AttentionConfig, preset
from latte.golden.normalizer import normalize
from latte.golden.pruned_mass import (
    GAIN_MAX,
    GAP_TABLE_SIZE,
    Gains,
    accumulate_virtual_survivors,
    apply_gain,
    gap_weights,
    group_value_sums,
    rescale_mass,
    table_holds,
    unit_weight,
)
from latte.golden.score_estimator import integer_matmul
from latte.golden.softmax import softmax_weights
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_memories import DualPortRam

EIGHT = preset("tiny", head_dim=8, max_seq_len=90, dim_lanes=4, bus_bytes=2, threshold_kinds=("mass",), key_groups=8)
ONE_GROUP = preset("tiny", head_dim=8, max_seq_len=16, dim_lanes=4, bus_bytes=2, value_lanes=4, key_groups=1,
                   weight_bits=16, exp_frac_bits=4, reciprocal_bits=6, fraction_bits=4)
CONFIGS = {"eight groups": EIGHT, "one group": ONE_GROUP}


class FinishedRows(wiring.Component):
    """Finisher beside values, groups of keys, masses and survivors."""

    def __init__(self, config: AttentionConfig, v: np.ndarray) -> None:
        self.config, self.v = config, v
        self.finisher = SerialFinisher(config)
        self.survivors = DualPortRam(self.finisher.score.shape(), config.max_seq_len)
        self.masses = DualPortRam(self.finisher.mass.shape(), config.key_groups)
        self.groups = DualPortRam(max(1, config.group_bits), config.max_seq_len)
        super().__init__({})

    def elaborate(self, platform) -> Module:
        """Connect."""
        m = Module()
        config, lanes, finisher = self.config, self.config.value_lanes, self.finisher
        m.submodules.finisher, m.submodules.survivors = finisher, self.survivors
        m.submodules.masses, m.submodules.groups = self.masses, self.groups
        m.submodules.values = values = DualPortRam(data.ArrayLayout(signed(8), lanes), self.v.size // lanes,
                                                   self.v.reshape(-1, lanes).tolist())
        m.d.comb += [
            values.read_addr.eq(finisher.values.key * config.value_slices + finisher.values.slice),
            finisher.values.data.eq(values.read_data), self.survivors.read_addr.eq(finisher.index),
            finisher.score.eq(self.survivors.read_data), self.masses.read_addr.eq(finisher.mass_group),
            finisher.mass.eq(self.masses.read_data), self.groups.read_addr.eq(finisher.member),
            finisher.group.eq(self.groups.read_data),
        ]
        return m


def simulate(dut, testbench):
    """Run a testbench with a clock."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


async def write(ctx, memory, words):
    """Write a memory from its beginning."""
    ctx.set(memory.write_en, 1)
    for place, word in enumerate(words):
        ctx.set(memory.write_addr, place)
        ctx.set(memory.write_data, word)
        await ctx.tick()
    ctx.set(memory.write_en, 0)


@pytest.mark.parametrize("name", CONFIGS)
def test_compensated_rows(name):
    config = CONFIGS[name]
    rng = np.random.default_rng(len(name))
    n, groups = config.max_seq_len, config.key_groups
    v = rng.choice([-128, 127, *range(-40, 41)], (n, config.head_dim)).astype(np.int8)
    dut = FinishedRows(config, v)
    finisher = dut.finisher
    half = 1 << (config.est_bits - 1)
    most_mass = (((1 << config.weight_bits) - 1) << 6) * n

    async def testbench(ctx):
        ctx.set(finisher.o.ready, 1)
        before, saturated = 0, 0
        for trial in range(40):
            compensated = int(trial % 8 != 7)
            used = int(rng.integers(0, config.group_bits + 1))
            keys = int(rng.choice([n, 1, min(n, before + 1), rng.integers(1, n + 1)]))
            count = 1 if trial % 2 else int(rng.integers(1, 4))
            spread = int(rng.choice([200, 3000, half << 8]))
            kept = np.sort(rng.permutation(keys)[:count])
            scores = rng.integers(-spread, spread, len(kept)) & -(1 << config.low_bits)
            code = int(rng.choice([0, 1 << 15, 65_535, rng.integers(1 << 15, 1 << 16)])), int(rng.integers(8, 24))
            # Some octaves away, often about as many as a mass is limited to.
            octaves = rng.choice([rng.uniform(-3, 3), rng.uniform(-36, 36), rng.choice([-24, 24])])
            steps = octaves * 2.0 ** (code[1] + config.exp_frac_bits - config.estimate_shift) / max(1, code[0])
            best = int(np.clip((scores.max() >> 8) + steps, -half, half - 1))
            gains = Gains(*sorted(rng.choice([1, GAIN_MAX, *rng.integers(1, GAIN_MAX, 4)], 2).tolist(), reverse=True))
            row_mass = np.where(rng.random(1 << used) < 0.3, 0, rng.choice(
                [1, 4000, most_mass // groups, *rng.integers(0, most_mass // groups + 1, 3)], 1 << used))
            if trial % 2:  # little of it, so that an output shows how sums are rounded
                row_mass = row_mass % (200 << 6)

            score, keep = np.zeros((1, n), np.int64), np.zeros((1, n), bool)
            score[0, kept], keep[0, kept] = scores, True
            accumulated, weight_sum = accumulate_values(softmax_weights(score, keep, code, config), v)
            mass = rescale_mass(row_mass[None], np.array([best]), np.array([scores.max()]), code, config)
            group = rng.integers(0, 1 << used, n)
            membership = group[:, None] == np.arange(1 << used)
            visible = (np.arange(n) < keys)[None]
            mass = np.where(integer_matmul(visible, membership) == 0, 0, mass)
            row_mass = np.where(integer_matmul(visible, membership)[0] == 0, 0, row_mass)
            saturated += (mass == (1 << config.sum_bits) - 1).any()
            if compensated:
                unit = unit_weight(apply_gain(mass, gains.mean), integer_matmul(visible, membership), config)
                value_sum = group_value_sums(v, visible, membership)
                accumulated = accumulate_virtual_survivors(accumulated, unit, value_sum)
                weight_sum = weight_sum + apply_gain(mass.sum(axis=1), gains.denominator)
            expected = normalize(accumulated, weight_sum, config)[0].tolist()

            await write(ctx, dut.survivors, [{"score": int(s) >> config.low_bits, "key": int(k)}
                                             for s, k in zip(scores, kept, strict=True)])
            await write(ctx, dut.masses, row_mass.tolist())
            await write(ctx, dut.groups, group.tolist())
            ctx.set(finisher.restart, 1)
            await ctx.tick()
            ctx.set(finisher.restart, 0)
            for field, value in {"compensated": compensated, "denominator_gain": gains.denominator,
                                 "mean_gain": gains.mean, "group_bits": used, "scale_mantissa": code[0],
                                 "scale_shift": code[1]}.items():
                ctx.set(getattr(finisher, field), value)
            ctx.set(finisher.row.payload, {"survivors": len(kept), "maximum": int(scores.max()) >> config.low_bits,
                                           "job_last": 0, "best": best, "keys": keys})
            ctx.set(finisher.row.valid, 1)
            await ctx.tick()
            ctx.set(finisher.row.valid, 0)
            codes, pruned, cycles = [], 0, 0
            while len(codes) < config.head_dim:
                pruned += ctx.get(finisher.pruned)
                if ctx.get(finisher.o.valid):
                    codes.append(ctx.get(finisher.o.payload.data[0]))
                cycles += 1
                await ctx.tick()
            assert codes == expected, f"trial {trial}"
            assert pruned == (mass.sum() if compensated else 0), f"trial {trial}"
            most = len(kept) * finisher.survivor_cycles + finisher.division_cycles
            if compensated:
                most += SerialFinisher.compensation_cycles_of(config, 1 << used, keys)
            assert cycles == most, f"trial {trial}"
            before = keys
        assert saturated

    simulate(dut, testbench)


def test_weights_by_gap():
    config = EIGHT
    dut = FinishedRows(config, np.zeros((config.max_seq_len, config.head_dim), np.int8))
    finisher, rng = dut.finisher, np.random.default_rng(2)

    async def testbench(ctx):
        for _ in range(3):
            code = (0, 0)
            while not table_holds(code, config):
                code = int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(12, 19))
            ctx.set(finisher.scale_mantissa, code[0])
            ctx.set(finisher.scale_shift, code[1])
            for weighed in (0, 1):
                ctx.set(finisher.begin, 1)
                ctx.set(finisher.weighed, weighed)
                await ctx.tick()
                ctx.set(finisher.begin, 0)
                assert ctx.get(finisher.filled) == 1 - weighed and ctx.get(finisher.row.ready) == 1 - weighed
            weights, cycles = [], 0
            while not ctx.get(finisher.filled):
                if ctx.get(finisher.fill.valid):
                    assert ctx.get(finisher.fill.gap) == len(weights)
                    weights.append(ctx.get(finisher.fill.weight))
                cycles += 1
                await ctx.tick()
            expected = gap_weights(np.arange(2 * GAP_TABLE_SIZE), code, config)
            assert weights == expected[:np.count_nonzero(expected) + 1].tolist()
            assert cycles == 1 + len(weights) * SerialFinisher.fill_cycles

    simulate(dut, testbench)
