"""The selector of a row's survivors in one stream, against the golden model's, under the stall matrix."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.key_groups import KeyGroups
from latte.golden.memory.build import LONGEST, MemoryBuild
from latte.golden.memory.selection import RowSelector as GoldenSelector
from latte.golden.pruned_mass import NO_COMPENSATION, Gains, gap_weights
from latte.golden.quantizer import MASS_KEEP_ALL, mass_code
from latte.golden.row_limit import mass_threshold
from latte.golden.score_estimator import estimate_scores
from latte.golden.split import split_halves
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.golden.vectors import embedded_vectors
from latte.rtl.memory.estimate_histogram import ROW_BITS
from latte.rtl.memory.payloads import selected_row_layout
from latte.rtl.memory.row_selector import RowSelector
from latte.rtl.wide.gap_table import TABLES, scale_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, SINGLE, WIDE, limits
from tests.cocotb.weighed import await_tables, fill_tables, held_scale

stalls = pytest.mark.parametrize("stall", STALLS)

KINDS = ("relative", "mass", "absolute")


class SelectedRows(wiring.Component):
    """A row selector with two filled tables.

    Parameters
    ----------
    build
    """

    def __init__(self, build):
        self.build = build
        self.selector = RowSelector(build)
        super().__init__({"job": In(stream.Signature(scale_layout())),
                          **{name: member for name, member in self.selector.signature.members.items()
                             if name != "fill"}})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        tables = fill_tables(m, self.build.core, wiring.flipped(self.job))
        m.submodules.selector = selector = self.selector
        filled = await_tables(m, tables)
        m.d.comb += [selector.fill.eq(tables.fill), selector.row.valid.eq(self.row.valid & filled),
                     selector.row.payload.eq(self.row.payload), self.row.ready.eq(selector.row.ready & filled),
                     self.overflow.eq(selector.overflow)]
        for name in self.signature.members:
            if name not in ("job", "row", "overflow"):
                ours, theirs = wiring.flipped(getattr(self, name)), getattr(selector, name)
                wiring.connect(m, ours, theirs)
        return m


@dataclasses.dataclass
class Row:
    """One row of a stream.

    Parameters
    ----------
    kind, code
    estimates : int64 [keys]
        In the order of the sequence; of all keys that come.
    visible
        Keys that it sees.
    table
    groups : int [keys]
    group_bits
    compensated
    """

    kind: ThresholdKind
    code: int
    estimates: np.ndarray
    visible: int
    table: int = 0
    groups: np.ndarray | None = None
    group_bits: int = 0
    compensated: bool = False


def build_of(core, name, **sizes) -> MemoryBuild:
    """Return a build with lists and pages that small rows fill."""
    return MemoryBuild(core=core.replace(name=name, max_seq_len=4096), **{"page_rows": 16} | sizes)


EVERY_KIND = build_of(WIDE.replace(threshold_kinds=KINDS, key_groups=4), "every-kind", candidates=40)
EIGHT_GROUPS = build_of(SINGLE.replace(threshold_kinds=KINDS[:2], key_groups=8), "eight-groups", candidates=16,
                        page_rows=32)
BY_MASS = build_of(WIDE.replace(threshold_kinds=("mass",), estimate_bits=3), "by-mass", candidates=96)
TWO_GROUPS = build_of(WIDE.replace(threshold_kinds=("relative", "absolute"), key_groups=2, estimate_bits=2),
                      "two-groups", candidates=24)
ONE_GROUP = build_of(WIDE.replace(threshold_kinds=("relative",), key_groups=1), "one-group", candidates=17)
SLOW = [pytest.param(build, marks=pytest.mark.slow) for build in (BY_MASS, TWO_GROUPS, ONE_GROUP)]
builds = pytest.mark.parametrize("build", [EVERY_KIND, EIGHT_GROUPS, *SLOW], ids=lambda build: build.core.name)


def check_rows(build: MemoryBuild, scales: list[tuple[int, int]], rows: list[Row], check, **settings) -> list:
    """Run rows back to back; return what the golden model says of each."""
    offers = {name: [] for name in ("row", "key", "recalled")}
    wanted = {name: [] for name in ("spilled", "summary", "survivors", *(["masses"] if build.core.key_groups else []))}
    selections = []
    for row in rows:
        selections.append(expect_row(build, scales[row.table], row, offers, wanted))
    jobs = [{"mantissa": mantissa, "shift": shift, "used": 1} for mantissa, shift in scales[::-1]]
    check(SelectedRows(build), f"row-selector-{build.core.name}",
          {"job": Offer(jobs), **{name: Offer(items) for name, items in offers.items()}},
          {name: Expect(items) for name, items in wanted.items()}, quiet=["overflow"], patience=40_000, **settings)
    return selections


def stream_order(keys: int, build: MemoryBuild) -> np.ndarray:
    """Return the places of keys in the order in which they come: the last page first."""
    begin = (keys - 1) // build.page_rows * build.page_rows
    return np.concatenate([np.arange(begin, keys), np.arange(begin)])


def as_streamed(estimates: np.ndarray, build: MemoryBuild) -> np.ndarray:
    """Return a row whose estimates come in the order given."""
    row = np.empty(len(estimates), np.int64)
    row[stream_order(len(estimates), build)] = np.round(estimates)
    return row


def expect_row(build: MemoryBuild, scale: tuple[int, int], row: Row, offers: dict, wanted: dict):
    """Add what a row is offered and what it is to give; return the golden selection."""
    core, keys = build.core, len(row.estimates)
    groups = row.groups if row.groups is not None else np.zeros(keys, np.int64)
    gains = Gains(64, 64) if row.compensated else NO_COMPENSATION
    entry = HeadParameters(Threshold(row.kind, (row.code,) * LENGTH_OCTAVES), *scale, gains,
                           KeyGroups(tuple(range(row.group_bits)), (0,) * row.group_bits))
    order = stream_order(keys, build)
    golden, seen = GoldenSelector(entry, row.visible, build), order[order < row.visible]
    golden.push(seen, row.estimates[seen], groups[seen])
    spilled = [list(zip(*(column.tolist() for column in entries))) for entries in golden._spilled]
    selection = golden.finish()

    fields = {"keys": row.visible, "streamed": keys, "code": row.code, "table": row.table,
              "kind": list(ThresholdKind).index(row.kind), "compensated": row.compensated,
              "group_bits": row.group_bits}
    offers["row"].append({name: value for name, value in fields.items()
                          if name in selected_row_layout(build).members})
    offers["key"] += [{"estimate": int(row.estimates[place])}
                      | ({"group": int(groups[place])} if core.group_bits else {}) for place in order]
    for entries in spilled:
        wanted["spilled"] += [{"place": place, "estimate": estimate, "last": n == len(entries) - 1}
                              for n, (place, estimate) in enumerate(entries)]
        offers["recalled"] += [{"place": place, "estimate": estimate} for place, estimate in entries]
    wanted["summary"].append({
        "row_max": selection.row_max, "limit": selection.limit, "most_candidates": selection.most_candidates,
        "compactions": selection.compactions, "lists": len(selection.spilled), "spilled": sum(selection.spilled)})
    wanted["survivors"] += [
        {"place": int(place), "estimate": int(row.estimates[place]), "spilled": n < selection.spilled_survivors,
         "last": n == len(selection.kept) - 1} for n, place in enumerate(selection.kept)]
    if row.compensated:
        wanted["masses"] += [{"mass": int(mass), "last": n == len(selection.mass) - 1}
                             for n, mass in enumerate(selection.mass)]
    return selection


SHAPES = {
    "random": lambda rng, n: rng.normal(0, rng.choice([2, 20, 300]), n),
    "rising": lambda rng, n: np.sort(rng.normal(0, 200, n)),
    "falling": lambda rng, n: -np.sort(rng.normal(0, 200, n)),
    "constant": lambda rng, n: np.full(n, rng.integers(-100, 100)),
    "ties": lambda rng, n: rng.integers(0, 3, n) * rng.choice([1, 30]),
    "steps": lambda rng, n: np.arange(n) // 7 * 31,
    "late": lambda rng, n: np.where(np.arange(n) < rng.integers(n), -1500, 1500) + rng.integers(-40, 40, n),
    "extremes": lambda rng, n: rng.choice([-9000, 9000, 0], n),
}


def code_of(rng: np.random.Generator, kind: ThresholdKind, core) -> int:
    """Return a threshold's code, often one at a limit."""
    low, high = limits(core.est_bits)
    return int(rng.choice({"relative": [1, 2, core.tau_keep_all, *rng.integers(1, min(300, core.tau_keep_all), 3)],
                           "absolute": [low, high, *rng.integers(-100, 100, 3)],
                           "mass": [0, 255, MASS_KEEP_ALL, MASS_KEEP_ALL - 1, *rng.integers(500, 2600, 5)]}[kind]))


