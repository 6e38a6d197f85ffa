"""Keys and values of the serial core in single-ported memory."""

from amaranth import Module, Mux, Signal, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import groups_layout, key_shape, load_layout
from latte.rtl.common.primitives import times
from latte.rtl.common.word_packer import WordPacker
from latte.rtl.serial.serial_memories import DualPortRam, SinglePortRam

__all__ = ["SerialScratchpad", "SinglePortPlane", "plane_port"]

_MEMBERSHIP_READERS = ("scored", "summed")


def plane_port(config: AttentionConfig, element: ShapeLike, lanes: int) -> wiring.Signature:
    """Read port of a plane, from its reader: `data` follows `key` and `slice` by one cycle."""
    slices = config.head_dim // lanes
    return wiring.Signature({"read": Out(1), "key": Out(key_shape(config)), "slice": Out(range(slices)),
                             "data": In(data.ArrayLayout(element, lanes))})


class SinglePortPlane(wiring.Component):
    """Rows of one operand as words of `lanes` elements, in a memory with one port.

    Rows are written in order; writing starts over with `restart`, otherwise it goes on behind the last row.

    Latency: `latency` cycles from an address to its data. Throughput: one beat written, or one word read, per cycle.

    Parameters
    ----------
    config
    element
        Shape of one element.
    lanes
        Elements per word; divides `head_dim`.

    Members
    -------
    restart : In(1)
        The next beat is the first of row 0.
    beat_valid, beat : In
    port : In(plane_port)
    conflict : Out(1)
        A word is written while another is read, which is lost.
    """

    latency = SinglePortRam.latency

    def __init__(self, config: AttentionConfig, element: ShapeLike, lanes: int) -> None:
        self.config = config
        self.element = element
        self.lanes = lanes
        super().__init__({
            "restart": In(1), "beat_valid": In(1), "beat": In(data.ArrayLayout(element, config.bus_bytes)),
            "port": In(plane_port(config, element, lanes)), "conflict": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slices = config.head_dim // self.lanes
        m.submodules.packer = packer = WordPacker(self.element, config.bus_bytes, self.lanes, config.head_dim)
        m.submodules.memory = memory = SinglePortRam(self.port.data.shape(), config.max_seq_len * slices)
        address = Signal(range(config.max_seq_len * slices))
        with m.If(self.restart):
            m.d.sync += address.eq(0)
        with m.Elif(packer.word_valid):
            m.d.sync += address.eq(address + 1)
        m.d.comb += [
            packer.beat_valid.eq(self.beat_valid), packer.beat.eq(self.beat),
            memory.write_en.eq(packer.word_valid), memory.write_data.eq(packer.word),
            memory.address.eq(Mux(packer.word_valid, address, times(self.port.key, slices) + self.port.slice)),
            self.port.data.eq(memory.read_data), self.conflict.eq(packer.word_valid & self.port.read),
        ]
        return m


class SerialScratchpad(wiring.Component):
    """Keys and values of one sequence; while they are loaded, nothing is read::

        k -> saturate -> split -+-> high halves: dim_lanes a word           -> estimator
                                +-> both halves: cross_lanes a word  -> scorer
        v ------------------------> value_lanes a word                      -> finisher

    Three memories, because the three readers work at the same time.

    Members
    -------
    load, loaded, k, v, saturated
        As of `KeyValueLoader`.
    restart : Out(1)
        Keys of a new sequence are about to be loaded.
    groups : In(groups_layout)
        How keys are grouped; with the rest in a build with several key groups.
    scored_key, summed_key : In(key_shape), scored_group, summed_group : Out(group_bits)
        A key, and its group one cycle later, for two readers.
    high, halves, values : In(plane_port)
    conflict : Out(1)
        Something was read while it was written, which the work list excludes.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        grouped: dict[str, wiring.Member] = {}
        if config.group_bits:
            grouped["groups"] = In(groups_layout(config))
            for reader in _MEMBERSHIP_READERS:
                grouped |= {f"{reader}_key": In(key_shape(config)), f"{reader}_group": Out(config.group_bits)}
        super().__init__({
            **grouped,
            "load": In(stream.Signature(load_layout())), "loaded": Out(1), "restart": Out(1),
            "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)), "saturated": Out(1),
            "high": In(plane_port(config, signed(config.estimate_bits), config.dim_lanes)),
            "halves": In(plane_port(config, element_layout(config), config.cross_lanes)),
            "values": In(plane_port(config, signed(8), config.value_lanes)), "conflict": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.loader = loader = KeyValueLoader(config)
        m.submodules.high_plane = high = SinglePortPlane(config, signed(config.estimate_bits), config.dim_lanes)
        m.submodules.halves_plane = halves = SinglePortPlane(config, element_layout(config),
                                                             config.cross_lanes)
        m.submodules.value_plane = values = SinglePortPlane(config, signed(8), config.value_lanes)
        wiring.connect(m, wiring.flipped(self.load), loader.load)
        wiring.connect(m, wiring.flipped(self.k), loader.k)
        wiring.connect(m, wiring.flipped(self.v), loader.v)
        wiring.connect(m, wiring.flipped(self.high), high.port)
        wiring.connect(m, wiring.flipped(self.halves), halves.port)
        wiring.connect(m, wiring.flipped(self.values), values.port)
        m.d.comb += [
            self.loaded.eq(loader.loaded), self.saturated.eq(loader.saturated),
            high.beat_valid.eq(loader.key_valid), halves.beat_valid.eq(loader.key_valid),
            halves.beat.eq(loader.key_elements),
            values.beat_valid.eq(loader.value_valid), values.beat.eq(loader.value_elements),
            self.conflict.eq(high.conflict | halves.conflict | values.conflict),
        ]
        m.d.comb += [high.beat[n].eq(loader.key_elements[n].high) for n in range(config.bus_bytes)]
        m.d.comb += [self.restart.eq(loader.restart), *(plane.restart.eq(loader.restart)
                                                        for plane in (high, halves, values))]
        if config.group_bits:
            self._membership(m, loader)
        return m

    def _membership(self, m: Module, loader: KeyValueLoader) -> None:
        """Keep the group of each key, once for each reader."""
        key = Signal(key_shape(self.config))
        m.d.comb += loader.groups.eq(self.groups)
        with m.If(loader.restart):
            m.d.sync += key.eq(0)
        with m.Elif(loader.group_valid):
            m.d.sync += key.eq(key + 1)
        for reader in _MEMBERSHIP_READERS:
            m.submodules[f"{reader}_groups"] = memory = DualPortRam(self.config.group_bits, self.config.max_seq_len)
            m.d.comb += [
                memory.write_en.eq(loader.group_valid), memory.write_addr.eq(key), memory.write_data.eq(loader.group),
                memory.read_addr.eq(getattr(self, f"{reader}_key")),
                getattr(self, f"{reader}_group").eq(memory.read_data),
            ]
