"""What every engine's ports and work list carry: one layout per stream, from the configuration's widths."""

from amaranth import signed
from amaranth.lib import data

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.golden.quantizer import MASS_CODE_BITS, SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.common.entry_words import GAIN_BITS, KIND_BITS

__all__ = ["COUNT_BITS", "code_bits", "code_layout", "compute_layout", "groups_layout", "head_entry_layout",
           "job_layout", "key_shape", "length_shape", "load_layout", "output_layout", "query_load_layout",
           "verdict_layout"]


def key_shape(config: AttentionConfig) -> range:
    """Shape of a key index."""
    return range(max(2, config.max_seq_len))


def length_shape(config: AttentionConfig) -> range:
    """Shape of a number of keys."""
    return range(config.max_seq_len + 1)


def code_bits(config: AttentionConfig) -> int:
    """Width of a threshold's code; that of an absolute one is signed."""
    return max(config.est_bits, MASS_CODE_BITS if "mass" in config.threshold_kinds else 0)


def head_entry_layout(config: AttentionConfig) -> data.StructLayout:
    """What the rows of a job need of its entry of the register file (`latte.golden.attention.HeadParameters`).

    ``tau`` in a build with one code, else ``kind`` if there are several, by its place in `ThresholdKind`; the softmax
    scale; gains, and how many comparisons make a key's group, in a build that has them.
    """
    fields: dict[str, int] = {} if config.code_octaves else {"tau": config.est_bits}
    fields |= {"scale_mantissa": SCALE_MANTISSA_BITS, "scale_shift": SCALE_SHIFT_BITS}
    if len(config.threshold_kinds) > 1:
        fields["kind"] = KIND_BITS
    if config.key_groups:
        fields |= {"denominator_gain": GAIN_BITS, "mean_gain": GAIN_BITS}
    if config.group_bits:
        fields["group_bits"] = ceil_log2(config.group_bits + 1)
    return data.StructLayout(fields)


def groups_layout(config: AttentionConfig) -> data.StructLayout:
    """How a sequence's keys are grouped (`latte.golden.key_groups`): the first `group_bits` comparisons are used."""
    return data.StructLayout({
        "group_bits": ceil_log2(config.group_bits + 1),
        "elements": data.ArrayLayout(ceil_log2(config.head_dim), config.group_bits),
        "cuts": data.ArrayLayout(signed(8), config.group_bits)})


def code_layout(config: AttentionConfig, slots: int) -> data.StructLayout:
    """A threshold's code of one octave on its way to the memory of the accepted jobs' codes."""
    return data.StructLayout({"slot": range(max(2, slots)), "octave": ceil_log2(config.code_octaves.stop),
                              "code": code_bits(config)})


def job_layout() -> data.StructLayout:
    """One item of the work list: load `load_rows` keys and values, then compute `query_rows` queries.

    `fresh` starts a new sequence; otherwise the rows are appended to the present one (none: its keys are used
    again, as grouped-query attention does). The queries are the last positions; causal query ``r`` of ``m`` sees
    keys ``0 .. n - m + r``.
    """
    return data.StructLayout({"head": COUNT_BITS, "load_rows": COUNT_BITS, "fresh": 1, "query_rows": COUNT_BITS,
                              "causal": 1})


def verdict_layout() -> data.StructLayout:
    """What became of a job, in the cycle of `valid`: one of `latte.golden.jobs.REFUSALS`, or none of them."""
    return data.StructLayout({"valid": 1, **dict.fromkeys(REFUSALS, 1)})


def load_layout() -> data.StructLayout:
    """Command to the K and V loaders: `rows` rows from row `start` of `bank`, or just read off and dropped."""
    return data.StructLayout({"start": COUNT_BITS, "rows": COUNT_BITS, "bank": 1, "drop": 1})


def query_load_layout() -> data.StructLayout:
    """Command to the query loader: keep, or drop, the next `rows` rows."""
    return data.StructLayout({"rows": COUNT_BITS, "drop": 1})


def compute_layout(config: AttentionConfig, slots: int = 1) -> data.StructLayout:
    """One job whose keys and values are in place.

    With more than one of `slots` it says in which of them its codes are (`code_layout`).
    """
    slot = {"slot": range(slots)} if slots > 1 else {}
    return data.StructLayout({
        "entry": head_entry_layout(config), "rows": COUNT_BITS, "keys": length_shape(config), "causal": 1,
        "bank": 1, **slot})


def output_layout(config: AttentionConfig) -> data.StructLayout:
    """`normalizer_lanes` consecutive elements of one output row."""
    return data.StructLayout({"data": data.ArrayLayout(signed(config.out_bits), config.normalizer_lanes),
                              "row_last": 1, "job_last": 1})
