"""What users name is shown as given, in every part of what commands print."""

import io

import pytest

from latte.golden.console import create_console, create_progress, create_table, show_status

NAMES = ["[bold]x[/y]", "w[/x]", ":smile: [link=a]b", "[[a]", "\\[b]"]


@pytest.fixture
def console():
    console = create_console(80)
    console.file = io.StringIO()
    return console


@pytest.mark.parametrize("name", NAMES)
def test_names_in_text_and_tables(name, console):
    table = create_table(name, "number", title=f"title {name}")
    table.add_row(name, "1")
    console.print(f"text {name}")
    console.print(table)
    shown = console.file.getvalue()
    assert shown.count(name) == 4 and console.width == 80


@pytest.mark.parametrize("name", NAMES)
def test_names_in_bars_and_spinners(name, console):
    """Rich reads markup in both by itself, also on a console without it."""
    console.print(show_status(console, f"compiling {name}").renderable)
    progress = create_progress(console, "heads")
    progress.add_task(name, total=3)
    console.print(progress.get_renderable())
    assert console.file.getvalue().count(name) == 2


def test_columns_are_aligned():
    table = create_table("a", "b", "c", title="t", left=["c"])
    assert [column.justify for column in table.columns] == ["left", "right", "left"]
