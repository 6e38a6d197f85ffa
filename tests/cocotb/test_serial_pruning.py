"""Blocks of the serial core that weigh keys by their estimates against the golden model, under the stall matrix."""

import itertools
import random

import numpy as np
import pytest
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights, group_value_sums
from latte.golden.quantizer import MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.row_limit import row_limits
from latte.golden.threshold_filter import threshold_filter
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.common.entry_words import KIND_BITS
from latte.rtl.common.payloads import code_layout, key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_gap_table import SerialGapTable, fill_layout, gap_weight_bits, mass_bits
from latte.rtl.serial.serial_group_sums import SerialGroupSums
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_pruned_mass import SerialPrunedMass
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter
from latte.rtl.serial.serial_scratchpad import plane_port
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, extreme_rows, limits, with_builds
from tests.cocotb.test_serial_blocks import PAIRED, UNEVEN, HeldRow, plane
from tests.cocotb.weighed import flat_scale, held_scale

GROUPED = PAIRED.replace(name="grouped", max_seq_len=23, threshold_kinds=("relative", "mass", "absolute"), key_groups=4)
BY_MASS = UNEVEN.replace(name="by-mass", threshold_kinds=("mass",), key_groups=1)

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


def fills(weights: np.ndarray) -> list[dict]:
    """Return weights by gap on their way into a table, to the first that is 0."""
    return [{"valid": 1, "gap": gap, "weight": weight}
            for gap, weight in enumerate(weights[:np.count_nonzero(weights) + 1].tolist())]


