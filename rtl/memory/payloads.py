"""What travels between a row's selector and the core around it, from the build's sizes."""

from amaranth import signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data

from latte.golden.memory.build import LONGEST, MemoryBuild
from latte.golden.memory.selection import SPILLED_BYTES
from latte.rtl.common.entry_words import KIND_BITS
from latte.rtl.common.payloads import code_bits, key_shape, length_shape
from latte.rtl.wide.row_limits import limit_shape

__all__ = ["bound_shape", "candidate_layout", "compactions_shape", "estimate_layout", "listed_layout",
           "selected_row_layout", "spilled_layout", "summary_layout", "survivor_layout"]

_PLACE_BITS = (LONGEST - 1).bit_length()


def bound_shape(build: MemoryBuild) -> signed:
    """Shape of what an estimate must be above: up to a limit below any estimate, and one step below that."""
    return signed(build.core.est_bits + 2)


def selected_row_layout(build: MemoryBuild) -> data.StructLayout:
    """A row whose stream begins.

    ``keys``: that it sees, the first of the sequence. ``streamed``: that come, of the tile's last row. ``code``: of its
    threshold, for its octave; ``kind`` if there are several, by its place in `ThresholdKind`. ``table``: of its gap
    weights. ``compensated``: its head has gains; ``group_bits``: and so many comparisons in a key's group.
    """
    core = build.core
    fields: dict[str, ShapeLike] = {"keys": length_shape(core), "streamed": length_shape(core),
                                    "code": code_bits(core), "table": 1}
    if len(core.threshold_kinds) > 1:
        fields["kind"] = KIND_BITS
    if core.key_groups:
        fields["compensated"] = 1
    if core.group_bits:
        fields["group_bits"] = range(core.group_bits + 1)
    return data.StructLayout(fields)


def estimate_layout(build: MemoryBuild) -> data.StructLayout:
    """One key of the stream: its estimate, and its group's number in a build with several."""
    group = {"group": build.core.group_bits} if build.core.group_bits else {}
    return data.StructLayout({"estimate": signed(build.core.est_bits), **group})


def candidate_layout(build: MemoryBuild) -> data.StructLayout:
    """An entry of the list of candidates; ``place`` is the key's in the sequence."""
    return data.StructLayout({"place": key_shape(build.core), "estimate": signed(build.core.est_bits)})


def spilled_layout() -> data.StructLayout:
    """A candidate as it lies in memory, `SPILLED_BYTES` of them."""
    return data.StructLayout({"place": _PLACE_BITS, "estimate": signed(8 * SPILLED_BYTES - _PLACE_BITS)})


def listed_layout() -> data.StructLayout:
    """A candidate on its way there; ``last`` of its list."""
    return data.StructLayout({**spilled_layout().members, "last": 1})


def survivor_layout(build: MemoryBuild) -> data.StructLayout:
    """A key that survives; ``spilled``: it was in memory meanwhile. ``last`` of the row."""
    return data.StructLayout({**candidate_layout(build).members, "spilled": 1, "last": 1})


def compactions_shape(build: MemoryBuild) -> range:
    """Shape of how often a row finds its list full: each time, a quarter of its places have been taken anew."""
    return range(build.core.max_seq_len // (build.candidates - 3 * build.candidates // 4) + 1)


def summary_layout(build: MemoryBuild) -> data.StructLayout:
    """What a row's stream came to: fields as of `latte.golden.memory.selection.Selection`.

    ``lists``: of candidates that were written to memory. ``spilled``: candidates in them, to be read back.
    """
    return data.StructLayout({
        "row_max": signed(build.core.est_bits), "limit": limit_shape(build.core),
        "most_candidates": range(build.candidates + 1), "compactions": compactions_shape(build),
        "lists": compactions_shape(build), "spilled": length_shape(build.core)})
