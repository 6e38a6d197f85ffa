"""The benchmark's baseline as tables of the document."""

from collections.abc import Mapping

from latte.fpga.benchmark.workloads import KEEP_RATIOS, LEARNED_KEEP, PAPER_KEEP, keep_name
from latte.golden.documents import markdown_table

__all__ = ["TABLES"]

_PRESETS = ("small", "small_lm", "base", "base_lm")
_ENGINES = {"": "", ".lean": ", lean", ".narrow": ", narrow", ".dense": ", dense"}
_VECTORS = {"deit-tiny": "DeiT-Tiny, 36 heads, 197 keys", "smollm2-135m": "SmolLM2-135M, 12 heads, 512 keys, causal",
            "smollm2-135m-keep10": "the same, fewer kept",
            "deit-tiny-best_90-keep15": "DeiT-Tiny by mass, compensated",
            f"deit-tiny-best_90-{keep_name(LEARNED_KEEP)}": "the same, as many kept as `best_90` keeps",
            "smollm2-135m-best_90-keep10": "SmolLM2-135M by mass, compensated"}
_AREAS = {"lut4_equivalents": "LUT4 equivalents without multipliers", "dsp": "multipliers", "ff": "flip-flops",
          "bram": "block RAMs", "area": "LUT4 equivalents, multipliers included"}
_LOSSES = {"bit_operations": "the limit by bit operations, 128 / (16 + 96 keep)",
           "real_prices": "the units at their synthesised prices",
           "whole_units": "units as large as they are: they idle part of the time",
           "whole_core": "memories, softmax, division, control", "measured": "cycles as measured"}
_MIXED = {"mixed": "order of the model", "mixed-alternating": "light and heavy heads in turn",
          "deep.mixed": "order of the model, deep queues", "deep.mixed-alternating": "in turn, deep queues"}
_TIMES = {"deit_tiny_image": "DeiT-Tiny image, 36 heads",
          "smollm2_135m_prefill_token": "SmolLM2-135M token in a prefill of 512, 270 heads",
          "smollm2_135m_decode_token": "SmolLM2-135M decoded token after 512, 90 caches loaded anew"}


def _presets(figures: Mapping[str, float], engine: str = "") -> list[str]:
    """Return the presets that were measured, or those of which an engine was."""
    return [preset for preset in _PRESETS if f"{preset}{engine}.area" in figures]


def _cycles(figures: Mapping[str, float]) -> str:
    presets = _presets(figures)
    rows = [[title, f"{100 * figures[f'{presets[0]}.{name}.kept']:.1f} %",
             *(cell for preset in presets
               for cell in (f"{figures[f'{preset}.{name}.cycles_over_bound']:.3f}",
                            f"{100 * figures[f'{preset}.{name}.estimator_utilisation']:.1f} %"))]
            for name, title in _VECTORS.items()]
    titles = [title for preset in presets for title in (_code(preset), "estimator")]
    return markdown_table(["vectors", "kept", *titles], rows)


def _areas(figures: Mapping[str, float]) -> str:
    rows = [[_code(preset) + title, *(f"{figures[f'{preset}{engine}.{kind}']:.0f}" for kind in _AREAS)]
            for engine, title in _ENGINES.items() for preset in _presets(figures, engine)]
    return markdown_table(["ECP5, 1024 keys", *_AREAS.values()], rows)


def _losses(figures: Mapping[str, float]) -> str:
    builds = [preset + engine for engine in ("", ".lean", ".narrow") for preset in _presets(figures, engine)]
    rows = [[title, *(f"{figures[f'{build}.advantage.{step}']:.2f}" for build in builds)]
            for step, title in _LOSSES.items()]
    title = f"advantage over dense at {100 * LEARNED_KEEP:g} % kept, lean at {100 * PAPER_KEEP:g} %, with"
    return markdown_table([title, *(_code(build) for build in builds)], rows)


def _keep(figures: Mapping[str, float]) -> str:
    rows = [[_code(preset), *(f"{figures[f'{preset}.{keep_name(keep)}.throughput_per_area_vs_dense']:.2f}"
                              for keep in KEEP_RATIOS)] for preset in _presets(figures, ".lean")]
    return markdown_table(["kept", *(f"{100 * keep:g} %" for keep in KEEP_RATIOS)], rows)


def _mixed(figures: Mapping[str, float]) -> str:
    presets = _presets(figures, ".lean")
    rows = [[title, *(f"{figures[f'{preset}.{name}.cycles_over_work_bound']:.3f}" for preset in presets)]
            for name, title in _MIXED.items()]
    return markdown_table(["", *map(_code, presets)], rows)


def _times(figures: Mapping[str, float]) -> str:
    presets = _presets(figures, ".lean")
    rows = [[title, *(f"{1000 * figures[f'{preset}.{name}']:.3f} ms" for preset in presets)]
            for name, title in _TIMES.items()]
    return markdown_table([f"attention only, one core at {figures[f'{presets[0]}.clock']:g} MHz",
                           *map(_code, presets)], rows)


def _code(name: str) -> str:
    return f"`{name}`"


TABLES = {"bench-cycles": _cycles, "bench-areas": _areas, "bench-losses": _losses, "bench-keep": _keep,
          "bench-mixed": _mixed, "bench-times": _times}
"""By section of ``fpga/README.md``."""
