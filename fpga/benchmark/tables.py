"""The benchmark's baseline as tables of the document."""

from collections.abc import Mapping, Sequence

from latte.fpga.benchmark.workloads import KEEP_RATIOS, LEARNED_KEEP, PAPER_KEEP, keep_name
from latte.golden.documents import markdown_table

__all__ = ["TABLES"]

_PRESETS = ("small", "small_lm", "base", "base_lm")
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


def _builds(figures: Mapping[str, float], figure: str, engines: Sequence[str] = ("", ".lean")) -> list[str]:
    """Return the builds of which a figure was measured."""
    return [preset + engine for preset in _PRESETS for engine in engines if f"{preset}{engine}.{figure}" in figures]


def _cells(figures: Mapping[str, float], builds: Sequence[str], figure: str, form: str, factor: float = 1) -> list[str]:
    """Return a figure of each build; nothing where it was not measured."""
    names = [f"{build}.{figure}" for build in builds]
    return [format(factor * figures[name], form) if name in figures else "" for name in names]


def _cycles(figures: Mapping[str, float]) -> str:
    builds = _builds(figures, "area")
    rows = []
    for name, title in _VECTORS.items():
        kept = next(iter(_cells(figures, _builds(figures, f"{name}.kept"), f"{name}.kept", ".1f", 100)), "")
        over, used = (_cells(figures, builds, f"{name}.{figure}", form, factor) for figure, form, factor in (
            ("cycles_over_bound", ".3f", 1), ("estimator_utilisation", ".1f", 100)))
        if any(over):
            rows.append([title, kept, *(cell for pair in zip(over, used, strict=True) for cell in pair)])
    titles = [title for build in builds for title in (_code(build), "estimator %")]
    return markdown_table(["vectors", "kept %", *titles], rows)


def _areas(figures: Mapping[str, float]) -> str:
    rows = [[_code(build), *(cell for kind in _AREAS for cell in _cells(figures, [build], kind, ".0f"))]
            for build in _builds(figures, "area", ("", ".lean", ".narrow", ".dense"))]
    return markdown_table(["ECP5, 1024 keys", *_AREAS.values()], rows)


def _losses(figures: Mapping[str, float]) -> str:
    builds = _builds(figures, "advantage.measured", ("", ".lean", ".narrow"))
    rows = [[title, *_cells(figures, builds, f"advantage.{step}", ".2f")] for step, title in _LOSSES.items()]
    title = f"advantage over dense at {100 * LEARNED_KEEP:g} % kept, lean at {100 * PAPER_KEEP:g} %, with"
    return markdown_table([title, *map(_code, builds)], rows)


def _keep(figures: Mapping[str, float]) -> str:
    figure = "throughput_per_area_vs_dense"
    builds = _builds(figures, f"{keep_name(KEEP_RATIOS[0])}.{figure}")
    rows = [[_code(build), *(cell for keep in KEEP_RATIOS
                             for cell in _cells(figures, [build], f"{keep_name(keep)}.{figure}", ".2f"))]
            for build in builds]
    return markdown_table(["kept", *(f"{100 * keep:g} %" for keep in KEEP_RATIOS)], rows)


def _mixed(figures: Mapping[str, float]) -> str:
    builds = _builds(figures, "mixed.cycles_over_work_bound")
    rows = [[title, *_cells(figures, builds, f"{name}.cycles_over_work_bound", ".3f")]
            for name, title in _MIXED.items()]
    return markdown_table(["", *map(_code, builds)], rows)


def _times(figures: Mapping[str, float]) -> str:
    builds = _builds(figures, "deit_tiny_image")
    rows = [[title, *_cells(figures, builds, name, ".3f", 1000)] for name, title in _TIMES.items()]
    clock = "".join(_cells(figures, builds[:1], "clock", "g"))
    return markdown_table([f"milliseconds of attention only, one core at {clock} MHz", *map(_code, builds)], rows)


def _code(name: str) -> str:
    return f"`{name.replace('.', ' ')}`"


TABLES = {"bench-cycles": _cycles, "bench-areas": _areas, "bench-losses": _losses, "bench-keep": _keep,
          "bench-mixed": _mixed, "bench-times": _times}
"""By section of ``fpga/README.md``."""
