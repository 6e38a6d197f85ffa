"""What all cores keep of their events, in a core without an engine: sticky status bits and counters."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.core import COUNTER_BITS, Core, counters_layout, status_layout
from latte.rtl.common.primitives import delay
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE

STATUS, COUNTERS = (tuple(layout().members) for layout in (status_layout, counters_layout))
BY_ENGINE = tuple(name for name in COUNTERS if name != "output_stalls")


class Idle(Core):
    """A core of which nothing is there but what it keeps.

    Attributes
    ----------
    events, increments
        Of the engine that is not there. `offered`: nor is an output beat, but for its valid bit.
    """

    def __init__(self):
        super().__init__(WIDE, data.StructLayout({}))
        self.events = Signal(status_layout())
        self.increments = Signal(data.StructLayout(dict.fromkeys(BY_ENGINE, COUNTER_BITS)))
        self.offered = Signal()

    def elaborate(self, platform):
        """Keep."""
        m = Module()
        m.d.comb += self.o.valid.eq(self.offered)
        self.keep(m, {name: self.events[name] for name in STATUS},
                  {name: self.increments[name] for name in BY_ENGINE})
        return m


class Kept(wiring.Component):
    """What a core has kept of each step, of one cycle, and of those before it.

    A step that clears something does so in its own cycle, or in the next (`late`). It does not follow a step at once,
    whose events would be kept, and the step behind a late one waits until that was compared.

    Members
    -------
    step : In(stream)
    kept_valid, kept : Out
    """

    def __init__(self):
        self.core = Idle()
        step = data.StructLayout({"events": status_layout(), "increments": self.core.increments.shape(), "offered": 1,
                                  "taken": 1, "clear": 1, "clear_status": status_layout(), "late": 1})
        kept = data.StructLayout({"status": status_layout(), "counters": counters_layout()})
        super().__init__({"step": In(stream.Signature(step)), "kept_valid": Out(1), "kept": Out(kept)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.core = core = self.core
        step, taken, before, late = self.step.payload, Signal(), Signal(), Signal()
        clear, clear_status = Signal(), Signal(status_layout())
        clears = step.clear | step.clear_status.as_value().any()
        settles = late | (before & clears) | delay(m, late, 1, name="settles")
        m.d.comb += [taken.eq(self.step.valid & ~settles), self.step.ready.eq(taken)]
        m.d.sync += [before.eq(taken), late.eq(taken & step.late), clear.eq(step.clear),
                     clear_status.eq(step.clear_status)]
        with m.If(taken):
            m.d.comb += [core.events.eq(step.events), core.increments.eq(step.increments),
                         core.offered.eq(step.offered), core.o.ready.eq(step.taken)]
            with m.If(~step.late):
                m.d.comb += [core.clear.eq(step.clear), core.clear_status.eq(step.clear_status)]
        with m.If(late):
            m.d.comb += [core.clear.eq(clear), core.clear_status.eq(clear_status)]
        m.d.comb += [
            self.kept_valid.eq(delay(m, taken & ~step.late, 2, name="kept") | delay(m, late, 2, name="late_kept")),
            self.kept.status.eq(core.status), self.kept.counters.eq(core.counters)]
        return m


def random_increment(rng: random.Random) -> int:
    """Return what is added to a counter: a little, or so much that it soon wraps, or a power of two."""
    return rng.choice([0, 1, rng.getrandbits(COUNTER_BITS), rng.getrandbits(4), 1 << rng.randrange(COUNTER_BITS),
                       (1 << COUNTER_BITS) - 1])


@pytest.mark.parametrize("stall", STALLS)
def test_status_and_counters(check):
    """Of the cycle of a clear, and of the one before it, events are kept, and increments are lost."""
    rng = random.Random(SEED)
    status, counters = dict.fromkeys(STATUS, 0), dict.fromkeys(COUNTERS, 0)
    steps, kept = [], []
    for _ in range(600):
        step = {"events": {name: rng.random() < 0.15 for name in STATUS},
                "increments": {name: random_increment(rng) for name in BY_ENGINE},
                "offered": rng.getrandbits(1), "taken": rng.random() < 0.3, "clear": rng.random() < 0.03,
                "clear_status": {name: rng.random() < 0.4 for name in STATUS} if rng.random() < 0.3 else {},
                "late": rng.getrandbits(1)}
        increments = step["increments"] | {"output_stalls": step["offered"] and not step["taken"]}
        for name in STATUS:
            status[name] = int(step["events"][name] or (
                status[name] and not step["clear"] and not step["clear_status"].get(name)))
        for name in COUNTERS:
            counters[name] = 0 if step["clear"] else (counters[name] + increments[name]) % (1 << COUNTER_BITS)
        steps.append(step)
        kept.append({"status": dict(status), "counters": dict(counters)})
    check(Kept(), "status-and-counters", {"step": Offer(steps)}, {"kept": Expect(kept)})
