"""Measures the blocks of a core at a few lane counts: one synthesis per family, every sample a block of its own."""

import pathlib
from collections.abc import Callable, Iterator

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from latte.fpga.sizing.block_area import RESOURCES, block_features
from latte.fpga.synthesis.multiplier import lut4_per_multiplier
from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import synthesise
from latte.golden.config import AttentionConfig, preset
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.estimate_buffer import EstimateBuffer
from latte.rtl.wide.key_value_scratchpad import KeyValueScratchpad
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.tile_sequencer import TileSequencer
from latte.rtl.wide.value_accumulator import ValueAccumulator

__all__ = ["measure_blocks", "plan_samples"]

Block = Callable[[AttentionConfig], wiring.Component]


class Samples(wiring.Component):
    """Several blocks side by side, all ports brought out."""

    def __init__(self, blocks: dict[str, wiring.Component]):
        self.blocks = blocks
        super().__init__({name: Out(block.signature) for name, block in blocks.items()})

    def elaborate(self, platform):
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
            wiring.connect(m, wiring.flipped(getattr(self, name)), block)
        return m


def measure_blocks(target: Target, folder: pathlib.Path) -> dict[str, object]:
    """Synthesise all samples for a target.

    Returns
    -------
    dict
        ``blocks``: for each block, its samples with features and resources; ``lut4_per_multiplier``.
    """
    plan = {f"sample_{n}": sample for n, sample in enumerate(plan_samples(target))}
    usage = synthesise(Samples({name: block(config) for name, (_, block, config) in plan.items()}), target, folder,
                       top="samples", keep_blocks=True)
    measured: dict[str, list[dict]] = {}
    for name, (block_name, _, config) in plan.items():
        features = block_features(config)[block_name]
        resources = {resource: getattr(usage[name], resource) for resource in (*RESOURCES, "bram")}
        measured.setdefault(block_name, []).append({"features": list(features)} | resources)
    return {"lut4_per_multiplier": lut4_per_multiplier(preset("small"), target, folder / "product"),
            "blocks": measured}


def plan_samples(target: Target) -> Iterator[tuple[str, Block, AttentionConfig]]:
    """Yield (block, class, configuration) of each sample: as many as its fit has coefficients, or one more."""
    base = preset("small", cross_lanes=16, value_lanes=16, bus_bytes=2, normalizer_lanes=2, query_lanes=1,
                  max_seq_len=256, heads=64).lean()
    small = base.replace(pe_structure="multiplier", dim_lanes=8)
    yield from ((name, block, base) for name, block in (
        ("tile_sequencer", TileSequencer), ("job_sequencer", JobSequencer), ("head_registers", HeadRegisters),
        ("softmax", Softmax), ("score_queue", ScoreQueue)))
    if target.name != "ice40":  # no table of a whole row fits there
        for lanes in ((1, 1), (2, 1), (1, 2), (2, 2)):
            yield "score_estimator/table", ScoreEstimator, base.replace(query_lanes=lanes[0], key_lanes=lanes[1])
    for dims, q, k in ((8, 1, 1), (16, 1, 1), (8, 2, 1), (8, 2, 2)):
        yield "score_estimator/multiplier", ScoreEstimator, small.replace(dim_lanes=dims, query_lanes=q, key_lanes=k)
    for q, k in ((1, 1), (1, 4), (4, 1)):
        yield "estimate_buffer", EstimateBuffer, base.replace(query_lanes=q, key_lanes=k)
    for name, block in (("row_scanner", RowScanner), ("threshold_filter", ThresholdFilter),
                        ("survivor_queue", SurvivorQueue)):
        for pairs in (1, 4):
            yield name, block, base.replace(query_lanes=pairs)
    for lanes in (8, 16):
        yield "cross_product_unit", CrossProductUnit, base.replace(cross_lanes=lanes)
        yield "value_accumulator", ValueAccumulator, base.replace(value_lanes=lanes)
    yield "value_accumulator", ValueAccumulator, base.replace(value_lanes=4)
    for values, outputs in ((8, 1), (16, 1), (16, 4), (64, 4)):
        yield "normalizer", Normalizer, base.replace(value_lanes=values, normalizer_lanes=outputs)
    for cross, bus in ((8, 2), (16, 2), (16, 8)):
        yield "query_buffer", QueryBuffer, base.replace(cross_lanes=cross, bus_bytes=bus)
    for changes in ({}, {"key_lanes": 2}, {"cross_lanes": 8}, {"value_lanes": 8}, {"bus_bytes": 8}):
        yield "key_value_scratchpad", KeyValueScratchpad, base.replace(**changes)
