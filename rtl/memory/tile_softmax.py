"""Softmax of a tile: weights of the survivors of all its rows, one key after the other."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.rtl.common.primitives import bit_number, choose, delay, lowest, register
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.tile_payloads import merged_layout, row_rescale_layout, row_shape, score_shape, weighed_layout
from latte.rtl.wide.weight_pipeline import FineWeightPipeline

__all__ = ["TileSoftmax"]


class TileSoftmax(wiring.Component):
    r"""Softmax weights of a tile's rows by one pipeline::

        i -> one row of the key after the other -> row_max - score -+-> [FineWeightPipeline] -+-> weights of a key -> o
        begin -> row after row -----> row_max - largest estimate ---+                         +-> rescale

    Keys that weigh nothing in any row are left out: their values are not fetched.

    Latency: `latency` cycles from a key that one row keeps to its weights. Throughput: one weight per cycle; a key
    takes as many cycles as rows keep it.

    Parameters
    ----------
    build

    Members
    -------
    scales : In(array of scale_mantissa, scale_shift), row_max : In(array of signed(score_bits))
        Of each row, with its largest surviving score; stand while keys of the tile come.
    i : In(stream of merged_layout of score_shape)
    o : Out(stream of weighed_layout)
        The tile's last key in any case, `fetch` 0 if it weighs nothing.
    overflow : Out(1)
        A queue has lost something.
    begin : In(1)
        `row_max` stands: the tile's rows are rescaled; none of its keys is taken before that. Present in a build that
        compensates, as are the following.
    compensated : In(tile_rows)
        Rows whose heads have gains; with `begin`.
    estimate_max : In(array of signed(est_bits))
        Of each row the largest estimate; stands until its rescaling is there.
    rescale : Out(stream of row_rescale_layout)
        Of these rows, ascending.
    """

    weight_latency = 2 + FineWeightPipeline.latency
    """Cycles from what is chosen to its weight: operands, their difference."""
    latency = weight_latency + 1 + StreamQueue.latency
    """Weights of a key are gathered."""

    def __init__(self, build: MemoryBuild) -> None:
        config, rows = build.core, build.tile_rows
        self.build = build
        scale = data.StructLayout({"scale_mantissa": SCALE_MANTISSA_BITS, "scale_shift": SCALE_SHIFT_BITS})
        compensation = {"begin": In(1), "compensated": In(rows),
                        "estimate_max": In(data.ArrayLayout(signed(config.est_bits), rows)),
                        "rescale": Out(stream.Signature(row_rescale_layout(build)))} if config.key_groups else {}
        super().__init__({
            "scales": In(data.ArrayLayout(scale, rows)), "row_max": In(data.ArrayLayout(score_shape(build), rows)),
            "i": In(stream.Signature(merged_layout(build, score_shape(build)))),
            "o": Out(stream.Signature(weighed_layout(build))), "overflow": Out(1), **compensation})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build, config, rows = self.build, self.build.core, self.build.tile_rows
        m.submodules.pipeline = pipeline = FineWeightPipeline(config)
        m.submodules.queue = queue = StreamQueue(weighed_layout(build), producer_latency=self.weight_latency + 1)
        wiring.connect(m, wiring.flipped(self.o), queue.o)

        key, given, left = self.i.payload, Signal(rows), Signal(rows)
        step, ends, first, waits = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            left.eq(key.rows & ~given), ends.eq((left & (left - 1)) == 0), first.eq(given == 0),
            step.eq(self.i.valid & ~waits & queue.room), self.i.ready.eq(step & ends),
        ]
        with m.If(step):
            m.d.sync += given.eq(Mux(ends, 0, given | lowest(left)))
        rescales, rescaled, lost = Const(0), Const(0, rows), Const(0)
        if config.key_groups:
            rescales, rescaled, lost = self._rescale(m, waits, pipeline)
        m.d.comb += self.overflow.eq(queue.overflow | lost)

        chosen = Mux(step, lowest(left), rescaled)
        scale = self.scales.shape().elem_shape(choose([scale.as_value() for scale in self.scales], chosen))
        below = choose(list(key.values), chosen).as_signed()
        if config.key_groups:
            estimate = choose(list(self.estimate_max), chosen).as_signed()
            below = Mux(rescales, estimate << config.estimate_shift, below)
        above = register(m, choose(list(self.row_max), chosen).as_signed(), "above", score_shape(build))
        below = register(m, below, "below", score_shape(build))
        m.d.sync += pipeline.delta.eq(above - below)
        for name in ("scale_mantissa", "scale_shift"):
            m.d.sync += getattr(pipeline, name).eq(register(m, scale[name], name))

        beside = Signal(data.StructLayout({"place": key.place.shape(), "row": rows, "first": 1, "last": 1}))
        m.d.comb += [beside.place.eq(key.place), beside.row.eq(lowest(left)), beside.first.eq(first),
                     beside.last.eq(key.last)]
        self._gather(m, step, ends, beside, pipeline.weight, queue)
        return m

    def _rescale(self, m: Module, waits: Signal, pipeline: FineWeightPipeline) -> tuple[Value, Value, Value]:
        """Take the tile's rows in turn; return whether one is rescaled now, which, and whether one found no place."""
        layout = row_rescale_layout(self.build)
        queue = StreamQueue(layout, StreamQueue.count_under_way(self.weight_latency) + 1,
                            producer_latency=self.weight_latency)
        m.submodules.rescales = queue
        wiring.connect(m, wiring.flipped(self.rescale), queue.o)
        left, rescales, row = Signal(self.build.tile_rows), Signal(), Signal(row_shape(self.build))
        m.d.comb += [waits.eq(self.begin | left.any()), rescales.eq(left.any() & queue.room),
                     row.eq(bit_number(lowest(left)))]
        with m.If(self.begin):
            m.d.sync += left.eq(self.compensated)
        with m.Elif(rescales):
            m.d.sync += left.eq(left & (left - 1))
        m.d.comb += [
            queue.i.valid.eq(delay(m, rescales, self.weight_latency, name="rescaled")),
            queue.i.payload.row.eq(delay(m, row, self.weight_latency, name="rescaled_row", reset_less=True)),
            queue.i.payload.power.eq(pipeline.power), queue.i.payload.shift.eq(pipeline.mass_shift),
        ]
        return rescales, lowest(left), queue.overflow

    def _gather(self, m: Module, step: Signal, ends: Signal, beside: data.View, weight: Signal, queue: StreamQueue
                ) -> None:
        """Put the weights of a key together, and offer it if it weighs something."""
        valid, complete = delay(m, Cat(step, step & ends), self.weight_latency, name="valid")
        at = delay(m, beside, self.weight_latency, name="beside", reset_less=True)
        item = Signal(queue.i.payload.shape(), reset_less=True)
        with m.If(valid):
            m.d.sync += [item.place.eq(at.place), item.last.eq(at.last),
                         item.fetch.eq((item.fetch & ~at.first) | weight.any())]
            for n, held in enumerate(item.weights):
                with m.If(at.row[n] | at.first):
                    m.d.sync += held.eq(Mux(at.row[n], weight, 0))
        m.d.comb += [queue.i.valid.eq(delay(m, complete, 1, name="complete") & (item.fetch | item.last)),
                     queue.i.payload.eq(item)]
