"""The tables of the core with keys in memory behind AXI in ``rtl/README.md``, from those the hardware is made of."""

import dataclasses
from collections.abc import Callable

from latte.golden.config import preset
from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.register_types import Register
from latte.rtl.axi.registers import register_table
from latte.rtl.axi.tables import descriptor_rows, register_rows, status_rows
from latte.rtl.memory.axi_cache_core import rows_master_of
from latte.rtl.memory.cache_descriptors import CACHE_FIELDS, CACHE_STATUS_BITS
from latte.rtl.memory.cache_registers import cache_register_table

__all__ = ["TABLES"]


def _registers() -> str:
    """Return the registers that a core with keys on chip has not, or not so; what a constant is worth is no matter."""
    def form(register: Register) -> Register:
        return dataclasses.replace(register, fields=tuple(dataclasses.replace(field, reset=0)
                                                          for field in register.fields))

    build = MemoryBuild()
    known = [form(register) for register in register_table(preset("small"), MasterParameters())]
    return register_rows(register for register in cache_register_table(build, rows_master_of(build))
                         if form(register) not in known)


TABLES: dict[str, Callable[[], str]] = {
    "axi-cache-registers": _registers, "axi-cache-descriptor": lambda: descriptor_rows(CACHE_FIELDS),
    "axi-cache-status": lambda: status_rows(CACHE_STATUS_BITS)}
"""By section of ``rtl/README.md``."""
