"""Pieces of memory, cut into the bursts that read or write them."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.axi.bus import ADDRESS_BITS, BOUNDARY, MasterParameters, burst_layout

__all__ = ["PIECE_BITS", "PieceBursts", "piece_layout"]

PIECE_BITS = 16
"""Of the number of beats of a piece."""


def piece_layout() -> data.StructLayout:
    """`beats` beats from an address on, which is a multiple of a beat."""
    return data.StructLayout({"address": ADDRESS_BITS, "beats": PIECE_BITS})


class PieceBursts(wiring.Component):
    """Cuts pieces: no burst is longer than the master's, none crosses 4 KB::

        piece -> what is left of it -> cut: the least of left, burst, to 4 KB -> burst

    Latency: two cycles from a piece to its first burst. Throughput: a burst in two cycles.

    Parameters
    ----------
    parameters
        Of the master.

    Members
    -------
    piece : In(stream of piece_layout)
    burst : Out(stream of burst_layout)
        In order.
    """

    def __init__(self, parameters: MasterParameters) -> None:
        self.parameters = parameters
        super().__init__({"piece": In(stream.Signature(piece_layout())),
                          "burst": Out(stream.Signature(burst_layout(parameters)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parameters, burst = self.parameters, self.burst.payload
        most, step = parameters.burst_beats, ceil_log2(parameters.data_bytes)
        left, cut, asked = Signal(PIECE_BITS), Signal(), Signal()
        to_boundary = Signal(range(BOUNDARY // parameters.data_bytes + 1))
        m.d.comb += [
            to_boundary.eq(BOUNDARY // parameters.data_bytes - burst.address[step:ceil_log2(BOUNDARY)]),
            self.burst.valid.eq(cut), asked.eq(cut & self.burst.ready),
            # The next piece takes the place of the last one's last burst.
            self.piece.ready.eq((left == 0) | (asked & (left == burst.beats))),
        ]
        with m.If(asked):
            m.d.sync += [burst.address.eq(burst.address + (burst.beats << step)), cut.eq(0),
                         left.eq(left - burst.beats)]
        with m.Elif((left != 0) & ~cut):
            m.d.sync += [cut.eq(1), burst.beats.eq(most)]
            with m.If((to_boundary < most) & (to_boundary < left)):
                m.d.sync += burst.beats.eq(to_boundary)
            with m.Elif(left < most):
                m.d.sync += burst.beats.eq(left)
        with m.If(self.piece.valid & self.piece.ready):
            m.d.sync += [left.eq(self.piece.payload.beats), burst.address.eq(self.piece.payload.address)]
        return m
