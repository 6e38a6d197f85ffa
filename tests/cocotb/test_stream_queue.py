"""Stream queue under the stall matrix: every item once, in order, and none lost; what it says of its level."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.stream_queue import StreamQueue
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED


class CountedQueue(wiring.Component):
    """A queue beside a count of what it holds, which never heeds its `room`: it fills, and its source waits.

    Parameters
    ----------
    queue
        With a `producer_latency`.

    Members
    -------
    wrong : Out(1)
        Level, room or overflow is not what the count says.
    """

    def __init__(self, queue):
        self.queue = queue
        super().__init__({"i": In(stream.Signature(9)), "o": Out(stream.Signature(9)), "wrong": Out(1)})

    def elaborate(self, platform):
        """Count."""
        m = Module()
        m.submodules.queue = queue = self.queue
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        count, room = Signal(range(queue.depth + 2)), Signal()
        level = count - self.o.valid
        m.d.sync += [count.eq(count + (self.i.valid & self.i.ready) - (self.o.valid & self.o.ready)),
                     room.eq(level < queue.depth - queue.under_way)]
        m.d.comb += self.wrong.eq((queue.level != level) | (queue.room != room)
                                  | (queue.overflow != (self.i.valid & ~self.i.ready)))
        return m


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("depth", [9])
def test_stream_queue(depth, check):
    rng = random.Random(SEED)
    items = [rng.getrandbits(9) for _ in range(300)]
    check(CountedQueue(StreamQueue(9, depth, producer_latency=3)), f"queue{depth}", {"i": Offer(items)},
          {"o": Expect(items)}, quiet=["wrong"])
