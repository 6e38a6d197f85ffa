"""The sequencer of a core with keys in memory: what becomes of jobs, and what is asked for them, in which order."""

import random

import pytest
from amaranth import Shape

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.jobs import FAILURES, REFUSALS, tile_places
from latte.golden.memory.sequence_state import StateFormat
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.memory.entry_reader import entry_layout
from latte.sim.block_testbench import Expect, Offer, decode, encode
from latte.sim.packing import locate
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.cache_jobs import EVENTS, SUM_BITS, SUM_FACTORS, WAIT_BITS, SequencerBench, end_layout
from tests.cocotb.cached import EVERY_KIND, LEAN, SLICED

KEYS = 40_000
JOBS = 160


def build_of(build: MemoryBuild, tile_rows: int, slots: int, **core: object) -> MemoryBuild:
    """Return a build with long sequences, whose length is no power of two."""
    return MemoryBuild(core=build.core.replace(name=f"jobs-{build.core.name}", max_seq_len=KEYS, **core),
                       page_rows=64, bus_bytes=build.bus_bytes, tile_rows=tile_rows, slots=slots)


BUILDS = {build.core.name: build for build in (build_of(EVERY_KIND, 6, 37), build_of(LEAN, 1, 3), build_of(
    SLICED, 4, 16, key_groups=1))}
QUICK = ("jobs-every-kind", "jobs-lean")


