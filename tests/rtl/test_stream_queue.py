"""The queue's promises: nothing is lost behind a producer that cannot stop at once, and nobody waits without need."""

import collections
import random

import pytest
from amaranth.sim import Simulator

from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.wide_core import WideCore
from tests.rtl.latency.measure import WIDE

CYCLES = 400


def run(queue: StreamQueue, takes, begins=lambda cycle: True) -> tuple[list[int], list[bool], int]:
    """Feed a queue through a pipeline of its `producer_latency`; return (items taken, when one was there, the fullest).

    `takes` and `begins` say by cycle whether the consumer takes an item, and the producer has one.
    """
    taken, there, fullest = [], [], 0

    async def bench(ctx):
        nonlocal fullest
        pipeline = collections.deque([None] * queue.producer_latency)
        item = 0
        for cycle in range(CYCLES):
            begun = item if ctx.get(queue.room) and begins(cycle) else None
            item += begun is not None
            pipeline.append(begun)
            arrives = pipeline.popleft()
            ctx.set(queue.i.valid, arrives is not None)
            ctx.set(queue.i.payload, arrives or 0)
            ctx.set(queue.o.ready, takes(cycle))
            assert not ctx.get(queue.overflow), f"cycle {cycle}"
            there.append(bool(ctx.get(queue.o.valid)))
            if there[-1] and takes(cycle):
                taken.append(ctx.get(queue.o.payload))
            fullest = max(fullest, ctx.get(queue.level))
            await ctx.tick()

    simulator = Simulator(queue)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return taken, there, fullest


@pytest.mark.parametrize("latency", [1, 2, 7, 13])
def test_endless_producer_and_consumer_never_wait(latency):
    queue = StreamQueue(16, producer_latency=latency)
    # The consumer stands still until everything under way has arrived, then takes all it gets.
    stop = 3 * queue.depth
    taken, there, fullest = run(queue, lambda cycle: cycle >= stop)
    assert all(there[stop:]), f"a gap behind cycle {there[stop:].index(False)}"
    assert taken == list(range(len(taken))) and len(taken) == CYCLES - stop
    assert fullest == queue.depth - 1, "places that are never used"


@pytest.mark.parametrize("latency", [1, 2, 7, 13])
def test_three_entries_fewer_make_gaps(latency):
    for fewer, gapless in ((2, True), (3, False)):
        queue = StreamQueue(16, StreamQueue.gapless_depth(latency) - fewer, producer_latency=latency)
        stop = 3 * queue.depth
        assert all(run(queue, lambda cycle, stop=stop: cycle >= stop)[1][stop:]) == gapless


@pytest.mark.parametrize("latency", [1, 4, 11])
@pytest.mark.parametrize("spare", [1, 5])
@pytest.mark.parametrize("every_other", [False, True])
def test_nothing_is_lost(latency, spare, every_other):
    seed = 3
    print(f"seed {seed}")
    rng = random.Random(seed)
    pauses = [rng.random() < 0.5 for _ in range(CYCLES)]
    idle = [rng.random() < 0.8 for _ in range(CYCLES)]
    depth = StreamQueue.count_under_way(latency) + spare
    queue = StreamQueue(16, depth, producer_latency=latency, every_other=every_other)
    taken, _, _ = run(queue, pauses.__getitem__, idle.__getitem__)
    assert taken == list(range(len(taken))) and len(taken) > 20


def test_depth_must_hold_what_is_under_way():
    with pytest.raises(ValueError, match="under way"):
        StreamQueue(8, 5, producer_latency=3)


def test_shortest_query_ring_is_long_enough():
    """The row queue is as deep as the ring; the least of a configuration leaves room behind the scanner."""
    WideCore(WIDE.replace(query_lanes=1, query_rows=4)).elaborate(None)
