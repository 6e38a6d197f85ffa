"""The dense baseline: the same array, memories and softmax without the filter, all four partial products."""

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.errors import LatteError
from latte.rtl.core_base import CoreBase
from latte.rtl.dot_product import AdderTree
from latte.rtl.estimate_buffer import READ_LATENCY
from latte.rtl.key_value_scratchpad import KeyValueLoader
from latte.rtl.operand_plane import OperandPlane
from latte.rtl.operand_split import element_layout
from latte.rtl.payloads import key_shape, row_layout
from latte.rtl.primitives import RAM_LATENCY, StreamQueue, delay
from latte.rtl.row_scanner import scanned_layout
from latte.rtl.score_estimator import ScoreEstimator
from latte.rtl.score_estimator import row_layout as query_row_layout
from latte.rtl.softmax import WeightPipeline
from latte.rtl.threshold_filter import filter_probe_layout

__all__ = ["DenseCore", "DenseSoftmax", "DenseValueAccumulator", "ScoreArray"]


def weights_layout(config: AttentionConfig) -> data.StructLayout:
    """Weights of ``P`` consecutive keys of one row; 0 where the row may not see the key."""
    return data.StructLayout({
        "weights": data.ArrayLayout(config.weight_bits, config.pairs_per_cycle), "group": key_shape(config),
        "bank": 1, "row_last": 1, "job_last": 1})


