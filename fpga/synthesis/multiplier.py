"""What a hard multiplier is worth in LUTs: the product of P·V, mapped without one."""

import dataclasses
import pathlib

from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from latte.fpga.synthesis.targets import Target
from latte.fpga.synthesis.yosys import synthesise
from latte.golden.config import AttentionConfig

__all__ = ["WeightProduct", "lut4_per_multiplier", "without_multipliers"]

_SOFT = {"ecp5": ("synth_ecp5", "synth_ecp5 -nodsp"), "ice40": (" -dsp", ""),
         "gowin": ("synth_gowin", "synth_gowin -nodsp"), "xilinx7": ("synth_xilinx", "synth_xilinx -nodsp")}


class WeightProduct(wiring.Component):
    """One product of P·V, a softmax weight and a value, between registers.

    Latency: 2 cycles. Throughput: one per cycle. Exact.

    Members
    -------
    weight : In(weight_bits)
    value : In(signed(8))
    product : Out(signed(weight_bits + 8))
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        super().__init__({"weight": In(config.weight_bits), "value": In(signed(8)),
                          "product": Out(signed(config.weight_bits + 8))})

    def elaborate(self, platform):
        """Build the product."""
        m = Module()
        weight, value = Signal.like(self.weight, reset_less=True), Signal.like(self.value, reset_less=True)
        m.d.sync += [weight.eq(self.weight), value.eq(self.value), self.product.eq(weight * value)]
        return m


def without_multipliers(target: Target) -> Target:
    """Return a family whose synthesis leaves the hard multipliers alone."""
    return dataclasses.replace(target, synthesis=target.synthesis.replace(*_SOFT[target.name]))


def lut4_per_multiplier(config: AttentionConfig, target: Target, folder: pathlib.Path) -> int:
    """Return the LUT4 equivalents of one product of P·V where no hard multiplier is used."""
    usage = synthesise(WeightProduct(config), without_multipliers(target), folder, top="product")
    return sum(block.lut4_equivalents for block in usage.values())
