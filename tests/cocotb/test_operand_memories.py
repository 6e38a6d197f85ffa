"""Queries and keys on their way in, and the memories that hold them, under the stall matrix.

What is read is compared with the rows that were written, split by the golden model.
"""

import random

import numpy as np
import pytest
from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_div
from latte.rtl.common.operand_split import SplitBeat, element_layout
from latte.rtl.common.payloads import query_load_layout
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.operand_plane import OperandPlane
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.payloads import query_row_layout, slot_shape
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.query_memory import QueryMemory
from latte.rtl.wide.query_tables import QueryTables
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, SINGLE, WIDE, extreme_rows, limits, split_elements, with_builds
from tests.cocotb.turns import count, load_rows, loaded_tiles, take_turns, turn_layout
from tests.cocotb.weighed import paused

pytestmark = [pytest.mark.parametrize("stall", STALLS)]

PLANES = WIDE.replace(name="planes", max_seq_len=10, key_lanes=4)
PLANE = SINGLE.replace(name="plane", max_seq_len=6, kv_banks=1)
TABLES = AttentionConfig(name="tables", head_dim=18, dim_lanes=18, cross_lanes=6, value_lanes=6, query_lanes=3)
NARROW_TABLES = TABLES.replace(name="narrow-tables", head_dim=8, dim_lanes=8, estimate_bits=3, query_lanes=1)
SLICES = TABLES.replace(name="slices", dim_lanes=6, pe_structure="multiplier")
WHOLE_ROWS = NARROW_TABLES.replace(name="whole-rows", pe_structure="multiplier")
QUERIES = WIDE.replace(name="queries", head_dim=20, dim_lanes=20, bus_bytes=4, cross_lanes=8, value_lanes=8)
MANY_CYCLES = WIDE.replace(name="many-cycles", dim_lanes=4, estimate_bits=3)
ONE_BEAT = WIDE.replace(name="one-beat", head_dim=4, bus_bytes=4, dim_lanes=4, cross_lanes=4, value_lanes=4,
                        query_lanes=1, query_rows=5, split="slice")
DENSE = WIDE.replace(name="whole", head_dim=8, dim_lanes=8, cross_lanes=8, value_lanes=8).dense()


def given_rows(generator: np.random.Generator, count: int, config: AttentionConfig) -> np.ndarray:
    """Return int8 rows; many of their elements lie next to the largest one that is not limited."""
    rows = extreme_rows(generator, max(2, count), config, 127)[:count]
    near = generator.random(rows.shape) < 0.2
    rows[near] = config.qk_max + generator.integers(-3, 4, np.count_nonzero(near))
    return rows


