"""Selection in one stream against whole rows: limits, survivors, masses, and what lists and histograms go through."""

import numpy as np
import pytest

from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.histogram import WindowedHistogram, window_weights
from latte.golden.memory.selection import RowSelector
from latte.golden.pruned_mass import (
    GAP_TABLE_SIZE,
    NO_COMPENSATION,
    Gains,
    least_held_scale,
    pruned_mass,
    table_holds,
)
from latte.golden.quantizer import MASS_KEEP_ALL, mass_code, softmax_scale_code
from latte.golden.row_limit import row_limits
from latte.golden.threshold_filter import threshold_filter
from latte.golden.thresholds import Threshold, ThresholdKind
from tests.golden.memory.made_up import KINDS, build, entry

SHAPES = {
    "random": lambda rng, n: rng.normal(0, rng.choice([3, 40, 400]), n),
    "rising": lambda rng, n: np.sort(rng.normal(0, 200, n)),
    "falling": lambda rng, n: -np.sort(rng.normal(0, 200, n)),
    "constant": lambda rng, n: np.full(n, rng.integers(-500, 500)),
    "ties": lambda rng, n: rng.integers(0, 3, n) * 100,
    "steps": lambda rng, n: np.arange(n) // 7 * 31 % 5000,
    "one": lambda rng, n: np.where(np.arange(n) == rng.integers(n), 4000, -4000),
}


def stream(parameters, estimates, numbers, of, rng):
    """Return the selection of a row that comes in pieces, in the order given."""
    selector, at = RowSelector(parameters, len(estimates), of), 0
    while at < len(estimates):
        piece = slice(at, at + int(rng.integers(1, 300)))
        selector.push(np.arange(len(estimates))[piece], estimates[piece], numbers[piece])
        at = piece.stop
    return selector.finish()


def check(parameters, estimates, numbers, of, rng):
    """Compare a row's selection with the golden functions of whole rows; return it."""
    found = stream(parameters, estimates, numbers, of, rng)
    visible, row_max = np.ones((1, len(estimates)), bool), estimates.max(keepdims=True)
    limit = row_limits(parameters.threshold, estimates[None], visible, row_max, parameters.scale_code, of.core)
    keep = threshold_filter(estimates[None], visible, limit)
    assert (found.row_max, found.limit) == (row_max[0], limit[0])
    np.testing.assert_array_equal(found.kept, np.flatnonzero(keep[0]))
    assert found.spilled_survivors == (found.kept < (found.kept[found.spilled_survivors:].min(initial=1 << 30))).sum()
    assert found.most_candidates <= of.candidates and (sum(found.spilled) == 0) == (found.spilled == ())
    if parameters.gains != NO_COMPENSATION:
        membership = numbers[:, None] == np.arange(parameters.groups.count)
        mass = pruned_mass(estimates[None], row_max, ~keep, membership, parameters.scale_code, of.core)
        np.testing.assert_array_equal(found.mass, mass[0])
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_row_as_a_whole(kind, shape):
    rng = np.random.default_rng(len(shape))
    for candidates in (16, 64, 1024):
        for bits in range(4):
            of = build(candidates=candidates, key_groups=8)
            for n in (1, int(rng.integers(2, 700))):
                estimates = np.round(SHAPES[shape](rng, n)).astype(np.int64)
                check(entry(rng, kind, of, bits), estimates, rng.integers(0, 1 << bits, n), of, rng)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_rows(kind, bits):
    rng = np.random.default_rng(bits)
    of = build(estimate_bits=bits, key_groups=4)
    spread = 300 >> 2 * (4 - bits)
    estimates = rng.normal(0, spread, 65536).round().astype(np.int64)
    check(entry(rng, kind, of, 2), estimates, rng.integers(0, 4, 65536), of, rng)


@pytest.mark.parametrize("code", [0, 1, MASS_KEEP_ALL - 1, MASS_KEEP_ALL])
def test_thresholds_by_mass_at_their_ends(code):
    rng = np.random.default_rng(3)
    of = build(candidates=32)
    parameters = HeadParameters(Threshold(ThresholdKind.MASS, (code,) * 17), 40000, 14)
    for shape in SHAPES.values():
        estimates = np.round(shape(rng, 500)).astype(np.int64)
        found = check(parameters, estimates, np.zeros(500, np.int64), of, rng)
        assert code != MASS_KEEP_ALL or len(found.kept) == 500


