"""Taps for a scoreboard; a build leaves them unconnected."""

from amaranth import signed
from amaranth.lib import data

from latte.golden.config import AttentionConfig
from latte.rtl.common.payloads import key_shape

__all__ = ["filter_probe_layout", "probe_layout"]


def filter_probe_layout(config: AttentionConfig) -> data.StructLayout:
    """What the filter decided on one group; `visible` marks the keys the row may see."""
    return data.StructLayout({
        "valid": 1, "row_last": 1, "visible": config.pairs_per_cycle, "keep": config.pairs_per_cycle,
        "estimate": data.ArrayLayout(signed(config.row_bits), config.pairs_per_cycle)})


def probe_layout(config: AttentionConfig) -> data.StructLayout:
    """Taps for a scoreboard: what the filter, the cross product unit and the softmax put out; unused in a build."""
    return data.StructLayout({
        "group": filter_probe_layout(config),
        "score": data.StructLayout({"valid": 1, "row_last": 1, "key": key_shape(config),
                                    "score": signed(config.score_bits)}),
        "weight": data.StructLayout({"valid": 1, "row_last": 1, "weight": config.weight_bits})})
