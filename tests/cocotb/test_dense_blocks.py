"""Stages of the dense baseline against the golden model, one by one, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Mux, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.quantizer import SCALE_SHIFT_MAX
from latte.golden.scores import exact_scores
from latte.golden.softmax import softmax_weights
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import Ram
from latte.rtl.dense.dense_softmax import DenseSoftmax, weights_layout
from latte.rtl.dense.dense_value_accumulator import DenseValueAccumulator
from latte.rtl.dense.score_array import ScoreArray
from latte.rtl.wide.payloads import row_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import (
    SEED,
    WIDE,
    bits,
    extreme_rows,
    limits,
    row_lengths,
    split_elements,
    spread_scale,
    with_builds,
)
from tests.cocotb.turns import load_rows, loaded_tiles, turn_layout

pytestmark = [pytest.mark.parametrize("stall", STALLS)]

PAIRS = WIDE.replace(name="pairs", head_dim=8, dim_lanes=8, cross_lanes=8, value_lanes=8, key_lanes=1).dense()
THREES = PAIRS.replace(name="threes", query_lanes=3, query_rows=12, weight_bits=8, exp_frac_bits=6,
                       pe_structure="table")


class ScoredKeys(wiring.Component):
    """Score array; query rows are loaded while keys of the other bank come.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.array = ScoreArray(config)
        key = data.StructLayout({"bank": 1, "k": self.array.k.shape()})
        super().__init__({
            "row": In(stream.Signature(turn_layout(self.array.q.payload.shape()))),
            "key": In(stream.Signature(turn_layout(key))), "score_valid": Out(1),
            "score": Out(self.array.score.shape()), "late": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.array = array = self.array
        item = self.key.payload.item
        key, late = load_rows(m, self.row, self.key, array.q, ScoreEstimator.load_cycles_of(self.config))
        m.d.comb += [array.k_valid.eq(key), array.k_bank.eq(item.bank), array.k_first.eq(key), array.k.eq(item.k),
                     self.score_valid.eq(array.score_valid), self.score.eq(array.score), self.late.eq(late)]
        return m


@with_builds(PAIRS, slow=[THREES])
def test_score_array(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    q, k = (extreme_rows(generator, 40, config, config.qk_max) for _ in range(2))
    queries, stored = split_elements(q, config), split_elements(k, config)
    rows, keys, scores = [], [], []
    for bank, lanes, before, loaded, number in loaded_tiles(rng, config, 80):
        held = [None] * config.query_lanes
        for lane in lanes:
            held[lane] = rng.choice([0, 1, *range(len(q))])
            rows.append({"item": {"row": lane, "bank": bank, "hi": queries[held[lane]]}, "after": before})
        for _ in range(number):
            some = [rng.choice([0, 1, *range(len(k))]) for _ in range(config.key_lanes)]
            keys.append({"item": {"bank": bank, "k": [stored[key] for key in some]}, "after": loaded})
            scores.append([None if row is None else exact_scores(q[[row]], k[some])[0].tolist() for row in held])
    check(ScoredKeys(config), f"dense-scores-{config.name}", {"row": Offer(rows), "key": Offer(keys)},
          {"score": Expect(scores)}, quiet=["late"])


class WeighedGroups(wiring.Component):
    """Softmax behind a scanner: a row's description comes as many cycles before its first group as from there.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        group = data.StructLayout({"first": 1, "row": row_layout(config), "group": scanned_layout(config)})
        super().__init__({"i_valid": In(1), "i": In(group), "o_valid": Out(1), "o": Out(weights_layout(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.softmax = softmax = DenseSoftmax(self.config)
        lead = RowScanner.latency - RowScanner.row_latency
        m.d.comb += [
            softmax.row_valid.eq(self.i_valid & self.i.first), softmax.row.eq(self.i.row),
            softmax.i_valid.eq(delay(m, self.i_valid, lead, name="valid")),
            softmax.i.eq(delay(m, self.i.group, lead, name="group")),
            self.o_valid.eq(softmax.o_valid), self.o.eq(softmax.o),
        ]
        return m


@with_builds(PAIRS, slow=[THREES])
def test_softmax(config, check):
    rng = random.Random(SEED)
    low, high = limits(config.score_bits)
    pairs = config.pairs_per_cycle
    groups, weights = [], []
    for length in row_lengths(config, rng, 150):
        spread = rng.choice([0, 40, 3000, high])
        row = [rng.choice([low, high]) if spread == high else rng.randint(-spread, spread) for _ in range(length)]
        code = rng.choice([spread_scale(rng, max(row) - min(row), config), (
            rng.choice([1 << rng.randrange(16), (1 << 16) - 1, rng.getrandbits(16)]),
            rng.choice([0, SCALE_SHIFT_MAX, rng.randint(0, 26)]))])
        if rng.random() < 0.3:
            # Each distance times the scale is a single bit, wherever it may be.
            row = [0, *(-1 << rng.randint(0, config.score_bits - 1) for _ in range(length - 1))]
            code = 1 << 15, rng.choice([0, rng.randint(0, 26)])
            rng.shuffle(row)
        # Mostly a row sees all of its keys; what it may not see may be larger than all that it sees.
        seen = np.array([rng.random() < 0.7 for _ in row]) if rng.random() < 0.3 else np.ones(length, bool)
        seen[rng.randrange(length)] = True
        row_max = int(np.array(row)[seen].max())
        expected = softmax_weights(np.array([row]), seen[None], code, config)[0].tolist()
        bank, job_last = rng.getrandbits(1), rng.getrandbits(1)
        description = {"scale_mantissa": code[0], "scale_shift": code[1], "bank": bank, "job_last": job_last}
        last = ceil_div(length, pairs) - 1
        for n in range(last + 1):
            keys = range(n * pairs, (n + 1) * pairs)
            # A row's description comes with its first group.
            groups.append({
                "first": n == 0, "row": description if n == 0 else {
                    "scale_mantissa": rng.getrandbits(16), "scale_shift": rng.getrandbits(6),
                    "bank": rng.getrandbits(1), "job_last": rng.getrandbits(1)},
                "group": {"estimate": [row[key] if key < length else rng.randint(low, high) for key in keys],
                          "visible": bits(seen[keys.start:keys.stop]), "row_max": row_max,
                          "bank": bank, "row_last": n == last}})
            weights.append({"weights": [expected[key] if key < length else 0 for key in keys], "group": n, "bank": bank,
                            "row_last": n == last, "job_last": job_last and n == last})
    check(WeighedGroups(config), f"dense-softmax-{config.name}", {"i": Offer(groups)}, {"o": Expect(weights)})


class SummedGroups(wiring.Component):
    """Value accumulator beside a value plane with given contents.

    `reserved` and `stepped`: 1 for each row and group that is begun; `released`: the bank that a job's end gives back.
    `unlike`: a row's last group did not wait for room, or something else waited.

    Parameters
    ----------
    config
    v : int8 [2, max_seq_len, head_dim]
        By bank.
    """

    def __init__(self, config, v):
        self.config = config
        self.v = v
        self.accumulator = DenseValueAccumulator(config)
        sums = data.StructLayout({"weight_sum": self.accumulator.weight_sum.shape(), "job_last": 1})
        counted = {f"{name}{end}": Out(1) for name in ("reserved", "stepped", "released") for end in ("", "_valid")}
        super().__init__({"i": In(stream.Signature(weights_layout(config))), "row_room": In(1),
                          "sum_valid": Out(1), "sum": Out(sums), "word_valid": Out(1),
                          "word": Out(self.accumulator.word.shape()), "unlike": Out(1), **counted})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config, pairs = self.config, self.config.pairs_per_cycle
        m.submodules.accumulator = accumulator = self.accumulator
        wiring.connect(m, wiring.flipped(self.i), accumulator.i)
        groups = ceil_div(config.max_seq_len, pairs)
        words = np.pad(self.v, ((0, 0), (0, -config.max_seq_len % pairs), (0, 0)), constant_values=1)
        words = words.reshape(2 * groups, pairs, config.head_dim).tolist()
        shape = data.ArrayLayout(data.ArrayLayout(signed(8), config.head_dim), pairs)
        m.submodules.plane = plane = Ram(shape, len(words), words)
        m.d.comb += [
            plane.read_addr.eq(accumulator.bank * groups + accumulator.group), accumulator.values.eq(plane.read_data),
            accumulator.row_room.eq(self.row_room), self.sum_valid.eq(accumulator.sum_valid),
            self.sum.weight_sum.eq(accumulator.weight_sum), self.sum.job_last.eq(accumulator.job_last),
            self.word_valid.eq(accumulator.word_valid), self.word.eq(accumulator.word),
            self.reserved_valid.eq(accumulator.row_reserve), self.reserved.eq(1),
            self.stepped_valid.eq(accumulator.step), self.stepped.eq(1),
            self.released_valid.eq(accumulator.release), self.released.eq(accumulator.release_bank),
            self.unlike.eq(self.i.valid & (self.i.ready != Mux(self.i.payload.row_last, self.row_room, 1))),
        ]
        return m


@with_builds(PAIRS, slow=[THREES])
def test_value_accumulator(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    v = np.stack([extreme_rows(generator, config.max_seq_len, config, 127) for _ in range(2)])
    pairs, most = config.pairs_per_cycle, (1 << config.weight_bits) - 1
    groups, sums, words, released = [], [], [], []
    for length in row_lengths(config, rng, 100):
        some = rng.choice([[most], [0, most], range(most + 1)])
        weights = np.zeros((1, config.max_seq_len), np.int64)
        weights[0, :length] = [rng.choice(some) for _ in range(length)]
        bank, job_last = rng.getrandbits(1), rng.getrandbits(1)
        last = ceil_div(length, pairs) - 1
        padded = [*weights[0].tolist(), *[0] * pairs]
        groups += [{"weights": padded[n * pairs:(n + 1) * pairs], "group": n, "bank": bank, "row_last": n == last,
                    "job_last": job_last and n == last} for n in range(last + 1)]
        accumulated, weight_sum = accumulate_values(weights, v[bank])
        sums.append({"weight_sum": int(weight_sum[0]), "job_last": job_last})
        words += accumulated.tolist()
        released += [bank] * job_last
    bench = SummedGroups(config, v)
    check(bench, f"dense-values-{config.name}", {"i": Offer(groups)},
          {"sum": Expect(sums), "word": Expect(words, "row_room", bench.accumulator.latency),
           "reserved": Expect([1] * len(sums)), "stepped": Expect([1] * len(groups)), "released": Expect(released)},
          quiet=["unlike"])
