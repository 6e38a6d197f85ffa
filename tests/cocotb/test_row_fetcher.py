"""Rows cut into bursts, fetched and repacked, under the stall matrix."""

import random

import pytest
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.rtl.axi.bus import BOUNDARY, MasterParameters, burst_layout, fault_layout
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.row_fetcher import RowFetcher, fetch_layout
from latte.rtl.common.primitives import delay
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.rows import FINE, answer_requests, cut_rows, random_fault, random_rows

stalls = pytest.mark.parametrize("stall", STALLS)
BURSTS = {"runs": (24, MasterParameters(burst_beats=256)),
          "parts": (20, MasterParameters(data_bits=128, burst_beats=8))}
FETCHERS = {"runs": (40, 8, MasterParameters(burst_beats=8, reads_in_flight=2)),
            "parts": (20, 4, MasterParameters(data_bits=128, burst_beats=8, reads_in_flight=3))}


def check_bursts(check, name: str, commands: list[dict[str, int]]) -> None:
    row_bytes, master = BURSTS[name]
    check(RowBursts(row_bytes, master), f"row-bursts-{name}", {"rows": Offer(commands)},
          {"burst": Expect([burst for rows in commands for burst in cut_rows(rows, row_bytes, master)])})


@stalls
@pytest.mark.parametrize("name", BURSTS)
def test_bursts(check, stall, name):
    """Of rows anywhere: none, one, some; in runs and each by itself; across many multiples of 4 KB."""
    rng, (row_bytes, master) = random.Random(SEED), BURSTS[name]
    check_bursts(check, name, [random_rows(rng, row_bytes, master, 9) for _ in range(300)])


@stalls
def test_bursts_of_many_rows(check, stall):
    """As many as a command can name, in one run; many by themselves."""
    rng, (row_bytes, master) = random.Random(SEED), BURSTS["runs"]
    runs = [{"address": random_rows(rng, row_bytes, master, 1)["address"], "stride": row_bytes, "rows": rows}
            for rows in (0xffff, 0x8000, *(1 << n | rng.getrandbits(n) for n in range(4, 16)))]
    # Near to where 4 KB begin to be what ends a burst.
    near = [{"address": 5 * BOUNDARY - master.data_bytes * (master.burst_beats + beats), "stride": row_bytes,
             "rows": 200} for beats in range(-9, 10)]
    each = [random_rows(rng, row_bytes, master, 1) | {"stride": BOUNDARY + row_bytes, "rows": rows}
            for rows in (17, 0x155, 0xaaa)]
    check_bursts(check, "runs", [*runs, *near, *each])


class FetcherBench(wiring.Component):
    """A fetcher whose requests the bench answers as fast as it likes.

    Parameters
    ----------
    row_bytes, out_bytes, parameters

    Members
    -------
    command, request, o
        As of `RowFetcher`.
    beat : In(stream)
        What is read, in order.
    finished_valid, finished : Out
        The faults of each command, and whether it was under way until then, and is not in the next cycle.
    """

    def __init__(self, row_bytes: int, out_bytes: int, parameters: MasterParameters) -> None:
        self.fetcher = RowFetcher(row_bytes, out_bytes, parameters)
        beat = data.StructLayout({"data": parameters.data_bits, "fault": fault_layout()})
        finished = data.StructLayout({"faults": fault_layout(), "under_way": 1, "idle": 1})
        super().__init__({
            "command": In(stream.Signature(fetch_layout())), "request": Out(stream.Signature(burst_layout(parameters))),
            "beat": In(stream.Signature(beat)), "o": Out(stream.Signature(8 * out_bytes)),
            "finished_valid": Out(1), "finished": Out(finished)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.fetcher = fetcher = self.fetcher
        wiring.connect(m, wiring.flipped(self.command), fetcher.command)
        wiring.connect(m, fetcher.o, wiring.flipped(self.o))
        answer_requests(m, self, fetcher)
        m.d.comb += [self.finished_valid.eq(delay(m, fetcher.finished, 1, name="finished")),
                     self.finished.faults.eq(delay(m, fetcher.faults.as_value(), 1, name="faults")),
                     self.finished.under_way.eq(~delay(m, fetcher.idle, 1, name="idle")),
                     self.finished.idle.eq(fetcher.idle)]
        return m


@stalls
@pytest.mark.parametrize("name", FETCHERS)
def test_fetched_rows(check, stall, name):
    """What was read becomes rows; zeros stand for those that are not asked for; faults are those of the command."""
    rng, (row_bytes, out_bytes, master) = random.Random(SEED), FETCHERS[name]
    commands, requests, beats, outs, finished = [], [], [], [], []
    for _ in range(150):
        command = random_rows(rng, row_bytes, master, 9) | {"zeros": rng.random() < 0.2}
        asked = [] if command["zeros"] else cut_rows(command, row_bytes, master)
        share = rng.choice([0, 0, 0.02, 0.2])
        read = [{"data": rng.getrandbits(master.data_bits), "fault": random_fault(rng, share)}
                for burst in asked for _ in range(burst["beats"])]
        each = ceil_div(row_bytes, master.data_bytes)
        rows = [b"".join(beat["data"].to_bytes(master.data_bytes, "little") for beat in read[at:at + each])[:row_bytes]
                for at in range(0, len(read), each)] or [bytes(row_bytes)] * command["rows"]
        outs += [int.from_bytes(row[at:at + out_bytes], "little") for row in rows
                 for at in range(0, row_bytes, out_bytes)]
        faults = {kind: max((beat["fault"][kind] for beat in read), default=0) for kind in FINE}
        finished.append({"faults": faults, "under_way": 1, "idle": 1})
        commands.append(command)
        requests += asked
        beats += read
    check(FetcherBench(row_bytes, out_bytes, master), f"row-fetcher-{name}",
          {"command": Offer(commands), "beat": Offer(beats)},
          {"request": Expect(requests), "o": Expect(outs), "finished": Expect(finished)})


@pytest.mark.parametrize("stall", ["none"])
def test_as_many_zeros_as_can_be_named(check, stall):
    """And fewer; a row that is read behind each, and not among them."""
    rng, (row_bytes, out_bytes, master) = random.Random(SEED), FETCHERS["runs"]
    commands, requests, beats, outs = [], [], [], []
    for rows in (700, 411, 1300, 0xffff):
        command = {"address": rng.getrandbits(48) // BOUNDARY * BOUNDARY, "stride": 0, "rows": rows}
        commands += [command | {"zeros": 1}, command | {"rows": 1, "zeros": 0}]
        requests += cut_rows(command | {"rows": 1}, row_bytes, master)
        row = [rng.getrandbits(8 * out_bytes) for _ in range(row_bytes // out_bytes)]
        beats += [{"data": beat, "fault": FINE} for beat in row]
        outs += [0] * (row_bytes // out_bytes * rows) + row
    check(FetcherBench(row_bytes, out_bytes, master), "row-fetcher-runs",
          {"command": Offer(commands), "beat": Offer(beats)},
          {"request": Expect(requests), "o": Expect(outs),
           "finished": Expect([{"faults": FINE, "under_way": 1, "idle": 1}] * len(commands))})