class Jobs:
    """Jobs, what the neighbours say, and what the sequencer has to ask of them, by `latte.golden.memory.jobs`.

    Parameters
    ----------
    build
    rng

    Attributes
    ----------
    waits
        Cycles of which a neighbour takes some.
    """

    def __init__(self, build: MemoryBuild, rng: random.Random) -> None:
        self.build, self.rng, core = build, rng, build.core
        self.waits = [0, 0, 1, *range(1 << WAIT_BITS)]
        self.end = end_layout(build)
        self.state_bytes = StateFormat(build).state_bytes
        self.offered: dict[str, list] = {name: [] for name in ("job", "entry", "end")}
        self.wanted: dict[str, list] = {name: [] for name in (
            "piece", "append", "ask", "tile", "row", "record_piece", "drop", "event", "verdict",
            *(["sums"] if core.key_groups else []), *(["groups"] if core.group_bits else []))}

    def happens(self, name: str, table_beats: int = 0) -> None:
        """Expect an event."""
        bits = 1 << EVENTS.index(name) | (name != "job") << len(EVENTS)
        self.wanted["event"].append(bits | table_beats << len(EVENTS) + 1)

    def ends(self, table_beats: int = 0, **fields: object) -> None:
        """Have a neighbour end its work, with any bits where nothing is said."""
        layout = self.end
        bits = self.rng.getrandbits(layout.size)
        for name, value in {"wait": self.rng.choice(self.waits), **fields}.items():
            offset, inner = locate(layout, name)
            mask = (1 << Shape.cast(inner).width) - 1
            bits = bits & ~(mask << offset) | encode(inner, value) << offset
        self.offered["end"].append(bits)
        self.happens("through", table_beats)

    def reads(self, beats: int, fault: bool, **fields: object) -> None:
        """Have some beats come, one of them with a fault or none."""
        at = self.rng.choice([0, beats - 1, self.rng.randrange(beats)])
        # What has no fault says so, or means a beat that does not come.
        mark = {"fault": 1, "at": at} if fault else self.rng.choice([{"fault": 0, "at": at}, {"fault": 1, "at": beats}])
        self.ends(**mark, **fields)

    def add(self, job: dict, record: dict, entries: list[dict], faults: dict) -> None:
        """Add a job of a sequence.

        Parameters
        ----------
        job, record
            Fields of the job, and of the sequence's record.
        entries
            Of its heads, or of the first one if it has no queries.
        faults
            By name: ``record``, ``table``, ``write``: a beat has one. ``unmapped``: a page that gets rows has no entry.
            ``append``: number of the command that has one. ``tile``: (number, what it fails for).
        """
        self.job, self.record, self.entries, self.faults = job, record, entries, faults
        self.length, self.left, self.appends = record["length"], job["rows"], 0
        self.records = self.rng.getrandbits(ADDRESS_BITS)
        self.offered["job"].append({"job": job, "records": self.records})
        self.happens("job")
        # Positions that are through, and heads of the next one that tiles have had.
        self.query = self.head = 0
        status = self._refusal()
        if status is None and job["rows"]:
            status = self._find_pages()
        if status is None:
            status = self._compute()
            if status is None or (status == "memory_error" and self.query == job["queries"] and not self.dropping):
                status = self._finish(status)
                return self._say(status)
        self._drop()
        return self._say(status)

    def _say(self, status: str | None) -> None:
        self.wanted["verdict"].append({name: name == status for name in (*REFUSALS, *FAILURES)})
        self.happens("verdict")

    def _refusal(self) -> str | None:
        job, record, core, build = self.job, self.record, self.build.core, self.build
        if job["slot"] >= build.slots:
            return "sequence_invalid"
        beats = self.state_bytes // build.bus_bytes
        self.record_at = (self.records + job["slot"] * self.state_bytes) % (1 << ADDRESS_BITS)
        self.wanted["piece"].append({"piece": {"address": self.record_at, "beats": beats}, "table": 0})
        self.happens("record")
        self.reads(beats, self.faults["record"], record=record)
        if self.faults["record"]:
            return "memory_error"
        if not record["live"] or record["generation"] != job["generation"]:
            return "sequence_invalid"
        grouped, asks = core.group_bits > 0, job["queries"] > 0
        needed = job["heads"] if asks else int(grouped and job["rows"] > 0)
        entries = self.entries[:needed]
        for head, entry in enumerate(entries):
            self._ask(head, entry)
        total = record["length"] + job["rows"]
        reasons = {"head_invalid": not all(entry["known"] for entry in entries), "no_keys": total == 0,
                   "too_long": total > core.max_seq_len or job["queries"] > max(1, job["rows"])}
        if grouped and entries:
            ours = comparisons(record["groups"] if record["length"] else entries[0]["groups"])
            reasons["groups_differ"] = any(comparisons(entry["groups"]) != ours for entry in entries)
        status = next((name for name in REFUSALS if reasons.get(name)), None)
        if status is None and grouped and job["rows"] and record["length"] == 0:
            self.wanted["groups"].append(entries[0]["groups"])
            self.happens("groups")
        return status

    def _ask(self, head: int, entry: dict, **octave: int) -> None:
        self.wanted["ask"].append({"head": self.job["head"] + head, **octave})
        self.offered["entry"].append(entry)

    def _find_pages(self) -> str | None:
        build, faults, bus = self.build, self.faults, self.build.bus_bytes
        length, rows = self.length, self.job["rows"]
        first, last = length // build.page_rows, (length + rows - 1) // build.page_rows
        self.table = {"first": first, "pages": last + 1}
        begin, stop = first * ENTRY_BYTES // bus, last * ENTRY_BYTES // bus + 1
        address = (self.record["table"] + begin * bus) % (1 << ADDRESS_BITS)
        self.wanted["piece"].append({"piece": {"address": address, "beats": stop - begin}, "table": 1, **self.table})
        self.happens("table")
        self.reads(stop - begin, faults["table"], unmapped=faults["unmapped"], table_beats=stop - begin)
        return "memory_error" if faults["table"] else "page_unmapped" if faults["unmapped"] else None

    def _append(self, rows: int) -> bool:
        """Have rows appended; return whether that fails."""
        fault = self.appends == self.faults["append"]
        self.appends += 1
        self.wanted["append"].append({"append": {"rows": rows, "place": self.length}, **self.table})
        self.happens("append")
        self.ends(fault=fault)
        self.length += rows
        self.left -= rows
        return fault

    def _compute(self) -> str | None:
        job, build, status = self.job, self.build, None
        heads, queries, total = job["heads"], job["queries"], self.record["length"] + job["rows"]
        self.dropping = False
        for number, places in enumerate(tile_places(heads, queries, build)):
            positions = sorted({position for _, position in places})
            sees = {position: total - queries + 1 + position for position in positions}
            begins = places[0][0] == 0
            slices = build.core.key_groups * build.core.head_dim // build.bus_bytes
            sums = {"sums": len(positions) * slices if begins else 0} if build.core.key_groups else {}
            self.wanted["tile"].append({"rows": len(places), "keys": sees[positions[-1]],
                                        "table_address": self.record["table"], **sums})
            self.happens("tile")
            for head, position in places:
                entry, at = self.entries[head], position - positions[0]
                self._ask(head, entry, octave=sees[position].bit_length() - 1)
                place = {"position": at} if build.core.key_groups else {}
                self.wanted["row"].append({**entry["row"], "keys": sees[position], **place})
                self.happens("row")
            for at, position in enumerate(positions if begins else []):
                if sees[position] > self.length and self._append(sees[position] - self.length):
                    status = "memory_error"
                self._sum(at)
            self.happens("complete")
            fails = self.faults["tile"][1] if number == self.faults["tile"][0] else ()
            self.ends(failure={name: name in fails for name in FAILURES})
            head, position = places[-1]
            self.query, self.head = (position + 1, 0) if head == heads - 1 else (position, head + 1)
            if fails:
                self.dropping = True
                return "memory_error" if "memory_error" in fails else status or "page_unmapped"
        return status

    def _sum(self, position: int) -> None:
        """Expect the sums of all groups, as they are now."""
        core, bus = self.build.core, self.build.bus_bytes
        slices, by = core.head_dim // bus, SUM_FACTORS
        for group in range(core.key_groups):
            for part in range(slices):
                sums = [self.length * by[0] + group * by[1] + part * by[2] + n * by[3] for n in range(bus)]
                keys = (self.length + 3 * group + 5 * part) % (1 << core.max_seq_len.bit_length())
                self.wanted["sums"].append({"position": position, "group": group, "slice": part, "keys": keys,
                                            "sums": [signed(value) for value in sums]})

    def _finish(self, status: str | None) -> str | None:
        """Append what no query waits for, and write the record."""
        if self.left and self._append(self.left):
            status = "memory_error"
        if status is None and self.job["rows"]:
            self.wanted["record_piece"].append({"address": self.record_at,
                                                "beats": self.state_bytes // self.build.bus_bytes})
            self.happens("write")
            self.ends(fault=self.faults["write"])
            status = "memory_error" if self.faults["write"] else None
        return status

    def compare(self, check) -> None:
        """Have the sequencer do the same."""
        check(SequencerBench(self.build), self.build.core.name,
              {name: Offer(items) for name, items in self.offered.items()},
              {name: Expect(items) for name, items in self.wanted.items()}, quiet=("early", "overflow"))

    def _drop(self) -> None:
        """Drop the rows that are left: of the position at hand heads that no tile has had, then those of the others."""
        heads, queries = self.job["heads"], self.job["queries"]
        drops = [heads - self.head, *[heads] * (queries - self.query - 1)] if self.query < queries else [0]
        for keys, rows in zip([self.left, *[0] * len(drops)], drops, strict=False):
            self.wanted["drop"].append({"keys": keys, "queries": rows})
            self.happens("drop")
            self.ends()


def signed(value: int) -> int:
    """Return a sum as it is kept."""
    half = 1 << (SUM_BITS - 1)
    return (value + half) % (2 * half) - half


def comparisons(groups: dict) -> tuple:
    """Return the comparisons that are used."""
    used = groups["group_bits"]
    return used, groups["elements"][:used], groups["cuts"][:used]


def random_groups(rng: random.Random, build: MemoryBuild) -> dict:
    """Return groups of keys, with something in the place of comparisons that are not used."""
    layout = entry_layout(build)["groups"].shape
    return decode(layout, rng.getrandbits(layout.size)) | {"group_bits": rng.randint(0, build.core.group_bits)}


def another(rng: random.Random, groups: dict, build: MemoryBuild) -> dict:
    """Return groups that differ in one bit: of a comparison, or of their number."""
    bits, core = build.core.group_bits, build.core
    if rng.random() < 0.3:
        return groups | {"group_bits": rng.choice([n for n in range(bits + 1) if n != groups["group_bits"]])}
    name, n = rng.choice(["elements", "cuts"]), rng.randrange(bits)
    changed = list(groups[name])
    changed[n] ^= 1 << rng.randrange((core.head_dim - 1).bit_length() if name == "elements" else 7)
    return groups | {name: changed}


def random_job(rng: random.Random, build: MemoryBuild) -> dict:
    """Return arguments of `Jobs.add`."""
    core, most = build.core, build.core.max_seq_len
    length = rng.choice([0, 1, rng.randrange(200), rng.randrange(most), most - rng.randrange(200)])
    room = most - length
    rows = rng.choice([0, 1, 2, rng.randrange(9), rng.randrange(200), room, rng.randrange(room + 1)])
    queries = rng.choice([0, 1, rng.randrange(5), min(rows, rng.randrange(9)), min(rows, 8)])
    heads = rng.choice([1, 2, rng.randint(1, 2 * build.tile_rows + 2)])
    slot = rng.randrange(build.slots)
    kind = rng.random()
    if kind < 0.06:
        length = rng.choice([most, most + 1, 1 << rng.randrange(32), (1 << 32) - 1, 0])
        rows = rng.choice([rows, 0, 1, 1 << rng.randrange(COUNT_BITS)])
    elif kind < 0.1:
        queries = max(1, rows) + 1 if rows < 20 else rng.choice([0, 3, 1 << rng.randrange(9)])
    elif kind < 0.14:
        slot = rng.choice([build.slots, build.slots | 1 << rng.randrange(6, COUNT_BITS)])
        heads, queries = rng.getrandbits(COUNT_BITS) or 1, rng.randrange(4)
    job = {"slot": slot, "generation": rng.getrandbits(16), "head": rng.getrandbits(COUNT_BITS), "heads": heads,
           "rows": rows, "queries": queries}
    record = {"live": 1, "generation": job["generation"], "length": length, "table": rng.getrandbits(ADDRESS_BITS)}
    if rng.random() < 0.08:
        record |= rng.choice([{"live": 0}, {"generation": job["generation"] ^ 1 << rng.randrange(16)}])
        job["heads"] = heads = rng.choice([heads, rng.getrandbits(COUNT_BITS) or 1])
    layout = entry_layout(build)
    entries = [decode(layout, rng.getrandbits(layout.size)) | {"known": 1} for _ in range(min(heads, 64))]
    if core.group_bits:
        groups = random_groups(rng, build)
        record["groups"] = groups if length else random_groups(rng, build)
        for entry in entries:
            entry["groups"] = groups
        if rng.random() < 0.2:
            rng.choice(entries)["groups"] = another(rng, groups, build)
    if rng.random() < 0.06:
        rng.choice(entries)["known"] = 0
    faults = {name: rng.random() < 0.06 for name in ("record", "table", "write", "unmapped")}
    faults["append"] = rng.choice([None] * 7 + [0, 1, 2])
    faults["tile"] = (rng.choice([0, 0, 1, 2, 3]) if rng.random() < 0.2 else None,
                      rng.choice([("memory_error",), ("page_unmapped",), FAILURES]))
    return {"job": job, "record": record, "entries": entries, "faults": faults}


def plain_job(jobs: Jobs, **fields: int) -> dict:
    """Return arguments of `Jobs.add` of a job of the longest sequence, or of an empty one, without faults."""
    build, rng = jobs.build, jobs.rng
    job = {"slot": 0, "generation": 9, "head": rng.getrandbits(COUNT_BITS), "heads": 1, "rows": 0, "queries": 0}
    job |= {name: value for name, value in fields.items() if name in job}
    record = {"live": 1, "generation": 9, "length": fields.get("length", KEYS - job["rows"]),
              "table": rng.getrandbits(ADDRESS_BITS)}
    layout = entry_layout(build)
    entry = decode(layout, rng.getrandbits(layout.size)) | {"known": 1}
    if build.core.group_bits:
        record["groups"] = entry["groups"] = random_groups(rng, build)
    faults = {**dict.fromkeys(("record", "table", "write", "unmapped"), False), "append": None,
              "tile": (fields.get("tile"), FAILURES)}
    return {"job": job, "record": record, "entries": [entry] * job["heads"], "faults": faults}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("build", [build if name in QUICK else pytest.param(build, marks=pytest.mark.slow)
                                   for name, build in BUILDS.items()], ids=BUILDS)
def test_jobs(check, stall, build):
    jobs = Jobs(build, random.Random(SEED))
    # The reset that comes first finds the record being written.
    jobs.waits = [(1 << WAIT_BITS) - 1]
    jobs.add(**plain_job(jobs, length=0, rows=3))
    jobs.waits = [0, 0, 1, *range(1 << WAIT_BITS)]
    for _ in range(JOBS):
        jobs.add(**random_job(jobs.rng, build))
    said = {name for verdict in jobs.wanted["verdict"] for name, is_set in verdict.items() if is_set}
    assert said == {*REFUSALS, *FAILURES} - ({"groups_differ"} if not build.core.group_bits else set())
    jobs.compare(check)


@pytest.mark.parametrize("stall", ["none"])
def test_many_queries_and_heads(check, stall):
    """Thousands of positions and heads, of jobs that fail with their first tile or are refused for a head."""
    jobs = Jobs(BUILDS["jobs-every-kind"], random.Random(SEED))
    jobs.waits = [0]
    for bit in range(12, COUNT_BITS):
        jobs.add(**plain_job(jobs, rows=(1 << bit) + 1, queries=(1 << bit) + 1, tile=0))
    job = plain_job(jobs, heads=(1 << 10) + 1, queries=1)
    job["entries"][-1] = job["entries"][-1] | {"known": 0}
    jobs.add(**job)
    jobs.compare(check)
