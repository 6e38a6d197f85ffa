"""The dot-product structures, each alone, against NumPy."""

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.sim import Simulator

from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot

SEED = 2404
DIMS = [4, 16, 48, 64]
SHAPES = [*((dims, 4) for dims in DIMS), (10, 3), (48, 3), (10, 2), (16, 2)]
"""Elements of a vector, and bits of an element."""


def corners(rng, dims, bits, key_bits=None):
    """Pairs of vectors: every combination of the corner vectors, then random ones."""
    ends = [1 << (width - 1) for width in (bits, key_bits or bits)]

    def special(end):
        alternating = np.where(np.arange(dims) % 2, end - 1, -end)
        return [np.full(dims, x) for x in (-end, -1, 0, 1, end - 1)] + [alternating, alternating[::-1]]

    pairs = [(q, k) for q in special(ends[0]) for k in special(ends[1])]
    return pairs + [tuple(rng.integers(-end, end, dims) for end in ends) for _ in range(40)]


def stream(dut, inputs, outputs, latency):
    """Apply one input a cycle; return the outputs `latency` cycles later."""
    results = []

    async def drive(ctx):
        for n in range(len(inputs) + latency):
            if n < len(inputs):
                for port, value in inputs[n].items():
                    ctx.set(getattr(dut, port), value)
            if n >= latency:
                results.append(outputs(ctx))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(drive)
    sim.run()
    return results


def ints(array):
    return [int(x) for x in array]


def pack_bits(bits):
    return sum(int(bit) << i for i, bit in enumerate(bits))


@pytest.mark.parametrize("count", [2, 3, 5, 8, 32])
@pytest.mark.parametrize("carries", [False, True])
def test_adder_tree(count, carries):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    dut = AdderTree(count, signed(4), carries=carries)
    terms = rng.integers(-8, 8, (30, count))
    terms[0], terms[1] = -8, 7
    flags = rng.integers(0, 2, (2, len(terms), count))
    flags[:, :2] = 1
    inputs = [{"terms": ints(row)} for row in terms]
    expected = terms.sum(axis=1)
    if carries:
        for n, one in enumerate(inputs):
            one["carry_a"], one["carry_b"] = (pack_bits(f[n]) for f in flags)
        expected = expected + (flags[0] & flags[1]).sum(axis=1)
    results = stream(dut, inputs, lambda ctx: ctx.get(dut.sum) + (ctx.get(dut.carry) if carries else 0),
                     dut.latency)
    assert results == list(expected)


@pytest.mark.parametrize(("dims", "bits"), SHAPES)
def test_bit_plane_dot(dims, bits):
    print(f"seed {SEED}")
    dut = BitPlaneDot(dims, bits)
    pairs = corners(np.random.default_rng(SEED), dims, bits)
    inputs = [{"q": ints(q), "k": ints(k)} for q, k in pairs]
    results = stream(dut, inputs, lambda ctx: ctx.get(dut.sum), dut.latency)
    assert results == [q @ k for q, k in pairs]


@pytest.mark.parametrize(("dims", "bits"), SHAPES)
def test_packed_dsp_dot(dims, bits):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    dut = PackedDspDot(dims, bits)
    pairs = corners(rng, dims, bits)
    others = [pairs[i][1] for i in rng.permutation(len(pairs))]
    others[0] = pairs[0][1]  # All four vectors at their least: both results at their largest.
    beats = [(q, k, other) for (q, k), other in zip(pairs, others, strict=True)]
    inputs = [{"q": ints(q), "packed": ints(dut.pack(k, other))} for q, k, other in beats]
    results = stream(dut, inputs, lambda ctx: [ctx.get(dut.sums[n]) for n in range(2)], dut.latency)
    assert results == [[q @ k, q @ other] for q, k, other in beats]


def test_packed_dsp_dot_refuses_long_vectors():
    class Refused(PackedDspDot):
        _MustUse__silence = True  # Never finished, so never used: Amaranth need not warn of that.

    with pytest.raises(ValueError, match="128"):
        Refused(128, 4)


@pytest.mark.parametrize(("dims", "entry_bits", "planes"), [
    *((dims, bits, bits) for dims, bits in SHAPES), (10, 5, 3), (32, 5, 3), (10, 6, 2)])
def test_pair_table_dot(dims, entry_bits, planes):
    """Entries and offset from the definition; `offset` is held, so every beat has the same query."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    dut = PairTableDot(dims, entry_bits, planes)
    end = 1 << (entry_bits - 1)
    for q in (np.full(dims, -end), np.full(dims, end - 1), rng.integers(-end, end, dims)):
        even, odd = q[0::2], q[1::2]
        entries = [{"half_sum": int(a + b) >> 1, "half_diff": int(a - b) >> 1, "even": int(a + b + 1) & 1}
                   for a, b in zip(even, odd, strict=True)]
        offset = int(((even + odd) >> 1).sum())
        keys = [k for _, k in corners(rng, dims, entry_bits, planes)]
        inputs = [{"entries": entries, "offset": offset,
                   "first": [pack_bits(k[0::2] >> b & 1) for b in range(planes)],
                   "second": [pack_bits(k[1::2] >> b & 1) for b in range(planes)]}
                  for k in keys]
        results = stream(dut, inputs, lambda ctx: ctx.get(dut.sum), dut.latency)
        assert results == [q @ k for k in keys]


@pytest.mark.parametrize("q0", range(-8, 8))
def test_pair_table_identity(q0):
    """Mathematics of one pair, exhaustively: what the LUTs, carries and offset stand for."""
    q1, x, y = np.meshgrid(np.arange(-8, 8), [0, 1], [0, 1])
    chosen = np.where(x == y, q0 + q1, q0 - q1) >> 1
    assert chosen.min() >= -8 and chosen.max() <= 7
    even = (q0 + q1 + 1) & 1
    assert (-(x * q0 + y * q1) == (chosen ^ -x) + (x & even) - ((q0 + q1) >> 1)).all()
