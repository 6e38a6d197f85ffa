"""Every board elaborates with its pins; clocks can be made."""

import pytest

pytest.importorskip("amaranth_boards")

from latte.fpga.boards.board import BOARDS, find_board
from latte.fpga.placement.bitstream import prepare
from latte.fpga.placement.board_results import describe_build
from latte.fpga.placement.board_top import pll_dividers
from latte.golden.builds import BUILDS
from latte.golden.errors import LatteError


# Emission of the wide engine takes a third of a minute.
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if BUILDS[name].engine == "serial" else pytest.mark.slow)
                                  for name in BOARDS])
def test_board_elaborates(name):
    rtlil, constraints = prepare(BOARDS[name])
    assert "attention_core.score_estimator" in rtlil
    for pin in ("uart_0__rx", "uart_0__tx"):
        assert pin in constraints


def test_a_build_is_described_by_its_preset():
    assert {name: describe_build(board) for name, board in BOARDS.items() if board.config.engine == "serial"} == {
        "icebreaker": "tiny-lean", "tang_nano_9k": "tiny-lean max_seq_len=197"}
    assert all(describe_build(board).startswith(board.config.name) for board in BOARDS.values())


@pytest.mark.parametrize(("source", "wanted"), [(25e6, 120e6), (48e6, 120e6), (25e6, 100e6), (100e6, 120e6)])
def test_pll_makes_the_clock(source, wanted):
    divide, multiply, out = pll_dividers(source, wanted)
    assert source / divide * multiply == wanted
    assert 400e6 <= wanted * out <= 800e6


def test_impossible_clock_and_unknown_board_are_refused():
    with pytest.raises(LatteError, match="a PLL cannot make"):
        pll_dividers(25e6, 123.4567e6)
    with pytest.raises(LatteError, match="unknown board 'nope'"):
        find_board("nope")
