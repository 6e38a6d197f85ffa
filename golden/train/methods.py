"""Every way to run a model's attention that is compared, by name, as a handler for the hook."""

import dataclasses

from latte.golden.bit_operations import CROSS_BITOPS, DENSE_BITOPS, ESTIMATE_BITOPS, VALUE_BITOPS
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.filters import (
    A3,
    Dense,
    Elsa,
    Energon,
    KeyFilter,
    TopK,
    TopTheta,
)
from latte.golden.filters.base import EXACT_BITOPS
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.coarse import CoarseAttention
from latte.golden.models.filtered import TOP_THETA_MODES, FilterAttention, TopThetaAttention
from latte.golden.models.hardware import HardwareAttention, PairCounter, Thresholds
from latte.golden.models.hook import Handler, float_attention
from latte.golden.pruned_mass import UNIT_BITS
from latte.golden.train.state import load_theta

__all__ = ["Measured", "build_method", "parse_filter"]

VALUE_SUM_BITS = 18
_ESTIMATE_BITS = {"latte-exact": 4, "latte-bits:2": 2, "latte-bits:3": 3, "latte-bits:8": 8}
LATTE_METHODS = ("latte", "latte-slice", *_ESTIMATE_BITS)
"""Methods that take thresholds."""


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
            Query rows of all heads and blocks: each pays for a virtual survivor of every key group where there is
            compensation.
        """
        visible, kept = int(self.counter.visible.sum()), int(self.counter.kept.sum())
        virtual = head_dim * UNIT_BITS * VALUE_SUM_BITS * rows
        if isinstance(self.handler, FilterAttention):
            work = self.handler.work + self.handler.key_filter.survivor_bitops() * head_dim * kept
            return work + (virtual if isinstance(self.handler, TopThetaAttention) else 0)
        estimate, survivor = ESTIMATE_BITOPS, CROSS_BITOPS + VALUE_BITOPS
        if isinstance(self.handler, CoarseAttention):
            estimate = self.handler.bits**2
            # A 4-bit estimate with exact products is the paper's comparison: nothing is reused.
            survivor = EXACT_BITOPS - (0 if self.handler.bits == 4 else estimate) + VALUE_BITOPS
        thresholds = self.handler.thresholds
        groups = 1 if thresholds.group_elements is None else 1 << thresholds.group_elements.shape[-1]
        restored = 0 if thresholds.denominator_gain is None else virtual * groups
        return head_dim * (estimate * visible + survivor * kept) + restored

    def dense_bit_operations(self, head_dim: int) -> int:
        """Return what dense 8-bit attention would take on the visible pairs."""
        return DENSE_BITOPS * head_dim * int(self.counter.visible.sum())


def parse_filter(text: str) -> KeyFilter:
    """Return the filter of ``name`` or ``name:number[,number]``.

    ``dense``, ``top-k:KEEP``, ``energon:ALPHA2,ALPHA4``, ``elsa:THRESHOLD`` and ``a3:ITERATIONS,MARGIN``.

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
    except ValueError:
        pass
    raise LatteError(f"method {text!r} is not understood; methods are float, dense, {', '.join(LATTE_METHODS)} (these "
                     "with thresholds), top-k:KEEP, energon:ALPHA2,ALPHA4, elsa:THRESHOLD, a3:ITERATIONS,MARGIN, "
                     f"top-theta:FILE and {', '.join(f'top-theta-{mode}:FILE' for mode in TOP_THETA_MODES)}")


def build_method(text: str, thresholds: Thresholds | None, checkpoint: Checkpoint, config: AttentionConfig) -> Measured:
    """Return the handler of a method's name.

    Parameters
    ----------
    text
        ``float``; one of `LATTE_METHODS`, compensated if the thresholds have gains: the exact accelerator, with the
        sliced split, with exact products for its survivors (the paper's Figure 5), or with an estimate of other width;
        ``top-theta:FILE`` (tables from ``latte calibrate --mode top-theta``, nothing restored) and
        ``top-theta-exact``, ``-exp``, ``-offline`` (compensated); or one of `parse_filter`.

    Raises
    ------
    LatteError
        The name is not understood, or lacks its thresholds.
    """
    if text == "float":
        return Measured(lambda _, *operands: float_attention(*operands), None)
    counter = PairCounter(checkpoint.blocks, checkpoint.heads)
    name, _, path = text.partition(":")
    if name.startswith("top-theta") and path and name.removeprefix("top-theta-") in ("top-theta", *TOP_THETA_MODES):
        tables = load_theta(path, checkpoint.name, checkpoint.blocks, checkpoint.heads)
        handler = (FilterAttention(TopTheta(tables.theta), config, counter) if name == "top-theta" else
                   TopThetaAttention(tables, name.removeprefix("top-theta-"), config, counter))
        return Measured(handler, counter)
    if text not in LATTE_METHODS:
        return Measured(FilterAttention(parse_filter(text), config, counter), counter)
    if thresholds is None:
        raise LatteError(f"method {text!r} needs thresholds: give --thresholds FILE or --tau NUMBER")
    if text in _ESTIMATE_BITS:
        return Measured(CoarseAttention(thresholds, config, _ESTIMATE_BITS[text], counter), counter)
    if text == "latte-slice":
        config = config.replace(split="slice")
    return Measured(HardwareAttention(thresholds, config, counter), counter)
