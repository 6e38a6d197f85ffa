"""The PE array: estimates every score from the high halves of Q and K."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.common.primitives import delay
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.payloads import query_row_layout
from latte.rtl.wide.query_memory import QueryMemory
from latte.rtl.wide.query_tables import QueryTables

__all__ = ["ScoreEstimator"]

_DOT_PRODUCTS = {"table": PairTableDot, "multiplier": BitPlaneDot, "dsp": PackedDspDot}


class ScoreEstimator(wiring.Component):
    """PE array: ``est[i, j] = sum(q_hi[i, d] * k_hi[j, d])`` for `query_lanes` x `key_lanes` scores at once.

    Query rows stand still, in one of two banks, while keys stream past; each key beat says which bank it is
    for, and the other bank may be loaded meanwhile::

        q -> QueryTables / QueryMemory --- row r ----------+
                                                           v
        k_hi -> register -> encode (shared by rows) -> dot product (r, l) -> [sum of slices] -> est[r][l]

    `pe_structure` picks the dot product: ``"table"`` (`PairTableDot`), ``"multiplier"`` (`BitPlaneDot`) or
    ``"dsp"`` (`PackedDspDot`, two key lanes each). The results are equal, bit by bit.

    Loading: a row is accepted when `q` is valid and ready; `q` is ready again `load_cycles` later, and from
    that cycle on a key beat may use the row. From acceptance to the end of the load, no key beat may name
    the bank that is being loaded. Banks are used in the order of loading: after keys moved on to the other
    bank, or a row was loaded into a bank again, every row of that bank which matters has to be loaded again.
    Reset forgets the rows (the memory's contents stay, but do not count).

    Latency: `est` is valid `latency` cycles after the beat (the group's last beat). Throughput: one beat per
    cycle, no stalls. Rounding: none, the sums are exact. Source: LATTE, arXiv 2404.07519, bit-split PE array.

    Parameters
    ----------
    config
        Uses `head_dim`, `query_lanes`, `key_lanes`, `dim_lanes`, `split`, `pe_structure` and `estimate_bits`.
        Both splits give signed high halves, so `split` changes nothing here.

    Members
    -------
    q : In(stream of query_row_layout)
        Query rows' high halves.
    k_valid : In(1)
        There is a key beat in this cycle.
    k_bank : In(1)
        Bank of query rows to score it with; the same for all beats of a group.
    k_first : In(1)
        It starts a key group: slice 0 of ``head_dim / dim_lanes``. Not used when a beat is a group.
    k_hi : In(ArrayLayout(ArrayLayout(signed(estimate_bits), dim_lanes), key_lanes))
        High halves of `key_lanes` keys, `dim_lanes` elements each.
    est_valid : Out(1)
    est : Out(ArrayLayout(ArrayLayout(signed(est_bits), key_lanes), query_lanes))
    """

    operand_latency = 2
    """Cycles from a beat to its dot products: one to come in, one to be encoded."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        self.load_cycles = self.load_cycles_of(config)
        lanes = data.ArrayLayout(data.ArrayLayout(signed(config.estimate_bits), config.dim_lanes), config.key_lanes)
        scores = data.ArrayLayout(data.ArrayLayout(signed(config.est_bits), config.key_lanes), config.query_lanes)
        super().__init__({
            "q": In(stream.Signature(query_row_layout(config, signed(config.estimate_bits)))),
            "k_valid": In(1), "k_bank": In(1), "k_first": In(1), "k_hi": In(lanes),
            "est_valid": Out(1), "est": Out(scores)})

    @classmethod
    def latency_of(cls, config: AttentionConfig) -> int:
        """Return the latency of a build: operands, dot product, and the sum of slices if there are several."""
        dot = _DOT_PRODUCTS[config.pe_structure].latency_of(config.dim_lanes)
        return cls.operand_latency + dot + (config.dim_slices > 1)

    @staticmethod
    def load_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles from a row's acceptance until `q` is ready again."""
        return (QueryTables if config.pe_structure == "table" else QueryMemory).load_cycles_of(config)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        if config.pe_structure == "table":
            rows = QueryTables(config, PairTableDot.offset_delay_of(config.head_dim))
        else:
            rows = QueryMemory(config)
        m.submodules.rows = rows
        wiring.connect(m, wiring.flipped(self.q), rows.q)

        # A beat takes two cycles before the dot products: one to come in, one to be encoded. The query side
        # needs both as well, to switch banks or to read a slice.
        k_hi = Signal.like(self.k_hi, reset_less=True)
        m.d.sync += k_hi.eq(self.k_hi)
        index = Signal(range(config.dim_slices))
        if config.pe_structure == "table":
            m.d.comb += [rows.k_valid.eq(self.k_valid), rows.k_bank.eq(self.k_bank)]
        else:
            m.d.sync += [rows.k_bank.eq(self.k_bank), rows.k_slice.eq(index)]
        build = {"table": self._tables, "multiplier": self._planes, "dsp": self._packed}[config.pe_structure]
        results = build(m, rows, k_hi)

        if config.dim_slices > 1:
            self._accumulate(m, index, results)
        else:
            m.d.comb += self.est_valid.eq(delay(m, self.k_valid, self.latency, name="valid"))
            for r in range(config.query_lanes):
                for lane in range(config.key_lanes):
                    m.d.comb += self.est[r][lane].eq(results[r][lane])
        return m

    def _tables(self, m: Module, rows: QueryTables, k_hi: data.View) -> list[list[Value]]:
        """Return the dot products [query lane][key lane] of `PairTableDot`; keys are held for all rows together."""
        config, bits = self.config, self.config.estimate_bits
        results = [[] for _ in range(config.query_lanes)]
        for lane in range(config.key_lanes):
            planes = data.ArrayLayout(data.ArrayLayout(1, config.head_dim // 2), bits)
            first = Signal(planes, name=f"first_{lane}", reset_less=True)
            second = Signal(planes, name=f"second_{lane}", reset_less=True)
            for i in range(config.head_dim // 2):
                for b in range(bits):
                    m.d.sync += [first[b][i].eq(k_hi[lane][2 * i][b]), second[b][i].eq(k_hi[lane][2 * i + 1][b])]
            for r in range(config.query_lanes):
                m.submodules[f"dot_{r}_{lane}"] = dot = PairTableDot(config.head_dim, bits, bits)
                m.d.comb += [
                    dot.entries.eq(rows.entries[r]),
                    dot.offset.eq(rows.offset[r]),
                    dot.first.eq(first.as_value()),
                    dot.second.eq(second.as_value()),
                ]
                results[r].append(dot.sum)
        return results

    def _planes(self, m: Module, rows: QueryMemory, k_hi: data.View) -> list[list[Value]]:
        """Return the dot products [query lane][key lane] of `BitPlaneDot`."""
        config = self.config
        k_encoded = Signal.like(k_hi, reset_less=True)
        m.d.sync += k_encoded.eq(k_hi)
        results = [[] for _ in range(config.query_lanes)]
        for r in range(config.query_lanes):
            for lane in range(config.key_lanes):
                m.submodules[f"dot_{r}_{lane}"] = dot = BitPlaneDot(config.dim_lanes, config.estimate_bits)
                m.d.comb += [dot.q.eq(rows.hi[r]), dot.k.eq(k_encoded[lane])]
                results[r].append(dot.sum)
        return results

    def _packed(self, m: Module, rows: QueryMemory, k_hi: data.View) -> list[list[Value]]:
        """Return the dot products [query lane][key lane] of `PackedDspDot`, two key lanes each."""
        config = self.config
        results = [[] for _ in range(config.query_lanes)]
        lanes = [k_hi[lane] for lane in range(config.key_lanes)]
        # A single lane shares its multipliers with zeros.
        if len(lanes) % 2:
            lanes.append(lanes[0].shape().const([0] * config.dim_lanes))
        for n in range(len(lanes) // 2):
            dots = [PackedDspDot(config.dim_lanes, config.estimate_bits) for _ in range(config.query_lanes)]
            packed = Signal.like(dots[0].packed, name=f"packed_{n}", reset_less=True)
            for d in range(config.dim_lanes):
                m.d.sync += packed[d].eq(dots[0].pack(lanes[2 * n][d], lanes[2 * n + 1][d]))
            for r, dot in enumerate(dots):
                m.submodules[f"dot_{r}_{n}"] = dot
                m.d.comb += [dot.q.eq(rows.hi[r]), dot.packed.eq(packed)]
                results[r] += [dot.sums[0], dot.sums[1]]
        return results

    def _accumulate(self, m: Module, index: Signal, results: list[list[Value]]) -> None:
        """Count the slices of a key group in `index`, and add their results."""
        config = self.config
        expected = Signal.like(index)
        m.d.comb += index.eq(Mux(self.k_first, 0, expected))
        with m.If(self.k_valid):
            m.d.sync += expected.eq(index + 1)
        flags = Cat(self.k_valid, index == 0, index == config.dim_slices - 1)
        valid, first, last = delay(m, flags, self.latency - 1, name="flags")
        m.d.sync += self.est_valid.eq(valid & last)
        for r in range(config.query_lanes):
            for lane in range(config.key_lanes):
                total = Signal(signed(config.est_bits), name=f"total_{r}_{lane}", reset_less=True)
                with m.If(valid):
                    m.d.sync += total.eq(Mux(first, 0, total) + results[r][lane])
                m.d.comb += self.est[r][lane].eq(total)
