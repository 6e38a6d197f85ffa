"""``latte infer``: a whole model, every attention computed by the hardware."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
from rich.console import Console

from latte.fpga.boards.board import DEFAULT_BAUD, find_board
from latte.fpga.host.ports import SIMULATED, opened_port
from latte.golden.backend import Backend, BackendFailure
from latte.golden.config import AttentionConfig
from latte.golden.console import create_console, create_progress, show_status
from latte.golden.errors import LatteError
from latte.golden.results import write_results
from latte.golden.train.options import PATH, thresholds_option
from latte.sim.compilation import SIMULATORS, check_simulator
from latte.sim.options import board_config_options, build_option, refuse_keys_on_chip

if TYPE_CHECKING:
    from latte.golden.models.compared import ComparedAttention
    from latte.golden.register_image import RegisterImage

__all__ = ["infer_command"]

ASSUMED_MHZ = 100.0
"""Clock of a build that is no board's: what the ULX3S 85F runs the preset ``small`` at."""


@click.command("infer")
@click.option("--model", required=True, help="Folder, hub name, .gguf file, or 'smollm2'.")
@click.option("--images", type=PATH, help="Image file to classify, or folder: every image in it.")
@click.option("--prompt", help="Text that a language model goes on with.")
@click.option("--tokens", default=8, show_default=True, type=click.IntRange(1), help="Tokens to generate.")
@thresholds_option("With static scales; by default the model's best_90, if they are shipped.")
@click.option("--backend", type=click.Choice(["sim", "torch"]), help="sim: the RTL in a simulator. torch: no hardware; "
              "the exact arithmetic in torch against the golden model, cycles predicted. [default: sim]")
@click.option("--keys-in-memory", is_flag=True, help="With --prompt: by the core whose keys and values lie in external "
              "memory. The prompt is one job for each head of keys; each further token appends its key and value, and "
              "nothing is loaded again. On --backend sim or torch.")
@click.option("--port", "port_name", metavar="NAME", help="Run on a board at this serial port, such as /dev/ttyUSB0; "
              f"or {SIMULATED!r}: the board in simulation, UART included.")
@click.option("--baud", type=click.IntRange(300), help="Of --port, as the board was built. [default: the board's, else "
              f"{DEFAULT_BAUD}]")
@click.option("--retries", default=8, show_default=True, type=click.IntRange(0),
              help="With --port: how often a request without answer is sent again.")
@click.option("--sim", "simulator", default="verilator", show_default=True, metavar="NAME",
              help=f"Simulator: {' or '.join(SIMULATORS)}.")
@click.option("--mhz", type=click.FloatRange(0, min_open=True), help="Clock that cycles are converted to time with. "
              f"[default: the board's, else {ASSUMED_MHZ:g}]")
@build_option
@board_config_options
def infer_command(config: AttentionConfig, board: str | None, model: str, images: pathlib.Path | None,
                  prompt: str | None, tokens: int, thresholds: str | None, backend: str | None,
                  keys_in_memory: bool, port_name: str | None, baud: int | None, retries: int, simulator: str,
                  mhz: float | None, build_folder: pathlib.Path) -> None:
    """Classify images or generate text, every attention computed by the hardware.

    Block after block, the hardware's outputs are what the model goes on with. The build must have the kind of threshold
    and the key groups that the thresholds need. Each output is compared with torch's exact arithmetic on the same
    operands. Prints classes or text, cycles and time, with keys in memory also what was moved; writes build/infer.json,
    and exits with 0 only if every bit agrees.
    """
    console = create_console()
    clock, origin = _clock(mhz, board)
    baud = baud or (find_board(board).baud if board else DEFAULT_BAUD)
    if backend is not None and port_name is not None:
        raise LatteError("--backend and --port both say what computes; give one of them")
    if (images is None) == (prompt is None):
        raise LatteError("give the model's input: --images FILE for an image classifier, or --prompt TEXT for a "
                         "language model")
    if keys_in_memory:
        _check_keys_in_memory(config, images, port_name, board, simulator)
    if port_name is None and backend != "torch":
        check_simulator(simulator)
    from latte.golden.models.extras import require_models

    require_models()
    from latte.fpga.inference.cached import cached_backend
    from latte.fpga.inference.outcome import Outcome
    from latte.fpga.inference.tasks import create_task
    from latte.golden.models.cached_inference import CachedAttention
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.models.hardware import HardwareAttention
    from latte.golden.models.inference import BackendAttention, check_build
    from latte.golden.register_image import RegisterImage
    from latte.golden.train.threshold_files import load_thresholds

    checkpoint = load_checkpoint(model)
    task = create_task(checkpoint, images, prompt, tokens)
    name = thresholds or _best_thresholds(checkpoint.name)
    learned = load_thresholds(name, *checkpoint.shape)
    check_build(checkpoint, learned, config, task.length)
    image = RegisterImage.encode(checkpoint.name, config, learned)
    if backend != "torch":
        _check_registers(name, image, config)
    answer, failure = None, None
    create: Callable[..., ComparedAttention]
    with contextlib.ExitStack() as stack:
        if keys_in_memory:
            create = functools.partial(CachedAttention, checkpoint, learned, image, *stack.enter_context(cached_backend(
                checkpoint, config, task.length, simulate=backend != "torch", build_folder=build_folder,
                console=console)))
        else:
            create = functools.partial(BackendAttention, checkpoint, learned, image, config, stack.enter_context(
                _backend(config, backend, port_name, (baud, retries), simulator, build_folder, console)))
        expected = task.run(HardwareAttention(learned, config))
        progress = stack.enter_context(create_progress(console, "blocks"))
        bar = progress.add_task("inferring", total=task.passes * checkpoint.blocks)
        attention = create(on_block=lambda: progress.advance(bar))
        try:
            answer = task.run(attention)
        except BackendFailure as error:
            failure = str(error)
    outcome = Outcome(checkpoint.name, task, attention, answer, expected, failure, clock)
    write_results(build_folder / "infer.json", "infer", config, outcome.results(), outcome.passed, model=model,
                  board=board, thresholds=name, backend=port_name or backend or "sim", keys_in_memory=keys_in_memory,
                  failure=failure, differences=attention.differences)
    outcome.show(console)
    total = attention.total
    kind = "predicted cycles" if backend == "torch" else "cycles"
    waiting = "; they include waiting for the serial line" if port_name else ""
    console.print(f"{total.cycles} {kind} in {total.jobs} jobs, {1e3 * outcome.seconds:.3f} ms at {clock:g} MHz "
                  f"({origin}){waiting}; thresholds {name}", soft_wrap=True)
    raise SystemExit(0 if outcome.passed else 1)


