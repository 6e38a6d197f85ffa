"""Sections of documents that a command writes: what was measured stands between two markers, never typed.

A section of a Markdown file looks like this; the remark after the name says which command writes it::

    <!-- BEGIN boards: latte bitstream --rebase -->
    | board | Fmax |
    ...
    <!-- END boards -->
"""

import pathlib
import re
from collections.abc import Iterable, Sequence

from latte.golden.errors import LatteError
from latte.golden.results import write_text

__all__ = ["markdown_table", "read_section", "replace_section", "section_names"]

_BEGIN = re.compile(r"^<!-- BEGIN (?P<name>[\w-]+)\b[^\n]*-->$", re.MULTILINE)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table of `columns` and `rows`, each cell as its text."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def section_names(path: pathlib.Path) -> list[str]:
    """Return the names of a document's sections, in order."""
    return [match["name"] for match in _BEGIN.finditer(path.read_text())]


def read_section(path: pathlib.Path, name: str) -> str:
    """Return the text between the markers of a section, without the line ends at its edges.

    Raises
    ------
    LatteError
        The document has no such section, twice the same, or one that does not end.
    """
    text = path.read_text()
    start, end = _find(path, text, name)
    return text[start:end].strip("\n")


def replace_section(path: pathlib.Path, name: str, text: str) -> bool:
    """Put `text` between the markers of a section; return whether the document changed.

    Raises
    ------
    LatteError
        As of `read_section`; the document stays as it is.
    """
    before = path.read_text()
    start, end = _find(path, before, name)
    after = f"{before[:start]}\n{text.strip(chr(10))}\n{before[end:]}"
    if after == before:
        return False
    write_text(path, after)
    return True


def _find(path: pathlib.Path, text: str, name: str) -> tuple[int, int]:
    """Return where the text of a section begins and ends: behind the first marker, at the second."""
    begins = [match for match in _BEGIN.finditer(text) if match["name"] == name]
    ends = list(re.finditer(rf"^<!-- END {re.escape(name)} -->$", text, re.MULTILINE))
    if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
        raise LatteError(f"{path}: section {name!r} must stand once between '<!-- BEGIN {name} -->' and "
                         f"'<!-- END {name} -->', each on a line of its own")
    return begins[0].end(), ends[0].start()
