"""rtl/README.md: what it says of blocks is what the blocks say."""

import re

from latte.golden.config import preset
from latte.rtl.block_table import DOCUMENT
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax


def test_way_of_a_survivor_to_its_weight():
    parts = CrossProductUnit.latency_of(preset("small")), ScoreQueue.latency, Softmax.latency_of(preset("small"))
    assert f"{' + '.join(map(str, parts))} = {sum(parts)} cycles" in DOCUMENT.read_text()


def test_named_files_exist():
    for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|vlt))`", DOCUMENT.read_text()):
        places = [DOCUMENT.parent / name, DOCUMENT.parent.parent / name]
        assert any(place.exists() for place in places) or name == "wide/row_mass.py", name
