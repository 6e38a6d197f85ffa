"""Output rows on their way out: beats of elements of whole bytes, and how many of them wait."""

import random

import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_div, preset
from latte.rtl.axi.bus import StreamParameters
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.common.payloads import output_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, limits, of_signed
from tests.cocotb.test_axi_core import SERIAL, UNEVEN

stalls = pytest.mark.parametrize("stall", STALLS)
GIVE, LOOK, TAKE, FLOW = range(4)
SETTLED = 16
"""Cycles in which what was given has come to the queue."""


class PackerBench(wiring.Component):
    """A packer with what is done to it in one order.

    Parameters
    ----------
    packer

    Members
    -------
    steps : In(stream)
        GIVE an item of outputs, LOOK at the level when all is settled, let the listener TAKE a beat, or, from now on,
        as many as it likes (FLOW).
    beat : Out(stream)
        As of bytes.
    level : Out
        What was seen, if `level_valid`.
    """

    def __init__(self, packer: OutputPacker) -> None:
        self.packer = packer
        members, size = packer.signature.members, packer.parameters.data_bytes
        step = data.StructLayout({"step": 2, "flows": 1, "o": output_layout(packer.config)})
        beat = data.StructLayout({"data": data.ArrayLayout(8, size), "strobe": size})
        super().__init__({"steps": In(stream.Signature(step)), "beat": Out(stream.Signature(beat)),
                          "level": members["level"], "level_valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.packer = packer = self.packer
        step, waited, flows, opened = self.steps.payload, Signal(range(SETTLED + 1)), Signal(), Signal()
        takes = self.steps.valid & (step.step == TAKE)
        m.d.comb += [
            packer.o.payload.eq(step.o), packer.o.valid.eq(self.steps.valid & (step.step == GIVE)),
            self.beat.payload.as_value().eq(packer.beat.payload.as_value()), opened.eq(flows | takes),
            self.beat.valid.eq(packer.beat.valid & opened), packer.beat.ready.eq(self.beat.ready & opened),
            self.level.eq(packer.level), self.level_valid.eq(waited == SETTLED),
        ]
        with m.Switch(step.step):
            with m.Case(GIVE):
                m.d.comb += self.steps.ready.eq(packer.o.ready)
            with m.Case(LOOK):
                m.d.comb += self.steps.ready.eq(self.level_valid)
            with m.Case(TAKE):
                m.d.comb += self.steps.ready.eq(self.beat.valid & self.beat.ready)
            with m.Case(FLOW):
                m.d.comb += self.steps.ready.eq(1)
        # While beats leave, all have left before.
        rests = self.steps.valid & (step.step == LOOK) & ~self.level_valid & ~(flows & packer.beat.valid)
        m.d.sync += waited.eq(Mux(rests, waited + 1, 0))
        with m.If(self.steps.valid & (step.step == FLOW)):
            m.d.sync += flows.eq(step.flows)
        return m


class Outputs:
    """Steps of the bench, and what must be seen.

    Parameters
    ----------
    config, parameters
    rng
    """

    def __init__(self, config: AttentionConfig, parameters: StreamParameters, rng: random.Random) -> None:
        self.config, self.size, self.rng = config, parameters.data_bytes, rng
        self.element_bytes = 2 if config.out_bits <= 16 else 4
        self.row_bytes = config.head_dim * self.element_bytes
        self.steps, self.levels, self.beats = [], [], []

    def give(self, first: int = 0, level: int = 0) -> None:
        """Give a row, and say which beats must come of it; behind its `first` items let beats leave, after a look."""
        config, size, lanes = self.config, self.size, self.config.normalizer_lanes
        row = [of_signed(self.rng, config.out_bits) for _ in range(config.head_dim)]
        row[:2] = limits(config.out_bits)
        items = [{"step": GIVE, "o": {"data": row[at:at + lanes], "row_last": at + lanes == len(row),
                                      "job_last": self.rng.getrandbits(1)}} for at in range(0, len(row), lanes)]
        self.steps += items[:first]
        if first:
            self.look(level)
            self.flow(1)
        self.steps += items[first:]
        whole = b"".join(value.to_bytes(self.element_bytes, "little", signed=True) for value in row)
        for at in range(0, len(whole), size):
            given = whole[at:at + size]
            self.beats.append({"data": [*given, *[None] * (size - len(given))], "strobe": (1 << len(given)) - 1})

    def look(self, level: int) -> None:
        """See a level."""
        self.steps.append({"step": LOOK})
        self.levels.append(level)

    def take(self) -> None:
        """Take a beat."""
        self.steps.append({"step": TAKE})

    def flow(self, flows: int) -> None:
        """Let beats leave when they like, or no more."""
        self.steps.append({"step": FLOW, "flows": flows})


PACKERS: dict[str, tuple[AttentionConfig, StreamParameters]] = {
    "uneven": (UNEVEN, StreamParameters(data_bits=128)), "part": (SERIAL, StreamParameters(data_bits=128)),
    "narrow": (preset("tiny"), StreamParameters(data_bits=32))}


@stalls
@pytest.mark.parametrize("name", [name if name == "uneven" else pytest.param(name, marks=pytest.mark.slow)
                                  for name in PACKERS])
def test_outputs(check, stall, name):
    """Rows become beats; the level is what was given and not taken, at rest and behind a flow, and has its limit."""
    config, parameters = PACKERS[name]
    outputs = Outputs(config, parameters, random.Random(SEED))
    row_beats, item_bytes = ceil_div(outputs.row_bytes, outputs.size), outputs.element_bytes * config.normalizer_lanes
    rows = ceil_div(12, row_beats)
    packer = OutputPacker(config, parameters, rows * row_beats)
    assert packer.row_bytes == outputs.row_bytes
    for _ in range(3):
        outputs.look(0)
        for n in range(rows):
            outputs.give()
            outputs.look((n + 1) * row_beats)
        for n in range(rows * row_beats)[::-1]:
            outputs.take()
            outputs.look(n)
        for _ in range(rows):
            outputs.give()
        # So many more items are taken while nothing leaves: a beat, and the begin of another.
        outputs.give(outputs.size // item_bytes + 1, packer.depth)
        for _ in range(2 * packer.depth):
            outputs.give()
        outputs.look(0)
        outputs.flow(0)
    check(PackerBench(packer), f"packer-{name}", {"steps": Offer(outputs.steps)},
          {"beat": Expect(outputs.beats), "level": Expect(outputs.levels)})
