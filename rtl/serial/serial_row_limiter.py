"""What a row's estimates must be above: from the threshold's code for its length, or from the row's mass."""

from collections.abc import Callable

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.golden.quantizer import MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.entry_words import KIND_BITS
from latte.rtl.common.payloads import code_layout, key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_gap_table import SerialGapTable, fill_layout, gap_weight_bits, mass_bits
from latte.rtl.serial.serial_memories import DualPortRam

__all__ = ["SerialRowLimiter", "octave_of"]

_SEARCH_STEPS = GAP_TABLE_SIZE.bit_length() - 1
_THETA_BITS = THETA_FRAC_BITS + 2
"""``2 * 2**THETA_FRAC_BITS - f``, the code's fraction as a factor."""


def octave_of(length: Signal) -> Value:
    """Return ``floor(log2(length))`` of a number of keys."""
    octave: Value = Const(0)
    for place in range(1, len(length)):
        octave = Mux(length[place], place, octave)
    return octave


class SerialRowLimiter(wiring.Component):
    """A key survives if its estimate is the row's largest, or above the row's threshold (`latte.golden.row_limit`)::

        relative:  rowmax - code          absolute:  code
        mass:      estimates -> gap table -> sum -> x theta -> search in the table -> rowmax - first gap not above

    By mass the row is read once before it is filtered, a key per cycle; then theta's fraction is multiplied bit by bit,
    its octaves are shifted one by one, and the table is searched bit by bit. The cycles are those of the longest way.

    Latency: `latency` cycles from `start` to `done`, by mass `mass_cycles` of the row's keys more.

    Members
    -------
    code_valid, code : In
        From `JobSequencer`.
    start : In(1)
        A row begins; `keys` and `maximum` stand from the next cycle on.
    keys, maximum, kind : In
    index : Out
        The estimate whose weight is looked up next.
    searching : Out(1), gap : Out
        This gap's weight is looked up instead; with the rest in a build with thresholds by mass.
    weight, end : In
        From the gap table: one cycle after a gap, two after an index.
    done : Out(1)
        The threshold stands from the next cycle on.
    threshold : Out(signed(est_bits + 2))
    """

    latency = 2
    """The code's address and the code."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.by_mass = "mass" in config.threshold_kinds
        kind = {"kind": In(KIND_BITS)} if len(config.threshold_kinds) > 1 else {}
        table = {"searching": Out(1), "gap": Out(config.est_bits), "weight": In(gap_weight_bits(config)),
                 "end": In(fill_layout(config)["gap"].shape)} if self.by_mass else {}
        super().__init__({
            "code_valid": In(1), "code": In(code_layout(config, 1)), "start": In(1), "keys": In(length_shape(config)),
            "maximum": In(signed(config.est_bits)), "index": Out(key_shape(config)), "done": Out(1),
            "threshold": Out(signed(config.est_bits + 2)), **kind, **table})

    @staticmethod
    def mass_cycles(config: AttentionConfig, keys: int) -> int:
        """Return the cycles that a row of `keys` takes more by mass: its scan, theta, the search."""
        scan = keys + 2 + SerialGapTable.latency
        return scan + _THETA_BITS + mass_bits(config) + 1 + 2 * _SEARCH_STEPS + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.codes = codes = DualPortRam(self.code.code.shape(), 1 << len(self.code.octave))
        m.d.comb += [codes.write_en.eq(self.code_valid), codes.write_addr.eq(self.code.octave),
                     codes.write_data.eq(self.code.code), codes.read_addr.eq(octave_of(self.keys))]
        code = codes.read_data
        kinds = [ThresholdKind(kind) for kind in config.threshold_kinds]

        def of_kind(kind: ThresholdKind) -> Value:
            if kind not in kinds:
                return Const(0)
            return self.kind == list(ThresholdKind).index(kind) if len(kinds) > 1 else Const(1)

        by_mass = self._weigh(m, code) if self.by_mass else None
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.next = "CODE"
            with m.State("CODE"):
                m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += self.threshold.eq(Mux(of_kind(ThresholdKind.ABSOLUTE), code[:config.est_bits].as_signed(),
                                                  self.maximum - code[:config.est_bits]))
                m.d.comb += self.done.eq(~of_kind(ThresholdKind.MASS))
                m.next = "IDLE"
                if by_mass is not None:
                    with m.If(of_kind(ThresholdKind.MASS)):
                        m.next = "SCAN"
            if by_mass is not None:
                by_mass()
        return m

    def _weigh(self, m: Module, code: Value) -> Callable[[], None]:
        """Return what adds the states that find the limit of a row by its mass."""
        config = self.config
        total, scanning = Signal(mass_bits(config)), Signal()
        # What is multiplied, then shifted: in the end the largest weight that does not survive.
        product, factor = Signal(len(total) + _THETA_BITS), Signal(_THETA_BITS)
        octaves = Signal(len(code) - THETA_FRAC_BITS)
        least = product[:len(total) + 1]
        steps = Signal(range(max(_THETA_BITS, len(least))))
        found, place = Signal(_SEARCH_STEPS), Signal(_SEARCH_STEPS)
        weighed, last = delay(m, Cat(scanning, scanning & (self.index == self.keys - 1)), 1 + SerialGapTable.latency,
                              name="weighed")
        m.d.comb += self.gap.eq(found | (place - 1))
        m.d.sync += steps.eq(steps - 1)
        with m.If(scanning):
            m.d.sync += self.index.eq(self.index + 1)
        with m.If(weighed):
            m.d.sync += total.eq(total + self.weight)

        def states() -> None:
            with m.State("SCAN"):
                m.d.sync += [total.eq(0), self.index.eq(0), scanning.eq(1)]
                m.next = "SUM"
            with m.State("SUM"):
                with m.If(self.index == self.keys - 1):
                    m.d.sync += scanning.eq(0)
                m.d.sync += [product.eq(0), factor.eq((2 << THETA_FRAC_BITS) - code[:THETA_FRAC_BITS]),
                             octaves.eq(code[THETA_FRAC_BITS:]), steps.eq(_THETA_BITS - 1)]
                with m.If(last):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [product.eq((product << 1) + Mux(factor[-1], total, 0)), factor.eq(factor << 1)]
                with m.If(steps == 0):
                    m.d.sync += steps.eq(len(least) - 1)
                    m.next = "SHIFT"
            with m.State("SHIFT"):
                # The fraction's own places go with the first shift.
                shifted = Mux(steps == len(least) - 1, product >> (THETA_FRAC_BITS + 1), product)
                m.d.sync += [product.eq(Mux(octaves == 0, shifted, shifted >> 1)),
                             found.eq(0), place.eq(1 << (_SEARCH_STEPS - 1))]
                with m.If(octaves != 0):
                    m.d.sync += octaves.eq(octaves - 1)
                with m.If(steps == 0):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.searching.eq(1)
                m.next = "COMPARE"
            with m.State("COMPARE"):
                with m.If(self.weight > least):
                    m.d.sync += found.eq(found | place)
                m.d.sync += place.eq(place >> 1)
                m.next = "ASK"
                with m.If(place[0]):
                    m.next = "LIMIT"
            with m.State("LIMIT"):
                # Only what weighs nothing weighs less than one step.
                m.d.sync += self.threshold.eq(self.maximum - Mux(least == 0, self.end, found))
                with m.If(code == MASS_KEEP_ALL):
                    m.d.sync += self.threshold.eq(-(1 << config.est_bits))
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"

        return states
