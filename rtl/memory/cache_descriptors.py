"""The one table of a descriptor of the core with keys in memory: where its fields lie, and what its status word says.

As in `latte.rtl.axi.descriptors`: 64 bytes, little-endian, at a multiple of 64, reserved bits zero, the status word at
the same place. The types are others, so that neither hardware takes the other's descriptors for its own.
"""

import enum
from collections.abc import Iterator

from amaranth.lib import data

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.descriptors import DescriptorField, DescriptorTable
from latte.rtl.axi.payloads import causes_layout
from latte.rtl.memory.cache_payloads import cache_job_layout

__all__ = ["CACHE_DESCRIPTOR", "CACHE_FIELDS", "CACHE_STATUS_BITS", "CacheType", "cache_causes_layout",
           "cache_descriptor_layout", "cache_status_word_layout"]

_STRIDE_BITS = 32


class CacheType(enum.IntEnum):
    """What a descriptor asks for (`latte.golden.memory.jobs.JobKind`)."""

    APPEND = 2
    DECODE = 3
    PREFILL = 4


def _fields() -> Iterator[DescriptorField]:
    """Yield the fields, one behind the other."""
    job = cache_job_layout()
    parts = [
        ("type", 8, "2 append, 3 decode, 4 prefill."),
        ("interrupt", 1, "Set INTERRUPT_STATUS.descriptor_done when this one is done."),
        ("reserved_flags", 7, "Must be 0."),
        ("head", job["head"].width, "First entry of the register file; each query head has the next one."),
        ("queries", job["queries"].width, "Positions to ask, the last ones of the sequence."),
        ("rows", job["rows"].width, "Keys and values to append before."),
        ("status", 32, "Written by the hardware when the descriptor is done; not read."),
        ("slot", job["slot"].width, "Of the sequence."),
        ("generation", job["generation"].width, "Of the sequence: which of those that had the slot it is."),
        ("q_address", ADDRESS_BITS, "Of the first position's queries: a row of each head, one behind the other."),
        ("k_address", ADDRESS_BITS, "Of the first of the rows of K."),
        ("v_address", ADDRESS_BITS, "Of the first of the rows of V."),
        ("o_address", ADDRESS_BITS, "Of the first position's outputs: a row of each head, one behind the other."),
        ("q_stride", _STRIDE_BITS, "Bytes from one position's queries to the next one's."),
        ("kv_stride", _STRIDE_BITS, "Bytes from one row to the next, of K as well as of V."),
        ("o_stride", _STRIDE_BITS, "Bytes from one position's outputs to the next one's."),
        ("heads", job["heads"].width, "Query heads that share the keys."),
        ("reserved_half", 16, "Must be 0."),
    ]
    offset = 0
    for name, width, text in parts:
        yield DescriptorField(name, offset, width, text)
        offset += width


CACHE_FIELDS = tuple(_fields())
"""In order, without gaps. Addresses and strides are multiples of the data width in bytes."""

CACHE_STATUS_BITS = {
    "done": "Always 1: software clears the word before it rings the doorbell.",
    "error": "Something below is set: output rows, if any were written, mean nothing.",
    "unknown_type": "The type is none that this hardware knows; nothing else was looked at.",
    "reserved_set": "A reserved bit is set.",
    "unaligned": "An address or a stride is no multiple of the data width in bytes.",
    "shape_invalid": "Numbers that the type does not allow: append asks no queries; decode one of one head or more, "
                     "and appends one row at most; prefill one or more of one head or more.",
    "fetch_failed": "The descriptor could not be read.",
    **{f"refused_{name}": f"The job was refused: {text}." for name, text in REFUSALS.items()},
    **{f"failed_{name}": f"The job failed in course: {text}." for name, text in FAILURES.items()},
    "read_failed": "A read of rows was answered with an error; zeros stand for what it did not give. Rows of K or V "
                   "that are not whole are not appended: failed_memory_error is set, too.",
    "write_failed": "A write of output rows was answered with an error.",
}
"""Bits of the status word from bit 0, with their meaning; its high half is the descriptor's number in the ring.

The rows were appended unless the descriptor is invalid or a bit of ``refused_`` or ``failed_`` is set.
"""

CACHE_DESCRIPTOR = DescriptorTable(CACHE_FIELDS, CacheType, CACHE_STATUS_BITS)


def cache_descriptor_layout() -> data.StructLayout:
    """Return the fields as they come from memory."""
    return data.StructLayout({field.name: field.width for field in CACHE_FIELDS})


def cache_causes_layout() -> data.StructLayout:
    """Return the bits of a status word, without those that follow from them."""
    return causes_layout(CACHE_STATUS_BITS)


def cache_status_word_layout() -> data.StructLayout:
    """Return the bits of the status word."""
    return data.StructLayout({**dict.fromkeys(CACHE_STATUS_BITS, 1), "number": COUNT_BITS})
