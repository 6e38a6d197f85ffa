"""The cycle model's constants against the attributes of the blocks they describe."""

import pytest

from latte.golden.config import preset
from latte.golden.latencies import Latencies
from latte.rtl.common import ram as primitives
from latte.rtl.serial.cycle_model import SerialLatencies
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_scorer import SerialScorer
from latte.rtl.wide import estimate_buffer, running_maximum, threshold_filter, tile_sequencer, wide_core
from latte.rtl.wide import score_queue as softmax
from latte.rtl.wide.compensation_unit import pipeline_scores
from latte.rtl.wide.cross_product import cross_product_latency
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_memory import ROW_LATENCY
from latte.rtl.wide.row_scaler import RowScaler
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.value_accumulator import accumulator_latency
from latte.rtl.wide.weight_pipeline import WeightPipeline

CONFIGS = [
    preset("tiny", engine="latte"), preset("small"), preset("base"), preset("small", key_lanes=4, max_seq_len=197),
    preset("small", pe_structure="multiplier", dim_lanes=16), preset("base", pe_structure="dsp", key_lanes=2),
    preset("small", head_dim=32, dim_lanes=32), preset("small", head_dim=80, dim_lanes=80),
    preset("small").for_head_dim(6)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.name}-{config.pe_structure}")
def test_latencies_are_those_of_the_blocks(config):
    estimator = ScoreEstimator(config)
    scores = softmax.ScoreQueue(config, pipeline_scores(config))
    assert Latencies.of(config) == Latencies(
        ram=primitives.RAM_LATENCY, stream_queue=3, estimator=estimator.latency, query_load=estimator.load_cycles,
        bank_drain=tile_sequencer.BANK_DRAIN, tile_buffers=estimate_buffer.TILE_BUFFERS,
        maximum=running_maximum.MAXIMUM_LATENCY,
        estimate_read=estimate_buffer.READ_LATENCY, filter_groups=threshold_filter.PIPELINE_GROUPS,
        row_queue_margin=wide_core.ROW_QUEUE_MARGIN, row_queue_depth=softmax.ROW_QUEUE_DEPTH,
        cross_product=cross_product_latency(config), score_margin=pipeline_scores(config),
        score_queue=scores.depth, weight=WeightPipeline(config).latency,
        accumulator=accumulator_latency(config), reciprocal=Reciprocal(config).latency,
        scaler=RowScaler(config).latency + ROW_LATENCY,
        query_queue=max(4, 1 << (2 * config.query_lanes - 1).bit_length()))


@pytest.mark.parametrize("config", [
    preset("tiny"), preset("tiny", dim_lanes=4, max_seq_len=64), preset("tiny").for_head_dim(6)],
    ids=lambda config: f"{config.head_dim}-{config.max_seq_len}")
def test_latencies_are_those_of_the_serial_blocks(config):
    finisher = SerialFinisher(config)
    assert SerialLatencies.of(config) == SerialLatencies(
        estimator=SerialEstimator(config).latency, score=SerialScorer(config).score_cycles,
        survivor=finisher.survivor_cycles, division=finisher.division_cycles)
