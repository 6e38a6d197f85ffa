"""The limit of each row: how far below its largest estimate a key may lie, for every kind of threshold."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.golden.quantizer import MASS_CODE_BITS, MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.payloads import code_bits
from latte.rtl.common.primitives import delay
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.gap_table import GapTable, table_write_layout
from latte.rtl.wide.payloads import gap_weight_bits, mass_bits, row_mark_layout, slot_shape

__all__ = ["LimitSearch", "MassThreshold", "limited_row_layout", "searched_row_layout", "threshold_row_layout"]

_PROBES = (GAP_TABLE_SIZE - 1).bit_length()
_STEPS = -(-(THETA_FRAC_BITS + 2) // 2)
"""Cycles of a multiplication by theta's mantissa, two bits at a time."""


def _kind(kind: ThresholdKind) -> int:
    return list(ThresholdKind).index(kind)


def limit_shape(config: AttentionConfig) -> range:
    """Shape of a limit: up to one gap more than there are."""
    return range((1 << config.est_bits) + 1)


def threshold_row_layout(config: AttentionConfig) -> data.StructLayout:
    """A row whose mass is summed: its threshold, its largest estimate, its place."""
    threshold = {"code": code_bits(config)} if config.code_octaves else {"tau": config.est_bits}
    kind = {"kind": 2} if len(config.threshold_kinds) > 1 else {}
    return data.StructLayout({**row_mark_layout(config).members, "row_max": signed(config.est_bits), **threshold,
                              **kind, "slot": slot_shape(config), "bank": 1})


def limited_row_layout(config: AttentionConfig) -> data.StructLayout:
    """A row whose limit is known: keys survive whose estimate is above `threshold`."""
    return data.StructLayout({**row_mark_layout(config).members, "threshold": signed(config.est_bits + 2),
                              "row_max": signed(config.est_bits), "slot": slot_shape(config), "bank": 1})


def searched_row_layout(config: AttentionConfig) -> data.StructLayout:
    """A row on its way to its limit: a given one, or that of the first weight not above `least`, by `search`."""
    return data.StructLayout({**row_mark_layout(config).members, "row_max": signed(config.est_bits),
                              "slot": slot_shape(config), "bank": 1, "limit": limit_shape(config), "search": 1,
                              "least": gap_weight_bits(config)})


class MassThreshold(wiring.Component):
    """What a row's keys are compared with: ``floor(theta * M)``, or a limit that needs no search.

    `latte.golden.row_limit`: a multiplication by the ten bits of theta's mantissa, two at a time, and a shift by its
    octaves, two at a time.

    Latency: two cycles; of a row by mass, five more and half of theta's octaves.

    Members
    -------
    row : In(stream of threshold_row_layout)
    mass : In(stream of mass_bits)
        The row's mass, of every row.
    o : Out(stream of searched_row_layout)
    """

    other_cycles = 2
    mass_cycles = 5 + 3 + 4
    """Cycles that a row takes: of a threshold by mass with some eight octaves of theta, and of another."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"row": In(stream.Signature(threshold_row_layout(config))),
                          "mass": In(stream.Signature(mass_bits(config))),
                          "o": Out(stream.Signature(searched_row_layout(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        row, o = self.row.payload, self.o.payload
        code = row.code if config.code_octaves else row.tau
        kinds = config.threshold_kinds

        def is_kind(kind: ThresholdKind) -> Const | Signal:
            if kind not in kinds:
                return Const(0)
            return row.kind == _kind(kind) if len(kinds) > 1 else Const(1)

        kept = [name for name in o.shape().members if name not in ("limit", "search", "least")]
        m.d.comb += [o[name].eq(row[name]) for name in kept]
        limit = Signal(limit_shape(config), reset_less=True)
        m.d.comb += o.limit.eq(limit)
        taken = self.o.valid & self.o.ready
        m.d.comb += [self.row.ready.eq(taken), self.mass.ready.eq(taken)]
        above = Signal(signed(config.est_bits + 2))
        m.d.comb += above.eq(row.row_max - code.as_signed()[:config.est_bits].as_signed())

        relative = code[:config.est_bits]
        # The product's high part, and what is left of the factor.
        high = Signal(mass_bits(config) + 2, reset_less=True)
        factor = Signal(2 * _STEPS, reset_less=True)
        with m.FSM():
            with m.State("ROW"):
                m.d.sync += [high.eq(0), factor.eq((2 << THETA_FRAC_BITS) - code[:THETA_FRAC_BITS])]
                # A row of one key has no code of its own.
                m.d.sync += limit.eq(Mux(relative == 0, 1, relative))
                with m.If(is_kind(ThresholdKind.ABSOLUTE)):
                    m.d.sync += limit.eq(Mux(above > 1, above, 1))
                with m.If(is_kind(ThresholdKind.MASS)):
                    m.d.sync += limit.eq(1 << config.est_bits)
                with m.If(self.row.valid & self.mass.valid):
                    m.next = "HAND OVER"
                    # The code that keeps all needs no search: its keys survive even without weight.
                    if "mass" in kinds:
                        with m.If(is_kind(ThresholdKind.MASS) & (code[:MASS_CODE_BITS] != MASS_KEEP_ALL)):
                            m.next = "MULTIPLY"
            with m.State("HAND OVER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "ROW"
            if "mass" in kinds:
                self._multiply(m, code, high, factor)
        return m

    def _multiply(self, m: Module, code: Value, high: Signal, factor: Signal) -> None:
        """Multiply the row's mass by theta: states of the machine."""
        mass, weight_bits = self.mass.payload, gap_weight_bits(self.config)
        # The bits that the multiplication has left behind.
        low = Signal(2 * _STEPS, reset_less=True)
        octaves = Signal(MASS_CODE_BITS - THETA_FRAC_BITS, reset_less=True)
        count = Signal(range(_STEPS))
        whole = Cat(low, high)
        least = whole >> (THETA_FRAC_BITS + 1)
        m.d.comb += self.o.payload.least.eq(Mux(least[weight_bits:].any(), (1 << weight_bits) - 1, least))
        with m.State("MULTIPLY"):
            total = high + Mux(factor[0], mass, 0) + Mux(factor[1], mass << 1, 0)
            m.d.sync += [high.eq(total >> 2), low.eq(Cat(low[2:], total[:2])), factor.eq(factor >> 2),
                         count.eq(count + 1), octaves.eq(code[THETA_FRAC_BITS:MASS_CODE_BITS])]
            with m.If(count == _STEPS - 1):
                m.d.sync += count.eq(0)
                m.next = "SHIFT"
        with m.State("SHIFT"):
            with m.If(octaves == 0):
                m.next = "SEARCH"
            with m.Else():
                two = octaves[1:].any()
                m.d.sync += [whole.eq(Mux(two, whole >> 2, whole >> 1)), octaves.eq(Mux(two, octaves - 2, 0))]
        with m.State("SEARCH"):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.search.eq(1)]
            with m.If(self.o.ready):
                m.next = "ROW"


