"""Smoothing of Q and K leaves softmax as it is, and the largest elements small."""

import numpy as np

from latte.golden.smoothing import smooth_operands, smoothing_constants


def softmax(q, k):
    score = q @ k.swapaxes(-1, -2)
    weight = np.exp(score - score.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def outlying(seed):
    """Return q [2, 5, 16] and k [2, 9, 16] with one large and one shifted channel of K, and one dead one of Q."""
    random = np.random.default_rng(seed)
    q, k = random.normal(0, 1, (2, 5, 16)), random.normal(0, 1, (2, 9, 16))
    k[..., 3] *= 20
    k[..., 7] += 15
    q[..., 11] = 0
    return q, k


def test_softmax_does_not_see_it():
    q, k = outlying(1)
    constants = np.random.default_rng(2).uniform(0.5, 2, (2, 2, 16))
    np.testing.assert_allclose(softmax(*smooth_operands(q, k, *constants)), softmax(q, k), rtol=1e-9)


def test_ranges_after_it():
    q, k = outlying(3)
    offset, scale = smoothing_constants(np.abs(q).max(1), k.min(1), k.max(1))
    smooth_q, smooth_k = smooth_operands(q, k, offset, scale)
    np.testing.assert_allclose(smooth_k.max(1), -smooth_k.min(1), rtol=1e-9)
    used = np.arange(16) != 11
    np.testing.assert_allclose(np.abs(smooth_k).max(1)[:, used], np.abs(smooth_q).max(1)[:, used], rtol=1e-9)
    assert np.abs(smooth_q).max() * np.abs(smooth_k).max() < 0.5 * np.abs(q).max() * np.abs(k).max()
    assert (scale[:, 11] == 1).all()
