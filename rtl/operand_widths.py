"""Techmap that gives both operands of a cell the width that Verilog's rules expect of them.

Yosys and Amaranth extend operands silently, where a linter warns of each.
"""

__all__ = ["OPERAND_WIDTHS"]

_EXTENDED = """
(* techmap_celltype = "${cell}" *)
module {cell} (A, B, Y);
  parameter A_SIGNED = 0; parameter B_SIGNED = 0;
  parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
  localparam W = {width};
  input [A_WIDTH-1:0] A; input [B_WIDTH-1:0] B; output [Y_WIDTH-1:0] Y;
  wire [W-1:0] a, b;
  generate
    if (A_WIDTH == 0) assign a = 0;
    else if (A_SIGNED && B_SIGNED) assign a = $signed(A);
    else assign a = A;
    if (B_WIDTH == 0) assign b = 0;
    else if (A_SIGNED && B_SIGNED) assign b = $signed(B);
    else assign b = B;
  endgenerate
  wire _TECHMAP_FAIL_ = A_WIDTH == W && B_WIDTH == W;
  \\${cell} #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(W), .B_WIDTH(W), .Y_WIDTH(Y_WIDTH))
    _TECHMAP_REPLACE_ (.A(a), .B(b), .Y(Y));
endmodule
"""

# To the left, bits above the result's do not matter; to the right, those of the operand come down.
_SHIFTED = """
(* techmap_celltype = "${cell}" *)
module {cell} (A, B, Y);
  parameter A_SIGNED = 0; parameter B_SIGNED = 0;
  parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
  localparam W = {width};
  input [A_WIDTH-1:0] A; input [B_WIDTH-1:0] B; output [Y_WIDTH-1:0] Y;
  wire [W-1:0] a, y;
  generate
    if (A_SIGNED) assign a = $signed(A);
    else assign a = A;
  endgenerate
  wire _TECHMAP_FAIL_ = A_WIDTH == W && Y_WIDTH == W;
  \\${cell} #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(W), .B_WIDTH(B_WIDTH), .Y_WIDTH(W))
    _TECHMAP_REPLACE_ (.A(a), .B(B), .Y(y));
  assign Y = y[Y_WIDTH-1:0];
endmodule
"""

_LOGIC_NOT = """
(* techmap_celltype = "$logic_not" *)
module logic_not (A, Y);
  parameter A_SIGNED = 0; parameter A_WIDTH = 1; parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A; output [Y_WIDTH-1:0] Y;
  wire _TECHMAP_FAIL_ = A_WIDTH == 1 || Y_WIDTH != 1;
  assign Y = ~(|A);
endmodule
"""


def _module(template: str, cell: str, width: str) -> str:
    return template.replace("{cell}", cell).replace("{width}", width)


OPERAND_WIDTHS = "".join([
    *(_module(_EXTENDED, cell, "Y_WIDTH") for cell in ("add", "sub")),
    *(_module(_EXTENDED, cell, "A_WIDTH > B_WIDTH ? A_WIDTH : B_WIDTH")
      for cell in ("eq", "ne", "lt", "le", "gt", "ge")),
    *(_module(_SHIFTED, cell, "Y_WIDTH") for cell in ("shl", "sshl")),
    *(_module(_SHIFTED, cell, "A_WIDTH > Y_WIDTH ? A_WIDTH : Y_WIDTH") for cell in ("shr", "sshr", "shift")),
    _LOGIC_NOT])
"""Verilog that Yosys reads with ``techmap -map``."""
