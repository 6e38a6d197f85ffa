"""What the wide engine and its dense baseline share in front of the filter, and behind P·V."""

import dataclasses
from typing import Protocol

from amaranth import Module, Signal, Value
from amaranth.lib import data, stream, wiring

from latte.rtl.common.core import Core
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.estimate_buffer import EstimateBuffer
from latte.rtl.wide.normalizer import Normalizer
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
            "head_invalid": self.jobs.head_invalid | self.registers.head_invalid,
            "too_long": self.jobs.too_long, "no_keys": self.jobs.no_keys,
            "entry_invalid": self.registers.entry_invalid, "groups_differ": self.jobs.groups_differ,
        }

    def increments(self) -> dict[str, Value]:
        """Return the increments of the counters that these blocks drive."""
        return {
            "cycles": self.jobs.busy, "estimator_beats": self.tiles.key_valid,
            "stall_key_load": self.jobs.waiting_for_keys, "stall_query_load": self.tiles.waiting_for_queries,
            "stall_filter": self.tiles.waiting_for_filter,
        }


def connect_front(m: Module, core: Core, storage: KeyValueStorage, *, whole_elements: bool = False) -> Front:
    """Connect the ports of `core`, register file and sequencers to `storage`; return the blocks.

    With `whole_elements` the array takes both halves of the queries.
    """
    config = core.config
    m.submodules.head_registers = registers = HeadRegisters(config)
    m.submodules.job_sequencer = jobs = JobSequencer(config)
    m.submodules.query_buffer = queries = QueryBuffer(config, whole_elements=whole_elements)
    m.submodules.tile_sequencer = tiles = TileSequencer(config, whole_elements=whole_elements)
    wiring.connect(m, wiring.flipped(core.parameter), registers.parameter)
    wiring.connect(m, wiring.flipped(core.job), jobs.job)
    wiring.connect(m, wiring.flipped(core.k), storage.k)
    wiring.connect(m, wiring.flipped(core.v), storage.v)
    wiring.connect(m, wiring.flipped(core.q), queries.q)
    wiring.connect(m, jobs.kv_load, storage.load)
    m.submodules.query_commands = commands = StreamQueue(jobs.query_load.payload.shape(), COMMAND_QUEUE_DEPTH)
    wiring.connect(m, jobs.query_load, commands.i)
    wiring.connect(m, commands.o, queries.load)
    m.submodules.compute_queue = compute = StreamQueue(jobs.compute.payload.shape(), COMMAND_QUEUE_DEPTH)
    wiring.connect(m, jobs.compute, compute.i)
    wiring.connect(m, compute.o, tiles.compute)
    wiring.connect(m, queries.o, tiles.rows)
    m.d.comb += [
        registers.look_up.eq(jobs.look_up), registers.head.eq(jobs.head), registers.index.eq(jobs.index),
        jobs.word.eq(registers.word), jobs.known.eq(registers.known), jobs.loaded.eq(storage.loaded),
    ]
    return Front(registers, jobs, queries, tiles, storage)


def connect_row_buffer(m: Module, front: Front, array_latency: int, est_valid: Value, est: data.View) -> RowScanner:
    """Buffer the array's beats until their row's maximum is known; return the scanner of complete rows."""
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
    return scanner


def connect_normalizer(m: Module, core: Core, front: Front, rows: SummedRows) -> None:
    """Divide the rows of an accumulator and send them out."""
    m.submodules.normalizer = normalizer = Normalizer(core.config)
    wiring.connect(m, normalizer.o, wiring.flipped(core.o))
    m.d.comb += [
        normalizer.row_reserve.eq(rows.row_reserve), rows.row_room.eq(normalizer.row_room),
        normalizer.sum_valid.eq(rows.sum_valid), normalizer.weight_sum.eq(rows.weight_sum),
        normalizer.job_last.eq(rows.job_last),
        normalizer.word_valid.eq(rows.word_valid), normalizer.word.eq(rows.word),
        front.jobs.release.eq(rows.release), front.jobs.release_bank.eq(rows.release_bank),
    ]


def population(bits: Value) -> Value:
    """Return the number of ones of a bit vector."""
    total = bits[0]
    for bit in bits[1:]:
        total = total + bit
    return total
