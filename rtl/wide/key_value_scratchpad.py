"""On-chip keys and values: loader, and planes laid out for each reader."""

from amaranth import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import groups_layout, key_shape, load_layout
from latte.rtl.wide.operand_plane import OperandPlane

__all__ = ["KeyValueScratchpad"]


class KeyValueScratchpad(wiring.Component):
    """Keys and values of one or two sequences, each plane as wide as its reader takes it::

        k -> saturate -> split -+-> high halves: key_lanes memories, dim_lanes a word  -> estimator
                                +-> both halves: cross_lanes elements a word    -> cross product unit
        v ------------------------> value_lanes elements a word                        -> value accumulator

    The high halves are kept twice because the estimator reads them in every cycle.

    Latency: `latency` cycles from an address to its data. One read of each plane per cycle, besides loading.

    Members
    -------
    load, loaded, k, v, saturated
        As of `KeyValueLoader`.
    estimator_bank, estimator_group, estimator_slice : In
        Address of `key_lanes` consecutive keys' high halves, one slice of dimensions; `estimator_data` : Out.
    cross_bank, cross_key, cross_slice : In
        Address of both halves of one key, one slice of dimensions; `cross_data` : Out.
    value_bank, value_key, value_slice : In
        Address of one value, one slice of dimensions; `value_data` : Out.
    groups : In(groups_layout)
        How the keys that are loaded are grouped, in a build with several key groups; `estimator_groups` : Out are those
        of the estimator's keys, and `group` : Out that of the key at `group_bank`, `group_key` : In.
    """

    latency = OperandPlane.latency

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        element = element_layout(config)
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        super().__init__({
            "load": In(stream.Signature(load_layout())), "loaded": Out(1),
            "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)), "saturated": Out(1),
            "estimator_bank": In(1), "estimator_group": In(key_shape(config)),
            "estimator_slice": In(range(max(2, config.dim_slices))),
            "estimator_data": Out(data.ArrayLayout(data.ArrayLayout(signed(config.estimate_bits), config.dim_lanes),
                                                   config.key_lanes)),
            "cross_bank": In(1), "cross_key": In(key_shape(config)),
            "cross_slice": In(range(max(2, config.cross_slices))),
            "cross_data": Out(data.ArrayLayout(element, config.cross_lanes)),
            "value_bank": In(1), "value_key": In(key_shape(config)),
            "value_slice": In(range(max(2, config.value_slices))),
            "value_data": Out(data.ArrayLayout(signed(8), config.value_lanes)),
            **({"groups": In(groups_layout(config)),
                "estimator_groups": Out(data.ArrayLayout(config.group_bits, config.key_lanes)),
                "group_bank": In(1), "group_key": In(key_shape(config)), "group": Out(config.group_bits)}
               if config.group_bits else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.loader = loader = KeyValueLoader(config)
        wiring.connect(m, wiring.flipped(self.load), loader.load)
        wiring.connect(m, wiring.flipped(self.k), loader.k)
        wiring.connect(m, wiring.flipped(self.v), loader.v)
        m.d.comb += [self.loaded.eq(loader.loaded), self.saturated.eq(loader.saturated)]

        common = {"beat_lanes": config.bus_bytes, "head_dim": config.head_dim, "rows": config.max_seq_len,
                  "banks": config.kv_banks}
        m.submodules.estimator_plane = estimator = OperandPlane(
            signed(config.estimate_bits), word_lanes=config.dim_lanes, row_lanes=config.key_lanes, **common)
        m.submodules.cross_plane = cross = OperandPlane(
            element_layout(config), word_lanes=config.cross_lanes, row_lanes=1, **common)
        m.submodules.value_plane = value = OperandPlane(
            signed(8), word_lanes=config.value_lanes, row_lanes=1, **common)
        for plane in (estimator, cross, value):
            m.d.comb += [plane.restart.eq(loader.restart), plane.restart_bank.eq(loader.restart_bank)]
        m.d.comb += [estimator.beat[n].eq(loader.key_elements[n].high) for n in range(config.bus_bytes)]
        m.d.comb += [
            estimator.beat_valid.eq(loader.key_valid),
            estimator.bank.eq(self.estimator_bank), estimator.group.eq(self.estimator_group),
            estimator.slice.eq(self.estimator_slice), self.estimator_data.eq(estimator.data),
            cross.beat_valid.eq(loader.key_valid), cross.beat.eq(loader.key_elements),
            cross.bank.eq(self.cross_bank), cross.group.eq(self.cross_key),
            cross.slice.eq(self.cross_slice), self.cross_data.eq(cross.data[0]),
            value.beat_valid.eq(loader.value_valid), value.beat.eq(loader.value_elements),
            value.bank.eq(self.value_bank), value.group.eq(self.value_key),
            value.slice.eq(self.value_slice), self.value_data.eq(value.data[0]),
        ]
        if config.group_bits:
            self._groups(m, loader)
        return m

    def _groups(self, m: Module, loader: KeyValueLoader) -> None:
        """Keep the group of each key twice: for the array's beats, and one by one."""
        config = self.config
        m.d.comb += loader.groups.eq(self.groups)
        for name, lanes in (("estimator_group_plane", config.key_lanes), ("group_plane", 1)):
            plane = m.submodules[name] = OperandPlane(config.group_bits, beat_lanes=1, word_lanes=1, head_dim=1,
                                                      row_lanes=lanes, rows=config.max_seq_len, banks=config.kv_banks)
            m.d.comb += [plane.restart.eq(loader.restart), plane.restart_bank.eq(loader.restart_bank),
                         plane.beat_valid.eq(loader.group_valid), plane.beat[0].eq(loader.group)]
            if name == "group_plane":
                m.d.comb += [plane.bank.eq(self.group_bank), plane.group.eq(self.group_key),
                             self.group.eq(plane.data[0][0])]
            else:
                m.d.comb += [plane.bank.eq(self.estimator_bank), plane.group.eq(self.estimator_group)]
                m.d.comb += [self.estimator_groups[n].eq(plane.data[n][0]) for n in range(lanes)]
