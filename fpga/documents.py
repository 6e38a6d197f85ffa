"""``latte documents``: every generated section of fpga/README.md, and what makes it."""

from collections.abc import Callable

import click

from latte.fpga.baselines import DOCUMENT, read_baseline
from latte.fpga.benchmark.tables import TABLES as BENCH_TABLES
from latte.fpga.link.protocol import layouts_table, messages_table
from latte.fpga.placement.board_results import TABLES as BOARD_TABLES
from latte.fpga.synthesis.area import TABLES as AREA_TABLES
from latte.golden.documents import replace_section

__all__ = ["documents_command", "sections"]


def sections() -> dict[str, Callable[[], str]]:
    """Return what makes the text of each section of `DOCUMENT`."""
    made: dict[str, Callable[[], str]] = {"protocol-messages": messages_table, "protocol-layouts": layouts_table}
    for command, tables in (("area", AREA_TABLES), ("bitstream", BOARD_TABLES), ("bench", BENCH_TABLES)):
        for name, table in tables.items():
            made[name] = lambda command=command, table=table: table(read_baseline(command))
    return made


@click.command("documents")
def documents_command() -> None:
    """Write the tables that fpga/README.md shows of the code and of the committed baselines.

    A command with --rebase writes its own; this is for tables of the code, or after a merge.
    """
    for name, text in sections().items():
        changed = replace_section(DOCUMENT, name, text())
        click.echo(f"{DOCUMENT}, {name}: {'written' if changed else 'as it was'}")
