"""All cores in Amaranth's own simulator, at sizes that take seconds: the tier that fails first."""

import math

import numpy as np
import pytest
from amaranth.sim import Simulator

from latte.golden import quantizer
from latte.golden.attention import HeadParameters, attend
from latte.golden.config import THRESHOLD_KINDS, AttentionConfig, preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.pruned_mass import GAIN_MAX, NO_COMPENSATION, Gains
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.entry_words import pack_entry
from latte.rtl.engines import ENGINES, MOST_KEYS, create_core, engine_of

SMALL = preset("small", head_dim=16, dim_lanes=16, max_seq_len=32, heads=8, cross_lanes=6, value_lanes=6,
               bus_bytes=2)
SERIAL = SMALL.replace(engine="serial", cross_lanes=2, value_lanes=2, normalizer_lanes=1, query_lanes=1,
                       dim_lanes=4, pe_structure="multiplier", kv_banks=1, query_rows=4)
CONFIGS = {
    "sliced values": SMALL,
    "three queries": SMALL.replace(cross_lanes=16, value_lanes=16, normalizer_lanes=8, query_lanes=3,
                                   bus_bytes=4, split="slice"),
    "time-multiplexed": SMALL.replace(cross_lanes=2, value_lanes=2, normalizer_lanes=1, query_lanes=1,
                                      dim_lanes=4, pe_structure="multiplier", kv_banks=1),
    "two keys": SMALL.replace(cross_lanes=8, value_lanes=8, normalizer_lanes=4, key_lanes=2, bus_bytes=8),
    "all kinds, eight groups": SMALL.replace(threshold_kinds=THRESHOLD_KINDS, key_groups=8),
    "two keys, four groups": SMALL.replace(
        cross_lanes=16, value_lanes=16, normalizer_lanes=8, query_lanes=3, key_lanes=2, bus_bytes=4, split="slice",
        key_groups=4, threshold_kinds=THRESHOLD_KINDS),
    "time-multiplexed, two groups": SMALL.replace(
        cross_lanes=2, value_lanes=1, normalizer_lanes=1, query_lanes=1, dim_lanes=4, bus_bytes=1, kv_banks=1,
        pe_structure="multiplier", key_groups=2, threshold_kinds=("mass", "absolute")),
    "relative, one group": SMALL.replace(key_groups=1),
    "by mass": SMALL.replace(threshold_kinds=("mass",)),
    "relative and absolute": SMALL.replace(threshold_kinds=("relative", "absolute")),
    "three bits": SMALL.replace(estimate_bits=3),
    "three bits, two keys, four groups": SMALL.replace(
        cross_lanes=16, value_lanes=16, normalizer_lanes=8, query_lanes=3, key_lanes=2, bus_bytes=4, estimate_bits=3,
        key_groups=4, threshold_kinds=THRESHOLD_KINDS),
    "three bits, time-multiplexed, two groups": SMALL.replace(
        cross_lanes=2, value_lanes=1, normalizer_lanes=1, query_lanes=1, dim_lanes=4, bus_bytes=1, kv_banks=1,
        pe_structure="multiplier", estimate_bits=3, key_groups=2, threshold_kinds=("mass", "absolute")),
    "three bits, packed": SMALL.replace(key_lanes=2, pe_structure="dsp", estimate_bits=3),
    "two bits, one group": SMALL.replace(estimate_bits=2, key_groups=1),
    "two bits, time-multiplexed": SMALL.replace(
        cross_lanes=2, value_lanes=2, normalizer_lanes=1, query_lanes=1, dim_lanes=4, pe_structure="multiplier",
        estimate_bits=2),
    "serial": SERIAL,
    "serial, sliced split": SERIAL.replace(split="slice", query_rows=6, cross_lanes=4, value_lanes=4),
    "serial, all kinds, eight groups": SERIAL.replace(threshold_kinds=THRESHOLD_KINDS, key_groups=8),
    "serial, by mass, one group": SERIAL.replace(threshold_kinds=("mass",), key_groups=1, split="slice"),
    "serial, relative, two groups": SERIAL.replace(key_groups=2, bus_bytes=4, cross_lanes=4, value_lanes=8),
    "serial, absolute and by mass": SERIAL.replace(threshold_kinds=("mass", "absolute")),
    "serial, three bits": SERIAL.replace(estimate_bits=3),
    "serial, two bits": SERIAL.replace(estimate_bits=2, cross_lanes=4),
    "serial, three bits, all kinds, eight groups": SERIAL.replace(
        estimate_bits=3, threshold_kinds=THRESHOLD_KINDS, key_groups=8),
    "dense": SMALL.replace(normalizer_lanes=4, cross_lanes=8, value_lanes=8, query_lanes=3,
                           bus_bytes=8).dense(),
}
SLOW = {"two keys", "time-multiplexed", "relative, one group", "three bits, packed", "serial, relative, two groups",
        "time-multiplexed, two groups", "three bits, two keys, four groups",
        "three bits, time-multiplexed, two groups", "two bits, time-multiplexed", "serial, sliced split",
        "serial, absolute and by mass", "serial, three bits", "serial, three bits, all kinds, eight groups",
        "serial", "three queries", "two keys, four groups", "relative and absolute", "by mass",
        "serial, by mass, one group"}
