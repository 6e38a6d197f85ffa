"""Modules that simulations have in Verilog: what Amaranth would emit with every word's initial value."""

__all__ = ["MODULES", "modules_in"]

MODULES = {
    # A megabyte of zeros, once for each memory, takes minutes to emit and to compile.
    "latte_words": """
module latte_words #(parameter WIDTH = 64, DEPTH = 2, ADDRESS_BITS = 1) (
  input wire clk,
  input wire [ADDRESS_BITS-1:0] write_addr,
  input wire [WIDTH/8-1:0] write_en,
  input wire [WIDTH-1:0] write_data,
  input wire [ADDRESS_BITS-1:0] read_addr,
  output wire [WIDTH-1:0] read_data
);
  reg [WIDTH-1:0] words [0:DEPTH-1];
  integer lane;
  assign read_data = words[read_addr];
  always @(posedge clk)
    for (lane = 0; lane < WIDTH / 8; lane = lane + 1)
      if (write_en[lane]) words[write_addr][8*lane +: 8] <= write_data[8*lane +: 8];
endmodule
""",
}
"""Name: source. ``latte_words``: a memory with one write and one read port, the latter without latency."""


def modules_in(verilog: str) -> str:
    """Return the source of the modules that some SystemVerilog uses and does not have."""
    return "".join(source for name, source in MODULES.items() if name in verilog)
