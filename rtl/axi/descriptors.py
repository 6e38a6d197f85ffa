"""The one table of a descriptor in memory: where its fields lie, and what its status word says.

A descriptor is 64 bytes, little-endian, at a multiple of 64. Reserved bits must be zero: a later type may give them
a meaning, and a descriptor that means more than this hardware knows is refused.
"""

import dataclasses
import enum
from collections.abc import Mapping

from amaranth.lib import data

from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS

__all__ = ["DESCRIPTOR_BYTES", "DESCRIPTOR_FIELDS", "JOB_DESCRIPTOR", "STATUS_BITS", "STATUS_BYTES", "STATUS_OFFSET",
           "DescriptorField", "DescriptorTable", "DescriptorType", "descriptor_layout", "status_word_layout"]

DESCRIPTOR_BYTES = 64
_STRIDE_BITS = 32


class DescriptorType(enum.IntEnum):
    """What a descriptor asks for; 0 is none, so that cleared memory is no job."""

    JOB = 1


@dataclasses.dataclass(frozen=True)
class DescriptorField:
    """One field.

    Parameters
    ----------
    name
    offset, width
        Bits from the descriptor's first.
    description
    """

    name: str
    offset: int
    width: int
    description: str


_OPERANDS = {"q": "query rows", "k": "key rows", "v": "value rows", "o": "output rows"}


def _fields() -> tuple[DescriptorField, ...]:
    head = [
        DescriptorField("type", 0, 8, "1: load keys and values, then compute queries."),
        DescriptorField("fresh", 8, 1, "Begin a new sequence; else the rows are appended to the present one."),
        DescriptorField("causal", 9, 1, "The queries are the last positions, each sees the keys up to its own."),
        DescriptorField("interrupt", 10, 1, "Set INTERRUPT_STATUS.descriptor_done when this one is done."),
        DescriptorField("reserved_flags", 11, 5, "Must be 0."),
        DescriptorField("head", 16, COUNT_BITS, "Entry of the register file."),
        DescriptorField("query_rows", 32, COUNT_BITS, "Queries to compute."),
        DescriptorField("load_rows", 48, COUNT_BITS, "Keys and values to load."),
        DescriptorField("status", 64, 32, "Written by the hardware when the descriptor is done; not read."),
        DescriptorField("reserved_word", 96, 32, "Must be 0."),
    ]
    addresses = [DescriptorField(f"{name}_address", 128 + ADDRESS_BITS * n, ADDRESS_BITS,
                                 f"Of the first of the {rows}.") for n, (name, rows) in enumerate(_OPERANDS.items())]
    strides = [DescriptorField(f"{name}_stride", 384 + _STRIDE_BITS * n, _STRIDE_BITS,
                               f"Bytes from one of the {rows} to the next.")
               for n, (name, rows) in enumerate(_OPERANDS.items())]
    return (*head, *addresses, *strides)


DESCRIPTOR_FIELDS = _fields()
"""In order, without gaps. Addresses and strides are multiples of the master's data width in bytes."""
STATUS_OFFSET, STATUS_BYTES = 8, 4
"""Of the status word in the descriptor."""

STATUS_BITS = {
    "done": "Always 1: software clears the word before it rings the doorbell.",
    "error": "Something below is set: output rows, if any were written, mean nothing.",
    "unknown_type": "The type is none that this hardware knows; nothing else was looked at.",
    "reserved_set": "A reserved bit is set.",
    "unaligned": "An address or a stride is no multiple of the data width in bytes.",
    "no_rows": "There are neither queries nor keys.",
    "fetch_failed": "The descriptor could not be read.",
    "sequence_invalid": "It goes on with a sequence of which a part could not be loaded.",
    **{f"refused_{name}": f"The core refused the job: `{name}` of its status bits." for name in REFUSALS},
    "read_slverr": "A slave answered a read of rows with SLVERR; zeros stand for what it did not give.",
    "read_decerr": "Nobody answers at an address of rows that were to be read; zeros stand for them.",
    "write_slverr": "A slave answered a write of output rows with SLVERR.",
    "write_decerr": "Nobody answers at an address of output rows.",
}
"""Bits of the status word from bit 0, with their meaning; its high half is the descriptor's number in the ring."""


@dataclasses.dataclass(frozen=True)
class DescriptorTable:
    """All that is to be known of the descriptors of one kind of core.

    Parameters
    ----------
    fields
        In order, without gaps.
    types
        Values of the field ``type``.
    status_bits
        Of the status word from bit 0, with their meaning.
    """

    fields: tuple[DescriptorField, ...]
    types: type[enum.IntEnum]
    status_bits: Mapping[str, str]


JOB_DESCRIPTOR = DescriptorTable(DESCRIPTOR_FIELDS, DescriptorType, STATUS_BITS)


def descriptor_layout() -> data.StructLayout:
    """Return the fields as they come from memory."""
    layout = data.StructLayout({field.name: field.width for field in DESCRIPTOR_FIELDS})
    assert layout.size == 8 * DESCRIPTOR_BYTES
    assert all(layout[field.name].offset == field.offset for field in DESCRIPTOR_FIELDS)
    return layout


def status_word_layout() -> data.StructLayout:
    """Return the bits of the status word."""
    return data.StructLayout({**dict.fromkeys(STATUS_BITS, 1), "number": COUNT_BITS})