def random_rows(build: MemoryBuild, rng: np.random.Generator, lengths: list[int]) -> list[Row]:
    """Return rows of all shapes and kinds in turn, some of which do not see the last keys that come."""
    core, rows = build.core, []
    for index, length in enumerate(lengths):
        kind = ThresholdKind(core.threshold_kinds[index % len(core.threshold_kinds)])
        shape = list(SHAPES.values())[int(rng.integers(len(SHAPES)))]
        estimates = np.clip(np.round(shape(rng, length)), *limits(core.est_bits)).astype(np.int64)
        bits = int(rng.integers(core.group_bits + 1))
        visible = length if rng.random() < 0.6 else int(rng.integers(max(1, length - 40), length + 1))
        rows.append(Row(kind, code_of(rng, kind, core), estimates, visible, int(rng.integers(TABLES)),
                        rng.integers(0, 1 << bits, length), bits, bool(core.key_groups and rng.random() < 0.7)))
    return rows


@stalls
@builds
def test_rows_of_all_shapes(build, stall, check):
    """Under each kind of stalls other rows, of other scales."""
    seed = SEED + TABLES * STALLS.index(stall)
    rng = np.random.default_rng(seed)
    scales = [held_scale(random.Random(seed + n), build.core) for n in range(TABLES)]
    lengths = [1, 1, 2, build.page_rows, build.page_rows + 1, *rng.integers(1, 400, 70).tolist(), 1, 2600, 3]
    selections = check_rows(build, scales, random_rows(build, rng, lengths), check)
    assert sum(len(selection.spilled) for selection in selections) > 3


