"""The paper's measure of work."""

import pytest

from latte.golden.bit_operations import PairCount, bit_operations_saved, macro_saving, micro_saving


def test_the_papers_vision_figure_to_the_digit():
    assert round(100 * bit_operations_saved(0.1484), 2) == 76.37


def test_limits():
    assert bit_operations_saved(0) == 0.875
    assert bit_operations_saved(1) == 0.125
    count = PairCount(rows=10, keys=10, visible=100, kept=15)
    assert count.latte(64) == 64 * (16 * 100 + 96 * 15) and count.dense(64) == 64 * 128 * 100
    assert micro_saving([count]) == pytest.approx(bit_operations_saved(0.15))


def test_conventions_and_averages():
    causal = PairCount(rows=4, keys=4, visible=10, kept=5)
    full = PairCount(rows=4, keys=4, visible=16, kept=2)
    assert micro_saving([causal], "n2") == pytest.approx(1 - (16 * 10 + 96 * 5) / (128 * 16))
    assert macro_saving([causal, full]) == pytest.approx(
        (bit_operations_saved(5 / 10) + bit_operations_saved(2 / 16)) / 2)
    assert micro_saving([causal, full]) == pytest.approx(bit_operations_saved(7 / 26))
    with pytest.raises(ValueError, match="valid"):
        causal.dense(64, "square")
