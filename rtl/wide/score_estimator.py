"""The PE array: estimates every score from the high halves of Q and K."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.common.operand_split import HALF_BITS
from latte.rtl.common.primitives import delay
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.payloads import query_row_layout
from latte.rtl.wide.query_memory import QueryMemory
from latte.rtl.wide.query_tables import QueryTables

__all__ = ["ScoreEstimator"]

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
    config : AttentionConfig
        Uses `head_dim`, `query_lanes`, `key_lanes`, `dim_lanes`, `split`, `pe_structure` and `est_bits`.
        Both splits give signed high halves, so `split` changes nothing here.

    Attributes
    ----------
    q : In(stream.Signature(StructLayout({"row": ..., "bank": 1, "hi": ...})))
        Query rows' high halves.
    k_valid : In(1)
        There is a key beat in this cycle.
    k_bank : In(1)
        Bank of query rows to score it with; the same for all beats of a group.
    k_first : In(1)
        It starts a key group: slice 0 of ``head_dim / dim_lanes``. Not used when a beat is a group.
    k_hi : In(ArrayLayout(ArrayLayout(signed(HALF_BITS), dim_lanes), key_lanes))
        High halves of `key_lanes` keys, `dim_lanes` elements each.
    est_valid : Out(1)
    est : Out(ArrayLayout(ArrayLayout(signed(est_bits), key_lanes), query_lanes))
    """

    STRUCTURES = ("table", "multiplier", "dsp")

    def __init__(self, config):
        self.head_dim = config.head_dim
        self.query_lanes = config.query_lanes
        self.key_lanes = config.key_lanes
        self.dim_lanes = config.dim_lanes
        self.split = config.split
        self.pe_structure = config.pe_structure
        self.est_bits = config.est_bits
        self._check()

        self.slices = self.head_dim // self.dim_lanes
        structure = {"table": PairTableDot, "multiplier": BitPlaneDot, "dsp": PackedDspDot}[self.pe_structure]
        keys_per_dot = 2 if self.pe_structure == "dsp" else 1
        self._dots = [[structure(self.dim_lanes) for _ in range(0, self.key_lanes, keys_per_dot)]
                      for _ in range(self.query_lanes)]
        dot = self._dots[0][0]
        if self.pe_structure == "table":
            self._rows = QueryTables(config, dot.offset_delay)
        else:
            self._rows = QueryMemory(config)
        self.load_cycles = self._rows.load_cycles
        self.latency = 2 + dot.latency + (self.slices > 1)
        super().__init__({
            "q": In(stream.Signature(query_row_layout(config, signed(HALF_BITS)))),
            "k_valid": In(1),
            "k_bank": In(1),
            "k_first": In(1),
            "k_hi": In(data.ArrayLayout(data.ArrayLayout(signed(HALF_BITS), self.dim_lanes), self.key_lanes)),
            "est_valid": Out(1),
            "est": Out(data.ArrayLayout(data.ArrayLayout(signed(self.est_bits), self.key_lanes),
                                        self.query_lanes)),
        })

    def _check(self):
        for name in ("query_lanes", "key_lanes", "dim_lanes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not positive")
        if self.pe_structure not in self.STRUCTURES:
            raise ValueError(f"pe_structure {self.pe_structure!r} is none of {', '.join(self.STRUCTURES)}")
        if self.head_dim % 2 or not 4 <= self.head_dim <= 512:
            raise ValueError(f"head_dim {self.head_dim} is not an even number from 4 to 512")
        if self.head_dim % self.dim_lanes:
            raise ValueError(f"dim_lanes {self.dim_lanes} does not divide head_dim {self.head_dim}")
        if self.dim_lanes < self.head_dim and self.pe_structure != "multiplier":
            raise ValueError(f"dim_lanes {self.dim_lanes} below head_dim {self.head_dim} needs pe_structure "
                             f"'multiplier', not {self.pe_structure!r}")
        if self.est_bits != 2 * HALF_BITS + ceil_log2(self.head_dim):
            raise ValueError(f"est_bits {self.est_bits} is not 8 + ceil(log2(head_dim {self.head_dim}))")

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = self._rows
        wiring.connect(m, wiring.flipped(self.q), rows.q)

        # A beat takes two cycles before the dot products: one to come in, one to be encoded. The query side
        # needs both as well, to switch banks or to read a slice.
        k_hi = Signal.like(self.k_hi, reset_less=True)
        m.d.sync += k_hi.eq(self.k_hi)
        index = Signal(range(self.slices))
        if self.pe_structure == "table":
            m.d.comb += [rows.k_valid.eq(self.k_valid), rows.k_bank.eq(self.k_bank)]
        else:
            m.d.sync += [rows.k_bank.eq(self.k_bank), rows.k_slice.eq(index)]
        build = {"table": self._tables, "multiplier": self._planes, "dsp": self._packed}[self.pe_structure]
        results = build(m, rows, k_hi)

        if self.slices > 1:
            self._accumulate(m, index, results)
        else:
            m.d.comb += self.est_valid.eq(delay(m, self.k_valid, self.latency, name="valid"))
            for r in range(self.query_lanes):
                for lane in range(self.key_lanes):
                    m.d.comb += self.est[r][lane].eq(results[r][lane])
        return m

    def _tables(self, m, rows, k_hi):
        results = [[] for _ in range(self.query_lanes)]
        for lane in range(self.key_lanes):
            planes = data.ArrayLayout(data.ArrayLayout(1, self.head_dim // 2), HALF_BITS)
            invert = Signal(planes, name=f"invert_{lane}", reset_less=True)
            differ = Signal(planes, name=f"differ_{lane}", reset_less=True)
            for i in range(self.head_dim // 2):
                first, second = k_hi[lane][2 * i], k_hi[lane][2 * i + 1]
                for b in range(HALF_BITS):
                    m.d.sync += [invert[b][i].eq(first[b]), differ[b][i].eq(first[b] ^ second[b])]
            for r in range(self.query_lanes):
                m.submodules[f"dot_{r}_{lane}"] = dot = self._dots[r][lane]
                m.d.comb += [
                    dot.entries.eq(rows.entries[r]),
                    dot.offset.eq(rows.offset[r]),
                    dot.invert.eq(invert.as_value()),
                    dot.differ.eq(differ.as_value()),
                ]
                results[r].append(dot.sum)
        return results

    def _planes(self, m, rows, k_hi):
        k_encoded = Signal.like(k_hi, reset_less=True)
        m.d.sync += k_encoded.eq(k_hi)
        results = [[] for _ in range(self.query_lanes)]
        for r in range(self.query_lanes):
            for lane in range(self.key_lanes):
                m.submodules[f"dot_{r}_{lane}"] = dot = self._dots[r][lane]
                m.d.comb += [dot.q.eq(rows.hi[r]), dot.k.eq(k_encoded[lane])]
                results[r].append(dot.sum)
        return results

    def _packed(self, m, rows, k_hi):
        results = [[] for _ in range(self.query_lanes)]
        # An odd last lane shares its multipliers with zeros.
        lanes = [k_hi[lane] for lane in range(self.key_lanes)]
        if len(lanes) % 2:
            lanes.append(lanes[0].shape().const([0] * self.dim_lanes))
        for n in range(len(lanes) // 2):
            packed = Signal.like(self._dots[0][n].packed, name=f"packed_{n}", reset_less=True)
            for d in range(self.dim_lanes):
                m.d.sync += packed[d].eq(self._dots[0][n].pack(lanes[2 * n][d], lanes[2 * n + 1][d]))
            for r in range(self.query_lanes):
                m.submodules[f"dot_{r}_{n}"] = dot = self._dots[r][n]
                m.d.comb += [dot.q.eq(rows.hi[r]), dot.packed.eq(packed)]
                results[r] += [dot.sums[0], dot.sums[1]]
        return results

    def _accumulate(self, m, index, results):
        """Count the slices of a key group in `index`, and add their results."""
        expected = Signal.like(index)
        m.d.comb += index.eq(Mux(self.k_first, 0, expected))
        with m.If(self.k_valid):
            m.d.sync += expected.eq(index + 1)
        flags = Cat(self.k_valid, index == 0, index == self.slices - 1)
        valid, first, last = delay(m, flags, self.latency - 1, name="flags")
        m.d.sync += self.est_valid.eq(valid & last)
        for r in range(self.query_lanes):
            for lane in range(self.key_lanes):
                total = Signal(signed(self.est_bits), name=f"total_{r}_{lane}", reset_less=True)
                with m.If(valid):
                    m.d.sync += total.eq(Mux(first, 0, total) + results[r][lane])
                m.d.comb += self.est[r][lane].eq(total)
