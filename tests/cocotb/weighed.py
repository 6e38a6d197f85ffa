"""What the benches of the blocks that weigh all keys share: tables that are filled before the first row."""

import random

import numpy as np
from amaranth import Module, Mux, Signal
from amaranth.lib import stream

from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import MASS_FRAC_BITS, gap_weights, least_held_scale, table_holds
from latte.golden.quantizer import softmax_scale_code
from latte.golden.softmax import exp2_table
from latte.rtl.common.primitives import delay
from latte.rtl.wide.gap_table import TABLES, FillTables
from latte.rtl.wide.weight_pipeline import FineWeightPipeline
from tests.cocotb.blocks import SINGLE, WIDE

PRUNING = WIDE.replace(name="pruning", threshold_kinds=("relative", "mass", "absolute"), key_groups=4)
SINGLE_PRUNING = SINGLE.replace(name="single-pruning", threshold_kinds=("relative", "mass"), key_groups=8)
ONE_GROUP = WIDE.replace(name="one-group", key_groups=1)
BY_MASS = WIDE.replace(name="by-mass", threshold_kinds=("mass",))


def held_scale(rng: random.Random, config: AttentionConfig) -> tuple[int, int]:
    """Return a softmax scale that a table of gap weights holds, often one of few weights or of as many as there are."""
    mantissa = rng.choice([1 << 15, (1 << 16) - 1, rng.randrange(1 << 15, 1 << 16)])
    held = [shift for shift in range(8, 24) if table_holds((mantissa, shift), config)]
    # The last ones have a hundred weights and more.
    return mantissa, rng.choice([rng.choice(held), rng.choice(held[-3:])])


def weight_end(scale: tuple[int, int], config: AttentionConfig) -> int:
    """Return the first gap without weight."""
    return int(np.argmin(gap_weights(np.arange(config.tau_keep_all + 1), scale, config)))


def flat_scale(config: AttentionConfig) -> tuple[int, int]:
    """Return a scale that is as flat as a table holds it: weights are near to each other, some beyond the table.

    Their end is odd: the lowest bit of a gap decides whether it is the last one with a weight.
    """
    mantissa, shift = softmax_scale_code(least_held_scale(config), config)
    scales = ((steeper, shift) for steeper in range(mantissa, 1 << 16, 16))
    return next(scale for scale in scales if weight_end(scale, config) % 2)


def rescaling(row_max: int, score_max: int, scale: tuple[int, int], config: AttentionConfig
              ) -> dict[str, int]:
    """Return the power and the places that bring a mass to the row's largest score."""
    mantissa, shift = scale
    distance = score_max - (row_max << config.estimate_shift)
    exponent = (distance * mantissa + ((1 << shift) >> 1)) >> shift
    table = exp2_table(config.weight_bits, config.exp_frac_bits)
    octaves = min(max(exponent >> config.exp_frac_bits, -config.sum_bits), config.sum_bits)
    return {"power": int(table[exponent & ((1 << config.exp_frac_bits) - 1)]),
            "shift": MASS_FRAC_BITS + config.weight_bits + octaves}


def paused(m: Module, cycles: int) -> Signal:
    """Return whether a consumer takes nothing: for so long, and then for seven times as long not.

    What the stall matrix holds up is shorter than what queues hold.
    """
    time = Signal(range(8 * cycles))
    m.d.sync += time.eq(Mux(time == 8 * cycles - 1, 0, time + 1))
    return time < cycles


def fill_tables(m: Module, config: AttentionConfig, jobs: stream.Interface) -> FillTables:
    """Fill tables with the scales of `jobs`; the pipeline takes a gap in two of three cycles."""
    m.submodules.tables = tables = FillTables(config)
    m.submodules.pipeline = pipeline = FineWeightPipeline(config)
    phase = Signal(2)
    asked = tables.ask.valid & tables.ask.ready
    m.d.sync += phase.eq(phase + 1)
    m.d.comb += [
        tables.job.valid.eq(jobs.valid), tables.job.payload.eq(jobs.payload), jobs.ready.eq(tables.job.ready),
        tables.ask.ready.eq(phase != 0), pipeline.delta.eq(tables.ask.payload.gap << config.estimate_shift),
        pipeline.scale_mantissa.eq(tables.ask.payload.mantissa), pipeline.scale_shift.eq(tables.ask.payload.shift),
        tables.answer_valid.eq(delay(m, asked, pipeline.latency, name="asked")),
        tables.answer.eq(pipeline.fine_weight),
    ]
    return tables


def await_tables(m: Module, tables: FillTables) -> Signal:
    """Return whether both tables are filled."""
    filled = Signal(range(TABLES + 1))
    m.d.comb += tables.table.ready.eq(1)
    m.d.sync += filled.eq(filled + tables.table.valid)
    return filled == TABLES
