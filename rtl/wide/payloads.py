"""What travels between the wide engine's blocks: one layout per stream, from the configuration's widths."""

from amaranth import Shape, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data
from amaranth.utils import bits_for

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.pruned_mass import GAIN_FRAC_BITS, GAIN_MAX, MASS_FRAC_BITS, UNIT_BITS, UNIT_FRAC_BITS
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.common.entry_words import GAIN_BITS
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import compute_layout, head_entry_layout, key_shape, length_shape

__all__ = ["code_slots", "denominator_bits", "factor_bits", "gap_weight_bits", "group_layout", "mass_bits",
           "query_element", "query_row_layout", "row_layout", "row_mark_layout", "score_layout", "slot_shape",
           "survivor_layout", "tile_job_layout", "tile_layout", "value_item_layout", "value_sum_bits", "weighs_gaps",
           "weight_layout", "weight_sum_bits", "word_bits"]


def weighs_gaps(config: AttentionConfig) -> bool:
    """Return whether a build weighs all keys by their estimates: for a threshold by mass, or to compensate."""
    return "mass" in config.threshold_kinds or config.key_groups > 0


def gap_weight_bits(config: AttentionConfig) -> int:
    """Unsigned width of a key's weight by its estimate (`latte.golden.pruned_mass.gap_weights`)."""
    return config.weight_bits + MASS_FRAC_BITS


def mass_bits(config: AttentionConfig) -> int:
    """Unsigned width of a sum of such weights over a row's keys."""
    return gap_weight_bits(config) + max(1, ceil_log2(config.max_seq_len))


def denominator_bits(config: AttentionConfig) -> int:
    """Unsigned width of what the pruned mass adds to a row's sum of weights."""
    most = config.key_groups * ((1 << config.sum_bits) - 1) * GAIN_MAX
    return bits_for((most + (1 << (GAIN_FRAC_BITS - 1))) >> GAIN_FRAC_BITS)


def weight_sum_bits(config: AttentionConfig) -> int:
    """Unsigned width of a row's divisor."""
    if not config.key_groups:
        return config.sum_bits
    return bits_for((1 << config.sum_bits) - 1 + (1 << denominator_bits(config)) - 1)


def factor_bits(config: AttentionConfig) -> int:
    """Unsigned width of the weight that a value is multiplied with; compensation has fraction bits in it."""
    return max(UNIT_BITS, config.weight_bits + UNIT_FRAC_BITS) if config.key_groups else config.weight_bits


def value_sum_bits(config: AttentionConfig) -> int:
    """Signed width of one element of a sum of values over keys."""
    return 8 + max(1, ceil_log2(config.max_seq_len))


def word_bits(config: AttentionConfig) -> int:
    """Signed width of one element of a row's weighted sum of values, without fraction bits."""
    if not config.key_groups:
        return config.acc_bits
    units = ((1 << UNIT_BITS) - 1) >> UNIT_FRAC_BITS
    return bits_for(128 * config.max_seq_len * ((1 << config.weight_bits) + units)) + 1


def slot_shape(config: AttentionConfig) -> range:
    """Shape of a row index of the query ring buffer."""
    return range(config.query_rows)


def query_element(config: AttentionConfig, whole_elements: bool) -> Shape | data.StructLayout:
    """Shape of a query element as the array holds it: its high half, or both halves."""
    return element_layout(config) if whole_elements else signed(config.estimate_bits)


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
        "slot": slot_shape(config), "job_last": 1,
        **({"codes": range(code_slots(config))} if config.code_octaves else {}), **_job_fields(config)})


def _job_fields(config: AttentionConfig) -> dict[str, ShapeLike]:
    """What a job carries beside its entry: which table has its gap weights, and whether its sequence is a new one."""
    return ({"table": 1} if weighs_gaps(config) else {}) | ({"restart": 1} if config.key_groups else {})


def code_slots(config: AttentionConfig) -> int:
    """Accepted jobs whose thresholds' codes are kept, by octave; 1: there is one code, in the entry."""
    return 8 if config.code_octaves else 1


