"""The paper's measure of work."""

import pytest

from latte.golden.bit_operations import (
    PairCount,
    bit_operations_saved,
    compensation_bitops,
    cross_bitops,
    estimate_bitops,
    macro_saving,
    micro_saving,
    row_threshold_bitops,
)
from latte.golden.config import preset
from latte.golden.thresholds import ThresholdKind


def test_the_papers_vision_figure_to_the_digit():
    assert round(100 * bit_operations_saved(0.1484), 2) == 76.37


def test_limits():
    assert bit_operations_saved(0) == 0.875
    assert bit_operations_saved(1) == 0.125
    count = PairCount(rows=10, keys=10, visible=100, kept=15)
    assert count.latte(64) == 64 * (16 * 100 + 96 * 15) and count.dense(64) == 64 * 128 * 100
    assert micro_saving([count]) == pytest.approx(bit_operations_saved(0.15))


def test_what_thresholds_and_compensation_cost():
    config = preset("small")  # sums of 1024 keys: 22 bits of weights, 28 with fraction bits, 18 of values
    assert [estimate_bitops(bits) for bits in (4, 3, 2)] == [16, 9, 4]
    assert [cross_bitops(bits) for bits in (4, 3, 2)] == [32, 30, 24]
    assert [row_threshold_bitops(kind, config) for kind in ThresholdKind] == [0, 10 * 28, 0]
    assert compensation_bitops(4, config) == 4 * (28 * 12 + 22 * 8 + 22 * 17 + 64 * 17 * 18) + 22 * 8


def test_conventions_and_averages():
    causal = PairCount(rows=4, keys=4, visible=10, kept=5)
    full = PairCount(rows=4, keys=4, visible=16, kept=2)
    assert micro_saving([causal], "n2") == pytest.approx(1 - (16 * 10 + 96 * 5) / (128 * 16))
    assert macro_saving([causal, full]) == pytest.approx(
        (bit_operations_saved(5 / 10) + bit_operations_saved(2 / 16)) / 2)
    assert micro_saving([causal, full]) == pytest.approx(bit_operations_saved(7 / 26))
    with pytest.raises(ValueError, match="valid"):
        causal.dense(64, "square")
