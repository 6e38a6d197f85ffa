"""The tables of registers, descriptors and entries as a Python module without imports: what the Python driver reads."""

import pprint
from collections.abc import Iterable

from latte.golden.config import AttentionConfig
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET, DescriptorTable
from latte.rtl.axi.register_types import Access, Register
from latte.rtl.common.entry_words import entry_words

__all__ = ["register_module"]


def register_module(registers: Iterable[Register], config: AttentionConfig, *, descriptors: DescriptorTable | None
                    ) -> str:
    """Return the text of ``latte_registers.py``, with the tables of descriptors if there are any."""
    registers = list(registers)
    of_descriptors = {
        "DESCRIPTOR_BYTES": DESCRIPTOR_BYTES,
        "DESCRIPTOR": {field.name: (field.offset, field.width) for field in descriptors.fields},
        **{f"TYPE_{known.name}": int(known) for known in descriptors.types},
        "STATUS_OFFSET": STATUS_OFFSET,
        "STATUS_BITS": list(descriptors.status_bits),
    } if descriptors else {}
    tables = {
        "REGISTERS": {register.name: (register.offset, {field.name: (field.low, field.width)
                                                        for field in register.fields}) for register in registers},
        "CONSTANTS": {field.name: field.reset for register in registers for field in register.fields
                      if field.access is Access.CONSTANT},
        **of_descriptors,
        "ENTRY_WORDS": {name: {str(field): (place.offset, place.width) for field, place in layout}
                        for name, layout in entry_words(config).items()},
    }
    return "\n\n".join([f'"""Registers, descriptors and entries of {config.name!r}; generated with its hardware."""',
                        *(f"{name} = {pprint.pformat(value, width=118, sort_dicts=False)}"
                          for name, value in tables.items()), ""])
