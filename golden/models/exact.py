"""The golden attention vectorised over batch and heads in torch: the same integers, in float where that is exact.

Float32 holds every estimate and score (below 2**24), float64 every weighted sum of values, so matrix products run at
the speed of the machine's BLAS; the exponent, which needs 38 bits, is int64 and computed for survivors only.
"""

import dataclasses

import torch

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import INTERPOLATION_BITS, NUMERATOR_FRAC_BITS, RECIPROCAL_FRAC_BITS, reciprocal_table
from latte.golden.pruned_mass import GAIN_FRAC_BITS, MASS_FRAC_BITS, UNIT_BITS, UNIT_FRAC_BITS
from latte.golden.quantizer import QK_MAX
from latte.golden.softmax import exp2_table

__all__ = ["HeadCodes", "TensorTrace", "compensate", "estimate_all", "finish", "group_sums", "key_membership",
           "power_tensor", "score_all", "split_tensor", "spread_over_groups", "threshold_keep", "visible_mask"]


@dataclasses.dataclass(frozen=True)
class HeadCodes:
    """Register file entries of the heads of one block; all int64 [batch, heads] (batch 1 when static).

    Parameters
    ----------
    tau, mantissa, shift
        As in `latte.golden.attention.HeadParameters`.
    denominator_gain, mean_gain
        As in `latte.golden.pruned_mass.Gains`; ``None`` runs without compensation.
    estimate_shift
        An estimate stands for a score of ``2**estimate_shift`` times as much: 8 with 4-bit halves.
    group_elements : [heads, bits] or ``None``
    group_cuts : [batch, heads, bits] or ``None``
        As in `latte.golden.key_groups.KeyGroups`; ``None`` is one group.
    """

    tau: torch.Tensor
    mantissa: torch.Tensor
    shift: torch.Tensor
    denominator_gain: torch.Tensor | None = None
    mean_gain: torch.Tensor | None = None
    estimate_shift: int = 8
    group_elements: torch.Tensor | None = None
    group_cuts: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class TensorTrace:
    """Intermediates of `latte.golden.attention.HeadTrace` and `CompensatedTrace`, batched; integer-valued tensors.

    Parameters
    ----------
    keep : bool [batch, heads, m, n]
    score_max, weight_sum : [batch, heads, m]
    weight : [batch, heads, m, n]
    accumulated, output : [batch, heads, m, d]
        The output is ``None`` only between `finish` and `compensate`.
    row_mass, mass, unit : [batch, heads, m, groups] or ``None``
    """

    keep: torch.Tensor
    score_max: torch.Tensor
    weight: torch.Tensor
    weight_sum: torch.Tensor
    accumulated: torch.Tensor
    output: torch.Tensor | None
    row_mass: torch.Tensor | None = None
    mass: torch.Tensor | None = None
    unit: torch.Tensor | None = None


