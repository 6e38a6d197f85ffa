"""The one way that commands print: text is shown as given, whatever brackets the names in it have.

rich takes square brackets for markup; here they are text. What shall have a style is a `rich.text.Text`.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.table import Table
from rich.text import Text

__all__ = ["create_console", "create_progress", "create_table", "show_status"]

_WIDTH = 120


def create_console(width: int = _WIDTH) -> Console:
    """Return a console on standard output: as wide as the terminal, or `width` characters where there is none."""
    console = Console(markup=False, emoji=False)
    return console if console.is_terminal else Console(width=width, markup=False, emoji=False)


def create_table(*columns: str, title: str, left: Sequence[str] = ()) -> Table:
    """Return a table whose columns but the first and those named in `left` are aligned to the right."""
    table = Table(*columns, title=title)
    for column in table.columns[1:]:
        if column.header not in left:
            column.justify = "right"
    return table


def create_progress(console: Console, unit: str = "") -> Progress:
    """Return a bar that vanishes at its end, with a task's description, its count of `unit`, time gone and left."""
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()]
    if unit:
        columns.append(TextColumn(unit, markup=False))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)


def show_status(console: Console, text: str) -> Status:
    """Return a context that shows `text` beside a spinner while it lasts."""
    return console.status(Text(text))
