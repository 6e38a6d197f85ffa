"""Families of FPGAs, and gates: how Yosys maps a design to each, and what the cells it leaves count as."""

import dataclasses
import re

from latte.golden.errors import LatteError

__all__ = ["TARGETS", "CellKind", "Target", "find_target"]


@dataclasses.dataclass(frozen=True)
class CellKind:
    """What one cell counts as.

    Parameters
    ----------
    pattern
        Regular expression of the cell's whole type.
    kind
        ``"lut"``, ``"carry"``, ``"lutram"``, ``"ff"``, ``"dsp"``, ``"bram"``, ``"spram"`` (single-ported) or
        ``"gate"``.
    lut4
        LUT4 equivalents of one.
    bits
        Memory bits of one block RAM.
    """

    pattern: str
    kind: str
    lut4: float = 0
    bits: int = 0


@dataclasses.dataclass(frozen=True)
class Target:
    """One family.

    Parameters
    ----------
    name, title
    synthesis
        Yosys commands from a design whose hierarchy is checked to mapped cells.
    cells
        Cells that count, the first match decides; others (constants, pads) do not.
    statistics
        Options of Yosys' ``stat``.
    preparation
        Yosys commands before those of `synthesis`.
    block_ram_shapes
        Bits and words that one block RAM can have; none of a family without LUT RAM, where nothing can be spilled.
    """

    name: str
    title: str
    synthesis: str
    cells: tuple[CellKind, ...]
    statistics: str = ""
    preparation: str = ""
    block_ram_shapes: tuple[tuple[int, int], ...] = ()

    def kind_of(self, cell: str) -> CellKind | None:
        """Return what a cell type counts as; None for nothing."""
        return next((kind for kind in self.cells if re.fullmatch(kind.pattern, cell)), None)


_BLOCKS_OF_18_KBIT = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))

# No multiplexers above LUT4 (-nowidelut): they would hide two LUTs in one, and cost routing.
_ECP5 = Target(
    "ecp5", "Lattice ECP5", "synth_ecp5 -abc9 -nowidelut -top {top}", (
        CellKind("LUT4", "lut", 1),
        CellKind("CCU2C", "carry", 2),  # two LUT4 sites each
        CellKind("TRELLIS_DPR16X4", "lutram", 6),  # four LUT4 sites, two more drive the write port
        CellKind("TRELLIS_FF", "ff"),
        CellKind("MULT18X18D", "dsp"),
        CellKind("DP16KD|PDPW16KD", "bram", bits=18432)), block_ram_shapes=_BLOCKS_OF_18_KBIT)

# Of two registers in a row behind a multiplier, Yosys 0.70 takes both into the SB_MAC16 and leaves the second outside
# as well: two drivers, of which the one that is left holds zeros. If the first is to be kept, only one goes in.
_KEEP_REGISTER_PAIRS = """
select -set first t:$mul %co1:+[Y] %co2 t:$dff %i
select -set second @first %co1:+[Q] %co2 t:$dff %i @first %d
setattr -set keep 1 @second %ci1:+[D] w:* %i
"""
# `latte.rtl.serial.serial_memories.SinglePortRam`, wherever it is. A single-ported RAM has no initial contents.
_SINGLE_PORTED = """
delete t:$meminit_v2 r:MEMID=*single_port* %i
setattr -set ram_style "huge" m:*single_port*
"""

_ICE40 = Target(
    "ice40", "Lattice iCE40 UP", "synth_ice40 -device u -dsp -spram -abc9 -top {top}", (
        CellKind("SB_LUT4", "lut", 1),
        CellKind("SB_CARRY", "carry"),  # beside a LUT4 that is counted
        CellKind("SB_DFF.*", "ff"),
        CellKind("SB_MAC16", "dsp"),
        CellKind("SB_RAM40_4K.*", "bram", bits=4096),
        CellKind("SB_SPRAM256KA", "spram", bits=262144)),
    preparation=_KEEP_REGISTER_PAIRS + _SINGLE_PORTED)

_XILINX7 = Target(
    "xilinx7", "AMD 7 series", "synth_xilinx -family xc7 -abc9 -nowidelut -noiopad -noclkbuf -top {top}", (
        CellKind("LUT[1-4]|INV", "lut", 1),
        CellKind("LUT5", "lut", 2),  # a LUT5 holds the truth tables of two LUT4, a LUT6 of four
        CellKind("LUT6", "lut", 4),
        CellKind("CARRY4", "carry"),  # beside LUTs that are counted
        CellKind("RAM32M|RAM64M", "lutram", 16),
        CellKind("RAM32X1D|RAM64X1D", "lutram", 8),
        CellKind("SRL16E", "lutram", 1),
        CellKind("SRLC32E", "lutram", 4),
        CellKind("FD[RSCP]E(_1)?", "ff"),
        CellKind("DSP48E1", "dsp"),
        CellKind("RAMB18E1", "bram", bits=18432),
        CellKind("RAMB36E1", "bram", bits=36864)))

_GOWIN = Target(
    "gowin", "Gowin GW1N", "synth_gowin -family gw1n -nowidelut -noiopads -top {top}", (
        CellKind("LUT[1-4]|INV", "lut", 1),
        CellKind("ALU", "carry", 1),  # one LUT4 site
        CellKind("RAM16SDP4", "lutram", 4),
        CellKind("RAM16SDP2", "lutram", 2),
        CellKind("RAM16SDP1", "lutram", 1),
        CellKind("DFF.*", "ff"),
        CellKind("MULT.*", "dsp"),
        CellKind("SDPX?9?B|DPX?9?B|SPX?9?|pROM(X9)?", "bram", bits=18432)), block_ram_shapes=_BLOCKS_OF_18_KBIT)

# Memories stay whole: they are macros on a chip. Everything else becomes gates and flip-flops.
_CMOS = Target(
    "cmos", "CMOS gates",
    "hierarchy -check -top {top}; proc; flatten; opt_expr; opt_clean; check; opt -nodffe -nosdff; fsm; opt; wreduce; "
    "peepopt; opt_clean; alumacc; share; opt; memory -nomap; opt_clean; opt -fast -full; techmap; opt -fast; "
    "dfflegalize -cell $_DFF_P_ 01 -cell $_DFFE_PP_ 01; abc -g AND,NAND,OR,NOR,XOR,XNOR,MUX,AOI3,OAI3; opt -fast; "
    "memory_unpack",
    (CellKind(r"\$_DFF.*_", "ff"),
     CellKind(r"\$_.*_", "gate")),
    "-tech cmos")

TARGETS = {target.name: target for target in (_ECP5, _ICE40, _XILINX7, _GOWIN, _CMOS)}


def find_target(name: str) -> Target:
    """Return the target of that name.

    Raises
    ------
    LatteError
        There is none.
    """
    if name not in TARGETS:
        raise LatteError(f"unknown target {name!r}; the targets are {', '.join(TARGETS)}")
    return TARGETS[name]
