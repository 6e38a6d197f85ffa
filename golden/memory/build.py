"""What a core with its keys and values in memory is built with, beside the arithmetic of `AttentionConfig`."""

import dataclasses

from latte.golden.config import AttentionConfig, ceil_div, preset
from latte.golden.errors import LatteError

__all__ = ["LONGEST", "MemoryBuild"]

LONGEST = 65536
"""Most keys of a sequence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryBuild:
    """Sizes of a memory-backed core.

    Parameters
    ----------
    core
        The arithmetic. `max_seq_len` is the greatest length of a sequence, `key_groups` decides what is kept beside
        the keys, `heads` the entries of the register file.
    page_rows
        Keys of a page: 16, 32 or 64.
    bus_bytes
        Bytes of a beat of the memory's bus, 8 or 16: all planes begin at a multiple, and bytes are counted in beats.
    window
        Words of the histogram of each row and key group, a power of two: the weights of all entries by mass or with
        gains must end below it.
    candidates
        Places of each row's list of candidates.
    tile_rows
        Query rows that share a stream of high planes.
    slots
        Sequences that can live at a time.

    Raises
    ------
    LatteError
        A field is out of range, or `core` cannot be built so.
    """

    core: AttentionConfig = dataclasses.field(default_factory=lambda: preset("small", max_seq_len=LONGEST))
    page_rows: int = 64
    bus_bytes: int = 16
    window: int = 1024
    candidates: int = 2048
    tile_rows: int = 4
    slots: int = 16

    def __post_init__(self) -> None:
        choices = {"page_rows": (16, 32, 64), "bus_bytes": (8, 16)}
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise LatteError(f"{field} must be one of {', '.join(map(str, allowed))}, not "
                                 f"{getattr(self, field)!r}")
        ranges = {"window": (16, 1 << 14), "candidates": (16, 1 << 16), "tile_rows": (1, 64), "slots": (1, 1 << 16)}
        for field, (low, high) in ranges.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise LatteError(f"{field} must be an integer from {low} to {high}, not {value!r}")
        if self.window & (self.window - 1):
            raise LatteError(f"window = {self.window} must be a power of two: its words are addressed by the low bits "
                             "of an estimate")
        if self.core.engine == "dense":
            raise LatteError("engine = 'dense' has no estimate to stream; give the configuration of a LATTE core")
        if self.core.head_dim * self.core.estimate_bits % 8:
            raise LatteError(f"head_dim = {self.core.head_dim} with estimates of {self.core.estimate_bits} bits: a row "
                             "of high parts must be whole bytes; choose a head_dim that 8 divides")

    @property
    def page_limit(self) -> int:
        """Most pages of a sequence."""
        return ceil_div(self.core.max_seq_len, self.page_rows)

    def padded(self, count: int) -> int:
        """Return a number of bytes, rounded up to beats."""
        return ceil_div(count, self.bus_bytes) * self.bus_bytes
