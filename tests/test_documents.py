"""Generated sections are what their code makes today, and no document has one that nothing makes."""

import pytest

from latte.fpga.baselines import DOCUMENT
from latte.fpga.documents import sections
from latte.golden.documents import read_section, section_names


@pytest.mark.parametrize("name", sections())
def test_section_is_current(name):
    assert read_section(DOCUMENT, name) == sections()[name]().strip("\n"), "write it with: latte documents"


def test_every_section_is_made_by_something():
    assert sorted(section_names(DOCUMENT)) == sorted(sections())
