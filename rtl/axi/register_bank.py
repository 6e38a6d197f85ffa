"""Registers of a table, as words of a bus on one side and as fields on the other."""

from collections.abc import Sequence

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.axi.bus import LITE_BYTES, register_members
from latte.rtl.axi.register_types import Access, Register

__all__ = ["RegisterBank"]

_GROUP = 8
"""Words of which the first step of a read takes one."""


class RegisterBank(wiring.Component):
    """Holds what the table says that it holds, and hands on the rest.

    What is refused, and so answered with SLVERR: a word without a register; a write to one without a writable field, to
    a locked one while `locked`, or to a whole one without all its strobes; and what `refuse` says of external ones.

    Latency: a field changes one cycle after `write`; reads follow their address by `read_latency` cycles.

    Parameters
    ----------
    registers
        By offset.

    Members
    -------
    write, write_word, write_data, write_strobe, write_refused, read_word, read_data, read_refused
        As `AxiLiteSlave` has them, from the other side.
    locked : In(1)
        The ring is enabled or busy.
    <register> : In or Out
        Its fields but constants, in lower case: In if it is external or nothing in it can be written.
    <register>_set : In
        Bits to set, of a register that software clears by writing ones; what sets wins.
    <register>_written : Out(1)
        An external register is written in this cycle with `written_data`, whose bytes without a strobe are 0.
    refuse : In(1)
        What is written to an external register in this cycle is refused.
    """

    read_latency = 2
    """One of each group of words, then one of the groups."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self.registers = list(registers)
        members: dict[str, wiring.Member] = {
            **{name: member.flip() for name, member in register_members().items()},
            "locked": In(1), "refuse": In(1), "written_data": Out(8 * LITE_BYTES)}
        for register in self.registers:
            fields = {field.name: field.width for field in register.fields if field.access is not Access.CONSTANT}
            if not fields:
                continue
            name, layout = register.name.lower(), data.StructLayout(fields)
            members[name] = In(layout) if register.external or not register.writable else Out(layout)
            if register.external:
                members[f"{name}_written"] = Out(1)
            elif any(field.access is Access.WRITE_1_TO_CLEAR for field in register.fields):
                members[f"{name}_set"] = In(layout)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mask = Cat(strobe.replicate(8) for strobe in self.write_strobe)
        m.d.comb += [self.written_data.eq(self.write_data & mask), self.write_refused.eq(1)]
        with m.Switch(self.write_word):
            for register in self.registers:
                if register.writable:
                    with m.Case(register.offset // LITE_BYTES):
                        self._write(m, register, mask)
        for register in self.registers:
            if f"{register.name.lower()}_set" in self.signature.members:
                state = Value.cast(getattr(self, register.name.lower()))
                events = Value.cast(getattr(self, f"{register.name.lower()}_set"))
                with m.If(events.any()):
                    m.d.sync += state.eq((state & ~self._cleared(m, register)) | events)
        self._read(m)
        return m

    def _write(self, m: Module, register: Register, mask: Value) -> None:
        """Carry out a write to one register, in the switch of the address."""
        refused: Value = self.locked if register.locked else Const(0)
        if register.whole:
            refused = refused | ((self.write_strobe & register.byte_mask) != register.byte_mask)
        taken = self.write & ~refused
        name = register.name.lower()
        if register.external:
            m.d.comb += [getattr(self, f"{name}_written").eq(taken), self.write_refused.eq(refused | self.refuse)]
            return
        m.d.comb += self.write_refused.eq(refused)
        view = getattr(self, name)
        for field in register.fields:
            place = slice(field.low, field.low + field.width)
            with m.If(taken):
                if field.access is Access.READ_WRITE:
                    m.d.sync += view[field.name].eq(
                        (view[field.name] & ~mask[place]) | self.written_data[place])
                elif field.access is Access.WRITE_1_TO_CLEAR:
                    m.d.sync += view[field.name].eq(view[field.name] & ~self.written_data[place])
                elif field.access is Access.WRITE_1_TO_PULSE:
                    m.d.comb += view[field.name].eq(self.written_data[place])

    def _cleared(self, m: Module, register: Register) -> Value:
        """Return the bits of a register that software clears in this cycle."""
        here = self.write & (self.write_word == register.offset // LITE_BYTES)
        return Cat(Mux(here, self.written_data[field.low:field.low + field.width], 0) for field in register.fields)

    def _read(self, m: Module) -> None:
        """Choose the word of an address in two steps."""
        count = self.registers[-1].offset // LITE_BYTES + 1
        words: list[Value] = [Const(0, 8 * LITE_BYTES)] * count
        exists = [0] * count
        for register in self.registers:
            words[register.offset // LITE_BYTES] = self._word(register)
            exists[register.offset // LITE_BYTES] = 1
        groups = [Signal(8 * LITE_BYTES, name=f"group_{first // _GROUP}") for first in range(0, count, _GROUP)]
        step = ceil_log2(_GROUP)
        for group, first in zip(groups, range(0, count, _GROUP), strict=True):
            m.d.sync += group.eq(Array(words[first:first + _GROUP])[self.read_word[:step]])
        known = Array(exists)[self.read_word[:ceil_log2(count)]] & (self.read_word < count)
        m.d.sync += [self.read_data.eq(Array(groups)[self.read_word[step:]]), self.read_refused.eq(~known)]

    def _word(self, register: Register) -> Value:
        """Return what a register reads as."""
        word: Value = Const(0, register.width)
        for field in register.fields:
            value: Value = Const(0, field.width)
            if field.access is Access.CONSTANT:
                value = Const(field.reset, field.width)
            elif field.access not in (Access.WRITE_ONLY, Access.WRITE_1_TO_PULSE):
                value = getattr(self, register.name.lower())[field.name]
            word = word | (value << field.low)
        return word[:register.width]
