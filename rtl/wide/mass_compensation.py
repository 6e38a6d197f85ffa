"""What pruned keys give back: a row's virtual survivors, and what they add to its sum of weights."""

import dataclasses

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import UNIT_BITS
from latte.rtl.common.payloads import key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.key_counts import ROW_BITS, KeyCounts, added_key_layout
from latte.rtl.wide.mass_product import GAIN, MASS, SUM, UNIT, create_mass_product, mass_factors
from latte.rtl.wide.normalizer import count_layout
from latte.rtl.wide.payloads import denominator_bits, row_layout
from latte.rtl.wide.row_limiter import group_mass_layout
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.rtl.wide.softmax import rescale_layout

__all__ = ["MassCompensation", "compensation_layout"]

_RESCALES = 4
"""Rows that may have begun in the softmax, and what is on the way."""
_DENOMINATORS = 8


def compensation_layout(config: AttentionConfig) -> data.StructLayout:
    """What comes behind a row's survivors, up to `last`.

    ``virtual``: a group's survivor of weight `unit`, in steps of ``2**-UNIT_FRAC_BITS``; else a row without any.
    """
    group = {"group": config.group_bits} if config.group_bits else {}
    return data.StructLayout({"virtual": 1, "last": 1, "unit": UNIT_BITS, **group})


