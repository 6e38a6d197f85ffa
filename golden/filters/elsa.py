"""ELSA (ISCA 2021): angles between sign random projections stand for the scores."""

import dataclasses
import functools

import numpy as np

from latte.golden.filters.base import FilterInput, KeyFilter, never_empty, register

__all__ = ["Elsa", "projection"]


@functools.cache
def projection(d: int, bits: int, seed: int) -> np.ndarray:
    """Return `bits` random directions, orthogonal within each group of `d`, float64 [bits, d]."""
    rng = np.random.default_rng(seed)
    groups = [np.linalg.qr(rng.normal(size=(d, d)))[0].T for _ in range(-(-bits // d))]
    return np.concatenate(groups)[:bits]


@register("THRESHOLD")
@dataclasses.dataclass(frozen=True)
class Elsa(KeyFilter):
    """Keep keys whose approximate normalised score exceeds a share of the largest key norm.

    ``|k| * cos(max(0, pi / bits * hamming - bias)) > threshold * max |k|`` over visible keys.

    Parameters
    ----------
    threshold
        ELSA learns it per layer; here one value, or one per block and head.
    bits
        Length of the hash.
    bias
        Angle subtracted, radians; 0.127 is ELSA's for 64 bits.
    seed
        Of the projection.
    """

    threshold: float
    bits: int = 64
    bias: float = 0.127
    seed: int = 0
    name = "elsa"

    def select(self, operands: FilterInput) -> tuple[np.ndarray, int]:
        """Hash, compare, look up the cosine.

        Counted: one bit operation per hash bit and pair, the 8 x 8 product of norm and cosine per pair, and per
        vector the Kronecker-structured projection of ``3 d**(4/3)`` products of 8 x 8 bits.
        """
        d = operands.q.shape[-1]
        directions = projection(d, self.bits, self.seed).T
        q_hash, k_hash = (np.where(x.astype(np.float64) @ directions >= 0, 1, -1) for x in (operands.q, operands.k))
        agreement = q_hash.astype(np.float32) @ k_hash.astype(np.float32).swapaxes(-1, -2)
        hamming = (self.bits - agreement) / 2
        norm = np.sqrt((operands.k.astype(np.float64) ** 2).sum(-1))[..., None, :]
        similarity = norm * np.cos(np.maximum(0, np.pi / self.bits * hamming - self.bias))
        largest = np.where(operands.visible, norm, -np.inf).max(-1, keepdims=True)
        keep = operands.visible & (similarity > self.threshold * largest)
        leading = int(np.prod(operands.q.shape[:-2]))
        pairs = int(operands.visible.sum()) * leading
        vectors = (operands.q.shape[-2] + operands.k.shape[-2]) * leading
        work = (self.bits + 64) * pairs + round(3 * d ** (4 / 3)) * 64 * vectors
        return never_empty(keep, similarity, operands.visible), work
