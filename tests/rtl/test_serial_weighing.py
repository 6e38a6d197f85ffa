"""Blocks of the serial core that weigh keys by their estimates, each against the golden model."""

import numpy as np
import pytest
from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from latte.golden.config import AttentionConfig, preset
from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights, group_value_sums
from latte.golden.quantizer import MASS_KEEP_ALL
from latte.golden.row_limit import row_limits
from latte.golden.threshold_filter import threshold_filter
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.serial.serial_gap_table import SerialGapTable
from latte.rtl.serial.serial_group_sums import SerialGroupSums
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_pruned_mass import SerialPrunedMass
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter

CONFIG = preset("tiny", head_dim=8, max_seq_len=23, dim_lanes=4, bus_bytes=2,
                threshold_kinds=("relative", "mass", "absolute"), key_groups=4)
ONE_GROUP = CONFIG.replace(key_groups=1, value_lanes=4, weight_bits=8, exp_frac_bits=6, max_seq_len=16)


def simulate(dut, testbench):
    """Run a testbench with a clock."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def scale_of(ends: int, config: AttentionConfig) -> tuple[int, int]:
    """Return a normalised scale whose weights end at about a gap."""
    octave = (config.weight_bits + 7) << config.exp_frac_bits
    shift = next(s for s in range(41) if (octave << s) // (ends << config.estimate_shift) >= 1 << 15)
    return (octave << shift) // (ends << config.estimate_shift), shift


async def fill(ctx, port, scale: tuple[int, int], config: AttentionConfig):
    """Write a job's weights, from gap 0 to the first without weight."""
    for gap, weight in enumerate(gap_weights(np.arange(2 * GAP_TABLE_SIZE), scale, config).tolist()):
        ctx.set(port, {"valid": 1, "gap": gap, "weight": weight})
        await ctx.tick()
        if weight == 0:
            break
    ctx.set(port, {"valid": 0, "gap": 0, "weight": 0})


@pytest.mark.parametrize("config", [CONFIG, ONE_GROUP], ids=["kinds", "one group"])
def test_gap_table(config):
    dut = SerialGapTable(config)

    async def testbench(ctx):
        for ends in (GAP_TABLE_SIZE + 12, 90, 3, 400):
            scale = scale_of(ends, config)
            await fill(ctx, dut.fill, scale, config)
            expected = gap_weights(np.arange(1 << config.est_bits), scale, config)
            assert ctx.get(dut.end) == np.count_nonzero(expected)
            for gap in [*range(0, 600, 7), ends - 1, ends, ends + 1, 511, 512, 513, 1023, (1 << config.est_bits) - 1]:
                ctx.set(dut.gap, gap)
                await ctx.tick()
                assert ctx.get(dut.weight) == expected[gap], (ends, gap)

    simulate(dut, testbench)


