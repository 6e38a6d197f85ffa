"""One page with everything that was measured of a build, as HTML."""

import dataclasses
import pathlib
from typing import Any

import jinja2

from latte.fpga.report.figures import pattern_png, roofline_svg
from latte.fpga.sizing.roofline import HeadPoint, compute_roofs, head_intensity, memory_roofs
from latte.golden import distribution
from latte.golden.attention import attend
from latte.golden.config import AttentionConfig
from latte.golden.results import git_revision
from latte.golden.vectors import VectorSet

__all__ = ["SOURCES", "block_areas", "render_report"]

SOURCES = {
    "area": ("Area", "make area"), "timing": ("Timing", "make timing"),
    "bitstream": ("Bitstreams", "make bitstream BOARD=ulx3s_25f"), "sim": ("Simulation", "make sim"),
    "run": ("Board", "latte run --board ulx3s_25f --port /dev/ttyUSB0"), "bench": ("Benchmarks", "make bench"),
    "eval": ("Whole models", "latte eval"),
    "infer": ("Whole models on hardware", "latte infer --model FOLDER --images photo.jpg"),
}
"""Result file: (heading, the command that makes it)."""
_ASSUMED_MHZ = 120.0
_ASSUMED_KEEP = 0.15
_AREA_FIGURES = ("lut4", "carry", "lutram", "lut4_equivalents", "gate", "transistors", "ff", "dsp", "bram", "spram",
                 "lut4_per_mac", "transistors_per_mac")
_BAR_FIGURES = ("lut4_equivalents", "transistors", "lut4")
"""What the bars show: the first of these that there is."""
_TEMPLATE = pathlib.Path(__file__).parent / "page.html"


