"""What every engine's ports and work list carry: one layout per stream, from the configuration's widths."""

from amaranth import signed
from amaranth.lib import data

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS

__all__ = ["COUNT_BITS", "compute_layout", "head_entry_layout", "job_layout", "key_shape", "length_shape",
           "load_layout", "output_layout", "parameter_layout", "query_load_layout"]

def key_shape(config: AttentionConfig) -> range:
    """Shape of a key index."""
    return range(max(2, config.max_seq_len))


def length_shape(config: AttentionConfig) -> range:
    """Shape of a number of keys."""
    return range(config.max_seq_len + 1)


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


def output_layout(config: AttentionConfig) -> data.StructLayout:
    """`normalizer_lanes` consecutive elements of one output row."""
    return data.StructLayout({"data": data.ArrayLayout(signed(config.out_bits), config.normalizer_lanes),
                              "row_last": 1, "job_last": 1})
