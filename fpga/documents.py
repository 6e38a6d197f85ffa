"""``latte documents``: every generated section of a document, and what makes it."""

import pathlib
from collections.abc import Callable, Mapping

import click

from latte.fpga.baselines import DOCUMENT, Table, read_baseline
from latte.fpga.benchmark.interface import TABLES as INTERFACE_TABLES
from latte.fpga.benchmark.tables import TABLES as BENCH_TABLES
from latte.fpga.link.protocol import layouts_table, messages_table
from latte.fpga.placement.board_results import TABLES as BOARD_TABLES
from latte.fpga.synthesis.area import MEMORY_TABLES
from latte.fpga.synthesis.area import TABLES as AREA_TABLES
from latte.golden.documents import replace_section
from latte.golden.memory import tables as memory_tables
from latte.golden.train import tables
from latte.rtl import block_table
from latte.rtl.axi.tables import TABLES as AXI_TABLES
from latte.rtl.memory.tables import TABLES as CACHE_TABLES
from latte.sim import decode_figures
from latte.sim.coverage import baseline as coverage
from latte.sim.coverage import testplan
from latte.sim.formal import catalogue
from latte.sim.fuzz import baseline as fuzz
from latte.sim.mutation import report as mutation_report
from latte.sim.mutation.catalogue import DOCUMENT as MUTATION_DOCUMENT

__all__ = ["documents_command", "documents", "sections"]


def documents() -> dict[pathlib.Path, dict[str, Callable[[], str]]]:
    """Return what makes the text of each section of every document."""
    of_rtl = {block_table.SECTION: block_table.block_table, **AXI_TABLES, **CACHE_TABLES,
              **_measured("interface", INTERFACE_TABLES), **_measured("area", MEMORY_TABLES)}
    return {DOCUMENT: sections(), tables.DOCUMENT: tables.sections(),
            memory_tables.DOCUMENT: memory_tables.sections() | {decode_figures.SECTION: decode_figures.decode_table},
            block_table.DOCUMENT: of_rtl,
            catalogue.DOCUMENT: dict(catalogue.TABLES), coverage.DOCUMENT: coverage.TABLES,
            fuzz.DOCUMENT: fuzz.TABLES, MUTATION_DOCUMENT: dict(mutation_report.TABLES),
            # Tests are no part of a package.
            **({testplan.DOCUMENT: testplan.TABLES} if testplan.DOCUMENT.exists() else {})}


def sections() -> dict[str, Callable[[], str]]:
    """Return what makes the text of each section of fpga/README.md."""
    made: dict[str, Callable[[], str]] = {"protocol-messages": messages_table, "protocol-layouts": layouts_table}
    for command, found in (("area", AREA_TABLES), ("bitstream", BOARD_TABLES), ("bench", BENCH_TABLES)):
        made |= _measured(command, found)
    return made


def _measured(command: str, found: Mapping[str, Table]) -> dict[str, Callable[[], str]]:
    """Return what makes the sections of a command's baseline."""
    return {name: lambda table=table: table(read_baseline(command)) for name, table in found.items()}


@click.command("documents")
def documents_command() -> None:
    """Write the tables that documents show of the code, of committed baselines and of evaluations.

    A command with --rebase writes its own; this is for tables of the code, of golden/train/results, or after a merge.
    """
    for document, made in documents().items():
        for name, text in made.items():
            changed = replace_section(document, name, text())
            click.echo(f"{document}, {name}: {'written' if changed else 'as it was'}")
