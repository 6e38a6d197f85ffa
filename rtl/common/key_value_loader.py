"""Takes keys and values off their streams, as the job sequencer commands."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.operand_split import SplitBeat, element_layout
from latte.rtl.common.payloads import groups_layout, load_layout
from latte.rtl.common.primitives import next_modulo

__all__ = ["KeyValueLoader", "RowLoader"]


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

    def __init__(self, config: AttentionConfig) -> None:
        self.beats = config.head_dim // config.bus_bytes
        super().__init__({
            "command": In(stream.Signature(load_layout())),
            "i": In(stream.Signature(data.ArrayLayout(signed(8), config.bus_bytes))),
            "beat_valid": Out(1), "started": Out(1), "finished": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Counts down to -1: the sign tells that no rows are left, without a comparison.
        rows, beat, drop = Signal(signed(COUNT_BITS + 1)), Signal(range(max(2, self.beats))), Signal()
        m.d.comb += [self.started.eq(self.command.valid & self.command.ready), self.beat_valid.eq(
            self.i.valid & self.i.ready & ~drop)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [rows.eq(self.command.payload.rows - 1), drop.eq(self.command.payload.drop)]
                with m.If(self.command.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.i.ready.eq(rows >= 0)
                with m.If(rows < 0):
                    m.next = "FLUSH"
                with m.Elif(self.i.valid):
                    m.d.sync += beat.eq(next_modulo(beat, self.beats))
                    with m.If(beat == self.beats - 1):
                        m.d.sync += rows.eq(rows - 1)
            with m.State("FLUSH"):
                # The last beat came two cycles ago: its word is written in this cycle.
                m.d.comb += self.finished.eq(1)
                m.next = "IDLE"
        return m


class KeyValueLoader(wiring.Component):
    """Carries out load commands on the K and V streams at the same time.

    Members
    -------
    load : In(stream of load_layout)
    loaded : Out(1)
        The command's keys and values are all in place.
    k, v : In(stream of bus_bytes int8 elements)
    saturated : Out(1)
        A key element above `qk_max`, of a dropped row as well, arrived one cycle ago and was limited.
    restart, restart_bank : Out(1)
        The planes start over in the given bank: one cycle after a command, before its first beat can be here.
    key_valid, key_elements, value_valid, value_elements : Out
        Beats for the planes, one cycle after they were taken; key elements are split.
    groups : In(groups_layout)
        How keys are grouped; with those below in a build with several key groups.
    group_valid : Out(1), group : Out(group_bits)
        The group of each key, `KeyMembership.latency` cycles after its last beat came to the planes: of the last keys a
        few cycles after they were loaded.
    """

    overhead = 2
    """Cycles of a command besides its beats: its acceptance, and the last beat's way into memory."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        grouped = {"groups": In(groups_layout(config)), "group_valid": Out(1),
                   "group": Out(config.group_bits)} if config.group_bits else {}
        super().__init__({
            **grouped,
            "load": In(stream.Signature(load_layout())), "loaded": Out(1),
            "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)), "saturated": Out(1),
            "restart": Out(1), "restart_bank": Out(1),
            "key_valid": Out(1),
            "key_elements": Out(data.ArrayLayout(element_layout(config), config.bus_bytes)),
            "value_valid": Out(1), "value_elements": Out(beat)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.keys = keys = RowLoader(self.config)
        m.submodules.values = values = RowLoader(self.config)
        wiring.connect(m, wiring.flipped(self.k), keys.i)
        wiring.connect(m, wiring.flipped(self.v), values.i)

        # Both loaders take a command together; it is carried out when both have finished.
        both_ready = keys.command.ready & values.command.ready
        m.d.comb += self.load.ready.eq(both_ready)
        m.d.sync += [self.restart.eq(keys.started & (self.load.payload.start == 0)),
                     self.restart_bank.eq(self.load.payload.bank)]
        finished = Signal(2)
        both = finished | Cat(keys.finished, values.finished)
        m.d.comb += self.loaded.eq(both.all())
        m.d.sync += finished.eq(Mux(self.loaded, 0, both))
        for loader in (keys, values):
            m.d.comb += [loader.command.payload.eq(self.load.payload),
                         loader.command.valid.eq(self.load.valid & both_ready)]

        # Registered: the way from the host's side of the ports ends here.
        m.submodules.split = split = SplitBeat(self.config)
        m.d.comb += [split.beat.eq(self.k.payload), split.valid.eq(self.k.valid & self.k.ready)]
        m.d.sync += [
            self.saturated.eq(split.saturated),
            self.key_valid.eq(keys.beat_valid), self.key_elements.eq(split.elements),
            self.value_valid.eq(values.beat_valid), self.value_elements.eq(self.v.payload),
        ]
        if self.config.group_bits:
            m.submodules.membership = membership = KeyMembership(self.config)
            m.d.sync += membership.beat.eq(split.limited)
            m.d.comb += [
                membership.groups.eq(self.groups), membership.beat_valid.eq(self.key_valid),
                self.group_valid.eq(membership.valid), self.group.eq(membership.group),
            ]
        return m
