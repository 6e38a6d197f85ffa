"""``latte run``: verify a board over its serial port."""

import pathlib

import click

from latte.fpga.boards.board import DEFAULT_BAUD, find_board
from latte.fpga.host.driver import Board
from latte.fpga.host.ports import SIMULATED, line_seconds, opened_port
from latte.fpga.host.transport import line_limit
from latte.fpga.host.verify import verify_heads
from latte.golden.config import AttentionConfig
from latte.golden.console import create_console, create_progress
from latte.golden.results import write_results
from latte.sim.head_table import head_result, print_heads, print_problems
from latte.sim.options import board_config_options, build_option
from latte.sim.vector_sets import gather_vectors, open_registers, registers_note, vector_options

__all__ = ["run_command"]


@click.command("run")
@click.option("--port", "port_name", required=True, metavar="NAME",
              help=f"Serial port, such as /dev/ttyUSB0; or {SIMULATED!r}: the board in simulation, UART included.")
@click.option("--baud", type=click.IntRange(300), help="As the board was built. [default: the board's, else "
              f"{DEFAULT_BAUD}]")
@vector_options
@click.option("--retries", default=8, show_default=True, type=click.IntRange(0),
              help="How often a request without answer is sent again.")
@build_option
@board_config_options
def run_command(config: AttentionConfig, board: str | None, port_name: str, baud: int | None,
                files: tuple[pathlib.Path, ...], registers: pathlib.Path | None, sample: int | None,
                retries: int, build_folder: pathlib.Path) -> None:
    """Run heads on a board and compare every output bit with the golden model.

    --board names the build of its bitstream. Prints a table, writes build/run.json, and exits with 0 only if every bit
    agrees.
    """
    console = create_console()
    image = open_registers(registers, config)
    sets, left_out = gather_vectors(files, image, config, sample)
    heads = []
    baud = baud or (find_board(board).baud if board else DEFAULT_BAUD)
    with opened_port(port_name, baud, config, build_folder, console) as (port, speed), \
            Board(port, config, speed, retries=retries) as driver:
        if image is not None:
            driver.load_image(image)
        started = line_seconds(port)
        with create_progress(console, "heads") as progress:
            task = progress.add_task("running", total=sum(len(vectors) for vectors in sets))
            for vectors in sets:
                for head in verify_heads(driver, vectors):
                    heads.append(head)
                    progress.advance(task)
        seconds = line_seconds(port) - started
        discarded, line = driver.report().discarded, driver.statistics
    rate = len(heads) / seconds
    limit = sum(map(len, sets)) / sum(len(vectors) / line_limit(config, vectors.q.shape[1], speed) for vectors in sets)
    passed = all(head.passed for head in heads)
    link = {"requests": line.requests, "retries": line.retries, "bad_frames": line.bad_frames, "discarded": discarded,
            "bytes_sent": line.bytes_sent, "bytes_received": line.bytes_received, "seconds": seconds,
            "heads_per_second": rate, "of_limit": rate / limit}
    write_results(build_folder / "run.json", "run", config, [head_result(head) for head in heads], passed,
                  port=port_name, board=board, baud=speed, link=link, left_out=left_out,
                  registers=image and image.checksum)
    print_heads(console, heads, title="board against the golden model")
    print_problems(console, heads)
    console.print(f"{sum(head.passed for head in heads)} of {len(heads)} heads agree in every output bit "
                  f"({board or config.name}, {port_name}); cycles include waiting for the serial line", soft_wrap=True)
    for reason in left_out:
        console.print(f"left out: {reason}", soft_wrap=True)
    console.print(f"line: {line.requests} requests, {line.retries} sent again, {line.bad_frames} damaged answers, "
                  f"{discarded} frames discarded by the board; {line.bytes_sent} bytes sent, {line.bytes_received} "
                  f"received in {seconds:.3g} s; {rate:.3g} heads a second, {100 * rate / limit:.1f} % of what "
                  f"{speed} baud carry of operands and outputs, one way after the other", soft_wrap=True)
    if image is not None:
        console.print(registers_note(registers, image), soft_wrap=True)
    raise SystemExit(0 if passed else 1)
