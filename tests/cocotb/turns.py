"""What the benches of memories share: items of one input that wait for those of another."""

import random
from collections.abc import Iterator

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream

from latte.golden.config import AttentionConfig

_COUNT_BITS = 14


def turn_layout(item: ShapeLike) -> data.StructLayout:
    """Layout of an item that comes ``after`` so many others have passed."""
    return data.StructLayout({"item": item, "after": _COUNT_BITS})


def count(m: Module, event: Value, name: str) -> Signal:
    """Return in how many cycles a bit was set."""
    counter = Signal(_COUNT_BITS, name=name)
    m.d.sync += counter.eq(counter + event)
    return counter


def take_turns(m: Module, source: stream.Interface, passed: Value, ready: Value = 1) -> Value:
    """Return whether an item of `source` is taken: if so many others have `passed`, and something is `ready` for it."""
    taken = source.valid & (passed >= source.payload.after) & ready
    m.d.comb += source.ready.eq(taken)
    return taken


def load_rows(m: Module, rows: stream.Interface, keys: stream.Interface, q: stream.Interface, load_cycles: int
              ) -> tuple[Value, Signal]:
    """Load rows into an array beside the keys that ask for them; return (a key is taken, the array is late).

    It is late if it is not ready again `load_cycles` after a row.
    """
    loaded = count(m, rows.valid & rows.ready, "loaded")
    key = take_turns(m, keys, loaded - ~q.ready)
    offered = rows.valid & (count(m, key, "passed") >= rows.payload.after)
    m.d.comb += [q.payload.eq(rows.payload.item), q.valid.eq(offered), rows.ready.eq(offered & q.ready)]
    since = Signal(range(load_cycles + 1), init=load_cycles)
    m.d.sync += since.eq(Mux(offered & q.ready, 1, Mux(since == load_cycles, since, since + 1)))
    return key, (since == load_cycles) & ~q.ready


def loaded_tiles(rng: random.Random, config: AttentionConfig, number: int
                 ) -> Iterator[tuple[int, list[int], int, int, int]]:
    """Yield (bank, rows, keys that come before them, rows that come before the keys, keys) of tiles.

    Mostly in turns; a bank is loaded again when its last key has passed, be there keys of the other bank or not yet.
    """
    passed, loaded, asked, bank = [0, 0], 0, 0, 0
    for _ in range(number):
        bank = rng.choice([1 - bank, 1 - bank, bank])
        lanes = config.query_lanes
        rows = rng.sample(range(lanes), rng.choice([lanes, rng.randint(1, lanes)]))
        keys = rng.choice([1, 2, rng.randint(1, 8), 40])
        before = passed[bank]
        loaded += len(rows)
        asked += keys
        passed[bank] = asked
        yield bank, rows, before, loaded, keys
