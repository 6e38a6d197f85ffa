"""One attention head, int8 Q/K/V in, output codes out, with every intermediate the hardware produces on the way."""

import dataclasses

import numpy as np

from latte.golden import quantizer
from latte.golden.compensation import compensate_scores, exact_scores
from latte.golden.config import AttentionConfig
from latte.golden.normalizer import normalize
from latte.golden.operands import check_head
from latte.golden.score_estimator import estimate_scores
from latte.golden.softmax import score_maximum, softmax_weights
from latte.golden.split import split_halves
from latte.golden.threshold_filter import row_maximum, threshold_filter, visible_keys
from latte.golden.value_accumulator import accumulate_values

__all__ = ["HeadParameters", "HeadTrace", "attend", "attend_dense", "dequantize"]


@dataclasses.dataclass(frozen=True)
class HeadParameters:
    """One entry of the head-wise register file.

    Parameters
    ----------
    tau
        Threshold in units of the estimate; all ones keeps every key.
    scale_mantissa, scale_shift
        Base-2 exponent of one score step, times ``2**exp_frac_bits``.
    """

    tau: int
    scale_mantissa: int
    scale_shift: int

    @classmethod
    def encode(cls, tau: float, q_scale: float, k_scale: float, config: AttentionConfig) -> "HeadParameters":
        """Encode real parameters (`tau` in units of the scaled score, scales in units of one int8 step)."""
        scale = quantizer.softmax_scale(q_scale, k_scale, config.head_dim)
        return cls(quantizer.tau_code(tau, q_scale, k_scale, config),
                   *quantizer.softmax_scale_code(scale, config))


@dataclasses.dataclass(frozen=True)
class HeadTrace:
    """What each block produced for ``m`` queries and ``n`` keys; all int64 unless said otherwise.

    Parameters
    ----------
    visible, keep : bool [m, n]
    estimate : [m, n]
        Of every pair; the hardware computes the visible ones. The dense baseline has the exact score here.
    row_max, score_max : [m]
        Largest visible estimate; largest surviving score.
    score, weight : [m, n]
        0 where not kept.
    weight_sum : [m]
    accumulated : [m, d]
    output : [m, d]
        Steps of ``2**-fraction_bits`` of one V step.
    saturated
        Whether an element of Q or K above 119 was saturated.
    """

    visible: np.ndarray
    estimate: np.ndarray
    row_max: np.ndarray
    keep: np.ndarray
    score: np.ndarray
    score_max: np.ndarray
    weight: np.ndarray
    weight_sum: np.ndarray
    accumulated: np.ndarray
    output: np.ndarray
    saturated: bool


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, parameters: HeadParameters, config: AttentionConfig,
           *, causal: bool) -> HeadTrace:
    """Compute attention of one head: LATTE (Algorithm 1), or dense if that is the configured engine.

    Parameters
    ----------
    q : int8 [m, d]
        The queries of the last ``m`` positions, ``m <= n`` when causal.
    k, v : int8 [n, d]
    parameters
        The head's entry of the register file.
    causal
        Query ``r`` sees keys ``0 .. n - m + r`` only.

    Raises
    ------
    LatteError
        The operands are no int8 rows of the configuration's head_dim, or do not fit each other.
    """
    if config.engine == "dense":
        return attend_dense(q, k, v, parameters, config, causal=causal)
    check_head(q, k, v, config, causal=causal)
    (q, q_saturated), (k, k_saturated) = quantizer.saturate_qk(q), quantizer.saturate_qk(k)
    q_halves, k_halves = split_halves(q, config.split), split_halves(k, config.split)
    visible = visible_keys(len(q), len(k), causal)
    estimate = estimate_scores(q_halves[0], k_halves[0])
    keep = threshold_filter(estimate, visible, parameters.tau)
    score = np.where(keep, compensate_scores(estimate, q_halves, k_halves), 0)
    return _finish(visible, estimate, keep, score, v, parameters, config, q_saturated or k_saturated)


def attend_dense(q: np.ndarray, k: np.ndarray, v: np.ndarray, parameters: HeadParameters, config: AttentionConfig,
                 *, causal: bool) -> HeadTrace:
    """Compute dense 8-bit attention of one head: exact scores, every visible key kept, same softmax and division.

    Shapes and errors as of `attend`.
    """
    check_head(q, k, v, config, causal=causal)
    (q, q_saturated), (k, k_saturated) = quantizer.saturate_qk(q), quantizer.saturate_qk(k)
    visible = visible_keys(len(q), len(k), causal)
    exact = exact_scores(q, k)
    return _finish(visible, exact, visible, np.where(visible, exact, 0), v, parameters, config,
                   q_saturated or k_saturated)


def _finish(visible: np.ndarray, estimate: np.ndarray, keep: np.ndarray, score: np.ndarray, v: np.ndarray,
            parameters: HeadParameters, config: AttentionConfig, saturated: bool) -> HeadTrace:
    scale_code = (parameters.scale_mantissa, parameters.scale_shift)
    weight = softmax_weights(score, keep, scale_code, config)
    accumulated, weight_sum = accumulate_values(weight, v)
    return HeadTrace(
        visible=visible, estimate=estimate, row_max=row_maximum(estimate, visible), keep=keep, score=score,
        score_max=score_maximum(score, keep), weight=weight, weight_sum=weight_sum, accumulated=accumulated,
        output=normalize(accumulated, weight_sum, config), saturated=saturated)


def dequantize(output: np.ndarray, v_scale: float, config: AttentionConfig) -> np.ndarray:
    """Return output codes as float32 values, ``output * 2**-fraction_bits * v_scale``."""
    return (output * (float(v_scale) / (1 << config.fraction_bits))).astype(np.float32)
