"""Cores with keys in memory that are small enough for proofs."""

from typing import Any

from latte.golden.config import preset
from latte.golden.memory.build import MemoryBuild

__all__ = ["small_build"]


def small_build(*, head_dim: int = 8, **changes: Any) -> MemoryBuild:
    """Return a build with thresholds by mass, 40 keys in pages of 16, and all else as small as may be.

    Parameters
    ----------
    head_dim, changes
        Other fields of its arithmetic.
    """
    core = preset("small", head_dim=head_dim, max_seq_len=40, heads=3, query_lanes=1, query_rows=4).lean()
    return MemoryBuild(core=core.replace(**{"threshold_kinds": ("mass",)} | changes), page_rows=16, bus_bytes=8,
                       window=16, candidates=16, tile_rows=2, slots=3)
