"""What jobs move, counted by hand; the model of time at its limits; memory parts."""

import dataclasses

import numpy as np
import pytest

from latte.golden.attention import HeadParameters
from latte.golden.errors import LatteError
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.cycles import Machine, TileWork, dense_tile_cycles, tile_cycles
from latte.golden.memory.dense import dense_job, dense_tile
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.golden.memory.measurement import add_up, measure_tasks
from latte.golden.memory.parts import PARTS, find_part
from latte.golden.memory.traffic import KINDS, OPERANDS, Traffic
from latte.golden.memory.workloads import Task
from latte.golden.thresholds import Threshold
from tests.golden.memory.made_up import build, rows

NONE = np.zeros((0, 0, 64), np.int8)


def decoded(of, heads, code, n=100, scale=(40000, 14)):
    """Return the outcome of a token behind ``n - 1`` random keys."""
    rng = np.random.default_rng(7)
    entries = {head: HeadParameters(Threshold.relative(code), *scale) for head in range(heads)}
    memory = CacheMemory(of, 20)
    sequence = memory.open()
    memory.reserve(sequence, n)
    k, v = rows(rng, 2, n, 64)
    carry_out(CacheJob(JobKind.APPEND, sequence, 0, NONE, k[:-1], v[:-1]), memory, entries)
    return carry_out(CacheJob(JobKind.DECODE, sequence, 0, rows(rng, heads, 1, 64), k[-1:], v[-1:]), memory, entries)


def test_a_token_by_hand():
    """100 keys in pages of 32, 4 groups, 8-byte beats: 3 full pages and 4 keys."""
    of = build(page_rows=32, key_groups=4, bus_bytes=8)
    done = decoded(of, 2, 400, scale=(40000, 13))
    rows_of = [set(trace.selection.kept.tolist()) for trace in done.rows]
    union, weighty = set.union(*rows_of), set()
    for trace in done.rows:
        weighty |= set(trace.selection.kept[trace.weight > 0].tolist())
    assert rows_of[0] & rows_of[1] and rows_of[0] != rows_of[1] and weighty < union
    sums = 4 * 64 * 3
    moved = {"state": 32 + 16 + 8 + sums, "table": 8 + 16,         # entry of the written page, then all four
             "groups": 3 * 8 + 8, "high": 100 * 32, "spilled": 0, "key_high": 32 * len(union),
             "key_low": 32 * len(union), "values": 64 * len(weighty),
             "written": 32 + 32 + 64 + 8 + 32 + 16 + 8 + sums, OPERANDS: 2 * 64 + 128 + 2 * 128}
    assert done.traffic.moved == moved
    assert done.traffic.requests["high"] == 4 and done.traffic.requests["values"] == len(weighty)
    assert done.traffic.total == sum(moved.values()) - moved[OPERANDS] and len(done.tiles) == 1


def test_rows_that_straddle_beats_count_them():
    """A row of 24 bytes on a bus of 16 touches two beats."""
    of = build(page_rows=32, bus_bytes=16, estimate_bits=3)
    done = decoded(of, 1, 30)
    kept = done.rows[0].selection.kept
    assert done.traffic.moved["high"] == 100 * 24 + 16 * (100 * 24 % 16 > 0)
    assert done.traffic.moved["key_high"] == 32 * len(kept) and done.traffic.moved["key_low"] == 48 * len(kept)


def test_groups_of_a_page_are_read_whole():
    """Of 8 groups, 12 bytes are two beats, of the last page with its four keys, too: its high rows lie behind them."""
    assert decoded(build(page_rows=32, key_groups=8, bus_bytes=8), 1, 30).traffic.moved["groups"] == 4 * 16


def test_survivors_without_weight_need_no_values():
    steep = decoded(build(), 1, 2000, scale=(65535, 6))
    weight = steep.rows[0].weight
    assert (weight == 0).sum() > 10 and steep.traffic.requests["values"] == (weight > 0).sum()


def test_spilled_candidates_are_written_and_read():
    of = build(candidates=16)
    keep_all = of.core.tau_keep_all
    kept, spilled = decoded(build(), 1, keep_all), decoded(of, 1, keep_all)
    assert spilled.rows[0].selection.spilled == (16,) * 6 and kept.traffic.moved["spilled"] == 0
    assert spilled.traffic.moved["spilled"] == 2 * (6 * 64 + 96 * 8)
    np.testing.assert_array_equal(spilled.outputs(1), kept.outputs(1))


