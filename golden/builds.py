"""Named builds: what each board is built with, a preset and what its FPGA changes in it.

`latte.fpga.boards.board` has the boards themselves; here is what everybody may know of them.
"""

from typing import Any

from latte.golden.config import AttentionConfig, preset
from latte.golden.errors import LatteError

__all__ = ["BUILDS", "DEFAULT_PRESET", "choose_config", "find_build"]

DEFAULT_PRESET = "small"

# What 56 block RAMs hold: two banks of 1024 keys would take 2 Mbit, a 25F has 1. One query row a tile and a quarter of
# a survivor a cycle leave two fifths of its LUTs to the host link and to nextpnr.
_SMALL_25F = preset("small", max_seq_len=256, heads=64, query_lanes=1, query_rows=64, cross_lanes=16, value_lanes=16,
                    normalizer_lanes=2, bus_bytes=2)

BUILDS: dict[str, AttentionConfig] = {
    "ulx3s_25f": _SMALL_25F,
    "ulx3s_85f": preset("small"),
    "orangecrab_25f": _SMALL_25F,
    # With everything, 1600 cells, 6 block RAMs and a multiplier more than an UP5K has.
    "icebreaker": preset("tiny").lean(),
    # 26 block RAMs end at 197 keys, a DeiT image. With everything, nextpnr finds no placement.
    "tang_nano_9k": preset("tiny", max_seq_len=197).lean(),
}
"""By the name of a board; a build has the name of its preset, lean or not, which its figures go by."""


def find_build(board: str) -> AttentionConfig:
    """Return what a board is built with, or raise `LatteError`."""
    if board not in BUILDS:
        raise LatteError(f"unknown board {board!r}; the boards are {', '.join(BUILDS)}")
    return BUILDS[board]


def choose_config(name: str | None, board: str | None, **changes: Any) -> AttentionConfig:
    """Return the configuration that a user named: a preset, or a board's build, with some fields changed.

    Parameters
    ----------
    name
        A preset; `DEFAULT_PRESET` if neither is given.
    board
        Of `BUILDS`.
    **changes
        Fields of `AttentionConfig`.

    Raises
    ------
    LatteError
        Both are given, there is none of that name, or a field is impossible.
    """
    if board is None:
        return preset(name or DEFAULT_PRESET, **changes)
    if name is not None:
        raise LatteError(f"--board {board} names a build already; leave out --config {name}, or leave out --board")
    build = find_build(board)
    return build.for_head_dim(**{"head_dim": build.head_dim} | changes)
