"""Builds to fuzz: presets, random ones, and a set in which every two values of two fields meet."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from latte.golden.config import AttentionConfig, ceil_div, preset
from latte.golden.errors import LatteError

__all__ = ["FIELD_VALUES", "REAL_SIZES", "Pair", "PairwiseBuilds", "find_build", "pairwise_builds", "products",
           "random_build"]

FIELD_VALUES: dict[str, tuple[Any, ...]] = {
    "engine": ("latte", "serial", "dense"),
    "head_dim": (4, 6, 16, 64, 100, 256),
    "dim_slices": (1, 2, 4, 8),
    "pe_structure": ("table", "multiplier", "dsp"),
    "cross_slices": (1, 2, 3, 8),
    "value_slices": (1, 2, 3, 8),
    "bus_bytes": (1, 2, 3, 8),
    "normalizer_lanes": (1, 2, 3, 8),
    "query_lanes": (1, 2, 3, 6),
    "key_lanes": (1, 2, 4, 8),
    "kv_banks": (1, 2),
    "query_rows": (4, 13, 64, 300),
    "split": ("balanced", "slice"),
    "estimate_bits": (2, 3, 4),
    "threshold_kinds": (("relative",), ("mass",), ("absolute",), ("relative", "mass"), ("relative", "absolute"),
                        ("mass", "absolute"), ("relative", "mass", "absolute")),
    "key_groups": (0, 1, 2, 4, 8),
    "max_seq_len": (1, 31, 64, 300, 1024),
    "heads": (1, 2, 17, 144),
    "weight_bits": (4, 8, 12, 16),
    "exp_frac_bits": (4, 8, 12),
    "reciprocal_bits": (4, 9, 10),
    "fraction_bits": (0, 4, 9),
    "survivor_fifo_depth": (16, 17, 300),
}
"""Values of every field of a configuration but its name; lanes are the vector's elements by so many slices, rounded up.

