"""Generated sections are what their code makes today, and no document has one that nothing makes."""

import pathlib

import pytest

from latte.fpga.documents import documents
from latte.golden.documents import read_section, section_names

ROOT = pathlib.Path(__file__).parent.parent
SECTIONS = [(path, name) for path, made in documents().items() for name in made]


@pytest.mark.parametrize(("path", "name"), SECTIONS, ids=[f"{path.parent.name}-{name}" for path, name in SECTIONS])
def test_section_is_current(path, name):
    assert read_section(path, name) == documents()[path][name]().strip("\n"), "write it with: latte documents"


def test_every_section_is_made_by_something():
    found = {(path, name) for folder in ("golden", "rtl", "sim", "fpga") for path in (ROOT / folder).rglob("*.md")
             for name in section_names(path)}
    found |= {(path, name) for path in ROOT.glob("*.md") for name in section_names(path)}
    assert {(path.resolve(), name) for path, name in found} <= {(path.resolve(), name) for path, name in SECTIONS}
