"""Area per hardware block, from the synthesiser's own figures, against a committed baseline."""

import dataclasses
import json
import pathlib
from typing import Any

from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import Usage, synthesise
from latte.golden.config import PRESETS, AttentionConfig
from latte.golden.errors import LatteError
from latte.rtl.engines import create_core

__all__ = ["BASELINE", "DENSE_PE_ARRAY", "PE_ARRAY", "baseline_usages", "is_preset", "measure_area", "per_mac",
           "read_baseline", "results", "total", "update_baseline"]

BASELINE = pathlib.Path(__file__).parent.parent / "baselines" / "area.json"
PE_ARRAY, DENSE_PE_ARRAY = "score_estimator", "score_array"
_UNITS = {"lut": "count", "carry": "count", "lutram": "count", "ff": "count", "dsp": "count", "bram": "count",
          "spram": "count", "bram_bits": "bit", "lut4_equivalents": "count", "gate": "count", "transistors": "count"}


def measure_area(config: AttentionConfig, target: Target, folder: pathlib.Path) -> dict[str, Usage]:
    """Synthesise the core with its blocks kept apart; return the usage of each."""
    return synthesise(create_core(config), target, folder, keep_blocks=True)


def total(blocks: dict[str, Usage]) -> Usage:
    """Return the sum of all blocks."""
    return sum(blocks.values(), Usage())


def per_mac(config: AttentionConfig, blocks: dict[str, Usage]) -> float:
    """Return LUT4 equivalents of the PE array, query tables and adder trees included, per 4-bit multiply-accumulate.

    For gates, transistors.
    """
    name, products = (DENSE_PE_ARRAY, 4) if config.engine == "dense" else (PE_ARRAY, 1)
    array = blocks[name]
    return (array.lut4_equivalents or array.transistors) / (products * config.pairs_per_cycle * config.dim_lanes)


def results(config: AttentionConfig, target: Target, blocks: dict[str, Usage]) -> list[dict[str, Any]]:
    """Return the figures of a result file; ``lut4`` counts LUTs, ``lut4_equivalents`` carry cells and LUT RAM too."""
    prefix = f"{config.name}.{target.name}"
    unit = "gate" if target.name == "cmos" else "lut4"
    figures = [{"name": f"{prefix}.{'transistors' if unit == 'gate' else 'lut4'}_per_mac", "unit": "count",
                "value": round(per_mac(config, blocks), 3)}]
    for name, usage in {"": total(blocks), **blocks}.items():
        for field in dataclasses.fields(usage):
            value = getattr(usage, field.name)
            if value or field.name in ("ff", "dsp", "bram", "lut"):
                figure = "lut4" if field.name == "lut" else field.name
                figures.append({"name": ".".join(filter(None, (prefix, name, figure))), "unit": _UNITS[field.name],
                                "value": value})
    return figures


def is_preset(config: AttentionConfig) -> bool:
    """Whether a configuration is a preset as it stands, so that the baseline applies."""
    return PRESETS.get(config.name) == config


def read_baseline() -> dict[str, float]:
    """Return the committed figures by name."""
    return json.loads(BASELINE.read_text()) if BASELINE.exists() else {}


def update_baseline(config: AttentionConfig, target: Target, figures: list[dict[str, Any]]) -> None:
    """Put the figures of a preset and target in the place of those that the baseline has.

    Raises
    ------
    LatteError
        The configuration is no preset as it stands.
    """
    if not is_preset(config):
        raise LatteError("a baseline is kept of the presets as they stand; leave out the options that change one")
    prefix = f"{config.name}.{target.name}."
    kept = {name: value for name, value in read_baseline().items() if not name.startswith(prefix)}
    kept |= {figure["name"]: figure["value"] for figure in figures}
    BASELINE.parent.mkdir(exist_ok=True)
    BASELINE.write_text(json.dumps(dict(sorted(kept.items())), indent=0) + "\n")


def baseline_usages(target: str) -> dict[str, Usage]:
    """Return the total usage of each preset that has a baseline for a target."""
    figures, usages = read_baseline(), {}
    for name in PRESETS:
        own = {field.name: figures.get(f"{name}.{target}.{'lut4' if field.name == 'lut' else field.name}", 0)
               for field in dataclasses.fields(Usage)}
        if any(own.values()):
            usages[name] = Usage(**own)
    return usages
