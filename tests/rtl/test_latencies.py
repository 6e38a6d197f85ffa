"""Every block's latency, measured: something is offered, and the cycles until it comes out are counted."""

import importlib
import inspect
import pkgutil
import re

import pytest
from amaranth.lib import wiring

import latte.rtl
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_scorer import SerialScorer
from tests.rtl.latency import common_blocks, memory_blocks, other_blocks, wide_blocks
from tests.rtl.latency.measure import SERIAL, SERIAL_WHOLE, measure
from tests.rtl.latency.other_blocks import serial_outputs, serial_scores

CASES = common_blocks.CASES | wide_blocks.CASES | memory_blocks.CASES | other_blocks.CASES


@pytest.mark.parametrize("case", CASES)
def test_latency_is_what_the_block_says(case):
    create, attribute, stimulus = CASES[case]
    dut = create()
    assert measure(dut, stimulus) == getattr(dut, attribute)


@pytest.mark.parametrize("build", [SERIAL, SERIAL_WHOLE], ids=lambda build: build.name)
def test_cycles_of_survivors_are_what_the_serial_blocks_say(build):
    none, all_three = (measure(SerialScorer(build), lambda clock, dut, kept=kept: serial_scores(clock, dut, kept))
                       for kept in (0, 3))
    assert (all_three - none) / 3 == SerialScorer.score_cycles_of(build)
    one, three = (measure(SerialFinisher(build), lambda clock, dut, kept=kept: serial_outputs(clock, dut, kept))
                  for kept in (1, 3))
    assert (three - one) / 2 == SerialFinisher.survivor_cycles_of(build)
    assert one - SerialFinisher.survivor_cycles_of(build) == SerialFinisher.division_cycles_of(build)


def test_no_latency_goes_unmeasured():
    measured = {type(create()) for create, attribute, _ in CASES.values() if attribute == "latency"}
    for package in pkgutil.walk_packages(latte.rtl.__path__, "latte.rtl."):
        for block in vars(importlib.import_module(package.name)).values():
            if (inspect.isclass(block) and issubclass(block, wiring.Component)
                    and re.search(r"^ +(self\.)?latency = ", inspect.getsource(block), re.MULTILINE)):
                assert any(issubclass(known, block) for known in measured), f"{block.__name__}: nothing measures it"