class MassCompensation(wiring.Component):
    r"""`latte.golden.pruned_mass`: `rescale_mass`, `apply_gain` and `unit_weight` of each group of a row::

        row -----> KeyCounts -> keys to add, reciprocals of the groups' numbers of keys
        rescale ----v                        v
        pruned -> mass * power, >> -> * gain, >> 6 -> * reciprocal, >> -> unit of the virtual survivor
                       \-> sum -> * gain, >> 6 -> denominator

    A group's mass goes three times round a loop with one `ScaledProduct` in it; as many groups are under way as the
    loop has stages.

    Keys of the next row are counted meanwhile, and its masses enter behind the last one's sum, in the stages that are
    free.

    Latency: of a row whose keys are counted, `latency` cycles from its mass to its first virtual survivor.
    Throughput: one row in `row_cycles` of its groups.

    Members
    -------
    row : In(stream of row_layout)
        The row that the softmax has begun.
    rescale_valid, rescale : In(rescale_layout)
        Of each row, in order.
    pruned : In(stream of group_mass_layout)
        Of rows whose head compensates.
    group_bank, group_key, group : Out, Out, In
        As of `KeyCounts`.
    keys : Out(stream of length_shape), counted, count : In
        Of `Normalizer`.
    added : Out(stream of added_key_layout)
        Keys whose values a row is the first to see; rows are numbered from 0.
    o : Out(stream of compensation_layout)
    denominator : Out(stream of denominator_bits)
        One per row.
    mass_valid, mass : Out
        The pruned mass of a row, relative to its largest score.
    overflow : Out(1)
        A queue has lost an entry.
    """

    loop_latency = 1 + ScaledProduct.latency + 2
    """Operands, product, result, the look-up of what it meets: stages for four groups each of two rows, and a sum."""
    latency = 3 * loop_latency + StreamQueue.latency
    items = 32
    """Virtual survivors, and keys to add, that wait for the value accumulator."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        group = max(1, config.group_bits)
        super().__init__({
            "row": In(stream.Signature(row_layout(config))),
            "rescale_valid": In(1), "rescale": In(rescale_layout(config)),
            "pruned": In(stream.Signature(group_mass_layout(config))),
            "group_bank": Out(1), "group_key": Out(key_shape(config)), "group": In(group),
            "keys": Out(stream.Signature(length_shape(config))), "counted": In(1), "count": In(count_layout(config)),
            "added": Out(stream.Signature(added_key_layout(config))),
            "o": Out(stream.Signature(compensation_layout(config))),
            "denominator": Out(stream.Signature(denominator_bits(config))),
            "mass_valid": Out(1), "mass": Out(config.sum_bits + config.group_bits), "overflow": Out(1)})

    @classmethod
    def row_cycles(cls, groups: int) -> int:
        """Return the cycles from a row's first mass to that of the next: until all are in the sum, which follows."""
        return groups + cls.loop_latency + 1

    @classmethod
    def reciprocal_cycles(cls, groups: int) -> int:
        """Return the cycles from a row's first mass until it no longer needs its reciprocals."""
        return 2 * cls.loop_latency + groups

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.counts = counts = KeyCounts(config)
        m.submodules.rescales = rescales = StreamQueue(rescale_layout(config), _RESCALES)
        # A row begins while the virtual survivors of the last two are on their way.
        # P·V takes as many cycles for an item as it has slices.
        every_other = config.value_slices > 1
        m.submodules.queue = queue = StreamQueue(compensation_layout(config), self.items, producer_latency=0,
                                                 reserve=3 * config.key_groups, every_other=every_other)
        m.submodules.added_queue = added = StreamQueue(added_key_layout(config), self.items,
                                                       producer_latency=RAM_LATENCY, every_other=every_other)
        m.submodules.denominators = denominators = StreamQueue(denominator_bits(config), _DENOMINATORS)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        wiring.connect(m, wiring.flipped(self.added), added.o)
        wiring.connect(m, wiring.flipped(self.denominator), denominators.o)
        wiring.connect(m, counts.divided, wiring.flipped(self.keys))
        begun = self.row.payload
        counting, row = Signal(row_layout(config), reset_less=True), Signal(row_layout(config), reset_less=True)
        waits, number, side = Signal(), Signal(ROW_BITS), Signal()
        m.d.comb += [
            rescales.i.valid.eq(self.rescale_valid), rescales.i.payload.eq(self.rescale),
            self.group_bank.eq(counts.group_bank), self.group_key.eq(counts.group_key), counts.group.eq(self.group),
            counts.divided_valid.eq(self.counted), counts.divided_by.eq(self.count), counts.added_room.eq(added.room),
            counts.keys.eq(begun.keys), counts.bank.eq(begun.bank), counts.row.eq(number),
            added.i.valid.eq(counts.added_valid), added.i.payload.eq(counts.added),
        ]

        # A row without compensation leaves the counts alone; a new sequence is remembered for the next row with.
        compensated, restart = begun.denominator_gain != 0, Signal()
        taken, leaves, passes, enters, sums = (Signal(name=name) for name in ("taken", "leaves", "passes", "enters",
                                                                              "sums"))
        m.d.comb += [self.row.ready.eq(counts.ready & ~waits), taken.eq(self.row.valid & self.row.ready),
                     counts.restart.eq(restart | begun.restart), counts.begin.eq(taken & compensated)]
        with m.If(taken):
            m.d.sync += [counting.eq(begun), restart.eq((restart | begun.restart) & ~compensated), waits.eq(1),
                         number.eq(number + 1)]
        with m.Elif(leaves):
            m.d.sync += waits.eq(0)
        loop = self._loop(m, row, side, rescales.o.payload, counts, enters, sums)
        # Two rows at a time: one is made ready while the masses of the other enter the loop.
        prepared, takes, feeds, some = (Signal(name=name) for name in ("prepared", "takes", "feeds", "some"))
        with m.If(takes):
            m.d.comb += leaves.eq(1)
            m.d.sync += [row.eq(counting), side.eq(counts.side), some.eq(0)]
        with m.FSM(name="preparation"):
            with m.State("ROW"), m.If(waits):
                with m.If(counting.denominator_gain == 0):
                    m.d.comb += passes.eq(rescales.o.valid & queue.room & denominators.i.ready & loop.empty & ~feeds)
                    m.d.comb += [leaves.eq(passes), rescales.o.ready.eq(passes)]
                with m.Elif(counts.counted & ~Mux(counts.side, loop.inside[0], loop.inside[1])):
                    m.d.comb += counts.divide.eq(1)
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += prepared.eq(counts.ready)
                with m.If(takes):
                    m.next = "ROW"
        with m.FSM(name="masses"):
            with m.State("IDLE"), m.If(prepared):
                m.d.comb += takes.eq(1)
                m.next = "MASS"
            with m.State("MASS"):
                m.d.comb += [feeds.eq(1), enters.eq(self.pruned.valid & self.pruned.ready),
                             self.pruned.ready.eq(rescales.o.valid & loop.free & (queue.room | some))]
                with m.If(enters):
                    m.d.sync += some.eq(1)
                    with m.If(self.pruned.payload.last):
                        m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += [feeds.eq(1), sums.eq(loop.summed & loop.free & denominators.i.ready)]
                with m.If(sums):
                    m.d.comb += [rescales.o.ready.eq(1), takes.eq(prepared)]
                    m.next = "IDLE"
                    with m.If(prepared):
                        m.next = "MASS"

        # A cycle later: what lets a row pass is as much logic as what it adds to the queues.
        passed = delay(m, passes, 1, name="passed")
        item, virtual = queue.i.payload, loop.done & (loop.stage == UNIT)
        m.d.comb += [
            queue.i.valid.eq(virtual | passed), item.virtual.eq(virtual),
            item.last.eq(passed | loop.last), item.unit.eq(loop.value),
            denominators.i.valid.eq(passed | (loop.done & (loop.stage == SUM))),
            denominators.i.payload.eq(Mux(passed, 0, loop.value)),
            self.overflow.eq(queue.overflow | added.overflow | (denominators.i.valid & ~denominators.i.ready)
                             | (self.rescale_valid & ~rescales.i.ready)),
        ]
        if config.group_bits:
            m.d.comb += item.group.eq(loop.group)
        return m

    def _loop(self, m: Module, row: data.View, side: Signal, rescale: data.View, counts: KeyCounts, enters: Signal,
              sums: Signal) -> "_Loop":
        """Send a mass round the loop when it `enters`, and the sum of the rescaled ones when it does."""
        config = self.config
        group_shape = range(max(2, config.key_groups))
        m.submodules.scaled = product = create_mass_product(config)
        flags = Signal(data.StructLayout({"valid": 1, "stage": 2, "group": group_shape, "side": 1, "last": 1}))
        now, returns, back = flags, Signal.like(flags), Signal.like(flags)
        m.d.comb += [returns.eq(delay(m, now, self.loop_latency - 2, name="round")),
                     counts.which.eq(returns.group), counts.which_side.eq(returns.side)]
        reciprocal = Signal.like(counts.reciprocal, reset_less=True)
        m.d.sync += [back.eq(returns), reciprocal.eq(counts.reciprocal)]
        value = delay(m, product.o, 2, name="value", reset_less=True)
        goes_on = back.valid & ((back.stage == MASS) | (back.stage == GAIN))
        entered, total, pending = (Signal(shape, name=name) for shape, name in (
            (group_shape, "entered"), (self.mass.shape(), "total"), (range(config.key_groups + 1), "pending")))
        # Masses that still need a reciprocal, by its side: two rows may share one.
        inside = [Signal(range(2 * config.key_groups + 1), name=f"inside_{n}") for n in range(2)]

        stage = Mux(goes_on, back.stage + 1, Mux(enters, MASS, SUM))
        group = Mux(goes_on, back.group, entered)
        a = Mux(goes_on, value, Mux(enters, self.pruned.payload.mass, total))
        b, shift, limit = mass_factors(product, stage, rescale, reciprocal, row)
        m.d.sync += [
            product.a.eq(a), product.b.eq(b), product.shift.eq(shift), product.limit.eq(limit),
            now.valid.eq(goes_on | enters | sums), now.stage.eq(stage), now.group.eq(group),
            now.side.eq(Mux(goes_on, back.side, side)),
            now.last.eq(Mux(goes_on, back.last, self.pruned.payload.last)),
        ]
        # What goes round for the last time needs nothing of its row.
        rescaled, done = back.valid & (back.stage == MASS), back.valid & ~goes_on
        last_round = back.valid & (back.stage == GAIN)
        recent = Signal(self.loop_latency)
        m.d.sync += [count.eq(count + (enters & (side == n)) - (last_round & (back.side == n)))
                     for n, count in enumerate(inside)]
        m.d.sync += [pending.eq(pending + enters - rescaled),
                     recent.eq(Cat(goes_on | enters | sums, recent))]
        with m.If(enters):
            m.d.sync += entered.eq(Mux(self.pruned.payload.last, 0, entered + 1))
        with m.If(sums):
            m.d.sync += total.eq(0)
        with m.Elif(rescaled):
            m.d.sync += total.eq(total + value)
        m.d.comb += [self.mass_valid.eq(sums), self.mass.eq(total)]
        return _Loop(free=~goes_on, inside=[count != 0 for count in inside], empty=~recent.any(),
                     summed=pending == 0, done=done, stage=back.stage,
                     group=back.group, last=back.last, value=value)


@dataclasses.dataclass(frozen=True)
class _Loop:
    """State of the loop.

    Parameters
    ----------
    free
        A mass may enter.
    inside
        A mass still needs a reciprocal of that side.
    empty
        Nothing is.
    summed
        All masses that have entered are rescaled and in the sum.
    done, stage, group, last, value
        What leaves.
    """

    free: Value
    inside: list[Value]
    empty: Value
    summed: Value
    done: Value
    stage: Value
    group: Value
    last: Value
    value: Value
