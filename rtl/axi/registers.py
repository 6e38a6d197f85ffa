"""The one table of registers: the hardware, its documents and its drivers are made of it.

All are 32 bits wide and little-endian. A register's fields have one access each; bits between them read as zero and
ignore what is written.
"""

import dataclasses
import enum
import typing
from collections.abc import Iterable

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DESCRIPTOR_FIELDS, STATUS_BITS
from latte.rtl.common.core import counters_layout, status_layout
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, ENTRY_WORDS_MAX, entry_words
from latte.rtl.common.identity import MAGIC, fingerprint, identity_values

__all__ = ["ERRORS", "INTERRUPTS", "MASTER_COUNTERS", "REGISTER_BITS", "RING_SIZE_MAX", "VERSION", "Access", "Field",
           "Register", "output_element_bytes", "register_table"]

VERSION = 1
"""Of this interface: registers, descriptors and what they do."""
REGISTER_BITS = 32
RING_SIZE_MAX = 15
"""Base-2 logarithm of the most descriptors of a ring: their number tells a full ring from an empty one."""


class Access(enum.Enum):
    """What software can do with a field."""

    CONSTANT = "constant"
    """Read only, and always the same in a build."""
    READ_ONLY = "read-only"
    READ_WRITE = "read-write"
    WRITE_ONLY = "write-only"
    """Reads as zero; each write is an event."""
    WRITE_1_TO_CLEAR = "write-1-to-clear"
    """Set by hardware."""
    WRITE_1_TO_PULSE = "write-1-to-pulse"
    """Reads as zero; a one does something once."""

    @property
    def writable(self) -> bool:
        """Whether a write does anything."""
        return self not in (Access.CONSTANT, Access.READ_ONLY)


@dataclasses.dataclass(frozen=True)
class Field:
    """Bits of a register.

    Parameters
    ----------
    name
    low, width
        Bits.
    access
    description
    reset
        Value after reset, or always (`Access.CONSTANT`).
    """

    name: str
    low: int
    width: int
    access: Access
    description: str
    reset: int = 0

    @property
    def mask(self) -> int:
        """Ones in its place."""
        return ((1 << self.width) - 1) << self.low


