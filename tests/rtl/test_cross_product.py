"""The structures of the cross products, each alone, against NumPy."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from latte.golden.config import AttentionConfig, preset
from latte.rtl.wide.cross_product import BitPlaneCrossDot, PairedCrossDot, create_cross_product

SEED = 2404


def operands(config: AttentionConfig) -> np.ndarray:
    """Return parts [beats, query or keys, high or low, lanes]: every combination of the extremes, then random ones."""
    rng, lanes = np.random.default_rng(SEED), config.cross_lanes
    end, steps = 1 << (config.estimate_bits - 1), 1 << config.low_bits
    low = -steps // 2 if config.split == "balanced" else 0
    high = low + steps
    ends = [(-end, low), (-end, high - 1), (end - 1, low), (end - 1, high - 1), (0, 0)]
    constant = [[query, key] for query in ends for key in ends]
    corners = np.broadcast_to(np.array(constant)[..., None], (len(constant), 2, 2, lanes))
    random = np.stack([rng.integers(-end, end, (40, 2, lanes)), rng.integers(low, high, (40, 2, lanes))], axis=2)
    return np.concatenate([corners, random])


@pytest.mark.parametrize("structure, split, bits, lanes", [
    *((structure, split, 4, lanes) for lanes in (1, 2, 22, 64) for structure, split in (
        (PairedCrossDot, "balanced"), (BitPlaneCrossDot, "balanced"), (BitPlaneCrossDot, "slice"))),
    *((PairedCrossDot, "balanced", bits, lanes) for bits in (3, 2) for lanes in (1, 6))])
def test_sum_of_both_products(structure, split, bits, lanes):
    print(f"seed {SEED}")
    config = preset("small", cross_lanes=lanes, bus_bytes=1, split=split, estimate_bits=bits)
    dut = structure(config)
    beats = operands(config)
    expected = [int(query[0] @ key[1] + query[1] @ key[0]) for query, key in beats]
    results = []

    async def drive(ctx):
        for n in range(len(beats) + dut.latency):
            if n < len(beats):
                for port, (high, low) in zip((dut.query, dut.keys), beats[n], strict=True):
                    ctx.set(port, [{"high": int(h), "low": int(x)} for h, x in zip(high, low, strict=True)])
            if n >= dut.latency:
                results.append(ctx.get(dut.sum))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(drive)
    sim.run()
    assert results == expected


def test_unsigned_halves_need_bit_planes():
    assert isinstance(create_cross_product(preset("small")), PairedCrossDot)
    assert isinstance(create_cross_product(preset("small", split="slice")), BitPlaneCrossDot)
    with pytest.raises(ValueError, match="BitPlaneCrossDot"):
        PairedCrossDot(preset("small", split="slice"))


def test_narrow_estimates_need_pairs():
    assert isinstance(create_cross_product(preset("small", estimate_bits=3)), PairedCrossDot)
    with pytest.raises(ValueError, match="PairedCrossDot"):
        BitPlaneCrossDot(preset("small", estimate_bits=3))
