"""On-chip keys and values: loaders, and planes laid out for each reader."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.config import AttentionConfig, ceil_div
from latte.rtl.operand_split import SplitBeat, element_layout
from latte.rtl.payloads import COUNT_BITS, key_shape, load_layout
from latte.rtl.primitives import Ram, next_modulo, times
from latte.rtl.word_packer import WordPacker

__all__ = ["KeyValueScratchpad", "RowLoader"]


class RowLoader(wiring.Component):
    """Takes a commanded number of rows off a stream, beat by beat.

    Members
    -------
    command : In(stream of load_layout)
        Accepted when the previous command's last word has been written.
    i : In(stream of beats)
    beat_valid : Out(1)
        A beat to keep is at `i.payload` in this cycle.
    started : Out(1)
        A command is accepted in this cycle; its payload is at `command`.
    finished : Out(1)
        Every word of the command is in memory.
    """

    def __init__(self, config: AttentionConfig):
        self.beats = config.head_dim // config.bus_bytes
        super().__init__({
            "command": In(stream.Signature(load_layout())),
            "i": In(stream.Signature(data.ArrayLayout(signed(8), config.bus_bytes))),
            "beat_valid": Out(1), "started": Out(1), "finished": Out(1)})

    def elaborate(self, platform):
        m = Module()
        rows, beat, drop = Signal(COUNT_BITS), Signal(range(max(2, self.beats))), Signal()
        m.d.comb += [self.started.eq(self.command.valid & self.command.ready), self.beat_valid.eq(
            self.i.valid & self.i.ready & ~drop)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [rows.eq(self.command.payload.rows), drop.eq(self.command.payload.drop)]
                with m.If(self.command.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.i.ready.eq(rows != 0)
                with m.If(rows == 0):
                    m.next = "FLUSH"
                with m.Elif(self.i.valid):
                    m.d.sync += beat.eq(next_modulo(beat, self.beats))
                    with m.If(beat == self.beats - 1):
                        m.d.sync += rows.eq(rows - 1)
            with m.State("FLUSH"):
                # The packer's last word is written in this cycle at the latest.
                m.d.comb += self.finished.eq(1)
                m.next = "IDLE"
        return m


class KeyValueScratchpad(wiring.Component):
    """Keys and values of one or two sequences, each plane as wide as its reader takes it::

        k -> saturate -> split -+-> high planes: key_lanes memories of dim_lanes halves      -> estimator
                                +-> both halves: compensation_lanes elements a word          -> compensation unit
        v ------------------------> value_lanes elements a word                              -> value accumulator

    The high halves are kept twice because the estimator reads them in every cycle.

    Latency: `RAM_LATENCY` cycles from an address to its data. One read of each plane per cycle, besides loading.

    Members
    -------
    load : In(stream of load_layout)
    loaded : Out(1)
        The command's keys and values are all in place.
    k, v : In(stream of bus_bytes int8 elements)
    saturated : Out(1)
        A key element above 119 arrived in this cycle and was limited.
    estimator_bank, estimator_group, estimator_slice : In
        Address of `key_lanes` consecutive keys' high halves, one slice of dimensions.
    estimator_data : Out
    compensation_bank, compensation_key, compensation_slice : In
        Address of both halves of one key, one slice of dimensions; `compensation_data` : Out.
    value_bank, value_key, value_slice : In
        Address of one value, one slice of dimensions; `value_data` : Out.
    """

    def __init__(self, config: AttentionConfig):
        self.config = config
        half, element = signed(4), element_layout(config.split)
        super().__init__({
            "load": In(stream.Signature(load_layout())), "loaded": Out(1),
            "k": In(stream.Signature(data.ArrayLayout(signed(8), config.bus_bytes))),
            "v": In(stream.Signature(data.ArrayLayout(signed(8), config.bus_bytes))),
            "saturated": Out(1),
            "estimator_bank": In(1), "estimator_group": In(key_shape(config)),
            "estimator_slice": In(range(max(2, config.dim_slices))),
            "estimator_data": Out(data.ArrayLayout(data.ArrayLayout(half, config.dim_lanes), config.key_lanes)),
            "compensation_bank": In(1), "compensation_key": In(key_shape(config)),
            "compensation_slice": In(range(max(2, config.compensation_slices))),
            "compensation_data": Out(data.ArrayLayout(element, config.compensation_lanes)),
            "value_bank": In(1), "value_key": In(key_shape(config)),
            "value_slice": In(range(max(2, config.value_slices))),
            "value_data": Out(data.ArrayLayout(signed(8), config.value_lanes))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.key_loader = key_loader = RowLoader(config)
        m.submodules.value_loader = value_loader = RowLoader(config)
        wiring.connect(m, wiring.flipped(self.k), key_loader.i)
        wiring.connect(m, wiring.flipped(self.v), value_loader.i)

        # Both loaders take the command together; it is carried out when both have finished.
        key_done, value_done = Signal(), Signal()
        both_ready = key_loader.command.ready & value_loader.command.ready
        m.d.comb += self.load.ready.eq(both_ready)
        for loader in (key_loader, value_loader):
            m.d.comb += [loader.command.payload.eq(self.load.payload),
                         loader.command.valid.eq(self.load.valid & both_ready)]
        m.d.comb += self.loaded.eq((key_done | key_loader.finished) & (value_done | value_loader.finished))
        with m.If(self.loaded):
            m.d.sync += [key_done.eq(0), value_done.eq(0)]
        with m.Else():
            m.d.sync += [key_done.eq(key_done | key_loader.finished),
                         value_done.eq(value_done | value_loader.finished)]

        m.submodules.split = split = SplitBeat(config)
        m.d.comb += [split.beat.eq(self.k.payload), split.valid.eq(key_loader.beat_valid),
                     self.saturated.eq(split.saturated)]

        self._estimator_planes(m, key_loader, split)
        element = element_layout(config.split)
        self._plane(m, "compensation", key_loader.beat_valid, split.elements, element, key_loader.started,
                    config.compensation_lanes, config.compensation_slices)
        self._plane(m, "value", value_loader.beat_valid, self.v.payload, signed(8), value_loader.started,
                    config.value_lanes, config.value_slices)
        return m

    def _plane(self, m, name, beat_valid, beat, element, started, lanes, slices):
        """Memory whose word ``(bank * max_seq_len + row) * slices + slice`` holds `lanes` elements."""
        config = self.config
        size = config.max_seq_len * slices
        packer = WordPacker(element, config.bus_bytes, lanes, config.head_dim)
        ram = Ram(data.ArrayLayout(element, lanes), size * config.kv_banks)
        m.submodules[f"{name}_packer"], m.submodules[f"{name}_plane"] = packer, ram
        address = Signal(range(size * config.kv_banks + 1), name=f"{name}_write_address")
        load = self.load.payload
        with m.If(started):
            m.d.sync += address.eq(times(load.start, slices) + Mux(load.bank, size, 0))
        with m.Elif(packer.word_valid):
            m.d.sync += address.eq(address + 1)
        bank, key, part = (getattr(self, f"{name}_{field}") for field in ("bank", "key", "slice"))
        m.d.comb += [
            packer.beat_valid.eq(beat_valid), packer.beat.eq(beat),
            ram.write_en.eq(packer.word_valid), ram.write_addr.eq(address), ram.write_data.eq(packer.word),
            ram.read_addr.eq(times(key, slices) + part + Mux(bank, size, 0)),
            getattr(self, f"{name}_data").eq(ram.read_data),
        ]

    def _estimator_planes(self, m, loader, split):
        """Memories for consecutive keys: key ``j`` is row ``j // key_lanes`` of memory ``j % key_lanes``."""
        config = self.config
        groups, slices = ceil_div(config.max_seq_len, config.key_lanes), config.dim_slices
        size = groups * slices
        packer = m.submodules.estimator_packer = WordPacker(signed(4), config.bus_bytes, config.dim_lanes,
                                                            config.head_dim)
        m.d.comb += [packer.beat_valid.eq(loader.beat_valid)]
        m.d.comb += [packer.beat[n].eq(split.elements[n].high) for n in range(config.bus_bytes)]
        base, part, lane = Signal(range(size * 2 + slices)), Signal(range(max(2, slices))), Signal(
            range(max(2, config.key_lanes)))
        load = self.load.payload
        lane_bits = exact_log2(config.key_lanes)
        with m.If(loader.started):
            m.d.sync += [base.eq(times(load.start >> lane_bits, slices) + Mux(load.bank, size, 0)), part.eq(0),
                         lane.eq(load.start[:lane_bits])]
        with m.Elif(packer.word_valid):
            m.d.sync += part.eq(next_modulo(part, slices))
            with m.If(packer.row_last):
                m.d.sync += lane.eq(next_modulo(lane, config.key_lanes))
                with m.If(lane == config.key_lanes - 1):
                    m.d.sync += base.eq(base + slices)
        read_address = times(self.estimator_group, slices) + self.estimator_slice + Mux(self.estimator_bank, size, 0)
        for n in range(config.key_lanes):
            ram = m.submodules[f"estimator_plane_{n}"] = Ram(data.ArrayLayout(signed(4), config.dim_lanes),
                                                             size * config.kv_banks)
            m.d.comb += [
                ram.write_en.eq(packer.word_valid & (lane == n)), ram.write_addr.eq(base + part),
                ram.write_data.eq(packer.word), ram.read_addr.eq(read_address),
                self.estimator_data[n].eq(ram.read_data),
            ]
