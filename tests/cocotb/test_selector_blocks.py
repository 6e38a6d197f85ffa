"""Blocks of the row selector alone, against golden and whole numbers, under the stall matrix.

The histogram with what sums its words, the finder of limits, and the merge of survivors.
"""

import random

import numpy as np
import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.histogram import WindowedHistogram
from latte.golden.pruned_mass import gap_weights
from latte.golden.thresholds import ThresholdKind
from latte.rtl.memory.estimate_histogram import ROW_BITS, EstimateHistogram, count_groups
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.limit_finder import LimitFinder
from latte.rtl.memory.payloads import (
    bound_shape,
    candidate_layout,
    selected_row_layout,
    spilled_layout,
    survivor_layout,
)
from latte.rtl.memory.survivor_merge import SurvivorMerge
from latte.rtl.wide.gap_table import TABLES, gap_shape, scale_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, limits, of_signed
from tests.cocotb.test_row_limits import random_threshold
from tests.cocotb.weighed import await_tables, fill_tables, flat_scale, held_scale

stalls = pytest.mark.parametrize("stall", STALLS)

KINDS = ("relative", "mass", "absolute")
BUILD = MemoryBuild(core=WIDE.replace(name="selector", threshold_kinds=KINDS, key_groups=4, max_seq_len=63),
                    page_rows=16, window=256, candidates=16)
"""A row's keys may fill the count of one estimate; two words are cleared behind each row."""
ONE_GROUP = MemoryBuild(core=BUILD.core.replace(name="selector-one-group", key_groups=1), page_rows=16,
                        window=128, candidates=16)
COUNT, LOOK, SUM, END = range(4)
NUMBERS = 1 << ROW_BITS
"""Of rows, in a word of the histogram."""


