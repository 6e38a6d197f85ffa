"""The one table of registers: the hardware, its documents and its drivers are made of it.

All are 32 bits wide and little-endian. A register's fields have one access each; bits between them read as zero and
ignore what is written. What only one way of carrying rows has is in `ring_registers` and `job_registers`.
"""

from collections.abc import Iterable
from typing import Any

from amaranth.lib import data

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import DataParameters
from latte.rtl.axi.job_registers import JOB_REGISTERS
from latte.rtl.axi.register_types import Access, DataRegisters, Field, Register, bit_fields, constant_fields
from latte.rtl.axi.ring_registers import RING_REGISTERS
from latte.rtl.common.core import counters_layout, status_layout
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, ENTRY_WORDS_MAX, entry_words
from latte.rtl.common.identity import MAGIC, fingerprint, identity_values

__all__ = ["VERSION", "Capability", "arithmetic", "complete_table", "data_registers", "identity", "interface_registers",
           "output_element_bytes", "register_contract", "register_table"]

Capability = tuple[str, tuple[Field, ...], str]
"""Name, fields and description of a register that says what was built."""

VERSION = 1
"""Of this interface: registers, descriptors and what they do."""
_DATA_END = 0x6C
"""Registers of a way of carrying rows lie before it or behind the counters."""
_DATA_REGISTERS = {"axi": RING_REGISTERS, "axi-stream": JOB_REGISTERS}
"""By `interface` of the parameters."""


def data_registers(parameters: DataParameters) -> DataRegisters:
    """Return what a way of carrying rows has of its own."""
    return _DATA_REGISTERS[parameters.interface]


def identity(number: int) -> Iterable[Capability]:
    """Yield who is there; `number` is the fingerprint."""
    yield "ID", constant_fields(("magic", 32, MAGIC, "The characters LATT.")), "Who is there."
    yield "VERSION", constant_fields(("version", 32, VERSION, "Of registers and descriptors.")), "What it speaks."
    yield "FINGERPRINT", constant_fields(("fingerprint", 32, number, "Equal only for equal ones.")), (
        "Of the configuration, as far as it decides bits, and of this interface.")


def arithmetic(config: AttentionConfig) -> Iterable[Capability]:
    """Yield the register file, and how is computed."""
    choice = identity_values(config)
    yield "PARAMETERS", constant_fields(
        ("heads", 16, config.heads, "Entries of the register file."),
        ("entry_words", 16, len(entry_words(config)), "Words of an entry.")), "The register file."
    yield "ENGINE", constant_fields(
        ("engine", 4, choice["engine"], "0 latte, 1 serial, 2 dense."),
        ("split", 4, choice["split"], "0 balanced, 1 slice."),
        ("estimate_bits", 4, config.estimate_bits, "Of an element's high part."),
        ("threshold_kinds", 4, choice["threshold_kinds"], "A bit each: relative, mass, absolute."),
        ("key_groups", 4, config.key_groups, "Groups that are compensated; 0: no compensation."),
        ("kv_banks", 4, config.kv_banks, "2: keys are loaded while others are computed with.")), "How it computes."
    yield "OUTPUT", constant_fields(
        ("out_bits", 8, config.out_bits, "Of an output element."),
        ("fraction_bits", 8, config.fraction_bits, "Of them, behind the point."),
        ("element_bytes", 8, output_element_bytes(config), "Of an output element in memory."),
        ("normalizer_lanes", 8, config.normalizer_lanes % 256, "Elements divided per cycle; 0: 256.")), "Its results."


def _capabilities(config: AttentionConfig, parameters: DataParameters) -> Iterable[Capability]:
    """Yield what was built."""
    form = data_registers(parameters)
    yield from identity(_fingerprint(config, form))
    yield "SHAPE", constant_fields(
        ("head_dim", 16, config.head_dim, "Elements of a row."),
        ("max_seq_len", 16, config.max_seq_len, "Keys of a sequence.")), "Sizes."
    yield from arithmetic(config)
    yield "BUS", constant_fields(
        ("data_bits", 12, parameters.data_bits, "Of the master, or of each stream."),
        ("data_port", 4, form.data_port, "0 AXI4 master, 1 AXI4-Stream."),
        ("bus_bytes", 8, config.bus_bytes, "Elements that the core takes per cycle and stream."),
        ("reads_in_flight", 8, parameters.reads_in_flight, "Bursts asked for at a time.")), "The way of its rows."


