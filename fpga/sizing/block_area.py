"""Area of any build from measured blocks: a linear fit per block over a few synthesised lane counts.

``block_area.json`` holds what was measured (``latte measure-blocks`` makes it again). Memories are counted, not
fitted: block RAMs come in steps.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from latte.golden.config import AttentionConfig, ceil_div, ceil_log2
from latte.golden.errors import LatteError
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.score_queue import ROW_QUEUE_DEPTH, ScoreQueue

__all__ = ["MEASURED", "RESOURCES", "Area", "block_features", "block_memories", "estimate_area",
           "find_multiplier_price", "find_samples"]

MEASURED = pathlib.Path(__file__).parent / "block_area.json"
RESOURCES = ("lut4_equivalents", "ff", "dsp")
"""What is fitted per block."""
LEAST_BRAM_BITS = 1024
"""Memories up to this size become LUT RAM or registers, and are part of the fitted LUTs."""
BRAM_SHAPES = {
    "ecp5": ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    "gowin": ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    "ice40": ((256, 16), (512, 8), (1024, 4), (2048, 2)),
}
"""Words and bits of one block RAM of each family, in all its shapes."""


@dataclasses.dataclass(frozen=True)
class Area:
    """Cells of a block or of a build.

    Parameters
    ----------
    lut4
        LUTs, carry cells and LUT RAM, as LUT4.
    ff, dsp, bram
    """

    lut4: float = 0
    ff: float = 0
    dsp: float = 0
    bram: int = 0

    def __add__(self, other: "Area") -> "Area":
        return Area(self.lut4 + other.lut4, self.ff + other.ff, self.dsp + other.dsp, self.bram + other.bram)

    def lut4_with_multipliers(self, lut4_per_dsp: float) -> float:
        """Return LUT4 equivalents with each hard multiplier exchanged at a rate."""
        return self.lut4 + lut4_per_dsp * self.dsp


def block_features(config: AttentionConfig) -> dict[str, tuple[float, ...]]:
    """Return, for each block of the core, what its area grows with; one coefficient each is fitted."""
    q, k, pairs, dims = config.query_lanes, config.key_lanes, config.pairs_per_cycle, config.dim_lanes
    cross, values, outputs = config.cross_lanes, config.value_lanes, config.normalizer_lanes
    bus = config.bus_bytes
    # A row that comes in slices waits in a memory, a whole one in a shift register.
    rows = (0, config.head_dim * config.acc_bits) if config.value_slices == 1 else (values * config.acc_bits, 0)
    # Partial sums of a value are registers up to eight slices, and a memory from there on.
    sums = config.value_slices * values * config.acc_bits if config.value_slices <= 8 else 0
    estimator = (1, q, k, pairs) if config.pe_structure == "table" else (1, (q + k) * dims, pairs, pairs * dims)
    return {
        f"score_estimator/{config.pe_structure}": estimator,
        "estimate_buffer": (1, pairs, pairs * q), "row_scanner": (1, pairs), "threshold_filter": (1, pairs),
        "survivor_queue": (1, pairs), "cross_product_unit": (1, cross),
        "value_accumulator": (1, values, sums),
        "normalizer": (1, outputs, *rows), "query_buffer": (1, cross, bus),
        "key_value_scratchpad": (1, k * dims, cross, values, bus),
        "tile_sequencer": (1,), "job_sequencer": (1,), "head_registers": (1,), "score_queue": (1,), "softmax": (1,)}


def block_memories(config: AttentionConfig) -> dict[str, list[tuple[int, int, int]]]:
    """Return the memories of each block as (number, words, bits)."""
    n, d, banks, pairs = config.max_seq_len, config.head_dim, config.kv_banks, config.pairs_per_cycle
    key, slot = ceil_log2(n), ceil_log2(config.query_rows)
    halves = 8 * config.cross_lanes
    queue_rows = [(1, QueryBuffer.waiting_rows(config), config.estimate_bits * d)] if config.dim_slices == 1 else []
    return {
        "key_value_scratchpad": [
            (config.key_lanes, ceil_div(n, config.key_lanes) * config.dim_slices * banks,
             config.estimate_bits * config.dim_lanes),
            (1, n * config.cross_slices * banks, halves),
            (1, n * config.value_slices * banks, 8 * config.value_lanes)],
        "estimate_buffer": [(pairs, 3 * config.query_lanes * ceil_div(n, pairs), config.est_bits)],
        "query_buffer": [(1, config.query_rows * config.cross_slices, halves), *queue_rows],
        "survivor_queue": [
            (1, config.survivor_fifo_depth, pairs * (1 + config.est_bits) + key + slot + 2)],
        "score_queue": [(1, ScoreQueue.depth_of(config), config.score_bits + key + 1),
                        (1, ROW_QUEUE_DEPTH, config.score_bits)],
        "softmax": [(1, 1 << config.exp_frac_bits, config.weight_bits)],
        "normalizer": [(1, 1 << config.reciprocal_bits, 26)],
        "head_registers": [(1, config.heads, config.est_bits + 20)]}


def block_rams(words: int, bits: int, target: str) -> int:
    """Return the block RAMs of one memory, split in power-of-two parts as `latte.rtl.common.ram.Ram` splits it."""
    if words * bits <= LEAST_BRAM_BITS:
        return 0
    total = 0
    while words > 0:
        part = words if words <= 1024 else 1 << (words.bit_length() - 1)
        total += min(ceil_div(part, depth) * ceil_div(bits, width) for depth, width in BRAM_SHAPES[target])
        words -= part
    return total


@functools.cache
def _measured() -> dict[str, dict]:
    return json.loads(MEASURED.read_text())["targets"] if MEASURED.exists() else {}


def find_samples(target: str) -> dict[str, list[dict]]:
    """Return the measured samples of each block: ``features`` and the fields of `RESOURCES`.

    Raises
    ------
    LatteError
        Nothing was measured for that target.
    """
    return _find(target)["blocks"]


def find_multiplier_price(target: str) -> float:
    """Return the LUT4 a hard multiplier of a family is exchanged at, as `latte.fpga.synthesis.multiplier` measured it.

    Raises
    ------
    LatteError
        Nothing was measured for that target.
    """
    return _find(target)["lut4_per_multiplier"]


def _find(target: str) -> dict:
    measured = _measured()
    if target not in measured:
        raise LatteError(f"no block areas were measured for {target!r}, only for {', '.join(measured) or 'no target'}; "
                         f"measure them with: latte measure-blocks --target {target}")
    return measured[target]


@functools.cache
def _coefficients(target: str, block: str) -> np.ndarray:
    """Return the fitted coefficients [features, resources], none of which is negative but the constant's."""
    samples = find_samples(target).get(block, [])
    if not samples:
        raise LatteError(f"the block {block!r} was not measured for {target!r}")
    features = np.array([sample["features"] for sample in samples], float)
    values = np.array([[sample[resource] for resource in RESOURCES] for sample in samples], float)
    return np.linalg.lstsq(features, values, rcond=None)[0]


def estimate_area(config: AttentionConfig, target: str) -> dict[str, Area]:
    """Return the area of each block of a build.

    Parameters
    ----------
    config
        Any; the fit is of `head_dim` = 64 and an estimate of 4 bits.
    target
        Family, of `latte.fpga.synthesis.targets`.
    """
    memories = block_memories(config)
    areas = {}
    for block, features in block_features(config).items():
        lut4, ff, dsp = (np.array(features) @ _coefficients(target, block)).tolist()
        name = block.partition("/")[0]
        bram = sum(number * block_rams(words, bits, target) for number, words, bits in memories.get(name, []))
        areas[name] = Area(max(0.0, lut4), max(0.0, ff), max(0, round(dsp)), bram)
    return areas
