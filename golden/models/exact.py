"""The golden attention vectorised over batch and heads in torch: the same integers, in float where that is exact.

Float32 holds every estimate and score (below 2**24), float64 every weighted sum of values, so matrix products run at
the speed of the machine's BLAS; the exponent, which needs 38 bits, is int64 and computed for survivors only.
"""

import dataclasses

import torch

from latte.golden.config import AttentionConfig
from latte.golden.normalizer import INTERPOLATION_BITS, NUMERATOR_FRAC_BITS, RECIPROCAL_FRAC_BITS, reciprocal_table
from latte.golden.pruned_mass import GAIN_FRAC_BITS, MASS_FRAC_BITS, UNIT_BITS, UNIT_FRAC_BITS
from latte.golden.quantizer import MASS_KEEP_ALL, THETA_FRAC_BITS
from latte.golden.softmax import exp2_table
from latte.golden.thresholds import ThresholdKind

__all__ = ["Filtered", "HeadCodes", "TensorTrace", "attend_survivors", "compensate", "estimate_all", "filter_rows",
           "finish", "group_sums", "key_membership", "normalize_trace", "power_tensor", "row_octaves", "score_all",
           "split_tensor", "spread_over_groups", "visible_mask"]

SURVIVOR_CHUNK = 1 << 16
"""Of survivors that get their weights at a time: what a step leaves for the next stays in the processor's cache."""


@dataclasses.dataclass(frozen=True)
class HeadCodes:
    """Register file entries of the heads of one block; all int64 [batch, heads] (batch 1 when static).

    Parameters
    ----------
    threshold : [batch, heads, LENGTH_OCTAVES]
        As in `latte.golden.thresholds.Threshold`.
    mantissa, shift
        As in `latte.golden.attention.HeadParameters`.
    kind
        Of the thresholds.
    denominator_gain, mean_gain
        As in `latte.golden.pruned_mass.Gains`; ``None`` runs without compensation.
    group_elements : [heads, bits] or ``None``
    group_cuts : [batch, heads, bits] or ``None``
        As in `latte.golden.key_groups.KeyGroups`; ``None`` is one group.
    """

    threshold: torch.Tensor
    mantissa: torch.Tensor
    shift: torch.Tensor
    kind: ThresholdKind = ThresholdKind.RELATIVE
    denominator_gain: torch.Tensor | None = None
    mean_gain: torch.Tensor | None = None
    group_elements: torch.Tensor | None = None
    group_cuts: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Filtered:
    """What the filter knows of each row.

    Parameters
    ----------
    estimate : float32 [batch, heads, m, n]
        Integer-valued; minus infinity where not visible.
    row_max : float32 [batch, heads, m]
    keep : bool [batch, heads, m, n]
    weight : int32 [batch, heads, m, n] or ``None``
        `latte.golden.pruned_mass.gap_weights` of every visible key, 0 of others; where thresholds by mass or gains
        need them.
    """

    estimate: torch.Tensor
    row_max: torch.Tensor
    keep: torch.Tensor
    weight: torch.Tensor | None