def _fingerprint(config: AttentionConfig, form: DataRegisters) -> int:
    """Return the fingerprint of a build behind AXI: of registers by name and place, of what memory holds."""
    return fingerprint(config, VERSION, [register_contract(_interface(form)), *form.contract])


def register_contract(registers: Iterable[Register]) -> list[Any]:
    """Return registers by name and place, for a fingerprint."""
    return [(register.name, register.offset, [(field.name, field.low, field.width, field.access.value)
                                              for field in register.fields]) for register in registers]


def output_element_bytes(config: AttentionConfig) -> int:
    """Return the bytes of an output element in memory: the least of 2 and 4 that hold it."""
    return 2 if config.out_bits <= 16 else 4


def _interface(form: DataRegisters) -> list[Register]:
    """Return the registers that every build with these data ports has, by offset."""
    return interface_registers(form, status_layout(), counters_layout())


def interface_registers(form: DataRegisters, status: data.StructLayout, counted: data.StructLayout) -> list[Register]:
    """Return the registers behind the constants, by offset, of a core with these status bits and counters."""
    counters = {**{str(name): f"The core's counter `{name}`." for name in counted.members}, **form.counters}
    interrupts = {**form.interrupts, "error": "A bit of ERROR was set."}
    errors = {**form.errors, "parameter_lost": "PARAMETER_DATA was written in a soft reset, or while its queue was "
                                               "full; the word is lost."}
    rw, ro = Access.READ_WRITE, Access.READ_ONLY
    return [
        Register("CONTROL", 0x40, (
            Field("enable", 0, 1, rw, form.enable),
            Field("soft_reset", 1, 1, Access.WRITE_1_TO_PULSE, form.reset),
            Field("clear", 2, 1, Access.WRITE_1_TO_PULSE, "Clear CORE_STATUS and all counters.")), "What to do."),
        Register("STATUS", 0x44, bit_fields(form.states.items(), ro, {
            name for name in form.states if name.endswith("_empty")}), "What is going on."),
        Register("INTERRUPT_ENABLE", 0x48, bit_fields(interrupts.items(), rw), "Which bits raise the interrupt."),
        Register("INTERRUPT_STATUS", 0x4C, bit_fields(interrupts.items(), Access.WRITE_1_TO_CLEAR), "What happened."),
        Register("CORE_STATUS", 0x50, bit_fields(((str(name), f"The core's status bit `{name}`.")
                                                  for name in status.members), Access.WRITE_1_TO_CLEAR),
                 "What the core has seen; nothing else is cleared with a bit.", external=True),
        Register("ERROR", 0x54, bit_fields(errors.items(), Access.WRITE_1_TO_CLEAR), "What went wrong."),
        *(register for register in form.registers if register.offset < _DATA_END),
        Register("PARAMETER_SELECT", 0x6C, (
            Field("head", 0, COUNT_BITS, rw, "Entry of the register file."),
            Field("word", COUNT_BITS, (ENTRY_WORDS_MAX - 1).bit_length(), rw, "Word of it; each write of "
                  "PARAMETER_DATA moves on to the next.")), "Where PARAMETER_DATA goes.", external=True, whole=True),
        Register("PARAMETER_DATA", 0x70, (Field("data", 0, ENTRY_WORD_BITS, Access.WRITE_ONLY, "A word."),),
                 "Writes the register file; jobs wait until what was written before is in place. A write never waits: "
                 "its queue holds what a bus can write while the core takes nothing. In a soft reset it is answered "
                 "with SLVERR.", external=True, whole=True),
        *(Register(f"COUNTER_{name.upper()}", 0x80 + 4 * n, (Field("count", 0, 32, ro, text),), "Wraps at 2**32.")
          for n, (name, text) in enumerate(counters.items())),
        *(register for register in form.registers if register.offset > _DATA_END),
    ]


def register_table(config: AttentionConfig, parameters: DataParameters) -> list[Register]:
    """Return the registers of a build, by offset; only constants depend on the build, and on how rows come and go."""
    return complete_table(_capabilities(config, parameters), _interface(data_registers(parameters)))


def complete_table(capabilities: Iterable[Capability], interface: Iterable[Register]) -> list[Register]:
    """Return the registers of what was built and those behind them, of which none lies on another."""
    constants = [Register(name, 4 * n, fields, text) for n, (name, fields, text) in enumerate(capabilities)]
    table = [*constants, *interface]
    for register in table:
        used = 0
        for field in register.fields:
            assert not used & field.mask and field.low + field.width <= register.width, (register.name, field.name)
            used |= field.mask
    assert [register.offset for register in table] == sorted({register.offset for register in table})
    return table
