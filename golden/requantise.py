"""Vectors as a host with static scales and smoothing would have quantised them."""

import dataclasses
from typing import Any

import numpy as np

from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.quantizer import V_MAX
from latte.golden.smoothing import smooth_operands
from latte.golden.vectors import VectorSet

__all__ = ["prune_as_learned", "requantise"]


def requantise(vectors: VectorSet, scales: dict[str, np.ndarray], estimate_bits: int,
               smoothing: tuple[np.ndarray, np.ndarray] | None = None) -> dict[str, Any]:
    """Return operands and scales of `vectors` in other units, by their names.

    Parameters
    ----------
    scales : dict of float [H]
        ``q_scale``, ``k_scale``, ``v_scale``; elements beyond their range saturate.
    estimate_bits
        Decides the largest code of Q and K.
    smoothing : (key_offset, channel_scale), float [H, d] each, or None
    """
    qk_max = preset("small", estimate_bits=estimate_bits).qk_max
    real = {name: getattr(vectors, name) * getattr(vectors, f"{name}_scale").astype(np.float64)[:, None, None]
            for name in "qkv"}
    if smoothing is not None:
        real["q"], real["k"] = smooth_operands(real["q"], real["k"], *smoothing)
    changed: dict[str, Any] = {}
    for name, limit in (("q", qk_max), ("k", qk_max), ("v", V_MAX)):
        scale = np.asarray(scales[f"{name}_scale"], np.float32)
        codes = np.rint(real[name] / scale.astype(np.float64)[:, None, None])
        changed |= {name: np.clip(codes, -limit, limit).astype(np.int8), f"{name}_scale": scale}
    return changed


def prune_as_learned(vectors: VectorSet, model: str, name: str, learned: Thresholds) -> VectorSet:
    """Return `vectors` with the scales, smoothing, thresholds, gains and key groups of a model's learned thresholds.

    Parameters
    ----------
    vectors
        Of that model.
    model
        The thresholds' model.
    name
        Of the thresholds, appended to the set's model name.
    learned

    Raises
    ------
    LatteError
        The vectors are of another model, or the thresholds have no static scales.
    """
    if not vectors.of_model(model):
        raise LatteError(f"the thresholds are of {model}, but the vectors are of {vectors.model}; give thresholds or "
                         "vectors of one model")
    if learned.q_scale is None:
        raise LatteError(f"thresholds {name} of {model} have no static scales, which vectors need; add them with latte "
                         "calibrate --thresholds FILE")

    def of_heads(values: np.ndarray | None, dtype: type) -> np.ndarray | None:
        return None if values is None else values[vectors.block, vectors.head].astype(dtype)

    smoothing = None
    if learned.key_offset is not None and learned.channel_scale is not None:
        smoothing = (learned.key_offset[vectors.block, vectors.head],
                     learned.channel_scale[vectors.block, vectors.head])
    scales = {scale: getattr(learned, scale)[vectors.block, vectors.head]
              for scale in ("q_scale", "k_scale", "v_scale")}
    return dataclasses.replace(
        vectors, **requantise(vectors, scales, learned.estimate_bits, smoothing), model=f"{vectors.model}-{name}",
        threshold=learned.kind,
        tau=learned.tau[vectors.block, vectors.head].astype(np.float32),
        tau_per_octave=of_heads(learned.tau_per_octave, np.float32),
        denominator_gain=of_heads(learned.denominator_gain, np.float32),
        mean_gain=of_heads(learned.mean_gain, np.float32),
        group_elements=of_heads(learned.group_elements, np.int32),
        group_cuts=of_heads(learned.group_cuts, np.float32))
