"""Jobs as they are handed to the core, and brought to their end in memory, under the stall matrix."""

import itertools
import random
from typing import Any

import pytest
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.jobs import REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, Response
from latte.rtl.axi.descriptors import STATUS_BITS
from latte.rtl.axi.job_completer import JobCompleter
from latte.rtl.axi.job_dispatcher import JobDispatcher
from latte.rtl.axi.payloads import STREAMS, descriptor_causes_layout
from latte.rtl.axi.write_engine import WriteEngine, beat_layout
from latte.rtl.common.payloads import COUNT_BITS
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.rows import FINE, cut_rows, random_fault, random_rows

stalls = pytest.mark.parametrize("stall", STALLS)
CAUSES = tuple(descriptor_causes_layout().members)
INVALID = ("unknown_type", "reserved_set", "unaligned", "no_rows", "fetch_failed")
"""What keeps a descriptor from the core."""
STEPS = ("job", "rows_k", "rows_v", "rows_q", "begun")


def flags(*causes: str) -> dict[str, int]:
    """Return the fields of causes."""
    return {name: name in causes for name in CAUSES}


class DispatcherBench(wiring.Component):
    """A dispatcher with a core that judges jobs.

    Members
    -------
    asked, job, rows_q, rows_k, rows_v, begun
        As of `JobDispatcher`.
    settle : In(stream)
        An item for each job: the register file is settled.
    verdict : In(stream)
        Of each job that came to the core.
    step_valid, step : Out
        What is handed on, with the descriptor that is left.
    early : Out(1)
        A job is offered before the register file is settled.
    """

    def __init__(self) -> None:
        self.dispatcher = JobDispatcher(descriptor_causes_layout())
        members = self.dispatcher.signature.members
        super().__init__({
            "settle": In(stream.Signature(1)),
            "verdict": In(stream.Signature(data.StructLayout(dict.fromkeys(REFUSALS, 1)))),
            "step_valid": Out(1), "step": Out(data.StructLayout(dict.fromkeys((*STEPS, "asked"), 1))), "early": Out(1),
            **{name: members[name] for name in ("asked", *STEPS)}})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.dispatcher = dispatcher = self.dispatcher
        judging = Signal()
        for name in ("asked", *STEPS):
            ours, theirs = getattr(self, name), getattr(dispatcher, name)
            wiring.connect(m, *((wiring.flipped(ours), theirs) if name == "asked" else (theirs, wiring.flipped(ours))))
            m.d.comb += self.step[name].eq(ours.valid & ours.ready)
        with m.If(self.step.job):
            m.d.sync += judging.eq(1)
        with m.Elif(self.verdict.valid & self.verdict.ready):
            m.d.sync += judging.eq(0)
        m.d.comb += [
            self.step_valid.eq(self.step.as_value().any()), self.verdict.ready.eq(judging),
            dispatcher.verdict.valid.eq(self.verdict.valid & self.verdict.ready),
            *(dispatcher.verdict[name].eq(self.verdict.payload[name]) for name in REFUSALS),
            dispatcher.settled.eq(self.settle.valid), self.settle.ready.eq(self.step.job),
            self.early.eq(self.job.valid & ~self.settle.valid),
        ]
        return m


@stalls
def test_jobs_are_handed_on(check, stall):
    """To the core, and behind its verdict to those who fetch rows: keys and values first; invalid ones never."""
    rng = random.Random(SEED)
    offers: dict[str, list[Any]] = {"asked": [], "verdict": [], "settle": []}
    wanted: dict[str, list[Any]] = {name: [] for name in (*STEPS, "step")}
    for _ in range(200):
        job = {name: rng.getrandbits(COUNT_BITS) for name in ("head", "load_rows", "query_rows")}
        job |= {name: rng.getrandbits(1) for name in ("fresh", "causal")}
        invalid, interrupt = rng.random() < 0.3, rng.getrandbits(1)
        causes = set(rng.sample(CAUSES, rng.randint(1, len(CAUSES)))) if invalid else set()
        offers["asked"].append({"job": job, "interrupt": interrupt, "invalid": invalid, "causes": flags(*causes)})
        refusal = None
        if not invalid:
            refusal = rng.choice([None, None, *REFUSALS])
            offers["verdict"].append({name: name == refusal for name in REFUSALS})
            offers["settle"].append(1)
            wanted["job"].append(job)
            for name, rows in (("k", "load_rows"), ("v", "load_rows"), ("q", "query_rows")):
                wanted[f"rows_{name}"].append({"rows": job[rows], "refused": refusal is not None})
            wanted["step"] += [{other: other == name for other in (*STEPS, "asked")} for name in STEPS[:-1]]
        wanted["step"].append({name: name in ("begun", "asked") for name in (*STEPS, "asked")})
        wanted["begun"].append({
            "causes": flags(*causes, *([f"refused_{refusal}"] if refusal else [])), "in_core": not invalid,
            "refused": refusal is not None, "fresh": job["fresh"], "interrupt": interrupt, "rows": job["query_rows"]})
    check(DispatcherBench(), "job-dispatcher", {name: Offer(items) for name, items in offers.items()},
          {name: Expect(items) for name, items in wanted.items()}, quiet=["early"])


