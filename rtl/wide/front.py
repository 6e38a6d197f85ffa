"""What the wide engine and its dense baseline share in front of the filter, and behind P·V."""

import dataclasses
from typing import Protocol

from amaranth import Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring

from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.core import Core
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.estimate_buffer import EstimateBuffer
from latte.rtl.wide.gap_table import FillTables, scale_layout
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import code_slots
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.tile_sequencer import TileSequencer

__all__ = ["COMMAND_QUEUE_DEPTH", "Front", "connect_front", "connect_normalizer", "connect_row_buffer", "population"]

COMMAND_QUEUE_DEPTH = 4
"""Jobs whose keys are loaded while others compute: two banks, and what is on the way."""


class KeyValueStorage(Protocol):
    """What a front needs of the keys' and values' memories: the ports of `KeyValueLoader`."""

    load: stream.Interface
    k: stream.Interface
    v: stream.Interface
    loaded: Signal
    saturated: Signal


class SummedRows(Protocol):
    """What the normaliser needs of an accumulator: the ports of `ValueAccumulator` behind its sums."""

    row_room: Signal
    row_reserve: Signal
    sum_valid: Signal
    weight_sum: Signal
    job_last: Signal
    word_valid: Signal
    word: data.View
    release: Signal
    release_bank: Signal


@dataclasses.dataclass(frozen=True)
class Front:
    """Blocks from the ports to the tiles.

    Parameters
    ----------
    registers, jobs, queries, tiles
    storage
        Of the keys and values.
    """

    registers: HeadRegisters
    jobs: JobSequencer
    queries: QueryBuffer
    tiles: TileSequencer
    storage: KeyValueStorage

    def events(self) -> dict[str, Value]:
        """Return the events of the status bits that these blocks see."""
        return {
            "qk_saturated": self.storage.saturated | self.queries.saturated,
            "head_invalid": self.jobs.verdict.head_invalid | self.registers.head_invalid,
            "too_long": self.jobs.verdict.too_long, "no_keys": self.jobs.verdict.no_keys,
            "entry_invalid": self.registers.entry_invalid, "groups_differ": self.jobs.verdict.groups_differ,
        }

    def increments(self) -> dict[str, Value]:
        """Return the increments of the counters that these blocks drive."""
        return {
            "cycles": self.jobs.busy, "estimator_beats": self.tiles.key_valid,
            "stall_key_load": self.jobs.waiting_for_keys, "stall_query_load": self.tiles.waiting_for_queries,
            "stall_filter": self.tiles.waiting_for_filter,
        }


def connect_front(m: Module, core: Core, storage: KeyValueStorage, *, whole_elements: bool = False,
                  tables: FillTables | None = None) -> Front:
    """Connect the ports of `core`, register file and sequencers to `storage`; return the blocks.

    With `whole_elements` the array takes both halves of the queries; a build that weighs keys has `tables` to fill.
    """
    config = core.config
    m.submodules.head_registers = registers = HeadRegisters(config)
    m.submodules.job_sequencer = jobs = JobSequencer(config, slots=code_slots(config))
    m.submodules.query_buffer = queries = QueryBuffer(config, whole_elements=whole_elements)
    m.submodules.tile_sequencer = tiles = TileSequencer(config, whole_elements=whole_elements)
    wiring.connect(m, wiring.flipped(core.parameter), registers.parameter)
    wiring.connect(m, wiring.flipped(core.job), jobs.job)
    wiring.connect(m, wiring.flipped(core.k), storage.k)
    wiring.connect(m, wiring.flipped(core.v), storage.v)
    wiring.connect(m, wiring.flipped(core.q), queries.q)
    wiring.connect(m, jobs.kv_load, storage.load)
    m.submodules.query_commands = commands = StreamQueue(jobs.query_load.payload.shape(), COMMAND_QUEUE_DEPTH)
    wiring.connect(m, commands.o, queries.load)
    if tables is None:
        wiring.connect(m, jobs.query_load, commands.i)
        m.submodules.compute_queue = compute = StreamQueue(jobs.compute.payload.shape(), COMMAND_QUEUE_DEPTH)
        wiring.connect(m, jobs.compute, compute.i)
        wiring.connect(m, compute.o, tiles.compute)
    else:
        _connect_tables(m, jobs, commands.i, tables, tiles)
    wiring.connect(m, queries.o, tiles.rows)
    m.d.comb += [
        registers.look_up.eq(jobs.look_up), registers.head.eq(jobs.head), registers.index.eq(jobs.index),
        jobs.word.eq(registers.word), jobs.known.eq(registers.known), jobs.loaded.eq(storage.loaded),
        core.verdict.eq(jobs.verdict),
    ]
    return Front(registers, jobs, queries, tiles, storage)


