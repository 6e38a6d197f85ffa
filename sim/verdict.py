"""The one judge of a head, of the simulated core and of a board alike: every bit, and the error budget."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latte.golden.attention import HeadTrace, attend
from latte.golden.config import AttentionConfig
from latte.golden.pruned_mass import GAIN_FRAC_BITS, NO_COMPENSATION
from latte.golden.quantizer import saturate_qk, softmax_scale
from latte.golden.reference import MAX_ERROR_V_LSB, MAX_RELATIVE_RMS, output_error, reference_output
from latte.golden.vectors import VectorSet

__all__ = ["HeadRun", "JudgedHead", "list_differences"]

_SHOWN = 3
"""Differences of one kind that are spelt out."""


@dataclasses.dataclass(frozen=True)
class HeadRun:
    """One head that hardware, simulated or real, has computed.

    Parameters
    ----------
    name, model : str
    block, head, keys : int
    problems : list of str
        What differs from the golden model, or why there is no result.
    kept, visible : int
        Pairs.
    cycles : int
        From the previous head's last output (or this one's first estimates, if later) to the last output.
    utilisation : float
        Share of those cycles in which the estimator had to work.
    relative_rms, largest_error : float
        Output against float64 softmax over the same scores; the error in V steps.
    keep, score, output : ndarray or None
        What the hardware produced; output codes.
    """

    name: str
    model: str
    block: int
    head: int
    keys: int
    problems: list[str]
    kept: int = 0
    visible: int = 0
    cycles: int = 0
    utilisation: float = 0.0
    relative_rms: float = 0.0
    largest_error: float = 0.0
    keep: np.ndarray | None = None
    score: np.ndarray | None = None
    output: np.ndarray | None = None

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return `keep`, `score` and `output` of a head that was run with them."""
        if self.keep is None or self.score is None or self.output is None:
            raise ValueError(f"{self.name} was run without its arrays")
        return self.keep, self.score, self.output

    @property
    def passed(self) -> bool:
        """Whether every bit agrees and the output error is within the budget."""
        return not self.problems


class JudgedHead:
    """A head of a vector set, and the golden model's opinion of what hardware makes of it.

    Parameters
    ----------
    vectors
    h : int
        Index in them.
    config
    """

    def __init__(self, vectors: VectorSet, h: int, config: AttentionConfig) -> None:
        self._vectors, self._h, self._config = vectors, h, config

    def trace(self) -> HeadTrace:
        """Return the golden model's computation."""
        vectors, h = self._vectors, self._h
        return attend(vectors.q[h], vectors.k[h], vectors.v[h], vectors.parameters(h, self._config), self._config,
                      causal=vectors.causal)

    def failed(self, problem: str) -> HeadRun:
        """Return the outcome of a head that has no result."""
        return self._outcome([problem])

    def judge(self, trace: HeadTrace, output: np.ndarray, differences: Sequence[str], /, **measured: Any) -> HeadRun:
        """Return the outcome of a head with a result.

        Parameters
        ----------
        trace
            Of `trace`.
        output : int [m, d]
            Output codes of the hardware.
        differences
            Where its bits are not those of `trace`.
        **measured
            Further fields of `HeadRun`: pairs, cycles, arrays.
        """
        config = self._config
        relative_rms, largest = output_error(output, self._reference(trace), config)
        problems = list(differences)
        if relative_rms > MAX_RELATIVE_RMS:
            problems.append(f"the output's relative RMS error {relative_rms:.5f} exceeds {MAX_RELATIVE_RMS}")
        if largest > MAX_ERROR_V_LSB:
            problems.append(f"the output's largest error {largest:.3f} exceeds {MAX_ERROR_V_LSB} steps of V")
        return self._outcome(problems, relative_rms=relative_rms, largest_error=largest, **measured)

    def _reference(self, trace: HeadTrace) -> np.ndarray:
        """Return the output by float64 mathematics, compensation included, in V steps."""
        vectors, h, config = self._vectors, self._h, self._config
        scale = softmax_scale(vectors.q_scale[h], vectors.k_scale[h], config.head_dim)
        entry = vectors.parameters(h, config)
        gains, membership = entry.gains, None
        if config.engine == "dense":
            gains = NO_COMPENSATION
        elif gains != NO_COMPENSATION:
            membership = entry.groups.membership(saturate_qk(vectors.k[h], config.qk_max)[0])
        one = 1 << GAIN_FRAC_BITS
        return reference_output(trace, vectors.v[h], scale, gains=(gains.denominator / one, gains.mean / one),
                                membership=membership, estimate_shift=config.estimate_shift)

    def _outcome(self, problems: list[str], **measured: Any) -> HeadRun:
        vectors, h = self._vectors, self._h
        return HeadRun(vectors.names()[h], vectors.model, int(vectors.block[h]), int(vectors.head[h]), vectors.keys,
                       problems, **measured)


def list_differences(what: str, got: np.ndarray, expected: np.ndarray,
                     where: Callable[[tuple[int, ...]], str]) -> list[str]:
    """Return a readable line for each of the first few differences, and one that says how many more there are.

    Parameters
    ----------
    what
        Name of the values.
    got, expected : ndarray of the same shape
    where
        Makes a place of an index.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        return [f"{what}: {got.shape} values, expected {expected.shape}"]
    wrong = [tuple(index) for index in np.argwhere(got != expected).tolist()]
    lines = [f"{what} at {where(index)}: expected {int(expected[index])}, got {int(got[index])}"
             for index in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        lines.append(f"{what}: {len(wrong) - _SHOWN} more differences of {got.size}")
    return lines
