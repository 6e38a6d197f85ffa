"""Softmax of the dense baseline: as many weights per cycle as scores."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.payloads import key_shape
from latte.rtl.common.primitives import delay
from latte.rtl.wide.payloads import row_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout
from latte.rtl.wide.weight_pipeline import WeightPipeline

__all__ = ["DenseSoftmax", "weights_layout"]


def weights_layout(config: AttentionConfig) -> data.StructLayout:
    """Weights of ``P`` consecutive keys of one row; 0 where the row may not see the key."""
    return data.StructLayout({
        "weights": data.ArrayLayout(config.weight_bits, config.pairs_per_cycle), "group": key_shape(config),
        "bank": 1, "row_last": 1, "job_last": 1})


class DenseSoftmax(wiring.Component):
    """``P`` weights per cycle, relative to the row's maximum, which the row buffer knows already.

    Latency: `latency` cycles. Throughput: one group per cycle.

    Members
    -------
    row_valid, row : In
        From `RowScanner`.
    i_valid, i : In(scanned_layout)
    o_valid, o : Out(weights_layout)
    """

    latency = 1 + WeightPipeline.latency
    """Distance to the maximum, and its weight."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"row_valid": In(1), "row": In(row_layout(config)), "i_valid": In(1),
                          "i": In(scanned_layout(config)), "o_valid": Out(1), "o": Out(weights_layout(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        # The row's description overtakes its scores.
        lead = RowScanner.latency - RowScanner.row_latency
        valid = delay(m, self.row_valid, lead, name="row_valid")
        arrived, held = delay(m, self.row, lead, name="row", reset_less=True), Signal(row_layout(config))
        row = Signal(row_layout(config))
        m.d.comb += row.eq(Mux(valid, arrived.as_value(), held.as_value()))
        with m.If(valid):
            m.d.sync += held.eq(arrived)

        group = Signal(key_shape(config))
        with m.If(self.i_valid):
            m.d.sync += group.eq(Mux(self.i.row_last, 0, group + 1))
        beside = Signal(weights_layout(config))
        m.d.comb += [beside.group.eq(group), beside.bank.eq(self.i.bank), beside.row_last.eq(self.i.row_last),
                     beside.job_last.eq(row.job_last & self.i.row_last)]
        visible = delay(m, self.i.visible, self.latency, name="visible", reset_less=True)
        m.d.comb += [
            self.o_valid.eq(delay(m, self.i_valid, self.latency, name="valid")),
            self.o.eq(delay(m, beside, self.latency, name="beside", reset_less=True)),
        ]
        for n in range(config.pairs_per_cycle):
            m.submodules[f"pipeline_{n}"] = pipeline = WeightPipeline(config)
            m.d.sync += [
                pipeline.delta.eq(self.i.row_max - self.i.estimate[n]),
                pipeline.scale_mantissa.eq(row.scale_mantissa), pipeline.scale_shift.eq(row.scale_shift),
            ]
            m.d.comb += self.o.weights[n].eq(Mux(visible[n], pipeline.weight, 0))
        return m
