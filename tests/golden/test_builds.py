"""Boards' builds by name: the same for every command, and one name at a time."""

import pytest

from latte.fpga.boards.board import BOARDS
from latte.golden.builds import BUILDS, choose_config
from latte.golden.config import PRESETS, preset
from latte.golden.errors import LatteError


def test_every_board_has_a_build_and_no_build_is_without_a_board():
    assert list(BUILDS) == list(BOARDS)
    assert all(board.config is BUILDS[name] for name, board in BOARDS.items())
    assert {build.name.removesuffix("-lean") for build in BUILDS.values()} <= set(PRESETS)


def test_a_name_is_a_preset_or_a_board():
    assert choose_config(None, None) == preset("small")
    assert choose_config("tiny", None, heads=4) == preset("tiny", heads=4)
    assert choose_config(None, "ulx3s_85f", max_seq_len=256) == preset("small", max_seq_len=256)
    assert choose_config(None, "tang_nano_9k", split="slice") == preset("tiny", max_seq_len=197, split="slice").lean()


@pytest.mark.parametrize(("name", "board", "says"), [
    ("small", "ulx3s_25f", "leave out --config small"), (None, "ulx3s", "the boards are ulx3s_25f"),
    ("ulx3s_25f", None, "the presets are")])
def test_what_is_no_name(name, board, says):
    with pytest.raises(LatteError, match=says):
        choose_config(name, board)
