"""What a tile reads of a sequence, of any page table, against the golden format of a page, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.page_format import PageFormat
from latte.rtl.memory.tile_payloads import chunk_lanes
from latte.rtl.memory.tile_reader import ReadCommand, TileReader
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.addressed import AddressedMemory, bytes_of, missing_behind, response_of
from tests.cocotb.blocks import SEED, WIDE
from tests.cocotb.cached import master
from tests.cocotb.test_piece_bursts import bursts_of

stalls = pytest.mark.parametrize("stall", STALLS)

_CORE = WIDE.replace(key_groups=4, max_seq_len=1000, head_dim=32, dim_lanes=32)
BUILD = MemoryBuild(core=_CORE.replace(name="four-bits"), page_rows=16, bus_bytes=8, tile_rows=3, candidates=32)
ODD = MemoryBuild(core=_CORE.replace(name="three-bits", key_groups=8, estimate_bits=3, head_dim=24, dim_lanes=24),
                  page_rows=32, bus_bytes=8, tile_rows=2, candidates=32)
LEAN = MemoryBuild(core=_CORE.replace(name="lean", key_groups=0, split="slice"), page_rows=64, bus_bytes=16,
                   tile_rows=1, candidates=32)
BEGIN, READ, END = range(3)
QUIET = 100
"""Cycles in which nothing moves, after which nothing is under way."""


class ReaderBench(wiring.Component):
    """A reader and an addressed memory, and steps: a begin, commands, an end with what is then known of errors.

    Parameters
    ----------
    build
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        self.reader = reader = TileReader(build, master(build))
        members = reader.signature.members
        step = data.StructLayout({"what": 2, "first_page": 64, "spill_address": 64,
                                  "command": members["command"].signature.members["payload"].shape})
        recalled = data.StructLayout({"row": members["recalled_row"].shape, "beat": members["recalled_beat"].shape})
        super().__init__({
            "steps": In(stream.Signature(step)), "asked": In(stream.Signature(1)), "given": In(stream.Signature(1)),
            "chunk": members["chunk"], "value": members["value"], "recalled": Out(recalled), "recalled_valid": Out(1),
            "errors": Out(data.StructLayout({"unmapped": 1, "memory_error": 1})), "errors_valid": Out(1),
            "overflow": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.reader, m.submodules.memory = reader, memory = self.reader, AddressedMemory(master(self.build))
        for ours, theirs in ((self.asked, memory.asked), (self.given, memory.given), (self.chunk, reader.chunk),
                             (self.value, reader.value)):
            wiring.connect(m, wiring.flipped(ours), theirs)
        wiring.connect(m, reader.request, memory.request)
        step, waits, quiet = self.steps.payload, Signal(), Signal(range(QUIET + 1))
        reads = self.steps.valid & (step.what == READ) & ~waits
        m.d.comb += [
            reader.taken.eq(memory.taken), reader.data.eq(memory.data), reader.fault.eq(memory.fault),
            self.recalled.row.eq(reader.recalled_row), self.recalled.beat.eq(reader.recalled_beat),
            self.recalled_valid.eq(reader.recalled_valid), self.overflow.eq(reader.overflow),
            self.errors.unmapped.eq(reader.unmapped), self.errors.memory_error.eq(reader.memory_error),
            reader.command.valid.eq(reads), reader.command.payload.eq(step.command),
            reader.restart.eq(self.steps.valid & (step.what == BEGIN)),
            self.errors_valid.eq(self.steps.valid & (step.what == END) & (quiet == QUIET)),
            self.steps.ready.eq(reader.restart | (reads & reader.command.ready) | self.errors_valid),
        ]
        with m.If(reader.restart):
            m.d.sync += [reader.first_page.eq(step.first_page), reader.spill_address.eq(step.spill_address)]
        # What is in a table is not asked for before it is there.
        with m.If(reads & reader.command.ready & (step.command.command == ReadCommand.TABLE)):
            m.d.sync += waits.eq(1)
        with m.Elif(waits & reader.table_read):
            m.d.sync += waits.eq(0)
        moves = Cat(memory.request.valid, ~memory.idle, memory.taken, reader.chunk.valid, reader.value.valid,
                    reader.recalled_valid, reads)
        with m.If(moves.any()):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != QUIET):
            m.d.sync += quiet.eq(quiet + 1)
        return m


class Sequence:
    """What is read of sequences, one after the other, and what comes of it.

    Parameters
    ----------
    build
    rng
    """

    def __init__(self, build: MemoryBuild, rng: random.Random) -> None:
        self.build, self.form, self.rng = build, PageFormat(build), rng
        self.steps: list[dict] = []
        self.wanted = {name: [] for name in ("chunk", "value", "recalled", "errors")}
        self.bursts = self.beats = 0

    def begin(self, keys: int) -> None:
        """Read the page table of a sequence."""
        rng, beat = self.rng, self.build.bus_bytes
        self.first_page, self.spill, table = (rng.getrandbits(64) & ~(beat - 1) for _ in range(3))
        if rng.getrandbits(1):
            # Some entry of the table is the first of those that are missing.
            table = missing_behind(table) - beat * rng.randrange(ceil_div(keys, self.build.page_rows) + 1)
        self.steps.append({"what": BEGIN, "first_page": self.first_page, "spill_address": self.spill})
        self.keys, self.fails = keys, False
        pages = ceil_div(keys, self.build.page_rows)
        self._read(ReadCommand.TABLE, table, ENTRY_BYTES * pages, address=table, keys=keys)
        self.table = bytes_of(table, ENTRY_BYTES * pages).view("<u4")

    def stream(self) -> None:
        """Read groups and high planes of all pages, the last one first."""
        build, form = self.build, self.form
        pages = len(self.table)
        groups = build.padded(form.groups_bytes)
        for n, page in enumerate([pages - 1, *range(pages - 1)]):
            rows = (self.keys - 1) % build.page_rows + 1 if page == pages - 1 else build.page_rows
            first = self._page(page) + form.groups_offset
            size = groups + rows * form.high_bytes
            if n == 0:
                self._read(ReadCommand.STREAM, first, size, keys=self.keys)
            else:
                self._traffic(first, size)
            read = bytes_of(first, size)
            numbers = form.group_numbers(read[:form.groups_bytes], rows)
            for row, group in zip(read[groups:].reshape(rows, -1), numbers, strict=True):
                self._chunks(form.high_parts(row[None])[0], low=0, group=int(group))

    def key(self) -> None:
        """Read the parts of any key."""
        form, place = self.form, self.rng.randrange(self.keys)
        page, row = divmod(place, self.build.page_rows)
        high = self._page(page) + form.high_offset + row * form.high_bytes
        low = self._page(page) + form.low_offset + row * form.low_bytes
        self._read(ReadCommand.KEY, high, form.high_bytes, place=place)
        self._traffic(low, form.low_bytes)
        self._chunks(form.high_parts(bytes_of(high, form.high_bytes)[None])[0], low=0)
        self._chunks(form.low_parts(bytes_of(low, form.low_bytes)[None])[0], low=1)

    def value(self) -> None:
        """Read the value of any key."""
        place = self.rng.randrange(self.keys)
        page, row = divmod(place, self.build.page_rows)
        address = self._page(page) + row * self.form.value_bytes
        self._read(ReadCommand.VALUE, address, self.form.value_bytes, place=place)
        self.wanted["value"] += bytes_of(address, self.form.value_bytes).view(np.int8).reshape(
            -1, self.build.bus_bytes).tolist()

    def recall(self) -> None:
        """Read some of what any row has spilled."""
        layout, beat = TileReader(self.build, master(self.build)).signature.members, self.build.bus_bytes
        fields = layout["command"].signature.members["payload"].shape
        beats = self.rng.randint(1, fields["beats"].shape.stop - 1)
        offset = self.rng.randrange(0, fields["offset"].shape.stop, beat)
        row = self.rng.randrange(self.build.tile_rows)
        address = self.spill + offset
        self._read(ReadCommand.RECALL, address, beats * beat, offset=offset, beats=beats, row=row)
        read = bytes_of(address, beats * beat).reshape(-1, beat)
        self.wanted["recalled"] += [{"row": row, "beat": int.from_bytes(one.tobytes(), "little")} for one in read]

    def end(self) -> None:
        """Ask for the errors that were met."""
        self.steps.append({"what": END})
        self.wanted["errors"].append({"unmapped": bool((self.table == 0).any()), "memory_error": self.fails})

    def _page(self, page: int) -> int:
        entry = (int(self.table[page]) - 1) % (1 << 32)
        return (self.first_page + entry * self.form.page_bytes) % (1 << 64)

    def _read(self, command: ReadCommand, begin: int, size: int, **fields: int) -> None:
        self.steps.append({"what": READ, "command": {"command": command, **fields}})
        self._traffic(begin, size)

    def _traffic(self, address: int, size: int) -> None:
        """Count bursts and beats of a piece, and note whether one has an error."""
        beat = self.build.bus_bytes
        first = address // beat * beat
        beats = (address + size - 1) // beat - first // beat + 1
        self.beats += beats
        self.bursts += len(bursts_of({"address": first % (1 << 64), "beats": beats}, master(self.build)))
        self.fails |= any(response_of((first + n) % (1 << 64)) for n in range(0, beats * beat, 8))

    def _chunks(self, elements: np.ndarray, low: int, group: int | None = None) -> None:
        lanes = chunk_lanes(self.build)
        chunks = elements.reshape(-1, lanes).tolist()
        for n, chunk in enumerate(chunks):
            last = n == len(chunks) - 1
            grouped = {"group": group} if last and group is not None and self.build.core.group_bits else {}
            self.wanted["chunk"].append({"elements": chunk, "low": low, "number": n, "last": last} | grouped)


@stalls
@pytest.mark.parametrize("build", [BUILD, *(pytest.param(build, marks=pytest.mark.slow) for build in (ODD, LEAN))],
                         ids=lambda build: build.core.name)
def test_what_is_read_of_a_sequence(build, stall, check):
    """Of any length, at any addresses: pages without entry and beats with errors are read as the others are."""
    rng = random.Random(SEED)
    sequence, rows, most = Sequence(build, rng), build.page_rows, build.core.max_seq_len
    lengths = (1, rows, rows + 1, 2 * rows - 1, most, 10 * rows, 13 * rows + 1, 15 * rows)
    for keys in (*lengths, *(rng.randint(1, most) for _ in range(8)), 3 * rows, *range(5, 3 * rows, 9)):
        sequence.begin(keys)
        sequence.stream()
        reads = [sequence.key, sequence.value, sequence.recall]
        again = [] if keys == most else [sequence.stream]
        for read in [*rng.choices(reads, k=20), *again, *rng.choices(reads, k=5)]:
            read()
        sequence.end()
    check(ReaderBench(build), f"tile-reader-{build.core.name}",
          {"steps": Offer(sequence.steps), "asked": Offer([0] * sequence.bursts),
           "given": Offer([0] * sequence.beats)},
          {name: Expect(items) for name, items in sequence.wanted.items()}, quiet=["overflow"], patience=5000)
