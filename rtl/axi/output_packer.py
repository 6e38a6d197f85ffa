"""Output rows of the core on their way out: elements of whole bytes, beats of the bus."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.axi.bus import DataParameters
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.axi.write_engine import beat_layout
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["OutputPacker"]


class OutputPacker(wiring.Component):
    """Makes beats of output rows and keeps them until somebody, or enough for a burst, is there::

        o -> elements of 2 or 4 bytes, the sign extended -> RowGearbox -> StreamQueue -> beat

    Parameters
    ----------
    config
    parameters
        Of the master, or of the streams.
    depth
        Beats that the queue holds.

    Attributes
    ----------
    row_bytes
        Of a row.

    Members
    -------
    o : In(stream of output_layout)
        The core's.
    beat : Out(stream of beat_layout)
        Bytes behind a row's end have no strobe.
    level : Out
        Beats in the queue.
    """

    def __init__(self, config: AttentionConfig, parameters: DataParameters, depth: int) -> None:
        self.config = config
        self.parameters = parameters
        self.element_bytes = output_element_bytes(config)
        self.row_bytes = config.head_dim * self.element_bytes
        self.depth = depth
        super().__init__({
            "o": In(stream.Signature(output_layout(config))), "beat": Out(stream.Signature(beat_layout(parameters))),
            "level": Out(range(self.depth + 1))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = RowGearbox(self.config.normalizer_lanes * self.element_bytes,
                                                    self.parameters.data_bytes, self.row_bytes)
        m.submodules.queue = queue = StreamQueue(beat_layout(self.parameters), self.depth)
        elements = [self.o.payload.data[lane] for lane in range(self.config.normalizer_lanes)]
        extended = [Signal(8 * self.element_bytes, name=f"element_{lane}") for lane in range(len(elements))]
        m.d.comb += [wide.eq(element) for wide, element in zip(extended, elements, strict=True)]
        room, pushed, pulled = Signal(), Signal(), Signal()
        m.d.comb += [
            gearbox.i.valid.eq(self.o.valid), gearbox.i.payload.eq(Cat(extended)), self.o.ready.eq(gearbox.i.ready),
            room.eq(self.level != self.depth),
            queue.i.valid.eq(gearbox.o.valid & room), gearbox.o.ready.eq(queue.i.ready & room),
            queue.i.payload.data.eq(gearbox.o.payload), queue.i.payload.strobe.eq(gearbox.strobe),
            pushed.eq(queue.i.valid & queue.i.ready), pulled.eq(queue.o.valid & queue.o.ready),
        ]
        wiring.connect(m, queue.o, wiring.flipped(self.beat))
        with m.If(pushed ^ pulled):
            m.d.sync += self.level.eq(self.level + Mux(pushed, 1, -1))
        return m
