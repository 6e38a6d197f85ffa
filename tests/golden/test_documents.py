"""Generated sections of documents: replaced whole, the rest untouched, and damage is one sentence."""

import pytest

from latte.golden.documents import markdown_table, read_section, replace_section, section_names
from latte.golden.errors import LatteError

PAGE = "# Page\n\n<!-- BEGIN one: latte area --rebase -->\nold\n<!-- END one -->\ntext\n<!-- BEGIN two -->\n" \
       "<!-- END two -->\n"


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_section_is_replaced_and_nothing_else(page):
    table = markdown_table(["a", "b"], [(1, "x"), (2.5, "")])
    assert table == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2.5 |  |"
    assert section_names(page) == ["one", "two"] and read_section(page, "one") == "old"
    assert replace_section(page, "one", table) and read_section(page, "one") == table
    assert page.read_text() == PAGE.replace("old", table)
    assert not replace_section(page, "one", table)
    assert read_section(page, "two") == "" and replace_section(page, "two", "new\n")
    assert page.read_text().endswith("<!-- BEGIN two -->\nnew\n<!-- END two -->\n")


@pytest.mark.parametrize("damage", [
    lambda text: text.replace("<!-- END one -->", ""),
    lambda text: text.replace("BEGIN one", "BEGIN oneself"),
    lambda text: text + text,
    lambda text: "<!-- END one -->\n" + text.replace("<!-- END one -->", ""),
])
def test_damaged_markers(damage, page):
    page.write_text(damage(PAGE))
    before = page.read_text()
    with pytest.raises(LatteError, match="section 'one' must stand once"):
        replace_section(page, "one", "new")
    assert page.read_text() == before