def _connect_tables(m: Module, jobs: JobSequencer, commands: stream.Interface, tables: FillTables,
                    tiles: TileSequencer) -> None:
    """Have a job's table filled while its keys are loaded; a job computes when it has both."""
    config = tiles.config
    query_load, entry = jobs.query_load, jobs.compute.payload.entry
    m.submodules.table_jobs = scales = StreamQueue(scale_layout(), COMMAND_QUEUE_DEPTH)
    wiring.connect(m, scales.o, tables.job)
    by_mass = Const("mass" in config.threshold_kinds)
    if "mass" in config.threshold_kinds and len(config.threshold_kinds) > 1:
        by_mass = entry.kind == list(ThresholdKind).index(ThresholdKind.MASS)
    m.d.comb += [
        commands.valid.eq(query_load.valid & scales.i.ready), commands.payload.eq(query_load.payload),
        query_load.ready.eq(commands.ready & scales.i.ready),
        # A job that is not dropped, and asks something, computes.
        scales.i.valid.eq(query_load.valid & commands.ready & ~query_load.payload.drop
                          & (query_load.payload.rows != 0)),
        scales.i.payload.mantissa.eq(entry.scale_mantissa), scales.i.payload.shift.eq(entry.scale_shift),
        scales.i.payload.used.eq(by_mass | (entry.denominator_gain != 0 if config.key_groups else 0)),
    ]

    restarts = {"restart": 1} if config.key_groups else {}
    waiting = data.StructLayout({**jobs.compute.payload.shape().members, **restarts})
    m.submodules.compute_queue = compute = StreamQueue(waiting, COMMAND_QUEUE_DEPTH)
    m.d.comb += [
        compute.i.valid.eq(jobs.compute.valid), jobs.compute.ready.eq(compute.i.ready),
        tiles.compute.valid.eq(compute.o.valid & tables.table.valid),
        compute.o.ready.eq(tiles.compute.ready & tables.table.valid),
        tables.table.ready.eq(tiles.compute.ready & compute.o.valid),
        tiles.compute.payload.table.eq(tables.table.payload),
    ]
    m.d.comb += [compute.i.payload[name].eq(value) for name, value in _fields(jobs.compute.payload)]
    m.d.comb += [tiles.compute.payload[name].eq(value) for name, value in _fields(compute.o.payload)]
    if config.key_groups:
        # Keys of a new sequence were loaded since a job computed.
        load, restart = jobs.kv_load, Signal()
        m.d.comb += compute.i.payload.restart.eq(restart)
        with m.If(load.valid & load.ready & (load.payload.start == 0) & ~load.payload.drop):
            m.d.sync += restart.eq(1)
        with m.Elif(jobs.compute.valid & jobs.compute.ready):
            m.d.sync += restart.eq(0)


def _fields(view: data.View) -> list[tuple[str, Value]]:
    """Return the names and values of a struct's fields."""
    return [(name, view[name]) for name in view.shape().members]


def connect_row_buffer(m: Module, front: Front, array_latency: int, est_valid: Value, est: data.View,
                       groups: data.View | None = None) -> RowScanner:
    """Buffer the array's beats until their row's maximum is known; return the scanner of complete rows.

    In a build with several key groups, `groups` are those of a beat's keys.
    """
    # A tile is announced with the address of its first keys.
    assert RAM_LATENCY + array_latency >= EstimateBuffer.announcement, "estimates overtake the tile they belong to"
    config = front.tiles.config
    m.submodules.estimate_buffer = estimates = EstimateBuffer(config)
    m.submodules.row_scanner = scanner = RowScanner(config)
    wiring.connect(m, front.tiles.tile, estimates.tile)
    wiring.connect(m, estimates.scan, scanner.scan)
    m.d.comb += [
        estimates.est_valid.eq(est_valid), estimates.est.eq(est),
        estimates.read_index.eq(scanner.read_index), estimates.read_row.eq(scanner.read_row),
        scanner.read_data.eq(estimates.read_data),
    ]
    if config.group_bits:
        m.d.comb += [estimates.groups.eq(groups), scanner.read_groups.eq(estimates.read_groups)]
    if config.code_octaves:
        m.d.comb += [scanner.code_valid.eq(front.jobs.code_valid), scanner.code.eq(front.jobs.code)]
    return scanner


def connect_normalizer(m: Module, core: Core, front: Front, rows: SummedRows) -> Normalizer:
    """Divide the rows of an accumulator and send them out; return what divides."""
    m.submodules.normalizer = normalizer = Normalizer(core.config)
    wiring.connect(m, normalizer.o, wiring.flipped(core.o))
    m.d.comb += [
        normalizer.row_reserve.eq(rows.row_reserve), rows.row_room.eq(normalizer.row_room),
        normalizer.sum_valid.eq(rows.sum_valid), normalizer.weight_sum.eq(rows.weight_sum),
        normalizer.job_last.eq(rows.job_last),
        normalizer.word_valid.eq(rows.word_valid), normalizer.word.eq(rows.word),
        front.jobs.release.eq(rows.release), front.jobs.release_bank.eq(rows.release_bank),
    ]
    return normalizer


def population(bits: Value) -> Value:
    """Return the number of ones of a bit vector."""
    total = bits[0]
    for bit in bits[1:]:
        total = total + bit
    return total