class CompleterBench(wiring.Component):
    """A completer between output rows and the master's write side.

    Parameters
    ----------
    row_bytes, parameters

    Members
    -------
    begun, fetched_q, fetched_k, fetched_v
        As of `JobCompleter`.
    beat : In(stream)
        Output rows.
    place : In(stream)
        Address and number of each descriptor.
    aw, w : Out(stream)
        What is written.
    b : In(stream)
        The answers.
    event_valid, event : Out
        What is said of a descriptor: that its status word is on its way; that it is done.
    early, withdrawn, gap : Out(1)
        A burst began before its data were there; is not offered any more, and was not taken; began a cycle later than
        it could, behind one of some beats.
    """

    def __init__(self, row_bytes: int, parameters: MasterParameters) -> None:
        self.parameters = parameters
        self.depth = 2 * parameters.burst_beats
        self.completer = JobCompleter(row_bytes, parameters, self.depth)
        members = self.completer.signature.members
        bits = parameters.data_bits
        self.said = ("release", "done", "refused", "invalid", "interrupt")
        super().__init__({
            **{name: members[name] for name in ("begun", *(f"fetched_{name}" for name in STREAMS))},
            "beat": In(stream.Signature(beat_layout(parameters))),
            "place": In(stream.Signature(data.StructLayout({"address": ADDRESS_BITS, "number": COUNT_BITS}))),
            "aw": Out(stream.Signature(data.StructLayout({"addr": ADDRESS_BITS, "len": 8}))),
            "w": Out(stream.Signature(data.StructLayout({"data": bits, "strb": bits // 8, "last": 1}))),
            "b": In(stream.Signature(2)), "event_valid": Out(1),
            "event": Out(data.StructLayout(dict.fromkeys(self.said, 1))),
            **dict.fromkeys(("early", "withdrawn", "gap"), Out(1))})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.completer = completer = self.completer
        m.submodules.writes = writes = WriteEngine(self.parameters)
        m.submodules.queue = queue = StreamQueue(beat_layout(self.parameters), self.depth)
        for name in STREAMS:
            wiring.connect(m, wiring.flipped(getattr(self, f"fetched_{name}")), getattr(completer, f"fetched_{name}"))
        wiring.connect(m, queue.o, completer.beat)
        wiring.connect(m, completer.burst, writes.burst)
        wiring.connect(m, completer.write, writes.beat)
        level, spare, owed = Signal(range(self.depth + 1)), Signal(signed(16)), Signal(range(16))
        addresses, room = Signal(range(16)), level != self.depth
        begins, left, some = Signal(), Signal.like(writes.burst.payload.beats), Signal()
        ends = writes.beat.valid & writes.beat.ready & (left == 1)
        comes, goes = queue.i.valid & queue.i.ready, queue.o.valid & queue.o.ready
        m.d.sync += [
            level.eq(level + comes - goes),
            spare.eq(spare + comes - Mux(begins & ~completer.release, writes.burst.payload.beats, 0)),
            left.eq(Mux(begins, writes.burst.payload.beats, left - (writes.beat.valid & writes.beat.ready))),
            addresses.eq(addresses + (self.aw.valid & self.aw.ready) - writes.bvalid),
            owed.eq(owed + (self.w.valid & self.w.ready & writes.wlast) - writes.bvalid),
        ]
        with m.If(begins):
            m.d.sync += some.eq(writes.burst.payload.beats > 3)
        could = (delay(m, ends & some & writes.burst.ready, 1, name="could")
                 & (delay(m, level, 1, name="level") > writes.burst.payload.beats))
        m.d.comb += [
            begins.eq(writes.burst.valid & writes.burst.ready),
            self.gap.eq(begins & ~completer.release & could),
            queue.i.valid.eq(self.beat.valid & room), self.beat.ready.eq(queue.i.ready & room),
            queue.i.payload.eq(self.beat.payload), completer.level.eq(level),
            completer.begun.valid.eq(self.begun.valid & self.place.valid),
            self.begun.ready.eq(completer.begun.ready & self.place.valid),
            completer.begun.payload.eq(self.begun.payload),
            completer.address.eq(self.place.payload.address), completer.number.eq(self.place.payload.number),
            self.place.ready.eq(delay(m, completer.done, 1, name="done")),
            completer.answered.eq(writes.answered), completer.fault.eq(writes.fault),
            completer.unanswered.eq(~writes.idle),
            *(self.aw.payload[name].eq(getattr(writes, f"aw{name}")) for name in ("addr", "len")),
            *(self.w.payload[name].eq(getattr(writes, f"w{name}")) for name in ("data", "strb", "last")),
            self.aw.valid.eq(writes.awvalid), writes.awready.eq(self.aw.ready),
            self.w.valid.eq(writes.wvalid), writes.wready.eq(self.w.ready),
            self.b.ready.eq((addresses != 0) & (owed != 0)), writes.bvalid.eq(self.b.valid & self.b.ready),
            writes.bresp.eq(self.b.payload), self.early.eq(spare < 0),
            self.withdrawn.eq(delay(m, writes.burst.valid & ~writes.burst.ready, 1, name="waits")
                              & ~writes.burst.valid),
            *(self.event[name].eq(getattr(completer, name)) for name in self.said),
            self.event_valid.eq(completer.release | completer.done),
        ]
        return m


NONE = dict.fromkeys(STREAMS, FINE)
"""Faults of rows that were fetched without any."""
COMPLETERS = {"64": (20, MasterParameters(burst_beats=8)), "128": (32, MasterParameters(data_bits=128))}
"""Rows that end in half a beat, and those of two beats, of which many are a burst."""


class Descriptors:
    """What the bench is offered, and what is wanted of it.

    Parameters
    ----------
    rng, row_bytes, master

    Attributes
    ----------
    offers, wanted
        So far, by port.
    broken
        The present sequence lacks what could not be loaded.
    """

    def __init__(self, rng: random.Random, row_bytes: int, master: MasterParameters) -> None:
        self.rng, self.row_bytes, self.master = rng, row_bytes, master
        self.offers: dict[str, list[Any]] = {name: [] for name in (
            "begun", *(f"fetched_{name}" for name in STREAMS), "beat", "place", "b")}
        self.wanted: dict[str, list[Any]] = {name: [] for name in ("aw", "w", "event")}
        self.broken = False

    def write(self, burst: dict[str, int], beats: list[dict[str, int]], share: float) -> set[str]:
        """Expect a burst to be written, and answer it; return the error."""
        fault = random_fault(self.rng, share)
        response = Response.SLVERR if fault["slverr"] else Response.DECERR if fault["decerr"] else Response.OKAY
        self.offers["b"].append(response)
        self.wanted["aw"].append({"addr": burst["address"], "len": burst["beats"] - 1})
        self.wanted["w"] += [{"data": beat["data"], "strb": beat["strobe"], "last": n == len(beats) - 1}
                             for n, beat in enumerate(beats)]
        return {f"write_{kind}" for kind in fault if fault[kind]}

    def rows(self, rows: dict[str, int], share: float) -> set[str]:
        """Have output rows written; return the errors."""
        size, errors = self.master.data_bytes, set()
        each = ceil_div(self.row_bytes, size)
        beats = [{"data": self.rng.getrandbits(8 * size),
                  "strobe": (1 << min(size, self.row_bytes - at * size)) - 1}
                 for _ in range(rows["rows"]) for at in range(each)]
        self.offers["beat"] += beats
        for burst in cut_rows(rows, self.row_bytes, self.master):
            errors |= self.write(burst, beats[:burst["beats"]], share)
            beats = beats[burst["beats"]:]
        return errors

    def fetch(self, faults: dict[str, dict[str, int]]) -> set[str]:
        """Let rows be fetched, with errors; return them."""
        for name, fault in faults.items():
            self.offers[f"fetched_{name}"].append(fault)
            self.broken |= name != "q" and any(fault.values())
        return {f"read_{kind}" for kind in FINE if any(fault[kind] for fault in faults.values())}

    def add(self, rows: dict[str, int], kind: str = "right", fresh: bool = False,
            faults: dict[str, dict[str, int]] = NONE) -> None:
        """Add a descriptor that is "invalid", "refused" by the core, or neither; with faults of what is fetched."""
        rng, size = self.rng, self.master.data_bytes
        interrupt, in_core = rng.getrandbits(1), kind != "invalid"
        causes = {"invalid": set(rng.sample(INVALID, rng.randint(1, 2))),
                  "refused": {f"refused_{rng.choice(REFUSALS)}"}}.get(kind, set())
        self.offers["begun"].append({
            "begun": {"causes": flags(*causes), "in_core": in_core, "refused": kind == "refused", "fresh": fresh,
                      "interrupt": interrupt, "rows": rows["rows"]},
            "address": rows["address"], "stride": rows["stride"]})
        if in_core:
            causes |= {"sequence_invalid"} if self.broken and not fresh else set()
            self.broken &= not fresh
            share = rng.choice([0, 0, 0, 0.3])
            causes |= self.rows(rows, share) if kind != "refused" else set()
            causes |= self.fetch(faults)
        else:
            self.broken = True
        place = {"address": rng.getrandbits(ADDRESS_BITS) // 64 * 64, "number": rng.getrandbits(COUNT_BITS)}
        self.offers["place"].append(place)
        status = {"done", *(["error"] if causes else []), *causes}
        word = sum(1 << bit for bit, name in enumerate(STATUS_BITS) if name in status) | place["number"] << 16
        # The third word of the descriptor.
        lane = 8 % size
        self.write({"address": place["address"] + 8 - lane, "beats": 1},
                   [{"data": word << 8 * lane, "strobe": 0xf << lane}], 0.2)
        self.wanted["event"] += [{"release": 1, "done": 0}, {
            "release": 0, "done": 1, "refused": any(name.startswith("refused") for name in causes),
            "invalid": not in_core or "sequence_invalid" in causes, "interrupt": interrupt}]


    def check(self, check, name: str) -> None:
        """Run the bench."""
        check(CompleterBench(self.row_bytes, self.master), f"job-completer-{name}",
              {port: Offer(items) for port, items in self.offers.items()},
              {port: Expect(items) for port, items in self.wanted.items()}, quiet=["early", "withdrawn", "gap"])


@stalls
@pytest.mark.parametrize("name", COMPLETERS)
def test_descriptors_come_to_their_end(check, stall, name):
    """Rows first, then the status word, which knows all errors; each with its answer before the next."""
    rng, (row_bytes, master) = random.Random(SEED), COMPLETERS[name]
    descriptors = Descriptors(rng, row_bytes, master)
    for n in range(150):
        rows = random_rows(rng, row_bytes, master, 40 if n % 5 == 4 else 9)
        share = rng.choice([0, 0, 0, 0, 0.3])
        faults = {name: {kind: int(rng.random() < share) for kind in FINE} for name in STREAMS}
        descriptors.add(rows, rng.choice(["invalid", "refused", *["right"] * 4]), rng.random() < 0.4, faults)
    # Each error by itself, of which only those of keys and values are told of what goes on with them.
    for source, kind in itertools.product(STREAMS, FINE):
        descriptors.add(rows, fresh=True, faults=NONE | {source: FINE | {kind: 1}})
        descriptors.add(rows)
        descriptors.add(rows, fresh=True)
        descriptors.add(rows)
    descriptors.check(check, name)


@pytest.mark.parametrize("stall", ["none"])
def test_as_many_rows_as_can_be_named(check, stall):
    """Written; and refused."""
    rng, (row_bytes, master) = random.Random(SEED), COMPLETERS["128"]
    descriptors = Descriptors(rng, row_bytes, master)
    for kind in ("refused", "right"):
        descriptors.add({"address": 0, "stride": row_bytes, "rows": 0xffff}, kind)
    descriptors.check(check, "128")
