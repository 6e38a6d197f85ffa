"""Descriptors of a core with keys in memory as they are handed over, with their rows, and end, under the stall matrix.

Expected is what the document of `CacheDispatcher` says of each descriptor's fields.
"""

import random

import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.payloads import STREAMS, checked_layout
from latte.rtl.axi.row_bursts import rows_layout
from latte.rtl.memory.cache_descriptors import cache_causes_layout, cache_descriptor_layout
from latte.rtl.memory.cache_dispatcher import CacheDispatcher
from latte.rtl.memory.cache_payloads import cache_job_layout
from latte.sim.block_testbench import Expect, Offer, decode
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

ROW_BYTES = 48
TIME_BITS = 6
NEVER = (1 << TIME_BITS) - 1
EVENTS = ("begun", "job", "rows_k", "rows_v", "rows_q", "ended", "asked")
DIRECT = ("begun", "job", "rows_k", "rows_v", "ended")
SAID = (*REFUSALS, *FAILURES)


def course_layout() -> data.StructLayout:
    """What happens to a descriptor: after how many cycles it may begin; then, in cycles from its job on, when what."""
    return data.StructLayout({"settled": TIME_BITS, "verdict": data.StructLayout(dict.fromkeys(SAID, 1)),
                              **dict.fromkeys(("told", "drained", *STREAMS), TIME_BITS)})


