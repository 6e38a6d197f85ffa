"""The dense baseline: the same array, memories and softmax without the filter, all four partial products."""

from amaranth import Const, Module, Mux, signed
from amaranth.lib import data, wiring

from latte.golden.config import AttentionConfig
from latte.rtl.common.core import Core
from latte.rtl.common.key_value_loader import KeyValueLoader
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.probes import filter_probe_layout
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.dense.dense_softmax import DenseSoftmax, weights_layout
from latte.rtl.dense.dense_value_accumulator import DenseValueAccumulator
from latte.rtl.dense.score_array import ScoreArray
from latte.rtl.wide.front import connect_front, connect_normalizer, connect_row_buffer, population
from latte.rtl.wide.operand_plane import OperandPlane

__all__ = ["DenseCore"]


class DenseCore(Core):
    """Dense 8-bit attention at ``P`` pairs per cycle, the yardstick of `WideCore`::

        k, v, q -> planes, query rows -> ScoreArray -> EstimateBuffer -> RowScanner -> DenseSoftmax
                                                     -> DenseValueAccumulator -> Normalizer -> o

    Ports are those of `Core`; its probe has the groups only, with scores in place of estimates. `tau` is held
    but not used. The bus loads one head while another computes, as in `WideCore`.
    """

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(config, data.StructLayout({"group": filter_probe_layout(config)}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        common = {"beat_lanes": config.bus_bytes, "word_lanes": config.head_dim, "head_dim": config.head_dim,
                  "rows": config.max_seq_len, "banks": config.kv_banks}
        m.submodules.key_value_loader = loader = KeyValueLoader(config)
        m.submodules.key_plane = keys = OperandPlane(element_layout(config), row_lanes=config.key_lanes, **common)
        m.submodules.value_plane = value_plane = OperandPlane(signed(8), row_lanes=config.pairs_per_cycle, **common)
        m.submodules.score_array = array = ScoreArray(config)
        m.submodules.softmax = softmax = DenseSoftmax(config)
        m.submodules.value_accumulator = values = DenseValueAccumulator(config)
        front = connect_front(m, self, loader, whole_elements=True)
        tiles = front.tiles
        scanner = connect_row_buffer(m, front, array.latency, array.score_valid, array.score)
        wiring.connect(m, tiles.query, array.q)
        for plane in (keys, value_plane):
            m.d.comb += [plane.restart.eq(loader.restart), plane.restart_bank.eq(loader.restart_bank)]
        m.d.comb += [
            keys.beat_valid.eq(loader.key_valid), keys.beat.eq(loader.key_elements),
            value_plane.beat_valid.eq(loader.value_valid), value_plane.beat.eq(loader.value_elements),
            keys.bank.eq(tiles.key_bank), keys.group.eq(tiles.key_group), keys.slice.eq(tiles.key_slice),
            array.k_valid.eq(tiles.beat_valid), array.k_bank.eq(tiles.beat_query_bank),
            array.k_first.eq(tiles.beat_first), array.k.eq(keys.data),
            value_plane.bank.eq(values.bank), value_plane.group.eq(values.group), values.values.eq(value_plane.data),
        ]

        # Weights wait in a queue while the normaliser is busy with short rows.
        m.submodules.weight_queue = queue = StreamQueue(
            weights_layout(config), producer_latency=scanner.latency + softmax.latency)
        wiring.connect(m, queue.o, values.i)
        scanned = scanner.o
        m.d.comb += [
            scanner.room.eq(queue.room), softmax.row_valid.eq(scanner.row_valid), softmax.row.eq(scanner.row),
            softmax.i_valid.eq(scanner.o_valid), softmax.i.eq(scanned),
            queue.i.valid.eq(softmax.o_valid), queue.i.payload.eq(softmax.o),
            front.queries.retire.eq(scanner.o_valid & scanned.row_last),
            self.probe.group.valid.eq(scanner.o_valid), self.probe.group.row_last.eq(scanned.row_last),
            self.probe.group.visible.eq(scanned.visible), self.probe.group.keep.eq(scanned.visible),
            self.probe.group.estimate.eq(scanned.estimate),
        ]
        connect_normalizer(m, self, front, values)
        seen = population(Mux(scanner.o_valid, scanned.visible, 0))
        self.keep(m, front.events() | {"overflow": queue.overflow}, front.increments() | {
            "pairs_estimated": seen, "survivors": seen, "cross_beats": Const(0), "value_beats": values.step,
            "filter_stalls": scanner.stalled, "pruned_mass": Const(0),
        })
        return m
