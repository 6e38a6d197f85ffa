"""One item among all that pass a block, chosen by the solver."""

from typing import Any

from amaranth import Signal, Value

from latte.sim.formal.setting import Setting

__all__ = ["Followed"]


class Followed:
    """Any one of the items that come, until it leaves: what holds of it holds of each.

    Parameters
    ----------
    setting
    comes, item
        An item enters in this cycle.
    before
        Items that are in the block before this cycle.
    leaves
        How many items leave in this cycle.
    name
        Of its signals, where several are followed.

    Attributes
    ----------
    here
        The item is in the block.
    ahead
        Items that leave before it.
    item
        It.
    """

    def __init__(self, setting: Setting, comes: Value, item: Any, before: Value, leaves: Value,
                 name: str = "followed") -> None:
        self.here, self.ahead = Signal(name=name), Signal(len(before), name=f"{name}_ahead")
        self.item = Signal(len(Value.cast(item)), name=f"{name}_item")
        chosen, m = setting.free(f"{name}_chosen"), setting.m
        with m.If(self.here):
            m.d.sync += [self.here.eq(self.ahead >= leaves), self.ahead.eq(self.ahead - leaves)]
        with m.Elif(comes & chosen):
            m.d.sync += [self.here.eq(1), self.ahead.eq(before - leaves), self.item.eq(item)]
