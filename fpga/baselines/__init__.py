"""Committed figures that later runs are compared with, and the document that shows them.

``<command>.json`` holds ``{name: value}``, names and units as in the command's result file. ``--rebase`` of the command
writes it, and the tables that are made of it.
"""

import json
import pathlib
from collections.abc import Callable, Mapping

from latte.golden.documents import replace_section
from latte.golden.results import write_text

__all__ = ["DOCUMENT", "Table", "read_baseline", "update_baseline"]

DOCUMENT = pathlib.Path(__file__).parent.parent / "README.md"
"""Where most tables stand."""
_FOLDER = pathlib.Path(__file__).parent

Table = Callable[[Mapping[str, float]], str]
"""Makes Markdown of a baseline."""


def read_baseline(command: str) -> dict[str, float]:
    """Return the committed figures of a command by name; none if it has no baseline."""
    path = _FOLDER / f"{command}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def update_baseline(command: str, figures: Mapping[str, float], tables: Mapping[str, Table], *,
                    replaced: str | None = None, document: pathlib.Path = DOCUMENT) -> None:
    """Put figures into a baseline, and write the tables that are made of it.

    Parameters
    ----------
    command
    figures
        By name.
    tables
        By section of the document.
    replaced
        Start of the names that go, whether they come again or not.
    document
        Where the tables stand.
    """
    kept = {name: value for name, value in read_baseline(command).items()
            if replaced is None or not name.startswith(replaced)}
    merged = dict(sorted((kept | dict(figures)).items()))
    write_text(_FOLDER / f"{command}.json", json.dumps(merged, indent=0) + "\n")
    for section, table in tables.items():
        replace_section(document, section, table(merged))
