"""AXI4 master's write side."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.rtl.axi.bus import (
    DataParameters,
    MasterParameters,
    Response,
    burst_layout,
    fault_layout,
    write_members,
)

__all__ = ["WriteEngine", "beat_layout", "writer_members"]


def beat_layout(parameters: DataParameters) -> data.StructLayout:
    """One beat of data to write."""
    return data.StructLayout({"data": parameters.data_bits, "strobe": parameters.data_bytes})


def writer_members(parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return the signals of a writer as it has them: bursts and their beats, and what `WriteEngine` says of all."""
    return {"burst": Out(stream.Signature(burst_layout(parameters))),
            "beat": Out(stream.Signature(beat_layout(parameters))), "write_idle": In(1), "write_answered": In(1),
            "write_fault": In(fault_layout())}


class WriteEngine(wiring.Component):
    """Writes bursts, one after the other, several of them unanswered::

        burst -+-> aw
               +-> beats left -+
        beat ------------------+-> w        b -> answered, fault

    Address and data go out on their own: neither waits for the other, nor for READY. Who offers a burst has its data:
    those of one that was begun never stand still for want of them.

    Latency: AWVALID and WVALID one cycle after burst and beat. Throughput: a beat per cycle.

    Parameters
    ----------
    parameters

    Members
    -------
    burst : In(stream of burst_layout)
    beat : In(stream of beat_layout)
        Taken as bursts need them.
    stop : In(1)
        Begin nothing more; what was begun is finished, with its data.
    idle : Out(1)
        Everything that was begun is answered.
    answered : Out(1)
        A burst is answered, with `fault`.
    moved : Out(1)
        A beat went out.
    awaddr ... bready
        AXI4 as `write_members` has it.
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.parameters = parameters
        super().__init__({
            "burst": In(stream.Signature(burst_layout(parameters))),
            "beat": In(stream.Signature(beat_layout(parameters))),
            "stop": In(1), "idle": Out(1), "answered": Out(1), "fault": Out(fault_layout()), "moved": Out(1),
            **write_members(parameters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        most = self.parameters.writes_in_flight
        unanswered = Signal(range(most + 1))
        left = Signal(self.burst.payload.beats.shape())
        begun, last = Signal(), Signal()
        # The next burst's data follow the last one's without a gap.
        ends = Signal()
        m.d.comb += [
            last.eq(left == 1), ends.eq(self.beat.valid & self.beat.ready & last),
            self.burst.ready.eq(~self.stop & (~self.awvalid | self.awready) & (unanswered != most)
                                & ((left == 0) | ends)),
            begun.eq(self.burst.valid & self.burst.ready),
            self.beat.ready.eq((left != 0) & (~self.wvalid | self.wready)),
            self.bready.eq(1), self.answered.eq(self.bvalid),
            self.fault.slverr.eq(self.bresp == Response.SLVERR), self.fault.decerr.eq(self.bresp == Response.DECERR),
            self.idle.eq(unanswered == 0), self.moved.eq(self.wvalid & self.wready),
        ]
        m.d.sync += unanswered.eq(unanswered + begun - self.answered)
        with m.If(self.awready):
            m.d.sync += self.awvalid.eq(0)
        with m.If(self.wready):
            m.d.sync += self.wvalid.eq(0)
        with m.If(self.beat.valid & self.beat.ready):
            m.d.sync += [self.wvalid.eq(1), self.wdata.eq(self.beat.payload.data),
                         self.wstrb.eq(self.beat.payload.strobe), self.wlast.eq(last), left.eq(left - 1)]
        with m.If(begun):
            m.d.sync += [self.awvalid.eq(1), self.awaddr.eq(self.burst.payload.address),
                         self.awlen.eq(self.burst.payload.beats - 1), left.eq(self.burst.payload.beats)]
        return m