class SplitRows(wiring.Component):
    """Split beats and the plane of words that they fill.

    A beat that starts over waits for the last word before it. `alarm`: something was limited where nothing came.

    Parameters
    ----------
    config
        A word has `cross_lanes` elements; `key_lanes` rows lie side by side.
    """

    def __init__(self, config):
        self.config = config
        self.split = SplitBeat(config)
        self.plane = OperandPlane(
            element_layout(config), beat_lanes=config.bus_bytes, word_lanes=config.cross_lanes,
            head_dim=config.head_dim, row_lanes=config.key_lanes, rows=config.max_seq_len, banks=config.kv_banks)
        beat = data.StructLayout({"elements": self.split.beat.shape(), "restart": 1, "bank": 1})
        address = data.StructLayout({name: getattr(self.plane, name).shape() for name in ("bank", "group", "slice")})
        limited = data.StructLayout({"elements": self.split.limited.shape(), "saturated": 1})
        super().__init__({
            "beat": In(stream.Signature(turn_layout(beat))), "limited_valid": Out(1), "limited": Out(limited),
            "read": In(stream.Signature(turn_layout(address))), "data_valid": Out(1),
            "data": Out(self.plane.data.shape()), "alarm": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.split, m.submodules.plane = split, plane = self.split, self.plane
        beat, address, taken = self.beat.payload.item, self.read.payload.item, Signal()
        settled = delay(m, count(m, taken, "written"), 2, name="settled")
        read = take_turns(m, self.read, settled)
        reads, before = count(m, read, "reads"), delay(m, taken, 1, name="before")
        m.d.comb += taken.eq(take_turns(m, self.beat, reads, ~beat.restart | ~before))
        m.d.sync += [plane.beat.eq(split.elements), plane.beat_valid.eq(taken)]
        m.d.comb += [
            split.valid.eq(taken), split.beat.eq(beat.elements), self.alarm.eq(split.saturated & ~taken),
            self.limited_valid.eq(taken), self.limited.elements.eq(split.limited),
            self.limited.saturated.eq(split.saturated),
            plane.restart.eq(taken & beat.restart), plane.restart_bank.eq(beat.bank),
            plane.bank.eq(address.bank), plane.group.eq(address.group), plane.slice.eq(address.slice),
            self.data_valid.eq(delay(m, read, plane.latency, name="read")), self.data.eq(plane.data),
        ]
        return m


@with_builds(PLANES, slow=[PLANE])
def test_planes(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    lanes, slices, most = config.key_lanes, config.cross_slices, config.max_seq_len
    groups = ceil_div(most, lanes)
    rows = [[None] * (groups * lanes) for _ in range(config.kv_banks)]
    reads, beats, limited, words = [], [], [], []
    bank, end, passed = 0, 0, [0, 0]
    for index in range(40):
        # Sequences begin anew, in the same bank or the other one, or go on until a bank is full.
        restart = index == 0 or end == most or rng.random() < 0.4
        if restart:
            bank, end = rng.randrange(config.kv_banks), 0
        number = rng.choice([1, rng.randint(1, most - end), most - end])
        given = given_rows(generator, number, config)
        for n, beat in enumerate(given.reshape(-1, config.bus_bytes)):
            starts = restart and n == 0
            # While it does not start over, its bank means nothing.
            beats.append({"item": {"elements": beat.tolist(), "restart": starts,
                                   "bank": bank if starts else rng.getrandbits(1)}, "after": passed[bank]})
            limited.append({"elements": np.minimum(beat, config.qk_max).tolist(),
                            "saturated": bool((beat > config.qk_max).any())})
        split = split_elements(given, config)
        rows[bank][end:end + number] = split
        end += number
        for read_bank in {bank, rng.randrange(config.kv_banks)}:
            places = [(group, part) for group in range(groups) for part in range(slices)]
            for group, part in rng.sample(places, len(places)):
                reads.append({"item": {"bank": read_bank, "group": group, "slice": part}, "after": len(beats)})
                first, stop = part * config.cross_lanes, (part + 1) * config.cross_lanes
                padding = [{"high": 0, "low": 0}] * (stop - config.head_dim)
                words.append([row and row[first:stop] + padding
                              for row in rows[read_bank][group * lanes:(group + 1) * lanes]])
            passed[read_bank] = len(reads)
    check(SplitRows(config), f"plane-{config.name}", {"beat": Offer(beats), "read": Offer(reads)},
          {"limited": Expect(limited), "data": Expect(words)}, quiet=["alarm"])


class BufferedRows(wiring.Component):
    """Query buffer; rows that have left are read from its ring and retired.

    What leaves is not taken now and then for as long as it takes to fill the buffer. `limited`: 1 for each beat that
    was.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.buffer = QueryBuffer(config, whole_elements=config.engine == "dense")
        read = data.StructLayout({"slot": slot_shape(config), "slice": self.buffer.cross_slice.shape(), "retire": 1})
        super().__init__({
            "load": In(stream.Signature(query_load_layout())), "q": In(stream.Signature(self.buffer.q.payload.shape())),
            "o": Out(stream.Signature(self.buffer.o.payload.shape())), "limited_valid": Out(1), "limited": Out(1),
            "read": In(stream.Signature(turn_layout(read))), "halves_valid": Out(1),
            "halves": Out(self.buffer.cross_data.shape())})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.buffer = buffer = self.buffer
        m.submodules.taken = taken = StreamQueue(self.o.payload.shape())
        wiring.connect(m, wiring.flipped(self.load), buffer.load)
        wiring.connect(m, wiring.flipped(self.q), buffer.q)
        wiring.connect(m, taken.o, wiring.flipped(self.o))
        takes = ~paused(m, 60)
        read = take_turns(m, self.read, count(m, buffer.o.valid & buffer.o.ready, "left"))
        item = self.read.payload.item
        m.d.comb += [
            taken.i.payload.eq(buffer.o.payload), taken.i.valid.eq(buffer.o.valid & takes),
            buffer.o.ready.eq(taken.i.ready & takes),
            self.limited_valid.eq(buffer.saturated), self.limited.eq(1),
            buffer.cross_slot.eq(item.slot), buffer.cross_slice.eq(item.slice), buffer.retire.eq(read & item.retire),
            self.halves_valid.eq(delay(m, read, RAM_LATENCY, name="read")), self.halves.eq(buffer.cross_data),
        ]
        return m


@with_builds(QUERIES, slow=[MANY_CYCLES, ONE_BEAT, DENSE])
def test_query_buffer(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    whole = config.engine == "dense"
    beats = config.head_dim // config.bus_bytes
    loads, given, left, kept, limited = [], [], [], [], 0
    # Behind them such as count down through each bit, and keep nothing.
    short = [(rng.choice([0, 1, 2, rng.randint(1, 3 * config.query_rows)]), rng.random() < 0.2) for _ in range(60)]
    for number, drop in [*short, (1367, True), (683, True)]:
        loads.append({"rows": number, "drop": drop})
        rows = given_rows(generator, number, config)
        given += rows.reshape(-1, config.bus_bytes).tolist()
        limited += int((rows.reshape(-1, config.bus_bytes) > config.qk_max).any(axis=1).sum())
        if not drop:
            split = split_elements(rows, config)
            left += split if whole else [[element["high"] for element in row] for row in split]
            kept += split
    reads, halves = [], []
    for row, split in enumerate(kept):
        # Sometimes not before all places are taken, or all but the one that a row of a single beat leaves free.
        ahead = rng.choice([1, 1, 2, config.query_rows - (beats == 1)])
        parts = [0] if whole else rng.sample(range(config.cross_slices), config.cross_slices)
        for n, part in enumerate(parts):
            reads.append({"item": {"slot": row % config.query_rows, "slice": part, "retire": n == len(parts) - 1},
                          "after": min(row + ahead, len(kept))})
            first, stop = part * config.cross_lanes, (part + 1) * config.cross_lanes
            halves.append(None if whole else split[first:stop] + [{"high": 0, "low": 0}] * (stop - config.head_dim))
    check(BufferedRows(config), f"query-buffer-{config.name}",
          {"load": Offer(loads), "q": Offer(given), "read": Offer(reads)},
          {"o": Expect(left), "halves": Expect(halves), "limited": Expect([1] * limited)})


class HeldRows(wiring.Component):
    """Held query rows, which keys ask for: as tables, or, of an array with the portable dot product, as they are.

    A key says in one cycle what it asks for, and finds it two cycles later, as in the array.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.tables = config.pe_structure == "table"
        self.offset_delay = PairTableDot.offset_delay_of(config.head_dim)
        self.rows = QueryTables(config, self.offset_delay) if self.tables else QueryMemory(config)
        key = data.StructLayout({"bank": 1, "slice": range(max(2, config.dim_slices))})
        held = self.rows.entries if self.tables else self.rows.hi
        row = query_row_layout(config, signed(config.estimate_bits))
        super().__init__({
            "row": In(stream.Signature(turn_layout(row))), "key": In(stream.Signature(turn_layout(key))),
            "held_valid": Out(1), "held": Out(held.shape()), "late": Out(1),
            **({"offset_valid": Out(1), "offset": Out(self.rows.offset.shape())} if self.tables else {})})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.rows = rows = self.rows
        key, late = load_rows(m, self.row, self.key, rows.q, rows.load_cycles)
        asked = delay(m, key, 2, name="asked")
        m.d.comb += [self.late.eq(late), self.held_valid.eq(asked)]
        if self.tables:
            m.d.comb += [rows.k_valid.eq(key), rows.k_bank.eq(self.key.payload.item.bank), self.held.eq(rows.entries),
                         self.offset_valid.eq(delay(m, asked, self.offset_delay, name="summed")),
                         self.offset.eq(rows.offset)]
        else:
            m.d.sync += [rows.k_bank.eq(self.key.payload.item.bank), rows.k_slice.eq(self.key.payload.item.slice)]
            m.d.comb += self.held.eq(rows.hi)
        return m


def table_entries(row: list[int]) -> list[dict]:
    """Return half sums and half differences of a row's pairs, rounded down, and whether they were even."""
    return [{"half_sum": (a + b) // 2, "half_diff": (a - b) // 2, "even": (a + b) % 2 == 0}
            for a, b in zip(row[::2], row[1::2], strict=True)]


@with_builds(TABLES, SLICES, slow=[NARROW_TABLES, WHOLE_ROWS])
def test_held_rows(config, check):
    rng = random.Random(SEED)
    low, high = limits(config.estimate_bits)
    tables = config.pe_structure == "table"
    rows, keys, held, offsets = [], [], [], []
    for bank, lanes, before, loaded, number in loaded_tiles(rng, config, 120):
        # A row that is not loaded again means nothing.
        elements = [None] * config.query_lanes
        for lane in lanes:
            # Of equal elements alone sums reach their limits.
            some = rng.choice([[low], [high], [low, high], range(low, high + 1), range(low, high + 1)])
            elements[lane] = [rng.choice(some) for _ in range(config.head_dim)]
            rows.append({"item": {"row": lane, "bank": bank, "hi": elements[lane]}, "after": before})
        entries = [row and table_entries(row) for row in elements]
        for _ in range(number):
            part = rng.randrange(config.dim_slices)
            keys.append({"item": {"bank": bank, "slice": part}, "after": loaded})
            if tables:
                held.append(entries)
                offsets.append([row and sum(entry["half_sum"] for entry in row) for row in entries])
            else:
                held.append([row and row[part * config.dim_lanes:(part + 1) * config.dim_lanes] for row in elements])
    check(HeldRows(config), f"held-rows-{config.name}", {"row": Offer(rows), "key": Offer(keys)},
          {"held": Expect(held)} | ({"offset": Expect(offsets)} if tables else {}), quiet=["late"])
