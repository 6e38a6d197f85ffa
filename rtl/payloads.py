"""What travels between the blocks: one layout per stream, from the configuration's widths."""

from amaranth import Shape, signed
from amaranth.lib import data

from latte.golden.config import AttentionConfig
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.operand_split import element_layout

__all__ = ["COUNT_BITS", "compute_layout", "group_layout", "head_entry_layout", "job_layout", "key_shape",
           "load_layout", "output_layout", "parameter_layout", "query_element", "query_load_layout",
           "row_layout", "score_layout", "slot_shape", "survivor_layout", "tile_layout", "weight_layout"]

COUNT_BITS = 16
"""Row counts and head numbers at the ports: wide enough to say, and so to refuse, more than any build holds."""


def key_shape(config: AttentionConfig) -> range:
    """Shape of a key index."""
    return range(max(2, config.max_seq_len))


def length_shape(config: AttentionConfig) -> range:
    """Shape of a number of keys."""
    return range(config.max_seq_len + 1)


def query_element(config: AttentionConfig) -> Shape | data.StructLayout:
    """Shape of a query element as the estimator holds it: its high half; both halves in the dense baseline."""
    return element_layout(config.split) if config.engine == "dense" else signed(4)


def slot_shape(config: AttentionConfig) -> range:
    """Shape of a row index of the query ring buffer."""
    return range(config.query_rows)


def head_entry_layout(config: AttentionConfig) -> data.StructLayout:
    """One entry of the head-wise register file: `latte.golden.attention.HeadParameters`."""
    return data.StructLayout({
        "tau": config.est_bits, "scale_mantissa": SCALE_MANTISSA_BITS, "scale_shift": SCALE_SHIFT_BITS})


def parameter_layout(config: AttentionConfig) -> data.StructLayout:
    """Write of one register file entry."""
    return data.StructLayout({"head": COUNT_BITS, **head_entry_layout(config).members})


def job_layout() -> data.StructLayout:
    """One item of the work list: load `load_rows` keys and values, then compute `query_rows` queries.

    `fresh` starts a new sequence; otherwise the rows are appended to the present one (none: its keys are used
    again, as grouped-query attention does). The queries are the last positions; causal query ``r`` of ``m`` sees
    keys ``0 .. n - m + r``.
    """
    return data.StructLayout({"head": COUNT_BITS, "load_rows": COUNT_BITS, "fresh": 1, "query_rows": COUNT_BITS,
                              "causal": 1})


def load_layout() -> data.StructLayout:
    """Command to the K and V loaders: `rows` rows from row `start` of `bank`, or just read off and dropped."""
    return data.StructLayout({"start": COUNT_BITS, "rows": COUNT_BITS, "bank": 1, "drop": 1})


def query_load_layout() -> data.StructLayout:
    """Command to the query loader: keep, or drop, the next `rows` rows."""
    return data.StructLayout({"rows": COUNT_BITS, "drop": 1})


def compute_layout(config: AttentionConfig) -> data.StructLayout:
    """One job whose keys and values are in place."""
    return data.StructLayout({
        "entry": head_entry_layout(config), "rows": COUNT_BITS, "keys": length_shape(config), "causal": 1,
        "bank": 1})


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
    """A survivor's compensated score."""
    return data.StructLayout({"score": signed(config.score_bits), "key": key_shape(config), "row_last": 1})


def weight_layout(config: AttentionConfig) -> data.StructLayout:
    """A survivor's softmax weight."""
    return data.StructLayout({"weight": config.weight_bits, "key": key_shape(config), "bank": 1, "row_last": 1,
                              "job_last": 1})


def output_layout(config: AttentionConfig) -> data.StructLayout:
    """`normalizer_lanes` consecutive elements of one output row."""
    return data.StructLayout({"data": data.ArrayLayout(signed(config.out_bits), config.normalizer_lanes),
                              "row_last": 1, "job_last": 1})


