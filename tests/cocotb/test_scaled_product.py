"""Products that are shifted, rounded and limited, under the stall matrix."""

import random

import pytest
from amaranth import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.common.primitives import delay
from latte.rtl.wide.mass_product import create_mass_product
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, with_builds
from tests.cocotb.weighed import PRUNING, SINGLE_PRUNING

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class Products(wiring.Component):
    """A scaled product whose operands, and whose results, are one value.

    Parameters
    ----------
    product
    """

    operands = ("a", "b", "shift", "limit")

    def __init__(self, product):
        self.product = product
        item = data.StructLayout({name: getattr(product, name).shape() for name in self.operands})
        super().__init__({"i_valid": In(1), "i": In(item), "o_valid": Out(1), "o": Out(product.o.shape())})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.product = product = self.product
        m.d.comb += [getattr(product, name).eq(self.i[name]) for name in self.operands]
        m.d.comb += [self.o.eq(product.o), self.o_valid.eq(delay(m, self.i_valid, product.latency, name="valid"))]
        return m


def random_operands(rng: random.Random, product: ScaledProduct) -> dict[str, int]:
    """Return operands of one bit, of all, or of some; often with a result about as large as it may be, or a half.

    Of many a product, the bits below the highest are 0: it alone shows that the result is too large.
    """
    a, b = (rng.choice([1 << rng.randrange(width), (1 << width) - 1, rng.getrandbits(width)])
            for width in (len(product.a), len(product.b)))
    if b and rng.getrandbits(1):
        a = min((1 << len(product.a)) - 1, (1 << rng.randrange(len(product.a) + b.bit_length())) // b + 1)
    limit = rng.randrange(len(product.bits))
    exact, most_shift = ((a * b) << product.left).bit_length(), (1 << len(product.shift)) - 1
    places = rng.choice([exact - product.bits[limit] + rng.randint(-3, 3), exact + rng.randint(-2, 2),
                         rng.randint(0, most_shift)])
    return {"a": a, "b": b, "shift": min(max(places, 0), most_shift), "limit": limit}


@with_builds(PRUNING, slow=[SINGLE_PRUNING])
def test_scaled_product(config, check):
    rng = random.Random(SEED)
    product = create_mass_product(config)
    items = [random_operands(rng, product) for _ in range(3000)]
    results = [min((1 << product.bits[item["limit"]]) - 1,
                   ((item["a"] * item["b"] << product.left + 1 >> item["shift"]) + 1) >> 1) for item in items]
    check(Products(product), f"scaled-product-{config.name}", {"i": Offer(items)}, {"o": Expect(results)})