"""Builds that join what others have alone, or that Verilator simulates as well."""
HEADS = [(7, False, 2.0), (9, True, 3.0), (1, False, 1.0), (3, True, float("inf"))]
"""(keys, causal, tau)"""
MORE_HEADS = [*HEADS, (8, False, 1.0), (6, True, 1.5)]
"""For builds with several kinds of threshold or compensation."""
PATIENCE = 20_000


class HeadJob:
    """One head with random operands and what the golden model makes of it."""

    def __init__(self, index: int, keys: int, causal: bool, tau: float, config: AttentionConfig,
                 rng: np.random.Generator) -> None:
        x = rng.normal(size=(3, keys, config.head_dim)) * 2
        # Quantised for 119, whatever the build: one with a narrower estimate saturates.
        (self.q, q_scale), (self.k, k_scale) = quantizer.quantize(x[0]), quantizer.quantize(x[1])
        self.v, _ = quantizer.quantize(x[2], quantizer.V_MAX)
        kind = ThresholdKind(config.threshold_kinds[index % len(config.threshold_kinds)])
        gains, groups = NO_COMPENSATION, ONE_GROUP
        if config.key_groups:
            if index != 4:
                gains = Gains(*sorted(rng.integers(1, GAIN_MAX, 2).tolist(), reverse=True))
            used = int(rng.integers(0, config.group_bits + 1)) if index else config.group_bits
            groups = KeyGroups(tuple(rng.permutation(config.head_dim)[:used].tolist()),
                               tuple(rng.integers(-30, 30, used).tolist()))
        slope = float(rng.normal() / 4) if config.code_octaves and math.isfinite(tau) else 0.0
        self.parameters = HeadParameters.encode(tau, float(q_scale), float(k_scale), config, kind=kind,
                                                tau_per_octave=slope, gains=gains, groups=groups)
        self.index, self.keys, self.causal = index, keys, causal
        self.trace = attend(self.q, self.k, self.v, self.parameters, config, causal=causal)


async def send(ctx, stream, payload):
    """Offer a payload until it is taken."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


def simulate(config: AttentionConfig, jobs: list[HeadJob], seed: int) -> tuple[list[int], list[int], list[int], int]:
    """Run the jobs; return all scores, weights and output codes as they appear, and the mass of pruned keys.

    Whether an element was saturated is compared here.
    """
    core = create_core(config)
    rng = np.random.default_rng(seed)
    scores, weights, outputs, masses = [], [], [], []

    async def commands(ctx):
        for job in jobs:
            for word in pack_entry(job.index, job.parameters, config):
                await send(ctx, core.parameter, word)
        for job in jobs:
            await send(ctx, core.job, {"head": job.index, "load_rows": job.keys, "fresh": 1, "query_rows": job.keys,
                                       "causal": int(job.causal)})

    def source(stream, name):
        async def feed(ctx):
            for job in jobs:
                for beat in getattr(job, name).reshape(-1, config.bus_bytes).tolist():
                    await send(ctx, stream, beat)
        return feed

    async def sink(ctx):
        left = sum(job.keys for job in jobs) * config.head_dim // config.normalizer_lanes
        patience = PATIENCE
        while left:
            ctx.set(core.o.ready, int(rng.random() < 0.7))
            _, _, taken, payload = await ctx.tick().sample(core.o.valid & core.o.ready, core.o.payload)
            patience = PATIENCE if taken else patience - 1
            assert patience, f"no output for {PATIENCE} cycles, {left} beats missing"
            if taken:
                left -= 1
                outputs.extend(payload.data[n] for n in range(config.normalizer_lanes))
        await ctx.tick().repeat(3)
        masses.append(ctx.get(core.counters.pruned_mass))
        assert ctx.get(core.status.qk_saturated) == any(job.trace.saturated for job in jobs)

    async def taps(ctx):
        if config.engine == "dense":
            return
        async for _, _, probe in ctx.tick().sample(core.probe):
            if probe.score.valid:
                scores.append(probe.score.score)
            if probe.weight.valid:
                weights.append(probe.weight.weight)

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(commands, background=True)
    for name in "qkv":
        simulator.add_testbench(source(getattr(core, name), name), background=True)
    simulator.add_testbench(taps, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return scores, weights, outputs, *masses


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
                                  for name in CONFIGS])
def test_core_equals_golden(name):
    config, seed = CONFIGS[name], 20
    rng = np.random.default_rng(seed)
    heads = MORE_HEADS if config.code_octaves or config.key_groups else HEADS
    jobs = [HeadJob(index, *head, config, rng) for index, head in enumerate(heads)]
    scores, weights, outputs, mass = simulate(config, jobs, seed)
    if config.engine != "dense":
        assert scores == [score for job in jobs for score in job.trace.score[job.trace.keep].tolist()]
        assert weights == [weight for job in jobs for weight in job.trace.weight[job.trace.keep].tolist()]
    assert outputs == [code for job in jobs for code in job.trace.output.ravel().tolist()]
    assert mass == sum(job.trace.mass.sum() for job in jobs) and (mass > 0) == (config.key_groups > 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_on_chip_end_where_the_arithmetic_goes_on(engine):
    config = {"latte": preset("small"), "serial": preset("tiny"), "dense": preset("small").dense()}[engine]
    assert engine_of(config.replace(max_seq_len=MOST_KEYS)).name == engine
    with pytest.raises(LatteError, match="max_seq_len = 4097: cores hold their keys on chip, at most 4096"):
        create_core(config.replace(max_seq_len=MOST_KEYS + 1))
