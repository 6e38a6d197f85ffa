"""Sizing: which lanes, memories and bus suit a device, a keep ratio and a sequence length."""

import dataclasses
import difflib
import functools
import operator
from collections.abc import Iterator

import numpy as np

from latte.fpga.boards.devices import DEVICES, Device
from latte.fpga.sizing.block_area import Area, estimate_area
from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig, ceil_div, preset
from latte.golden.errors import LatteError
from latte.golden.quantizer import saturate_qk
from latte.golden.score_estimator import estimate_scores
from latte.golden.split import split_halves
from latte.golden.threshold_filter import row_maximum, visible_keys
from latte.golden.vectors import embedded_vectors
from latte.rtl.common.head_work import HeadWork, Prediction
from latte.rtl.cycle_prediction import kept_keys, predict_cycles

__all__ = ["FILL", "Proposal", "SampleHead", "balanced_config", "check_workload", "device_names", "find_sized_device",
           "propose", "sample_heads", "sample_work", "tau_of_keep", "total_area"]

FILL = 0.85
"""Share of a device's LUTs that a build may take and still be routed."""
_TARGET_LOAD = 0.9
"""Load of a unit behind the estimator up to which queues ride out the rows with many survivors."""
_LOADING = 0.4
"""Share of the computing time that loading may take to stay hidden behind it."""
_SIMULATED = 6
"""Candidates whose cycles are predicted; the arithmetic limit chooses them."""
_HEADS = 6


@dataclasses.dataclass(frozen=True)
class Proposal:
    """One build for one device.

    Parameters
    ----------
    config
    copies : int
        Cores of it that the device holds side by side.
    areas : dict of str to Area
        By block.
    prediction
        Cycle model on `sample_work`, one head after the other.
    heads : int
        Number of them.
    """

    config: AttentionConfig
    copies: int
    areas: dict[str, Area]
    prediction: Prediction
    heads: int

    @property
    def area(self) -> Area:
        """Of all blocks."""
        return total_area(self.areas)

    @property
    def cycles_per_head(self) -> float:
        """Loading included."""
        return self.prediction.total / self.heads

    def loads(self) -> dict[str, float]:
        """Return the share of all cycles in which each unit works."""
        total = self.prediction.total
        return {"estimator": self.prediction.estimator_beats / total,
                "cross": self.prediction.cross_beats / total,
                "value accumulator": self.prediction.value_beats / total}


def device_names() -> dict[str, Device]:
    """Return the devices by the names a user knows: ``ecp5-85f`` for the ECP5-85F."""
    return {device.title.lower().replace(" ", "-"): device for device in DEVICES.values()}


def find_sized_device(name: str) -> Device:
    """Return a device by either of its names.

    Raises
    ------
    LatteError
        There is none; the message names the nearest.
    """
    names = device_names()
    if name.lower() not in names | DEVICES:
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0)[0]
        raise LatteError(f"unknown device {name!r}, the nearest is {near}; the devices are {', '.join(names)}")
    return (names | DEVICES)[name.lower()]


def check_workload(keep: float, keys: int) -> None:
    """Raise `LatteError` for a keep ratio or a length that no build can have."""
    if not 0 < keep <= 1:
        raise LatteError(f"--keep {keep:g} must be above 0 and at most 1, such as 0.15 for vision, 0.1 for language")
    if not 1 <= keys <= 4096:
        raise LatteError(f"--n {keys} must be from 1 to 4096 keys")


def total_area(areas: dict[str, Area]) -> Area:
    """Return the sum over blocks."""
    return functools.reduce(operator.add, areas.values(), Area())


