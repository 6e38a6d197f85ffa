"""The interface's tables in ``rtl/README.md``, from the tables that the hardware is made of."""

from latte.golden.config import preset
from latte.golden.documents import markdown_table
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptors import DESCRIPTOR_FIELDS, STATUS_BITS
from latte.rtl.axi.register_types import Access, Field, Register
from latte.rtl.axi.registers import register_table

__all__ = ["TABLES"]

_BUILD = preset("small")
"""Whose registers are shown; those of another differ in what they are worth."""


def _bits(low: int, width: int) -> str:
    return str(low) if width == 1 else f"{low + width - 1}:{low}"


def _registers() -> str:
    """Return a row for each field, under one for its register where that has several."""
    rows: list[tuple[str, ...]] = []
    for register in register_table(_BUILD, MasterParameters()):
        place = f"0x{register.offset:02x}", f"`{register.name}`"
        if len(register.fields) == 1:
            field, = register.fields
            rows.append((*place, *_field(field), f"{_of_register(register)} {field.description}"))
        else:
            rows.append((*place, "", "", "", _of_register(register)))
            rows += [("", "", *_field(field), field.description) for field in register.fields]
    return markdown_table(("offset", "register", "field", "bits", "access", "meaning"), rows)


def _of_register(register: Register) -> str:
    return register.description + (" Locked while the ring is enabled or busy." if register.locked else "")


def _field(field: Field) -> tuple[str, str, str]:
    """Return name, bits and access; of what is the same in all builds of a version, its value."""
    access = field.access.value
    if field.access is Access.CONSTANT and field.name in ("magic", "version"):
        access = f"0x{field.reset:x}"
    return f"`{field.name}`", _bits(field.low, field.width), access


def _descriptor() -> str:
    """Return a row for each field of a descriptor, by its bytes."""
    rows = []
    for field in DESCRIPTOR_FIELDS:
        byte, bit = divmod(field.offset, 8)
        whole = bit == 0 and field.width % 8 == 0
        place = f"{byte}" if field.width <= 8 else f"{byte} to {byte + field.width // 8 - 1}"
        rows.append((place, "" if whole else _bits(bit, field.width), f"`{field.name}`", field.description))
    return markdown_table(("bytes", "bits", "field", "meaning"), rows)


def _status() -> str:
    """Return a row for each bit of a descriptor's status word."""
    rows = [(str(bit), f"`{name}`", text) for bit, (name, text) in enumerate(STATUS_BITS.items())]
    return markdown_table(("bit", "name", "meaning"), rows)


TABLES = {"axi-registers": _registers, "axi-descriptor": _descriptor, "axi-status": _status}
"""By section of ``rtl/README.md``."""