class DispatcherBench(wiring.Component):
    """The dispatcher and a core that does as it is told; beside a bit that is not set stands something else.

    Members
    -------
    asked : In(stream)
        A descriptor and its course.
    begun, job, rows_k, rows_v, ended, rows_q : Out(stream)
        The last one as bits.
    event : Out
        A push: which of `EVENTS` were taken in a cycle.
    rows_failed : Out(1)
        A push: as a job is taken, and with its verdict.
    early : Out(1)
        A job begins before the register file is settled, or ends before it has.
    """

    def __init__(self) -> None:
        self.dispatcher = dispatcher = CacheDispatcher(ROW_BYTES)
        members = dispatcher.signature.members
        ask = checked_layout(cache_descriptor_layout(), cache_causes_layout())
        super().__init__({
            "asked": In(stream.Signature(data.StructLayout({"ask": ask, "course": course_layout()}))),
            **{name: members[name] for name in DIRECT}, "rows_q": Out(stream.Signature(rows_layout().size)),
            "event": Out(len(EVENTS)), "event_valid": Out(1), "rows_failed": Out(1), "rows_failed_valid": Out(1),
            "early": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.dispatcher = dut = self.dispatcher
        for name in DIRECT:
            wiring.connect(m, getattr(dut, name), wiring.flipped(getattr(self, name)))
        course, ask = self.asked.payload.course, self.asked.payload.ask
        waited, time, told, under_way = Signal(TIME_BITS), Signal(TIME_BITS), Signal(), Signal()
        takes = {name: getattr(dut, name).valid & getattr(dut, name).ready for name in EVENTS}
        m.d.comb += [
            dut.asked.payload.eq(ask), dut.asked.valid.eq(self.asked.valid), self.asked.ready.eq(dut.asked.ready),
            self.rows_q.payload.eq(dut.rows_q.payload), self.rows_q.valid.eq(dut.rows_q.valid),
            dut.rows_q.ready.eq(self.rows_q.ready),
            dut.settled.eq(self.asked.valid & ~ask.invalid & (waited == course.settled)),
            dut.verdict.valid.eq(under_way & (time == course.told)),
            *(dut.verdict[name].eq(course.verdict[name] ^ ~dut.verdict.valid) for name in SAID),
            dut.drained.eq(~under_way | (time >= course.drained)),
            *(getattr(dut, f"lost_{name}").eq(under_way & (time != NEVER) & (time == course[name]))
              for name in STREAMS),
            self.event.eq(Cat(takes.values())), self.event_valid.eq(self.event.any()),
            self.rows_failed.eq(dut.rows_failed), self.rows_failed_valid.eq(takes["job"] | dut.verdict.valid),
            self.early.eq((dut.begun.valid & ~ask.invalid & ~dut.settled)
                          | (dut.ended.valid & ~(told & dut.drained))),
        ]
        m.d.sync += [waited.eq(Mux(self.asked.valid & (waited != course.settled), waited + 1, waited)),
                     time.eq(Mux(time == NEVER, NEVER, time + 1)), told.eq(told | dut.verdict.valid)]
        with m.If(takes["job"]):
            m.d.sync += [under_way.eq(1), time.eq(0)]
        with m.If(takes["asked"]):
            m.d.sync += [under_way.eq(0), told.eq(0), waited.eq(0)]
        return m


class Descriptors:
    """Descriptors, what happens to them, and what the dispatcher has to make of them.

    Parameters
    ----------
    rng
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.asked: list[dict] = []
        self.wanted: dict[str, list] = {name: [] for name in (*DIRECT, "rows_q", "event", "rows_failed")}

    def add(self, queries: int, *, invalid: bool) -> None:
        """Add a descriptor whose other fields have any bits."""
        rng, wanted = self.rng, self.wanted
        layout, causes = cache_descriptor_layout(), cache_causes_layout()
        fields = decode(layout, rng.getrandbits(layout.size)) | {"queries": queries}
        why = decode(causes, rng.getrandbits(causes.size) if invalid else 0)
        # A fault of a row is known before the outputs have left.
        drained = rng.choice([0, rng.randrange(NEVER)])
        lost = {name: rng.choice([NEVER, NEVER, rng.randint(0, drained)]) for name in STREAMS}
        told = rng.choice([0, rng.randrange(NEVER)])
        status = rng.choice([None, *SAID])
        course = {"settled": rng.choice([0, rng.randrange(NEVER)]), "told": told, "drained": drained, **lost,
                  "verdict": {name: name == status for name in SAID}}
        self.asked.append({"ask": {"fields": fields, "invalid": invalid, "causes": why}, "course": course})
        wanted["begun"].append({"causes": why, "in_core": not invalid, "interrupt": fields["interrupt"],
                                "address": fields["o_address"], "stride": fields["o_stride"],
                                "heads": fields["heads"]})
        if invalid:
            self._take("begun", "asked")
            return
        wanted["job"].append({name: fields[str(name)] for name in cache_job_layout().members})
        for name in "kv":
            wanted[f"rows_{name}"].append({"address": fields[f"{name}_address"], "stride": fields["kv_stride"],
                                           "rows": fields["rows"]})
        for name in ("begun", "job", "rows_k", "rows_v"):
            self._take(name)
        for query in range(queries):
            address = (fields["q_address"] + query * fields["q_stride"]) % (1 << ADDRESS_BITS)
            wanted["rows_q"].append(address | ROW_BYTES << ADDRESS_BITS | fields["heads"] << ADDRESS_BITS + 32)
            self._take("rows_q")
        self._take("ended", "asked")
        wanted["rows_failed"] += [0, any(lost[name] < told for name in "kv")]
        is_lost = any(at != NEVER for at in lost.values())
        wanted["ended"].append(dict.fromkeys(causes.members, 0) | {"read_failed": is_lost}
                               | {f"refused_{name}": name == status for name in REFUSALS}
                               | {f"failed_{name}": name == status for name in FAILURES})

    def _take(self, *names: str) -> None:
        self.wanted["event"].append(sum(1 << EVENTS.index(name) for name in names))

    def compare(self, check) -> None:
        """Have the dispatcher do the same."""
        check(DispatcherBench(), "cache-dispatcher", {"asked": Offer(self.asked)},
              {name: Expect(items) for name, items in self.wanted.items()}, quiet=("early",))


@pytest.mark.parametrize("stall", STALLS)
def test_descriptors(check, stall):
    descriptors = Descriptors(random.Random(SEED))
    for _ in range(150):
        queries = descriptors.rng.choice([0, 1, 1, descriptors.rng.randrange(6), descriptors.rng.randrange(70)])
        descriptors.add(queries, invalid=descriptors.rng.random() < 0.2)
    descriptors.compare(check)


@pytest.mark.parametrize("stall", ["none"])
def test_many_queries(check, stall):
    """Numbers with each of the high bits."""
    descriptors = Descriptors(random.Random(SEED))
    for bit in range(6, COUNT_BITS):
        descriptors.add(1 << bit, invalid=False)
    descriptors.compare(check)
