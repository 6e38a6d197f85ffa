"""What every block uses: registers, choices, arithmetic modulo a constant, addresses."""

import functools
import operator
from collections.abc import Sequence

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import ShapeLike

__all__ = ["add_modulo", "bit_number", "choose", "delay", "lowest", "next_modulo", "register", "slice_address", "times"]


def delay(m: Module, value: Value, cycles: int, *, name: str, reset_less: bool = False) -> Value:
    """Return `value` as it was `cycles` cycles ago, of the same shape."""
    for stage in range(cycles):
        register = Signal(value.shape(), name=f"{name}_d{stage + 1}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value


def register(m: Module, value: Value, name: str, shape: ShapeLike | None = None) -> Signal:
    """Return `value` a cycle later, cut to `shape` if one is given.

    Without reset: data means something only while a valid bit beside it says so, and that is reset.
    """
    stage = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.sync += stage.eq(value)
    return stage


def lowest(bits: Value) -> Value:
    """Return the lowest bit that is set, alone; 0 if none is."""
    return (bits & -bits)[:len(bits)]


def choose(values: Sequence[Value], chosen: Value) -> Value:
    """Return the one of some values of one shape whose bit is set, as bits; 0 if none is."""
    return functools.reduce(operator.or_, (Value.cast(value).as_unsigned() & chosen[n].replicate(len(Value.cast(value)))
                                           for n, value in enumerate(values)))


def bit_number(bit: Value) -> Value:
    """Return the number of the one bit that is set; 0 if none is."""
    return choose([Const(n, range(max(2, len(bit)))) for n in range(len(bit))], bit)


def times(value: Value, factor: int) -> Value:
    """Return ``value * factor`` for a small constant as shifts and adds: no multiplier block is spent on it."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def next_modulo(value: Signal, modulus: int) -> Value:
    """Return the successor of `value` in ``0 .. modulus - 1``."""
    if modulus == 1:
        return Const(0)
    if 1 << len(value) == modulus:
        return (value + 1)[:len(value)]
    return Mux(value == modulus - 1, 0, value + 1)


def add_modulo(value: Value, addend: Value, modulus: int) -> Value:
    """Return ``value + addend`` in ``0 .. modulus - 1``, for two numbers of which the first is there already."""
    total = value + addend
    if modulus & (modulus - 1) == 0:
        return total[:modulus.bit_length() - 1]
    return Mux(total >= modulus, total - modulus, total)


def slice_address(row: Value, part: Value, rows: int) -> Value:
    """Return ``part * rows + row``: where slice `part` of a row lies if the same slices of all `rows` lie together.

    Powers of two need no adder between the registers and the memory.
    """
    if rows & (rows - 1) == 0:
        return Cat(row[:rows.bit_length() - 1], part)
    return times(part, rows) + row
