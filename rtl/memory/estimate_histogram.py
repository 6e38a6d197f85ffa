"""A row's estimates counted by their value, within a window below a maximum that is not known yet."""

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import delay, register
from latte.rtl.common.ram import RAM_LATENCY, Ram

__all__ = ["ROW_BITS", "EstimateHistogram", "count_groups", "counts_layout"]

ROW_BITS = 7
"""A word says of which row it is; so many rows later it would be taken for one of the present row."""


def count_groups(build: MemoryBuild) -> int:
    """Return the key groups whose estimates are counted apart."""
    return max(1, build.core.key_groups)


def counts_layout(build: MemoryBuild) -> data.ArrayLayout:
    """Keys of each group."""
    return data.ArrayLayout(length_shape(build.core), count_groups(build))


class EstimateHistogram(wiring.Component):
    r"""`latte.golden.memory.histogram.WindowedHistogram`: of each group of keys a circular table, in a block RAM::

                                +-------------- results of the last keys --------------+
                                v                                                      |
        estimate -> [words] -> tag, row? -> count, else 0 -+-> counts                  |
            ^                                              +-> of the key's group -> + 1 -> write

    The low bits of an estimate address a word; a word holds the row's number, the estimate's high bits and a count.
    What was read is written back `_WRITE_LATENCY` cycles later, so a key takes the result of the last one with its own
    estimate and group if that is on its way. (Another estimate at the same address is smaller, and lost: its word is
    not looked at.)

    A word of another row counts nothing, so no row waits for tables to be cleared. Since rows' numbers come again, some
    words are cleared behind each row, all of them in as many rows as there are numbers; and all behind reset.

    Latency: `latency` cycles from an estimate to its counts. Throughput: one key or look-up per cycle.

    Parameters
    ----------
    build

    Members
    -------
    restart : In(1)
        The row has ended, and nothing is `busy`.
    ready : Out(1)
        A row may begin.
    estimate : In(signed(est_bits))
        Looked up.
    valid, group : In
        And counted once more in this group; it lies within the window. The group is present if there are several.
    busy : Out(1)
        A key is on its way.
    counts : Out(counts_layout)
        Keys of the row with the estimate, of each group, but those that are on their way.
    """

    latency = RAM_LATENCY + 1
    """The memory; the comparison of tag and row."""
    _WRITE_LATENCY = latency + 1
    """The new count; it is written in the next cycle."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        group = {"group": In(build.core.group_bits)} if build.core.group_bits else {}
        super().__init__({
            "restart": In(1), "ready": Out(1), "estimate": In(signed(build.core.est_bits)), "valid": In(1), **group,
            "busy": Out(1), "counts": Out(counts_layout(build))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, groups = self.build, count_groups(self.build)
        address_bits = ceil_log2(build.window)
        word_layout = data.StructLayout({"count": length_shape(build.core),
                                         "tag": max(0, build.core.est_bits - address_bits), "row": ROW_BITS})
        row = Signal(ROW_BITS)
        # Words that are still to be cleared, and the next of them.
        left, cleared = Signal(range(build.window + 1), init=build.window), Signal(address_bits)
        clears = left != 0
        with m.If(self.restart):
            m.d.sync += [row.eq(row + 1), left.eq(max(1, build.window >> ROW_BITS))]
        with m.Elif(clears):
            m.d.sync += [left.eq(left - 1), cleared.eq(cleared + 1)]
        m.d.comb += self.ready.eq(~clears)

        key = Signal(data.StructLayout({"estimate": signed(build.core.est_bits), "group": range(max(2, groups)),
                                        "valid": 1}))
        m.d.comb += [key.estimate.eq(self.estimate), key.valid.eq(self.valid)]
        if build.core.group_bits:
            m.d.comb += key.group.eq(self.group)
        # By age.
        keys = [key]
        for age in range(1, self._WRITE_LATENCY + 1):
            keys.append(delay(m, keys[-1], 1, name=f"key_{age}"))
        m.d.comb += self.busy.eq(Cat(older.valid for older in keys).any())
        looked_up, counted, written = keys[RAM_LATENCY], keys[self.latency], keys[self._WRITE_LATENCY]

        def address(of: data.View) -> Value:
            return of.estimate[:address_bits]

        def tag(of: data.View) -> Value:
            return of.estimate[address_bits:]

        result = Signal(length_shape(build.core), reset_less=True)
        word = Signal(word_layout)
        m.d.comb += [word.count.eq(result), word.tag.eq(tag(written)), word.row.eq(row)]
        for group in range(groups):
            m.submodules[f"words_{group}"] = words = Ram(word_layout, build.window)
            found = words.read_data
            m.d.comb += [
                words.read_addr.eq(address(key)), words.write_addr.eq(Mux(clears, cleared, address(written))),
                words.write_en.eq(clears | (written.valid & (written.group == group))),
                words.write_data.eq(Mux(clears, 0, word.as_value())),
            ]
            ours = (found.row == row) & (found.tag == tag(looked_up))
            m.d.sync += self.counts[group].eq(Mux(ours, found.count, 0))
        known = Array(self.counts[group] for group in range(groups))[counted.group]
        m.d.sync += result.eq(self._latest(m, keys, result, known) + 1)
        return m

    def _latest(self, m: Module, keys: list[data.View], result: Signal, known: Value) -> Value:
        """Return the count of the key of age `latency`: the latest result of its own kind, else what is `known`."""
        same = [register(m, before.valid & (before.estimate == keys[0].estimate) & (before.group == keys[0].group),
                         "same") for before in keys[1:]]
        latest_alone = Cat(one & ~Cat(same[:age]).any() for age, one in enumerate(same))
        chosen = delay(m, latest_alone, self.latency - 1, name="chosen", reset_less=True)
        latest = Mux(chosen.any(), 0, known)
        for pick in chosen:
            latest |= Mux(pick, result, 0)
            result = register(m, result, "earlier")
        return latest