STEEP, FLAT = (40000, 14), (40000, 17)
"""Scales: a step of the estimate of wide builds is 0.61 octaves of the weight, or 0.076."""


@stalls
def test_lists_are_thinned_before_they_are_spilled(check):
    """By what a higher maximum says, and by what the mass of flat rows says though the maximum stays."""
    rng = np.random.default_rng(SEED)
    rising = Row(ThresholdKind.RELATIVE, 5, as_streamed(np.repeat(np.arange(40), 12) * 10, EVERY_KIND), 480)
    falls = Row(ThresholdKind.ABSOLUTE, 20, as_streamed(np.arange(-200, 200), EVERY_KIND), 400)
    flat = [Row(ThresholdKind.MASS, mass_code(3.0), as_streamed(estimates, EVERY_KIND), 1500, 1,
                rng.integers(0, 4, 1500), 2, True)
            for estimates in (rng.normal(0, 12, 1500), np.arange(1500) / 10, -np.arange(1500) / 10)]
    # More than half of the most keys in one group; much that is pruned, of each group.
    equal = Row(ThresholdKind.MASS, mass_code(3.0), np.zeros(2100, np.int64), 2100, 1, None, 0, True)
    pruned = Row(ThresholdKind.RELATIVE, 1, as_streamed(np.array([0] + [-1] * 1300), EVERY_KIND), 1301, 1,
                 rng.integers(0, 4, 1301), 2, True)
    found = check_rows(EVERY_KIND, [STEEP, FLAT], [rising, falls, *flat, equal, pruned], check)
    assert [selection.compactions > 0 for selection in found] == [True] * 6 + [False]
    assert [selection.spilled == () for selection in found] == [True, False, True, True, True, False, True]


@stalls
def test_a_candidate_that_finds_the_list_full_may_leave_with_others(check):
    """Ten keys at the maximum say that those 20 below can go; then thirty more fill the list, and one finds it full."""
    before, rest = [-20] * 30 + [0] * 10, [0] * 30
    rows = [Row(ThresholdKind.MASS, mass_code(3.0), as_streamed(np.array(before + row), EVERY_KIND), 40 + len(row), 1)
            for row in ([-20, *rest], [-20, *rest, 0], rest, [*rest, 0])]
    found = check_rows(EVERY_KIND, [STEEP, FLAT], rows, check)
    assert [selection.compactions for selection in found] == [1, 2, 1, 2]