class LimitedRow(wiring.Component):
    """Limiter and gap table beside a row of estimates."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.limiter, self.table = SerialRowLimiter(config), SerialGapTable(config)
        self.row = DualPortRam(signed(config.est_bits), config.max_seq_len)
        super().__init__({})

    def elaborate(self, platform) -> Module:
        """Connect."""
        m = Module()
        m.submodules.limiter, m.submodules.table, m.submodules.row = limiter, table, row = (
            self.limiter, self.table, self.row)
        m.d.comb += [
            row.read_addr.eq(limiter.index), table.gap.eq(limiter.maximum - row.read_data),
            limiter.weight.eq(table.weight), limiter.end.eq(table.end),
        ]
        with m.If(limiter.searching):
            m.d.comb += table.gap.eq(limiter.gap)
        return m


def test_row_limiter_keeps_what_the_golden_model_keeps():
    dut, config = LimitedRow(CONFIG), CONFIG
    rng = np.random.default_rng(3)
    kinds = [*ThresholdKind, ThresholdKind.MASS]
    half = 1 << (config.est_bits - 1)

    async def testbench(ctx):
        kept = 0
        for trial in range(200):
            # As far away as weights reach they are small, and thresholds among them equal some.
            kind, far = kinds[trial % 4], trial % 8 > 3
            ends = int(rng.choice([3, 40, 300, 520]))
            scale = scale_of(ends, config)
            by_mass = (15 << 8, 22 << 8) if far else (0, 9 << 8)
            low, high = {"relative": (1, 400), "mass": by_mass, "absolute": (-200, 300)}[kind]
            codes = rng.integers(low, high, LENGTH_OCTAVES)
            if trial % 9 == 0:
                codes[:] = rng.choice({"relative": [1, config.tau_keep_all], "absolute": [-half, half - 1],
                                       "mass": [0, MASS_KEEP_ALL, MASS_KEEP_ALL - 1, 40 << 8]}[kind])
            threshold = Threshold(kind, tuple(codes.tolist()))
            n = int(rng.choice([1, 2, 3, config.max_seq_len, rng.integers(1, config.max_seq_len + 1)]))
            spread = int(rng.choice([1, 60, 500]))
            row = rng.integers(-spread, spread + 1, (1, n))
            if far:
                row = 500 - rng.choice([0, ends - 2, ends - 1, ends, 511, 512, *rng.integers(0, ends + 2, 3)], (1, n))
            for octave in config.code_octaves:
                ctx.set(dut.limiter.code_valid, 1)
                ctx.set(dut.limiter.code, {"slot": 0, "octave": octave, "code": int(codes[octave]) & 0x3FFF})
                await ctx.tick()
            ctx.set(dut.limiter.code_valid, 0)
            for place, estimate in enumerate(row[0].tolist()):
                for port, value in ((dut.row.write_en, 1), (dut.row.write_addr, place), (dut.row.write_data, estimate)):
                    ctx.set(port, value)
                await ctx.tick()
            ctx.set(dut.row.write_en, 0)
            await fill(ctx, dut.table.fill, scale, config)
            for port, value in ((dut.limiter.keys, n), (dut.limiter.maximum, int(row.max())),
                                (dut.limiter.kind, list(ThresholdKind).index(kind)), (dut.limiter.start, 1)):
                ctx.set(port, value)
            await ctx.tick()
            ctx.set(dut.limiter.start, 0)
            cycles = 1
            while not ctx.get(dut.limiter.done):
                await ctx.tick()
                cycles += 1
            await ctx.tick()
            more = SerialRowLimiter.mass_cycles(config, n) if kind is ThresholdKind.MASS else 0
            assert cycles == SerialRowLimiter.latency + more
            visible = np.ones((1, n), bool)
            limit = row_limits(threshold, row, visible, row.max(axis=1), scale, config)
            expected = threshold_filter(row, visible, limit)[0]
            keep = (row[0] > ctx.get(dut.limiter.threshold)) | (row[0] == row.max())
            np.testing.assert_array_equal(keep, expected, err_msg=f"trial {trial}, {kind}, {n} keys")
            kept += keep.mean() / 200
        assert 0.2 < kept < 0.8

    simulate(dut, testbench)


@pytest.mark.parametrize("config", [CONFIG, ONE_GROUP], ids=["kinds", "one group"])
def test_pruned_mass(config):
    dut, rng = SerialPrunedMass(config), np.random.default_rng(5)
    most = (1 << (config.weight_bits + 6)) - 1

    async def testbench(ctx):
        last = np.zeros(config.key_groups, np.int64)
        for row in range(12):
            sums = np.zeros(config.key_groups, np.int64)
            for n in range(rng.integers(0, config.max_seq_len + 1)):
                group, weight = int(rng.integers(0, config.key_groups)), int(rng.choice([most, rng.integers(0, most)]))
                ask = n % config.key_groups
                for port, value in ((dut.group, group), (dut.weight, weight), (dut.read_group, ask)):
                    ctx.set(port, value)
                await ctx.tick()
                ctx.set(dut.add, 1)
                assert ctx.get(dut.mass) == last[ask], f"row {row}"
                await ctx.tick()
                ctx.set(dut.add, 0)
                sums[group] += weight
            ctx.set(dut.row_ends, 1)
            await ctx.tick()
            ctx.set(dut.row_ends, 0)
            last = sums
            for group in range(config.key_groups):
                ctx.set(dut.read_group, group)
                await ctx.tick()
                assert ctx.get(dut.mass) == last[group], f"row {row}, group {group}"

    simulate(dut, testbench)


class SummedKeys(wiring.Component):
    """Sums beside values and groups of given contents."""

    def __init__(self, config: AttentionConfig, v: np.ndarray, group: np.ndarray) -> None:
        self.config, self.v, self.group = config, v, group
        self.sums = SerialGroupSums(config)
        super().__init__({"other": In(1), "unused": Out(1)})

    def elaborate(self, platform) -> Module:
        """Connect."""
        m = Module()
        config, lanes = self.config, self.config.value_lanes
        m.submodules.sums = sums = self.sums
        m.submodules.values = values = DualPortRam(data.ArrayLayout(signed(8), lanes), self.v.size // lanes,
                                                   self.v.reshape(-1, lanes).tolist())
        m.d.comb += [values.read_addr.eq(sums.values.key * config.value_slices + sums.values.slice),
                     sums.values.data.eq(values.read_data)]
        if config.group_bits:
            m.submodules.groups = groups = DualPortRam(config.group_bits, len(self.group), self.group.tolist())
            m.d.comb += [groups.read_addr.eq(sums.index), sums.group.eq(groups.read_data)]
        return m


@pytest.mark.parametrize("config", [CONFIG, ONE_GROUP], ids=["kinds", "one group"])
def test_group_sums(config):
    rng = np.random.default_rng(7)
    n = config.max_seq_len
    v = rng.choice([-128, 127, 5], (n, config.head_dim)).astype(np.int8)
    group = rng.integers(0, config.key_groups, n)
    dut = SummedKeys(config, v, group)
    sums = dut.sums

    async def testbench(ctx):
        covered = 0
        for keys in (1, 2, 2, 5, n, n, 3, 4, 1, 9, n):
            if keys == 9:
                ctx.set(sums.restart, 1)
                await ctx.tick()
                ctx.set(sums.restart, 0)
                covered = 0
            ctx.set(sums.keys, keys)
            ctx.set(sums.ask, 1)
            cycles = 1
            while not ctx.get(sums.done):
                await ctx.tick()
                cycles += 1
            await ctx.tick()
            ctx.set(sums.ask, 0)
            again = keys < covered
            assert cycles == (keys - (0 if again else covered)) * sums.key_cycles + 1 + again
            covered = keys
            membership = group[:, None] == np.arange(config.key_groups)
            visible = (np.arange(n) < keys)[None, :]
            expected = group_value_sums(v, visible, membership)[0].reshape(
                config.key_groups, config.value_slices, config.value_lanes)
            for g in range(config.key_groups):
                ctx.set(sums.read_group, g)
                ctx.set(sums.read_slice, 0)
                ctx.set(sums.read_count, 1)
                await ctx.tick()
                count = int((group[:keys] == g).sum())
                assert ctx.get(sums.count) == max(1, count)
                ctx.set(sums.read_count, 0)
                for part in range(config.value_slices if count else 0):
                    ctx.set(sums.read_slice, part)
                    await ctx.tick()
                    assert [ctx.get(sums.sums[i]) for i in range(config.value_lanes)] == expected[g, part].tolist()

    simulate(dut, testbench)
