"""What passes between the blocks that carry descriptors out."""

from amaranth.lib import data

from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.descriptors import STATUS_BITS, descriptor_layout

__all__ = ["STREAMS", "begun_layout", "checked_layout", "causes_layout"]

STREAMS = ("q", "k", "v")
"""Rows that a job takes."""


def causes_layout() -> data.StructLayout:
    """Bits of a status word, without those that follow from them."""
    return data.StructLayout({name: 1 for name in STATUS_BITS if name not in ("done", "error")})


def checked_layout() -> data.StructLayout:
    """A descriptor as it was read, and why it cannot be carried out, if it cannot."""
    return data.StructLayout({"fields": descriptor_layout(), "invalid": 1, "causes": causes_layout()})


def begun_layout() -> data.StructLayout:
    """What is to be done about a descriptor that was handed to the core, or that could not be.

    ``in_core``: the core has it, and its rows were asked for. ``rows`` of output will come, none of a refused job.
    """
    return data.StructLayout({
        "causes": causes_layout(), "in_core": 1, "fresh": 1, "interrupt": 1, "rows": COUNT_BITS,
        "address": ADDRESS_BITS, "stride": 32})
