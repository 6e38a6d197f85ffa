"""The weights of keys by the gap of their estimate: one head's table."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.pruned_mass import GAP_TABLE_SIZE, MASS_FRAC_BITS
from latte.rtl.serial.serial_memories import DualPortRam

__all__ = ["SerialGapTable", "fill_layout", "gap_weight_bits", "mass_bits", "weighs"]

_INDEX_BITS = ceil_log2(GAP_TABLE_SIZE)


def gap_weight_bits(config: AttentionConfig) -> int:
    """Width of a key's weight by its estimate."""
    return config.weight_bits + MASS_FRAC_BITS


def mass_bits(config: AttentionConfig) -> int:
    """Width of a sum of a row's weights by estimate."""
    return config.sum_bits + MASS_FRAC_BITS


def weighs(config: AttentionConfig) -> bool:
    """Return whether a build weighs keys by their estimates: for thresholds by mass, or to compensate."""
    return "mass" in config.threshold_kinds or config.key_groups > 0


def fill_layout(config: AttentionConfig) -> data.StructLayout:
    """One weight on its way into the table; gaps come from 0 on, the first weight of 0 ends them."""
    return data.StructLayout({"valid": 1, "gap": range(2 * GAP_TABLE_SIZE), "weight": gap_weight_bits(config)})


class SerialGapTable(wiring.Component):
    """``gap_weights(gap)`` of `latte.golden.pruned_mass`.

    The table has `GAP_TABLE_SIZE` entries; weights from there to the table's end are one step each (`table_holds`).

    Latency: `latency` cycles. Throughput: one look-up per cycle.

    Members
    -------
    fill : In(fill_layout)
    gap : In(est_bits)
    weight : Out(gap_weight_bits)
        Of the gap, one cycle later.
    end : Out
        The first gap without weight; until a fill is through, that of the last one.
    """

    latency = DualPortRam.latency

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        layout = fill_layout(config)
        super().__init__({"fill": In(layout), "gap": In(config.est_bits), "weight": Out(gap_weight_bits(config)),
                          "end": Out(layout["gap"].shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fill = self.fill
        m.submodules.memory = memory = DualPortRam(gap_weight_bits(self.config), GAP_TABLE_SIZE)
        weighs, beyond = Signal(), Signal()
        m.d.comb += [
            memory.write_en.eq(fill.valid & (fill.gap < GAP_TABLE_SIZE)), memory.write_addr.eq(fill.gap),
            memory.write_data.eq(fill.weight), memory.read_addr.eq(self.gap),
            self.weight.eq(Mux(weighs, Mux(beyond, 1, memory.read_data), 0)),
        ]
        m.d.sync += [weighs.eq(self.gap < self.end), beyond.eq(self.gap[_INDEX_BITS:].any())]
        with m.If(fill.valid & (fill.weight == 0)):
            m.d.sync += self.end.eq(fill.gap)
        return m
