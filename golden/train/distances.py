"""Thresholds for a wanted pruning ratio, from histograms of how far each key is from surviving.

A key's distance, in units of the scaled score, is what its threshold is compared with, so that it is pruned from some
threshold on: the gap below the row's largest estimate (relative), the negative logarithm of its share of the row's
estimated softmax mass (mass), or its negative estimate (absolute, whose threshold is negated as well).
"""

import numpy as np
import torch

from latte.golden.model_thresholds import Thresholds
from latte.golden.models.exact import row_octaves
from latte.golden.thresholds import LENGTH_OCTAVES, ThresholdKind

__all__ = ["DistanceHistogram", "distances", "from_distance", "to_distance"]

BIN = 0.01
RANGE = (-30.0, 60.0)
"""Distances outside share the first and the last bin."""
BINS = round((RANGE[1] - RANGE[0]) / BIN)


def distances(kind: ThresholdKind, estimate: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Return the distance of every pair, float32 [batch, heads, m, n]; infinite or NaN where not visible.

    Parameters
    ----------
    estimate : float32 [batch, heads, m, n]
        Integer-valued; minus infinity where not visible.
    step : float64 [batch or 1, heads]
        One estimate step in units of the scaled score.
    """
    scaled = estimate * step.to(estimate.dtype)[..., None, None]
    if kind is ThresholdKind.MASS:
        return scaled.logsumexp(-1, keepdim=True) - scaled
    return scaled.amax(-1, keepdim=True) - scaled if kind is ThresholdKind.RELATIVE else -scaled


def to_distance(kind: ThresholdKind, tau: np.ndarray) -> np.ndarray:
    """Return the distance at and beyond which keys are pruned at a threshold."""
    return -tau if kind is ThresholdKind.ABSOLUTE else tau


def from_distance(kind: ThresholdKind, distance: np.ndarray) -> np.ndarray:
    """Return the threshold that prunes at and beyond a distance."""
    return -distance if kind is ThresholdKind.ABSOLUTE else np.maximum(distance, 0)


class DistanceHistogram:
    """Counts of visible pairs by distance, by head and by octave of the row's length.

    Parameters
    ----------
    thresholds
        Distances by octave are relative to these; those by head are not.

    Attributes
    ----------
    heads : int64 [blocks, heads, bins]
    octaves : int64 [LENGTH_OCTAVES, bins]
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self.kind = thresholds.kind
        self.cuts = to_distance(thresholds.kind, thresholds.tau_by_octave)
        slope = np.zeros_like(thresholds.tau) if thresholds.tau_per_octave is None else thresholds.tau_per_octave
        self.slopes = to_distance(thresholds.kind, slope[..., None] * np.arange(LENGTH_OCTAVES))
        self.heads = np.zeros((*thresholds.tau.shape, BINS), np.int64)
        self.octaves = np.zeros((LENGTH_OCTAVES, BINS), np.int64)

    def observe(self, block: int, keep: torch.Tensor, estimate: torch.Tensor, step: torch.Tensor, causal: bool) -> None:
        """Add the pairs of one block; the arguments are those of `latte.golden.models.hardware.Observer`."""
        del keep
        distance = distances(self.kind, estimate, step)
        _, heads, m, n = distance.shape
        octave = row_octaves(m, n, causal)

        def count(origins: np.ndarray, places: torch.Tensor, size: int) -> np.ndarray:
            """Count distances from `origins` [heads, octaves], in one histogram for each of `size` places."""
            origin = torch.from_numpy(origins)[:, octave, None].to(distance)
            apart = distance - origin
            bins = ((apart - RANGE[0]) / BIN).clamp_(0, BINS - 1).nan_to_num_(0).to(torch.int64)
            seen = (bins + BINS * places)[apart.isfinite()]
            return torch.bincount(seen, minlength=size * BINS).view(size, BINS).cpu().numpy()

        of_head = torch.arange(heads, device=distance.device)[:, None, None]
        self.heads[block] += count(self.slopes[block], of_head, heads)
        self.octaves += count(self.cuts[block], octave[:, None].to(distance.device), LENGTH_OCTAVES)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the counts, by name."""
        return {"heads": self.heads, "octaves": self.octaves}

    def pruned(self, cut: np.ndarray) -> float:
        """Return the share of all pairs at or beyond their head's distance `cut` [blocks, heads]."""
        return _beyond(self.heads, cut)

    def uniform_cut(self, target: float) -> float:
        """Return the one distance from which on the share `target` of all pairs lies."""
        return _cut(self.heads.sum((0, 1)), target)

    def head_cuts(self, target: float) -> np.ndarray:
        """Return the distances from which on the share `target` of each head's pairs lies, [blocks, heads]."""
        return np.array([[_cut(head, target) for head in block] for block in self.heads])

    @property
    def pivot(self) -> int:
        """The octave of lengths with most pairs."""
        return int(self.octaves.sum(-1).argmax())

    def shift(self, target: float, slope: float = 0.0) -> float:
        """Return what to add to all thresholds' distances so that the share `target` is pruned.

        Parameters
        ----------
        target
        slope
            Added besides, for every octave that the row's length lies above the `pivot`.
        """
        low, high = RANGE[0] - RANGE[1], RANGE[1] - RANGE[0]
        cuts = slope * (np.arange(LENGTH_OCTAVES) - self.pivot)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _beyond(self.octaves, cuts + middle) >= target else (low, middle)
        return low

    def factor(self, cut: np.ndarray, target: float) -> float:
        """Return the common factor on `cut`, not negative, with which the share `target` is pruned."""
        low, high = 1e-3, 1e3
        for _ in range(60):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.pruned(cut * middle) >= target else (low, middle)
        return low

    def slope(self, target: float, least_pairs: float = 0.01) -> float:
        """Return what to add per octave of length so that rows of all lengths prune alike.

        A line through what each octave needs to prune `target`, weighted with its pairs; octaves that hold fewer than
        the share `least_pairs` of all pairs are left out.
        """
        pairs = self.octaves.sum(-1)
        used = np.flatnonzero(pairs >= max(1, least_pairs * pairs.sum()))
        if len(used) < 2:
            return 0.0
        needed = [_cut(self.octaves[octave], target) for octave in used]
        return float(np.polyfit(used, needed, 1, w=np.sqrt(pairs[used]))[0])


def _beyond(counts: np.ndarray, cut: np.ndarray) -> float:
    """Return the share of all `counts` [..., bins] at or beyond `cut` [...]."""
    first = np.clip(np.ceil((cut - RANGE[0]) / BIN - 1e-9), 0, BINS).astype(np.int64)
    beyond = np.concatenate([counts[..., ::-1].cumsum(-1)[..., ::-1], np.zeros((*cut.shape, 1), np.int64)], axis=-1)
    return float(np.take_along_axis(beyond, first[..., None], -1).sum() / counts.sum())


def _cut(counts: np.ndarray, target: float) -> float:
    beyond = counts[::-1].cumsum()[::-1] / counts.sum()
    return float(RANGE[0] + max((beyond >= target).sum() - 1, 0) * BIN)
