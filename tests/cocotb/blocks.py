"""What the benches of single blocks share: small builds, and items at the limits of their ranges."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from latte.golden.config import AttentionConfig
from latte.golden.quantizer import SCALE_SHIFT_MAX
from latte.golden.split import split_halves

WIDE = AttentionConfig(
    name="wide", head_dim=16, max_seq_len=32, heads=5, query_lanes=2, key_lanes=2, dim_lanes=16, cross_lanes=6,
    value_lanes=6, normalizer_lanes=2, bus_bytes=2, query_rows=10, survivor_fifo_depth=16, pe_structure="multiplier")
SINGLE = WIDE.replace(
    name="single", query_lanes=1, key_lanes=1, cross_lanes=16, value_lanes=16, normalizer_lanes=1, bus_bytes=1,
    split="slice", weight_bits=8, exp_frac_bits=6, reciprocal_bits=6, fraction_bits=4)
CONFIGS = {config.name: config for config in (WIDE, SINGLE)}
SEED = 11

both_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
wide_config = pytest.mark.parametrize("config", [WIDE], ids=["wide"])


def with_builds(*quick: AttentionConfig, slow: Sequence[AttentionConfig] = ()) -> pytest.MarkDecorator:
    """Return the mark of a test that runs with each of some builds, `slow` ones among the slow tests."""
    return pytest.mark.parametrize("config", [*quick, *(pytest.param(config, marks=pytest.mark.slow)
                                                        for config in slow)], ids=lambda config: config.name)


def limits(bits: int) -> tuple[int, int]:
    """Return the least and the greatest number of a signed width."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def of_signed(rng: random.Random, bits: int) -> int:
    """Return a random number of a signed width, often one of its extremes."""
    low, high = limits(bits)
    return rng.choice([low, high, rng.randint(low, high), rng.randint(low, high)])


def row_lengths(config: AttentionConfig, rng: random.Random, count: int) -> list[int]:
    """Return lengths of rows: many of one key, some of the most, the others random."""
    return [1, 1, config.max_seq_len, 1, *(rng.randint(1, config.max_seq_len) for _ in range(count)), 1]


def spread_scale(rng: random.Random, spread: int, config: AttentionConfig) -> tuple[int, int]:
    """Return a softmax scale (mantissa, shift) under which scores that far apart have weights of all sizes.

    Of a random scale, nearly all weights are the largest one or 0, and neither mantissa nor shift is looked at.
    """
    mantissa = rng.getrandbits(16)
    octaves = rng.randint(0, config.weight_bits.bit_length() + 1)
    shift = (spread * mantissa).bit_length() - config.exp_frac_bits - octaves
    return mantissa, min(max(shift, 0), SCALE_SHIFT_MAX)


def bits(flags: np.ndarray) -> int:
    """Return flags as an integer, the first in the low bit."""
    return sum(1 << n for n, flag in enumerate(flags) if flag)


def padded_words(rows: np.ndarray, lanes: int) -> np.ndarray:
    """Return rows [n, d] as words [n * slices, lanes]; what a row does not fill is 0."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % lanes))).reshape(-1, lanes)


def split_elements(rows: np.ndarray, config: AttentionConfig) -> list[list[dict[str, int]]]:
    """Return the elements of rows in two parts, those limited that are above what both hold."""
    high, low = split_halves(np.minimum(rows, config.qk_max), config.split, config.estimate_bits)
    return [[{"high": int(h), "low": int(w)} for h, w in zip(*row, strict=True)] for row in zip(high, low, strict=True)]


def extreme_rows(generator: np.random.Generator, count: int, config: AttentionConfig, high: int) -> np.ndarray:
    """Return int8 rows, the first two of them at the limits."""
    rows = generator.integers(-128, high + 1, (count, config.head_dim))
    rows[0], rows[1] = -128, high
    return rows.astype(np.int8)


def output_beats(row: np.ndarray, job_last: int, config: AttentionConfig) -> list[dict]:
    """Return the beats of an output row."""
    lanes = config.normalizer_lanes
    return [{"data": row[start:start + lanes].tolist(), "row_last": start + lanes == config.head_dim,
             "job_last": job_last and start + lanes == config.head_dim} for start in range(0, config.head_dim, lanes)]
