"""Which keys of a stream may survive, by the largest estimate up to each."""

from amaranth import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.rtl.common.payloads import length_shape
from latte.rtl.common.primitives import delay, register
from latte.rtl.memory.payloads import bound_shape, candidate_layout, estimate_layout
from latte.rtl.wide.row_limits import limit_shape
from latte.rtl.wide.running_maximum import RunningMaximum

__all__ = ["CandidateFilter", "filtered_layout"]


def filtered_layout(build: MemoryBuild) -> data.StructLayout:
    """A key that the row sees, whether it is a ``candidate``, and the largest estimate up to it.

    ``counts``: it lies within the histogram's window below that.
    """
    return data.StructLayout({**candidate_layout(build).members, **estimate_layout(build).members, "candidate": 1,
                              "counts": 1, "row_max": signed(build.core.est_bits)})


class CandidateFilter(wiring.Component):
    """The bound of `latte.golden.memory.selection`: a pipeline that its owner may stand still by `EnableInserter`::

        key -> place < keys -> [RunningMaximum] -> gap, > code -> gap < reach, > floor -> o

    A key is a candidate if it lies less than `reach` below the largest estimate so far or, by an absolute threshold,
    above its code; and above the floor. With an absolute threshold the reach is 1.

    Latency: `latency` cycles. Throughput: one key per cycle.

    Parameters
    ----------
    build

    Members
    -------
    restart : In(1)
        Forget the largest estimate; no key is in the pipeline.
    keys : In(length_shape)
        Others are not seen. With what follows, stands while a key is in the pipeline.
    reach : In(limit_shape)
    absolute : In(1), code : In(signed(est_bits))
    floor : In(bound_shape)
        Compared with a key in its last cycle.
    valid, place, key : In
    busy : Out(1)
        A key is in the pipeline.
    o_valid, o : Out(filtered_layout)
        What it has of the largest estimate stands until the next key.
    """

    latency = 1 + RunningMaximum.latency + 2
    """Place; maximum; gap; comparison."""

    def __init__(self, build: MemoryBuild) -> None:
        self.build = build
        config = build.core
        super().__init__({
            "restart": In(1), "keys": In(length_shape(config)), "reach": In(limit_shape(config)), "absolute": In(1),
            "code": In(signed(config.est_bits)), "floor": In(bound_shape(build)), "valid": In(1),
            "place": In(candidate_layout(build)["place"].shape), "key": In(estimate_layout(build)), "busy": Out(1),
            "o_valid": Out(1), "o": Out(filtered_layout(build))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.maximum = maximum = RunningMaximum(self.build.core.est_bits)
        valid = [delay(m, self.valid & (self.place < self.keys), 1, name="seen")]
        for stage in range(2, self.latency + 1):
            valid.append(delay(m, valid[-1], 1, name=f"valid_{stage}"))
        key = register(m, self.key, "key")
        fresh = Signal(init=1)
        m.d.sync += fresh.eq(self.restart | (fresh & ~valid[0]))
        m.d.comb += [maximum.valid.eq(valid[0]), maximum.first.eq(fresh), maximum.value.eq(key.estimate),
                     self.busy.eq(Cat(valid).any()), self.o_valid.eq(valid[-1])]

        key = delay(m, key, RunningMaximum.latency, name="key", reset_less=True)
        gap = register(m, maximum.maximum - key.estimate, "gap")
        above_code = register(m, self.absolute & (key.estimate > self.code), "above_code")
        key = register(m, key, "compared")
        m.d.sync += [
            self.o.candidate.eq(((gap < self.reach) | above_code) & (key.estimate > self.floor)),
            self.o.counts.eq(gap < self.build.window),
            self.o.row_max.eq(register(m, maximum.maximum, "row_max")),
            self.o.place.eq(delay(m, self.place, self.latency - 1, name="place", reset_less=True)),
            *(self.o[name].eq(key[name]) for name in key.shape().members),
        ]
        return m