@stalls
def test_small_weights_raise_no_bound(check):
    """They are rounded by more than the margin: a list that they could leave is spilled instead."""
    rows = [Row(ThresholdKind.MASS, mass_code(tau), as_streamed(np.array([far] * 20 + [0] * 21), EVERY_KIND), 41, 1)
            for tau, far in ((8.0, -140), (9.2, -170))]
    found = check_rows(EVERY_KIND, [STEEP, FLAT], rows, check)
    assert [selection.spilled for selection in found] == [(), (40,)]


@stalls
def test_keys_next_to_the_raised_bound(check):
    """A key lies at each gap around it: how many go decides whether so many keys at the maximum fill the list again."""
    rows = []
    for tau, reach, fill in ((4.5, 86, 24), (5.0, 95, 22), (5.6, 106, 21), (6.2, 118, 21), (6.8, 129, 20),
                             (7.4, 141, 20)):
        for more in (fill - 1, fill):
            estimates = np.array([0, 0, *range(38 - reach, -reach, -1), *[0] * more])
            rows.append(Row(ThresholdKind.MASS, mass_code(tau), as_streamed(estimates, EVERY_KIND), 40 + more, 1))
    found = check_rows(EVERY_KIND, [STEEP, FLAT], rows, check)
    assert [selection.compactions for selection in found] == [1, 2] * 6


def gaps_of_mass(rng: np.random.Generator, mass: int, weights: np.ndarray, last: int, count: int) -> np.ndarray:
    """Return so many gaps in front of `last` whose keys weigh exactly `mass`."""
    pairs = {int(weights[a] + weights[b]): (a, b) for a in range(last) for b in range(a, last)}
    while True:
        # Of gaps from a random one on: their weights have any mean.
        gaps = rng.integers(rng.integers(last), last, count - 2)
        missing = int(mass - weights[gaps].sum())
        if missing in pairs:
            return np.concatenate([gaps, pairs[missing]])


