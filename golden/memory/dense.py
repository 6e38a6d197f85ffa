"""What dense attention moves from the same memory: whole keys and values in the same pages, and no more of the record.

Its page is what `page_format` has without group numbers: high and low plane are read whole. It has the same page table,
and the record's header.
"""

from collections.abc import Sequence

from latte.golden.config import ceil_div
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES
from latte.golden.memory.sequence_state import HEADER_BYTES
from latte.golden.memory.traffic import Traffic

__all__ = ["dense_job", "dense_tile"]


def dense_tile(build: MemoryBuild, keys: int) -> Traffic:
    """Return the traffic of a tile of dense attention whose last row sees `keys` keys: page table, K and V."""
    traffic = Traffic()
    pages = ceil_div(keys, build.page_rows)
    traffic.add("table", build.padded(ENTRY_BYTES * pages), 1)
    full, rest = divmod(keys, build.page_rows)
    for kind, size in _planes(build).items():
        traffic.add(kind, full * build.padded(build.page_rows * size) + build.padded(rest * size), pages)
    return traffic


def dense_job(build: MemoryBuild, tiles: Sequence[Traffic], rows: int) -> Traffic:
    """Return the traffic of a job of dense attention that appends `rows` keys and computes tiles; without operands."""
    traffic = Traffic()
    traffic.add("state", build.padded(HEADER_BYTES), 1)
    for tile in tiles:
        traffic.include(tile)
    if rows:
        moved = sum(rows * build.padded(size) for size in _planes(build).values())
        traffic.add("written", moved + build.padded(HEADER_BYTES), 3 * rows + 1)
    return traffic


def _planes(build: MemoryBuild) -> dict[str, int]:
    """Return the bytes of a key's row in each plane."""
    d = build.core.head_dim
    return {"high": d * build.core.estimate_bits // 8, "key_low": d * build.core.low_bits // 8, "values": d}
