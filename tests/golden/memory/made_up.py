"""Rows, entries and builds of the memory's tests, all from a generator."""

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.key_groups import KeyGroups
from latte.golden.memory.build import MemoryBuild
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.thresholds import Threshold, ThresholdKind

KINDS = list(ThresholdKind)


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return int8 rows of every code."""
    return rng.integers(-128, 128, shape).astype(np.int8)


def build(**changes: object) -> MemoryBuild:
    """Return a build of small pages and lists; fields of the core are given as such."""
    core = {field: changes.pop(field) for field in ("estimate_bits", "key_groups", "head_dim", "split", "max_seq_len")
            if field in changes}
    core = preset("small", **{"max_seq_len": 65536} | core)
    return MemoryBuild(core=core, **{"page_rows": 16, "bus_bytes": 8, "window": 2048} | changes)


def code_of(rng: np.random.Generator, kind: ThresholdKind) -> int:
    """Return a threshold's code that keeps something between a key and most of them."""
    return int(rng.integers(*{"relative": (1, 400), "mass": (100, 2600), "absolute": (-200, 300)}[kind]))


def entry(rng: np.random.Generator, kind: ThresholdKind, of: MemoryBuild, bits: int) -> HeadParameters:
    """Return an entry with another code in each octave, `bits` group comparisons, and gains where the build has any."""
    groups = KeyGroups(tuple(range(1, bits + 1)), tuple(range(-bits, bits, 2)))
    codes = tuple(code_of(rng, kind) for _ in range(17))
    gains = Gains(int(rng.integers(1, 200)), 1) if of.core.key_groups else NO_COMPENSATION
    # The same octaves a step of the estimate for every width, so that weights end within the window.
    shift = 14 + of.core.estimate_shift - 8
    return HeadParameters(Threshold(kind, codes), int(rng.integers(1 << 15, 1 << 16)), shift, gains, groups)