def tile_job_layout(config: AttentionConfig) -> data.StructLayout:
    """One job for the tile sequencer.

    ``table``: which of two tables has its gap weights. ``restart``: it is the first to compute from its sequence.
    """
    return data.StructLayout({**compute_layout(config, code_slots(config)).members, **_job_fields(config)})


def row_mark_layout(config: AttentionConfig) -> data.StructLayout:
    """What goes with a row's survivors for the pruned mass: empty in a build that does not compensate.

    ``row_max``: its largest estimate. ``table``: of its gap weights. ``compensated``: its head has gains;
    ``group_bits``: and so many comparisons in a key's group.
    """
    fields: dict[str, ShapeLike] = {}
    if weighs_gaps(config):
        fields |= {"table": 1, "job_last": 1}
    if config.key_groups:
        fields |= {"row_max": signed(config.est_bits), "compensated": 1}
    if config.group_bits:
        fields["group_bits"] = range(config.group_bits + 1)
    return data.StructLayout(fields)


def _groups(config: AttentionConfig, count: int | None = None) -> dict[str, ShapeLike]:
    """Return the field of a key's group, or of the groups of `count` keys, in a build that has several."""
    if not config.group_bits:
        return {}
    return {"group": config.group_bits} if count is None else {"groups": data.ArrayLayout(config.group_bits, count)}


def group_layout(config: AttentionConfig) -> data.StructLayout:
    """Estimates of `pairs_per_cycle` consecutive keys of one row, of which `keep` survive."""
    pairs = config.pairs_per_cycle
    return data.StructLayout({
        "keep": pairs, "estimate": data.ArrayLayout(signed(config.est_bits), pairs), "key": key_shape(config),
        "slot": slot_shape(config), "bank": 1, "row_last": 1, **_groups(config, pairs),
        **row_mark_layout(config).members})


def row_layout(config: AttentionConfig) -> data.StructLayout:
    """What the softmax has to know of a row; compensation also its keys, its largest estimate and the gains."""
    compensation: dict[str, ShapeLike] = {}
    if config.key_groups:
        compensation = {"row_max": signed(config.est_bits), "keys": length_shape(config), "restart": 1,
                        "denominator_gain": GAIN_BITS, "mean_gain": GAIN_BITS}
    if config.group_bits:
        compensation["group_bits"] = range(config.group_bits + 1)
    return data.StructLayout({"scale_mantissa": SCALE_MANTISSA_BITS, "scale_shift": SCALE_SHIFT_BITS, "bank": 1,
                              "job_last": 1, **compensation})


def survivor_layout(config: AttentionConfig) -> data.StructLayout:
    """One surviving key of one row."""
    return data.StructLayout({"estimate": signed(config.est_bits), "key": key_shape(config),
                              "slot": slot_shape(config), "bank": 1, "row_last": 1, **_groups(config),
                              **row_mark_layout(config).members})


def score_layout(config: AttentionConfig) -> data.StructLayout:
    """A survivor's score."""
    return data.StructLayout({"score": signed(config.score_bits), "key": key_shape(config), "row_last": 1})


def weight_layout(config: AttentionConfig) -> data.StructLayout:
    """A survivor's softmax weight."""
    return data.StructLayout({"weight": config.weight_bits, "key": key_shape(config), "bank": 1, "row_last": 1,
                              "job_last": 1})


def value_item_layout(config: AttentionConfig) -> data.StructLayout:
    """What the value accumulator multiplies with a value.

    A survivor's weight and key. In a build that compensates also: ``virtual``, the sum of a group's values takes the
    place of the value; ``adds``, the value weighs nothing and is added to that sum, or is its first (``first``).
    """
    compensation = {"virtual": 1, "adds": 1, "first": 1} if config.key_groups else {}
    return data.StructLayout({"weight": factor_bits(config), "key": key_shape(config), "bank": 1, "row_last": 1,
                              "job_last": 1, **compensation, **_groups(config)})
