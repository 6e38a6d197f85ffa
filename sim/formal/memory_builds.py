"""Cores with keys in memory that are small enough for proofs."""

from typing import Any

from latte.golden.config import preset
from latte.golden.memory.build import MemoryBuild

__all__ = ["small_build"]


def small_build(*, key_groups: int = 0, head_dim: int = 8, max_seq_len: int = 40, **sizes: Any) -> MemoryBuild:
    """Return a build with thresholds by mass, pages of 16 keys, a bus of 8 bytes, and all else as small as may be."""
    core = preset("small", head_dim=head_dim, max_seq_len=max_seq_len, heads=3, query_lanes=1, query_rows=4).lean()
    return MemoryBuild(core=core.replace(threshold_kinds=("mass",), key_groups=key_groups),
                       **{"page_rows": 16, "bus_bytes": 8, "window": 16, "candidates": 16, "tile_rows": 2, "slots": 3}
                       | sizes)