@stalls
def test_the_bound_is_raised_by_the_least_mass_that_is_enough(check):
    """A key is as light as it may be beside the mass up to it, or that is a step short: a list of all is spilled."""
    rng, rows = np.random.default_rng(SEED), []
    weights = gap_weights(np.arange(EVERY_KIND.window), FLAT, EVERY_KIND.core)
    for tau in (4.4, 4.8, 5.1, 5.5):
        code, masses = mass_code(tau), np.arange(60 * weights[0])
        least = mass_threshold(masses - (masses >> 3) - 1, np.full(1, code))
        # The lightest key that so many others may outweigh.
        last = int(np.searchsorted(-weights, -int(least[16 * weights[0]])))
        # Weights of so near keys have a step of more than 1.
        step = int(np.gcd.reduce(weights[:last + 1]))
        enough = -(-int(np.searchsorted(least, weights[last])) // step) * step
        for mass in (enough - step, enough):
            gaps = gaps_of_mass(rng, mass - int(weights[0] + weights[last]), weights, last, 39)
            rows.append(Row(ThresholdKind.MASS, code, as_streamed(-np.array([*gaps, last, 0]), EVERY_KIND), 41, 1))
    found = check_rows(EVERY_KIND, [STEEP, FLAT], rows, check)
    assert [selection.spilled for selection in found] == [(40,), (39,)] * 4


@stalls
def test_a_list_is_spilled_of_which_more_than_three_quarters_stay(check):
    """One row's is spilled again and again; of another, ten candidates leave whenever ten have come."""
    rows = [Row(ThresholdKind.RELATIVE, 5, as_streamed(np.array([0] * (40 - stay) + [3] * stay + [6]), EVERY_KIND), 41)
            for stay in (29, 30, 31, 40)]
    rows.append(Row(ThresholdKind.RELATIVE, 5, np.zeros(850, np.int64), 850))
    rows.append(Row(ThresholdKind.RELATIVE, 8, as_streamed(np.arange(2700) // 10 * 2, EVERY_KIND), 2700))
    found = check_rows(EVERY_KIND, [STEEP, FLAT], rows, check)
    assert [selection.spilled for selection in found] == [(), (), (31,), (40,), (40,) * 21, ()]
    assert found[-1].compactions > 256


@stalls
def test_estimates_that_share_a_word_follow_closely(check):
    """A word is read before the last one's result is in it; and it is lost to estimates of another turn."""
    rng = np.random.default_rng(SEED)
    window = EVERY_KIND.window
    rows = []
    for distance in range(1, 8):
        turns = np.repeat([-1500, -1500 + window, -1500 + 2 * window], 40)
        near = np.where(np.arange(120) % distance == 0, 0, -(np.arange(120) % distance) % 3)
        rows.append(Row(ThresholdKind.MASS, mass_code(1.5), as_streamed(turns + near, EVERY_KIND), 120, 1,
                        np.arange(120) // distance % 2, 1, True))
        # Behind the maximum of a turn come estimates a window or two below its own: they are not counted.
        mixed = turns - 3 * (rng.random(120) < 0.5) - window * (rng.random(120) < 0.3)
        rows.append(Row(ThresholdKind.RELATIVE, 1, as_streamed(np.maximum(mixed, -1503), EVERY_KIND), 120, 1,
                        rng.integers(0, 4, 120), 2, True))
    check_rows(EVERY_KIND, [STEEP, FLAT], rows, check)


@stalls
def test_numbers_of_rows_come_again(check):
    """What a row has left in the histogram is none of a row's that comes as many rows later as there are numbers."""
    build = build_of(WIDE.replace(threshold_kinds=KINDS, key_groups=1), "small-window", window=64, candidates=16)
    numbers = 1 << ROW_BITS
    second = {3: 95, numbers // 2 + 16: 80}
    rows = [Row(ThresholdKind.RELATIVE, 1, np.array([100, second.get(number % numbers, 0)]),
                1 + (number % numbers in second),
                compensated=True) for number in range(2 * numbers + 8)]
    check_rows(build, [STEEP, (50000, 14)], rows, check)


@stalls
def test_real_rows(check):
    """Rows of two embedded heads by mass, with made-up groups and lists that are short for them."""
    build = MemoryBuild(core=preset("small", max_seq_len=4096).replace(name="real"), candidates=64)
    vectors = next(vectors for vectors in embedded_vectors() if vectors.model == "smollm2-135m")
    rows, scales = [], []
    for table, head in enumerate((0, 7)):
        entry, k = vectors.parameters(head, build.core), vectors.k[head]
        scales.append(entry.scale_code)
        q_high, k_high = (split_halves(operand, build.core.split, build.core.estimate_bits)[0]
                          for operand in (vectors.q[head], k))
        estimates = estimate_scores(q_high, k_high)
        groups = KeyGroups((3, 40), tuple(int(np.median(k[:, element])) for element in (3, 40)))
        numbers = groups.membership(k).argmax(axis=1)
        for n, last in enumerate((0, 1, 62, 63, 64, 200, 351, len(k) - 1)):
            kind, code = ((ThresholdKind.MASS, mass_code(3.0 + n / 4)) if n % 2 else
                          (ThresholdKind.RELATIVE, entry.threshold.codes[0]))
            rows.append(Row(kind, code, estimates[last, :last + 1], last + 1, table, numbers, 2, True))
    found = check_rows(build, scales, rows, check)
    assert any(selection.compactions for selection in found)


@pytest.mark.slow
@stalls
def test_the_longest_rows(check):
    """The build that figures are of: by mass within the list; a tenth of all keys, and equal keys, beyond it."""
    rng = np.random.default_rng(SEED)
    build = MemoryBuild()
    build = dataclasses.replace(build, core=build.core.replace(name="longest"))
    estimates = rng.normal(0, 300, LONGEST).round().astype(np.int64)
    groups, tenth = rng.integers(0, 4, LONGEST), int(estimates.max() - np.quantile(estimates, 0.9))
    kinds = ((ThresholdKind.MASS, mass_code(7.0), estimates // 16, groups, 2),
             (ThresholdKind.RELATIVE, tenth, estimates, groups, 2),
             (ThresholdKind.MASS, mass_code(7.0), np.full(LONGEST, 5), None, 0))
    rows = [Row(kind, code, row, LONGEST, 0, numbers, bits, True) for kind, code, row, numbers, bits in kinds]
    found = check_rows(build, [STEEP, FLAT], rows, check)
    assert [len(selection.spilled) > 0 for selection in found] == [False, True, True]