class LookUps(wiring.Component):
    """A gap table; items without a weight for it look a gap up.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        fill = fill_layout(config)
        found = data.StructLayout({"weight": gap_weight_bits(config), "end": fill["gap"].shape})
        super().__init__({"i_valid": In(1), "i": In(data.StructLayout({"fill": fill, "gap": config.est_bits})),
                          "found_valid": Out(1), "found": Out(found)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.table = table = SerialGapTable(self.config)
        m.d.comb += [
            table.fill.eq(self.i.fill), table.fill.valid.eq(self.i_valid & self.i.fill.valid), table.gap.eq(self.i.gap),
            self.found_valid.eq(delay(m, self.i_valid & ~self.i.fill.valid, table.latency, name="asked")),
            self.found.weight.eq(table.weight), self.found.end.eq(table.end),
        ]
        return m


@with_builds(GROUPED, BY_MASS)
def test_gap_table(config, check):
    rng = random.Random(SEED)
    nothing = {"valid": 0, "gap": 0, "weight": 0}
    all_gaps = np.arange(1 << config.est_bits)
    scales = flat_scale(config), *(held_scale(rng, config) for _ in range(8)), flat_scale(config)
    # The last one's weights are of one bit each.
    tables = [*(gap_weights(all_gaps, scale, config) for scale in scales),
              (1 << gap_weight_bits(config) - 1) >> np.minimum(all_gaps, 62)]
    # Behind reset nothing weighs anything.
    items, found = [{"fill": nothing, "gap": gap} for gap in (0, 1, GAP_TABLE_SIZE)], [{"weight": 0, "end": 0}] * 3
    for before, weights in itertools.pairwise([0 * all_gaps, *tables]):
        end = np.count_nonzero(weights)
        # The end and what is as far from it as a bit; what is in the table, where the last scale had a weight as well.
        gaps = [*range(end + 2), *range(0, GAP_TABLE_SIZE + 70, 5),
                *(end + sign * (1 << bit) for bit in range(config.est_bits) for sign in (-1, 1)),
                *(1 << bit for bit in range(config.est_bits)), (1 << config.est_bits) - 1]
        gaps = [gap for gap in gaps if 0 <= gap < 1 << config.est_bits]
        rng.shuffle(gaps)
        for fill in fills(weights):
            # Until a table is whole, the last one's end stands.
            items += [{"fill": nothing, "gap": 0}, {"fill": fill, "gap": rng.choice(gaps)}]
            found.append({"end": np.count_nonzero(before)})
        items += [{"fill": nothing | {"gap": rng.randrange(GAP_TABLE_SIZE)}, "gap": gap} for gap in gaps]
        found += [{"weight": int(weights[gap]), "end": end} for gap in gaps]
    check(LookUps(config), f"serial-gap-table-{config.name}", {"i": Offer(items)}, {"found": Expect(found)})


class LimitedRows(wiring.Component):
    """Limiter and gap table beside the estimates of a row.

    An item brings a weight for the table, a code, or a row. A row's limit comes twice: behind `done`, and some cycles
    later; with it, which of the row's estimates are above its threshold, or its largest.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.limiter = SerialRowLimiter(config)
        kind = {"kind": KIND_BITS} if len(config.threshold_kinds) > 1 else {}
        row = data.StructLayout({
            "fill": fill_layout(config), "code_valid": 1, "code": code_layout(config, 1), "starts": 1,
            "keys": length_shape(config), "maximum": signed(config.est_bits), **kind})
        self.source = HeldRow(row, signed(config.est_bits), key_shape(config), {})
        limited = data.StructLayout({"threshold": self.limiter.threshold.shape(),
                                     "keep": data.ArrayLayout(1, len(self.source.held.entries))})
        super().__init__({"i": In(stream.Signature(self.source.i.payload.shape())), "o_valid": Out(1),
                          "o": Out(limited)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.limiter, m.submodules.source = limiter, source = self.limiter, self.source
        m.submodules.table = table = SerialGapTable(self.config)
        wiring.connect(m, wiring.flipped(self.i), source.i)
        item, taken, held, busy = source.row.payload, source.row.valid & source.row.ready, source.held.row, Signal()
        # An odd number of cycles behind the first time: a bit that changes in each is not the same.
        again = delay(m, limiter.done, 8, name="done")
        with m.If(taken & item.starts):
            m.d.sync += busy.eq(1)
        with m.Elif(again):
            m.d.sync += busy.eq(0)
        m.d.comb += [
            source.row.ready.eq(~busy), table.fill.eq(item.fill), table.fill.valid.eq(taken & item.fill.valid),
            limiter.code_valid.eq(taken & item.code_valid), limiter.code.eq(item.code),
            limiter.start.eq(taken & item.starts), limiter.keys.eq(held.keys), limiter.maximum.eq(held.maximum),
            source.index.eq(limiter.index), table.gap.eq(held.maximum - source.entry),
            limiter.weight.eq(table.weight), limiter.end.eq(table.end),
            self.o_valid.eq(delay(m, limiter.done, 1, name="limited") | again), self.o.threshold.eq(limiter.threshold),
        ]
        with m.If(limiter.searching):
            m.d.comb += table.gap.eq(limiter.gap)
        if len(self.config.threshold_kinds) > 1:
            m.d.comb += limiter.kind.eq(held.kind)
        m.d.comb += [keep.eq((estimate > limiter.threshold) | (estimate == held.maximum))
                     for keep, estimate in zip(self.o.keep, source.held.entries, strict=True)]
        return m


def random_row(rng: random.Random, end: int, config) -> np.ndarray:
    """Return a row of estimates, many of them the largest, or as far from it as weights reach."""
    low, high = limits(config.est_bits)
    keys = rng.choice([1, 2, config.max_seq_len, rng.randint(1, config.max_seq_len)])
    reach = rng.choice([1, end + 2, high - low])
    best = rng.choice([high, low, rng.randint(low, high), rng.randint(low, high)])
    gaps = [rng.choice([0, end - 1, end, reach, rng.randint(0, reach), rng.randint(0, reach)]) for _ in range(keys)]
    return np.array([max(low, best - gap) for gap in gaps])


def random_code(rng: random.Random, kind: ThresholdKind, row: np.ndarray, weights: np.ndarray, config) -> int:
    """Return a code for rows as long as one: often one at an estimate, or theta of its mass at a weight."""
    low, high = limits(config.est_bits)
    best, estimate = int(row.max()), int(rng.choice(row))
    if kind is ThresholdKind.RELATIVE:
        return rng.choice([1, config.tau_keep_all, max(1, best - estimate), best - estimate + 1, rng.randint(1, 400)])
    if kind is ThresholdKind.ABSOLUTE:
        return rng.choice([low, high, estimate, max(low, estimate - 1), rng.randint(low, high)])
    if rng.random() < 0.2:
        return rng.choice([0, 255, MASS_KEEP_ALL, MASS_KEEP_ALL - 1, rng.randrange(MASS_KEEP_ALL)])
    return nearest_code(row, weights)[1]


def nearest_code(row: np.ndarray, weights: np.ndarray) -> tuple[int, int]:
    """Return (how far theta of a row's mass is from a weight before it is shifted, the code by which it is nearest).

    The low bits of the product count near a weight alone.
    """
    mass, one, some = int(weights[row.max() - row].sum()), 2 << THETA_FRAC_BITS, np.unique(weights)[1:]
    octaves = np.frexp(mass // some)[1] - 1
    factor = (some * one << octaves) // mass + np.array([[0], [1]])
    # Without a fraction it is a weight in rows of equal estimates.
    distance = np.where((factor > one // 2) & (factor < one), abs(mass * factor - (some * one << octaves)), mass)
    nearest = np.unravel_index(distance.argmin(), distance.shape)
    return int(distance[nearest]), int(octaves[nearest[1]] << THETA_FRAC_BITS) + min(
        max(one - int(factor[nearest]), 0), one // 2 - 1)


def padded(items: list, config) -> list:
    """Return items, one for each entry of a row."""
    return items + [0] * ((1 << (config.max_seq_len - 1).bit_length()) - len(items))


def limited_row(threshold: Threshold, row: np.ndarray, scale: tuple[int, int], config) -> dict:
    """Return which of a row's estimates survive, and its threshold where the golden model says it."""
    best, visible = row.max(keepdims=True), np.ones((1, len(row)), bool)
    limit = row_limits(threshold, row[None], visible, best, scale, config)
    keep = threshold_filter(row[None], visible, limit)[0].astype(int).tolist()
    limited = {"keep": keep + [None] * (len(padded(keep, config)) - len(keep))}
    # The largest survives whatever the threshold is, and what is below all estimates is the block's choice.
    if limit[0] == 1 or len(row) == 1 or (threshold.kind is ThresholdKind.MASS and limit[0] > config.tau_keep_all):
        return limited
    return limited | {"threshold": int(best[0] - limit[0])}


@with_builds(GROUPED, BY_MASS)
def test_row_limiter(config, check):
    rng = random.Random(SEED)
    items, limited = [], []
    nothing = {"fill": {"valid": 0, "gap": 0, "weight": 0}, "code_valid": 0, "starts": 0, "keys": 0, "maximum": 0,
               "code": {"slot": 0, "octave": 0, "code": 0}}
    kinds = [ThresholdKind(kind) for kind in config.threshold_kinds]

    def offer(entries=(), **fields):
        items.append({"row": nothing | fields, "entries": padded(list(entries), config)})

    for job in range(60):
        if job % 6 == 0:  # not for each: most of the time goes there
            scale = flat_scale(config) if job % 12 == 0 else held_scale(rng, config)
            weights = gap_weights(np.arange(config.tau_keep_all + 1), scale, config)
            for fill in fills(weights):
                offer(fill=fill)
        kind = rng.choice([*kinds, ThresholdKind.MASS])
        some = [[random_row(rng, np.count_nonzero(weights), config) for _ in range(30)] for _ in range(5)]
        rows = [min(of_few, key=lambda row, by=weights: nearest_code(row, by)) if job % 3 else of_few[0]
                for of_few in some]
        by_octave = {len(row).bit_length() - 1: row for row in rows}
        codes = [random_code(rng, kind, by_octave.get(octave, rows[0]), weights, config)
                 for octave in range(LENGTH_OCTAVES)]
        for octave in config.code_octaves:
            offer(code_valid=1, code={"slot": 0, "octave": octave, "code": codes[octave]})
        for row in rows:
            by_kind = {"kind": list(ThresholdKind).index(kind)} if len(kinds) > 1 else {}
            offer(row.tolist(), starts=1, keys=len(row), maximum=int(row.max()), **by_kind)
            limited += [limited_row(Threshold(kind, tuple(codes)), row, scale, config)] * 2
    check(LimitedRows(config), f"serial-row-limiter-{config.name}", {"i": Offer(items)}, {"o": Expect(limited)})


class PrunedMasses(wiring.Component):
    """Masses of groups: an item is a weight of one, or ends a row; the mass of another comes out for each.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        item = data.StructLayout({"ends": 1, "group": config.group_bits, "weight": gap_weight_bits(config),
                                  "read_group": config.group_bits})
        super().__init__({"i": In(stream.Signature(item)), "mass_valid": Out(1), "mass": Out(mass_bits(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.masses = masses = SerialPrunedMass(self.config)
        item, adding, begins = self.i.payload, Signal(), Signal()
        m.d.comb += [begins.eq(self.i.valid & ~adding), self.i.ready.eq(adding | item.ends)]
        m.d.sync += adding.eq(begins & ~item.ends)
        m.d.comb += [
            masses.group.eq(item.group), masses.weight.eq(item.weight), masses.add.eq(adding),
            masses.row_ends.eq(begins & item.ends),
            masses.read_group.eq(Mux(adding, ~item.read_group, item.read_group)),
            self.mass_valid.eq(delay(m, begins, 1, name="read")), self.mass.eq(masses.mass),
        ]
        return m


@with_builds(GROUPED, slow=[BY_MASS])
def test_pruned_mass(config, check):
    rng = random.Random(SEED)
    most = (1 << gap_weight_bits(config)) - 1
    items, masses, last = [], [], [0] * config.key_groups
    for row in range(60):
        sums = [0] * config.key_groups
        some = rng.sample(range(config.key_groups), 1 if row % 5 == 0 else rng.randint(1, config.key_groups))
        pruned = rng.choice([0, 1, config.max_seq_len, rng.randint(0, config.max_seq_len)])
        # All of a row's weight in one group, then one in which each group is read.
        pruned = config.max_seq_len if row % 5 < 2 else pruned
        for key in range(pruned + 1):
            read, group = rng.choice([key % config.key_groups, rng.randrange(config.key_groups)]), rng.choice(some)
            weight = most if row % 5 == 0 else rng.choice([1, most, rng.randint(0, most), rng.randint(0, 15)])
            items.append({"ends": key == pruned, "group": group, "weight": weight, "read_group": read})
            masses.append(last[read])
            sums[group] += weight if key < pruned else 0
        last = sums
    check(PrunedMasses(config), f"serial-pruned-mass-{config.name}", {"i": Offer(items)}, {"mass": Expect(masses)})


class SummedKeys(wiring.Component):
    """Sums of groups beside values and groups of given keys, of which there are several sequences.

    An item brings the sums to a number of keys, turns to the keys of a sequence, or reads a sum or a count.

    Parameters
    ----------
    config
    v : int8 [sequences, n, head_dim]
    groups : int [sequences, n]
        `n` is a power of two.
    """

    def __init__(self, config, v, groups):
        self.config, self.v, self.groups = config, v, groups
        self.sums = SerialGroupSums(config)
        item = data.StructLayout({"ask": 1, "keys": length_shape(config), "turn": 1, "sequence": range(len(v)),
                                  **{name: getattr(self.sums, name).shape() for name in (
                                      "read_group", "read_slice", "read_count")}})
        found = data.StructLayout({"sums": self.sums.sums.shape(), "count": length_shape(config)})
        super().__init__({"i": In(stream.Signature(item)), "found_valid": Out(1), "found": Out(found)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config, item = self.config, self.i.payload
        m.submodules.sums = sums = self.sums
        asks, turns = self.i.valid & item.ask, self.i.valid & ~item.ask & item.turn
        sequence = Signal.like(item.sequence)
        with m.If(turns):
            m.d.sync += sequence.eq(item.sequence)
        m.d.comb += [
            self.i.ready.eq(~item.ask | sums.done), sums.ask.eq(asks), sums.keys.eq(item.keys), sums.restart.eq(turns),
            sums.read_group.eq(item.read_group), sums.read_slice.eq(item.read_slice),
            sums.read_count.eq(item.read_count),
            self.found_valid.eq(delay(m, self.i.valid & ~item.ask & ~item.turn, 1, name="read")),
            self.found.sums.eq(sums.sums), self.found.count.eq(sums.count),
        ]
        # One plane with the keys of all sequences.
        every = config.replace(max_seq_len=self.groups.size)
        port = plane_port(every, signed(8), config.value_lanes).create()
        words = self.v.reshape(-1, config.value_lanes).tolist()
        plane(m, "plane", port, signed(8), config.value_lanes, words, config)
        m.d.comb += [port.read.eq(sums.values.read), port.key.eq(Cat(sums.values.key, sequence)),
                     port.slice.eq(sums.values.slice), sums.values.data.eq(port.data)]
        if config.group_bits:
            of_keys = self.groups.ravel().tolist()
            m.submodules.groups = groups = DualPortRam(config.group_bits, len(of_keys), of_keys)
            m.d.comb += [groups.read_addr.eq(Cat(sums.index, sequence)), sums.group.eq(groups.read_data)]
        return m


@with_builds(GROUPED, slow=[BY_MASS])
def test_group_sums(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    n, sequences = 1 << ceil_log2(config.max_seq_len), 4
    v = np.stack([extreme_rows(generator, n, config, 127) for _ in range(sequences)])
    groups = generator.integers(0, config.key_groups, (sequences, n))
    # All that one group can take, of either sign; and groups that have no keys.
    v[0], v[1] = -128, 127
    groups[0], groups[1], groups[2] = config.key_groups - 1, 0, groups[2] | 1 & (config.key_groups - 1)
    items, found, sequence, keys = [], [], 0, 0
    nothing = dict.fromkeys(("ask", "keys", "turn", "sequence", "read_group", "read_slice", "read_count"), 0)
    for step in range(80):
        if step % 10 == 5:
            sequence = (sequence + 1) % sequences
            items.append(nothing | {"turn": 1, "sequence": sequence})
            keys = 0 if rng.getrandbits(1) else keys
        keys = rng.choice([min(keys + 1, config.max_seq_len), min(keys + 1, config.max_seq_len), max(keys, 1),
                           config.max_seq_len, rng.randint(1, config.max_seq_len)])
        items.append(nothing | {"ask": 1, "keys": keys, "read_group": rng.randrange(config.key_groups),
                                "read_slice": rng.randrange(config.value_slices), "read_count": rng.getrandbits(1)})
        membership = groups[sequence, :, None] == np.arange(config.key_groups)
        visible = np.arange(n)[None] < keys
        sums = group_value_sums(v[sequence], visible, membership)[0]
        reads = [(group, part) for group in range(config.key_groups) for part in range(-1, config.value_slices)]
        for group, part in rng.sample(reads, rng.choice([1, len(reads)])):
            count = int(membership[:keys, group].sum())
            items.append(nothing | {"read_group": group, "read_slice": max(part, 0), "read_count": part < 0})
            lanes = slice(part * config.value_lanes, (part + 1) * config.value_lanes)
            found.append({"count": max(count, 1)} if part < 0 else
                         {"sums": sums[group, lanes].tolist()} if count else {})
    check(SummedKeys(config, v, groups), f"serial-group-sums-{config.name}", {"i": Offer(items)},
          {"found": Expect(found)})
