"""The weights of keys by their estimates: a table per head, copied for each that looks something up in it."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import GAP_TABLE_SIZE
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.wide.payloads import gap_weight_bits
from latte.rtl.wide.weight_pipeline import FineWeightPipeline

__all__ = ["FillTables", "GapTable", "ask_layout", "gap_shape", "scale_layout", "table_write_layout"]

TABLES = 2
"""One is filled for the next head while the rows of the present one are still under way."""


def gap_shape() -> range:
    """Shape of a gap that weighs anything, and of the first that does not."""
    return range(2 * GAP_TABLE_SIZE)


def table_write_layout(config: AttentionConfig) -> data.StructLayout:
    """What fills all copies: a weight, and where the weights of each table end."""
    return data.StructLayout({
        "write": 1, "table": 1, "gap": range(GAP_TABLE_SIZE), "weight": gap_weight_bits(config),
        "ends": data.ArrayLayout(gap_shape(), TABLES)})


def scale_layout() -> data.StructLayout:
    """A softmax scale, and whether anything is weighed with it."""
    return data.StructLayout({"mantissa": SCALE_MANTISSA_BITS, "shift": SCALE_SHIFT_BITS, "used": 1})


def ask_layout() -> data.StructLayout:
    """A gap whose weight is wanted, and the scale."""
    return data.StructLayout({"gap": gap_shape(), "mantissa": SCALE_MANTISSA_BITS, "shift": SCALE_SHIFT_BITS})


class GapTable(wiring.Component):
    """``gap_weights(gap)`` of `latte.golden.pruned_mass`, looked up in one of two tables.

    The table has `GAP_TABLE_SIZE` entries; weights from there to its end are one step each.

    Latency: `latency` cycles. Throughput: one look-up per cycle.

    Members
    -------
    fill : In(table_write_layout)
        From `FillTables`.
    valid, gap, table : In
        A look-up; without `valid` the weight is 0.
    weight : Out(gap_weight_bits)
    """

    latency = RAM_LATENCY + 1
    """The memory, and the choice of what lies beyond it."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({"fill": In(table_write_layout(config)), "valid": In(1), "gap": In(config.est_bits + 1),
                          "table": In(1), "weight": Out(gap_weight_bits(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Ram(gap_weight_bits(self.config), TABLES * GAP_TABLE_SIZE)
        index_bits = len(self.fill.gap)
        end = self.fill.ends[self.table]
        counts, beyond = Signal(), Signal()
        m.d.comb += [
            memory.write_en.eq(self.fill.write), memory.write_data.eq(self.fill.weight),
            memory.write_addr.eq(Cat(self.fill.gap, self.fill.table)),
            memory.read_addr.eq(Cat(self.gap[:index_bits], self.table)),
            counts.eq(self.valid & (self.gap < end)), beyond.eq(self.gap[index_bits:].any()),
        ]
        counts, beyond = delay(m, Cat(counts, beyond), RAM_LATENCY, name="found")
        m.d.sync += self.weight.eq(Mux(counts, Mux(beyond, 1, memory.read_data), 0))
        return m


class FillTables(wiring.Component):
    """Fills the tables of a list of jobs, one ahead::

        job -> same scale as before? -> [wait until the other table is out of use] -> gap 0, 1, 2 ... -> side -> fill

    A job of the same scale as its predecessor uses the same table. The weights come from the softmax's pipeline, which
    takes a gap whenever it has nothing else to do; filling ends with the first weight of 0.

    Latency: of a job that needs no filling, one cycle. Throughput: one weight per cycle at best.

    Members
    -------
    job : In(stream of scale_layout)
        Scales of the jobs, in order; those that weigh nothing take any table.
    table : Out(stream of 1)
        The table of each job, filled.
    release, release_table : In(1)
        The last look-up of a job was made.
    ask : Out(stream of ask_layout)
    answer_valid, answer : In
        Weights, in order.
    fill : Out(table_write_layout)
    """

    overhead = 4 + FineWeightPipeline.latency
    """Cycles of a table besides those of its weights: what was asked beyond the end is waited for."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        super().__init__({
            "job": In(stream.Signature(scale_layout())), "table": Out(stream.Signature(1)),
            "release": In(1), "release_table": In(1),
            "ask": Out(stream.Signature(ask_layout())),
            "answer_valid": In(1), "answer": In(gap_weight_bits(config)), "fill": Out(table_write_layout(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job.payload
        filled, latest = Signal(), Signal()
        scale = Signal(scale_layout(), reset_less=True)
        ends = Signal(self.fill.ends.shape(), reset_less=True)
        # A job in flight holds at least one row of the pipeline, whose rows are bounded by the query ring.
        in_use = [Signal(range(2 * self.config.query_rows), name=f"in_use_{n}") for n in range(TABLES)]
        idle = Signal(TABLES, init=(1 << TABLES) - 1)
        same = filled & (scale.mantissa == job.mantissa) & (scale.shift == job.shift)
        asked, answered, done = Signal(gap_shape()), Signal(gap_shape()), Signal()
        last = 2 * GAP_TABLE_SIZE - 1
        m.d.comb += [
            self.ask.payload.gap.eq(asked), self.ask.payload.mantissa.eq(scale.mantissa),
            self.ask.payload.shift.eq(scale.shift), self.table.payload.eq(latest),
            self.fill.table.eq(latest), self.fill.gap.eq(answered), self.fill.weight.eq(self.answer),
            self.fill.ends.eq(ends),
        ]
        with m.FSM():
            with m.State("JOB"):
                m.d.sync += [asked.eq(0), answered.eq(0), done.eq(0)]
                with m.If(self.job.valid):
                    with m.If(~job.used | same):
                        m.next = "HAND OVER"
                    with m.Elif(idle.bit_select(~latest, 1)):
                        m.d.sync += [scale.eq(job), latest.eq(~latest)]
                        m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += self.ask.valid.eq(~done)
                with m.If(self.ask.valid & self.ask.ready):
                    m.d.sync += asked.eq(asked + 1)
                with m.If(self.answer_valid):
                    m.d.sync += answered.eq(answered + 1)
                    m.d.comb += self.fill.write.eq(~done & (answered < GAP_TABLE_SIZE))
                    with m.If(~done & ((self.answer == 0) | (answered == last - 1))):
                        m.d.sync += done.eq(1)
                        for n in range(TABLES):
                            with m.If(latest == n):
                                m.d.sync += ends[n].eq(answered)
                # What was asked beyond the end is waited for: the next table's weights come behind it.
                with m.If(done & (asked == answered)):
                    m.d.sync += filled.eq(1)
                    m.next = "HAND OVER"
            with m.State("HAND OVER"):
                m.d.comb += [self.table.valid.eq(1), self.job.ready.eq(self.table.ready)]
                with m.If(self.table.ready):
                    m.next = "JOB"
        handed = self.table.valid & self.table.ready
        for n in range(TABLES):
            up, down = handed & (latest == n), self.release & (self.release_table == n)
            with m.If(up ^ down):
                m.d.sync += [in_use[n].eq(in_use[n] + Mux(up, 1, -1)),
                             idle[n].eq(~up & (in_use[n] == 1))]
        return m
