"""Area of engines and units from Yosys, and what grows with the lanes."""

import dataclasses
import pathlib
from collections.abc import Callable

from amaranth.lib import wiring

from latte.fpga.synthesis.area import measure_area, total
from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import Usage, synthesise_once
from latte.golden.config import AttentionConfig
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.value_accumulator import ValueAccumulator

__all__ = ["ROLES", "EngineArea", "engine_area", "unit_areas"]

ROLES = {
    "scores": ("score_estimator", "score_array"), "cross": ("cross_product_unit",),
    "P·V": ("value_accumulator",), "softmax": ("softmax", "score_queue", "weight_queue"),
    "division": ("normalizer",),
    "pruned mass": ("tables", "table_jobs", "row_limiter", "survivor_mass", "mass_compensation", "virtual_survivors"),
    "memories": ("key_value_scratchpad", "key_plane", "value_plane", "key_value_loader", "query_buffer",
                 "estimate_buffer", "survivor_queue"),
}
"""Blocks by what they do; the others are control."""
UNIT_LANES = {"estimator": (1, 2, 4, 8), "cross": (16, 32, 64), "P·V": (16, 32, 64)}


@dataclasses.dataclass(frozen=True)
class EngineArea:
    """Synthesised blocks of one engine.

    Parameters
    ----------
    blocks : dict of str to Usage
    lut4_per_multiplier
        Exchange rate of a hard multiplier.
    """

    blocks: dict[str, Usage]
    lut4_per_multiplier: float

    @property
    def usage(self) -> Usage:
        """Of all blocks."""
        return total(self.blocks)

    @property
    def lut4(self) -> float:
        """LUT4 equivalents, multipliers included."""
        return self._lut4(self.usage)

    def by_role(self) -> dict[str, float]:
        """Return the LUT4 equivalents, multipliers included, of each of `ROLES` and of control."""
        roles = {role: sum(self._lut4(self.blocks[name]) for name in names if name in self.blocks)
                 for role, names in ROLES.items()}
        return roles | {"control": self.lut4 - sum(roles.values())}

    def _lut4(self, usage: Usage) -> float:
        return usage.lut4_equivalents + self.lut4_per_multiplier * usage.dsp


def engine_area(config: AttentionConfig, target: Target, rate: float, folder: pathlib.Path) -> EngineArea:
    """Synthesise a core, block by block; `rate` is that of `latte.fpga.synthesis.multiplier`."""
    return EngineArea(measure_area(config, target, folder), rate)


def unit_areas(config: AttentionConfig, target: Target, folder: pathlib.Path,
               ) -> dict[str, list[tuple[int, Usage]]]:
    """Return the areas of the three arithmetic units at several lane counts (query lanes; dimensions)."""
    changes: dict[str, tuple[Callable[[AttentionConfig], wiring.Component], Callable[[int], dict[str, int]]]] = {
        "estimator": (ScoreEstimator, lambda lanes: {"query_lanes": lanes, "key_lanes": 1}),
        "cross": (CrossProductUnit, lambda lanes: {"cross_lanes": lanes}),
        "P·V": (ValueAccumulator, lambda lanes: {"value_lanes": lanes})}
    return {unit: [(lanes, total(synthesise_once(block(config.replace(**change(lanes))), target, folder)))
                   for lanes in UNIT_LANES[unit]] for unit, (block, change) in changes.items()}
