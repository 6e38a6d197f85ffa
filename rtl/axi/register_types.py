"""What a register is, and what the registers of a way of carrying rows have of their own."""

import dataclasses
import enum
import typing
from collections.abc import Iterable

__all__ = ["REGISTER_BITS", "Access", "DataRegisters", "Field", "Register", "bit_fields", "constant_fields"]

REGISTER_BITS = 32


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


@dataclasses.dataclass(frozen=True)
class DataRegisters:
    """What the table has of its own for one way in which rows come and go.

    Parameters
    ----------
    data_port
        Its number in BUS.data_port.
    enable, reset
        What CONTROL.enable and CONTROL.soft_reset do.
    states, interrupts, errors, counters
        Bits of STATUS, INTERRUPT_STATUS and ERROR, and counters behind those of the core, with their meaning.
    registers
        Between ERROR and PARAMETER_SELECT, and behind all others, by offset.
    contract
        What else both sides must agree in, for the fingerprint.
    """

    data_port: int
    enable: str
    reset: str
    states: dict[str, str]
    interrupts: dict[str, str]
    errors: dict[str, str]
    counters: dict[str, str]
    registers: tuple[Register, ...]
    contract: tuple[typing.Any, ...] = ()


def bit_fields(names: Iterable[tuple[str, str]], access: Access, set_by_reset: Iterable[str] = ()) -> tuple[Field, ...]:
    """Return one bit for each (name, description)."""
    return tuple(Field(name, low, 1, access, text, int(name in set_by_reset))
                 for low, (name, text) in enumerate(names))


def constant_fields(*parts: tuple[str, int, int, str]) -> tuple[Field, ...]:
    """Return constant fields of (name, width, value, description), one behind the other."""
    fields, low = [], 0
    for name, width, value, text in parts:
        if value >> width:
            raise ValueError(f"{name} = {value} does not fit {width} bits")
        fields.append(Field(name, low, width, Access.CONSTANT, text, value))
        low += width
    return tuple(fields)
