"""Exact scores of the dense baseline: the estimator's array once for each pair of halves."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.primitives import delay
from latte.rtl.wide.payloads import query_row_layout
from latte.rtl.wide.score_estimator import ScoreEstimator

__all__ = ["ScoreArray"]


class ScoreArray(wiring.Component):
    """Exact 8-bit scores from four `ScoreEstimator` arrays, one per pair of halves.

    ``q . k = 256 * hh + 16 * (hl + lh) + ll``; in the balanced split all halves are signed 4-bit numbers.

    Latency: `latency` cycles. Throughput: one beat per cycle. Exact.

    Members
    -------
    q : In(stream)
        Query rows, whole elements.
    k_valid, k_bank, k_first, k : In
    score_valid, score : Out
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        # The four estimates, then their sum in two additions.
        self.latency = ScoreEstimator.latency_of(config) + 2
        element = element_layout(config)
        super().__init__({
            "q": In(stream.Signature(query_row_layout(config, element))),
            "k_valid": In(1), "k_bank": In(1), "k_first": In(1),
            "k": In(data.ArrayLayout(data.ArrayLayout(element, config.dim_lanes), config.key_lanes)),
            "score_valid": Out(1),
            "score": Out(data.ArrayLayout(data.ArrayLayout(signed(config.score_bits), config.key_lanes),
                                          config.query_lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        arrays = {(q, k): ScoreEstimator(config) for q in ("high", "low") for k in ("high", "low")}
        for (q_half, k_half), array in arrays.items():
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
        high = arrays["high", "high"]
        m.d.comb += [self.q.ready.eq(high.q.ready),
                     self.score_valid.eq(delay(m, high.est_valid, self.latency - high.latency, name="score_valid"))]
        for r in range(config.query_lanes):
            for lane in range(config.key_lanes):
                est = {halves: array.est[r][lane] for halves, array in arrays.items()}
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
