"""Each filter against an independent definition, one pair at a time in Python numbers."""

import math

import numpy as np
import pytest

from latte.golden.errors import LatteError
from latte.golden.filters import A3, Dense, Elsa, Energon, FilterInput, TopK, TopTheta, parse_filter
from latte.golden.filters.elsa import projection
from latte.golden.threshold_filter import visible_keys

M, N, D = 13, 13, 64


def operands(seed, causal, spread=40):
    rng = np.random.default_rng(seed)
    q, k = (np.clip(rng.normal(0, spread, (2, 3, M, D)), -119, 119).astype(np.int8) for _ in range(2))
    k[0, 1, 4] = k[0, 1, 2]
    step = np.full((2, 3), 0.001)
    return FilterInput(q, k, visible_keys(M, N, causal), step)


def rows(x):
    """Yield (leading index, row, visible keys, q as Python integers, keys as Python integers)."""
    for lead in np.ndindex(2, 3):
        keys = [[int(e) for e in key] for key in x.k[lead]]
        for i in range(M):
            yield lead, i, [j for j in range(N) if x.visible[i, j]], [int(e) for e in x.q[lead][i]], keys


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def compare(x, keep, expected_row):
    for lead, i, visible, q, keys in rows(x):
        got = {j for j in range(N) if keep[lead][i, j]}
        assert got == expected_row(lead, i, visible, q, keys), (lead, i)
        assert got


def test_work_of_a_survivor():
    assert {name: f.survivor_bitops() for name, f in {"dense": Dense(), "top-k": TopK(0.1)}.items()} == {
        "dense": 128, "top-k": 64}


@pytest.mark.parametrize("text", ["dense", "top-k:0.15", "energon:0.1,-0.2", "elsa:0.1", "a3:0.5,3"])
def test_filters_by_name(text):
    found = parse_filter(text)
    assert found.name == text.partition(":")[0] and type(found) is type(parse_filter(text))


@pytest.mark.parametrize(("text", "says"), [
    ("top-k", "top-k:KEEP"), ("top-k:0", "top-k:KEEP"), ("top-k:a", "top-k:KEEP"),
    ("energon:0.1", "energon:ALPHA2,ALPHA4"), ("energon:1,0", "energon:ALPHA2,ALPHA4"),
    ("a3:0,3", "a3:ITERATIONS,MARGIN"), ("dense:1", "takes dense"), ("spatten:1", "the filters are .*top-k:KEEP")])
def test_filters_that_are_not_understood(text, says):
    with pytest.raises(LatteError, match=says):
        parse_filter(text)


@pytest.mark.parametrize("causal", [False, True])
def test_dense_and_top_k(causal):
    x = operands(2, causal)
    compare(x, Dense().select(x)[0], lambda lead, i, visible, q, keys: set(visible))
    keep, work = TopK(0.3).select(x)

    def expected(lead, i, visible, q, keys):
        ranked = sorted(visible, key=lambda j: (-dot(q, keys[j]), j))
        return set(ranked[:math.ceil(0.3 * len(visible))])

    compare(x, keep, expected)
    assert work == 64 * D * 6 * x.visible.sum()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("alpha", [(0.2, 0.4), (-0.3, 0.0), (-0.5, -0.9), (0.99, 0.99)])
def test_energon(causal, alpha):
    x = operands(3, causal)
    keep, work = Energon(alpha).select(x)
    counted = 0

    def expected(lead, i, visible, q, keys):
        nonlocal counted
        candidates = visible
        for bits, a in zip((2, 4), alpha, strict=True):
            counted += bits * bits * D * len(candidates)
            shift = 2 ** (8 - bits)
            score = {j: dot([e // shift for e in q], [e // shift for e in keys[j]]) for j in candidates}
            mean = sum(score.values()) / len(score)
            limit = a * max(score.values()) + (1 - a) * mean if a >= 0 else -a * min(score.values()) + (1 + a) * mean
            best = max(score.values())
            candidates = [j for j in candidates if score[j] > limit] or [next(j for j in score if score[j] == best)]
        return set(candidates)

    compare(x, keep, expected)
    assert work == counted


@pytest.mark.parametrize("causal", [False, True])
def test_elsa(causal):
    x = operands(4, causal)
    keep, work = Elsa(0.25).select(x)
    directions = projection(D, 64, 0)
    np.testing.assert_allclose(directions @ directions.T, np.eye(64), atol=1e-12)

    def bits(vector):
        return [dot(direction, vector) >= 0 for direction in directions.tolist()]

    def expected(lead, i, visible, q, keys):
        similarity = {}
        for j in visible:
            hamming = sum(a != b for a, b in zip(bits(q), bits(keys[j]), strict=True))
            similarity[j] = math.sqrt(dot(keys[j], keys[j])) * math.cos(max(0, math.pi / 64 * hamming - 0.127))
        largest = max(math.sqrt(dot(keys[j], keys[j])) for j in visible)
        kept = {j for j in visible if similarity[j] > 0.25 * largest}
        return kept or {max(visible, key=lambda j: (similarity[j], -j))}

    compare(x, keep, expected)
    assert work == 128 * 6 * x.visible.sum() + 768 * 64 * 26 * 6


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("margin", [math.inf, 3.0])
def test_a3(causal, margin):
    x = operands(5, causal)
    keep, _ = A3(1.5, margin).select(x)
    rounds = math.ceil(1.5 * N)

    def expected(lead, i, visible, q, keys):
        greedy = dict.fromkeys(range(N), 0)
        for sign in (1, -1):
            products = sorted(((sign * q[d] * keys[j][d], d, j) for j in range(N) for d in range(D)), reverse=True)
            # Which of several equal products is taken last decides little; compare only where it cannot matter.
            if products[rounds - 1][0] == products[rounds][0]:
                tied.add((lead, i))
            for product, _, j in products[:rounds]:
                if product > 0 and j in visible:
                    greedy[j] += sign * product
        candidates = [j for j in visible if greedy[j] > 0] or [max(visible, key=lambda j: (greedy[j], -j))]
        best = max(dot(q, keys[j]) for j in candidates)
        return {j for j in candidates if dot(q, keys[j]) >= best - margin / 0.001}

    tied = set()
    compared = 0
    for lead, i, visible, q, keys in rows(x):
        want = expected(lead, i, visible, q, keys)
        if (lead, i) not in tied:
            compared += 1
            assert {j for j in range(N) if keep[lead][i, j]} == want, (lead, i)
    assert compared > 30


@pytest.mark.parametrize("causal", [False, True])
def test_top_theta(causal):
    x = operands(6, causal)
    rng = np.random.default_rng(6)
    theta = rng.normal(0, 6, (1, 3, 9))
    keep, _ = TopTheta(theta).select(x)

    def expected(lead, i, visible, q, keys):
        limit = theta[0, lead[1], min(len(visible), 9) - 1]
        score = {j: dot(q, keys[j]) for j in visible}
        return {j for j in visible if score[j] * 0.001 > limit} or {max(visible, key=lambda j: (score[j], -j))}

    compare(x, keep, expected)