def _check_keys_in_memory(config: AttentionConfig, images: pathlib.Path | None, port_name: str | None,
                          board: str | None, simulator: str) -> None:
    """Raise `LatteError` for options that do not go with --keys-in-memory."""
    if images is not None:
        raise LatteError("--keys-in-memory is of texts, which grow by a token; leave it out with --images")
    if port_name is not None or board is not None:
        raise LatteError("no board has its keys in memory yet; leave out --keys-in-memory, or --port and --board")
    refuse_keys_on_chip(config)
    if simulator != "verilator":
        raise LatteError(f"the core with keys in memory is not simulated by {simulator}; leave out --sim, or "
                         "--keys-in-memory")


def _clock(mhz: float | None, board: str | None) -> tuple[float, str]:
    """Return (MHz, where they come from)."""
    if mhz is not None:
        return mhz, "--mhz"
    if board is not None:
        return find_board(board).clock_hz / 1e6, f"the clock of {board}"
    return ASSUMED_MHZ, "assumed; --mhz gives another"


def _best_thresholds(model: str) -> str:
    """Return the name of the shipped thresholds that serve if none are given."""
    from latte.golden.train.threshold_files import shipped_thresholds

    folder = f"{model.replace('-', '_')}/"
    names = [name for name in shipped_thresholds() if name.startswith(folder)]
    if f"{folder}best_90" in names:
        return f"{folder}best_90"
    others = f"; shipped ones are {', '.join(names)}" if names else ""
    raise LatteError(f"no best_90 thresholds are shipped for {model}: give some with --thresholds FILE{others}")


def _check_registers(name: str, image: "RegisterImage", config: AttentionConfig) -> None:
    """Raise `LatteError` if an entry has what the RTL has no registers for."""
    try:
        for entry in image.heads:
            entry.parameters.registers(config)
    except LatteError as error:
        raise LatteError(f"{name}: {error}, or latte infer --backend torch") from None


@contextlib.contextmanager
def _backend(config: AttentionConfig, backend: str | None, port_name: str | None, line: tuple[int, int],
             simulator: str, build_folder: pathlib.Path, console: Console) -> Iterator[Backend]:
    """Yield what computes; `line` has the baud rate and the retries of a serial port."""
    from latte.fpga.inference.backends import BoardBackend, GoldenBackend

    if port_name is not None:
        from latte.fpga.host.driver import Board

        baud, retries = line
        with opened_port(port_name, baud, config, build_folder, console) as (port, speed), \
                Board(port, config, speed, retries=retries) as board:
            yield BoardBackend(board)
        return
    if backend == "torch":
        yield GoldenBackend(config)
        return
    from latte.sim.core_run import build_core
    from latte.sim.simulated_core import simulated_core

    with show_status(console, f"compiling the core {config.name!r} for {simulator} (kept for the next time) ..."):
        model = build_core(config, simulator, build_folder=build_folder)
    folder = build_folder / "sim" / "runs" / f"infer-{config.name}-{simulator}-{os.getpid()}"
    with simulated_core(model, config, folder) as core:
        yield core