@dataclasses.dataclass(frozen=True)
class Register:
    """One register.

    Parameters
    ----------
    name, offset
        Offset in bytes, a multiple of 4.
    fields
        From the low bit.
    description
    external
        Another block holds it: the bank hands on what is written.
    whole
        A write must have the strobes of all bytes of its fields.
    locked
        Written only while the ring is disabled and idle.
    """

    name: str
    offset: int
    fields: tuple[Field, ...]
    description: str
    external: bool = False
    whole: bool = False
    locked: bool = False

    width: typing.ClassVar[int] = REGISTER_BITS

    @property
    def writable(self) -> bool:
        """Whether a write does anything; one to another register is answered with SLVERR."""
        return any(field.access.writable for field in self.fields)

    @property
    def reset(self) -> int:
        """Value after reset."""
        return sum(field.reset << field.low for field in self.fields)

    @property
    def byte_mask(self) -> int:
        """Strobes of the bytes that its fields lie in."""
        return sum(1 << byte for byte in range(self.width // 8)
                   if any(field.mask >> 8 * byte & 0xFF for field in self.fields))


INTERRUPTS = {
    "descriptor_done": "A descriptor with the interrupt flag is done: its status word is in memory.",
    "ring_empty": "All descriptors of the ring are done.",
    "error": "A bit of ERROR was set.",
}
ERRORS = {
    "read_slverr": "A read, of rows or of a descriptor, was answered with SLVERR.",
    "read_decerr": "... with DECERR.",
    "write_slverr": "A write, of output rows or of a status word, was answered with SLVERR.",
    "write_decerr": "... with DECERR.",
    "descriptor_invalid": "A descriptor was not understood, or goes on with a sequence that could not be loaded.",
    "job_refused": "The core refused a job.",
    "ring_overflow": "RING_HEAD was written with more descriptors than the ring has; it kept its value.",
    "ring_unaligned": f"The ring is enabled and its base is no multiple of {DESCRIPTOR_BYTES}: nothing is fetched.",
    "parameter_lost": "PARAMETER_DATA was written while its queue was full, or in a soft reset; the word is lost.",
}
MASTER_COUNTERS = {
    "read_beats": "Beats of data read.", "write_beats": "Beats of data written.",
    "read_stalls": "Cycles in which reads were under way and no data came.",
    "descriptors": "Descriptors done.",
}
_STATES = {
    "busy": "A descriptor is being fetched, carried out or answered.",
    "ring_empty": "RING_TAIL has come up with RING_HEAD.",
    "resetting": "A soft reset waits for what is under way on the bus.",
}


def _bits(names: Iterable[tuple[str, str]], access: Access, set_by_reset: Iterable[str] = ()) -> tuple[Field, ...]:
    """Return one bit for each (name, description)."""
    return tuple(Field(name, low, 1, access, text, int(name in set_by_reset))
                 for low, (name, text) in enumerate(names))


def _constants(*parts: tuple[str, int, int, str]) -> tuple[Field, ...]:
    """Return constant fields of (name, width, value, description), one behind the other."""
    fields, low = [], 0
    for name, width, value, text in parts:
        if value >> width:
            raise ValueError(f"{name} = {value} does not fit {width} bits")
        fields.append(Field(name, low, width, Access.CONSTANT, text, value))
        low += width
    return tuple(fields)


def _capabilities(config: AttentionConfig, master: MasterParameters) -> Iterable[tuple[str, tuple[Field, ...], str]]:
    """Yield (name, fields, description) of the registers that say what was built."""
    choice = identity_values(config)
    yield "ID", _constants(("magic", 32, MAGIC, "The characters LATT.")), "Who is there."
    yield "VERSION", _constants(("version", 32, VERSION, "Of registers and descriptors.")), "What it speaks."
    yield "FINGERPRINT", _constants(("fingerprint", 32, _fingerprint(config), "Equal only for equal ones.")), (
        "Of the configuration, as far as it decides bits, and of this interface.")
    yield "SHAPE", _constants(
        ("head_dim", 16, config.head_dim, "Elements of a row."),
        ("max_seq_len", 16, config.max_seq_len, "Keys of a sequence.")), "Sizes."
    yield "PARAMETERS", _constants(
        ("heads", 16, config.heads, "Entries of the register file."),
        ("entry_words", 16, len(entry_words(config)), "Words of an entry.")), "The register file."
    yield "ENGINE", _constants(
        ("engine", 4, choice["engine"], "0 latte, 1 serial, 2 dense."),
        ("split", 4, choice["split"], "0 balanced, 1 slice."),
        ("estimate_bits", 4, config.estimate_bits, "Of an element's high part."),
        ("threshold_kinds", 4, choice["threshold_kinds"], "A bit each: relative, mass, absolute."),
        ("key_groups", 4, config.key_groups, "Groups that are compensated; 0: no compensation."),
        ("kv_banks", 4, config.kv_banks, "2: keys are loaded while others are computed with.")), "How it computes."
    yield "OUTPUT", _constants(
        ("out_bits", 8, config.out_bits, "Of an output element."),
        ("fraction_bits", 8, config.fraction_bits, "Of them, behind the point."),
        ("element_bytes", 8, output_element_bytes(config), "Of an output element in memory."),
        ("normalizer_lanes", 8, config.normalizer_lanes % 256, "Elements divided per cycle; 0: 256.")), "Its results."
    yield "BUS", _constants(
        ("data_bits", 16, master.data_bits, "Of the master."),
        ("bus_bytes", 8, config.bus_bytes, "Elements that the core takes per cycle and stream."),
        ("reads_in_flight", 8, master.reads_in_flight, "Bursts asked for at a time.")), "Its way to memory."


def _fingerprint(config: AttentionConfig) -> int:
    """Return the fingerprint of a build behind AXI: of registers by name and place, of descriptors."""
    contract = [(register.name, register.offset, [(field.name, field.low, field.width, field.access.value)
                                                  for field in register.fields]) for register in _interface()]
    fields = [dataclasses.astuple(field)[:3] for field in DESCRIPTOR_FIELDS]
    return fingerprint(config, VERSION, [contract, fields, list(STATUS_BITS)])


def output_element_bytes(config: AttentionConfig) -> int:
    """Return the bytes of an output element in memory: the least of 2 and 4 that hold it."""
    return 2 if config.out_bits <= 16 else 4


def _interface() -> list[Register]:
    """Return the registers that every build has."""
    counters = {**{str(name): f"The core's counter `{name}`." for name in counters_layout().members},
                **MASTER_COUNTERS}
    rw, ro = Access.READ_WRITE, Access.READ_ONLY
    return [
        Register("CONTROL", 0x40, (
            Field("enable", 0, 1, rw, "Fetch and carry out descriptors; those begun are finished when it is cleared."),
            Field("soft_reset", 1, 1, Access.WRITE_1_TO_PULSE, "Finish what is under way on the bus, then reset core, "
                  "ring and register file: RING_HEAD and RING_TAIL are 0."),
            Field("clear", 2, 1, Access.WRITE_1_TO_PULSE, "Clear CORE_STATUS and all counters.")), "What to do."),
        Register("STATUS", 0x44, _bits(_STATES.items(), ro, {"ring_empty"}), "What is going on."),
        Register("INTERRUPT_ENABLE", 0x48, _bits(INTERRUPTS.items(), rw), "Which bits raise the interrupt."),
        Register("INTERRUPT_STATUS", 0x4C, _bits(INTERRUPTS.items(), Access.WRITE_1_TO_CLEAR), "What happened."),
        Register("CORE_STATUS", 0x50, _bits(((str(name), f"The core's status bit `{name}`.")
                                             for name in status_layout().members), Access.WRITE_1_TO_CLEAR),
                 "What the core has seen; nothing else is cleared with a bit.", external=True),
        Register("ERROR", 0x54, _bits(ERRORS.items(), Access.WRITE_1_TO_CLEAR), "What went wrong."),
        Register("RING_BASE_LOW", 0x58, (Field("address", 0, 32, rw, "Low half."),), "Where the ring begins.",
                 locked=True),
        Register("RING_BASE_HIGH", 0x5C, (Field("address", 0, 32, rw, "High half."),), "Where the ring begins.",
                 locked=True),
        Register("RING_SIZE", 0x60, (Field("log2", 0, 4, rw, "Base-2 logarithm of the ring's descriptors."),),
                 "How long the ring is.", locked=True),
        Register("RING_HEAD", 0x64, (Field("number", 0, COUNT_BITS, rw, "Descriptors that software has written."),),
                 "The doorbell; it counts on beyond the ring's size, and is taken modulo that.", external=True,
                 whole=True),
        Register("RING_TAIL", 0x68, (Field("number", 0, COUNT_BITS, ro, "Descriptors that are done."),),
                 "How far the hardware is."),
        Register("PARAMETER_SELECT", 0x6C, (
            Field("head", 0, COUNT_BITS, rw, "Entry of the register file."),
            Field("word", COUNT_BITS, (ENTRY_WORDS_MAX - 1).bit_length(), rw, "Word of it; each write of "
                  "PARAMETER_DATA moves on to the next.")), "Where PARAMETER_DATA goes.", external=True, whole=True),
        Register("PARAMETER_DATA", 0x70, (Field("data", 0, ENTRY_WORD_BITS, Access.WRITE_ONLY, "A word."),),
                 "Writes the register file; jobs wait until what was written before is in place. A write never waits: "
                 "one that finds the queue full is answered with SLVERR.", external=True, whole=True),
        *(Register(f"COUNTER_{name.upper()}", 0x80 + 4 * n, (Field("count", 0, 32, ro, text),), "Wraps at 2**32.")
          for n, (name, text) in enumerate(counters.items())),
    ]


def register_table(config: AttentionConfig, master: MasterParameters) -> list[Register]:
    """Return the registers of a build, by offset; only constants depend on the build."""
    constants = [Register(name, 4 * n, fields, text)
                 for n, (name, fields, text) in enumerate(_capabilities(config, master))]
    table = [*constants, *_interface()]
    for register in table:
        used = 0
        for field in register.fields:
            assert not used & field.mask and field.low + field.width <= register.width, (register.name, field.name)
            used |= field.mask
    assert [register.offset for register in table] == sorted({register.offset for register in table})
    return table
