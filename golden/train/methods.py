"""Every way to run a model's attention that is compared, by name, as a handler for the hook."""

import dataclasses
import math

from latte.golden.bit_operations import (
    VALUE_BITOPS,
    compensation_bitops,
    cross_bitops,
    estimate_bitops,
    row_threshold_bitops,
)
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.filters import FILTERS, TopTheta, parse_filter
from latte.golden.filters.base import EXACT_BITOPS
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact_product import ExactProductAttention
from latte.golden.models.filtered import TOP_THETA_MODES, FilterAttention, TopThetaAttention
from latte.golden.models.hardware import HardwareAttention, PairCounter
from latte.golden.models.variants import BlendedAttention, ValueAttention
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.threshold_files import load_theta

__all__ = ["LATTE_METHODS", "Measured", "build_method", "known_methods", "takes_thresholds"]

_BITS = {"latte-bits:2": 2, "latte-bits:3": 3, "latte-bits:4": 4}
LATTE_METHODS = ("latte", "latte-slice", "latte-exact", *_BITS)
"""Methods that take thresholds."""
_VARIANTS = {"latte-blend": (BlendedAttention, "SHARE"), "latte-value": (ValueAttention, "WEIGHT")}
"""Methods that take a number and thresholds by mass."""


def takes_thresholds(method: str) -> bool:
    """Return whether a method is one of `LATTE_METHODS`, or a variant with its number."""
    name, _, number = method.partition(":")
    if name not in _VARIANTS:
        return method in LATTE_METHODS
    try:
        return math.isfinite(float(number))
    except ValueError:
        return False


def known_methods() -> str:
    """Return what can be measured, for messages and help."""
    variants = ", ".join(f"{name}:{number}" for name, (_, number) in _VARIANTS.items())
    own = f"float, dense, {', '.join(LATTE_METHODS)}, {variants} (these with thresholds), "
    others = ", ".join(entry.usage(name) for name, entry in FILTERS.items() if name != "dense")
    return own + others + f", top-theta:FILE and {', '.join(f'top-theta-{mode}:FILE' for mode in TOP_THETA_MODES)}"


@dataclasses.dataclass
class Measured:
    """A handler with what it counts.

    Parameters
    ----------
    handler
    counter
        Of its pairs.
    """

    handler: FilterAttention | HardwareAttention
    counter: PairCounter

    def bit_operations(self, head_dim: int, rows: int) -> int:
        """Return the products of all heads since the beginning, in bit operations.

        Parameters
        ----------
        rows
            Query rows of all heads and blocks: each pays for its threshold, and for what is given back.
        """
        visible, kept = int(self.counter.visible.sum()), int(self.counter.kept.sum())
        handler = self.handler
        if isinstance(handler, FilterAttention):
            work = handler.work + handler.key_filter.survivor_bitops() * head_dim * kept
            restored = isinstance(handler, TopThetaAttention)
            return work + (rows * compensation_bitops(1, handler.config) if restored else 0)
        bits, thresholds = handler.config.estimate_bits, handler.thresholds
        product = EXACT_BITOPS if isinstance(handler, ExactProductAttention) else cross_bitops(bits)
        work = head_dim * (estimate_bitops(bits) * visible + (product + VALUE_BITOPS) * kept)
        work += rows * row_threshold_bitops(thresholds.kind, handler.config)
        restored = thresholds.denominator_gain is not None
        return work + (rows * compensation_bitops(thresholds.groups, handler.config) if restored else 0)


def build_method(text: str, thresholds: Thresholds | None, checkpoint: Checkpoint, config: AttentionConfig
                 ) -> Measured | None:
    """Return the handler of a method's name, ``None`` for the float model, which counts nothing.

    Parameters
    ----------
    text
        ``float``; one of `LATTE_METHODS`, compensated if the thresholds have gains: the exact accelerator, with the
        sliced split, with exact products for its survivors (the paper's Figure 5), or with an estimate of other width
        than that of the thresholds;
        ``top-theta:FILE`` (tables from ``latte calibrate --mode top-theta``, nothing restored) and
        ``top-theta-exact``, ``-exp``, ``-offline`` (compensated); or one of `parse_filter`.

    Raises
    ------
    LatteError
        The name is not understood, or lacks its thresholds.
    """
    if text == "float":
        return None
    counter = PairCounter(checkpoint.blocks, checkpoint.heads)
    name, _, path = text.partition(":")
    if name.startswith("top-theta") and path and name.removeprefix("top-theta-") in ("top-theta", *TOP_THETA_MODES):
        tables = load_theta(path, checkpoint.name, checkpoint.blocks, checkpoint.heads)
        handler = (FilterAttention(TopTheta(tables.theta), config, counter) if name == "top-theta" else
                   TopThetaAttention(tables, name.removeprefix("top-theta-"), config, counter))
        return Measured(handler, counter)
    if name in FILTERS:
        return Measured(FilterAttention(parse_filter(text), config, counter), counter)
    if not takes_thresholds(text):
        raise LatteError(f"method {text!r} is not understood; methods are {known_methods()}")
    if thresholds is None:
        raise LatteError(f"method {text!r} needs thresholds: give --thresholds FILE or --tau NUMBER")
    if name in _VARIANTS:
        if thresholds.kind is not ThresholdKind.MASS:
            raise LatteError(f"method {text!r} takes thresholds by mass, not {thresholds.kind} ones")
        return Measured(_VARIANTS[name][0](float(path), thresholds, config, counter), counter)
    if text in _BITS:
        thresholds = dataclasses.replace(thresholds, estimate_bits=_BITS[text])
    if text == "latte-slice":
        config = config.replace(split="slice")
    attention = ExactProductAttention if text == "latte-exact" else HardwareAttention
    return Measured(attention(thresholds, config, counter), counter)
