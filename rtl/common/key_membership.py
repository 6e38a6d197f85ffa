"""Finds the group of each key as it is loaded: up to three of its elements are compared with cuts."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import AttentionConfig
from latte.rtl.common.payloads import groups_layout
from latte.rtl.common.primitives import next_modulo

__all__ = ["KeyMembership"]


class KeyMembership(wiring.Component):
    """Bit ``i`` of a key's group says whether ``K[element_i] > cut_i`` after saturation (`latte.golden.key_groups`)::

        beat -> element of each comparison -> > cut, if it is in this beat -> bits of the key

    Comparisons that the groups do not use give 0.

    Latency: `latency` cycles from a key's last beat to its group. Throughput: one beat per cycle.

    Members
    -------
    groups : In(groups_layout)
        Stands while keys are loaded.
    beat_valid : In(1), beat : In(ArrayLayout(signed(8), bus_bytes))
        Elements of the keys, saturated, in order.
    valid : Out(1), group : Out(group_bits)
        One for each key, in order.
    """

    latency = 3
    """The element, its comparison, the key's bits."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "groups": In(groups_layout(config)), "beat_valid": In(1),
            "beat": In(data.ArrayLayout(signed(8), config.bus_bytes)),
            "valid": Out(1), "group": Out(config.group_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        beats, lane_bits = config.head_dim // config.bus_bytes, exact_log2(config.bus_bytes)
        beat = Signal(range(max(2, beats)))
        valid, compared, first, last, first_compared, last_compared = (
            Signal(name=name) for name in ("taken", "compared", "first", "last", "first_compared", "last_compared"))
        with m.If(self.beat_valid):
            m.d.sync += beat.eq(next_modulo(beat, beats))
        m.d.sync += [
            valid.eq(self.beat_valid), first.eq(beat == 0), last.eq(beat == beats - 1),
            compared.eq(valid), first_compared.eq(first), last_compared.eq(last),
            self.valid.eq(compared & last_compared),
        ]
        for bit in range(config.group_bits):
            place, cut = self.groups.elements[bit], self.groups.cuts[bit]
            element, here, above = Signal(signed(8), name=f"element_{bit}"), Signal(name=f"here_{bit}"), Signal(
                name=f"above_{bit}")
            m.d.sync += [
                element.eq(self.beat[place[:lane_bits]]),
                here.eq((place[lane_bits:] == beat) & (self.groups.group_bits > bit)),
                above.eq(here & (element > cut)),
            ]
            with m.If(compared):
                m.d.sync += self.group[bit].eq(above | (self.group[bit] & ~first_compared))
        return m