FLAT = {
    "steep": lambda rng: rng.normal(0, 60, 20000).round().astype(np.int64),
    "flat": lambda rng: rng.normal(0, 12, 20000).round().astype(np.int64),
    "rising": lambda rng: np.arange(20000) // 10,
    "falling": lambda rng: -(np.arange(20000) // 10),
}


@pytest.mark.parametrize("shape", FLAT)
@pytest.mark.parametrize("tau", [3.0, 4.6, 6.0])
def test_a_list_by_mass_need_not_spill(tau, shape):
    """However long and flat the row, 1.6 exp(tau) places are enough; a step is 0.076 octaves."""
    rng = np.random.default_rng(5)
    of = build(candidates=max(16, int(1.6 * np.exp(tau)) + 1))
    parameters = HeadParameters(Threshold(ThresholdKind.MASS, (mass_code(tau),) * 17), 40000, 17)
    found = check(parameters, FLAT[shape](rng), np.zeros(20000, np.int64), of, rng)
    assert found.spilled == () and found.most_candidates > of.candidates // 2
    assert found.compactions or shape == "steep"


def test_what_does_not_fit_is_spilled():
    rng = np.random.default_rng(6)
    of = build(candidates=16)
    keep_all = HeadParameters(Threshold.relative(of.core.tau_keep_all), 40000, 14)
    found = check(keep_all, rng.integers(-50, 50, 100), np.zeros(100, np.int64), of, rng)
    assert found.spilled == (16,) * 6 and found.spilled_survivors == 96 and found.compactions == 6
    # A higher maximum empties the list instead.
    narrow = HeadParameters(Threshold.relative(5), 40000, 14)
    found = check(narrow, np.repeat(np.arange(20), 10) * 10, np.zeros(200, np.int64), of, rng)
    assert found.spilled == () and len(found.kept) == 10 and found.compactions > 0


def one_by_one(estimates, numbers, window, groups):
    """Return tag and count of each word, by the rule of `WindowedHistogram`."""
    words, largest = {}, -1 << 40
    for e, group in zip(estimates.tolist(), numbers.tolist(), strict=True):
        largest = max(largest, e)
        if e > largest - window:
            place, tag = (group, e % window), e // window
            held = words.get(place)
            words[place] = (tag, held[1] + 1 if held and held[0] == tag else 1)
    return words


@pytest.mark.parametrize("shape", SHAPES)
def test_words_of_the_histogram(shape):
    rng = np.random.default_rng(9)
    estimates, numbers = np.round(SHAPES[shape](rng, 900)).astype(np.int64), rng.integers(0, 4, 900)
    histogram = WindowedHistogram(64, 4)
    running = np.maximum.accumulate(estimates)
    for at in range(0, 900, 77):
        piece = slice(at, at + 77)
        histogram.add(estimates[piece], running[piece], numbers[piece])
    words = one_by_one(estimates, numbers, 64, 4)
    held = {(g, a): (int(histogram.tag[g, a]), int(histogram.count[g, a]))
            for g, a in zip(*np.nonzero(histogram.count), strict=True)}
    assert held == words
    by_gap = histogram.by_gap(int(estimates.max()))
    for gap in range(64):
        for group in range(4):
            assert by_gap[group, gap] == ((estimates == estimates.max() - gap) & (numbers == group)).sum()


def test_weights_beyond_the_window_are_refused():
    of = build(window=64)
    wide = HeadParameters(Threshold.relative(10), 40000, 20, Gains(64, 64), KeyGroups((), ()))
    with pytest.raises(LatteError, match="too small for a window of 64 gaps"):
        RowSelector(wide, 10, of)
    RowSelector(HeadParameters(Threshold.relative(10), 40000, 20), 10, of)  # needs no weights


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_window_holds_every_scale_that_builds_on_chip_hold(bits):
    """So a memory-backed core takes any entry that one with keys on chip does."""
    of = MemoryBuild(core=preset("small", estimate_bits=bits, max_seq_len=65536))
    least = softmax_scale_code(least_held_scale(of.core), of.core)
    assert table_holds(least, of.core)
    weights = window_weights(least, of)
    assert len(weights) == of.window == 2 * GAP_TABLE_SIZE and weights[GAP_TABLE_SIZE - 1] <= 1
