"""A reader of memory with an engine of its own."""

from amaranth import Module
from amaranth.lib import wiring

from latte.rtl.axi.read_engine import ReadEngine


class Wrapped(wiring.Component):
    """Engine and its only reader."""

    def __init__(self, engine: ReadEngine, reader: wiring.Component) -> None:
        self.engine, self.reader = engine, reader
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.reader = engine, reader = self.engine, self.reader
        wiring.connect(m, reader.request, engine.request_0)
        m.d.comb += [reader.taken.eq(engine.taken_0), reader.data.eq(engine.data), reader.fault.eq(engine.fault)]
        return m
