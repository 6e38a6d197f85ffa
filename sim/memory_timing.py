"""When a memory has moved the bytes of a burst: pins and banks of a part, as hardware beside a memory model."""

import dataclasses
import math

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.memory.parts import Part
from latte.rtl.axi.bus import ADDRESS_BITS

__all__ = ["TIME_BITS", "MemoryTiming", "PartTiming", "later"]

TIME_BITS = 16
"""Of a time in cycles, which comes round: two that are compared lie less than half of that apart."""
_FRACTION_BITS = 8
_TICKS = TIME_BITS + _FRACTION_BITS


@dataclasses.dataclass(frozen=True)
class PartTiming:
    """A part in the core's cycles.

    Parameters
    ----------
    burst_bytes, row_bytes, banks
        As of `latte.golden.memory.parts.Part`.
    transfer
        Of the shortest access on the pins; refresh takes its share of each.
    opens
        A bank closes its row and opens another.
    reopens
        From one row that a bank opens to its next.
    window
        From one row to the next that all banks open: a quarter of the window for four.
    """

    burst_bytes: int
    row_bytes: int
    banks: int
    transfer: float
    opens: float
    reopens: float
    window: float

    @classmethod
    def of(cls, part: Part) -> "PartTiming":
        """Return the timing of a part beside the core of its board."""
        cycles = 1e-3 * part.core_mhz
        refreshed = 1 - part.refresh / part.refresh_interval
        return cls(part.burst_bytes, part.row_bytes, part.banks,
                   1e9 * part.burst_bytes / part.bytes_per_second / refreshed * cycles,
                   (part.precharge + part.activate) * cycles, (part.active + part.precharge) * cycles,
                   part.four_activates / 4 * cycles)


class MemoryTiming(wiring.Component):
    r"""Takes bursts in order, as a controller that looks ahead at all that were asked for::

        burst -> row open in its bank? -+-> no: bank, window of activations -+-> pins -> time of its last byte
                                        +-----------------------------------+

    Banks open rows while pins move earlier bursts. A burst counts as of the row in which it begins.

    Latency: none; the times are those of a burst that comes in this cycle.

    Parameters
    ----------
    timing
    directions
        Bursts that may come in one cycle, which share the pins in this order.

    Members
    -------
    time : In(TIME_BITS)
        Goes on by one in each cycle.
    valid_<n>, address_<n>, bytes_<n> : In
        A burst.
    moved_<n> : Out(TIME_BITS)
        When its last byte is on the pins, in whole cycles.
    """

    def __init__(self, timing: PartTiming, directions: int) -> None:
        self.timing = timing
        self.directions = directions
        super().__init__({"time": In(TIME_BITS), **{
            name: member for n in range(directions) for name, member in (
                (f"valid_{n}", In(1)), (f"address_{n}", In(ADDRESS_BITS)), (f"bytes_{n}", In(13)),
                (f"moved_{n}", Out(TIME_BITS)))}})

    def elaborate(self, platform: object) -> Module:
        """Keep when pins, banks and the window are free, and which rows are open."""
        m = Module()
        timing = self.timing
        now = Signal(_TICKS)
        m.d.comb += now.eq(self.time << _FRACTION_BITS)
        banks = range(timing.banks)
        rows = [Signal(ADDRESS_BITS, name=f"row_{n}") for n in banks]
        opened = [Signal(name=f"opened_{n}") for n in banks]
        timers = {name: Signal(_TICKS, name=name) for name in ("pins", "window", *(f"bank_{n}" for n in banks))}
        # What is in the past is as good as now, and must not come round.
        free: dict[str, Value] = {}
        for name, timer in timers.items():
            free[name] = Signal(_TICKS, name=f"{name}_free")
            m.d.comb += free[name].eq(later(timer, now))
        for direction in range(self.directions):
            valid, address, size, moved = (getattr(self, f"{name}_{direction}")
                                           for name in ("valid", "address", "bytes", "moved"))
            row, access = address >> exact_log2(timing.row_bytes), exact_log2(timing.burst_bytes)
            bank = row[:exact_log2(timing.banks)]
            hit = Array(opened)[bank] & (Array(rows)[bank] == row)
            accesses = ((address + size - 1) >> access) - (address >> access) + 1
            activated = later(Array(free[f"bank_{n}"] for n in banks)[bank], free["window"])
            ready = Mux(hit, now, activated + _ticks(timing.opens))
            ended = Signal(_TICKS, name=f"ended_{direction}")
            m.d.comb += [ended.eq(later(free["pins"], ready) + accesses * _ticks(timing.transfer)),
                         moved.eq((ended + ((1 << _FRACTION_BITS) - 1)) >> _FRACTION_BITS)]
            opens = valid & ~hit
            for n in banks:
                with m.If(opens & (bank == n)):
                    m.d.sync += [rows[n].eq(row), opened[n].eq(1)]
            changes = {"pins": (valid, ended), "window": (opens, activated + _ticks(timing.window)),
                       **{f"bank_{n}": (opens & (bank == n), activated + _ticks(timing.reopens)) for n in banks}}
            for name, (when, until) in changes.items():
                after = Signal(_TICKS, name=f"{name}_after_{direction}")
                m.d.comb += after.eq(Mux(when, until, free[name]))
                free[name] = after
        m.d.sync += [timer.eq(free[name]) for name, timer in timers.items()]
        return m


def _ticks(cycles: float) -> int:
    return math.ceil(cycles * (1 << _FRACTION_BITS))


def later(one: Value, other: Value) -> Value:
    """Return the later of two times of as many bits."""
    return Mux((one - other)[len(one) - 1], other, one)
