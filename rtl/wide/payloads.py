"""What travels between the wide engine's blocks: one layout per stream, from the configuration's widths."""

from amaranth import Shape, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data

from latte.golden.config import AttentionConfig
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.common.operand_split import HALF_BITS, element_layout
from latte.rtl.common.payloads import head_entry_layout, key_shape, length_shape

__all__ = ["group_layout", "query_element", "query_row_layout", "row_layout", "score_layout", "slot_shape",
           "survivor_layout", "tile_layout", "weight_layout"]


def slot_shape(config: AttentionConfig) -> range:
    """Shape of a row index of the query ring buffer."""
    return range(config.query_rows)


def query_element(config: AttentionConfig, whole_elements: bool) -> Shape | data.StructLayout:
    """Shape of a query element as the array holds it: its high half, or both halves."""
    return element_layout(config.split) if whole_elements else signed(HALF_BITS)


def query_row_layout(config: AttentionConfig, element: ShapeLike) -> data.StructLayout:
    """Payload that loads one query row: which row of which bank, and its high half (or its whole elements)."""
    # At least one bit for the row: Signal(range(1)) has none.
    return data.StructLayout({
        "row": range(max(2, config.query_lanes)),
        "bank": 1,
        "hi": data.ArrayLayout(element, config.head_dim),
    })


def tile_layout(config: AttentionConfig) -> data.StructLayout:
    """One tile of up to `query_lanes` query rows.

    `first_keys` and `last_keys` are the numbers of keys that its first and last row see; `slot` is the first row's
    place in the query ring buffer.
    """
    return data.StructLayout({
        "entry": head_entry_layout(config), "rows": range(config.query_lanes + 1),
        "first_keys": length_shape(config), "last_keys": length_shape(config), "causal": 1, "bank": 1,
        "slot": slot_shape(config), "job_last": 1})


def group_layout(config: AttentionConfig) -> data.StructLayout:
    """Estimates of `pairs_per_cycle` consecutive keys of one row, of which `keep` survive."""
    pairs = config.pairs_per_cycle
    return data.StructLayout({
        "keep": pairs, "estimate": data.ArrayLayout(signed(config.est_bits), pairs), "key": key_shape(config),
        "slot": slot_shape(config), "bank": 1, "row_last": 1})


def row_layout(config: AttentionConfig) -> data.StructLayout:
    """What the softmax has to know of a row."""
    return data.StructLayout({"scale_mantissa": SCALE_MANTISSA_BITS, "scale_shift": SCALE_SHIFT_BITS, "bank": 1,
                              "job_last": 1})


def survivor_layout(config: AttentionConfig) -> data.StructLayout:
    """One surviving key of one row."""
    return data.StructLayout({"estimate": signed(config.est_bits), "key": key_shape(config),
                              "slot": slot_shape(config), "bank": 1, "row_last": 1})


def score_layout(config: AttentionConfig) -> data.StructLayout:
    """A survivor's score."""
    return data.StructLayout({"score": signed(config.score_bits), "key": key_shape(config), "row_last": 1})


def weight_layout(config: AttentionConfig) -> data.StructLayout:
    """A survivor's softmax weight."""
    return data.StructLayout({"weight": config.weight_bits, "key": key_shape(config), "bank": 1, "row_last": 1,
                              "job_last": 1})
