"""Every way to run a model's attention that is compared, by name, as a handler for the hook."""

import dataclasses
import math

import numpy as np
import torch

from latte.golden.bit_operations import CROSS_BITOPS, DENSE_BITOPS, ESTIMATE_BITOPS, VALUE_BITOPS
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.filters import (
    A3,
    Dense,
    Elsa,
    Energon,
    FilterInput,
    KeyFilter,
    Latte,
    LatteExactProduct,
    TopK,
    TopTheta,
)
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import HeadCodes, finish, score_all, split_tensor, visible_mask
from latte.golden.models.hardware import HardwareAttention, PairCounter, Thresholds, quantize_tensor, scale_codes
from latte.golden.models.hook import Handler, float_attention
from latte.golden.pruned_mass import UNIT_BITS
from latte.golden.quantizer import QK_MAX, V_MAX
from latte.golden.train.state import load_theta

__all__ = ["FilterAttention", "Measured", "build_method", "parse_filter"]

VALUE_SUM_BITS = 18


class FilterAttention:
    """Attention handler with a golden `KeyFilter`, then the integer softmax and P·V of the accelerator.

    Parameters
    ----------
    key_filter
    config
    counter
        Receives pairs and, in `work`, the filter's bit operations.
    """

    def __init__(self, key_filter: KeyFilter, config: AttentionConfig, counter: PairCounter) -> None:
        self.key_filter, self.config, self.counter = key_filter, config, counter
        self.work = 0

    def __call__(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the dequantised output [batch, heads, m, d]."""
        (q_code, q_scale), (k_code, k_scale) = quantize_tensor(q, QK_MAX), quantize_tensor(k, QK_MAX)
        v_code, v_scale = quantize_tensor(v, V_MAX)
        step = q_scale * k_scale / math.sqrt(self.config.head_dim)
        m, n = q.shape[-2], k.shape[-2]
        visible = visible_mask(m, n, causal, q.device)
        visible = np.ones((m, n), bool) if visible is None else visible.cpu().numpy()
        keep, work = self.key_filter.select(FilterInput(
            q_code.cpu().numpy().astype(np.int8), k_code.cpu().numpy().astype(np.int8), visible, step.cpu().numpy(),
            block))
        keep = torch.from_numpy(np.ascontiguousarray(keep)).to(q.device)
        self.work += work
        if self.key_filter.reuses_estimate:
            score = score_all(split_tensor(q_code, self.config.split), split_tensor(k_code, self.config.split))
        else:
            score = q_code @ k_code.transpose(-1, -2)
        mantissa, shift = scale_codes(step * math.log2(math.e), self.config)
        trace = finish(score, keep, v_code, HeadCodes(torch.zeros_like(mantissa), mantissa, shift), self.config,
                       causal=causal)
        self.counter.observe(block, keep, score, step, causal)
        return (trace.output.double() * (v_scale / (1 << self.config.fraction_bits))[..., None, None]).to(q.dtype)


@dataclasses.dataclass
class Measured:
    """A handler with what it counts.

    Parameters
    ----------
    handler
    counter
        ``None`` for the float model.
    """

    handler: Handler
    counter: PairCounter | None

    def bit_operations(self, head_dim: int, rows: int) -> int:
        """Return the products of all heads since the beginning, in bit operations.

        Parameters
        ----------
        rows
            Query rows of all heads and blocks: each pays for one virtual survivor where there is compensation.
        """
        visible, kept = int(self.counter.visible.sum()), int(self.counter.kept.sum())
        if isinstance(self.handler, FilterAttention):
            return self.handler.work + self.handler.key_filter.survivor_bitops() * head_dim * kept
        work = head_dim * (ESTIMATE_BITOPS * visible + (CROSS_BITOPS + VALUE_BITOPS) * kept)
        if self.handler.thresholds.denominator_gain is not None:
            work += head_dim * UNIT_BITS * VALUE_SUM_BITS * rows
        return work

    def dense_bit_operations(self, head_dim: int) -> int:
        """Return what dense 8-bit attention would take on the visible pairs."""
        return DENSE_BITOPS * head_dim * int(self.counter.visible.sum())


def parse_filter(text: str, thresholds: Thresholds | None, split: str) -> KeyFilter:
    """Return the filter of ``name`` or ``name:number[,number]``.

    ``dense``, ``top-k:KEEP``, ``energon:ALPHA2,ALPHA4``, ``elsa:THRESHOLD``, ``a3:ITERATIONS,MARGIN``,
    ``latte-exact`` and ``latte-bits:BITS`` (the last two with the thresholds given).

    Raises
    ------
    LatteError
        The name or its numbers cannot be understood.
    """
    name, _, numbers = text.partition(":")
    try:
        values = [float(number) for number in numbers.split(",")] if numbers else []
        if name == "dense" and not values:
            return Dense()
        if name == "top-k" and len(values) == 1 and 0 < values[0] <= 1:
            return TopK(values[0])
        if name == "energon" and len(values) == 2 and all(-1 < value < 1 for value in values):
            return Energon((values[0], values[1]))
        if name == "elsa" and len(values) == 1:
            return Elsa(values[0])
        if name == "a3" and len(values) == 2 and values[0] > 0:
            return A3(*values)
        if name == "latte-exact" and not values and thresholds is not None:
            return LatteExactProduct(thresholds.tau, split=split)
        if name == "latte-bits" and len(values) == 1 and values[0] in (2, 3, 4, 8) and thresholds is not None:
            return Latte(thresholds.tau, bits=int(values[0]), split=split)
    except ValueError:
        pass
    raise LatteError(f"method {text!r} is not understood; methods are float, dense, latte, latte-exact, "
                     "latte-bits:2|3|4|8 (these with thresholds), top-k:KEEP, energon:ALPHA2,ALPHA4, elsa:THRESHOLD, "
                     "a3:ITERATIONS,MARGIN and top-theta:FILE")


def build_method(text: str, thresholds: Thresholds | None, checkpoint: Checkpoint, config: AttentionConfig) -> Measured:
    """Return the handler of a method's name.

    ``float``, ``latte`` (the exact accelerator, with compensation if the thresholds have gains),
    ``top-theta:FILE`` (tables from ``latte calibrate --mode top-theta``), or one of `parse_filter`.
    """
    if text == "float":
        return Measured(lambda _, *operands: float_attention(*operands), None)
    counter = PairCounter(checkpoint.blocks, checkpoint.heads)
    if text.startswith("top-theta:"):
        theta = load_theta(text.partition(":")[2], checkpoint.name, checkpoint.blocks, checkpoint.heads)
        return Measured(FilterAttention(TopTheta(theta), config, counter), counter)
    if text == "latte":
        if thresholds is None:
            raise LatteError("method 'latte' needs thresholds: give --thresholds FILE or --tau NUMBER")
        return Measured(HardwareAttention(thresholds, config, counter), counter)
    return Measured(FilterAttention(parse_filter(text, thresholds, config.split), config, counter), counter)
