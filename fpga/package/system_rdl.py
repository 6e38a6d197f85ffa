"""SystemRDL of the register table and of the descriptor: what every other description of them is made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.descriptors import JOB_DESCRIPTOR, DescriptorField, DescriptorTable
from latte.rtl.axi.register_types import REGISTER_BITS, Access, Register

__all__ = ["DESCRIPTOR_MAP", "RECORD_MAP", "REGISTER_MAP", "system_rdl"]

REGISTER_MAP = "latte_registers"
"""Name of the address map behind AXI4-Lite."""
DESCRIPTOR_MAP = "latte_descriptor"
"""Name of the map of a descriptor, which lies in memory."""
RECORD_MAP = "latte_record"
"""Name of the map of a sequence's record, which lies in memory."""
_PROPERTIES = {
    Access.CONSTANT: "sw = r; hw = na;",
    Access.READ_ONLY: "sw = r; hw = w;",
    Access.READ_WRITE: "sw = rw; hw = r;",
    Access.WRITE_ONLY: "sw = w; hw = r;",
    Access.WRITE_1_TO_CLEAR: "sw = rw; hw = w; onwrite = woclr;",
    Access.WRITE_1_TO_PULSE: "sw = w; hw = r; singlepulse;",
}
_TO_HARDWARE, _FROM_HARDWARE = "sw = rw; hw = r;", "sw = rw; hw = w;"
_SHARED_WORDS = {"type": ("JOB", "What to do."), "query_rows": ("ROWS", "How many rows."),
                 "queries": ("ROWS", "How many rows."), "slot": ("SEQUENCE", "Which sequence."),
                 "heads": ("HEADS", "How many query heads."), "live": ("NAME", "Which sequence has the slot.")}
"""Name and description of words that hold several fields, by the first."""
_KEYWORDS = {"number", "type"}
"""Names that mean something else in SystemRDL, and are escaped there."""
_LOCKED = " Written only while the ring is disabled and idle."
_WHOLE = " A write must have the strobes of all bytes of its fields."


def system_rdl(registers: Iterable[Register], *, descriptors: DescriptorTable | None = JOB_DESCRIPTOR,
               record: Sequence[DescriptorField] = ()) -> str:
    """Return one file with the address map `REGISTER_MAP`, and with those of what lies in memory."""
    return "\n".join([
        *_map(REGISTER_MAP, "Registers", "Little-endian words behind AXI4-Lite. An address without a register, and an "
              "access that a register does not allow, is answered with SLVERR.",
              (line for register in registers for line in _register(register))),
        *(_map(DESCRIPTOR_MAP, "Descriptor", "One job, in memory, little-endian, at a multiple of its size.",
               _descriptor(descriptors)) if descriptors else ()),
        *(_map(RECORD_MAP, "Record", "The beginning of a sequence's record, in memory, little-endian; all behind it is "
               "the core's, and 0 of a sequence without keys.", _words(record, {})) if record else ()), ""])


def _map(name: str, title: str, text: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"addrmap {name} {{", *_indented([*_texts(title, text), "littleendian;", *lines]), "};", "")


def _texts(name: str, text: str) -> list[str]:
    """Return the properties that people read."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return [f'name = "{name}";', f'desc = "{quoted}";']


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _word(name: str, offset: int, bits: int, text: str, fields: Iterable[str]) -> list[str]:
    """Return a register; `offset` in bytes."""
    return ["reg {", *_indented([*_texts(name, text), f"regwidth = {bits};", *fields]), f"}} {name} @ {offset:#x};"]


def _field(name: str, low: int, width: int, properties: str, text: str, reset: int | None = None) -> str:
    value = "" if reset is None else f" = {width}'h{reset:x}"
    escaped = f"\\{name}" if name in _KEYWORDS else name
    return f"field {{ {' '.join(_texts(name, text))} {properties} }} {escaped}[{low + width - 1}:{low}]{value};"


def _register(register: Register) -> list[str]:
    text = register.description + _LOCKED * register.locked + _WHOLE * register.whole
    return _word(register.name, register.offset, register.width, text, (
        _field(field.name, field.low, field.width, _PROPERTIES[field.access], field.description, field.reset)
        for field in register.fields))


def _descriptor(table: DescriptorTable) -> Iterator[str]:
    """Return the words of a descriptor."""
    return _words(table.fields, {"status": _status(table)},
                  {"type": int(next(iter(table.types)))} if len(table.types) == 1 else {})


def _words(fields: Iterable[DescriptorField], inside: Mapping[str, Iterable[str]],
           resets: Mapping[str, int] | None = None) -> Iterator[str]:
    """Yield words in memory: fields that share 32 bits are one, the others stand alone.

    Parameters
    ----------
    fields
    inside
        What stands in the place of a field, by its name.
    resets
        What a field always is.
    """
    words: dict[int, list[DescriptorField]] = {}
    for field in fields:
        words.setdefault(field.offset // REGISTER_BITS, []).append(field)
    for shared in words.values():
        first = shared[0]
        name, text = _SHARED_WORDS.get(first.name, (first.name.upper(), first.description))
        bits = inside.get(first.name) or (
            _field(field.name, field.offset - first.offset, field.width, _TO_HARDWARE, field.description,
                   (resets or {}).get(field.name)) for field in shared)
        yield from _word(name, first.offset // 8, max(REGISTER_BITS, first.width), text, bits)


def _status(table: DescriptorTable) -> Iterator[str]:
    """Yield the fields of a descriptor's status word."""
    for low, (name, text) in enumerate(table.status_bits.items()):
        yield _field(name, low, 1, _FROM_HARDWARE, text)
    yield _field("number", REGISTER_BITS - COUNT_BITS, COUNT_BITS, _FROM_HARDWARE, "Of the descriptor, as RING_TAIL "
                 "counts.")
