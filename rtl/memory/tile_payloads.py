"""What travels between the blocks of a tile engine, from the build's sizes."""

from amaranth import Shape, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data

from latte.golden.config import AttentionConfig, ceil_div
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.golden.pruned_mass import UNIT_BITS
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.common.entry_words import GAIN_BITS
from latte.rtl.common.payloads import key_shape
from latte.rtl.memory.payloads import selected_row_layout
from latte.rtl.wide.payloads import denominator_bits
from latte.rtl.wide.softmax import rescale_layout

__all__ = ["check_master", "chunk_lanes", "chunk_layout", "group_shape", "merged_layout", "part_shape",
           "row_denominator_layout", "row_rescale_layout", "row_shape", "score_shape", "tile_config", "tile_row_layout",
           "unit_layout", "weighed_layout"]


def tile_config(build: MemoryBuild) -> AttentionConfig:
    """Return the arithmetic of a build with the lanes that its bus feeds: a beat of V is a slice.

    Raises
    ------
    LatteError
        Rows of V are not whole beats.
    """
    core = build.core
    if core.head_dim % build.bus_bytes:
        raise LatteError(f"head_dim = {core.head_dim} must be a multiple of the {build.bus_bytes} bytes of a beat, "
                         "which hold a slice of a value")
    return core.replace(bus_bytes=build.bus_bytes, value_lanes=build.bus_bytes, dim_lanes=core.head_dim,
                        cross_lanes=core.head_dim)


def check_master(build: MemoryBuild, parameters: MasterParameters) -> None:
    """Raise `LatteError` if the master's beats are not those of the build's pages."""
    if parameters.data_bytes != build.bus_bytes:
        raise LatteError(f"the master's data width of {parameters.data_bits} bits must be that of the memory's pages, "
                         f"{8 * build.bus_bytes}")


def chunk_lanes(build: MemoryBuild) -> int:
    """Return the elements of K that are multiplied in a cycle: no more than come in a beat, if they have 4 bits."""
    d = build.core.head_dim
    return next(d // chunks for chunks in range(ceil_div(d, 2 * build.bus_bytes), d + 1)
                if d % chunks == 0 and d // chunks % 8 == 0)


def part_shape(build: MemoryBuild) -> Shape:
    """Shape that holds an element's high part as well as its low one."""
    core = build.core
    return signed(max(core.estimate_bits, core.low_bits + (core.split == "slice")))


def chunk_layout(build: MemoryBuild) -> data.StructLayout:
    """So many elements of a plane of K.

    ``low``: they are low parts. ``number`` of the chunk in its row, of which it may be the `last`. ``group``: of the
    key, with the last chunk of a high row that is streamed.
    """
    lanes = chunk_lanes(build)
    group = {"group": build.core.group_bits} if build.core.group_bits else {}
    return data.StructLayout({"elements": data.ArrayLayout(part_shape(build), lanes), "low": 1,
                              "number": range(max(2, build.core.head_dim // lanes)), "last": 1, **group})


def row_shape(build: MemoryBuild) -> range:
    """Shape of a row's number in its tile."""
    return range(max(2, build.tile_rows))


def group_shape(build: MemoryBuild) -> range:
    """Shape of the number of a group of keys."""
    return range(max(2, build.core.key_groups))


def tile_row_layout(build: MemoryBuild) -> data.StructLayout:
    """One query row of a tile: what its selector has to know but the table, and the head's scale and gains."""
    fields: dict[str, ShapeLike] = {name: field.shape for name, field in selected_row_layout(build)
                                    if name not in ("streamed", "table", "compensated")}
    fields |= {"scale_mantissa": SCALE_MANTISSA_BITS, "scale_shift": SCALE_SHIFT_BITS}
    if build.core.key_groups:
        fields |= {"denominator_gain": GAIN_BITS, "mean_gain": GAIN_BITS}
    return data.StructLayout(fields)


def merged_layout(build: MemoryBuild, shape: ShapeLike) -> data.StructLayout:
    """A key that some of a tile's rows keep: ``rows``, a bit for each, and what each of them says of it.

    ``values``: of rows that do not keep it, anything. ``spilled``: rows whose candidate it was in memory. ``last`` of
    the tile.
    """
    return data.StructLayout({"place": key_shape(build.core), "rows": build.tile_rows, "spilled": build.tile_rows,
                              "values": data.ArrayLayout(Shape.cast(shape), build.tile_rows), "last": 1})


def score_shape(build: MemoryBuild) -> signed:
    """Shape of a score."""
    return signed(build.core.score_bits)


def weighed_layout(build: MemoryBuild) -> data.StructLayout:
    """A key with its weight in each row, 0 in those that do not keep it.

    ``fetch``: it weighs something, so its value is fetched. ``last`` of the tile, which alone may weigh nothing.
    """
    return data.StructLayout({"place": key_shape(build.core), "fetch": 1, "last": 1,
                              "weights": data.ArrayLayout(build.core.weight_bits, build.tile_rows)})


def row_rescale_layout(build: MemoryBuild) -> data.StructLayout:
    """What brings a row's pruned mass to its largest score."""
    return data.StructLayout({"row": row_shape(build), **rescale_layout(build.core).members})


def unit_layout(build: MemoryBuild) -> data.StructLayout:
    """The weight of a row's virtual survivor of one group; ``last`` of the row."""
    return data.StructLayout({"row": row_shape(build), "group": group_shape(build), "unit": UNIT_BITS, "last": 1})


def row_denominator_layout(build: MemoryBuild) -> data.StructLayout:
    """What the pruned mass adds to a row's sum of weights."""
    return data.StructLayout({"row": row_shape(build), "denominator": denominator_bits(build.core)})
