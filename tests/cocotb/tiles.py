"""What the benches of a tile engine's blocks share: builds, and tiles that stand while their items pass."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.stream_queue import StreamQueue
from tests.cocotb.blocks import SINGLE, WIDE
from tests.cocotb.weighed import paused

KINDS = ("relative", "mass")


def tile_build(core, name: str, **sizes) -> MemoryBuild:
    """Return a build of some shape."""
    return MemoryBuild(core=core.replace(name=name), **sizes)


THREE_ROWS = tile_build(WIDE.replace(threshold_kinds=KINDS, key_groups=4), "three-rows", tile_rows=3, bus_bytes=8)
LONE_ROW = tile_build(SINGLE.replace(threshold_kinds=KINDS, key_groups=8), "lone-row", tile_rows=1)
NO_GROUPS = tile_build(WIDE.replace(threshold_kinds=("mass",), head_dim=64, dim_lanes=64, max_seq_len=300), "no-groups",
                       tile_rows=4)
ONE_GROUP = tile_build(WIDE.replace(key_groups=1, weight_bits=14), "one-group", tile_rows=4)
TWO_GROUPS = tile_build(WIDE.replace(key_groups=2, head_dim=64, dim_lanes=64, estimate_bits=3, weight_bits=10),
                        "two-groups", tile_rows=5, bus_bytes=8)
WHOLE = MemoryBuild()


def standing(m: Module, tiles: stream.Interface, ended) -> tuple[data.View, Signal]:
    """Return (the present tile of a stream, whether it begins now); the next one begins behind the one that `ended`."""
    present, under_way = Signal(tiles.payload.shape()), Signal()
    begins = tiles.valid & tiles.ready
    m.d.comb += tiles.ready.eq(~under_way)
    with m.If(begins):
        m.d.sync += [present.eq(tiles.payload), under_way.eq(1)]
    with m.Elif(ended):
        m.d.sync += under_way.eq(0)
    begun = Signal()
    m.d.sync += begun.eq(begins)
    return present, begun


def hold_up(m: Module, name: str, source: stream.Interface, sink: stream.Interface, cycles: int) -> None:
    """Connect an output of a block that is not taken now and then, for so many cycles."""
    m.submodules[name] = queue = StreamQueue(source.payload.shape())
    takes = ~paused(m, cycles)
    m.d.comb += [queue.i.payload.eq(source.payload), queue.i.valid.eq(source.valid & takes),
                 source.ready.eq(queue.i.ready & takes)]
    wiring.connect(m, sink, queue.o)