def test_a_tile_streams_once_and_a_prefill_walks_tiles():
    rng = np.random.default_rng(8)
    of = build(page_rows=16, tile_rows=4)
    entries = {head: HeadParameters(Threshold.relative(60), 40000, 14) for head in range(6)}
    for heads, tiles in ((1, 3), (2, 5), (3, 10), (6, 20)):
        memory = CacheMemory(of, 4)
        sequence = memory.open()
        memory.reserve(sequence, 10)
        q, (k, v) = rows(rng, heads, 10, 64), rows(rng, 2, 10, 64)
        done = carry_out(CacheJob(JobKind.PREFILL, sequence, 0, q, k, v), memory, entries)
        assert len(done.tiles) == tiles
        positions = max(1, 4 // heads)
        ends = [min(10, at + positions) for at in range(0, 10, positions)]
        assert done.traffic.moved["high"] == sum(32 * end for end in ends) * tiles // len(ends)


def test_dense_moves_everything():
    of = build(page_rows=64, bus_bytes=16)
    tile = dense_tile(of, 130)
    assert tile.moved["high"] == tile.moved["key_low"] == 130 * 32 and tile.moved["values"] == 130 * 64
    assert tile.total == 130 * 128 + 16
    assert dense_job(of, [tile, tile], 1).total == 2 * tile.total + 32 + 128 + 32
    assert dense_job(of, [tile], 0).moved["written"] == 0


def task(of, n=300, heads=2):
    rng = np.random.default_rng(3)
    entries = [HeadParameters(Threshold.relative(60), 40000, 14)] * heads
    return Task("made-up", rows(rng, heads, 1, 64), *rows(rng, 2, n, 64), entries)


def test_measured_figures_are_those_of_the_outcome():
    machine = Machine(build(bus_bytes=16), find_part("arty_ddr3"))
    [(n, one)] = list(measure_tasks([task(machine.build)], machine))
    assert n == one.keys == 300 and (one.jobs, one.rows, one.pairs, one.dense_rows) == (1, 2, 600, 300)
    assert one.dense_values_per_row == 600 / one.weighty_rows and one.dense_values_per_value == 300 / one.value_rows
    assert one.value_rows <= one.weighty_rows <= one.kept and one.key_rows <= one.kept
    dense = dense_job(machine.build, [dense_tile(machine.build, 300)], 1)
    assert one.bytes_per_dense_byte == one.traffic.total / dense.total
    assert one.bytes_per_dense_byte_of_single_rows == one.bytes_per_dense_byte / 2
    both = add_up([one, one])
    assert (both.kept, both.cycles, both.traffic.total) == (2 * one.kept, 2 * one.cycles, 2 * one.traffic.total)
    assert both.bytes_per_dense_byte == one.bytes_per_dense_byte and both.most_candidates == one.most_candidates


def full(of, keys, survivors):
    """Return (traffic, work) of a tile of one row, in round numbers."""
    traffic = Traffic()
    traffic.add("high", 32 * keys, keys // 64)
    traffic.add("key_high", 32 * survivors, survivors)
    traffic.add("key_low", 32 * survivors, survivors)
    traffic.add("values", 64 * survivors, survivors)
    return traffic, TileWork(1, keys, survivors, 0)


@pytest.mark.parametrize("name", PARTS)
def test_time_is_bounded_by_each_resource(name):
    part = PARTS[name]
    machine = Machine(build(bus_bytes=part.bus_bytes), part)
    traffic, work = full(machine.build, 65536, 6000)
    cycles = tile_cycles(machine, traffic, work)
    moved = traffic.total
    assert cycles >= moved / machine.stream_rate and cycles >= work.keys + 4 * work.weighings
    assert machine.stream_rate <= part.bus_bytes
    assert machine.stream_rate <= part.bytes_per_second / (1e6 * part.core_mhz)
    # More latency, fewer requests in flight, or more to do never takes less.
    assert tile_cycles(dataclasses.replace(machine, latency=600), traffic, work) > cycles
    alone = tile_cycles(dataclasses.replace(machine, in_flight=1), traffic, work)
    assert alone >= 60 * (3 * 6000 + 65536 * 32 / machine.request_bytes)
    assert tile_cycles(machine, *full(machine.build, 65536, 7000)) > cycles > tile_cycles(
        machine, *full(machine.build, 32768, 6000))
    # Full lists are thinned beside the stream, until too many keys wait.
    once, often = (tile_cycles(machine, traffic, dataclasses.replace(work, stops=stops, rounds=1, probed=100))
                   for stops in (1, 20))
    assert once == cycles < often


def test_time_grows_with_keys_as_a_line():
    machine = Machine(build(bus_bytes=16), find_part("arty_ddr3"))
    at = {n: tile_cycles(machine, *full(machine.build, n, n // 10)) for n in (1 << 10, 1 << 13, 1 << 16)}
    slope = (at[1 << 16] - at[1 << 13]) / ((1 << 16) - (1 << 13))
    assert slope == pytest.approx((at[1 << 13] - at[1 << 10]) / ((1 << 13) - (1 << 10)), rel=0.02)
    dense = dense_tile_cycles(machine, dense_tile(machine.build, 1 << 16), 1)
    assert dense == pytest.approx((1 << 16) * 128 / machine.stream_rate, rel=0.02)


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_plausible(name):
    part = PARTS[name]
    assert part.source and part.bus_bytes in (8, 16) and 0.8 < part.stream_efficiency < 1
    assert part.burst_bytes in (16, 64) and part.row_bytes % part.burst_bytes == 0
    assert 5 < part.random_interval < 40


def test_unknown_part():
    with pytest.raises(LatteError, match="the parts are ulx3s_sdram"):
        find_part("hbm")


def test_every_kind_of_byte_is_named():
    assert OPERANDS not in KINDS and set(Traffic().moved) == {*KINDS, OPERANDS}
