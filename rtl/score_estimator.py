"""The PE array: estimates every score from the high halves of Q and K."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from latte.rtl.dot_product import BITS, AdderTree, BitPlaneDot, PackedDspDot, PairEntry, PairTableDot

__all__ = ["ScoreEstimator"]

HALF = signed(BITS)


class QueryTables(wiring.Component):
    """The held query rows as `PairEntry` tables, double buffered, with the loader that makes them.

    A row arrives whole and is turned into entries in up to 8 slices by one small generator that all rows
    share; each row shifts the slices it is given into its shadow registers. When keys move to the other
    bank, all rows copy shadow to active at once. Copying costs no logic, where choosing between two banks
    would cost a LUT per bit::

        q -> row register -> slice mux -> +,- -+-> shadow[0] -> active[0] -> entries[0]
                                               +-> shadow[1] -> active[1] -> entries[1]
                                               +-> sum ------> offset (follows offset_delay cycles later)

    The price is that banks are used in the order in which they were loaded, each once: a switch retires the
    bank that was in use, and so does loading it. No register needs a reset, as a row is loaded before use.

    Parameters
    ----------
    head_dim, rows : int
        Elements of a row, and rows.
    offset_delay : int
        Cycles by which `offset` follows `entries` when the bank is switched.

    Attributes
    ----------
    q : In(stream.Signature(StructLayout))
        Rows to load. Ready again after `load_cycles`.
    k_valid, k_bank : In(1)
        A key, and the bank it is for: `entries` hold that bank two cycles later.
    entries : Out(ArrayLayout(ArrayLayout(PairEntry, pairs), rows))
    offset : Out(ArrayLayout(signed, rows))
    """

    MAX_SLICES = 8

    def __init__(self, head_dim, rows, offset_delay):
        self.pairs = head_dim // 2
        self.rows = rows
        self.offset_delay = offset_delay
        self.slice_pairs = -(-self.pairs // self.MAX_SLICES)
        self.slices = -(-self.pairs // self.slice_pairs)
        self.load_cycles = self.slices + 2
        super().__init__({
            "q": In(stream.Signature(row_layout(head_dim, rows))),
            "k_valid": In(1),
            "k_bank": In(1),
            "entries": Out(data.ArrayLayout(data.ArrayLayout(PairEntry, self.pairs), rows)),
            "offset": Out(data.ArrayLayout(signed(BITS + ceil_log2(self.pairs)), rows)),
        })

    def elaborate(self, platform):
        m = Module()

        # Loader: take a row, then go through its slices.
        row = Signal(self.q.payload.row.shape(), reset_less=True)
        row_bank = Signal(reset_less=True)
        taken = Signal()
        slices = Signal(data.ArrayLayout(2 * BITS * self.slice_pairs, self.slices), reset_less=True)
        step = Signal(range(self.slices + 1))
        busy = Signal()
        m.d.comb += self.q.ready.eq(~busy)
        m.d.sync += taken.eq(self.q.valid & ~busy)
        with m.If(busy):
            # The extra step lets the last slice reach the shadow registers.
            m.d.sync += [step.eq(step + 1), busy.eq(step != self.slices)]
        with m.Elif(self.q.valid):
            m.d.sync += [row.eq(self.q.payload.row), row_bank.eq(self.q.payload.bank),
                         slices.eq(self.q.payload.hi.as_value()), step.eq(0), busy.eq(1)]

        # Two stages: choose a slice, make its entries.
        elements = Signal(data.ArrayLayout(signed(BITS), 2 * self.slice_pairs), reset_less=True)
        word = Signal(data.ArrayLayout(PairEntry, self.slice_pairs), reset_less=True)
        last = delay(m, step == self.slices - 1, 2, "last")
        made = delay(m, busy & (step != self.slices), 1, "made")
        write = Signal(self.rows)
        m.d.sync += elements.eq(slices[step[:ceil_log2(self.slices)]])
        for r in range(self.rows):
            m.d.sync += write[r].eq(made & (row == r))
        m.submodules.offset_tree = tree = AdderTree(self.slice_pairs, signed(BITS))
        for i in range(self.slice_pairs):
            q0, q1 = elements[2 * i], elements[2 * i + 1]
            m.d.sync += [
                word[i].half_sum.eq((q0 + q1) >> 1),
                word[i].half_diff.eq((q0 - q1) >> 1),
                word[i].even.eq(q0[0] == q1[0]),
            ]
            m.d.comb += tree.terms[i].eq(word[i].half_sum)

        # The offset's sum runs behind the entries by the depth of its tree.
        clear = delay(m, busy & (step == 0), 1 + tree.latency, "clear")
        add = delay(m, write.any(), tree.latency, "add")
        total = Signal(self.offset[0].shape(), reset_less=True)
        with m.If(clear):
            m.d.sync += total.eq(0)
        with m.Elif(add):
            m.d.sync += total.eq(total + tree.sum)
        # Written once, at the end: the last load's offset may not have been copied when this load begins.
        write_offset = delay(m, Mux(last, write, 0), tree.latency + 1, "write_offset")

        # Switch banks when a key asks for the other one. A load into the bank in use means that it is in
        # use no longer, even if no key has asked for the other one yet.
        bank = Signal()
        next_bank = Mux(self.k_valid, self.k_bank, Mux(taken, ~row_bank, bank))
        switch = Signal()
        m.d.sync += [bank.eq(next_bank), switch.eq(next_bank != bank)]
        switch_offset = delay(m, switch, self.offset_delay, "switch_offset")

        for r in range(self.rows):
            shadow = Signal(data.ArrayLayout(PairEntry, self.slice_pairs * self.slices),
                            name=f"shadow_{r}", reset_less=True)
            active = Signal(data.ArrayLayout(PairEntry, self.pairs), name=f"active_{r}", reset_less=True)
            shadow_offset = Signal.like(total, name=f"shadow_offset_{r}")
            active_offset = Signal.like(total, name=f"active_offset_{r}")
            with m.If(write[r]):
                m.d.sync += shadow.eq(Cat(shadow.as_value(), word)[len(word.as_value()):])
            with m.If(write_offset[r]):
                m.d.sync += shadow_offset.eq(total)
            with m.If(switch):
                m.d.sync += active.eq(shadow.as_value())
            with m.If(switch_offset):
                m.d.sync += active_offset.eq(shadow_offset)
            m.d.comb += [self.entries[r].eq(active), self.offset[r].eq(active_offset)]
        return m


class QueryMemory(wiring.Component):
    """The held query rows as they are, in a memory of two banks; reads `dims` elements at a time.

    The memory is not cleared by reset: a row is loaded before it is used.

    Parameters
    ----------
    head_dim, rows : int
        Elements of a row, and rows.
    dims : int
        Elements per slice; divides `head_dim`.

    Attributes
    ----------
    q : In(stream.Signature(StructLayout))
        Rows to load. Ready again after `load_cycles`.
    k_bank : In(1)
    k_slice : In(range(head_dim / dims))
        What to read: `hi` shows it one cycle later.
    hi : Out(ArrayLayout(ArrayLayout(signed(4), dims), rows))
    """

    def __init__(self, head_dim, rows, dims):
        self.rows = rows
        self.slices = head_dim // dims
        self.load_cycles = self.slices
        self.word = data.ArrayLayout(signed(BITS), dims)
        super().__init__({
            "q": In(stream.Signature(row_layout(head_dim, rows))),
            "k_bank": In(1),
            "k_slice": In(range(self.slices)),
            "hi": Out(data.ArrayLayout(self.word, rows)),
        })

    def elaborate(self, platform):
        m = Module()
        row = Signal.like(self.q.payload.row, reset_less=True)
        bank = Signal(reset_less=True)
        words = Signal(data.ArrayLayout(self.word, self.slices), reset_less=True)
        step = Signal(range(self.slices))
        busy = Signal()
        last = step == self.slices - 1
        m.d.comb += self.q.ready.eq(~busy | last)
        with m.If(busy):
            m.d.sync += [step.eq(Mux(last, 0, step + 1)), busy.eq(~last)]
        with m.If(self.q.valid & self.q.ready):
            m.d.sync += [row.eq(self.q.payload.row), bank.eq(self.q.payload.bank),
                         words.eq(self.q.payload.hi.as_value()), busy.eq(1)]
        depth = 2 << ceil_log2(self.slices)
        for r in range(self.rows):
            m.submodules[f"array_{r}"] = mem = memory.Memory(shape=self.word, depth=depth, init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.addr.eq(Cat(step, bank)),
                write.data.eq(words[step]),
                write.en.eq(busy & (row == r)),
                read.addr.eq(Cat(self.k_slice, self.k_bank)),
                self.hi[r].eq(read.data),
            ]
        return m


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
    k_hi : In(ArrayLayout(ArrayLayout(signed(4), dim_lanes), key_lanes))
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
            self._rows = QueryTables(self.head_dim, self.query_lanes, dot.offset_delay)
        else:
            self._rows = QueryMemory(self.head_dim, self.query_lanes, self.dim_lanes)
        self.load_cycles = self._rows.load_cycles
        self.latency = 2 + dot.latency + (self.slices > 1)
        super().__init__({
            "q": In(stream.Signature(row_layout(self.head_dim, self.query_lanes))),
            "k_valid": In(1),
            "k_bank": In(1),
            "k_first": In(1),
            "k_hi": In(data.ArrayLayout(data.ArrayLayout(signed(BITS), self.dim_lanes), self.key_lanes)),
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
        if self.est_bits != 2 * BITS + ceil_log2(self.head_dim):
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
            m.d.comb += self.est_valid.eq(delay(m, self.k_valid, self.latency, "valid"))
            for r in range(self.query_lanes):
                for lane in range(self.key_lanes):
                    m.d.comb += self.est[r][lane].eq(results[r][lane])
        return m

    def _tables(self, m, rows, k_hi):
        results = [[] for _ in range(self.query_lanes)]
        for lane in range(self.key_lanes):
            planes = data.ArrayLayout(data.ArrayLayout(1, self.head_dim // 2), BITS)
            invert = Signal(planes, name=f"invert_{lane}", reset_less=True)
            differ = Signal(planes, name=f"differ_{lane}", reset_less=True)
            for i in range(self.head_dim // 2):
                first, second = k_hi[lane][2 * i], k_hi[lane][2 * i + 1]
                for b in range(BITS):
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
        valid, first, last = delay(m, flags, self.latency - 1, "flags")
        m.d.sync += self.est_valid.eq(valid & last)
        for r in range(self.query_lanes):
            for lane in range(self.key_lanes):
                total = Signal(signed(self.est_bits), name=f"total_{r}_{lane}", reset_less=True)
                with m.If(valid):
                    m.d.sync += total.eq(Mux(first, 0, total) + results[r][lane])
                m.d.comb += self.est[r][lane].eq(total)


def row_layout(head_dim, rows, element=HALF):
    """Payload that loads one query row: which row of which bank, and its high half (or its whole elements)."""
    # At least one bit for the row: Signal(range(1)) has none.
    return data.StructLayout({
        "row": range(max(2, rows)),
        "bank": 1,
        "hi": data.ArrayLayout(element, head_dim),
    })


def delay(m, value, cycles, name):
    """Return `value` as it was `cycles` cycles ago; 0 before a reset."""
    for n in range(cycles):
        stage = Signal(len(value), name=f"{name}_{n + 1}")
        m.d.sync += stage.eq(value)
        value = stage
    return value
