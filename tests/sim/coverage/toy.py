"""A component for tests of coverage, in which it is taken for hardware: some of its branches can never be taken."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Toy(wiring.Component):
    """Gives back what is pushed, one more for each push so far; a part counts them."""

    a: In(2)
    a_valid: In(1)
    o: Out(4)
    o_valid: Out(1)
    above: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.submodules.part = part = Part()
        m.d.comb += [part.step.eq(self.a_valid), self.o.eq(self.a + part.count), self.o_valid.eq(self.a_valid)]
        above = self.above
        stuck = Signal(2)
        with m.If(self.a_valid):  # taken, and not
            with m.Switch(self.a):
                with m.Case(0):  # twice
                    m.d.sync += above.eq(0)
                with m.Case(1, 2):  # twice, in cycles in a row
                    m.d.sync += above.eq(above + 1)
                with m.Case(3):  # never
                    m.d.sync += above.eq(7)
        with m.FSM():
            with m.State("waits"):
                with m.If(self.a_valid):
                    m.next = "goes"
            with m.State("goes"):
                m.d.comb += stuck.eq(1)
                m.next = "goes"
            with m.State("lost"):  # never
                m.d.comb += stuck.eq(2)
                m.next = "waits"
        with m.If(self.a_valid & (self.a == 3)):  # never
            m.d.sync += above.eq(above + stuck)
        with m.Else():
            m.d.sync += above.eq(above ^ stuck)
        return m


class Part(wiring.Component):
    """Counts steps."""

    step: In(1)
    count: Out(3)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.step):
            m.d.sync += self.count.eq(self.count + 1)
        return m


class Late(wiring.Component):
    """Its first statement is no combinational one."""

    first: In(1)
    o: Out(1)
    now: Out(1)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.first):
            m.d.sync += self.o.eq(1)
        m.d.comb += self.now.eq(self.first)
        return m