class ScoreArray(wiring.Component):
    """Exact 8-bit scores from four `ScoreEstimator` arrays, one per pair of halves.

    ``q . k = 256 * hh + 16 * (hl + lh) + ll``; in the balanced split all halves are signed 4-bit numbers.

    Latency: that of the estimator and 2 cycles. Throughput: one beat per cycle. Exact.

    Members
    -------
    q : In(stream)
        Query rows, whole elements.
    k_valid, k_bank, k_first, k : In
    score_valid, score : Out
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        self.arrays = {(q, k): ScoreEstimator(config) for q in ("high", "low") for k in ("high", "low")}
        element = element_layout(config.split)
        super().__init__({
            "q": In(stream.Signature(query_row_layout(config.head_dim, config.query_lanes, element))),
            "k_valid": In(1), "k_bank": In(1), "k_first": In(1),
            "k": In(data.ArrayLayout(data.ArrayLayout(element, config.dim_lanes), config.key_lanes)),
            "score_valid": Out(1),
            "score": Out(data.ArrayLayout(data.ArrayLayout(signed(config.score_bits), config.key_lanes),
                                          config.query_lanes))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        for (q_half, k_half), array in self.arrays.items():
            m.submodules[f"{q_half}_{k_half}"] = array
            row = array.q.payload
            m.d.comb += [
                array.q.valid.eq(self.q.valid), row.row.eq(self.q.payload.row), row.bank.eq(self.q.payload.bank),
                array.k_valid.eq(self.k_valid), array.k_bank.eq(self.k_bank), array.k_first.eq(self.k_first),
            ]
            m.d.comb += [row.hi[d].eq(self.q.payload.hi[d][q_half]) for d in range(config.head_dim)]
            m.d.comb += [array.k_hi[lane][d].eq(self.k[lane][d][k_half])
                         for lane in range(config.key_lanes) for d in range(config.dim_lanes)]
        # The four arrays load and compute in step.
        high = self.arrays["high", "high"]
        m.d.comb += [self.q.ready.eq(high.q.ready),
                     self.score_valid.eq(delay(m, high.est_valid, 2, name="score_valid"))]
        for r in range(config.query_lanes):
            for lane in range(config.key_lanes):
                est = {halves: array.est[r][lane] for halves, array in self.arrays.items()}
                cross = Signal(signed(config.cross_bits), name=f"cross_{r}_{lane}", reset_less=True)
                outer = Signal(signed(config.score_bits), name=f"outer_{r}_{lane}", reset_less=True)
                score = Signal(signed(config.score_bits), name=f"score_{r}_{lane}", reset_less=True)
                m.d.sync += [
                    cross.eq(est["high", "low"] + est["low", "high"]),
                    outer.eq((est["high", "high"] << 8) + est["low", "low"]),
                    score.eq(outer + (cross << 4)),
                ]
                m.d.comb += self.score[r][lane].eq(score)
        return m


class DenseSoftmax(wiring.Component):
    """``P`` weights per cycle, relative to the row's maximum, which the row buffer knows already.

    Latency: `WeightPipeline` and 2 cycles. Throughput: one group per cycle.

    Members
    -------
    row_valid, row : In
        From `RowScanner`.
    i_valid, i : In(scanned_layout)
    o_valid, o : Out(weights_layout)
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        self.pipelines = [WeightPipeline(config) for _ in range(config.pairs_per_cycle)]
        self.latency = self.pipelines[0].latency + 1
        super().__init__({"row_valid": In(1), "row": In(row_layout(config)), "i_valid": In(1),
                          "i": In(scanned_layout(config)), "o_valid": Out(1), "o": Out(weights_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # The row's description overtakes its estimates by the buffer's read latency.
        valid = delay(m, self.row_valid, READ_LATENCY - 1, name="row_valid")
        arrived, held = delay(m, self.row, READ_LATENCY - 1, name="row", reset_less=True), Signal(row_layout(config))
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
        for n, pipeline in enumerate(self.pipelines):
            m.submodules[f"pipeline_{n}"] = pipeline
            m.d.sync += [
                pipeline.delta.eq(self.i.row_max - self.i.estimate[n]),
                pipeline.scale_mantissa.eq(row.scale_mantissa), pipeline.scale_shift.eq(row.scale_shift),
            ]
            m.d.comb += self.o.weights[n].eq(Mux(visible[n], pipeline.weight, 0))
        return m


class DenseValueAccumulator(wiring.Component):
    """P·V of ``P`` keys per cycle: as many multipliers per dimension, an adder tree, one accumulator.

    Latency: ``RAM_LATENCY + 4 + ceil(log2(P))`` cycles. Throughput: one group per cycle.

    Members
    -------
    i : In(stream of weights_layout)
    bank, group : Out
        Read address of the value plane; `values` : In, `RAM_LATENCY` cycles later.
    row_room, row_reserve, sum_valid, weight_sum, job_last, word_valid, word, release, release_bank
        As of `ValueAccumulator`.
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        values = data.ArrayLayout(data.ArrayLayout(signed(8), config.head_dim), config.pairs_per_cycle)
        super().__init__({
            "i": In(stream.Signature(weights_layout(config))), "step": Out(1),
            "bank": Out(1), "group": Out(key_shape(config)), "values": In(values),
            "row_room": In(1), "row_reserve": Out(1),
            "sum_valid": Out(1), "weight_sum": Out(config.sum_bits), "job_last": Out(1),
            "word_valid": Out(1), "word": Out(data.ArrayLayout(signed(config.acc_bits), config.head_dim)),
            "release": Out(1), "release_bank": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        pairs = config.pairs_per_cycle
        item, step = self.i.payload, self.step
        m.d.comb += [
            step.eq(self.i.valid & (~item.row_last | self.row_room)), self.i.ready.eq(step),
            self.row_reserve.eq(step & item.row_last),
        ]
        m.d.sync += [self.bank.eq(item.bank), self.group.eq(item.group)]
        m.d.comb += [
            self.release.eq(delay(m, step & item.job_last, RAM_LATENCY, name="release")),
            self.release_bank.eq(delay(m, item.bank, RAM_LATENCY, name="release_bank")),
        ]
        first = Signal(init=1)
        with m.If(step):
            m.d.sync += first.eq(item.row_last)

        depth = ceil_log2(pairs)
        m.submodules.weight_tree = tree = AdderTree(pairs, signed(config.weight_bits + 1))
        m.d.comb += [tree.terms[n].eq(item.weights[n]) for n in range(pairs)]
        total = Signal.like(self.weight_sum, reset_less=True)
        weights_first = delay(m, first, depth, name="weights_first")
        with m.If(delay(m, step, depth, name="weights_valid")):
            m.d.sync += total.eq(Mux(weights_first, 0, total) + tree.sum)
        m.d.comb += [
            self.weight_sum.eq(total),
            self.sum_valid.eq(delay(m, step & item.row_last, depth + 1, name="sum_valid")),
            self.job_last.eq(delay(m, item.job_last, depth + 1, name="job_last")),
        ]

        to_values = 1 + RAM_LATENCY
        weights = delay(m, item.weights, to_values, name="weights", reset_less=True)
        latency = to_values + 2 + depth
        valid = delay(m, step, latency, name="valid")
        emit = delay(m, step & item.row_last, latency, name="emit")
        m.d.sync += self.word_valid.eq(emit)
        for d in range(config.head_dim):
            m.submodules[f"tree_{d}"] = tree = AdderTree(pairs, signed(config.weight_bits + 8))
            for n in range(pairs):
                product = Signal(signed(config.weight_bits + 8), name=f"product_{d}_{n}", reset_less=True)
                piped = Signal(signed(config.weight_bits + 8), name=f"piped_{d}_{n}", reset_less=True)
                m.d.sync += [product.eq(weights[n] * self.values[n][d]), piped.eq(product)]
                m.d.comb += tree.terms[n].eq(piped)
            accumulator = Signal(signed(config.acc_bits), name=f"accumulator_{d}")
            total = Signal(signed(config.acc_bits), name=f"total_{d}")
            m.d.comb += total.eq(accumulator + tree.sum)
            with m.If(valid):
                m.d.sync += accumulator.eq(total)
            with m.If(emit):
                m.d.sync += [self.word[d].eq(total), accumulator.eq(0)]
        return m


class DenseCore(CoreBase):
    """Dense 8-bit attention at ``P`` pairs per cycle, the yardstick of `AttentionCore`::

        k, v, q -> planes, query rows -> ScoreArray -> EstimateBuffer -> RowScanner -> DenseSoftmax
                                                     -> DenseValueAccumulator -> Normalizer -> o

    Ports are those of `CoreBase`; its probe has the groups only, with scores in place of estimates. `tau` is held
    but not used. The bus loads one head while another computes, as in `AttentionCore`.
    """

    def __init__(self, config: AttentionConfig):
        if config.engine != "dense":
            raise LatteError(f"the dense baseline needs engine = 'dense', not {config.engine!r}; use config.dense()")
        super().__init__(config, data.StructLayout({"group": filter_probe_layout(config)}))

    def elaborate(self, platform):
        m = Module()
        config = self.config
        common = {"beat_lanes": config.bus_bytes, "word_lanes": config.head_dim, "head_dim": config.head_dim,
                  "rows": config.max_seq_len, "banks": config.kv_banks}
        m.submodules.key_value_loader = loader = KeyValueLoader(config)
        m.submodules.key_plane = keys = OperandPlane(element_layout(config.split), row_lanes=config.key_lanes, **common)
        m.submodules.value_plane = value_plane = OperandPlane(signed(8), row_lanes=config.pairs_per_cycle, **common)
        m.submodules.score_array = array = ScoreArray(config)
        m.submodules.softmax = softmax = DenseSoftmax(config)
        m.submodules.value_accumulator = values = DenseValueAccumulator(config)
        self._work_list(m, loader)
        tiles = self._tiles
        scanner = self._row_buffer(m, array.score_valid, array.score)
        wiring.connect(m, tiles.query, array.q)
        for plane in (keys, value_plane):
            m.d.comb += [plane.restart.eq(loader.restart), plane.restart_bank.eq(loader.restart_bank)]
        m.d.comb += [
            keys.beat_valid.eq(loader.key_valid), keys.beat.eq(loader.key_elements),
            value_plane.beat_valid.eq(loader.value_valid), value_plane.beat.eq(loader.value_elements),
            keys.bank.eq(tiles.key_bank), keys.group.eq(tiles.key_group), keys.slice.eq(tiles.key_slice),
            array.k_valid.eq(tiles.beat_valid), array.k_bank.eq(tiles.beat_query_bank),
            array.k_first.eq(tiles.beat_first), array.k.eq(keys.data),
            value_plane.bank.eq(values.bank), value_plane.group.eq(values.group), values.values.eq(value_plane.data),
        ]

        # Weights wait in a queue while the normaliser is busy with short rows.
        margin = READ_LATENCY + softmax.latency + 4
        m.submodules.weight_queue = queue = StreamQueue(weights_layout(config), 2 * margin)
        wiring.connect(m, queue.o, values.i)
        room = Signal()
        m.d.sync += room.eq(queue.level < margin)
        scanned = scanner.o
        m.d.comb += [
            scanner.room.eq(room), softmax.row_valid.eq(scanner.row_valid), softmax.row.eq(scanner.row),
            softmax.i_valid.eq(scanner.o_valid), softmax.i.eq(scanned),
            queue.i.valid.eq(softmax.o_valid), queue.i.payload.eq(softmax.o),
            self._queries.retire.eq(scanner.o_valid & scanned.row_last),
            self.probe.group.valid.eq(scanner.o_valid), self.probe.group.row_last.eq(scanned.row_last),
            self.probe.group.visible.eq(scanned.visible), self.probe.group.keep.eq(scanned.visible),
            self.probe.group.estimate.eq(scanned.estimate),
        ]
        self._output(m, values)
        seen = Mux(scanner.o_valid, scanned.visible, 0)
        self._report(m, loader, overflow=queue.i.valid & ~queue.i.ready, visible=seen, survivors=seen,
                     compensation_beats=Const(0), value_beats=values.step)
        return m
