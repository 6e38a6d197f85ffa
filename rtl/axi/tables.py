"""The interface's tables in ``rtl/README.md``, from the tables that the hardware is made of."""

import re
from collections.abc import Callable, Iterable, Mapping

from latte.golden.config import preset
from latte.golden.documents import markdown_table
from latte.rtl.axi.bus import DataParameters, MasterParameters, StreamParameters
from latte.rtl.axi.descriptors import DESCRIPTOR_FIELDS, STATUS_BITS, DescriptorField
from latte.rtl.axi.register_types import Access, Field, Register
from latte.rtl.axi.registers import register_table

__all__ = ["TABLES", "descriptor_rows", "register_rows", "status_rows"]

_BUILD = preset("small")
"""Whose registers are shown; those of another differ in what they are worth."""


def _bits(low: int, width: int) -> str:
    return str(low) if width == 1 else f"{low + width - 1}:{low}"


def register_rows(registers: Iterable[Register]) -> str:
    """Return a row for each field, under one for its register where that has several."""
    rows: list[tuple[str, ...]] = []
    for register in registers:
        place = f"0x{register.offset:02x}", f"`{register.name}`"
        if len(register.fields) == 1:
            field, = register.fields
            rows.append((*place, *_field(field), f"{_of_register(register)} {field.description}"))
        else:
            rows.append((*place, "", "", "", _of_register(register)))
            rows += [("", "", *_field(field), field.description) for field in register.fields]
    return markdown_table(("offset", "register", "field", "bits", "access", "meaning"), rows)


def _others(parameters: DataParameters, than: DataParameters) -> list[Register]:
    """Return the registers that other ports of rows bring; one of several of a kind stands for all."""
    known = register_table(_BUILD, than)
    return [register for register in register_table(_BUILD, parameters) if register not in known
            and register.name not in ("FINGERPRINT", "BUS") and not re.fullmatch(r"JOB_STATUS_[1-9]", register.name)]


def _of_register(register: Register) -> str:
    return register.description + (" Locked while the ring is enabled or busy." if register.locked else "")


def _field(field: Field) -> tuple[str, str, str]:
    """Return name, bits and access; of what is the same in all builds of a version, its value."""
    access = field.access.value
    if field.access is Access.CONSTANT and field.name in ("magic", "version"):
        access = f"0x{field.reset:x}"
    return f"`{field.name}`", _bits(field.low, field.width), access


def descriptor_rows(fields: Iterable[DescriptorField]) -> str:
    """Return a row for each field of a descriptor, by its bytes."""
    rows = []
    for field in fields:
        byte, bit = divmod(field.offset, 8)
        whole = bit == 0 and field.width % 8 == 0
        place = f"{byte}" if field.width <= 8 else f"{byte} to {byte + field.width // 8 - 1}"
        rows.append((place, "" if whole else _bits(bit, field.width), f"`{field.name}`", field.description))
    return markdown_table(("bytes", "bits", "field", "meaning"), rows)


def status_rows(bits: Mapping[str, str]) -> str:
    """Return a row for each bit of a status."""
    rows = [(str(bit), f"`{name}`", text) for bit, (name, text) in enumerate(bits.items())]
    return markdown_table(("bit", "name", "meaning"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "axi-registers": lambda: register_rows(register_table(_BUILD, MasterParameters())),
    "axi-stream-registers": lambda: register_rows(_others(StreamParameters(), MasterParameters())),
    "axi-descriptor": lambda: descriptor_rows(DESCRIPTOR_FIELDS), "axi-status": lambda: status_rows(STATUS_BITS)}
"""By section of ``rtl/README.md``."""
