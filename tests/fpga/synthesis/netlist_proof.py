"""Proof that two ECP5 netlists compute the same, whatever their memories and multipliers do.

Block RAMs and multipliers are cut out: what goes into them must be equal in every cycle, and what comes out of them is
free. What is left of a block is its registers, as the vendor describes them: a `DP16KD` may have one behind each port
(``REGMODE``), a `MULT18X18D` one before each operand and two behind the product (``REG_*_CLK``).

The circuits are pipelines without feedback. After as many cycles as the pipeline is long, a state that was arbitrary in
the beginning no longer matters, so one comparison after that many cycles holds for all times (bounded proof by SAT).
"""

import json
import pathlib

from latte.fpga.synthesis.tools import run_yosys_script

__all__ = ["prove_equal", "unregistered_parameters"]

_REGISTERS = {"DP16KD": ("REGMODE_A", "REGMODE_B"),
              "MULT18X18D": ("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_PIPELINE_CLK", "REG_OUTPUT_CLK")}
_CYCLES = 12
"""Longer than any pipeline here."""


def _bus(name: str, width: int) -> list[str]:
    return [f"{name}{bit}" for bit in range(width)]


def _packed(name: str, width: int) -> str:
    return "{" + ", ".join(reversed(_bus(name, width))) + "}"


def _block_ram() -> str:
    inputs = [port for side in "AB" for port in (
        *_bus(f"DI{side}", 18), *_bus(f"AD{side}", 14), f"CE{side}", f"CLK{side}", f"WE{side}", f"RST{side}",
        *_bus(f"CS{side}", 3))]
    enables, outputs = ["OCEA", "OCEB"], _bus("DOA", 18) + _bus("DOB", 18)
    sides = "\n".join(f"""
  wire [17:0] word_{side};
  reg [17:0] held_{side};
  always @(posedge CLK{side}) if (OCE{side}) held_{side} <= word_{side};
  assign {_packed(f"DO{side}", 18)} = REGMODE_{side} == "OUTREG" ? held_{side} : word_{side};""" for side in "AB")
    return f"""
(* blackbox *) module DP16KD_ARRAY(input [{len(inputs) - 1}:0] i, output [17:0] a, output [17:0] b); endmodule
module DP16KD(input {", ".join(inputs + enables)}, output {", ".join(outputs)});
  parameter REGMODE_A = "NOREG"; parameter REGMODE_B = "NOREG";{sides}
  DP16KD_ARRAY array(.i({{{", ".join(inputs)}}}), .a(word_A), .b(word_B));
endmodule
"""


def _multiplier() -> str:
    operands, products = _bus("A", 18) + _bus("B", 18), _bus("P", 36)
    others = ["SIGNEDA", "SIGNEDB", "CLK0", "CE0", "RST0"]
    return f"""
(* blackbox *) module MULT18X18D_ARRAY(input [17:0] a, input [17:0] b, input [1:0] is_signed, output [35:0] p);
endmodule
module MULT18X18D(input {", ".join(operands + others)}, output {", ".join(products)});
  parameter REG_INPUTA_CLK = "NONE"; parameter REG_INPUTB_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE"; parameter REG_OUTPUT_CLK = "NONE";
  wire [17:0] a = {_packed("A", 18)}, b = {_packed("B", 18)};
  reg [17:0] held_a, held_b;
  wire [35:0] product;
  reg [35:0] piped, held;
  wire [35:0] inner = REG_PIPELINE_CLK == "CLK0" ? piped : product;
  always @(posedge CLK0)
    if (RST0) begin held_a <= 0; held_b <= 0; piped <= 0; held <= 0; end
    else if (CE0) begin held_a <= a; held_b <= b; piped <= product; held <= inner; end
  MULT18X18D_ARRAY array(.a(REG_INPUTA_CLK == "CLK0" ? held_a : a), .b(REG_INPUTB_CLK == "CLK0" ? held_b : b),
                         .is_signed({{SIGNEDA, SIGNEDB}}), .p(product));
  assign {_packed("P", 36)} = REG_OUTPUT_CLK == "CLK0" ? held : inner;
endmodule
"""


def _blocks(netlist: pathlib.Path) -> dict:
    design = json.loads(netlist.read_text())
    return {name: cell for module in design["modules"].values() for name, cell in module["cells"].items()
            if cell["type"] in _REGISTERS}


def unregistered_parameters(netlist: pathlib.Path) -> dict:
    """Return each block's parameters but those that say which registers it has: contents, widths, modes."""
    return {name: {key: value for key, value in cell["parameters"].items() if not key.startswith("REG")}
            for name, cell in _blocks(netlist).items()}


def _strip(netlist: pathlib.Path, top: str, result: pathlib.Path) -> None:
    """Leave of the library nothing, and of each block's parameters only those that the models know."""
    design = json.loads(netlist.read_text())
    design["modules"] = {top: design["modules"][top]}
    for module in design["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] in _REGISTERS:
                cell["parameters"] = {key: cell["parameters"][key] for key in _REGISTERS[cell["type"]]
                                      if key in cell["parameters"]}
    result.write_text(json.dumps(design))


def prove_equal(before: pathlib.Path, after: pathlib.Path, top: str, folder: pathlib.Path,
                enables: tuple[str, ...] = ()) -> None:
    """Prove that two netlists (Yosys JSON) are equal once their pipelines have filled.

    `enables` are inputs that let registers hold their state; each is high once, so that it is a known one.

    Raises
    ------
    ToolFailure
        They are not, or the proof did not come to an end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blocks.v").write_text(_block_ram() + _multiplier())
    script = ""
    for name, netlist in (("gold", before), ("gate", after)):
        _strip(netlist, top, folder / f"{name}.json")
        # Without initial values: the proof begins in any state.
        script += ("read_verilog -overwrite +/ecp5/cells_sim.v\ndelete DP16KD\n"
                   f"read_verilog -overwrite blocks.v\nread_json {name}.json\n"
                   f"hierarchy -top {top}\nproc\nflatten\nopt_clean\nsetattr -unset init w:*\nexpose -evert t:*_ARRAY\n"
                   f"rename {top} {name}\ndesign -stash {name}\n")
    held = "".join(f" -set-at {_CYCLES // 2} in_{name} 1'1" for name in enables)
    script += ("design -copy-from gold gold\ndesign -copy-from gate gate\nmiter -equiv -flatten gold gate miter\n"
               f"sat -verify -seq {_CYCLES} -prove-skip {_CYCLES - 1} -prove trigger 0{held} miter\n")
    run_yosys_script(script, folder)