@dataclasses.dataclass(frozen=True)
class TensorTrace:
    """Intermediates of `latte.golden.attention.HeadTrace`, batched; integer-valued tensors.

    Parameters
    ----------
    keep : bool [batch, heads, m, n]
    score_max, weight_sum : [batch, heads, m]
    weight : [batch, heads, m, n]
    accumulated, output : [batch, heads, m, d]
        The output is ``None`` only between `attend_survivors` and `compensate`.
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


def split_tensor(x: torch.Tensor, config: AttentionConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (high, low) parts of integer-valued float32 elements, saturated at `qk_max` as at the port."""
    x, step = x.clamp(max=config.qk_max), 1 << (8 - config.estimate_bits)
    high = torch.floor((x + (step // 2 if config.split == "balanced" else 0)) / step)
    return high, x - step * high


def key_membership(k: torch.Tensor, elements: torch.Tensor | None, cuts: torch.Tensor | None) -> torch.Tensor:
    """Return which group each key belongs to, 0 or 1, float32 [batch, heads, n, groups].

    Parameters
    ----------
    k : float32 [batch, heads, n, d]
        At most `qk_max` if integer-valued, as at the port.
    elements : int64 [heads, bits] or ``None``
    cuts : [batch or 1, heads, bits] or ``None``
        As in `latte.golden.key_groups.KeyGroups`, in units of `k`; ``None`` is one group.
    """
    if elements is None or cuts is None:
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
    visible = visible_mask(q_high.shape[-2], k_high.shape[-2], causal, estimate.device)
    return estimate if visible is None else estimate.masked_fill_(~visible, -torch.inf)


def filter_rows(estimate: torch.Tensor, codes: HeadCodes, config: AttentionConfig, causal: bool) -> Filtered:
    """Return the golden filter's survivors: `latte.golden.row_limit` and `latte.golden.threshold_filter`.

    Parameters
    ----------
    estimate : float32 [batch, heads, m, n]
        As of `estimate_all`.
    """
    row_max = estimate.amax(-1)
    gap = row_max[..., None] - estimate
    m, n = estimate.shape[-2:]
    threshold = codes.threshold[..., row_octaves(m, n, causal).to(estimate.device)]
    if codes.kind is ThresholdKind.MASS:
        weight = _gap_weights(gap, codes, config)
        least = _mass_threshold(_mass(weight, config), threshold)
        # The difference is below 2**31 where it matters: a weight has 18 bits.
        keep = (weight > least.clamp(max=1 << 30).to(torch.int32)[..., None]).logical_or_(gap == 0)
        if causal:
            keep.logical_and_(gap.isfinite())
    else:
        weight = None if codes.denominator_gain is None else _gap_weights(gap, codes, config)
        limit = threshold if codes.kind is ThresholdKind.RELATIVE else row_max.to(torch.int64) - threshold
        keep = gap < limit.clamp(min=1)[..., None]
    return Filtered(estimate, row_max, keep, weight)


def _mass(weight: torch.Tensor, config: AttentionConfig) -> torch.Tensor:
    """Return the sums over keys of gap weights, int64; added up in int32, which is faster, where that holds them."""
    held = weight.shape[-1] << (config.weight_bits + MASS_FRAC_BITS) <= 1 << 31
    return weight.sum(-1, dtype=torch.int32 if held else torch.int64).to(torch.int64)


def row_octaves(m: int, n: int, causal: bool) -> torch.Tensor:
    """Return ``floor(log2(visible keys))`` of the last `m` rows of `n` keys, int64 [m]."""
    visible = torch.arange(n - m + 1, n + 1) if causal else torch.full((m,), n)
    return torch.frexp(visible.double())[1].to(torch.int64) - 1


def _mass_threshold(mass: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Return `latte.golden.row_limit.mass_threshold`."""
    step = codes & ((1 << THETA_FRAC_BITS) - 1)
    drop = (THETA_FRAC_BITS + 1 + (codes >> THETA_FRAC_BITS)).clamp(max=62)
    return ((mass * ((2 << THETA_FRAC_BITS) - step)) >> drop).masked_fill_(codes == MASS_KEEP_ALL, -1)


def score_all(q_parts: tuple[torch.Tensor, torch.Tensor], k_parts: tuple[torch.Tensor, torch.Tensor],
              config: AttentionConfig) -> torch.Tensor:
    """Return the compensated scores of all pairs in one product: ``16 q_h . k + q_l . 16 k_h`` with 4-bit halves."""
    step = 1 << (8 - config.estimate_bits)
    left = torch.cat([step * q_parts[0], q_parts[1]], -1)
    right = torch.cat([step * k_parts[0] + k_parts[1], step * k_parts[0]], -1)
    return left @ right.transpose(-1, -2)


def finish(score: torch.Tensor, rows: Filtered, v: torch.Tensor, codes: HeadCodes, config: AttentionConfig, *,
           membership: torch.Tensor, causal: bool) -> TensorTrace:
    """Return softmax, P·V, compensation and normalisation of given scores and survivors.

    Parameters
    ----------
    score : float32 [batch, heads, m, n]
        Integer-valued; only survivors count.
    rows
        Of the filter.
    v : float32 [batch, heads, n, d]
        Integer-valued.
    membership : float32 [batch, heads, n, groups]
        For codes with gains.
    """
    trace = attend_survivors(score, rows.keep, v, codes, config)
    if rows.weight is None or codes.denominator_gain is None or codes.mean_gain is None:
        return normalize_trace(trace, config)
    pruned = rows.weight.masked_fill(rows.keep, 0)
    row_mass = (pruned.double() @ membership.double()).to(torch.int64)
    mass = _rescale(row_mass, rows.row_max.to(torch.int64), trace.score_max, codes, config)
    gains = codes.denominator_gain, codes.mean_gain
    trace = compensate(trace, mass, v, membership, gains, config, causal=causal)
    return dataclasses.replace(trace, row_mass=row_mass)


def attend_survivors(score: torch.Tensor, keep: torch.Tensor, v: torch.Tensor, codes: HeadCodes,
                     config: AttentionConfig) -> TensorTrace:
    """Return softmax and P·V of survivors, without output yet; the arguments are those of `finish`."""
    score_max = torch.where(keep, score, -torch.inf).amax(-1)
    weight = _weights(score, score_max, keep, codes, config)
    accumulated = (weight.double() @ v.double()).to(torch.int64)
    return TensorTrace(keep, score_max.to(torch.int64), weight, weight.sum(-1).to(torch.int64), accumulated, None)


def compensate(trace: TensorTrace, mass: torch.Tensor, v: torch.Tensor, membership: torch.Tensor,
               gains: tuple[torch.Tensor, torch.Tensor], config: AttentionConfig, *, causal: bool) -> TensorTrace:
    """Return a trace with pruned mass given back to its denominator and, on its groups' mean values, to its output.

    Parameters
    ----------
    trace
        Of the survivors; its output is not needed.
    mass : int64 [batch, heads, m, groups]
        Relative to the largest surviving score, in weight steps.
    v : float32 [batch, heads, n, d]
    membership : float32 [batch, heads, n, groups]
    gains
        Denominator's and mean's, as in `HeadCodes`.
    """
    denominator_gain, mean_gain = gains
    keys, value_sum = group_sums(v, membership, trace.keep.shape[-2], causal)
    unit = _unit_weight(_gain(mass, mean_gain[..., None]), keys.to(torch.int64), config)
    virtual = spread_over_groups(unit.double(), value_sum.double(), causal).to(torch.int64)
    accumulated = trace.accumulated + ((virtual + (1 << (UNIT_FRAC_BITS - 1))) >> UNIT_FRAC_BITS)
    weight_sum = trace.weight_sum + _gain(mass.sum(-1), denominator_gain)
    restored = dataclasses.replace(trace, weight_sum=weight_sum, accumulated=accumulated, mass=mass, unit=unit)
    return normalize_trace(restored, config)


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
    score, score_max = score.flatten(), score_max.flatten()
    mantissa, shift = (code.expand(batch, heads).flatten() for code in (codes.mantissa, codes.shift))
    weight = torch.zeros_like(score)
    for survivors in keep.flatten().nonzero().squeeze(1).split(SURVIVOR_CHUNK):
        row = survivors // n
        delta = (score_max[row] - score[survivors]).to(torch.int64)
        head = row // m
        weight[survivors] = power_tensor(delta, mantissa[head], shift[head], config).float()
    return weight.view(batch, heads, m, n)


def _gap_weights(gap: torch.Tensor, codes: HeadCodes, config: AttentionConfig) -> torch.Tensor:
    """Return `latte.golden.pruned_mass.gap_weights` of each gap, 0 of an infinite one, int32 of the same shape."""
    batch, heads, m, n = gap.shape
    flat = gap.reshape(batch * heads, m * n)
    seen = torch.where(flat.isinf(), 0, flat)
    largest = int(seen.amax()) + 1
    mantissa, shift = (code.expand(batch, heads).reshape(-1, 1) for code in (codes.mantissa, codes.shift))
    if largest > m * n:  # more gaps than pairs: no table
        delta = seen.to(torch.int64) << config.estimate_shift
        weights = power_tensor(delta, mantissa, shift, config, MASS_FRAC_BITS).to(torch.int32)
        return weights.masked_fill_(flat.isinf(), 0).view(gap.shape)
    steps = torch.arange(largest, device=gap.device) << config.estimate_shift
    table = torch.nn.functional.pad(
        power_tensor(steps, mantissa, shift, config, MASS_FRAC_BITS).to(torch.int32), (0, 1))
    index = flat.clamp(max=largest).to(torch.int32)
    index += torch.arange(0, table.numel(), largest + 1, device=gap.device, dtype=torch.int32)[:, None]
    return table.flatten().index_select(0, index.flatten()).view(gap.shape)


def _rescale(row_mass: torch.Tensor, row_max: torch.Tensor, score_max: torch.Tensor, codes: HeadCodes,
             config: AttentionConfig) -> torch.Tensor:
    mantissa, shift = codes.mantissa[..., None], codes.shift[..., None]
    exponent = (((score_max - (row_max << config.estimate_shift)) * mantissa + ((1 << shift) >> 1)) >> shift)[..., None]
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


def normalize_trace(trace: TensorTrace, config: AttentionConfig) -> TensorTrace:
    """Return the trace with its output, as `latte.golden.normalizer.normalize` gives it."""
    mantissa, exponent = _reciprocal(trace.weight_sum, config)
    numerator = (trace.accumulated << NUMERATOR_FRAC_BITS) >> exponent[..., None]
    drop = RECIPROCAL_FRAC_BITS + NUMERATOR_FRAC_BITS - config.fraction_bits
    quotient = (numerator * mantissa[..., None] + (1 << (drop - 1))) >> drop
    limit = 1 << (config.out_bits - 1)
    return dataclasses.replace(trace, output=quotient.clamp(-limit, limit - 1))
