"""What the pruned keys of a tile's rows give back: virtual survivors, and what they add to sums of weights."""

from amaranth import Array, Cat, Module, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.entry_words import GAIN_BITS
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import delay, register
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.tile_payloads import (
    group_shape,
    row_denominator_layout,
    row_rescale_layout,
    row_shape,
    unit_layout,
)
from latte.rtl.wide.mass_product import MASS, SUM, UNIT, create_mass_product, mass_factors
from latte.rtl.wide.normalizer import count_layout
from latte.rtl.wide.payloads import denominator_bits
from latte.rtl.wide.row_limiter import group_mass_layout
from latte.rtl.wide.scaled_product import ScaledProduct

__all__ = ["MassReturn"]


class MassReturn(wiring.Component):
    r"""`latte.golden.pruned_mass`: `rescale_mass`, `apply_gain` and `unit_weight` of one row after the other::

        count -> keys ... reciprocal -> [reciprocals] ---v
        pruned_0, pruned_1 ... -> [queues] -> mass * power, >> -> * gain, >> 6 -> * reciprocal, >> -> [queue] -> unit
                                                    \-> sum -> * gain, >> 6 -> denominator

    All of it is one `ScaledProduct`, through which the masses of a row's groups pass one behind the other, three times,
    and then their sum. A row begins with its rescaling. What its masses meet in the third pass is asked for meanwhile.

    Latency: a row of n groups takes ``3 * n + latency`` cycles to its denominator, if its masses are there and its
    reciprocals come in time. Throughput: one row at a time.

    Parameters
    ----------
    build
        With key groups.

    Members
    -------
    gains : In(array of denominator_gain, mean_gain)
        Of each row's head; stand until its denominator is taken.
    rescale : In(stream of row_rescale_layout)
        Of rows that are compensated, in order; taken with their denominators.
    pruned_<r> : In(stream of group_mass_layout)
        Of these rows, up to the last of their groups. Those of a row are taken before its turn comes.
    count_row, count_group : Out
        A row and a group; `count` : In(length_shape), `RAM_LATENCY` cycles later, is how many keys of it the row sees;
        of a group that the row does not have, anything.
    keys : Out(stream of length_shape), counted : In(1), reciprocal : In(count_layout)
        `keys`, `counted` and `count` of `Normalizer`.
    unit : Out(stream of unit_layout)
    denominator : Out(stream of row_denominator_layout)
        One per row that is compensated.
    overflow : Out(1)
        A queue has lost something.
    mass_valid, mass : Out
        The pruned mass of such a row, relative to its largest score.
    """

    _PASS_LATENCY = 1 + ScaledProduct.latency + 1
    """Cycles of a pass besides those of its masses: operands, product, a cycle to see that all is done."""
    latency = 1 + 3 * _PASS_LATENCY + (1 + _PASS_LATENCY)
    """The row begins; three passes, and that of the sum."""

    def __init__(self, build: MemoryBuild) -> None:
        config, rows = build.core, build.tile_rows
        if not config.key_groups:
            raise LatteError(f"configuration {config.name!r} returns no pruned mass; give it key_groups")
        self.build = build
        gains = data.StructLayout({"denominator_gain": GAIN_BITS, "mean_gain": GAIN_BITS})
        super().__init__({
            "gains": In(data.ArrayLayout(gains, rows)), "rescale": In(stream.Signature(row_rescale_layout(build))),
            **{f"pruned_{n}": In(stream.Signature(group_mass_layout(config))) for n in range(rows)},
            "count_row": Out(row_shape(build)), "count_group": Out(group_shape(build)),
            "count": In(length_shape(config)), "keys": Out(stream.Signature(length_shape(config))),
            "counted": In(1), "reciprocal": In(count_layout(config)),
            "unit": Out(stream.Signature(unit_layout(build))),
            "denominator": Out(stream.Signature(row_denominator_layout(build))),
            "overflow": Out(1), "mass_valid": Out(1), "mass": Out(config.sum_bits + config.group_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, config = self.build, self.build.core
        row, product = self.rescale.payload.row, create_mass_product(config)
        m.submodules.scaled = product
        m.submodules.units = units = StreamQueue(
            unit_layout(build), StreamQueue.count_under_way(self._PASS_LATENCY - 1) + config.key_groups,
            producer_latency=self._PASS_LATENCY - 1)
        wiring.connect(m, wiring.flipped(self.unit), units.o)
        m.d.comb += self.overflow.eq(units.overflow)
        begins, takes_mass = Signal(), Signal()
        mass_there, mass = self._queue(m, row, takes_mass)
        which, group, last_group = Signal(range(4)), Signal(group_shape(build)), Signal(group_shape(build))
        reciprocals_there, reciprocal = self._reciprocals(m, begins, group)

        # A pass: each group's mass, or their sum.
        step, ends, goes = Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(goes & Array([mass_there, 1, reciprocals_there & units.room, 1])[which]),
            ends.eq(Array([mass.last, group == last_group, group == last_group, 1])[which]),
            takes_mass.eq(step & (which == MASS)),
            self.mass_valid.eq(step & (which == SUM)),
        ]
        under_way = [step]
        for age in range(1, self._PASS_LATENCY):
            under_way.append(delay(m, under_way[-1], 1, name=f"step_{age}"))
        returns, value = under_way[-1], product.o
        m.submodules.masses = masses = memory.Memory(shape=len(value), depth=max(2, config.key_groups), init=[])
        write, read = masses.write_port(), masses.read_port(domain="comb")
        at = delay(m, group, self._PASS_LATENCY - 1, name="at", reset_less=True)
        m.d.comb += [
            read.addr.eq(group), write.addr.eq(at), write.data.eq(value), write.en.eq(returns),
            units.i.valid.eq(returns & (which == UNIT)),
            units.i.payload.row.eq(row), units.i.payload.group.eq(at), units.i.payload.unit.eq(value),
            units.i.payload.last.eq(at == last_group),
        ]
        b, shift, limit = mass_factors(product, which, self.rescale.payload, reciprocal, self.gains[row])
        m.d.sync += [product.b.eq(b), product.shift.eq(shift), product.limit.eq(limit),
                     product.a.eq(Array([mass.mass, read.data, read.data, self.mass])[which])]
        with m.If(begins):
            m.d.sync += self.mass.eq(0)
        with m.Elif(returns & (which == MASS)):
            m.d.sync += self.mass.eq(self.mass + value)

        given = Signal(denominator_bits(config), reset_less=True)
        with m.If(returns):
            m.d.sync += given.eq(value)
        m.d.comb += [self.denominator.payload.row.eq(row), self.denominator.payload.denominator.eq(given)]
        with m.FSM():
            with m.State("ROW"):
                m.d.sync += [which.eq(MASS), group.eq(0)]
                with m.If(self.rescale.valid):
                    m.d.comb += begins.eq(1)
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += goes.eq(1)
                with m.If(step):
                    m.d.sync += group.eq(group + 1)
                    with m.If(ends):
                        m.next = "WAIT"
                with m.If(takes_mass):
                    m.d.sync += last_group.eq(group)
            with m.State("WAIT"):
                m.d.sync += group.eq(0)
                with m.If(~Cat(under_way[1:]).any()):
                    m.d.sync += which.eq(which + 1)
                    m.next = "PASS"
                    with m.If(which == SUM):
                        m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.denominator.valid.eq(1)
                with m.If(self.denominator.ready):
                    m.d.comb += self.rescale.ready.eq(1)
                    m.next = "ROW"
        return m

    def _queue(self, m: Module, row: Value, takes: Value) -> tuple[Value, data.View]:
        """Queue the masses of each row; return whether there is one of the present row, and which."""
        layout = group_mass_layout(self.build.core)
        queues = []
        for n in range(self.build.tile_rows):
            m.submodules[f"pruned_{n}"] = queue = StreamQueue(layout, max(2, self.build.core.key_groups))
            wiring.connect(m, wiring.flipped(getattr(self, f"pruned_{n}")), queue.i)
            m.d.comb += queue.o.ready.eq(takes & (row == n))
            queues.append(queue.o)
        return (Array([queue.valid for queue in queues])[row],
                layout(Value.cast(Array([queue.payload.as_value() for queue in queues])[row])))

    def _reciprocals(self, m: Module, begins: Value, group: Value) -> tuple[Value, data.View]:
        """Ask for reciprocals of the numbers of keys of all groups; return whether all are there, and that of one."""
        groups, settled = self.build.core.key_groups, RAM_LATENCY + 1
        asked, answered, age = (Signal(range(groups + 1), init=groups), Signal(range(groups + 1), init=groups),
                                Signal(range(settled + 1)))
        taken = self.keys.valid & self.keys.ready
        # A group without keys has no mass: what that is divided by does not matter, but it has to be a number.
        number = register(m, self.count | (self.count == 0), "number")
        m.d.comb += [self.count_row.eq(self.rescale.payload.row), self.count_group.eq(asked),
                     self.keys.valid.eq((asked != groups) & (age == settled)), self.keys.payload.eq(number)]
        m.submodules.reciprocals = reciprocals = memory.Memory(shape=self.reciprocal.shape(), depth=max(2, groups),
                                                               init=[])
        write, read = reciprocals.write_port(), reciprocals.read_port(domain="comb")
        m.d.comb += [write.addr.eq(answered), write.data.eq(self.reciprocal), write.en.eq(self.counted),
                     read.addr.eq(group)]
        with m.If(begins):
            m.d.sync += [asked.eq(0), answered.eq(0)]
        with m.Else():
            m.d.sync += [asked.eq(asked + taken), answered.eq(answered + self.counted)]
        with m.If(begins | taken):
            m.d.sync += age.eq(0)
        with m.Elif(age != settled):
            m.d.sync += age.eq(age + 1)
        return answered == groups, read.data
