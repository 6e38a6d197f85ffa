"""Pipeline latencies and queue depths of the RTL, as functions of the configuration: what the cycle model knows of it.

The RTL does not read these; ``tests/golden/test_latencies.py`` holds each one to the attribute of its block.
"""

import dataclasses

from latte.golden.config import AttentionConfig, ceil_div, ceil_log2

__all__ = ["Latencies"]

TABLE_SLICES = 8


@dataclasses.dataclass(frozen=True)
class Latencies:
    """Cycles, rows or entries, one field per constant of a block.

    Parameters
    ----------
    ram
        From a read address to its data.
    stream_queue
        Through an empty queue.
    estimator
        From a key group's last beat to its estimates.
    query_load
        Between two query rows that the estimator accepts.
    bank_drain
        From the last key address of a tile to a free query bank.
    tile_buffers
        Tiles between estimator and filter.
    maximum
        From a value to the running maximum that knows it.
    estimate_read
        From a scanner step to its estimates.
    filter_groups
        Groups that the survivor queue keeps free for what the scanner has under way.
    row_queue_margin, row_queue_depth
        Rows the row queue keeps free; complete rows that wait for the softmax.
    cross_product
        Of one slice in the compensation unit.
    score_margin
        Scores the score queue keeps free.
    score_queue
        Entries of the score queue.
    weight
        From a score to its weight.
    accumulator
        From a row's last survivor in the value accumulator to its first sum in the normaliser.
    reciprocal, scaler
        Of the normaliser; the scaler with the row's memory or shifter before it.
    query_queue
        Whole rows that wait for the estimator.
    """

    ram: int
    stream_queue: int
    estimator: int
    query_load: int
    bank_drain: int
    tile_buffers: int
    maximum: int
    estimate_read: int
    filter_groups: int
    row_queue_margin: int
    row_queue_depth: int
    cross_product: int
    score_margin: int
    score_queue: int
    weight: int
    accumulator: int
    reciprocal: int
    scaler: int
    query_queue: int

    @classmethod
    def of(cls, config: AttentionConfig) -> "Latencies":
        """Return the figures of a build."""
        ram = 2
        pairs = config.head_dim // 2
        if config.pe_structure == "table":
            dot_product = ceil_log2(pairs) + 4
            query_load = ceil_div(pairs, ceil_div(pairs, TABLE_SLICES)) + 2
        else:
            dot_product = ceil_log2(config.dim_lanes) + 2
            query_load = config.dim_slices
        cross_product = ceil_log2(2 * config.compensation_lanes) + (4 if config.split == "balanced" else 2)
        score_margin = ram + cross_product + 5
        return cls(
            ram=ram, stream_queue=3, estimator=2 + dot_product + (config.dim_slices > 1), query_load=query_load,
            bank_drain=ram + 3, tile_buffers=3, maximum=2, estimate_read=ram + 1, filter_groups=ram + 8,
            row_queue_margin=6, row_queue_depth=64, cross_product=cross_product, score_margin=score_margin,
            score_queue=max(2 * score_margin, 1 << ceil_log2(config.max_seq_len + score_margin + 2)),
            weight=ram + 7, accumulator=ram + 5 + (1 < config.value_slices <= 8), reciprocal=ram + 7, scaler=9,
            query_queue=max(4, 1 << ceil_log2(2 * config.query_lanes)))
