"""A board's bitstream by the open flow: Yosys, nextpnr, packer."""

import dataclasses
import pathlib

from latte.fpga.boards.board import BoardSpec
from latte.fpga.placement.board_top import BoardTop
from latte.fpga.placement.fit import check_fits
from latte.fpga.placement.place import Placement, place
from latte.fpga.synthesis.area import baseline_usages
from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.tools import check_tools, run_tool
from latte.fpga.synthesis.yosys import OWN_LOGIC, Usage, synthesise_rtlil
from latte.golden.errors import LatteError
from latte.sim.locks import emptied

__all__ = ["Bitstream", "build_bitstream", "prepare"]

_TOP = "board"


@dataclasses.dataclass(frozen=True)
class Bitstream:
    """A file that is fit to be loaded.

    Parameters
    ----------
    path
    usage
        From synthesis.
    placement
        The run that met the clock.
    """

    path: pathlib.Path
    usage: Usage
    placement: Placement


@dataclasses.dataclass(frozen=True)
class _Flow:
    """How a family goes on from a netlist."""

    constraints: str
    pnr_options: tuple[str, ...]
    packer: str
    packer_options: tuple[str, ...]
    suffix: str


_FLOWS = {
    "ecp5": _Flow(".lpf", ("--lpf", "board.lpf", "--textcfg", "board.config"), "ecppack",
                  ("--compress", "board.config", "board.bit"), ".bit"),
    "ice40": _Flow(".pcf", ("--pcf", "board.pcf", "--asc", "board.asc"), "icepack", ("board.asc", "board.bin"), ".bin"),
    "gowin": _Flow(".cst", ("--vopt", "cst=board.cst", "--write", "board.pnr.json"), "gowin_pack",
                   ("-d", "GW1N-9C", "-o", "board.fs", "--sspi_as_gpio", "--mspi_as_gpio", "board.pnr.json"), ".fs"),
}
_ECP5_PACKAGES = {"BG256": "CABGA256", "BG381": "CABGA381", "BG554": "CABGA554", "MG285": "CSFBGA285"}


def prepare(board: BoardSpec) -> tuple[str, str]:
    """Return the RTLIL and the pin constraints of a board's design."""
    plan = board.make_platform().prepare(BoardTop(board), _TOP, emit_src=False)
    texts = {name: content if isinstance(content, str) else content.decode() for name, content in plan.files.items()}
    return texts[f"{_TOP}.il"], texts[_TOP + _FLOWS[board.part.target].constraints]


def build_bitstream(board: BoardSpec, folder: pathlib.Path, *, seeds: int) -> Bitstream:
    """Build a board's bitstream, ``<folder>/<board>.<ending>``; the first seed that meets the clock is taken.

    A file left by an earlier build is removed first, so that what is there is good.

    Raises
    ------
    LatteError
        The design is too large, or no seed meets the clock.
    """
    flow, device = _FLOWS[board.part.target], board.part
    check_tools("yosys", device.tool, flow.packer)
    product = folder / f"{board.name}{flow.suffix}"
    work = folder / board.name
    with emptied(work):
        product.unlink(missing_ok=True)
        rtlil, constraints = prepare(board)
        usage = synthesise_rtlil(rtlil, TARGETS[device.target], work, top=_TOP, block_rams=device.bram)[OWN_LOGIC]
        check_fits(usage, device, f"board {board.name} with {board.config.name!r}", baseline_usages(device.target))
        (work / f"{_TOP}{flow.constraints}").write_text(constraints)
        mhz = board.clock_hz / 1e6
        best = None
        for seed in range(1, seeds + 1):
            placement = place(f"{_TOP}.json", device, work, mhz=mhz, seed=seed,
                              options=(*flow.pnr_options, *_package(board)))
            if placement.met:
                run_tool(flow.packer, flow.packer_options, work)
                (work / f"{_TOP}{flow.suffix}").replace(product)
                return Bitstream(product, usage, placement)
            if best is None or placement.fmax > best.fmax:
                best = placement
    raise LatteError(f"board {board.name}: {best.fmax:.1f} MHz is the best of {seeds} seeds, its clock of "
                     f"{best.constraint:g} MHz is not met; try more with --seeds")


def _package(board: BoardSpec) -> tuple[str, ...]:
    if board.part.target == "ecp5":
        platform = board.make_platform()
        return ("--package", _ECP5_PACKAGES[platform.package], "--speed", platform.speed)
    return board.part.package
