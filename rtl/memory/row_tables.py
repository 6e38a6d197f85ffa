"""Weights of gaps for a row of a tile."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.primitives import delay
from latte.rtl.memory.tile_payloads import tile_config
from latte.rtl.wide.gap_table import FillTables, scale_layout, table_write_layout
from latte.rtl.wide.weight_pipeline import FineWeightPipeline

__all__ = ["RowTables"]


class RowTables(wiring.Component):
    """Fills a row's tables by a pipeline of its own: a tile's rows are waited for together, not one after the other::

        job -> FillTables -> gap -> [FineWeightPipeline] -> weight -> fill

    Throughput: a job of another scale than the last one's takes a cycle for each of its weights, and
    `FillTables.overhead`.

    Parameters
    ----------
    build
        That weighs gaps.

    Members
    -------
    job, table, release, release_table, fill
        As of `FillTables`.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.config = tile_config(build)
        super().__init__({
            "job": In(stream.Signature(scale_layout())), "table": Out(stream.Signature(1)), "release": In(1),
            "release_table": In(1), "fill": Out(table_write_layout(self.config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tables = tables = FillTables(self.config)
        m.submodules.pipeline = pipeline = FineWeightPipeline(self.config)
        wiring.connect(m, wiring.flipped(self.job), tables.job)
        wiring.connect(m, wiring.flipped(self.table), tables.table)
        ask = tables.ask.payload
        m.d.comb += [
            tables.release.eq(self.release), tables.release_table.eq(self.release_table), self.fill.eq(tables.fill),
            tables.ask.ready.eq(1), pipeline.delta.eq(ask.gap << self.config.estimate_shift),
            pipeline.scale_mantissa.eq(ask.mantissa), pipeline.scale_shift.eq(ask.shift),
            tables.answer_valid.eq(delay(m, tables.ask.valid, pipeline.latency, name="asked")),
            tables.answer.eq(pipeline.fine_weight),
        ]
        return m
