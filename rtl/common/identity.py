"""What tells one build from another: host and hardware must agree on it, whatever the bus between them."""

import dataclasses
import typing
import zlib
from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import data

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig
from latte.rtl.common.entry_words import entry_words, parameter_layout
from latte.rtl.common.payloads import job_layout, output_layout

__all__ = ["IDENTITY_FIELDS", "MAGIC", "fingerprint", "identity_values"]

MAGIC = int.from_bytes(b"LATT", "little")
_BUILD_FIELDS = {"name", "query_lanes", "key_lanes", "dim_lanes", "cross_lanes", "value_lanes", "kv_banks",
                 "query_rows", "survivor_fifo_depth", "pe_structure"}
"""Configuration fields that decide speed and area only: the build's own business."""
IDENTITY_FIELDS = tuple(field.name for field in dataclasses.fields(AttentionConfig) if field.name not in _BUILD_FIELDS)
"""Configuration fields that decide the bits of a result or the form of the data: hardware and driver must agree."""


def fingerprint(config: AttentionConfig, version: int, contract: Sequence[object],
                layouts: Sequence[data.Layout] = ()) -> int:
    """Return 32 bits that agree only if hardware and driver agree on `IDENTITY_FIELDS`, messages and layouts.

    Parameters
    ----------
    config
    version
        Of the interface.
    contract
        What the interface says and does, as plain values: its messages, or its registers.
    layouts
        Of what passes through it besides jobs, parameters and outputs.
    """
    every = [job_layout(), parameter_layout(), *entry_words(config).values(), output_layout(config), *layouts]
    text = repr((version, list(contract), [_describe(layout) for layout in every], identity_values(config)))
    return zlib.crc32(text.encode())


def identity_values(config: AttentionConfig) -> dict[str, int]:
    """Return the identity fields as numbers; a choice is its place among the choices, several are bits by place."""
    kinds = typing.get_type_hints(AttentionConfig)
    values = {field: getattr(config, field) for field in IDENTITY_FIELDS}
    numbers = {field: typing.get_args(kinds[field]).index(value) if isinstance(value, str) else value
               for field, value in values.items()}
    present = sum(1 << THRESHOLD_KINDS.index(kind) for kind in config.threshold_kinds)
    return numbers | {"threshold_kinds": present}


def _describe(shape: ShapeLike) -> Any:
    """Return a layout as nested names and widths."""
    if isinstance(shape, data.Layout):
        return [(str(name), field.offset, _describe(field.shape)) for name, field in shape]
    return repr(Shape.cast(shape))
