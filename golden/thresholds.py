"""The three kinds of threshold, as a head's register entry holds them: a kind, and codes by the row's length.

==========  ===============  ==============================================================  =========================
kind        source           a key survives if                                               code
==========  ===============  ==============================================================  =========================
relative    LATTE Eq. 7      its estimate lies less than ``T`` below the row's largest one   `quantizer.tau_code`
mass        ours             its share of the row's softmax mass, by estimates, is above     `quantizer.mass_code`
                             ``exp(-tau)``
absolute    Top-Theta        its estimate is above ``theta``                                 `quantizer.absolute_code`
==========  ===============  ==============================================================  =========================

All three are one rule: the gap below the row's largest estimate is below the row's limit (`latte.golden.row_limit`).
With a fixed threshold longer rows keep a smaller share; ``tau(o) = tau + tau_per_octave * o`` at ``o =
floor(log2(visible keys))`` counters it.
"""

import dataclasses
import enum
import math

from latte.golden.config import THRESHOLD_KINDS, AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.quantizer import MASS_KEEP_ALL, absolute_code, mass_code, tau_code

__all__ = ["LENGTH_OCTAVES", "Threshold", "ThresholdKind", "tau_at_octave"]

LENGTH_OCTAVES = 17
"""Codes of an entry: rows of up to 2**17 - 1 visible keys."""


class ThresholdKind(enum.StrEnum):
    """What a key is compared with."""

    RELATIVE, MASS, ABSOLUTE = THRESHOLD_KINDS

    @classmethod
    def parse(cls, text: str) -> "ThresholdKind":
        """Return the kind of that name.

        Raises
        ------
        LatteError
            There is none.
        """
        try:
            return cls(text)
        except ValueError:
            raise LatteError(f"the kind of threshold must be {', '.join(cls)}, not {text!r}") from None

    def code_range(self, config: AttentionConfig) -> tuple[int, int]:
        """Return the smallest and the largest code."""
        half = 1 << (config.est_bits - 1)
        return {"relative": (1, config.tau_keep_all), "mass": (0, MASS_KEEP_ALL), "absolute": (-half, half - 1)}[self]


def tau_at_octave(kind: ThresholdKind, tau: float, tau_per_octave: float, octave: int) -> float:
    """Return ``tau + tau_per_octave * octave``; a threshold that must not be negative ends at 0."""
    value = tau + tau_per_octave * octave
    return value if kind is ThresholdKind.ABSOLUTE else max(0.0, value)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The threshold of one head's register entry.

    Parameters
    ----------
    kind
    codes
        Integer code for rows of ``2**o`` to ``2**(o + 1) - 1`` visible keys, `LENGTH_OCTAVES` of them.
    """

    kind: ThresholdKind
    codes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.codes) != LENGTH_OCTAVES:
            raise LatteError(f"a threshold has {LENGTH_OCTAVES} codes, one per octave of the row's length, not "
                             f"{len(self.codes)}")

    @classmethod
    def relative(cls, code: int) -> "Threshold":
        """Return LATTE's threshold, the same at every length."""
        return cls(ThresholdKind.RELATIVE, (code,) * LENGTH_OCTAVES)

    @classmethod
    def encode(cls, kind: ThresholdKind, tau: float, q_scale: float, k_scale: float, config: AttentionConfig,
               tau_per_octave: float = 0.0) -> "Threshold":
        """Encode real parameters.

        Parameters
        ----------
        tau, tau_per_octave
            Units of the scaled score, natural exponent.
        q_scale, k_scale
            Real value of one int8 step.

        Raises
        ------
        LatteError
            `tau` is NaN, or negative where it must not be; `tau_per_octave` is not finite.
        """
        if not math.isfinite(tau_per_octave):
            raise LatteError(f"tau_per_octave must be a finite number, not {tau_per_octave}")
        if math.isnan(tau) or (kind is not ThresholdKind.ABSOLUTE and tau < 0):
            allowed = "a number" if kind is ThresholdKind.ABSOLUTE else "zero, positive or +inf"
            raise LatteError(f"tau must be {allowed}, not {tau}")
        taus = [tau_at_octave(kind, tau, tau_per_octave, octave) for octave in range(LENGTH_OCTAVES)]
        return cls(kind, tuple(
            mass_code(at) if kind is ThresholdKind.MASS else
            (tau_code if kind is ThresholdKind.RELATIVE else absolute_code)(at, q_scale, k_scale, config)
            for at in taus))
