"""Rows appended to the pages of sequences, and counted in their records, against the golden model's memory."""

import dataclasses

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.attention import HeadParameters
from latte.golden.config import ceil_div, preset
from latte.golden.key_groups import KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES, CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.golden.pruned_mass import NO_COMPENSATION
from latte.golden.thresholds import Threshold
from latte.rtl.axi.bus import BOUNDARY, MasterParameters
from latte.rtl.common.payloads import COUNT_BITS, groups_layout
from latte.rtl.memory.page_table import PageTable
from latte.rtl.memory.row_appender import RowAppender
from latte.rtl.memory.sequence_record import SequenceRecord
from latte.sim.block_testbench import Expect, Offer
from latte.sim.memory_model import MemoryModel, connect_memory, word_layout
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cached import BASE, FIRST, OTHER, first_page, renumbered
from tests.cocotb.test_sequence_record import groups_fields
from tests.cocotb.weighed import paused

stalls = pytest.mark.parametrize("stall", STALLS)


class AppendBench(wiring.Component):
    """Carries out jobs that append: takes record and page table, appends, gives the record, and memory if asked to.

    Parameters
    ----------
    build, parameters, words
    first_pages
        Of which a job has one.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters, words: int, first_pages: tuple[int, int]
                 ) -> None:
        self.build, self.parameters, self.words, self.first_pages = build, parameters, words, first_pages
        beat = stream.Signature(8 * build.bus_bytes)
        self.appender = appender = RowAppender(build, parameters)
        job = data.StructLayout({"rows": COUNT_BITS, "pages": range(build.page_limit + 1), "dump": 1, "other": 1,
                                 "groups": groups_layout(build.core)})
        verdict = data.StructLayout({"fault": 1, "saturated": 1, "beats": 32, "k_beats": 32, "v_beats": 32})
        super().__init__({
            "fill": In(stream.Signature(word_layout(parameters))), "job": In(stream.Signature(job)),
            "record": In(beat), "table": In(beat), "k": appender.signature.members["k"],
            "v": appender.signature.members["v"], "counted": Out(beat), "word": Out(beat), "verdict_valid": Out(1),
            "verdict": Out(verdict), "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        build, job = self.build, self.job.payload
        m.submodules.appender = appender = self.appender
        m.submodules.kept = record = SequenceRecord(build)
        m.submodules.pages = pages = PageTable(build)
        written = MemoryModel(self.parameters, self.words, base=BASE)
        _, engine = connect_memory(m, written, 1)
        # For some time no rows come: all that was written before is answered then.
        come = ~paused(m, 100)
        for name, ours in (("k", appender.k), ("v", appender.v)):
            rows = getattr(self, name)
            m.d.comb += [ours.valid.eq(rows.valid & come), ours.payload.eq(rows.payload),
                         rows.ready.eq(ours.ready & come)]
        wiring.connect(m, wiring.flipped(self.fill), written.fill)
        wiring.connect(m, record.o, wiring.flipped(self.counted))
        wiring.connect(m, written.shown, wiring.flipped(self.word))
        wiring.connect(m, appender.burst, engine.burst)
        wiring.connect(m, appender.beat, engine.beat)
        left, begun, saturated = Signal(range(self.words)), Signal(32), Signal()
        starved, taken = Signal(), {name: Signal(32, name=f"{name}_beats") for name in "kv"}
        for name, beats in taken.items():
            port = getattr(self, name)
            with m.If(port.valid & port.ready):
                m.d.sync += beats.eq(beats + 1)
        m.d.comb += [
            record.beat.eq(self.record.payload), record.beat_valid.eq(self.record.valid & self.record.ready),
            pages.beat.eq(self.table.payload), pages.beat_valid.eq(self.table.valid & self.table.ready),
            pages.pages.eq(job.pages), pages.first_page.eq(Mux(job.other, *self.first_pages[::-1])),
            pages.look_up.eq(appender.look_up),
            appender.address.eq(pages.address), record.add_valid.eq(appender.add_valid), record.add.eq(appender.add),
            appender.write_answered.eq(engine.answered), appender.write_fault.eq(engine.fault),
            appender.write_idle.eq(engine.idle),
            appender.command.payload.rows.eq(job.rows), appender.command.payload.place.eq(record.length),
            self.verdict.fault.eq(appender.fault), self.verdict.saturated.eq(saturated),
            self.verdict.beats.eq(written.written - begun), self.verdict.k_beats.eq(taken["k"]),
            self.verdict.v_beats.eq(taken["v"]), self.verdict_valid.eq(appender.done),
            # A burst that was begun has its data.
            starved.eq(engine.beat.ready & ~engine.beat.valid),
            self.wrong.eq(written.wrong | starved | appender.overflow),
        ]
        if build.core.group_bits:
            m.d.comb += [appender.groups.eq(record.groups), appender.numbers.eq(record.numbers),
                         record.new_groups.eq(job.groups)]
        with m.If(appender.saturated):
            m.d.sync += saturated.eq(1)
        with m.FSM():
            with m.State("JOB"), m.If(self.job.valid & written.filled):
                m.d.comb += [record.begin.eq(1), pages.restart.eq(1)]
                m.d.sync += [begun.eq(written.written), saturated.eq(0),
                             left.eq((job.pages * ENTRY_BYTES + build.bus_bytes - 1) // build.bus_bytes)]
                m.next = "RECORD"
            with m.State("RECORD"):
                m.d.comb += self.record.ready.eq(~record.complete)
                with m.If(record.complete):
                    m.next = "TABLE"
            with m.State("TABLE"):
                m.d.comb += self.table.ready.eq(left != 0)
                with m.If(self.table.valid & self.table.ready):
                    m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    if build.core.group_bits:
                        m.d.comb += record.groups_set.eq(record.length == 0)
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += appender.command.valid.eq(1)
                with m.If(appender.command.ready):
                    m.next = "APPEND"
            with m.State("APPEND"), m.If(appender.done):
                m.d.comb += [self.job.ready.eq(1), record.write.eq(1), written.show.eq(job.dump)]
                m.d.sync += left.eq(record.beats)
                m.next = "COUNTED"
            with m.State("COUNTED"):
                with m.If(self.counted.valid & self.counted.ready):
                    m.d.sync += left.eq(left - 1)
                with m.If((left == 0) & ~written.showing):
                    m.next = "JOB"
        return m


@dataclasses.dataclass
class Jobs:
    """What the bench is offered, and what is wanted of it; the golden memory beside it.

    Parameters
    ----------
    build
    memory
    entries
    """

    build: MemoryBuild
    memory: CacheMemory
    entries: dict[int, HeadParameters]

    def __post_init__(self) -> None:
        self.offered = {name: [] for name in ("job", "record", "table", "k", "v")}
        self.wanted = {name: [] for name in ("verdict", "counted")}
        self.before = self.memory.image.data.copy()

    def beats(self, first: int, size: int) -> list[int]:
        """Return beats of the golden memory."""
        return beats_of(self.memory.image.data[first:first + size], self.build.bus_bytes)

    def record(self, sequence: Handle) -> list[int]:
        """Return the record of a sequence."""
        return self.beats(self.memory.state_address(sequence.slot), self.memory.records.state_bytes)

    def append(self, sequence: Handle, head: int, k: np.ndarray, v: np.ndarray, *, fails: bool = False) -> None:
        """Carry out a job."""
        build, before = self.build, self.record(sequence)
        state = self.memory.state(sequence)
        pages = ceil_div(state.length + len(k), build.page_rows)
        groups = self.entries[head].groups
        outcome = carry_out(CacheJob(JobKind.APPEND, sequence, head, np.zeros((0, 0, k.shape[1]), np.int8), k, v),
                            self.memory, self.entries)
        assert outcome.status == ("memory_error" if fails else None)
        other = len(self.offered["job"]) // 2 % 2
        self.offered["job"].append({"rows": len(k), "pages": pages, "other": other,
                                    "groups": groups_fields(groups, build.core)})
        self.offered["record"] += before
        table = self.memory.image.data[state.table_address:][:build.padded(ENTRY_BYTES * pages)]
        self.offered["table"] += beats_of(renumbered(table, (FIRST, OTHER)[other]), build.bus_bytes)
        for name, rows in (("k", k), ("v", v)):
            self.offered[name] += rows.reshape(-1, build.bus_bytes).tolist()
        moved = outcome.traffic.moved["written"] // build.bus_bytes - len(before) * (len(k) > 0)
        self.wanted["verdict"].append({"fault": fails, "saturated": (k > build.core.qk_max).any(),
                                       "beats": None if fails else moved,
                                       **{f"{name}_beats": len(self.offered[name]) for name in "kv"}})
        self.wanted["counted"] += [None] * len(before) if fails else self.record(sequence)

    def check(self, check, **parameters: int) -> None:
        """Let the bench do the same; its memory is the golden one's in the end, but for what the host writes."""
        build, memory, bus = self.build, self.memory, self.build.bus_bytes
        self.offered["job"][-1]["dump"] = 1
        broken = {address // bus for piece in memory.image._broken for address in piece}
        fill = [{"data": word, "broken": n in broken, "last": 0} for n, word in enumerate(beats_of(self.before, bus))]
        fill[-1]["last"] = 1
        after = np.concatenate([self.before[:memory.first_page], memory.image.data[memory.first_page:]])
        master = MasterParameters(data_bits=8 * bus, **parameters)
        self.wanted["word"] = [None] * len(fill) if broken else beats_of(after, bus)
        pages = first_page(memory), first_page(memory, OTHER)
        check(AppendBench(build, master, len(fill), pages), build.core.name,
              {"fill": Offer(fill), **{name: Offer(items) for name, items in self.offered.items()}},
              {name: Expect(items) for name, items in self.wanted.items()}, quiet=("wrong",), patience=20000)


def beats_of(image: np.ndarray, bus_bytes: int) -> list[int]:
    """Return bytes as beats."""
    return [int.from_bytes(beat.tobytes(), "little") for beat in image.reshape(-1, bus_bytes)]


def build_of(name: str, bus_bytes: int, page_rows: int, **core: object) -> MemoryBuild:
    """Return a build of short page tables."""
    return MemoryBuild(core=preset("small", max_seq_len=4 * page_rows - 3, **core).replace(name=f"append-{name}"),
                       bus_bytes=bus_bytes, page_rows=page_rows, slots=3)


def jobs_of(build: MemoryBuild, rng: np.random.Generator) -> tuple[Jobs, list[Handle]]:
    """Return two sequences for `sizes_of` rows, whose pages lie among each other, in a memory full of something."""
    core, bits, rows = build.core, build.core.group_bits, sum(sizes_of(build))
    memory = CacheMemory(build, 2 * ceil_div(rows, build.page_rows) + 1)
    memory.image.data[memory.first_page:] = rng.integers(0, 256, len(memory.image.data) - memory.first_page)
    sequences = [memory.open(), memory.open()]
    for keys in range(1, rows + build.page_rows, build.page_rows):
        for sequence in sequences[::-1]:
            memory.reserve(sequence, min(keys, rows))
    cuts = [rng.integers(-60, 60, n).tolist() for n in (bits, max(0, bits - 1))]
    # Once they are limited, no elements lie above this.
    cuts[1][:1] = [core.qk_max][:len(cuts[1])]
    groups = [KeyGroups(tuple(rng.integers(0, core.head_dim, len(of)).tolist()), tuple(of)) for of in cuts]
    entries = {head: HeadParameters(Threshold.relative(60), 40000, 14, NO_COMPENSATION, of)
               for head, of in enumerate(groups)}
    return Jobs(build, memory, entries), sequences


def random_rows(rng: np.random.Generator, count: int, build: MemoryBuild, high: int = 127) -> np.ndarray:
    """Return int8 rows of every code up to some."""
    return rng.integers(-128, high + 1, (count, build.core.head_dim)).astype(np.int8)


BUILDS = {build.core.name: build for build in (
    build_of("4bit", 8, 16, head_dim=16, key_groups=4),
    build_of("4bit-sliced", 16, 16, head_dim=16, key_groups=1, split="slice"),
    build_of("3bit-short", 16, 16, head_dim=16, key_groups=8, estimate_bits=3),
    build_of("3bit-odd", 8, 64, head_dim=24, key_groups=8, estimate_bits=3),
    build_of("3bit", 16, 64, head_dim=64, key_groups=8, estimate_bits=3),
    build_of("2bit", 8, 32, head_dim=32, key_groups=2, estimate_bits=2),
    build_of("2bit-none", 16, 64, head_dim=48, key_groups=0, estimate_bits=2))}
QUICK = ("append-4bit", "append-3bit-odd")


def sizes_of(build: MemoryBuild) -> list[int]:
    """Return jobs: pages that are begun, filled, gone on with from the last row, crossed; single keys across beats.

    One is of no keys. The last key's parts begin with a beat, and nothing follows that would write over what goes
    beyond them.
    """
    rows = build.page_rows
    return [rows // 3, 1, rows - rows // 3 - 2, 1, 0, rows + 1, *[1] * (rows // 16), rows // 2 - rows // 16]


@stalls
@pytest.mark.parametrize("build", [build if name in QUICK else pytest.param(build, marks=pytest.mark.slow)
                                   for name, build in BUILDS.items()], ids=BUILDS)
def test_row_appender(check, stall, build):
    rng = np.random.default_rng(SEED)
    jobs, sequences = jobs_of(build, rng)
    for n, size in enumerate(sizes_of(build)):
        for head, sequence in enumerate(sequences):
            high = build.core.qk_max if n % 2 else 127
            jobs.append(sequence, head, random_rows(rng, size, build, high), random_rows(rng, size, build))
    jobs.check(check, burst_beats=8)


def test_rows_cross_4_kilobytes():
    """Of one build at least: what is written says nothing of it."""
    build = BUILDS["append-3bit"]
    jobs, _ = jobs_of(build, np.random.default_rng(SEED))
    form, rows = jobs.memory.format, np.arange(build.page_rows)
    crossed = 0
    for page in range(2 * ceil_div(sum(sizes_of(build)), build.page_rows)):
        for offset, size in ((form.low_offset, form.low_bytes), (form.high_offset, form.high_bytes)):
            first = jobs.memory.page_address(page) + offset + rows * size
            crossed += (first // BOUNDARY != (first + size - 1) // BOUNDARY).sum()
    assert crossed


@stalls
def test_write_errors(check, stall):
    build, rng = BUILDS["append-3bit-odd"], np.random.default_rng(SEED)
    rows = build.page_rows
    jobs, (broken, whole) = jobs_of(build, rng)
    form, memory = jobs.memory.format, jobs.memory
    # The third row of the second page: the jobs before it and behind it, with one row there, do not fail.
    page = memory.page_address(memory.page_of(broken, 1))
    memory.image.break_range(page + form.low_offset + 2 * form.low_bytes, build.bus_bytes)
    for sequence, size, fails in ((broken, rows, 0), (broken, 3, 1), (whole, rows + 3, 0), (broken, 1, 0)):
        jobs.append(sequence, 0, random_rows(rng, size, build), random_rows(rng, size, build), fails=bool(fails))
    jobs.check(check, burst_beats=8)
