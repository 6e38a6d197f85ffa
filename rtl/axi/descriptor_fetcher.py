"""Reader of descriptors: takes them from the ring one by one, and checks them."""

from collections.abc import Iterable

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, burst_layout, fault_layout
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DescriptorType, descriptor_layout
from latte.rtl.axi.payloads import checked_layout, descriptor_causes_layout

__all__ = ["DescriptorFetcher"]


class DescriptorFetcher(wiring.Component):
    """Reads the next descriptor while the one before is being carried out, and says what is wrong with it.

    What is looked at: whether it could be read at all; its type; reserved bits; whether addresses and strides are
    multiples of the data width, of operands that are not used, too; whether there is anything to do. The rest the core
    knows better, and judges: heads and numbers of rows. A subclass reads descriptors of another layout.

    Parameters
    ----------
    parameters
        Of the master.

    Members
    -------
    enable, waiting : In(1)
        There is a descriptor at `address`, and it may be taken.
    take : Out(1)
        It is taken.
    request, taken, data, fault
        As of `ReadEngine`.
    checked : Out(stream of checked_layout)
    faults : Out(fault_layout)
        For one cycle: error responses to the read of a descriptor.
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.parameters = parameters
        self.layout, causes = self._layouts()
        super().__init__({
            "enable": In(1), "waiting": In(1), "address": In(ADDRESS_BITS), "take": Out(1),
            "request": Out(stream.Signature(burst_layout(parameters))), "taken": In(1),
            "data": In(parameters.data_bits), "fault": In(fault_layout()),
            "checked": Out(stream.Signature(checked_layout(self.layout, causes))), "faults": Out(fault_layout())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = DESCRIPTOR_BYTES // self.parameters.data_bytes
        fields, beat, failed = Signal(self.layout), Signal(range(beats)), Signal()
        checked = self.checked.payload
        m.d.comb += [checked.fields.eq(fields), self.request.payload.beats.eq(beats)]
        with m.If(self.taken):
            m.d.sync += [fields.as_value().eq(Cat(fields.as_value()[self.parameters.data_bits:], self.data)),
                         beat.eq(beat + 1), failed.eq(failed | self.fault.as_value().any())]
            m.d.comb += self.faults.eq(self.fault)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [failed.eq(0), self.request.payload.address.eq(self.address)]
                with m.If(self.enable & self.waiting):
                    m.d.comb += self.take.eq(1)
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "READ"
            with m.State("READ"):
                with m.If(self.taken & (beat == beats - 1)):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += checked.causes.eq(0)
                self._check(m, fields, failed)
                m.next = "SUM UP"
            with m.State("SUM UP"):
                m.d.sync += checked.invalid.eq(checked.causes.as_value().any())
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.checked.valid.eq(1)
                with m.If(self.checked.ready):
                    m.next = "IDLE"
        return m

    def _check(self, m: Module, fields: Signal, failed: Signal) -> None:
        """Set the causes that make a descriptor invalid."""
        causes = self.checked.payload.causes
        with m.If(failed):
            m.d.sync += causes.fetch_failed.eq(1)
        with m.Elif(self._unknown(fields)):
            m.d.sync += causes.unknown_type.eq(1)
        with m.Else():
            m.d.sync += [causes[name].eq(wrong) for name, wrong in self._wrong(fields).items()]

    def _layouts(self) -> tuple[data.StructLayout, data.StructLayout]:
        """Return the layouts of a descriptor, and of why one cannot be carried out."""
        return descriptor_layout(), descriptor_causes_layout()

    def _unknown(self, fields: data.View) -> Value:
        """Return whether the type is none of this hardware's."""
        return fields.type != DescriptorType.JOB

    def _wrong(self, fields: data.View) -> dict[str, Value]:
        """Return what may be wrong with a descriptor of a known type, by cause."""
        operands = [f"{operand}_{what}" for operand in "qkvo" for what in ("address", "stride")]
        return {"reserved_set": fields.reserved_flags.any() | fields.reserved_word.any(),
                "unaligned": self._odd(fields, operands),
                "no_rows": (fields.query_rows == 0) & (fields.load_rows == 0)}

    def _odd(self, fields: data.View, names: Iterable[str]) -> Value:
        """Return whether some fields are no multiples of the data width."""
        low = ceil_log2(self.parameters.data_bytes)
        return Cat(fields[name][:low] for name in names).any()
