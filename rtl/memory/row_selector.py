"""Finds a row's survivors while its estimates stream by once."""

from amaranth import Array, Const, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.selection import LEAST_WEIGHT, rounds_finely
from latte.golden.pruned_mass import MASS_FRAC_BITS
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.payloads import key_shape, length_shape
from latte.rtl.common.primitives import register
from latte.rtl.memory.candidate_filter import CandidateFilter
from latte.rtl.memory.candidate_list import CandidateList
from latte.rtl.memory.estimate_histogram import EstimateHistogram
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.limit_finder import LimitFinder
from latte.rtl.memory.payloads import (
    bound_shape,
    compactions_shape,
    estimate_layout,
    listed_layout,
    selected_row_layout,
    spilled_layout,
    summary_layout,
    survivor_layout,
)
from latte.rtl.memory.survivor_merge import SurvivorMerge
from latte.rtl.wide.gap_table import gap_shape, table_write_layout
from latte.rtl.wide.payloads import mass_bits, weighs_gaps
from latte.rtl.wide.row_limiter import group_mass_layout
from latte.rtl.wide.row_limits import limit_shape

__all__ = ["RowSelector"]

_LOWEST_WEIGHT = (LEAST_WEIGHT - 1).bit_length()


class _Row:
    """Registers of the present row.

    Attributes
    ----------
    row
        As it was offered.
    absolute, by_mass, compensated : Value
        Of its threshold, of its head.
    code
        Of an absolute threshold.
    reach, floor, mass, end
        As of `CandidateFilter`; what is judged; the first gap that weighs nothing.
    ends
        All keys have come: the limit is asked for.
    waits
        A candidate waits for room; `resumes`: in this cycle there is some.
    fine
        By mass, and the floor may rise by what the keys so far say.
    limit
    advance, finds_full, appends
        The filter goes on; a candidate finds the list full; one is appended.
    most, compactions, lists, spilled
        As of `summary_layout`.
    weighs_pruned
        The pruned mass is being summed.
    """

    def __init__(self, build: MemoryBuild) -> None:
        config = build.core
        self.row = row = Signal(selected_row_layout(build), reset_less=True)
        kinds = [ThresholdKind(kind) for kind in config.threshold_kinds]

        def is_kind(kind: ThresholdKind) -> Value:
            if kind not in kinds:
                return Const(0)
            return row.kind == list(ThresholdKind).index(kind) if len(kinds) > 1 else Const(1)

        self.absolute, self.by_mass = is_kind(ThresholdKind.ABSOLUTE), is_kind(ThresholdKind.MASS)
        self.compensated = row.compensated if config.key_groups else Const(0)
        self.code = row.code[:config.est_bits].as_signed()
        self.reach = Signal(limit_shape(config), reset_less=True)
        self.floor = Signal(bound_shape(build), reset_less=True)
        self.mass = Signal(mass_bits(config), reset_less=True)
        self.end = Signal(gap_shape(), reset_less=True)
        self.ends, self.waits, self.resumes, self.fine = Signal(), Signal(), Signal(), Signal(reset_less=True)
        self.advance, self.finds_full, self.appends = Signal(init=1), Signal(), Signal()
        self.limit = Signal(limit_shape(config), reset_less=True)
        self.most = Signal(range(build.candidates + 1))
        self.compactions, self.lists = Signal(compactions_shape(build)), Signal(compactions_shape(build))
        self.spilled = Signal(length_shape(config))
        self.weighs_pruned = Signal()


