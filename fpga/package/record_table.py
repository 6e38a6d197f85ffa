"""What a host writes of a core's keys in memory: fields of a sequence's record, and a page table's entry.

They are those of `latte.golden.memory.sequence_state` and `latte.golden.memory.cache`; all else of an empty sequence's
record is 0.
"""

from latte.golden.memory.cache import ENTRY_BYTES
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.descriptors import DescriptorField
from latte.rtl.memory.cache_payloads import GENERATION_BITS

__all__ = ["ENTRY_BYTES", "RECORD_FIELDS"]

RECORD_FIELDS = (
    DescriptorField("live", 0, 1, "The slot holds a sequence."),
    DescriptorField("generation", 16, GENERATION_BITS, "Which of those that had the slot it is."),
    DescriptorField("length", 32, 32, "Keys; the core counts them."),
    DescriptorField("table_address", 64, ADDRESS_BITS, "Of the page table, as the bus has it."),
)
"""Bits from the record's first."""
