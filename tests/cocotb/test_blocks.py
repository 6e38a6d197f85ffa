"""Single blocks against the golden model, in small builds, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.compensation import compensate_scores
from latte.golden.config import AttentionConfig
from latte.golden.normalizer import normalize
from latte.golden.quantizer import QK_MAX, SCALE_SHIFT_MAX
from latte.golden.score_estimator import estimate_scores
from latte.golden.softmax import softmax_weights
from latte.golden.split import split_halves
from latte.golden.threshold_filter import row_maximum, threshold_filter
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.common.word_packer import WordPacker
from latte.rtl.wide.compensation_unit import CompensationUnit
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import row_layout, score_layout, survivor_layout, tile_layout, weight_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.sim.block_testbench import Expect, Offer, run_block
from latte.sim.stalls import STALLS

WIDE = AttentionConfig(
    name="wide", head_dim=16, max_seq_len=32, heads=5, query_lanes=2, key_lanes=2, dim_lanes=16, compensation_lanes=6,
    value_lanes=6, normalizer_lanes=2, bus_bytes=2, query_rows=10, survivor_fifo_depth=16, pe_structure="multiplier")
SINGLE = WIDE.replace(
    name="single", query_lanes=1, key_lanes=1, compensation_lanes=16, value_lanes=16, normalizer_lanes=1, bus_bytes=1,
    split="slice", weight_bits=8, exp_frac_bits=6, reciprocal_bits=6, fraction_bits=4)
CONFIGS = {config.name: config for config in (WIDE, SINGLE)}
SEED = 11

pytestmark = [pytest.mark.parametrize("stall", STALLS)]
both_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
wide_config = pytest.mark.parametrize("config", [WIDE], ids=["wide"])


@pytest.fixture
def check(stall, tmp_path, build_folder):
    """Return a function that runs a block and fails with what is wrong."""
    def run(component, name, inputs, outputs, **settings):
        problems = run_block(component, f"block-{name}", tmp_path / "run", inputs, outputs, stall=stall, seed=SEED,
                             build_folder=build_folder, **settings)
        assert not problems, "\n".join(problems)
    return run


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


# ---------------------------------------------------------------------------------------------------------- queues

@pytest.mark.parametrize("depth", [5])
def test_stream_queue(depth, check):
    rng = random.Random(SEED)
    items = [rng.getrandbits(9) for _ in range(200)]
    check(StreamQueue(9, depth), f"queue{depth}", {"i": Offer(items)}, {"o": Expect(items)})


@both_configs
def test_survivor_queue(config, check):
    rng = random.Random(SEED)
    pairs = config.pairs_per_cycle
    groups, survivors = [], []
    for index in range(150):
        keep = rng.choice([1, 1 << (pairs - 1), (1 << pairs) - 1, rng.randrange(1, 1 << pairs)])
        group = {"keep": keep, "estimate": [of_signed(rng, config.est_bits) for _ in range(pairs)],
                 "key": rng.randrange(config.max_seq_len // pairs) * pairs, "slot": rng.randrange(config.query_rows),
                 "bank": rng.getrandbits(1), "row_last": index % 3 == 2}
        groups.append(group)
        kept = [n for n in range(pairs) if keep >> n & 1]
        survivors += [{"estimate": group["estimate"][n], "key": group["key"] + n, "slot": group["slot"],
                       "bank": group["bank"], "row_last": group["row_last"] and n == kept[-1]} for n in kept]
    check(SurvivorQueue(config), f"survivors-{config.name}",
          {"i": Offer(groups, "room", SurvivorQueue.producer_latency)},
          {"o": Expect(survivors)}, quiet=["overflow"])


@pytest.mark.parametrize(("beat", "word", "row"), [(2, 6, 16), (4, 4, 16)])
def test_word_packer(beat, word, row, check):
    rng = random.Random(SEED)
    rows = [[of_signed(rng, 8) for _ in range(row)] for _ in range(20)]
    beats = [elements[start:start + beat] for elements in rows for start in range(0, row, beat)]
    words = [{"elements": [*elements[start:start + word], *[0] * (start + word - row)], "row_last": start + word >= row}
             for elements in rows for start in range(0, row, word)]
    check(PackedWords(WordPacker(signed(8), beat, word, row)), f"packer-{beat}-{word}-{row}", {"i": Offer(beats)},
          {"o": Expect(words)})


class PackedWords(wiring.Component):
    """A word packer whose word and end-of-row flag are one value.

    Parameters
    ----------
    packer
    """

    def __init__(self, packer):
        self.packer = packer
        word = data.StructLayout({"elements": packer.word.shape(), "row_last": 1})
        super().__init__({"i_valid": In(1), "i": In(packer.beat.shape()), "o_valid": Out(1), "o": Out(word)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.packer = packer = self.packer
        m.d.comb += [packer.beat_valid.eq(self.i_valid), packer.beat.eq(self.i), self.o_valid.eq(packer.word_valid),
                     self.o.elements.eq(packer.word), self.o.row_last.eq(packer.row_last)]
        return m


# ---------------------------------------------------------------------------------------------------------- filter

@wide_config
def test_threshold_filter(config, check):
    rng = random.Random(SEED)
    pairs, (low, high) = config.pairs_per_cycle, limits(config.est_bits)
    scanned, kept_groups = [], []
    for length in row_lengths(config, rng, 30):
        padded = -(-length // pairs) * pairs
        spread = rng.choice([0, 3, 200])
        centre = rng.choice([low, 0, high])
        estimates = np.array([[min(high, max(low, centre + rng.randint(-spread, spread))) for _ in range(padded)]])
        estimates[0, length:] = high  # beyond the row: must not survive
        visible = np.arange(padded)[None] < length
        tau = rng.choice([1, 1, 2, config.tau_keep_all, rng.randint(1, 2 * spread + 1)])
        keep = threshold_filter(estimates, visible, tau)[0]
        common = {"slot": rng.randrange(config.query_rows), "bank": rng.getrandbits(1)}
        last = np.flatnonzero(keep)[-1] // pairs
        for group in range(padded // pairs):
            part = slice(group * pairs, (group + 1) * pairs)
            seen = {"estimate": estimates[0, part].tolist(), "key": group * pairs, **common}
            scanned.append({**seen, "visible": bits(visible[0, part]), "tau": tau, "row_last": part.stop == padded,
                            "row_max": int(row_maximum(estimates, visible)[0])})
            if keep[part].any():
                kept_groups.append({**seen, "keep": bits(keep[part]), "row_last": group == last})
    check(ThresholdFilter(config), f"filter-{config.name}", {"i": Offer(scanned)}, {"o": Expect(kept_groups)})


def bits(flags: np.ndarray) -> int:
    """Return flags as an integer, the first in the low bit."""
    return sum(1 << n for n, flag in enumerate(flags) if flag)


class ScannedTiles(wiring.Component):
    """Estimate buffer and row scanner; beats of estimates wait for the announcement of their tile.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.buffer = EstimateBuffer(config)
        beat = data.StructLayout({"est": self.buffer.est.shape(), "tile_last": 1})
        super().__init__({"tile": In(stream.Signature(tile_layout(config))), "beat": In(stream.Signature(beat)),
                          "room": In(1), "row_valid": Out(1), "row": Out(row_layout(config)),
                          "o_valid": Out(1), "o": Out(scanned_layout(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.buffer = buffer = self.buffer
        m.submodules.scanner = scanner = RowScanner(self.config)
        wiring.connect(m, wiring.flipped(self.tile), buffer.tile)
        wiring.connect(m, buffer.scan, scanner.scan)
        announced, begun = Signal(range(TILE_BUFFERS + 1)), self.tile.valid & self.tile.ready
        ended = self.beat.valid & self.beat.ready & self.beat.payload.tile_last
        m.d.sync += announced.eq(announced + delay(m, begun, 2, name="begun") - ended)
        m.d.comb += [
            self.beat.ready.eq(announced != 0), buffer.est_valid.eq(self.beat.valid & self.beat.ready),
            buffer.est.eq(self.beat.payload.est), buffer.read_index.eq(scanner.read_index),
            buffer.read_row.eq(scanner.read_row), scanner.read_data.eq(buffer.read_data), scanner.room.eq(self.room),
            self.row_valid.eq(scanner.row_valid), self.row.eq(scanner.row), self.o_valid.eq(scanner.o_valid),
            self.o.eq(scanner.o),
        ]
        return m


@wide_config
def test_estimate_buffer_and_scanner(config, check):
    rng = random.Random(SEED)
    lanes, pairs, low = config.key_lanes, config.pairs_per_cycle, limits(config.est_bits)[0]
    tiles, beats, rows, groups = [], [], [], []
    for last_keys in row_lengths(config, rng, 20):
        count = rng.randint(1, min(config.query_lanes, last_keys))
        causal, bank, job_last = (rng.getrandbits(1) for _ in range(3))
        first_keys, slot = last_keys - (count - 1) * causal, rng.randrange(config.query_rows)
        entry = {"tau": rng.randint(1, config.tau_keep_all), "scale_mantissa": rng.getrandbits(16),
                 "scale_shift": rng.getrandbits(6)}
        tiles.append({"entry": entry, "rows": count, "first_keys": first_keys, "last_keys": last_keys,
                      "causal": causal, "bank": bank, "slot": slot, "job_last": job_last})
        padded = -(-last_keys // pairs) * pairs
        estimates = np.array([[of_signed(rng, config.est_bits) for _ in range(padded)]
                              for _ in range(config.query_lanes)])
        if rng.getrandbits(1):
            estimates[:, :first_keys] = low  # the row's maximum is then the least estimate there is
        visible = np.arange(padded) < (first_keys + causal * np.arange(config.query_lanes))[:, None]
        maxima = row_maximum(estimates, visible)
        beats += [{"est": estimates[:, key:key + lanes].tolist(), "tile_last": key + lanes >= last_keys}
                  for key in range(0, last_keys, lanes)]
        for r in range(count):
            rows.append({"scale_mantissa": entry["scale_mantissa"], "scale_shift": entry["scale_shift"], "bank": bank,
                         "job_last": job_last and r == count - 1})
            keys = int(visible[r].sum())
            groups += [{"estimate": [int(estimates[r, key + n]) if key + n < keys else None for n in range(pairs)],
                        "visible": bits(visible[r, key:key + pairs]), "row_max": maxima[r], "tau": entry["tau"],
                        "key": key, "slot": (slot + r) % config.query_rows, "bank": bank,
                        "row_last": key + pairs >= keys} for key in range(0, keys, pairs)]
    check(ScannedTiles(config), f"scanner-{config.name}", {"tile": Offer(tiles), "beat": Offer(beats)},
          {"row": Expect(rows), "o": Expect(groups, "room", RowScanner.latency)})


# --------------------------------------------------------------------------------------------------------- softmax

class ScoresToWeights(wiring.Component):
    """Score queue and softmax.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"i_valid": In(1), "i": In(score_layout(config)), "room": Out(1), "overflow": Out(1),
                          "row": In(stream.Signature(row_layout(config))),
                          "o": Out(stream.Signature(weight_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.scores = scores = ScoreQueue(self.config)
        m.submodules.softmax = softmax = Softmax(self.config)
        wiring.connect(m, softmax.i, scores.o)
        wiring.connect(m, softmax.row_max, scores.row_max)
        wiring.connect(m, wiring.flipped(self.row), softmax.row)
        wiring.connect(m, wiring.flipped(self.o), softmax.o)
        m.d.comb += [scores.i_valid.eq(self.i_valid), scores.i.eq(self.i), self.room.eq(scores.room),
                     self.overflow.eq(scores.overflow)]
        return m


@wide_config
def test_softmax(config, check):
    rng = random.Random(SEED)
    low, high = limits(config.score_bits)
    scores, rows, weights = [], [], []
    for length in [*row_lengths(config, rng, 20), *[1] * 200]:
        spread = rng.choice([0, 40, 3000, high])
        row = [rng.choice([low, high]) if spread == high else rng.randint(-spread, spread) for _ in range(length)]
        code = (rng.choice([1, 1 << 15, (1 << 16) - 1, rng.getrandbits(16)]),
                rng.choice([0, SCALE_SHIFT_MAX, rng.randint(8, 26)]))
        expected = softmax_weights(np.array([row]), np.ones((1, length), bool), code, config)[0]
        rows.append({"scale_mantissa": code[0], "scale_shift": code[1], "bank": rng.getrandbits(1),
                     "job_last": rng.getrandbits(1)})
        for n, score in enumerate(row):
            place = {"key": rng.randrange(config.max_seq_len), "row_last": n == length - 1}
            scores.append({"score": score, **place})
            weights.append({"weight": expected[n], "bank": rows[-1]["bank"], **place,
                            "job_last": rows[-1]["job_last"] and place["row_last"]})
    check(ScoresToWeights(config), f"softmax-{config.name}",
          {"i": Offer(scores, "room", CompensationUnit.latency_of(config)), "row": Offer(rows)}, {"o": Expect(weights)},
          quiet=["overflow"])


# ---------------------------------------------------------------------------------------------- compensation, values

class ScoresFromMemory(wiring.Component):
    """Compensation unit between a query ring and a key plane with given contents.

    Parameters
    ----------
    config
    q, k : int8 [query_rows, head_dim], [max_seq_len, head_dim]
    """

    def __init__(self, config, q, k):
        self.config = config
        self.rows = (q, k)
        super().__init__({"i": In(stream.Signature(survivor_layout(config))), "room": In(1), "retire": Out(1),
                          "o_valid": Out(1), "o": Out(score_layout(config))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.unit = unit = CompensationUnit(config)
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        m.d.comb += [unit.room.eq(self.room), self.retire.eq(unit.retire), self.o_valid.eq(unit.o_valid),
                     self.o.eq(unit.o)]
        slices, lanes = config.compensation_slices, config.compensation_lanes
        for name, rows, index, port in zip(("ring", "plane"), self.rows, (unit.slot, unit.key), (unit.query, unit.keys),
                                           strict=True):
            high, low = split_halves(padded_words(rows, lanes), config.split)
            words = [[{"high": int(h), "low": int(w)} for h, w in zip(*pair, strict=True)]
                     for pair in zip(high, low, strict=True)]
            shape = data.ArrayLayout(element_layout(config.split), lanes)
            m.submodules[name] = ram = Ram(shape, len(words), words)
            m.d.comb += [ram.read_addr.eq(index * slices + unit.slice), port.eq(ram.read_data)]
        return m


def padded_words(rows: np.ndarray, lanes: int) -> np.ndarray:
    """Return rows [n, d] as words [n * slices, lanes]; what a row does not fill is 0."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % lanes))).reshape(-1, lanes)


def extreme_rows(generator: np.random.Generator, count: int, config: AttentionConfig, high: int) -> np.ndarray:
    """Return int8 rows, the first two of them at the limits."""
    rows = generator.integers(-128, high + 1, (count, config.head_dim))
    rows[0], rows[1] = -128, high
    return rows.astype(np.int8)


@wide_config
def test_compensation_unit(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    q, k = (extreme_rows(generator, count, config, QK_MAX) for count in (config.query_rows, config.max_seq_len))
    halves = split_halves(q, config.split), split_halves(k, config.split)
    estimates = estimate_scores(halves[0][0], halves[1][0])
    expected = compensate_scores(estimates, *halves)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), *(
        (rng.randrange(config.query_rows), rng.randrange(config.max_seq_len)) for _ in range(200))]
    survivors = [{"estimate": int(estimates[slot, key]), "key": key, "slot": slot, "row_last": rng.getrandbits(1)}
                 for slot, key in pairs]
    scores = [{"score": expected[slot, key], "key": key, "row_last": survivor["row_last"]}
              for (slot, key), survivor in zip(pairs, survivors, strict=True)]
    check(ScoresFromMemory(config, q, k), f"compensation-{config.name}", {"i": Offer(survivors)},
          {"o": Expect(scores, "room", CompensationUnit.latency_of(config))})


class OutputFromMemory(wiring.Component):
    """Value accumulator in front of a value plane with given contents, and normaliser.

    Parameters
    ----------
    config
    v : int8 [max_seq_len, head_dim]
    """

    def __init__(self, config, v):
        self.config = config
        self.v = v
        super().__init__({"i": In(stream.Signature(weight_layout(config))),
                          "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.accumulator = accumulator = ValueAccumulator(config)
        m.submodules.normalizer = normalizer = Normalizer(config)
        wiring.connect(m, wiring.flipped(self.i), accumulator.i)
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        m.d.comb += [getattr(normalizer, name).eq(getattr(accumulator, name)) for name in (
            "row_reserve", "sum_valid", "weight_sum", "job_last", "word_valid", "word")]
        words = padded_words(self.v, config.value_lanes).tolist()
        m.submodules.plane = plane = Ram(data.ArrayLayout(signed(8), config.value_lanes), len(words), words)
        m.d.comb += [
            accumulator.row_room.eq(normalizer.row_room), accumulator.values.eq(plane.read_data),
            plane.read_addr.eq(accumulator.key * config.value_slices + accumulator.slice),
        ]
        return m


@wide_config
def test_values_to_output(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    v = extreme_rows(generator, config.max_seq_len, config, 127)
    most = (1 << config.weight_bits) - 1
    items, outputs = [], []
    for index, length in enumerate(row_lengths(config, rng, 20)):
        # Of equal values -128 at first: the only case that reaches the limit of the output.
        keys = [index] if index < 2 else sorted(rng.sample(range(config.max_seq_len), length))
        row = np.zeros((1, config.max_seq_len), np.int64)
        row[0, keys] = [rng.choice([0, most, rng.randint(0, most)]) for _ in keys]
        row[0, rng.choice(keys)] = most  # the weight of the row's largest score
        job_last = rng.getrandbits(1)
        items += [{"weight": int(row[0, key]), "key": key, "row_last": key == keys[-1],
                   "job_last": job_last and key == keys[-1]} for key in keys]
        outputs += output_beats(normalize(*accumulate_values(row, v), config)[0], job_last, config)
    check(OutputFromMemory(config, v), f"values-{config.name}", {"i": Offer(items)}, {"o": Expect(outputs)})


def output_beats(row: np.ndarray, job_last: int, config: AttentionConfig) -> list[dict]:
    """Return the beats of an output row."""
    lanes = config.normalizer_lanes
    return [{"data": row[start:start + lanes].tolist(), "row_last": start + lanes == config.head_dim,
             "job_last": job_last and start + lanes == config.head_dim} for start in range(0, config.head_dim, lanes)]


class NormalizedRows(wiring.Component):
    """Normaliser whose rows, sum and words, come as one item of a stream.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        words = data.ArrayLayout(data.ArrayLayout(signed(config.acc_bits), config.value_lanes), config.value_slices)
        row = data.StructLayout({"weight_sum": config.sum_bits, "job_last": 1, "words": words})
        super().__init__({"i": In(stream.Signature(row)), "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        slices = self.config.value_slices
        m.submodules.normalizer = normalizer = Normalizer(self.config)
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        row, left, starts = self.i.payload, Signal(range(slices + 1)), Signal()
        words = Signal.like(row.words)
        m.d.comb += [
            starts.eq(self.i.valid & normalizer.row_room & (left == 0)), self.i.ready.eq(starts),
            normalizer.row_reserve.eq(starts), normalizer.sum_valid.eq(starts),
            normalizer.weight_sum.eq(row.weight_sum), normalizer.job_last.eq(row.job_last),
            normalizer.word_valid.eq(left != 0), normalizer.word.eq(words[0]),
        ]
        with m.If(starts):
            m.d.sync += [left.eq(slices), words.eq(row.words)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [words[n].eq(words[n + 1]) for n in range(slices - 1)]
        return m


@wide_config
def test_normalizer(config, check):
    generator = np.random.default_rng(SEED)
    least = (1 << config.weight_bits) - 1
    corners = [least, least + 1, least + 2, 2 * least, 2 * least + 1, 4 * least + 3, 4 * least + 4,
               least * config.max_seq_len]
    sums = np.array([*corners, *generator.integers(least, least * config.max_seq_len + 1, 30)])
    low, high = -128 * sums[:, None], 127 * sums[:, None]
    accumulated = generator.integers(low, high + 1, (len(sums), config.head_dim))
    accumulated[:, :5] = np.concatenate([low, high, 0 * low, 0 * low - 1, low + 1], axis=1)
    job_last = generator.integers(0, 2, len(sums))
    rows = [{"weight_sum": int(total), "job_last": int(last),
             "words": padded_words(row[None], config.value_lanes).tolist()}
            for total, last, row in zip(sums, job_last, accumulated, strict=True)]
    beats = [beat for row, last in zip(normalize(accumulated, sums, config), job_last, strict=True)
             for beat in output_beats(row, int(last), config)]
    check(NormalizedRows(config), f"normalizer-{config.name}", {"i": Offer(rows)}, {"o": Expect(beats)})
