"""``latte report``."""

import pathlib

import click

from latte.fpga.boards.board import DEFAULT_BAUD, find_board
from latte.fpga.report.page import SOURCES, render_report
from latte.golden.config import AttentionConfig
from latte.golden.results import read_results, write_text
from latte.golden.vectors import load_vectors
from latte.sim.options import board_config_options, build_option
from latte.sim.vector_sets import embedded_that_fit

__all__ = ["report_command"]

_DEFAULT_TARGET = "ecp5"


@click.command("report")
@click.option("--output", type=click.Path(path_type=pathlib.Path, dir_okay=False),
              help="Page to write. Default: report.html in the build folder.")
@click.option("--vectors", "files", multiple=True, type=click.Path(path_type=pathlib.Path),
              help="Vector file whose kept patterns are drawn; repeatable. Default: the embedded ones.")
@click.option("--head", "head_index", default=0, show_default=True, type=click.IntRange(0),
              help="Which head of each vector file is drawn.")
@click.option("--target", metavar="NAME", help="Device of the roofline and the area table. [default: the board's, else "
              f"{_DEFAULT_TARGET}]")
@click.option("--clock-mhz", type=click.FloatRange(min=0, min_open=True),
              help="Clock of the roofline. Default: the Fmax of timing.json.")
@click.option("--baud", type=click.IntRange(300),
              help=f"Host link's baud rate. [default: the board's, else {DEFAULT_BAUD}]")
@build_option
@board_config_options
def report_command(config: AttentionConfig, board: str | None, output: pathlib.Path | None,
                   files: tuple[pathlib.Path, ...], head_index: int, target: str | None, clock_mhz: float | None,
                   baud: int | None, build_folder: pathlib.Path) -> None:
    """Gather build/*.json into one self-contained HTML page."""
    sets = [load_vectors(path) for path in files]
    for vectors in sets:
        vectors.check_fits(config)
    if not files:
        sets, _ = embedded_that_fit(config)
    target = target or (find_board(board).part.target if board else _DEFAULT_TARGET)
    baud = baud or (find_board(board).baud if board else DEFAULT_BAUD)
    results = {name: read_results(build_folder / f"{name}.json") for name in SOURCES}
    output = output or build_folder / "report.html"
    write_text(output, render_report(config, results, sets, head_index=head_index, target=target, clock_mhz=clock_mhz,
                                     baud=baud))
    missing = [command for name, (_, command) in SOURCES.items() if results[name] is None]
    click.echo(f"{output}: written" + (f"; not measured yet: {', '.join(missing)}" if missing else ""))
