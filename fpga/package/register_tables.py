"""The tables that drivers read: registers, descriptors and entries in Python, types of descriptors in C."""

import pprint
from collections.abc import Iterable, Sequence

from latte.fpga.package.record_table import ENTRY_BYTES
from latte.golden.config import AttentionConfig
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET, DescriptorField, DescriptorTable
from latte.rtl.axi.register_types import Access, Register
from latte.rtl.common.entry_words import entry_words

__all__ = ["register_module", "type_header"]


def type_header(descriptors: DescriptorTable) -> str:
    """Return the text of ``latte_types.h``."""
    return "\n".join(["/* Types of descriptors; generated with the hardware. */", "#ifndef LATTE_TYPES_H",
                      "#define LATTE_TYPES_H", "", *(f"#define LATTE_TYPE_{known.name} {int(known)}u" for known in
                                                     descriptors.types), "", "#endif", ""])


def register_module(registers: Iterable[Register], config: AttentionConfig, *, descriptors: DescriptorTable | None,
                    record: Sequence[DescriptorField] = ()) -> str:
    """Return the text of ``latte_registers.py``, a module without imports, with what there is of other tables."""
    registers = list(registers)
    of_descriptors = {
        "DESCRIPTOR_BYTES": DESCRIPTOR_BYTES,
        "DESCRIPTOR": _places(descriptors.fields),
        **{f"TYPE_{known.name}": int(known) for known in descriptors.types},
        "STATUS_OFFSET": STATUS_OFFSET,
        "STATUS_BITS": dict(descriptors.status_bits),
    } if descriptors else {}
    of_records = {"RECORD": _places(record), "TABLE_ENTRY_BYTES": ENTRY_BYTES} if record else {}
    tables = {
        "REGISTERS": {register.name: (register.offset, {field.name: (field.low, field.width)
                                                        for field in register.fields}) for register in registers},
        "CONSTANTS": {field.name: field.reset for register in registers for field in register.fields
                      if field.access is Access.CONSTANT},
        **of_descriptors,
        **of_records,
        "ENTRY_WORDS": {name: {str(field): (place.offset, place.width) for field, place in layout}
                        for name, layout in entry_words(config).items()},
    }
    return "\n\n".join([f'"""Registers, descriptors and entries of {config.name!r}; generated with its hardware."""',
                        *(f"{name} = {pprint.pformat(value, width=118, sort_dicts=False)}"
                          for name, value in tables.items()), ""])


def _places(fields: Iterable[DescriptorField]) -> dict[str, tuple[int, int]]:
    """Return (first bit, width) of fields by name."""
    return {field.name: (field.offset, field.width) for field in fields}