@dataclasses.dataclass(frozen=True)
class SampleHead:
    """Operands and register entry of one head."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    parameters: HeadParameters


@functools.cache
def sample_heads(keys: int, keep: float, causal: bool, count: int = _HEADS) -> list[SampleHead]:
    """Return embedded heads, cut or repeated to `keys` rows, with thresholds that keep the given share of pairs.

    Their rows differ as real rows do; evenly spread survivors would hide what the queues are for.
    """
    config = preset("small")
    vectors = next(v for v in embedded_vectors() if v.causal == causal)
    heads = []
    for h in np.linspace(0, len(vectors) - 1, count).astype(int):
        q, k, v = (np.resize(rows[h], (keys, config.head_dim)) for rows in (vectors.q, vectors.k, vectors.v))
        tau = tau_of_keep(q, k, keep, config, causal=causal)
        heads.append(SampleHead(q, k, v, vectors.parameters(h, config).with_tau(tau)))
    return heads


def tau_of_keep(q: np.ndarray, k: np.ndarray, keep: float, config: AttentionConfig, *, causal: bool) -> int:
    """Return the register value of `tau` at which the share of a head's visible pairs that survive is nearest `keep`.

    Parameters
    ----------
    q : int8 [m, d]
    k : int8 [n, d]
    keep
    config
    causal
    """
    estimates = estimate_scores(*(split_halves(saturate_qk(rows, config.qk_max)[0], config.split,
                                               config.estimate_bits)[0] for rows in (q, k)))
    visible = visible_keys(len(q), len(k), causal)
    gap = (row_maximum(estimates, visible)[:, None] - estimates)[visible]
    near = int(np.quantile(gap, keep))
    return min((max(1, near), near + 1), key=lambda code: abs(np.mean(gap < code) - keep))


@functools.cache
def sample_work(keys: int, keep: float, causal: bool, count: int = _HEADS) -> list[HeadWork]:
    """Return what the cycle model needs of `sample_heads`."""
    config = preset("small")
    return [HeadWork.of_entry(kept_keys(head.q, head.k, head.parameters, config, causal=causal), head.parameters,
                              config, causal=causal)
            for head in sample_heads(keys, keep, causal, count)]


def balanced_config(query_lanes: int, key_lanes: int, dim_lanes: int, *, keep: float, keys: int, causal: bool,
                    **others: object) -> AttentionConfig | None:
    """Return a build in which no unit behind this estimator limits it, if any lanes can do that.

    Parameters
    ----------
    query_lanes, key_lanes, dim_lanes
        Of the estimator; fewer than 64 `dim_lanes` take the multiplier structure.
    keep
    keys
        Of a sequence, which is also what the memories hold.
    causal
    **others
        Further fields.

    Returns
    -------
    AttentionConfig or None
        None where one survivor per cycle, the most that any lanes can do, would be far too slow.
    """
    dim = 64
    pairs_per_cycle = query_lanes * key_lanes * dim_lanes / dim
    survivors_per_cycle = pairs_per_cycle * keep
    if survivors_per_cycle > 1.2:
        return None
    slices = min(dim, max(1, int(_TARGET_LOAD / survivors_per_cycle)))
    row_cycles = (keys / 2 if causal else keys) / pairs_per_cycle
    bus = next((b for b in (1, 2, 4, 8, 16) if dim / b <= _LOADING * row_cycles / (2 if causal else 1)), 16)
    outputs = next((n for n in (1, 2, 4, 8, 16) if dim / n <= _LOADING * row_cycles), 16)
    lanes = ceil_div(ceil_div(dim, slices), bus) * bus
    values = ceil_div(lanes, max(bus, outputs)) * max(bus, outputs)
    return preset("small").lean().replace(
        name="proposed", query_lanes=query_lanes, key_lanes=key_lanes, dim_lanes=dim_lanes,
        pe_structure="table" if dim_lanes == dim else "multiplier", cross_lanes=lanes, value_lanes=values,
        normalizer_lanes=outputs, bus_bytes=bus, max_seq_len=keys, **others)


def propose(device: Device, *, keep: float, keys: int, causal: bool, fill: float = FILL) -> Proposal:
    """Return the build that computes the most heads on a device, as several cores if more than one fits.

    One core takes at most one survivor per cycle: a large device has room for more than one.

    Parameters
    ----------
    device
    keep
        Share of visible pairs that survive, above 0 and up to 1.
    keys
        Of a sequence.
    causal
    fill
        Share of the LUTs and flip-flops that may be used.

    Raises
    ------
    LatteError
        `keep` is out of range, or not even the smallest build fits; the message names the smallest device that would
        do.
    """
    check_workload(keep, keys)
    copies = {config: _copies(config, device, fill) for config in _candidates(device, keep, keys, causal)}
    fitting = [config for config, count in copies.items() if count]
    if not fitting:
        raise LatteError(_refusal(device, keep, keys, causal, fill))
    fitting.sort(key=lambda config: (-_limit(config, keep) * copies[config], copies[config]))
    work = sample_work(keys, keep, causal)
    proposals = [Proposal(config, copies[config], estimate_area(config, device.target), predict_cycles(work, config),
                          len(work)) for config in fitting[:_SIMULATED]]
    return min(proposals, key=lambda proposal: (proposal.prediction.total / proposal.copies, proposal.area.lut4))


def _candidates(device: Device, keep: float, keys: int, causal: bool) -> Iterator[AttentionConfig]:
    """Yield balanced builds, each with roomy and with lean memories."""
    lanes = [(q, k, 64) for q in range(1, 17) for k in (1, 2, 4)] if device.target != "ice40" else []
    lanes += [(1, 1, dims) for dims in (2, 4, 8, 16, 32)]
    roomy = {"kv_banks": 2, "query_rows": 128, "survivor_fifo_depth": 512}
    for q, k, dims in lanes:
        rows = max(16, 4 * q)
        lean = {"kv_banks": 1, "query_rows": rows, "survivor_fifo_depth": 32, "heads": 16, "exp_frac_bits": 8,
                "reciprocal_bits": 8}
        for memories in (roomy, lean | {"kv_banks": 2}, lean):
            config = balanced_config(q, k, dims, keep=keep, keys=keys, causal=causal, **memories)
            if config is not None:
                yield config


def _limit(config: AttentionConfig, keep: float) -> float:
    """Return the pairs per cycle that the slowest unit allows, less what a single bank costs."""
    slices = max(config.cross_slices, config.value_slices)
    limit = min(config.pairs_per_cycle / config.dim_slices, 1 / (keep * slices))
    loading = config.head_dim / config.bus_bytes / config.max_seq_len
    return limit if config.kv_banks == 2 else 1 / (1 / limit + loading)


def _copies(config: AttentionConfig, device: Device, fill: float) -> int:
    """Return how many such cores a device holds."""
    area = total_area(estimate_area(config, device.target))
    counts = [fill * device.lut4 / area.lut4, fill * device.ff / area.ff, device.dsp / max(1.0, area.dsp),
              device.bram / max(1, area.bram)]
    return int(min(counts))


def _refusal(device: Device, keep: float, keys: int, causal: bool, fill: float) -> str:
    areas = [total_area(estimate_area(config, device.target)) for config in _candidates(device, keep, keys, causal)]
    smallest = min(areas, key=lambda area: (max(area.bram / device.bram, area.lut4 / (fill * device.lut4),
                                                area.ff / (fill * device.ff), area.dsp / device.dsp)))
    larger = [name for name, other in device_names().items() if other.lut4 > device.lut4 and any(
        _copies(config, other, fill) for config in _candidates(other, keep, keys, causal))]
    advice = f"the nearest device that can is {larger[0]}" if larger else "no device in the table can; lower --n"
    return (f"the {device.title} cannot hold even the smallest build for {keys} keys: {smallest.lut4:.0f} of "
            f"{fill * device.lut4:.0f} usable LUT4, {smallest.ff:.0f} of {fill * device.ff:.0f} flip-flops, "
            f"{smallest.dsp:.0f} of {device.dsp} multipliers, {smallest.bram} of {device.bram} block RAMs; {advice}")