def block_areas(results: list[dict[str, Any]], target: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return figures by preset and block: ``<preset>.<target>[.<block>].<figure>``; the whole core is block ``""``."""
    areas: dict[str, dict[str, dict[str, float]]] = {}
    for entry in results:
        parts = entry["name"].split(".")
        if len(parts) < 3 or parts[1] != target:
            continue
        block = ".".join(parts[2:-1])
        areas.setdefault(parts[0], {}).setdefault(block, {})[parts[-1]] = entry["value"]
    return areas


@dataclasses.dataclass(frozen=True)
class _AreaTable:
    """Rows are (block, length of its bar in per cent, cells); the bars show the figure `bar`."""

    preset: str
    bar: str
    columns: list[str]
    rows: list[tuple[str, float, list[str]]]
    total: list[str]


def _area_table(preset: str, blocks: dict[str, dict[str, float]]) -> _AreaTable:
    columns = [figure for figure in _AREA_FIGURES if any(figure in figures for figures in blocks.values())]
    bar = next((figure for figure in _BAR_FIGURES if figure in columns), "")
    parts = sorted(((name, figures) for name, figures in blocks.items() if name),
                   key=lambda part: -part[1].get(bar, 0))
    widest = max((figures.get(bar, 0) for _, figures in parts), default=0) or 1

    def cells(figures: dict[str, float]) -> list[str]:
        return [f"{figures[name]:,.6g}" if name in figures else "" for name in columns]

    rows = [(name, 100 * figures.get(bar, 0) / widest, cells(figures)) for name, figures in parts]
    return _AreaTable(preset, bar, columns, rows, cells(blocks.get("", {})))


@dataclasses.dataclass(frozen=True)
class _Pattern:
    title: str
    picture: str
    text: str


def _pattern(vectors: VectorSet, index: int, config: AttentionConfig) -> _Pattern:
    """Return the kept pattern of a head, from the golden model."""
    index = min(index, len(vectors) - 1)
    trace = attend(vectors.q[index], vectors.k[index], vectors.v[index], vectors.parameters(index, config), config,
                   causal=vectors.causal)
    kept, visible = int(trace.keep.sum()), int(trace.visible.sum())
    return _Pattern(vectors.names()[index], pattern_png(trace.visible, trace.keep),
                    f"{vectors.keys} queries × {vectors.keys} keys{', causal' if vectors.causal else ''}: {kept:,} of "
                    f"{visible:,} pairs kept, {100 * (1 - kept / visible):.1f} % pruned")


def _value(results: dict[str, Any] | None, name: str) -> float | None:
    entries = results["results"] if results else []
    return next((entry["value"] for entry in entries if entry["name"] == name), None)


def _points(sim: dict[str, Any] | None, config: AttentionConfig, clock_hz: float) -> list[HeadPoint]:
    """Return one point per model: the mean of its simulated heads."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in sim["results"] if sim else []:
        if entry.get("cycles") and entry.get("visible"):
            groups.setdefault(entry["name"].rsplit(".block", 1)[0], []).append(entry)
    points = []
    for model, entries in groups.items():
        pairs, cycles = (sum(entry[field] for entry in entries) for field in ("visible", "cycles"))
        intensity = head_intensity(config, sum(entry["n"] for entry in entries), pairs)
        points.append(HeadPoint(model, intensity, pairs * 2 * config.head_dim * clock_hz / cycles))
    return points


def render_report(config: AttentionConfig, results: dict[str, dict[str, Any] | None], sets: list[VectorSet], *,
                  head_index: int = 0, target: str = "ecp5", clock_mhz: float | None = None,
                  baud: int = 1_000_000) -> str:
    """Return the page.

    Parameters
    ----------
    config
        Of the roofline and the kept patterns.
    results
        By name of the result file, None where it is missing.
    sets
        One picture each.
    head_index
        Of the pictures.
    target
        Device of the roofline and the area table.
    clock_mhz
        Clock of the roofline, None for the measured one.
    baud
        Of the roofline's host link.
    """
    measured = _value(results["timing"], f"{config.name}.{target}.fmax")
    mhz = clock_mhz or measured or _ASSUMED_MHZ
    source = "as given" if clock_mhz else "measured Fmax" if measured else "assumed: timing is not measured yet"
    # Another configuration's cycles say nothing about this one's lanes.
    sim = results["sim"] if (results["sim"] or {}).get("config", {}).get("name") == config.name else None
    pairs = [(entry["kept"], entry["visible"]) for entry in sim["results"] if entry.get("visible")] if sim else []
    keep = sum(kept for kept, _ in pairs) / sum(visible for _, visible in pairs) if pairs else _ASSUMED_KEEP
    points = _points(sim, config, mhz * 1e6)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    return environment.from_string(_TEMPLATE.read_text()).render(
        config=config, fields=config.to_dict(), version=distribution.version(), git=git_revision(), sources=SOURCES,
        results=results, missing={name: SOURCES[name] for name in SOURCES if results[name] is None},
        tiles=_tiles(config, results, target), target=target,
        areas=[_area_table(*item) for item in block_areas(results["area"]["results"], target).items()]
        if results["area"] else [],
        patterns=[_pattern(vectors, head_index, config) for vectors in sets],
        mhz=mhz, clock_source=source, keep=keep, keep_measured=bool(pairs), points=points, baud=baud,
        compute=compute_roofs(config, mhz * 1e6, keep), memory=memory_roofs(config, mhz * 1e6, baud),
        roofline=roofline_svg(compute_roofs(config, mhz * 1e6, keep), memory_roofs(config, mhz * 1e6, baud), points))


def _tiles(config: AttentionConfig, results: dict[str, dict[str, Any] | None], target: str) -> list[tuple[str, str]]:
    """Return the headline figures that are there: (value, what it is)."""
    prefix = f"{config.name}.{target}"
    tiles = []
    for name, figure, form, what in (
            ("timing", "fmax", "{:.1f} MHz", f"Fmax of {config.name}, {target}"),
            ("area", "lut4", "{:,.0f}", f"LUT4, {target}"),
            ("area", "lut4_per_mac", "{:.1f}", f"LUT4 equivalents per {config.estimate_bits}-bit MAC"),
            ("area", "dsp", "{:,.0f}", "DSP blocks"), ("area", "bram", "{:,.0f}", "block RAMs")):
        value = _value(results[name], f"{prefix}.{figure}")
        if value is not None:
            tiles.append((form.format(value), what))
    for name, what in (("sim", "heads agree in every bit, RTL"), ("run", "heads agree in every bit, board")):
        if results[name]:
            entries = results[name]["results"]
            tiles.append((f"{sum(entry['value'] for entry in entries)} / {len(entries)}", what))
    return tiles