class HistogramBench(wiring.Component):
    """A histogram, what sums its words with two filled tables, and what is done to them in one order.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.histogram, self.gap_mass = EstimateHistogram(build), GapMass(build)
        counts, sums = self.histogram.signature.members["counts"], self.gap_mass.signature.members
        step = {"what": 2, "estimate": sums["row_max"].shape, "group": range(max(2, count_groups(build))),
                "first": gap_shape(), "end": gap_shape(), "table": 1}
        super().__init__({
            "job": In(stream.Signature(scale_layout())), "steps": In(stream.Signature(data.StructLayout(step))),
            "counts_valid": Out(1), "counts": Out(counts.shape), "sums_valid": Out(1),
            "sums": Out(data.StructLayout({name: sums[name].shape for name in ("masses", "mass", "weight")}))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        tables = fill_tables(m, self.build.core, wiring.flipped(self.job))
        m.submodules.histogram, m.submodules.gap_mass = histogram, gap_mass = self.histogram, self.gap_mass
        step, rests, summed = self.steps.payload, Signal(), Signal()
        done, looked_up = self.steps.valid & self.steps.ready, Signal(histogram.latency)
        waited = Signal(range(gap_mass.latency + 1))
        with m.Switch(step.what):
            with m.Case(COUNT):
                m.d.comb += self.steps.ready.eq(histogram.ready)
            with m.Case(SUM):
                m.d.comb += self.steps.ready.eq(summed)
            with m.Case(LOOK):
                m.d.comb += self.steps.ready.eq(rests)
            # A look-up is compared with the row's number on its way.
            with m.Case(END):
                m.d.comb += self.steps.ready.eq(rests & ~looked_up[:-1].any())
        m.d.sync += looked_up.eq(Cat(done & (step.what == LOOK), looked_up))
        m.d.comb += [
            rests.eq(histogram.ready & ~histogram.busy & await_tables(m, tables)),
            histogram.estimate.eq(Mux(step.what == SUM, gap_mass.estimate, step.estimate)),
            histogram.valid.eq(self.steps.valid & histogram.ready & (step.what == COUNT)),
            histogram.restart.eq(done & (step.what == END)),
            gap_mass.fill.eq(tables.fill), gap_mass.table.eq(step.table), gap_mass.row_max.eq(step.estimate),
            gap_mass.first.eq(step.first), gap_mass.end.eq(step.end), gap_mass.counts.eq(histogram.counts),
            self.counts.eq(histogram.counts), self.sums_valid.eq(summed),
            self.counts_valid.eq(looked_up[-1]),
            *(self.sums[name].eq(getattr(gap_mass, name)) for name in ("masses", "mass", "weight")),
        ]
        if self.build.core.group_bits:
            m.d.comb += histogram.group.eq(step.group)
        with m.FSM():
            with m.State("STEP"), m.If(self.steps.valid & (step.what == SUM) & rests):
                m.d.comb += gap_mass.begin.eq(1)
                m.d.sync += waited.eq(0)
                m.next = "SUM"
            with m.State("SUM"):
                # A sum of no gaps is never busy; that it is nothing is seen at the end of its adders.
                m.d.comb += summed.eq(~gap_mass.busy & ((step.first < step.end) | (waited == gap_mass.latency)))
                m.d.sync += waited.eq(waited + 1)
                with m.If(summed):
                    m.next = "STEP"
        return m


class Rows:
    """Rows that are counted, and what is then seen of them.

    Parameters
    ----------
    build
    rng
    weights : int64 [tables, gaps]
    """

    def __init__(self, build: MemoryBuild, rng: np.random.Generator, weights: np.ndarray) -> None:
        self.build, self.rng, self.weights = build, rng, weights
        self.steps, self.counts, self.sums, self.counted = [], [], [], []

    def add(self, estimates: np.ndarray, groups: int, *, apart: bool = False) -> None:
        """Count the estimates that lie in the window, in some groups; look at them, and at those of rows before.

        Apart, each is looked at before the next one comes.
        """
        build, rng, most = self.build, self.rng, count_groups(self.build)
        maxima = np.maximum.accumulate(estimates)
        numbers = (rng.integers(most) + rng.integers(0, groups, len(estimates))) % most
        self.histogram = WindowedHistogram(build.window, most)
        self.row_max = int(maxima[-1])
        within = estimates > maxima - build.window
        for n, (estimate, group) in enumerate(zip(estimates.tolist(), numbers.tolist(), strict=True)):
            self.histogram.add(estimates[n:n + 1], maxima[n:n + 1], numbers[n:n + 1])
            self.steps += [{"what": COUNT, "estimate": estimate, "group": group}] if within[n] else []
            if apart:
                self.look(estimate)
        self.counted.append(estimates[within])
        # A word that was not cleared counts for a row as many rows later as there are numbers, or fewer.
        before = [self.counted[-1 - back] for back in (0, 1, 2, 4, 8, 16, 32, 64, 128) if back < len(self.counted)]
        seen = np.unique(np.concatenate(before))
        seen = np.unique(np.concatenate([rng.choice(seen, min(30, len(seen)), replace=False), before[-1][:8],
                                         before[0][:8]]))
        for estimate in rng.permutation(np.append(seen, seen[:2] ^ build.window)).tolist():
            self.look(estimate)

    def look(self, estimate: int) -> None:
        """Look at what an estimate counts."""
        self.steps.append({"what": LOOK, "estimate": estimate})
        self.counts.append(self.at(np.array([estimate]))[:, 0].tolist())

    def sum(self, first: int, end: int) -> None:
        """Sum what the keys at some gaps weigh."""
        table, gaps = int(self.rng.integers(TABLES)), np.arange(first, end)
        masses = (self.at(self.row_max - gaps) * self.weights[table][gaps]).sum(axis=1)
        self.steps.append({"what": SUM, "estimate": self.row_max, "first": first, "end": end, "table": table})
        self.sums.append({"masses": masses.tolist(), "mass": int(masses.sum())}
                         | ({"weight": int(self.weights[table][end - 1])} if first < end else {}))

    def at(self, estimates: np.ndarray) -> np.ndarray:
        """Return the golden count of estimates, int64 [groups, n], beyond the window, too, if it is not lost."""
        address = estimates & (self.build.window - 1)
        found = self.histogram.tag[:, address] == estimates // self.build.window
        return np.where(found, self.histogram.count[:, address], 0)


@stalls
@pytest.mark.parametrize("build", [BUILD, pytest.param(ONE_GROUP, marks=pytest.mark.slow)],
                         ids=lambda build: build.core.name)
def test_histogram_and_its_sums(build, stall, check):
    """Numbers of rows come again twice; keys of one estimate follow closely, and maxima rise out of the window."""
    rng, core, window = np.random.default_rng(SEED), build.core, build.window
    scales = [flat_scale(core), held_scale(random.Random(SEED), core)]
    weights = np.stack([gap_weights(np.arange(gap_shape()[-1] + 1), scale, core) for scale in scales])
    (low, high), groups = limits(core.est_bits), count_groups(build)
    rows, most = Rows(build, rng, weights), core.max_seq_len
    # Each word is written once in as many rows as there are numbers: what is left in it counts when they come again.
    words = rng.permutation(window).reshape(NUMBERS, -1)
    for number in range(2 * NUMBERS + 5):
        rows.add(words[number % NUMBERS], groups)
        rows.steps.append({"what": END})
    for _ in range(20):
        base = int(rng.integers(low + 15 * most, high - 2 * window))
        some = base + rng.integers(-window // 2, window // 2, 3)
        for estimates, spread in ((some, groups), (rng.choice(some, 20), 2), (np.full(most, base), 1),
                                  (np.full(most, base), 1),
                                  (base + np.sort(rng.integers(-window, 2 * window, 20)), groups),
                                  (rng.permutation(base - np.arange(most)), groups),
                                  (base + 15 * np.arange(-most, 0), 1)):
            rows.add(estimates, spread, apart=rng.random() < 0.5)
            rows.sum(0, int(rng.integers(1, 2 * window)))
            first = int(rng.integers(0, gap_shape()[-1] - 60))
            rows.sum(first, first + int(rng.integers(-1, 60)))
            gap = rows.row_max - int(rng.choice(estimates))
            rows.sum(max(0, gap - 40), gap)
            rows.sum(gap, gap + 1)
            rows.steps.append({"what": END})
        rows.add(np.array([[low, low], [high, high - 1]][len(rows.sums) % 2]), 1)
        rows.sum(0, 1)
        rows.sum(0, gap_shape()[-1])
        rows.steps.append({"what": END})
    jobs = [{"mantissa": mantissa, "shift": shift, "used": 1} for mantissa, shift in scales[::-1]]
    check(HistogramBench(build), f"histogram-{core.name}", {"job": Offer(jobs), "steps": Offer(rows.steps)},
          {"counts": Expect(rows.counts), "sums": Expect(rows.sums)}, patience=5000)


class LimitBench(wiring.Component):
    """A finder with two filled tables that is asked one question at a time.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.finder = finder = LimitFinder(build)
        members = finder.signature.members
        question = data.StructLayout({"row": selected_row_layout(build), "row_max": members["row_max"].shape,
                                      "mass": members["mass"].shape, "stops": 1})
        super().__init__({
            "job": In(stream.Signature(scale_layout())), "question": In(stream.Signature(question)),
            "judged_valid": Out(1), "judged": Out(data.StructLayout({"searches": 1, "least": members["least"].shape})),
            "threshold_valid": Out(1), "threshold": Out(bound_shape(build))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.finder = finder = self.finder
        tables = fill_tables(m, finder.build.core, wiring.flipped(self.job))
        question = self.question.payload
        m.d.comb += [
            finder.fill.eq(tables.fill), self.judged.searches.eq(finder.searches), self.judged.least.eq(finder.least),
            self.judged_valid.eq(finder.least_valid), self.threshold.eq(finder.threshold),
            self.threshold_valid.eq(finder.valid),
            *(getattr(finder, name).eq(question[name]) for name in ("row", "row_max", "mass", "stops")),
        ]
        filled = await_tables(m, tables)
        with m.FSM():
            with m.State("QUESTION"), m.If(self.question.valid & filled):
                m.d.comb += finder.begin.eq(1)
                m.next = "ANSWER"
            with m.State("ANSWER"), m.If(Mux(question.stops, finder.least_valid, finder.valid)):
                m.d.comb += self.question.ready.eq(1)
                m.next = "QUESTION"
        return m


@stalls
def test_limits(stall, check):
    """Of all kinds of threshold, and of masses of all sizes; every third threshold by mass is not wanted."""
    rng, core = random.Random(SEED), BUILD.core
    scales = [flat_scale(core), held_scale(rng, core)]
    tables = [gap_weights(np.arange(core.tau_keep_all + 1), scale, core) for scale in scales]
    mass_width = LimitFinder(BUILD).signature.members["mass"].shape
    questions, judged, thresholds = [], [], []
    for _ in range(400):
        kind = ThresholdKind(rng.choice(("mass", *KINDS)))
        row_max, mass = of_signed(rng, core.est_bits), rng.getrandbits(rng.randint(1, mass_width))
        code, found = random_threshold(rng, kind, row_max, mass, core)
        table, stops = rng.randrange(TABLES), found["search"] and rng.random() < 0.3
        row = {"code": code, "table": table, "kind": list(ThresholdKind).index(kind), "keys": rng.getrandbits(6),
               "streamed": rng.getrandbits(6), "compensated": rng.getrandbits(1), "group_bits": rng.randrange(3)}
        questions.append({"row": row, "row_max": row_max, "mass": mass, "stops": stops})
        judged.append({"searches": found["search"]} | ({"least": found["least"]} if found["search"] else {}))
        limit = max(1, int(np.searchsorted(-tables[table], -found["least"]))) if found["search"] else found["limit"]
        thresholds += [] if stops else [row_max - limit]
    jobs = [{"mantissa": mantissa, "shift": shift, "used": 1} for mantissa, shift in scales[::-1]]
    check(LimitBench(BUILD), f"limits-{core.name}", {"job": Offer(jobs), "question": Offer(questions)},
          {"judged": Expect(judged), "threshold": Expect(thresholds)}, patience=5000)


class MergeBench(wiring.Component):
    """A merge whose list ends some cycles behind its last candidate, and which nobody listens to before it offers.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.merge = merge = SurvivorMerge(build)
        members = merge.signature.members
        job = data.StructLayout({"recalls": members["recalls"].shape, "listed": members["recalls"].shape,
                                 "floor": members["floor"].shape, "late": 2})
        super().__init__({"job": In(stream.Signature(job)), "recalled": In(stream.Signature(spilled_layout())),
                          "listed": In(stream.Signature(candidate_layout(build))),
                          "o": Out(stream.Signature(survivor_layout(build)))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.merge = merge = self.merge
        wiring.connect(m, wiring.flipped(self.recalled), merge.recalled)
        job, left, late, offers = self.job.payload, Signal.like(self.job.payload.listed), Signal(2), Signal()
        m.d.comb += [
            merge.recalls.eq(job.recalls), merge.floor.eq(job.floor), offers.eq(left != 0),
            merge.listed.valid.eq(self.listed.valid & offers), merge.listed.payload.eq(self.listed.payload),
            self.listed.ready.eq(merge.listed.ready & offers), merge.listed_last.eq(~offers & (late == 0)),
            self.o.valid.eq(merge.o.valid), self.o.payload.eq(merge.o.payload),
            merge.o.ready.eq(self.o.ready & merge.o.valid),
        ]
        with m.If(self.listed.valid & self.listed.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(~offers & (late != 0)):
            m.d.sync += late.eq(late - 1)
        with m.FSM():
            with m.State("JOB"), m.If(self.job.valid):
                m.d.sync += [left.eq(job.listed), late.eq(job.late)]
                m.next = "BEGIN"
            # A candidate of the list may stand before its row begins.
            with m.State("BEGIN"):
                m.d.comb += merge.begin.eq(1)
                m.next = "MERGE"
            with m.State("MERGE"), m.If(~merge.busy):
                m.d.comb += self.job.ready.eq(1)
                m.next = "JOB"
        return m


@stalls
def test_survivors_are_merged(stall, check):
    """Of what was spilled none, some or all survive; of what is listed all, one at least of both."""
    rng, core = random.Random(SEED), BUILD.core
    jobs, offered, survivors = [], {"recalled": [], "listed": []}, []
    for _ in range(250):
        recalled, listed = (rng.choice([0, 0, 1, 1, 2, rng.randint(0, 63)]) for _ in range(2))
        floor = rng.choice([-(2 << core.est_bits), of_signed(rng, core.est_bits), rng.randint(-20, 20)])

        def candidates(count: int, low: int, high: int) -> list[dict]:
            return [{"place": rng.randrange(core.max_seq_len), "estimate": rng.randint(low, high)}
                    for _ in range(count)]

        low, high = limits(core.est_bits)
        near = candidates(recalled, max(low, floor - 2), max(low, min(high, floor + 3)))
        rest = candidates(listed, max(low, min(high, floor + 1)), high)
        kept = [item | {"spilled": 1} for item in near if item["estimate"] > floor] + [
            item | {"spilled": 0} for item in rest]
        if not kept:
            continue
        jobs.append({"recalls": recalled, "listed": listed, "floor": floor, "late": rng.randrange(4)})
        offered["recalled"] += near
        offered["listed"] += rest
        survivors += [item | {"last": n == len(kept) - 1} for n, item in enumerate(kept)]
    check(MergeBench(BUILD), f"merge-{core.name}", {"job": Offer(jobs), **{name: Offer(items) for name, items
                                                                          in offered.items()}},
          {"o": Expect(survivors)})
