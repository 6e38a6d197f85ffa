"""Weighted values of a tile's rows, divided, against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Const, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.sequence_state import SUM_BYTES
from latte.golden.normalizer import normalize
from latte.golden.pruned_mass import UNIT_BITS, accumulate_virtual_survivors
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.ram import Ram
from latte.rtl.memory.tile_payloads import tile_config
from latte.rtl.memory.tile_values import TileValues
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import denominator_bits
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, output_beats
from tests.cocotb.tiles import LONE_ROW, NO_GROUPS, ONE_GROUP, THREE_ROWS, TWO_GROUPS, WHOLE, standing

stalls = pytest.mark.parametrize("stall", STALLS)
builds = pytest.mark.parametrize("build", [
    THREE_ROWS, LONE_ROW, NO_GROUPS, TWO_GROUPS, *(pytest.param(build, marks=pytest.mark.slow)
                                                   for build in (ONE_GROUP, WHOLE))],
    ids=lambda build: build.core.name)


class OutputOfTiles(wiring.Component):
    """A tile's values in front of a normaliser, beside a memory of the groups' sums of values of all tiles.

    Rows' sums are outputs, too: of their low bits the quotients show nothing.

    Parameters
    ----------
    build
    sums : int64 [tiles, tile_rows, key_groups, head_dim]
    """

    def __init__(self, build, sums):
        self.build = build
        self.sums = sums
        self.values = TileValues(build)
        members = self.values.signature.members
        self.stands = [name for name in ("rows", "compensated") if name in members]
        self.streams = [name for name in ("i", "value", "unit", "denominator") if name in members]
        given = data.StructLayout({"weight_sum": members["weight_sum"].shape, "job_last": 1})
        super().__init__({
            "tile": In(stream.Signature(data.StructLayout({name: members[name].shape for name in self.stands}))),
            **{name: members[name] for name in (*self.streams, "word_valid", "word")}, "sum_valid": Out(1),
            "sum": Out(given), "o": Out(stream.Signature(output_layout(tile_config(build))))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config, values = tile_config(self.build), self.values
        m.submodules.values = values
        m.submodules.normalizer = normalizer = Normalizer(config)
        was_busy = Signal()
        m.d.sync += was_busy.eq(values.busy)
        tile, begins = standing(m, wiring.flipped(self.tile), was_busy & ~values.busy)
        m.d.comb += [values.begin.eq(begins), *(getattr(values, name).eq(getattr(tile, name)) for name in self.stands)]
        for name in ("i", "value"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(values, name))
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        m.d.comb += values.row_room.eq(normalizer.row_room)
        m.d.comb += [getattr(normalizer, name).eq(getattr(values, name)) for name in (
            "row_reserve", "sum_valid", "weight_sum", "job_last", "word_valid", "word")]
        m.d.comb += [self.sum_valid.eq(values.sum_valid), self.sum.weight_sum.eq(values.weight_sum),
                     self.sum.job_last.eq(values.job_last), self.word_valid.eq(values.word_valid),
                     self.word.eq(values.word)]
        if config.key_groups:
            # Denominators come late, several of them together or a row's alone.
            time = Signal(7)
            m.d.sync += time.eq(time + 1)
            for name, comes in ("unit", Const(1)), ("denominator", time < 4):
                self._offer_of_tile(m, tile.compensated, begins, comes, getattr(self, name), getattr(values, name))
            _, rows, groups, _ = self.sums.shape
            words = self.sums.reshape(-1, config.value_lanes).tolist()
            m.submodules.sums = sums = Ram(data.ArrayLayout(signed(8 * SUM_BYTES), config.value_lanes), len(words),
                                           words)
            number = Signal(range(len(self.sums)), init=len(self.sums) - 1)
            with m.If(begins):
                m.d.sync += number.eq(number + 1)
                with m.If(number == len(self.sums) - 1):
                    m.d.sync += number.eq(0)
            m.d.comb += [
                sums.read_addr.eq(((number * rows + values.sums_row) * groups + values.sums_group)
                                  * config.value_slices + values.sums_slice),
                values.sums.eq(sums.read_data)]
        return m


    @staticmethod
    def _offer_of_tile(m, compensated, begins, comes, ours, theirs):
        """Connect a stream, when it comes, for as many rows as the tile has compensated ones."""
        rows, taken = Signal(range(len(compensated) + 1)), Signal()
        m.d.comb += [theirs.payload.eq(ours.payload), taken.eq(ours.valid & ours.ready)]
        with m.If(comes & (rows != sum(compensated[n] for n in range(len(compensated))))):
            m.d.comb += [theirs.valid.eq(ours.valid), ours.ready.eq(theirs.ready)]
        last = ours.payload.last if "last" in ours.payload.shape().members else 1
        with m.If(begins):
            m.d.sync += rows.eq(0)
        with m.Elif(taken & last):
            m.d.sync += rows.eq(rows + 1)


def random_items(rng: random.Random, build, rows: int, keys: int, extreme: bool, offers: dict
                 ) -> tuple[np.ndarray, np.ndarray]:
    """Add the items of a tile and their beats of V; return (weights [rows, keys], values [keys, d])."""
    config, lanes = build.core, build.bus_bytes
    most = (1 << config.weight_bits) - 1
    # Of equal values -128: the only case that reaches the limits of sums and of the output.
    v = np.array([[-128 if extreme else rng.choice([-128, 127, rng.randint(-128, 127)])
                   for _ in range(config.head_dim)] for _ in range(keys)], np.int8)
    weights = np.array([[most if extreme else rng.choice(
        [0, 0, most, rng.randint(1, most), 1 << rng.randrange(config.weight_bits)]) for _ in range(keys)]
        for _ in range(rows)])
    for row in range(rows):
        weights[row, rng.randrange(keys)] = most  # the weight of the row's largest score
    none = [key for key in range(keys) if not weights[:, key].any() and key < keys - 1]
    weights[0, none] = 1
    for key in range(keys):
        fetch, row = bool(weights[:, key].any()), np.zeros(build.tile_rows, np.int64)
        row[:rows] = weights[:, key]
        offers["i"].append({"place": rng.randrange(config.max_seq_len), "fetch": fetch, "last": key == keys - 1,
                            "weights": row.tolist()})
        if fetch:
            offers["value"] += v[key].reshape(-1, lanes).tolist()
    return weights, v


def random_return(rng: random.Random, build, row: int, group_bits: int, extreme: bool, offers: dict
                  ) -> tuple[np.ndarray, np.ndarray, int]:
    """Add what a row's pruned keys give back; return (units, sums of values [key_groups, d], denominator)."""
    config = build.core
    units, sums = [], np.zeros((config.key_groups, config.head_dim), np.int64)
    weighs = 0
    for group in range(1 << group_bits):
        keys = rng.choice([0, 1, config.max_seq_len >> group_bits, rng.randint(1, config.max_seq_len >> group_bits)])
        sums[group] = [-128 * keys if extreme else rng.choice([-128 * keys, 127 * keys, rng.randint(
            -128 * keys, 127 * keys)]) for _ in range(config.head_dim)]
        units.append(rng.choice([0, 1, (1 << UNIT_BITS) - 1, rng.getrandbits(UNIT_BITS - 4)]) if keys else 0)
        weighs += units[-1] * keys
        offers["unit"].append({"row": row, "group": group, "unit": units[-1], "last": group == (1 << group_bits) - 1})
    # As much as the virtual survivors weigh at least, or the quotient would leave the range of V.
    most = (1 << denominator_bits(config)) - 1
    denominator = min(most, (weighs >> 5) + rng.choice([0, 1, rng.getrandbits(12), most]))
    offers["denominator"].append({"row": row, "denominator": denominator})
    return np.array(units), sums, denominator


