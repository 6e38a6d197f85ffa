"""One attention head, int8 Q/K/V in, output codes out, with every intermediate the hardware produces on the way."""

import dataclasses

import numpy as np

from latte.golden import quantizer
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.normalizer import normalize
from latte.golden.operands import check_head
from latte.golden.pruned_mass import (
    GAP_TABLE_SIZE,
    NO_COMPENSATION,
    Gains,
    accumulate_virtual_survivors,
    apply_gain,
    group_value_sums,
    pruned_mass,
    rescale_mass,
    table_holds,
    unit_weight,
)
from latte.golden.row_limit import row_limits
from latte.golden.score_estimator import estimate_scores, integer_matmul
from latte.golden.scores import exact_scores, refine_scores
from latte.golden.softmax import score_maximum, softmax_weights
from latte.golden.split import split_halves
from latte.golden.threshold_filter import row_maximum, threshold_filter, visible_keys
from latte.golden.thresholds import Threshold, ThresholdKind
from latte.golden.value_accumulator import accumulate_values

__all__ = ["HeadParameters", "HeadTrace", "attend", "dequantize"]


@dataclasses.dataclass(frozen=True)
class HeadParameters:
    """One entry of the head-wise register file.

    Parameters
    ----------
    threshold
        Which keys survive.
    scale_mantissa, scale_shift
        Base-2 exponent of one score step, times ``2**exp_frac_bits``.
    gains
        Of the pruned keys' mass; `NO_COMPENSATION` gives nothing back.
    groups
        Of keys whose mean value stands for the pruned ones.
    """

    threshold: Threshold
    scale_mantissa: int
    scale_shift: int
    gains: Gains = NO_COMPENSATION
    groups: KeyGroups = ONE_GROUP

    @classmethod
    def encode(cls, tau: float, q_scale: float, k_scale: float, config: AttentionConfig, *,
               kind: ThresholdKind = ThresholdKind.RELATIVE, tau_per_octave: float = 0.0,
               gains: Gains = NO_COMPENSATION, groups: KeyGroups = ONE_GROUP) -> "HeadParameters":
        """Encode real parameters (`tau` in units of the scaled score, scales in units of one int8 step)."""
        scale = quantizer.softmax_scale(q_scale, k_scale, config.head_dim)
        return cls(Threshold.encode(kind, tau, q_scale, k_scale, config, tau_per_octave),
                   *quantizer.softmax_scale_code(scale, config), gains, groups)

    def registers(self, config: AttentionConfig) -> dict[str, int]:
        """Return the entry's fields as a build of `config` holds them (`latte.rtl.common.entry_words`).

        The dense baseline has no filter and nothing to compensate: it takes any threshold and any gains.

        Raises
        ------
        LatteError
            The build has no hardware for the entry's kind of threshold, its codes by length, its gains or its groups;
            holds no such code, or element of a key; or its softmax scale is too small for a table of weights, which
            thresholds by mass and gains need.
        """
        if config.engine != "dense":
            self._check_build(config)
        kind, groups = self.threshold.kind, self.groups
        fields = {"scale_shift": self.scale_shift, "scale_mantissa": self.scale_mantissa,
                  "kind": list(ThresholdKind).index(kind),
                  "group_bits": len(groups.elements) if config.key_groups else 0,
                  "denominator_gain": self.gains.denominator, "mean_gain": self.gains.mean}
        for bit in range(config.group_bits):
            used = bit < len(groups.elements)
            fields |= {f"element_{bit}": groups.elements[bit] if used else 0,
                       f"cut_{bit}": groups.cuts[bit] if used else 0}
        codes = {f"code_{octave}": self.threshold.codes[octave] for octave in config.code_octaves}
        fields |= codes or {"tau": self.threshold.codes[0]}
        if config.engine == "dense":
            fields |= {"kind": 0, "group_bits": 0, "tau": 1}
        return fields

    def _check_build(self, config: AttentionConfig) -> None:
        kind, codes = self.threshold.kind, self.threshold.codes[:config.max_seq_len.bit_length()]
        if kind not in config.threshold_kinds:
            raise LatteError(f"configuration {config.name!r} has no thresholds of kind {kind}, only "
                             f"{' and '.join(config.threshold_kinds)}; build it with --threshold-kinds "
                             f"{','.join((*config.threshold_kinds, kind))}, or use latte eval")
        if not config.code_octaves and len(set(codes)) > 1:
            raise LatteError(f"configuration {config.name!r} has thresholds that are the same at every length, not "
                             "ones that depend on it (tau_per_octave); build it with --threshold-kinds relative,mass, "
                             "or use latte eval")
        if self.gains != NO_COMPENSATION and not config.key_groups:
            raise LatteError(f"configuration {config.name!r} has no compensation of pruned keys, which these gains "
                             f"need; build it with --key-groups {self.groups.count}, or use latte eval")
        if config.key_groups and self.groups.count > config.key_groups:
            raise LatteError(f"configuration {config.name!r} has at most {config.key_groups} groups of keys, not "
                             f"{self.groups.count}; build it with --key-groups {self.groups.count}")
        low, high = kind.code_range(config)
        # A relative code of 0 is held as 1.
        wrong = [code for code in codes if not min(low, 0) <= code <= high]
        if wrong:
            raise LatteError(f"configuration {config.name!r} holds threshold codes of kind {kind} from {low} to "
                             f"{high}, not {wrong[0]}; encode the threshold for it")
        if config.key_groups and any(element >= config.head_dim for element in self.groups.elements):
            raise LatteError(f"key groups compare elements {self.groups.elements} of keys that have {config.head_dim}; "
                             "they are of another model")
        weighs = kind is ThresholdKind.MASS or self.gains != NO_COMPENSATION
        if weighs and not table_holds(self.scale_code, config):
            raise LatteError(f"the softmax scale {self.scale_mantissa} / 2**{self.scale_shift} is too small for the "
                             f"hardware's table of {GAP_TABLE_SIZE} weights, which thresholds by mass and gains need; "
                             "use a relative threshold without gains for this head")

    def with_tau(self, code: int) -> "HeadParameters":
        """Return the entry with a relative threshold of that code."""
        return dataclasses.replace(self, threshold=Threshold.relative(code))

    @property
    def scale_code(self) -> tuple[int, int]:
        """(mantissa, shift) of the softmax scale."""
        return self.scale_mantissa, self.scale_shift


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
    row_mass, mass : [m, groups]
        Pruned mass relative to the largest estimate, in ``2**-MASS_FRAC_BITS`` weight steps; relative to the largest
        surviving score, in weight steps. Zero without compensation, as `unit` and `value_sum` then are.
    unit : [m, groups]
        Weights of the virtual survivors, ``2**-UNIT_FRAC_BITS`` of a weight step.
    value_sum : [m, groups, d]
        Sums of the visible values: the virtual survivors' value vectors.
    weight_sum : [m]
    accumulated : [m, d]
        Of survivors, virtual ones included.
    output : [m, d]
        Steps of ``2**-fraction_bits`` of one V step.
    saturated
        Whether an element of Q or K above `qk_max` was saturated.
    """

    visible: np.ndarray
    estimate: np.ndarray
    row_max: np.ndarray
    keep: np.ndarray
    score: np.ndarray
    score_max: np.ndarray
    weight: np.ndarray
    row_mass: np.ndarray
    mass: np.ndarray
    unit: np.ndarray
    value_sum: np.ndarray
    weight_sum: np.ndarray
    accumulated: np.ndarray
    output: np.ndarray
    saturated: bool


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, parameters: HeadParameters, config: AttentionConfig,
           *, causal: bool) -> HeadTrace:
    """Compute attention of one head: LATTE (Algorithm 1) with compensation, or dense if that is the configured engine.

    Parameters
    ----------
    q : int8 [m, d]
        The queries of the last ``m`` positions, ``m <= n`` when causal.
    k, v : int8 [n, d]
    parameters
        The head's entry of the register file; the dense baseline takes its softmax scale only.
    causal
        Query ``r`` sees keys ``0 .. n - m + r`` only.

    Raises
    ------
    LatteError
        The operands are no int8 rows of the configuration's head_dim, or do not fit each other.
    """
    check_head(q, k, v, config, causal=causal)
    (q, q_saturated), (k, k_saturated) = (quantizer.saturate_qk(x, config.qk_max) for x in (q, k))
    visible = visible_keys(len(q), len(k), causal)
    if config.engine == "dense":
        estimate = exact_scores(q, k)
        row_max, keep, score = row_maximum(estimate, visible), visible, np.where(visible, estimate, 0)
        gains, groups = NO_COMPENSATION, ONE_GROUP
    else:
        bits, gains, groups = config.estimate_bits, parameters.gains, parameters.groups
        q_parts, k_parts = (split_halves(x, config.split, bits) for x in (q, k))
        estimate = estimate_scores(q_parts[0], k_parts[0])
        row_max = row_maximum(estimate, visible)
        limit = row_limits(parameters.threshold, estimate, visible, row_max, parameters.scale_code, config)
        keep = threshold_filter(estimate, visible, limit)
        score = np.where(keep, refine_scores(estimate, q_parts, k_parts, bits), 0)
    weight = softmax_weights(score, keep, parameters.scale_code, config)
    accumulated, weight_sum = accumulate_values(weight, v)
    score_max = score_maximum(score, keep)
    row_mass = mass = unit = np.zeros((len(q), groups.count), np.int64)
    value_sum = np.zeros((len(q), groups.count, v.shape[1]), np.int64)
    if gains != NO_COMPENSATION:
        membership = groups.membership(k)
        row_mass = pruned_mass(estimate, row_max, visible & ~keep, membership, parameters.scale_code, config)
        mass = rescale_mass(row_mass, row_max, score_max, parameters.scale_code, config)
        unit = unit_weight(apply_gain(mass, gains.mean), integer_matmul(visible, membership), config)
        value_sum = group_value_sums(v, visible, membership)
        accumulated = accumulate_virtual_survivors(accumulated, unit, value_sum)
        weight_sum = weight_sum + apply_gain(mass.sum(axis=1), gains.denominator)
    return HeadTrace(visible, estimate, row_max, keep, score, score_max, weight, row_mass, mass, unit, value_sum,
                     weight_sum, accumulated, normalize(accumulated, weight_sum, config), q_saturated or k_saturated)


def dequantize(output: np.ndarray, v_scale: float, config: AttentionConfig) -> np.ndarray:
    """Return output codes as float32 values, ``output * 2**-fraction_bits * v_scale``."""
    return (output * (float(v_scale) / (1 << config.fraction_bits))).astype(np.float32)