class LimitSearch(wiring.Component):
    """The first gap whose weight is not above a row's `least`, by binary search in a table of gap weights::

        i -> row ----> position, step -> [GapTable] -> weight > least -> position, step -+-> o
                           ^-------------------------------------------------------------/

    As many rows go round as the loop is long, one behind the other, so that the table is read in every cycle.

    Latency: `latency` cycles. Throughput: as many rows in `latency` cycles as the loop has stages (`loop_latency`).

    Members
    -------
    i : In(stream of searched_row_layout)
    fill : In(table_write_layout)
    o : Out(stream of limited_row_layout)
    """

    loop_latency = GapTable.latency + 1
    """The table; the comparison."""
    latency = _PROBES * loop_latency + 1 + StreamQueue.latency
    """The search; the limit; the queue."""
    depth = 8
    """Rows in the loop, and behind it."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"i": In(stream.Signature(searched_row_layout(config))),
                          "fill": In(table_write_layout(config)),
                          "o": Out(stream.Signature(limited_row_layout(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.table = table = GapTable(config)
        m.submodules.queue = queue = StreamQueue(limited_row_layout(config), self.depth + 1)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        # A row enters when it will find a place behind the loop.
        held = Signal(range(self.depth + 1))
        enters, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.sync += held.eq(held + enters - leaves)

        round_layout = data.StructLayout({"row": searched_row_layout(config), "valid": 1,
                                          "position": range(GAP_TABLE_SIZE), "step": _PROBES})
        now = Signal(round_layout)
        step = now.step
        probe = Signal(range(GAP_TABLE_SIZE))
        m.d.comb += [
            probe.eq((now.position | step) - 1), table.fill.eq(self.fill), table.gap.eq(probe),
            table.valid.eq(1), table.table.eq(now.row.table),
        ]
        behind = delay(m, now, GapTable.latency, name="behind")
        found = Signal.like(now)
        m.d.comb += [
            found.eq(behind), found.step.eq(behind.step >> 1),
            found.position.eq(behind.position | Mux(table.weight > behind.row.least, behind.step, 0)),
        ]
        ends = behind.valid & behind.step[0]
        goes_on = behind.valid & ~behind.step[0]
        m.d.comb += self.i.ready.eq(~goes_on & (held != self.depth))
        with m.If(goes_on):
            m.d.sync += now.eq(found)
        with m.Else():
            m.d.sync += [now.valid.eq(enters), now.row.eq(self.i.payload), now.position.eq(0),
                         now.step.eq(1 << (_PROBES - 1))]

        row = Signal(limited_row_layout(config), reset_less=True)
        kept = [name for name in row.shape().members if name != "threshold"]
        # A limit that was given, or the end: above a least of 0 are all weights, which may go on beyond the table.
        other = Signal(limit_shape(config), reset_less=True)
        position, by_position = Signal.like(now.position, reset_less=True), Signal(reset_less=True)
        end = self.fill.ends[behind.row.table]
        m.d.sync += [other.eq(Mux(behind.row.search, end, behind.row.limit)), position.eq(found.position),
                     by_position.eq(behind.row.search & (behind.row.least != 0)),
                     *(row[name].eq(behind.row[name]) for name in kept)]
        limit = Mux(by_position, Mux(position == 0, 1, position), other)
        m.d.comb += [
            queue.i.valid.eq(delay(m, ends, 1, name="ends")), queue.i.payload.eq(row),
            queue.i.payload.threshold.eq(row.row_max - limit),
        ]
        return m
