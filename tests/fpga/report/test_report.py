"""The page: what is on it, what it says is missing, and that it needs nothing else."""

import base64
import html.parser
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from latte.fpga.report.commands import report_command
from latte.fpga.report.figures import pattern_png
from latte.fpga.report.page import SOURCES, block_areas, render_report
from latte.fpga.sizing.roofline import compute_roofs, head_intensity, memory_roofs
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.results import read_results
from latte.golden.vectors import embedded_vectors
from latte.sim.vector_sets import embedded_that_fit

CONFIG = preset("small")
NOTHING = dict.fromkeys(SOURCES)


def record(results, passed=True, config="small"):
    return {"target": "x", "git": "abc", "config": {"name": config}, "results": results, "pass": passed}


def entry(name, value, **others):
    return {"name": name, "unit": "count", "value": value, **others}


AREA = record([entry("small.ecp5.lut4", 12345), entry("small.ecp5.lut4_per_mac", 29.5),
               entry("small.ecp5.softmax.lut4", 700), entry("small.ecp5.normalizer.lut4", 900),
               entry("small.ice40.lut4", 1)])
SIM = record([entry("vit<b>.block0.head1", 1, n=10, kept=25, visible=100, cycles=60, estimator_utilisation=0.9,
                    out_max_error=0.01)])


class Page(html.parser.HTMLParser):
    """Collects the addresses that a page asks for, and checks that its elements nest."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.addresses, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note addresses."""
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Note addresses."""
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        """Check the nesting."""
        assert self.open.pop() == tag


def test_empty_build_says_what_to_do():
    text = render_report(CONFIG, NOTHING, [])
    for name, (_, command) in SOURCES.items():
        assert f"{name}.json" in text and command in text
    assert "assumed: timing is not measured yet" in text


def test_page_is_self_contained():
    text = render_report(CONFIG, NOTHING | {"area": AREA, "sim": SIM}, list(embedded_vectors())[:1])
    page = Page(text)
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "@import" not in text and not re.search(r"url\((?!#)", text) and "<script" not in text


def test_shows_measurements():
    timing = record([entry("small.ecp5.fmax", 131.25)], passed=False)
    text = render_report(CONFIG, NOTHING | {"area": AREA, "sim": SIM, "timing": timing}, [])
    assert "131.2 MHz" in text and "measured Fmax" in text and "not passed" in text
    assert text.index("normalizer") < text.index("softmax")
    assert "12,345" in text and "25.0 % (of the simulated heads)" in text
    assert "vit&lt;b&gt;.block0.head1" in text and "vit<b>" not in text


def test_points_of_another_configuration_are_left_out():
    text = render_report(CONFIG, NOTHING | {"sim": record(SIM["results"], config="base")}, [])
    assert "there are no points" in text


def test_block_areas():
    assert block_areas(AREA["results"], "ecp5") == {
        "small": {"": {"lut4": 12345, "lut4_per_mac": 29.5}, "softmax": {"lut4": 700}, "normalizer": {"lut4": 900}}}


def test_roofline():
    config = CONFIG.replace(query_lanes=2, key_lanes=1, dim_lanes=64, cross_lanes=22, value_lanes=22,
                            normalizer_lanes=2, bus_bytes=2)
    # Two pairs a cycle at 100 MHz, 128 MAC each; a survivor takes three cycles.
    roofs = {roof.name: roof.value for roof in compute_roofs(config, 100e6, 0.1)}
    assert roofs == pytest.approx({"estimator": 25.6e9, "cross": 42.67e9, "P·V": 42.67e9}, rel=1e-3)
    ports, uart = memory_roofs(config, 100e6, 115_200)
    assert (ports.value, uart.value) == (1e9, 11_520)
    assert head_intensity(config, 100, 10_000) == pytest.approx(100 * 2 / 5)


@pytest.mark.parametrize("size", [5, 512, 700])
def test_pattern_shows_every_row_with_a_kept_key(size):
    keep = np.eye(size, dtype=bool)
    picture = pattern_png(np.tri(size, dtype=bool), keep)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).convert("RGB"))
    assert len(pixels) <= 512
    assert np.array_equal((pixels == pixels[0, 0]).all(axis=2), np.eye(len(pixels), dtype=bool))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"results": 3}', '{"results": [{"name": "a"}]}'])
def test_damaged_results_are_refused(tmp_path, text):
    path = tmp_path / "area.json"
    path.write_text(text)
    with pytest.raises(LatteError, match=r"area\.json: .*make it again"):
        read_results(path)


def test_command(tmp_path, capsys):
    (tmp_path / "sim.json").write_text(json.dumps(SIM))
    report_command.main(["--build", str(tmp_path)], standalone_mode=False)
    assert "not measured yet: make area, make timing" in capsys.readouterr().out
    text = (tmp_path / "report.html").read_text()
    shown = embedded_that_fit(CONFIG)[0]
    assert text.count("data:image/png") == len(shown) > len(list(embedded_vectors()))


def test_vectors_that_do_not_fit(tmp_path):
    with pytest.raises(LatteError, match="no such vector file"):
        report_command.main(["--vectors", str(tmp_path / "none.npz")], standalone_mode=False)
