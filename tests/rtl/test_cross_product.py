"""The structures of the cross products, each alone, against NumPy."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from latte.golden.config import preset
from latte.rtl.wide.cross_product import BitPlaneCrossDot, PairedCrossDot, create_cross_product

SEED = 2404


def operands(lanes: int, split: str) -> np.ndarray:
    """Return halves [beats, query or keys, high or low, lanes]: every combination of the extremes, then random ones."""
    rng = np.random.default_rng(SEED)
    low, high = (-8, 8) if split == "balanced" else (0, 16)
    ends = [(-8, low), (-8, high - 1), (7, low), (7, high - 1), (0, 0)]
    constant = [[query, key] for query in ends for key in ends]
    corners = np.broadcast_to(np.array(constant)[..., None], (len(constant), 2, 2, lanes))
    random = np.stack([rng.integers(-8, 8, (40, 2, lanes)), rng.integers(low, high, (40, 2, lanes))], axis=2)
    return np.concatenate([corners, random])


@pytest.mark.parametrize("lanes", [1, 2, 22, 64])
@pytest.mark.parametrize("structure, split", [
    (PairedCrossDot, "balanced"), (BitPlaneCrossDot, "balanced"), (BitPlaneCrossDot, "slice")])
def test_sum_of_both_products(structure, split, lanes):
    print(f"seed {SEED}")
    dut = structure(lanes, split)
    beats = operands(lanes, split)
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
        PairedCrossDot(4, "slice")