class RowSelector(wiring.Component):
    r"""`latte.golden.memory.selection.RowSelector` of one query row; a tile has several side by side::

        row ---------------------> LimitFinder -> reach of candidates; in the end the limit
                                    ^        |
                               mass |        v
        key -> place, estimate -----|--> CandidateFilter -+-> CandidateList -+-> spilled
                                    |                     v                  v
                                 GapMass <---> EstimateHistogram  recalled -> SurvivorMerge -> survivors
                                    +-> masses

    What is too small beside a mass is asked of one block: beside the largest weight, before the first key; beside the
    mass of the keys so far, when the list is full; beside the row's mass. Rows of all kinds go the same way.

    The stream is that of `latte.golden.memory.tile`: the page of its last key first, then the others; places are
    counted here. A candidate that finds the list full stands, as does all behind it, while the list is thinned or
    spilled.

    Latency: `latency` cycles from a row to its first key, by mass as many more as `MassThreshold` says, and as long
    from the last key to the summary; before that, by mass, a cycle for each gap that weighs something. When the list is
    full, a pass of `CandidateList` and, by mass, a cycle for each gap of the reach and some 25 for each of its octaves.
    Throughput: one key per cycle; in the end a pass of `CandidateList`, and beside that one gap per cycle.

    Parameters
    ----------
    build
        With thresholds by mass or key groups; entries' weights end within the window, and `table_holds` them.

    Members
    -------
    fill : In(table_write_layout)
        From `FillTables`.
    row : In(stream of selected_row_layout)
        Taken when the row before has ended.
    key : In(stream of estimate_layout)
        As many as the row says are streamed.
    spilled : Out(stream of listed_layout)
        Lists that are written to memory. Nothing else goes on meanwhile.
    summary : Out(stream of summary_layout)
        When the limit is known.
    recalled : In(stream of spilled_layout)
        Behind that: what was spilled, in order.
    survivors : Out(stream of survivor_layout)
        One at least.
    overflow : Out(1)
        The list has lost a candidate.
    masses : Out(stream of group_mass_layout)
        Pruned mass of the groups of a row that is compensated; present in a build that compensates.
    """

    latency = LimitFinder.latency + 1
    """The limit of the largest weight alone; the reach that follows."""

    def __init__(self, build: MemoryBuild) -> None:
        if not weighs_gaps(build.core):
            raise LatteError(f"configuration {build.core.name!r} weighs no keys, which a row selector does; add mass "
                             "to threshold_kinds, or key_groups")
        self.build = build
        config = build.core
        masses = {"masses": Out(stream.Signature(group_mass_layout(config)))} if config.key_groups else {}
        super().__init__({
            "fill": In(table_write_layout(config)), "row": In(stream.Signature(selected_row_layout(build))),
            "key": In(stream.Signature(estimate_layout(build))),
            "spilled": Out(stream.Signature(listed_layout())),
            "summary": Out(stream.Signature(summary_layout(build))),
            "recalled": In(stream.Signature(spilled_layout())),
            "survivors": Out(stream.Signature(survivor_layout(build))), "overflow": Out(1), **masses})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, config = self.build, self.build.core
        m.submodules.limits = limits = LimitFinder(build)
        m.submodules.histogram = histogram = EstimateHistogram(build)
        m.submodules.gap_mass = gap_mass = GapMass(build)
        m.submodules.list = candidates = CandidateList(build)
        m.submodules.merge = merge = SurvivorMerge(build)
        key_filter = CandidateFilter(build)
        at = _Row(build)
        # The filter and what is in it stand still while a candidate waits for room.
        m.submodules.filter = EnableInserter(at.advance)(key_filter)
        row, key = at.row, key_filter.o

        m.d.comb += [
            limits.fill.eq(self.fill), limits.row.eq(row), limits.mass.eq(at.mass),
            limits.row_max.eq(Mux(at.ends, key.row_max, 0)),
            gap_mass.fill.eq(self.fill), gap_mass.table.eq(row.table), gap_mass.row_max.eq(key.row_max),
            gap_mass.counts.eq(histogram.counts), gap_mass.end.eq(at.end),
            key_filter.keys.eq(row.keys), key_filter.reach.eq(at.reach), key_filter.absolute.eq(at.absolute),
            key_filter.code.eq(at.code), key_filter.floor.eq(at.floor), candidates.floor.eq(at.floor),
            merge.floor.eq(at.floor), merge.recalls.eq(at.spilled), merge.listed_last.eq(~candidates.busy),
            self.overflow.eq(candidates.overflow),
        ]
        m.d.sync += at.end.eq(Array(self.fill.ends)[row.table])
        self._count(m, at, key_filter, histogram, gap_mass, candidates)
        wiring.connect(m, wiring.flipped(self.recalled), merge.recalled)
        wiring.connect(m, wiring.flipped(self.survivors), merge.o)
        with m.FSM():
            self._stream(m, at, key_filter, histogram, gap_mass, limits)
            self._make_room(m, at, key, histogram, gap_mass, limits, candidates)
            self._give(m, at, key, histogram, candidates, merge)
        if config.key_groups:
            self._weigh_pruned(m, at, gap_mass)
        return m

    def _count(self, m: Module, at: _Row, key_filter: CandidateFilter, histogram: EstimateHistogram, gap_mass: GapMass,
               candidates: CandidateList) -> None:
        """Do with a key that leaves the filter what is to be done."""
        key = key_filter.o
        comes = key_filter.o_valid & ~at.waits
        stays = register(m, key.estimate > at.floor, "stays")
        m.d.comb += [
            at.finds_full.eq(comes & key.candidate & candidates.full),
            at.advance.eq(~(at.finds_full | at.waits) | at.resumes),
            at.appends.eq(Mux(at.waits, at.resumes & stays, comes & key.candidate & ~candidates.full)),
            candidates.append.eq(at.appends), candidates.candidate.place.eq(key.place),
            candidates.candidate.estimate.eq(key.estimate),
            # Gaps are looked up when no key comes.
            histogram.valid.eq(comes & key.counts),
            histogram.estimate.eq(Mux(register(m, gap_mass.busy, "looks_up"), gap_mass.estimate, key.estimate)),
        ]
        if self.build.core.group_bits:
            m.d.comb += histogram.group.eq(key.group)
        with m.If(at.finds_full):
            m.d.sync += [at.waits.eq(1), at.compactions.eq(at.compactions + 1)]
        with m.Elif(at.resumes):
            m.d.sync += at.waits.eq(0)
        with m.If(at.appends & (candidates.used == at.most)):
            m.d.sync += at.most.eq(at.most + 1)

    def _stream(self, m: Module, at: _Row, key_filter: CandidateFilter, histogram: EstimateHistogram,
                gap_mass: GapMass, limits: LimitFinder) -> None:
        """Take a row and its keys, and ask for its limit: states of the machine."""
        build, config = self.build, self.build.core
        taken = self.key.valid & self.key.ready
        left, place, last = Signal(length_shape(config)), Signal(key_shape(config)), Signal(key_shape(config))
        m.d.comb += [key_filter.valid.eq(taken), key_filter.place.eq(place), key_filter.key.eq(self.key.payload)]
        with m.State("ROW"):
            offer, last_key = self.row.payload, Signal.like(last)
            m.d.comb += [self.row.ready.eq(histogram.ready), key_filter.restart.eq(1),
                         last_key.eq(offer.streamed - 1)]
            m.d.sync += [
                at.row.eq(offer), left.eq(offer.streamed), last.eq(last_key),
                place.eq(last_key & ~(build.page_rows - 1)), at.ends.eq(0),
                at.mass.eq(((1 << config.weight_bits) - 1) << MASS_FRAC_BITS),
                at.floor.eq(-(1 << (config.est_bits + 1))),
                *(count.eq(0) for count in (at.most, at.compactions, at.lists, at.spilled)),
            ]
            with m.If(self.row.valid & histogram.ready):
                m.d.comb += limits.begin.eq(1)
                m.next = "LIMIT"
        with m.State("LIMIT"):
            with m.If(limits.least_valid & ~at.ends):
                m.d.sync += at.fine.eq(limits.searches & limits.least[_LOWEST_WEIGHT:].any() & rounds_finely(config))
            with m.If(limits.valid & ~at.ends):
                m.d.sync += at.reach.eq(Mux(at.absolute, 1, -limits.threshold))
                m.next = "STREAM"
            with m.If(limits.valid & at.ends):
                m.d.sync += at.floor.eq(limits.threshold)
                m.next = "SELECT"
        with m.State("STREAM"):
            m.d.comb += self.key.ready.eq(at.advance & (left != 0))
            with m.If(taken):
                m.d.sync += [left.eq(left - 1), place.eq(Mux(place == last, 0, place + 1))]
            with m.If(at.finds_full):
                m.next = "FULL"
            with m.Elif((left == 0) & ~key_filter.busy):
                with m.If(at.by_mass):
                    m.next = "TOTAL"
                with m.Else():
                    m.d.comb += limits.begin.eq(1)
                    m.d.sync += at.ends.eq(1)
                    m.next = "LIMIT"
        with m.State("TOTAL"), m.If(~histogram.busy):
            m.d.comb += gap_mass.begin.eq(1)
            m.next = "MASS"
        with m.State("MASS"), m.If(~gap_mass.busy):
            m.d.comb += limits.begin.eq(1)
            m.d.sync += [at.mass.eq(gap_mass.mass), at.ends.eq(1)]
            m.next = "LIMIT"

    def _make_room(self, m: Module, at: _Row, key: data.View, histogram: EstimateHistogram, gap_mass: GapMass,
                   limits: LimitFinder, candidates: CandidateList) -> None:
        """Raise the floor and thin the list by it; spill it if it is still full: states of the machine."""
        bound, raises = Signal.like(at.floor), Signal()
        # Of the search: gaps before the first that is raised to, what they weigh, and half of those in question.
        position, nearer, step = Signal(gap_shape()), Signal.like(at.mass), Signal(gap_shape())
        mass = Signal.like(at.mass)
        small = register(m, gap_mass.weight <= limits.least, "small")
        left, entry = Signal.like(candidates.used), self.spilled.payload
        m.d.comb += [entry.place.eq(candidates.o.payload.place), entry.estimate.eq(candidates.o.payload.estimate),
                     entry.last.eq(left == 1)]
        with m.State("FULL"), m.If(~histogram.busy):
            m.d.sync += [bound.eq(Mux(at.absolute & (at.code < key.row_max), at.code, key.row_max - at.reach)),
                         raises.eq(at.fine), position.eq(0), nearer.eq(0), step.eq(1 << (len(step) - 1))]
            m.next = "RAISE"
        with m.State("RAISE"):
            with m.If(bound > at.floor):
                m.d.sync += at.floor.eq(bound)
            m.next = "THIN"
            with m.If(raises):
                m.next = "PROBE"
        # The first gap whose weight is too small beside most of the mass up to it, by bisection: the further the gap,
        # the less the weight and the more the mass.
        with m.State("PROBE"):
            m.d.comb += [gap_mass.first.eq(position), gap_mass.end.eq(position | step)]
            m.d.sync += bound.eq(key.row_max - Mux(position == 0, 1, position))
            with m.If(step == 0):
                m.d.sync += raises.eq(0)
                m.next = "RAISE"
            with m.Elif((position | step) > at.reach):
                m.d.sync += step.eq(step >> 1)
            with m.Else():
                m.d.comb += gap_mass.begin.eq(1)
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.sync += mass.eq(nearer + gap_mass.mass)
            with m.If(~gap_mass.busy):
                m.next = "SHARE"
        with m.State("SHARE"):
            m.d.sync += at.mass.eq(mass - (mass >> 3) - 1)
            m.d.comb += limits.begin.eq(1)
            m.next = "COMPARE"
        with m.State("COMPARE"):
            m.d.comb += limits.stops.eq(1)
            with m.If(limits.least_valid):
                m.next = "NEXT"
        with m.State("NEXT"):
            m.d.sync += step.eq(step >> 1)
            with m.If(~small):
                m.d.sync += [position.eq(position | step), nearer.eq(mass)]
            m.next = "PROBE"
        with m.State("THIN"):
            m.d.comb += [candidates.begin.eq(1), candidates.thins.eq(1)]
            m.next = "THINNED"
        with m.State("THINNED"), m.If(~candidates.busy):
            m.next = "RESUME"
            with m.If(candidates.used > 3 * self.build.candidates // 4):
                m.d.sync += [left.eq(candidates.used), at.lists.eq(at.lists + 1),
                             at.spilled.eq(at.spilled + candidates.used)]
                m.d.comb += candidates.begin.eq(1)
                m.next = "SPILL"
        with m.State("SPILL"):
            m.d.comb += [self.spilled.valid.eq(candidates.o.valid), candidates.o.ready.eq(self.spilled.ready)]
            with m.If(candidates.o.valid & self.spilled.ready):
                m.d.sync += left.eq(left - 1)
            with m.If(~candidates.busy):
                m.next = "RESUME"
        with m.State("RESUME"):
            m.d.comb += at.resumes.eq(1)
            m.next = "STREAM"

    def _give(self, m: Module, at: _Row, key: data.View, histogram: EstimateHistogram, candidates: CandidateList,
              merge: SurvivorMerge) -> None:
        """Give the row's summary and its survivors: states of the machine."""
        summary, summarises = self.summary.payload, Signal()
        counts = {"most_candidates": at.most, "compactions": at.compactions, "lists": at.lists, "spilled": at.spilled}
        m.d.comb += [self.summary.valid.eq(summarises), summary.row_max.eq(key.row_max), summary.limit.eq(at.limit),
                     *(summary[name].eq(count) for name, count in counts.items()),
                     merge.listed.payload.eq(candidates.o.payload)]
        with m.State("SELECT"):
            m.d.comb += [candidates.begin.eq(1), merge.begin.eq(1)]
            m.d.sync += [at.limit.eq(key.row_max - at.floor), summarises.eq(1), at.weighs_pruned.eq(at.compensated)]
            m.next = "GIVE"
        with m.State("GIVE"):
            m.d.comb += [merge.listed.valid.eq(candidates.o.valid), candidates.o.ready.eq(merge.listed.ready)]
            with m.If(self.summary.ready):
                m.d.sync += summarises.eq(0)
            with m.If(~merge.busy & ~summarises & ~at.weighs_pruned):
                m.d.comb += histogram.restart.eq(1)
                m.next = "ROW"

    def _weigh_pruned(self, m: Module, at: _Row, gap_mass: GapMass) -> None:
        """Sum the weights from the limit on, and give the sum of one group after the other."""
        group = Signal(range(max(2, self.build.core.key_groups)))
        first = Signal(gap_shape())
        last = group == (1 << at.row.group_bits) - 1 if self.build.core.group_bits else Const(1)
        m.d.sync += first.eq(Mux(at.limit > gap_shape()[-1], gap_shape()[-1], at.limit))
        m.d.comb += [self.masses.payload.mass.eq(Array(gap_mass.masses)[group]), self.masses.payload.last.eq(last)]
        with m.FSM(name="pruned"):
            with m.State("ROW"):
                m.d.sync += group.eq(0)
                with m.If(at.weighs_pruned):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [gap_mass.begin.eq(1), gap_mass.first.eq(first)]
                m.next = "SUM"
            with m.State("SUM"), m.If(~gap_mass.busy):
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.masses.valid.eq(1)
                with m.If(self.masses.ready):
                    m.d.sync += group.eq(group + 1)
                    with m.If(last):
                        m.d.sync += at.weighs_pruned.eq(0)
                        m.next = "ROW"
