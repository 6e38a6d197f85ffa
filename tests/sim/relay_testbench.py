"""A component that can be told to break the rules of streams, and a testbench of it for any clock loop."""

import json
import pathlib

import cocotb
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.sim.agents import StreamDriver, StreamMonitor, Tap, TestbenchFailure
from latte.sim.harness import PortBits
from latte.sim.stalls import stall_pair
from latte.sim.testbench import Testbench

WIDTH = 70
"""Of a payload: more than two words, and no whole number of them."""
_OTHER_WIDTH = 5
"""Of a payload beside it, so that neither begins at a word."""
_TAP = data.StructLayout({"valid": 1, "value": WIDTH})


class Relay(wiring.Component):
    """One register between `i` and `o`, and between `other_i` and `other_o`.

    From a pulse of a fault on, `o` breaks a rule, or both stand still.

    Members
    -------
    i, other_i : In(stream)
    o, other_o : Out(stream)
    taken : Out(_TAP)
        What is taken from `i`.
    changes, withdraws, hangs : In(1)
        An offer's payload changes; an offer falls; nothing is taken any more.
    """

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(WIDTH)), "other_i": In(stream.Signature(_OTHER_WIDTH)),
            "o": Out(stream.Signature(WIDTH)), "other_o": Out(stream.Signature(_OTHER_WIDTH)),
            "taken": Out(_TAP), "changes": In(1), "withdraws": In(1), "hangs": In(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        faults = {}
        for name in ("changes", "withdraws", "hangs"):
            faults[name] = Signal(name=name)
            with m.If(getattr(self, name)):
                m.d.sync += faults[name].eq(1)
        for source, sink in ((self.i, self.o), (self.other_i, self.other_o)):
            with m.If(sink.ready):
                m.d.sync += sink.valid.eq(0)
            m.d.comb += source.ready.eq((~sink.valid | sink.ready) & ~faults["hangs"])
            with m.If(source.valid & source.ready):
                m.d.sync += [sink.valid.eq(1), sink.payload.eq(source.payload)]
        waits = self.o.valid & ~self.o.ready
        with m.If(waits & faults["changes"]):
            m.d.sync += self.o.payload.eq(~self.o.payload)
        with m.If(waits & faults["withdraws"]):
            m.d.sync += self.o.valid.eq(0)
        m.d.comb += [self.taken.valid.eq(self.i.valid & self.i.ready), self.taken.value.eq(self.i.payload)]
        return m


async def main(testbench):
    """Send the payloads of ``settings.json`` through, in two parts with a reset between them; write what was seen."""
    folder = pathlib.Path()
    settings = json.loads((folder / "settings.json").read_text())
    testbench.patience = settings["patience"]
    inputs, outputs = testbench.ports
    seen = {name: [] for name in ("o", "other_o", "taken")}
    report = {"seen": seen, "failure": None}
    try:
        for payloads in settings["parts"]:
            await testbench.reset()
            if settings["fault"]:
                await testbench.pulse(settings["fault"])
            source, sink = stall_pair(settings["stall"], settings["seed"])
            drivers = [StreamDriver(testbench.ports, name, payloads[name], source and source.fork(name))
                       for name in ("i", "other_i")]
            monitors = [StreamMonitor(testbench.ports, name, lambda *item, name=name: seen[name].append(item),
                                      sink and sink.fork(name)) for name in ("o", "other_o")]
            bits = outputs["taken"]
            tap = Tap("taken", PortBits(bits.offset + 1, WIDTH), bits.offset, lambda *item: seen["taken"].append(item))
            agents = [*drivers, *monitors, tap]
            await testbench.run(agents, lambda drivers=drivers: all(driver.finished for driver in drivers))
            report["finished"] = testbench.cycle
            await testbench.run(agents, lambda: False, testbench.cycle + 100)
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    report |= {"cycle": testbench.cycle, "taken": testbench.output("taken")}
    (folder / "report.json").write_text(json.dumps(report))


@cocotb.test()
async def run_main(dut):
    """Run `main` in the simulator's process."""
    await main(Testbench(dut))