@stalls
@builds
def test_tiles(build, check):
    rng, config = random.Random(SEED), tile_config(build)
    compensates = bool(config.key_groups)
    offers = {name: [] for name in ("tile", "i", "value", *(["unit", "denominator"] if compensates else []))}
    wanted = {name: [] for name in ("o", "sum", "word")}
    all_sums = []
    many = min(300, config.max_seq_len)
    for index, keys in enumerate([1, many, 2, 40, *(rng.randint(1, 12) for _ in range(40)), *[1] * 24]):
        rows = build.tile_rows if keys == many else rng.choice([build.tile_rows, rng.randint(1, build.tile_rows)])
        extreme, bits, compensated = index < 2, rng.randint(0, config.group_bits), 0
        weights, v = random_items(rng, build, rows, keys, extreme, offers)
        tile_sums = np.array([[[rng.randint(-99, 99)] * config.head_dim] * config.key_groups] * build.tile_rows)
        for row in range(rows):
            accumulated, weight_sum = accumulate_values(weights[row:row + 1], v)
            if compensates and rng.random() < 0.6:
                compensated |= 1 << row
                units, sums, denominator = random_return(rng, build, row, bits, extreme, offers)
                tile_sums[row] = sums
                accumulated = accumulate_virtual_survivors(accumulated, units[None], sums[None, :1 << bits])
                weight_sum = weight_sum + denominator
            job_last = row == rows - 1
            wanted["sum"].append({"weight_sum": int(weight_sum[0]), "job_last": job_last})
            wanted["word"] += accumulated.reshape(-1, build.bus_bytes).tolist()
            wanted["o"] += output_beats(normalize(accumulated, weight_sum, config)[0], job_last, config)
        offers["tile"].append({"rows": rows} | ({"compensated": compensated} if compensates else {}))
        all_sums.append(tile_sums)
    check(OutputOfTiles(build, np.array(all_sums)), f"tile-values-{config.name}",
          {name: Offer(items) for name, items in offers.items()},
          {name: Expect(items) for name, items in wanted.items()})