A field comes behind those that restrict it.
"""
REAL_SIZES = tuple(preset(name) for name in ("small", "tiny", "base"))
"""Builds for heads of 64 elements and 512 or 1024 keys."""
_LANES = {"dim_slices": "dim_lanes", "cross_slices": "cross_lanes", "value_slices": "value_lanes"}
_PRODUCTS_MAX = 96
"""`products` of a small build."""
_JOINED_PRODUCTS_MAX = 200
"""`products` of a build in which pairs of values are joined, unless one of them needs more."""

_PERMISSIVE = {"pe_structure": "multiplier", "bus_bytes": 1, "normalizer_lanes": 1, "query_lanes": 1, "key_lanes": 1,
               "kv_banks": 1, "query_rows": 64, "split": "balanced", "estimate_bits": 4,
               "threshold_kinds": ("relative",), "key_groups": 0, "max_seq_len": 64, "heads": 17, "weight_bits": 12,
               "exp_frac_bits": 8, "reciprocal_bits": 9, "fraction_bits": 4, "survivor_fifo_depth": 300}
"""Values that go with whatever other fields have, if any value does."""
_FREE = {"max_seq_len", "heads", "weight_bits", "exp_frac_bits", "reciprocal_bits", "fraction_bits",
         "survivor_fifo_depth"}
"""Fields all of whose values go with all values of the others."""

Choice = tuple[str, Any]
"""A field of `FIELD_VALUES` and one of its values."""
Pair = tuple[Choice, Choice]
"""Of two fields, in their order."""


def _configure(values: Mapping[str, Any]) -> AttentionConfig:
    """Return the configuration of values of all fields, or raise `LatteError`."""
    fields = {name: value for name, value in values.items() if name not in _LANES}
    fields |= {lanes: ceil_div(values["head_dim"], values[slices]) for slices, lanes in _LANES.items()}
    return AttentionConfig(**fields, name="fuzz")


def products(config: AttentionConfig) -> int:
    """Return how many products of elements a build makes in a cycle, which its size in a simulator follows."""
    return config.pairs_per_cycle * config.dim_lanes + config.cross_lanes + config.value_lanes


def _is_small(config: AttentionConfig | LatteError, most: int = _PRODUCTS_MAX) -> bool:
    """Return whether it is a build with no more `products`; by default one that compiles in a minute."""
    return isinstance(config, AttentionConfig) and products(config) <= most


@functools.cache
def _search(chosen: tuple[Choice, ...]) -> AttentionConfig | LatteError:
    """Return a build with some values, small or as small as there is, or what the first one tried was refused for."""
    refusal = LatteError("")
    large: list[AttentionConfig] = []
    fixed = dict(chosen)
    candidates = [(fixed[name],) if name in fixed else (_PERMISSIVE[name],) if name in _PERMISSIVE else values
                  for name, values in FIELD_VALUES.items()]
    for combination in itertools.product(*candidates):
        try:
            config = _configure(dict(zip(FIELD_VALUES, combination, strict=True)))
        except LatteError as error:
            refusal = refusal if str(refusal) else error
            continue
        if _is_small(config):
            return config
        large.append(config)
    return min(large, key=products) if large else refusal


def find_build(chosen: Mapping[str, Any]) -> AttentionConfig | LatteError:
    """Return a build with the `chosen` values of some fields, or the refusal if there is none.

    Other fields have what restricts them least; what nothing restricts is searched for.
    """
    free = {name: chosen[name] for name in chosen if name in _FREE}
    found = _search(tuple((name, chosen[name]) for name in FIELD_VALUES if name in chosen and name not in _FREE))
    return found.replace(**free) if isinstance(found, AttentionConfig) else found


def random_build(rng: np.random.Generator) -> AttentionConfig:
    """Return a small build of random values of `FIELD_VALUES`."""
    chosen: dict[str, Any] = {}
    for name, values in FIELD_VALUES.items():
        order = [values[i] for i in rng.permutation(len(values))]
        chosen[name] = next(value for value in order if _is_small(find_build(chosen | {name: value})))
    build = find_build(chosen)
    assert isinstance(build, AttentionConfig)
    return build


@dataclasses.dataclass(frozen=True)
class PairwiseBuilds:
    """Builds in which every two values of two fields meet, if any build has them.

    Parameters
    ----------
    builds : dict of AttentionConfig to set of pairs
        With the pairs of values for which a build is there.
    refused : dict of pair to str
        Pairs that no build can have, and the sentence.
    """

    builds: dict[AttentionConfig, set[Pair]]
    refused: dict[Pair, str]


def pairwise_builds(fields: Mapping[str, tuple[Any, ...]] = FIELD_VALUES) -> PairwiseBuilds:
    """Return a covering array of strength 2.

    Parameters
    ----------
    fields
        `FIELD_VALUES`, or a part of it whose other fields do not matter.

    Raises
    ------
    LatteError
        allpairspy is not installed.
    """
    try:
        from allpairspy import AllPairs
    except ImportError:
        raise LatteError("pairs of values are combined by allpairspy, which is not installed; "
                         "pip install 'latte-attention[dev]'") from None
    found = {pair: find_build(dict(pair)) for pair in _pairs(fields)}
    refused = {pair: str(refusal) for pair, refusal in found.items() if isinstance(refusal, LatteError)}
    smallest = {pair: products(build) for pair, build in found.items() if isinstance(build, AttentionConfig)}

    def possible(row: list[Any]) -> bool:
        return _is_small(find_build(dict(zip(fields, row, strict=False))), _JOINED_PRODUCTS_MAX)

    rows = [dict(zip(fields, row, strict=True)) for row in AllPairs(list(fields.values()), filter_func=possible)]
    met = {pair for row in rows for pair in itertools.combinations(row.items(), 2)}
    left = [pair for pair in smallest if pair not in met]
    # allpairspy ends where its next row has nothing new, before all that is possible has met: join what is left.
    while left:
        row = dict(left[0])
        most = max(_JOINED_PRODUCTS_MAX, smallest[left[0]])
        for pair in left[1:]:
            joined = row | dict(pair)
            if row.items() <= joined.items() and _is_small(find_build(joined), most):
                row = joined
        rows.append({name: row[name] for name in fields if name in row})
        left = [pair for pair in left if not set(pair) <= row.items()]
    builds: dict[AttentionConfig, set[Pair]] = {}
    for row in rows:
        if isinstance(build := find_build(row), AttentionConfig):
            builds.setdefault(build, set()).update(itertools.combinations(row.items(), 2))
    return PairwiseBuilds(builds, refused)


def _pairs(fields: Mapping[str, tuple[Any, ...]]) -> Iterator[Pair]:
    for (first, ones), (second, others) in itertools.combinations(fields.items(), 2):
        for one, other in itertools.product(ones, others):
            yield (first, one), (second, other)
