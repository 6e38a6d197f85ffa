"""Registers of the AXI4 master: a ring of descriptors in memory."""

import dataclasses

from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DESCRIPTOR_FIELDS, STATUS_BITS
from latte.rtl.axi.register_types import Access, DataRegisters, Field, Register

__all__ = ["RING_REGISTERS", "RING_SIZE_MAX"]

RING_SIZE_MAX = 15
"""Base-2 logarithm of the most descriptors of a ring: their number tells a full ring from an empty one."""
_RW, _RO = Access.READ_WRITE, Access.READ_ONLY

RING_REGISTERS = DataRegisters(
    data_port=0,
    enable="Fetch and carry out descriptors; those begun are finished when it is cleared.",
    reset="Finish what is under way on the bus, then reset core, ring and register file: RING_HEAD and RING_TAIL are "
          "0.",
    states={
        "busy": "A descriptor is being fetched, carried out or answered.",
        "ring_empty": "RING_TAIL has come up with RING_HEAD.",
        "resetting": "A soft reset waits for what is under way on the bus.",
    },
    interrupts={
        "descriptor_done": "A descriptor with the interrupt flag is done: its status word is in memory.",
        "ring_empty": "All descriptors of the ring are done.",
    },
    errors={
        "read_slverr": "A read, of rows or of a descriptor, was answered with SLVERR.",
        "read_decerr": "... with DECERR.",
        "write_slverr": "A write, of output rows or of a status word, was answered with SLVERR.",
        "write_decerr": "... with DECERR.",
        "descriptor_invalid": "A descriptor was not understood, or goes on with a sequence that could not be loaded.",
        "job_refused": "The core refused a job.",
        "ring_overflow": "RING_HEAD was written with more descriptors than the ring has; it kept its value.",
        "ring_unaligned": f"The ring is enabled and its base is no multiple of {DESCRIPTOR_BYTES}: nothing is fetched.",
    },
    counters={
        "read_beats": "Beats of data read.", "write_beats": "Beats of data written.",
        "read_stalls": "Cycles in which reads were under way and no data came.",
        "descriptors": "Descriptors done.",
    },
    registers=(
        Register("RING_BASE_LOW", 0x58, (Field("address", 0, 32, _RW, "Low half."),), "Where the ring begins.",
                 locked=True),
        Register("RING_BASE_HIGH", 0x5C, (Field("address", 0, 32, _RW, "High half."),), "Where the ring begins.",
                 locked=True),
        Register("RING_SIZE", 0x60, (Field("log2", 0, 4, _RW, "Base-2 logarithm of the ring's descriptors."),),
                 "How long the ring is.", locked=True),
        Register("RING_HEAD", 0x64, (Field("number", 0, COUNT_BITS, _RW, "Descriptors that software has written."),),
                 "The doorbell; it counts on beyond the ring's size, and is taken modulo that.", external=True,
                 whole=True),
        Register("RING_TAIL", 0x68, (Field("number", 0, COUNT_BITS, _RO, "Descriptors that are done."),),
                 "How far the hardware is."),
    ),
    contract=([dataclasses.astuple(field)[:3] for field in DESCRIPTOR_FIELDS], list(STATUS_BITS)),
)
