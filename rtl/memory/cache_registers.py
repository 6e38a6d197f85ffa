"""Registers of the core with keys in memory behind AXI: those of a ring of descriptors, its sizes, its addresses."""

import dataclasses
from collections.abc import Iterable

from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.page_format import PageFormat
from latte.golden.memory.sequence_state import StateFormat
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.register_types import Access, Field, Register, constant_fields
from latte.rtl.axi.registers import (
    VERSION,
    Capability,
    arithmetic,
    complete_table,
    identity,
    interface_registers,
    register_contract,
)
from latte.rtl.axi.ring_registers import RING_REGISTERS
from latte.rtl.common.identity import fingerprint
from latte.rtl.memory.cache_core import cache_counters_layout, cache_status_layout, master_of
from latte.rtl.memory.cache_descriptors import CACHE_FIELDS, CACHE_STATUS_BITS
from latte.rtl.memory.spill_store import spill_bytes
from latte.rtl.memory.tile_payloads import tile_config

__all__ = ["AREAS", "CACHE_REGISTERS", "cache_register_table"]

AREAS = {"record": "the record of slot 0", "page": "page 0", "spill": "what tiles spill"}
"""What lies in the memory behind m_axi_cache at an address that software chooses, by the start of its registers."""

_RING = RING_REGISTERS
CACHE_REGISTERS = dataclasses.replace(
    _RING, data_port=2,
    reset="Finish what is under way on both buses, then reset core, ring and register file: RING_HEAD and RING_TAIL "
          "are 0. The record of a sequence that a job was appending to may be written in part: free it.",
    errors={
        **{name: text for name, text in _RING.errors.items() if name != "descriptor_invalid"},
        "descriptor_invalid": "A descriptor was not understood.",
        "job_failed": "A job failed in course.",
        "base_unaligned": "The ring is enabled and RECORD_BASE, PAGE_BASE or SPILL_BASE is no multiple of the data "
                          "width in bytes: nothing is fetched.",
    },
    counters={**_RING.counters, "read_beats": "Beats of data read by m_axi.",
              "write_beats": "Beats of data written by m_axi.",
              "read_stalls": "Cycles in which reads of m_axi were under way and no data came."},
    registers=(*_RING.registers, *(
        Register(f"{area.upper()}_BASE_{half.upper()}", 0xC0 + 8 * n + 4 * high,
                 (Field("address", 0, 32, Access.READ_WRITE, f"{half.capitalize()} half."),),
                 f"Where {text} begins.", locked=True)
        for n, (area, text) in enumerate(AREAS.items()) for high, half in enumerate(("low", "high")))),
    contract=([dataclasses.astuple(field)[:3] for field in CACHE_FIELDS], list(CACHE_STATUS_BITS)))


def _capabilities(build: MemoryBuild, parameters: MasterParameters) -> Iterable[Capability]:
    """Yield what was built."""
    form, core = CACHE_REGISTERS, tile_config(build)
    contract = [register_contract(_interface()), *form.contract, build.page_rows, build.bus_bytes]
    yield from identity(fingerprint(build.core, VERSION, contract))
    yield "SHAPE", constant_fields(
        ("head_dim", 16, core.head_dim, "Elements of a row."),
        ("tile_rows", 16, build.tile_rows, "Query rows that share a stream of keys.")), "Sizes."
    # Rows are appended between tiles: nothing is loaded while a tile computes.
    yield from arithmetic(core.replace(kv_banks=1))
    yield "BUS", constant_fields(
        ("data_bits", 12, parameters.data_bits, "Of both masters."),
        ("data_port", 4, form.data_port, "2 two AXI4 masters, keys in memory."),
        ("bus_bytes", 8, build.bus_bytes, "Elements that the core takes per cycle and stream."),
        ("reads_in_flight", 8, master_of(build).reads_in_flight, "Bursts asked for at a time by m_axi_cache.")), (
        "The way of its rows.")
    yield "KEYS", constant_fields(("most", 32, core.max_seq_len, "Keys.")), "The longest sequence."
    yield "SLOTS", constant_fields(("number", 32, build.slots, "Sequences.")), "How many can live at a time."
    yield "PAGE", constant_fields(
        ("rows", 8, build.page_rows, "Keys."),
        ("bytes", 24, PageFormat(build).page_bytes, "From one page to the next.")), "A page in memory."
    yield "RECORD", constant_fields(
        ("bytes", 32, StateFormat(build).state_bytes, "From one slot's record to the next.")), "A record in memory."
    yield "SPILL", constant_fields(
        ("bytes", 32, build.tile_rows * spill_bytes(build), "From SPILL_BASE on that nothing else uses.")), (
        "What tiles may write besides.")


def _interface() -> list[Register]:
    return interface_registers(CACHE_REGISTERS, cache_status_layout(), cache_counters_layout())


def cache_register_table(build: MemoryBuild, parameters: MasterParameters) -> list[Register]:
    """Return the registers of a build, by offset; only constants depend on the build.

    Parameters
    ----------
    build
    parameters
        Of the master for descriptors and rows.
    """
    return complete_table(_capabilities(build, parameters), _interface())