def split_tensor(x: torch.Tensor, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (high, low) halves of integer-valued float32 elements, saturated at 119 as at the port."""
    x = x.clamp(max=QK_MAX)
    high = torch.floor((x + (8 if split == "balanced" else 0)) / 16)
    return high, x - 16 * high


def key_membership(k: torch.Tensor, elements: torch.Tensor | None, cuts: torch.Tensor | None) -> torch.Tensor:
    """Return which group each key belongs to, 0 or 1, float32 [batch, heads, n, groups].

    Parameters
    ----------
    k : float32 [batch, heads, n, d]
        At most 119 if integer-valued, as at the port.
    elements : int64 [heads, bits] or ``None``
    cuts : [batch or 1, heads, bits] or ``None``
        As in `latte.golden.key_groups.KeyGroups`, in units of `k`; ``None`` is one group.
    """
    if elements is None:
        return torch.ones(*k.shape[:-1], 1, device=k.device)
    batch, _, n, _ = k.shape
    chosen = k.gather(-1, elements[None, :, None, :].expand(batch, -1, n, -1))
    weights = 1 << torch.arange(elements.shape[-1], device=k.device)
    number = ((chosen > cuts[:, :, None, :]) * weights).sum(-1)
    return torch.nn.functional.one_hot(number, 1 << elements.shape[-1]).float()


def visible_mask(m: int, n: int, causal: bool, device: torch.device) -> torch.Tensor | None:
    """Return the bool [m, n] mask of visible keys, or ``None`` when all are."""
    return torch.ones(m, n, dtype=torch.bool, device=device).tril(n - m) if causal else None


def estimate_all(q_high: torch.Tensor, k_high: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return the estimates [batch, heads, m, n], minus infinity where a key is not visible."""
    estimate = q_high @ k_high.transpose(-1, -2)
    visible = visible_mask(*estimate.shape[-2:], causal, estimate.device)
    return estimate if visible is None else estimate.masked_fill_(~visible, -torch.inf)


def threshold_keep(estimate: torch.Tensor, tau: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (keep, row maximum): the golden threshold filter."""
    row_max = estimate.amax(-1)
    return estimate > (row_max - tau[..., None])[..., None], row_max


def score_all(q_halves: tuple[torch.Tensor, torch.Tensor], k_halves: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the compensated scores of all pairs in one product: ``16 q_h . k + q_l . 16 k_h``."""
    left = torch.cat([16 * q_halves[0], q_halves[1]], -1)
    right = torch.cat([16 * k_halves[0] + k_halves[1], 16 * k_halves[0]], -1)
    return left @ right.transpose(-1, -2)


def finish(score: torch.Tensor, keep: torch.Tensor, v: torch.Tensor, codes: HeadCodes, config: AttentionConfig,
           *, estimate: torch.Tensor | None = None, row_max: torch.Tensor | None = None,
           membership: torch.Tensor | None = None, causal: bool) -> TensorTrace:
    """Return softmax, P·V, compensation and normalisation of given scores and survivors.

    Parameters
    ----------
    score : float32 [batch, heads, m, n]
        Integer-valued; only survivors count.
    keep : bool [batch, heads, m, n]
    v : float32 [batch, heads, n, d]
        Integer-valued.
    codes
        With gains, `estimate`, `row_max` and `membership` are needed.
    membership : float32 [batch, heads, n, groups]
    """
    score_max = torch.where(keep, score, -torch.inf).amax(-1)
    weight = _weights(score, score_max, keep, codes, config)
    weight_sum = weight.sum(-1).to(torch.int64)
    accumulated = (weight.double() @ v.double()).to(torch.int64)
    score_max = score_max.to(torch.int64)
    trace = TensorTrace(keep, score_max, weight, weight_sum, accumulated, None)
    if codes.denominator_gain is None:
        return dataclasses.replace(trace, output=_normalize(accumulated, weight_sum, config))
    row_mass = _row_mass(estimate, row_max, keep, membership, codes, config)
    mass = _rescale(row_mass, row_max.to(torch.int64), score_max, codes, config)
    trace = compensate(trace, mass, v, membership, codes, config, causal=causal)
    return dataclasses.replace(trace, row_mass=row_mass)


def compensate(trace: TensorTrace, mass: torch.Tensor, v: torch.Tensor, membership: torch.Tensor, codes: HeadCodes,
               config: AttentionConfig, *, causal: bool) -> TensorTrace:
    """Return a trace with pruned mass given back to its denominator and, on its groups' mean values, to its output.

    Parameters
    ----------
    trace
        Of the survivors; its output is not needed.
    mass : int64 [batch, heads, m, groups]
        Relative to the largest surviving score, in weight steps.
    v : float32 [batch, heads, n, d]
    membership : float32 [batch, heads, n, groups]
    codes
        With gains.
    """
    keys, value_sum = group_sums(v, membership, trace.keep.shape[-2], causal)
    unit = _unit_weight(_gain(mass, codes.mean_gain[..., None]), keys.to(torch.int64), config)
    virtual = spread_over_groups(unit.double(), value_sum.double(), causal).to(torch.int64)
    accumulated = trace.accumulated + ((virtual + (1 << (UNIT_FRAC_BITS - 1))) >> UNIT_FRAC_BITS)
    weight_sum = trace.weight_sum + _gain(mass.sum(-1), codes.denominator_gain)
    return dataclasses.replace(trace, weight_sum=weight_sum, accumulated=accumulated, mass=mass, unit=unit,
                               output=_normalize(accumulated, weight_sum, config))


def group_sums(v: torch.Tensor, membership: torch.Tensor, m: int, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (visible keys, sum of their values) of each group for the last `m` rows; exact in float32 for int8 values.

    Parameters
    ----------
    v : [batch, heads, n, d]
    membership : [batch, heads, n, groups]

    Returns
    -------
    keys : [batch, heads, m, groups], or [batch, heads, 1, groups] if not causal
    sums : [batch, heads, m, groups, d], or [batch, heads, groups, d] if not causal
    """
    if not causal:
        return membership.sum(-2, keepdim=True), membership.transpose(-1, -2) @ v
    first = v.shape[-2] - m
    before, within = membership[..., :first, :], membership[..., first:, :]
    keys = before.sum(-2, keepdim=True) + within.cumsum(-2)
    sums = (within[..., None] * v[..., first:, None, :]).cumsum_(-3)
    return keys, sums.add_((before.transpose(-1, -2) @ v[..., :first, :])[..., None, :, :])


def spread_over_groups(weights: torch.Tensor, vectors: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return ``sum_g weights[g] * vectors[g]``, [batch, heads, m, d].

    Parameters
    ----------
    weights : [batch, heads, m, groups]
    vectors
        Shaped as the sums of `group_sums`.
    """
    return (weights[..., None, :] @ vectors).squeeze(-2) if causal else weights @ vectors


def _table(config: AttentionConfig, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(exp2_table(config.weight_bits, config.exp_frac_bits)).to(device)


def power_tensor(delta: torch.Tensor, mantissa: torch.Tensor, shift: torch.Tensor, config: AttentionConfig,
                 more_bits: int = 0) -> torch.Tensor:
    """Return weights as `latte.golden.softmax.power_of_two` does, int64, of `delta` below a row's largest score."""
    exponent = (delta * mantissa + ((1 << shift) >> 1)) >> shift
    octaves = (exponent >> config.exp_frac_bits).clamp_(max=config.weight_bits + 1 + more_bits)
    entry = _table(config, delta.device)[exponent & ((1 << config.exp_frac_bits) - 1)] << more_bits
    return (entry + ((1 << octaves) >> 1)) >> octaves


def _weights(score: torch.Tensor, score_max: torch.Tensor, keep: torch.Tensor, codes: HeadCodes,
             config: AttentionConfig) -> torch.Tensor:
    batch, heads, m, n = score.shape
    survivors = keep.flatten().nonzero().squeeze(1)
    row = survivors // n
    delta = (score_max.flatten()[row] - score.flatten()[survivors]).to(torch.int64)
    head = row // m
    mantissa, shift = (code.expand(batch, heads).flatten()[head] for code in (codes.mantissa, codes.shift))
    weight = torch.zeros(score.numel(), dtype=torch.float32, device=score.device)
    weight[survivors] = power_tensor(delta, mantissa, shift, config).float()
    return weight.view_as(score)


def _row_mass(estimate: torch.Tensor, row_max: torch.Tensor, keep: torch.Tensor, membership: torch.Tensor,
              codes: HeadCodes, config: AttentionConfig) -> torch.Tensor:
    batch, heads, m, n = estimate.shape
    gap = row_max[..., None] - estimate
    largest = int(torch.where(gap.isinf(), 0, gap).amax()) + 1
    mantissa, shift = (code.expand(batch, heads).reshape(-1, 1) for code in (codes.mantissa, codes.shift))
    if largest > m * n:  # a fine estimate has more gaps than there are pairs: no table
        pruned = (~keep & gap.isfinite()).view(batch * heads, m * n)
        delta = gap.view(batch * heads, m * n).masked_fill(~pruned, 0).to(torch.int64) << codes.estimate_shift
        weights = power_tensor(delta, mantissa, shift, config, MASS_FRAC_BITS) * pruned
        return _group_totals(weights.view(batch, heads, m, n), membership)
    steps = torch.arange(largest, device=gap.device) << codes.estimate_shift
    table = torch.nn.functional.pad(
        power_tensor(steps, mantissa, shift, config, MASS_FRAC_BITS).to(torch.int32), (0, 1))
    index = gap.clamp_(max=largest).masked_fill_(keep, largest).to(torch.int32).view(batch * heads, m * n)
    index += torch.arange(0, table.numel(), largest + 1, device=gap.device, dtype=torch.int32)[:, None]
    weights = table.flatten().index_select(0, index.flatten())
    return _group_totals(weights.view(batch, heads, m, n), membership)


def _group_totals(weights: torch.Tensor, membership: torch.Tensor) -> torch.Tensor:
    return (weights.double() @ membership.double()).to(torch.int64)


def _rescale(row_mass: torch.Tensor, row_max: torch.Tensor, score_max: torch.Tensor, codes: HeadCodes,
             config: AttentionConfig) -> torch.Tensor:
    mantissa, shift = codes.mantissa[..., None], codes.shift[..., None]
    exponent = (((score_max - (row_max << codes.estimate_shift)) * mantissa + ((1 << shift) >> 1)) >> shift)[..., None]
    entry = _table(config, row_mass.device)[exponent & ((1 << config.exp_frac_bits) - 1)]
    octaves = (exponent >> config.exp_frac_bits).clamp(-config.sum_bits, config.sum_bits)
    drop = MASS_FRAC_BITS + config.weight_bits + octaves
    right, left = drop.clamp(min=0), (-drop).clamp(min=0)
    scaled = (((row_mass * entry) << left) + ((1 << right) >> 1)) >> right
    return scaled.clamp(max=(1 << config.sum_bits) - 1)


def _gain(mass: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return (mass * gain[..., None] + (1 << (GAIN_FRAC_BITS - 1))) >> GAIN_FRAC_BITS


def _reciprocal(weight_sum: torch.Tensor, config: AttentionConfig) -> tuple[torch.Tensor, torch.Tensor]:
    exponent = torch.frexp(weight_sum.double())[1].to(torch.int64) - 1
    bits = config.reciprocal_bits + INTERPOLATION_BITS
    fraction = ((weight_sum << bits) >> exponent) - (1 << bits)
    base, slope = (torch.from_numpy(table).to(weight_sum.device) for table in reciprocal_table(config.reciprocal_bits))
    index, remainder = fraction >> INTERPOLATION_BITS, fraction & ((1 << INTERPOLATION_BITS) - 1)
    step = (slope[index] * remainder + (1 << (INTERPOLATION_BITS - 1))) >> INTERPOLATION_BITS
    return base[index] - step, exponent


def _unit_weight(mass: torch.Tensor, keys: torch.Tensor, config: AttentionConfig) -> torch.Tensor:
    mantissa, exponent = _reciprocal(keys.clamp(min=1), config)
    drop = RECIPROCAL_FRAC_BITS - UNIT_FRAC_BITS + exponent
    return ((mass * mantissa + (1 << (drop - 1))) >> drop).clamp(max=(1 << UNIT_BITS) - 1)


def _normalize(accumulated: torch.Tensor, weight_sum: torch.Tensor, config: AttentionConfig) -> torch.Tensor:
    mantissa, exponent = _reciprocal(weight_sum, config)
    numerator = (accumulated << NUMERATOR_FRAC_BITS) >> exponent[..., None]
    drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
    quotient = (numerator * mantissa[..., None] + (1 << (drop - 1))) >> drop
    limit = 1 << (config.out_bits - 1)
    return quotient.clamp(-limit, limit - 1)
