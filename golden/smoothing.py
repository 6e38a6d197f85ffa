"""Smoothing: what a host does to Q and K before it quantises them, lest few channels set the scale of all.

A constant vector subtracted from every key moves all scores of a row alike, which softmax does not see
(SageAttention, arXiv 2410.02367); a factor on a channel of Q leaves scores as they are if the channel of K is divided
by it (SmoothQuant, arXiv 2211.10438)::

    q' = q * channel_scale        k' = (k - key_offset) / channel_scale        softmax(q' k') = softmax(q k)

Both are constants of a key head. The accelerator sees quantised ``q'`` and ``k'`` only; key groups cut ``k'``.
"""

from typing import Any

import numpy as np

__all__ = ["smooth_operands", "smoothing_constants"]


def smooth_operands(q: Any, k: Any, key_offset: Any, channel_scale: Any) -> tuple[Any, Any]:
    """Return smoothed (q, k), arrays of NumPy or tensors of torch.

    Parameters
    ----------
    q, k : float [..., heads, m, d] and [..., heads, n, d]
    key_offset, channel_scale : float [heads, d]
    """
    scale = channel_scale[..., None, :]
    return q * scale, (k - key_offset[..., None, :]) / scale


def smoothing_constants(q_largest: np.ndarray, k_least: np.ndarray, k_largest: np.ndarray
                        ) -> tuple[np.ndarray, np.ndarray]:
    """Return (key_offset, channel_scale) that centre each channel of K and give it the largest magnitude of Q's.

    Then both scales of a head's quantisers are as small as constants by channel can make them together: each is set by
    the channel whose product of magnitudes is the largest.

    Parameters
    ----------
    q_largest : float64 [..., d]
        Largest magnitude of each channel of the queries that share a key head.
    k_least, k_largest : float64 [..., d]
    """
    offset, reach = (k_largest + k_least) / 2, (k_largest - k_least) / 2
    usable = (reach > 0) & (q_largest > 0)
    ratio = np.divide(reach, q_largest, out=np.ones_like(reach), where=usable)
    return offset, np.sqrt(ratio)
