"""Stages of the serial core against the golden model, one by one, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import NUMERATOR_FRAC_BITS, RECIPROCAL_FRAC_BITS, normalize, reciprocal
from latte.golden.quantizer import QK_MAX, SCALE_SHIFT_MAX
from latte.golden.score_estimator import estimate_scores
from latte.golden.scores import refine_scores
from latte.golden.softmax import softmax_weights
from latte.golden.split import split_halves
from latte.golden.threshold_filter import threshold_filter
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import compute_layout, key_shape, output_layout, query_load_layout
from latte.rtl.common.probes import filter_probe_layout
from latte.rtl.serial.serial_estimator import SerialEstimator, estimated_row_layout
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_query_ring import SerialQueryRing
from latte.rtl.serial.serial_scorer import SerialScorer, scored_row_layout
from latte.sim.block_testbench import Expect, Offer, run_block
from latte.sim.stalls import STALLS

PAIRED = AttentionConfig(
    name="paired", engine="serial", head_dim=8, max_seq_len=12, heads=4, query_lanes=1, dim_lanes=4,
    cross_lanes=2, value_lanes=2, normalizer_lanes=1, kv_banks=1, query_rows=4, exp_frac_bits=8,
    reciprocal_bits=8, pe_structure="multiplier")
UNEVEN = PAIRED.replace(name="uneven", head_dim=6, dim_lanes=2, max_seq_len=16, query_rows=5, split="slice",
                        weight_bits=16, exp_frac_bits=4, reciprocal_bits=6, fraction_bits=4)
SEED = 5

pytestmark = [pytest.mark.parametrize("stall", STALLS),
              pytest.mark.parametrize("config", [PAIRED, UNEVEN], ids=lambda config: config.name)]


@pytest.fixture
def check(stall, config, tmp_path, build_folder):
    """Return a function that runs a block and fails with what is wrong."""
    def run(component, name, inputs, outputs):
        problems = run_block(component, f"serial-{name}-{config.name}", tmp_path / "run", inputs, outputs, stall=stall,
                             seed=SEED, build_folder=build_folder)
        assert not problems, "\n".join(problems)
    return run


def of_split(rows: np.ndarray, config: AttentionConfig) -> list:
    """Return the elements of `rows` as initial words of a memory, `cross_lanes` a word."""
    high, low = split_halves(rows.reshape(-1, config.cross_lanes), config.split)
    return [[{"high": int(h), "low": int(w)} for h, w in zip(*word, strict=True)]
            for word in zip(high, low, strict=True)]


def extreme_rows(count: int, config: AttentionConfig, high: int, seed: int) -> np.ndarray:
    """Return int8 rows, the first two of them at the limits."""
    rows = np.random.default_rng(seed).integers(-128, high + 1, (count, config.head_dim))
    rows[0], rows[1] = -128, high
    return rows.astype(np.int8)


def plane(m, name, port, element, lanes, words, config):
    """Answer a plane's read port from given contents, where nothing is read with the opposite of what lies there."""
    m.submodules[name] = ram = DualPortRam(data.ArrayLayout(element, lanes), len(words), words)
    read, word = Signal(), ram.read_data.as_value()
    m.d.sync += read.eq(port.read)
    m.d.comb += [ram.read_addr.eq(port.key * (config.head_dim // lanes) + port.slice),
                 port.data.as_value().eq(Mux(read, word, ~word))]


class ReadBack(wiring.Component):
    """Takes a row, then reads its `count` entries one by one; each comes out with the row.

    The last comes first: what a stage writes too early into the place of an entry is read there.

    Parameters
    ----------
    row, entry
        Shapes.
    count
        Field of `row`.
    index
        Shape of an entry's index.
    """

    def __init__(self, row, count, entry, index):
        self.count = count
        item = data.StructLayout({"row": row, "entry": entry})
        super().__init__({"row": In(stream.Signature(row)), "index": Out(index), "entry": In(entry),
                          "o": Out(stream.Signature(item))})

    def elaborate(self, platform):
        """Read."""
        m = Module()
        row = self.o.payload.row
        with m.FSM():
            with m.State("ROW"):
                m.d.comb += self.row.ready.eq(1)
                m.d.sync += [row.eq(self.row.payload), self.index.eq(self.row.payload[self.count] - 1)]
                with m.If(self.row.valid):
                    m.next = "READ"
            with m.State("READ"):
                m.next = "GET"
            with m.State("GET"):
                m.d.sync += self.o.payload.entry.eq(self.entry)
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += self.index.eq(self.index - 1)
                    m.next = "READ"
                    with m.If(self.index == 0):
                        m.next = "ROW"
        return m


class EstimatedRows(wiring.Component):
    """Query ring and estimator beside a key plane with given contents.

    Both halves of a row come out when the estimator is done with it. `limited`: 1 for each beat that was.

    Parameters
    ----------
    config
    k : int8 [max_seq_len, head_dim]
    """

    def __init__(self, config, k):
        self.config, self.k = config, k
        self.back = ReadBack(estimated_row_layout(config), "keys", signed(config.est_bits), key_shape(config))
        self.ring = SerialQueryRing(config)
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        super().__init__({
            "halves": Out(stream.Signature(self.ring.halves.shape())), "limited_valid": Out(1), "limited": Out(1),
            "load": In(stream.Signature(query_load_layout())), "q": In(stream.Signature(beat)),
            "compute": In(stream.Signature(compute_layout(config))),
            "o": Out(stream.Signature(self.back.o.payload.shape()))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.ring = ring = self.ring
        m.submodules.estimator = estimator = SerialEstimator(config)
        m.submodules.back = back = self.back
        high = split_halves(self.k.reshape(-1, config.dim_lanes), config.split)[0]
        plane(m, "plane", estimator.keys, signed(4), config.dim_lanes, high.tolist(), config)
        wiring.connect(m, wiring.flipped(self.load), ring.load)
        wiring.connect(m, wiring.flipped(self.q), ring.q)
        wiring.connect(m, estimator.row, back.row)
        wiring.connect(m, back.o, wiring.flipped(self.o))
        # A job stands until its last row has left.
        job = Signal(compute_layout(config))
        busy, ends = Signal(), estimator.row.valid & estimator.row.ready & estimator.row.payload.job_last
        fresh = Signal()
        with m.If(self.compute.valid & self.compute.ready):
            m.d.sync += [job.eq(self.compute.payload), busy.eq(1), fresh.eq(1)]
        with m.Elif(ends):
            m.d.sync += busy.eq(0)
        with m.If(fresh & estimator.compute.ready):
            m.d.sync += fresh.eq(0)
        taken = estimator.row.valid & estimator.row.ready
        m.d.comb += [
            self.compute.ready.eq(~busy), estimator.compute.valid.eq(fresh), estimator.compute.payload.eq(job),
            estimator.query_available.eq(ring.available), ring.high_slice.eq(estimator.query_slice),
            estimator.query.eq(ring.high), ring.estimated.eq(taken),
            estimator.index.eq(back.index), back.entry.eq(estimator.estimate),
        ]
        # The rows that the estimator has left.
        rows = Signal(range(config.query_rows + 1))
        m.d.sync += rows.eq(rows + taken - ring.scored)
        m.d.comb += [self.halves.payload.eq(ring.halves), self.limited_valid.eq(ring.saturated), self.limited.eq(1)]
        with m.FSM():
            with m.State("ROW"), m.If(rows != 0):
                m.next = "GIVE"
            with m.State("READ"):
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.halves.valid.eq(1)
                with m.If(self.halves.ready):
                    m.d.sync += ring.halves_slice.eq(ring.halves_slice + 1)
                    m.next = "READ"
                    with m.If(ring.halves_slice == config.cross_slices - 1):
                        m.d.sync += ring.halves_slice.eq(0)
                        m.d.comb += ring.scored.eq(1)
                        m.next = "LEAVE"
            with m.State("LEAVE"):
                m.next = "ROW"
        return m


def test_query_ring_and_estimator(config, check):
    rng = random.Random(SEED)
    k = extreme_rows(config.max_seq_len, config, QK_MAX, SEED)
    loads, beats, jobs, items, words, limited = [], [], [], [], [], 0
    # Behind the long jobs such as are done before the next row is there.
    for index in range(30):
        keys = rng.choice([1, config.max_seq_len, rng.randint(1, config.max_seq_len)] if index < 10 else [1, 2])
        rows, causal, drop = rng.randint(1, keys), rng.getrandbits(1), index == 4
        q = extreme_rows(max(2, rows), config, 127, SEED + index)[:rows]
        loads.append({"rows": rows, "drop": drop})
        beats += q.reshape(-1, config.bus_bytes).tolist()
        limited += int((q.reshape(-1, config.bus_bytes) > QK_MAX).any(axis=1).sum())
        if drop:
            continue
        q = np.minimum(q, QK_MAX).astype(np.int8)
        words += of_split(q, config)
        jobs.append({"entry": {"tau": 1, "scale_mantissa": 1, "scale_shift": 1}, "rows": rows, "keys": keys,
                     "causal": causal, "bank": 0})
        estimates = estimate_scores(split_halves(q, config.split)[0], split_halves(k, config.split)[0])
        for r, row in enumerate(estimates):
            seen = row[:keys - rows + 1 + r if causal else keys].tolist()
            fields = {"keys": len(seen), "maximum": max(seen), "job_last": r == rows - 1}
            items += [{"row": fields, "entry": estimate} for estimate in reversed(seen)]
    check(EstimatedRows(config, k), "estimator", {"load": Offer(loads), "q": Offer(beats), "compute": Offer(jobs)},
          {"o": Expect(items), "halves": Expect(words), "limited": Expect([1] * limited)})


class HeldRow(wiring.Component):
    """Offers rows that come with all their entries, and keeps those of the last one that was taken.

    Parameters
    ----------
    row, entry
        Shapes.
    index
        Shape of an entry's index.
    others : dict
        Further fields: `held` while the row is in work.
    """

    def __init__(self, row, entry, index, others):
        item = data.StructLayout({"row": row, "entries": data.ArrayLayout(entry, 1 << len(Signal(index))), **others})
        super().__init__({"i": In(stream.Signature(item)), "row": Out(stream.Signature(row)),
                          "index": In(index), "entry": Out(entry), "held": Out(item)})

    def elaborate(self, platform):
        """Keep."""
        m = Module()
        m.d.comb += [self.row.valid.eq(self.i.valid), self.i.ready.eq(self.row.ready),
                     self.row.payload.eq(self.i.payload.row)]
        m.d.sync += self.entry.eq(Array(self.held.entries)[self.index])
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.held.eq(self.i.payload)
        return m


class ScoredRows(wiring.Component):
    """Scorer beside queries and keys of given contents.

    Parameters
    ----------
    config
    q, k : int8
        As many queries as there are rows, in their order.
    """

    def __init__(self, config, q, k):
        self.config, self.q, self.k = config, q, k
        self.scorer = SerialScorer(config)
        self.source = HeldRow(estimated_row_layout(config), signed(config.est_bits), key_shape(config),
                              {"tau": config.est_bits})
        self.back = ReadBack(scored_row_layout(config), "survivors", self.scorer.stored, key_shape(config))
        read = data.StructLayout({name: getattr(self.scorer.keys, name).shape() for name in ("key", "slice")})
        super().__init__({"i": In(stream.Signature(self.source.i.payload.shape())),
                          "compared_valid": Out(1), "compared": Out(filter_probe_layout(config)),
                          "read_valid": Out(1), "read": Out(read),
                          "o": Out(stream.Signature(self.back.o.payload.shape()))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.source, m.submodules.scorer, m.submodules.back = source, scorer, back = (
            self.source, self.scorer, self.back)
        lanes, element = config.cross_lanes, element_layout(config)
        plane(m, "plane", scorer.keys, element, lanes, of_split(self.k, config), config)
        words = of_split(self.q, config)
        m.submodules.queries = queries = DualPortRam(data.ArrayLayout(element, lanes), len(words), words)
        row = Signal(range(len(self.q) + 1))
        with m.If(scorer.scored):
            m.d.sync += row.eq(row + 1)
        wiring.connect(m, wiring.flipped(self.i), source.i)
        wiring.connect(m, source.row, scorer.row)
        wiring.connect(m, scorer.o, back.row)
        wiring.connect(m, back.o, wiring.flipped(self.o))
        m.d.comb += [
            source.index.eq(scorer.index), scorer.estimate.eq(source.entry),
            scorer.tau.eq(self.i.payload.tau), queries.read_addr.eq(row * config.cross_slices + scorer.query_slice),
            scorer.query.eq(queries.read_data), scorer.score_index.eq(back.index), back.entry.eq(scorer.score),
            self.compared_valid.eq(scorer.probe.valid), self.compared.eq(scorer.probe),
            self.read_valid.eq(scorer.step), self.read.key.eq(scorer.keys.key), self.read.slice.eq(scorer.keys.slice),
        ]
        return m


def test_scorer(config, check):
    rng = random.Random(SEED)
    q, k = extreme_rows(60, config, QK_MAX, SEED), extreme_rows(config.max_seq_len, config, QK_MAX, SEED + 1)
    # Scores of all sizes, so that each bit decides which is the largest.
    q[2:] >>= np.random.default_rng(SEED).integers(0, 7, (len(q) - 2, 1)).astype(np.int8)
    # Estimates as far apart as can be; scores of one element, many of them next to each other.
    q[2:12] = np.random.default_rng(SEED).choice([-128, QK_MAX], (10, config.head_dim))
    q[12:30] = 0
    q[12:30, 0] = np.random.default_rng(SEED).integers(-7, 8, 18) << config.low_bits
    k[:, 0] = 48 + k[:, 0] % 16
    halves = split_halves(q, config.split), split_halves(k, config.split)
    estimates = estimate_scores(halves[0][0], halves[1][0])
    scores = refine_scores(estimates, *halves)
    rows, items, compared, read = [], [], [], []
    for r, row in enumerate(estimates):
        keys = rng.choice([1, config.max_seq_len, config.max_seq_len, rng.randint(1, config.max_seq_len)])
        # Often such that a key just survives, or does not.
        gap = int(row[:keys].max() - rng.choice([row[:keys].min(), *row[:keys]]))
        tau = rng.choice([1, config.tau_keep_all, rng.randint(1, 300), max(1, gap), gap + 1])
        job_last = rng.getrandbits(1)
        keep = threshold_filter(row[None, :keys], np.ones((1, keys), bool), tau)[0]
        entries = [*row.tolist(), *[0] * ((1 << (config.max_seq_len - 1).bit_length()) - len(row))]
        rows.append({"row": {"keys": keys, "maximum": int(row[:keys].max()), "job_last": job_last}, "tau": tau,
                     "entries": entries})
        survivors = np.flatnonzero(keep).tolist()
        fields = {"survivors": len(survivors), "maximum": int(scores[r, survivors].max()) >> config.low_bits,
                  "job_last": job_last}
        items += [{"row": fields, "entry": {"score": int(scores[r, key]) >> config.low_bits, "key": key}}
                  for key in reversed(survivors)]
        compared += [{"valid": 1, "row_last": key == keys - 1, "visible": 1, "keep": int(keep[key]),
                      "estimate": [int(row[key])]} for key in range(keys)]
        read += [{"key": key, "slice": part} for key in survivors for part in range(config.cross_slices)]
    check(ScoredRows(config, q, k), "scorer", {"i": Offer(rows)},
          {"o": Expect(items), "compared": Expect(compared), "read": Expect(read)})


class FinishedRows(wiring.Component):
    """Finisher beside a value plane with given contents.

    Parameters
    ----------
    config
    v : int8 [max_seq_len, head_dim]
    """

    def __init__(self, config, v):
        self.config, self.v = config, v
        self.finisher = SerialFinisher(config)
        self.source = HeldRow(scored_row_layout(config), self.finisher.score.shape(), key_shape(config),
                              {"scale_mantissa": 16, "scale_shift": 6})
        super().__init__({"i": In(stream.Signature(self.source.i.payload.shape())),
                          "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.source, m.submodules.finisher = source, finisher = self.source, self.finisher
        lanes = self.config.value_lanes
        plane(m, "plane", finisher.values, signed(8), lanes, self.v.reshape(-1, lanes).tolist(), self.config)
        wiring.connect(m, wiring.flipped(self.i), source.i)
        wiring.connect(m, source.row, finisher.row)
        wiring.connect(m, finisher.o, wiring.flipped(self.o))
        m.d.comb += [
            source.index.eq(finisher.index), finisher.score.eq(source.entry),
            finisher.scale_mantissa.eq(source.held.scale_mantissa), finisher.scale_shift.eq(source.held.scale_shift),
        ]
        return m


def random_scored_row(rng: random.Random, index: int, config) -> tuple[list[int], list[int], tuple[int, int]]:
    """Return (keys, their scores, softmax scale) of a row."""
    low, high = -(1 << (config.score_bits - 1)), (1 << (config.score_bits - 1)) - (1 << config.low_bits)
    count = rng.choice([1, config.max_seq_len, rng.randint(1, config.max_seq_len)])
    # Of equal values -128 at first: the only case that reaches the limit of the output.
    keys = [index] if index < 2 else sorted(rng.sample(range(config.max_seq_len), count))
    if index % 3 == 2:
        # Each distance times the scale is a single bit, wherever it may be.
        scores = [0, *(-1 << rng.randint(config.low_bits, config.score_bits - 1) for _ in keys[1:])]
        return keys, scores, (1 << 15, rng.choice([0, rng.randint(0, 26)]))
    spread = rng.choice([1, 40, 3000, high])
    scores = [rng.choice([low, high]) if spread == high else rng.randint(-spread, spread) & -(1 << config.low_bits)
              for _ in keys]
    return keys, scores, (rng.choice([1, 1 << 15, (1 << 16) - 1, rng.getrandbits(16)]),
                          rng.choice([0, SCALE_SHIFT_MAX, rng.randint(8, 26)]))


def weighted_values(keys: list[int], scores: list[int], scale: tuple[int, int], v: np.ndarray, config
                    ) -> tuple[np.ndarray, np.ndarray]:
    """Return a row's sums of weighted values, and of weights."""
    row, keep = np.zeros((1, config.max_seq_len), np.int64), np.zeros((1, config.max_seq_len), bool)
    row[0, keys], keep[0, keys] = scores, True
    return accumulate_values(softmax_weights(row, keep, scale, config), v)


def rounding_margin(accumulated: np.ndarray, weight_sum: np.ndarray, config) -> int:
    """Return how far, of a row's quotients, the nearest to an edge of rounding lies from it."""
    mantissa, exponent = reciprocal(weight_sum, config)
    step = 1 << (RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits)
    beyond = ((accumulated << NUMERATOR_FRAC_BITS >> exponent) * mantissa + step // 2) % step
    return int(np.minimum(beyond, step - beyond).min())


def test_finisher(config, check):
    rng = random.Random(SEED)
    v = extreme_rows(config.max_seq_len, config, 127, SEED)
    rows, beats = [], []
    for index in range(120):
        # The low bits of a product count near an edge alone.
        some = [random_scored_row(rng, index, config) for _ in range(16 if index % 2 else 1)]
        keys, scores, code = min(some, key=lambda row: rounding_margin(*weighted_values(*row, v, config), config))
        codes = normalize(*weighted_values(keys, scores, code, v, config), config)[0].tolist()
        job_last = rng.getrandbits(1)
        entries = [{"score": score >> config.low_bits, "key": key} for score, key in zip(scores, keys, strict=True)]
        entries += [{"score": 0, "key": 0}] * ((1 << (config.max_seq_len - 1).bit_length()) - len(keys))
        rows.append({"row": {"survivors": len(keys), "maximum": max(scores) >> config.low_bits, "job_last": job_last},
                     "entries": entries, "scale_mantissa": code[0], "scale_shift": code[1]})
        beats += [{"data": [element], "row_last": n == config.head_dim - 1,
                   "job_last": job_last and n == config.head_dim - 1} for n, element in enumerate(codes)]
    check(FinishedRows(config, v), "finisher", {"i": Offer(rows)}, {"o": Expect(beats)})
