"""Second stage of the serial core: filters a row's estimates and scores the survivors, one at a time."""

from amaranth import Cat, Module, Mux, Shape, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.entry_words import KIND_BITS
from latte.rtl.common.operand_split import element_layout
from latte.rtl.common.payloads import code_layout, key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.common.probes import filter_probe_layout
from latte.rtl.serial.serial_estimator import estimated_row_layout
from latte.rtl.serial.serial_gap_table import SerialGapTable, fill_layout, mass_bits, weighs
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_pruned_mass import SerialPrunedMass
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter
from latte.rtl.serial.serial_scratchpad import plane_port

__all__ = ["SerialScorer", "scored_row_layout", "stored_score"]


def stored_score(config: AttentionConfig) -> Shape:
    """Shape of a score without its zero bits."""
    return signed(config.score_bits - config.low_bits)


def scored_row_layout(config: AttentionConfig) -> data.StructLayout:
    """One row whose survivors all have their scores: how many there are, and the largest score.

    With compensation the row's largest estimate and the number of keys it sees as well.
    """
    row = {"best": signed(config.est_bits), "keys": length_shape(config)} if config.key_groups else {}
    return data.StructLayout({"survivors": length_shape(config), "maximum": stored_score(config), "job_last": 1, **row})


class SerialScorer(wiring.Component):
    r"""``keep = est > rowmax - tau``, then ``score = 2**2l est + 2**l (q_high . k_low + q_low . k_high)``.

    ``l`` is `low_bits`. Source: LATTE Eq. 6 and 9.

    In a build with several kinds of threshold `SerialRowLimiter` says what a row's estimates must be above. A key that
    does not survive takes one cycle, and another if its weight goes to the mass of its group, for compensation; a
    survivor takes its slices besides::

        estimate -> > threshold? -> slice counter -> [query ring, halves plane] -> products -> sum -> + -+-> memory
                \------------------------------------------------------------------------------------/   +-> maximum

    Both cross products of an element come out of one multiplier: of
    ``(q_high 2**f + q_low) (k_high 2**f + k_low)`` they are the middle; ``f`` is 9, 10 or 12 for ``l`` of 4, 5 or 6.

    Scores wait in one half of a memory while the next row's go to the other.

    Latency: a row of n keys and s survivors is offered ``latency + n + s score_cycles`` cycles after it was accepted,
    with compensation n - s more, by mass `SerialRowLimiter.mass_cycles` more. Throughput: the next row is accepted one
    cycle after this one has left. Exact.

    Members
    -------
    row : In(stream of estimated_row_layout)
    index : Out, estimate : In
        The row's estimates, one cycle later.
    tau : In(est_bits)
        In a build with one code; in others `code_valid`, `code` and `kind` as of `SerialRowLimiter`.
    fill, filled : In
        Weights for the gap table, and that it has them all: in a build that weighs keys by their estimates.
    compensated : In(1)
        Pruned keys are weighed: with the rest in a build with compensation.
    group : In(group_bits)
        Of the key at `index`, one cycle later.
    mass_group : In, mass : Out
        Pruned mass of a group of the row that was accepted last, one cycle later.
    query_slice : Out, query : In
        A slice of the row's query, both halves, one cycle later.
    keys : Out(plane_port)
    scored : Out(1)
        One cycle: the row's query is no longer needed.
    o : Out(stream of scored_row_layout)
        Accepting a row frees the half of the memory that was read before.
    score_index : In, score : Out
        Survivor of the row that was accepted last, one cycle later; the score without its zero bits.
    waiting_for_row : Out(1)
        The finished row is not taken.
    step : Out(1)
        A slice of a survivor is read.
    probe : Out(filter_probe_layout)
        Tap for a scoreboard.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        self.score_cycles = self.score_cycles_of(config)
        elements = data.ArrayLayout(element_layout(config), config.cross_lanes)
        self.stored = data.StructLayout({"score": stored_score(config), "key": key_shape(config)})
        optional: dict[str, wiring.Member] = {}
        if config.code_octaves:
            optional |= {"code_valid": In(1), "code": In(code_layout(config, 1))}
        else:
            optional["tau"] = In(config.est_bits)
        if len(config.threshold_kinds) > 1:
            optional["kind"] = In(KIND_BITS)
        if weighs(config):
            optional |= {"fill": In(fill_layout(config)), "filled": In(1)}
        if config.key_groups:
            optional |= {"compensated": In(1), "group": In(config.group_bits), "mass_group": In(config.group_bits),
                         "mass": Out(mass_bits(config))}
        super().__init__({
            **optional,
            "row": In(stream.Signature(estimated_row_layout(config))),
            "index": Out(key_shape(config)), "estimate": In(signed(config.est_bits)),
            "query_slice": Out(range(config.cross_slices)), "query": In(elements),
            "keys": Out(plane_port(config, element_layout(config), config.cross_lanes)),
            "scored": Out(1),
            "o": Out(stream.Signature(scored_row_layout(config))),
            "score_index": In(key_shape(config)), "score": Out(self.stored),
            "waiting_for_row": Out(1), "step": Out(1), "probe": Out(filter_probe_layout(config))})

    @staticmethod
    def latency_of(config: AttentionConfig) -> int:
        """Return the cycles until the first key is filtered: the row is taken, limited, its first estimate read."""
        return 2 + (SerialRowLimiter.latency if config.code_octaves else 0)

    @staticmethod
    def score_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles of a survivor, besides that of every key: its slices, the last product, the score."""
        return config.cross_slices + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        keys, job_last, half = Signal(length_shape(config)), self.o.payload.job_last, Signal()
        best, threshold = Signal(signed(config.est_bits)), Signal(signed(config.est_bits + 2))
        limiter, weigh = self._limit(m, keys, best), Signal()
        key, part = self.keys.key, self.keys.slice
        last_key, survives, advance, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last_key.eq(key == keys - 1), self.index.eq(key + advance), self.query_slice.eq(part),
            self.step.eq(self.keys.read),
        ]
        if limiter is None:
            m.d.comb += survives.eq(self.estimate > threshold)
        else:
            m.d.comb += survives.eq((self.estimate > limiter.threshold) | (self.estimate == best))
        probe = self.probe
        m.d.comb += [probe.visible.eq(1), probe.keep.eq(survives), probe.row_last.eq(last_key),
                     probe.estimate[0].eq(self.estimate)]
        with m.FSM():
            with m.State("ROW"):
                # Without its weights a head is not filtered.
                m.d.comb += self.row.ready.eq(self.filled if weighs(config) else 1)
                m.d.sync += [keys.eq(self.row.payload.keys), job_last.eq(self.row.payload.job_last),
                             best.eq(self.row.payload.maximum)]
                if limiter is None:
                    m.d.sync += threshold.eq(self.row.payload.maximum - self.tau)
                    with m.If(self.row.valid & self.row.ready):
                        m.next = "READ"
                else:
                    with m.If(self.row.valid & self.row.ready):
                        m.d.comb += limiter.start.eq(1)
                        m.next = "LIMIT"
            if limiter is not None:
                with m.State("LIMIT"):
                    m.d.comb += self.index.eq(limiter.index)
                    with m.If(limiter.done):
                        m.next = "READ"
            with m.State("READ"):
                # The half of the estimates has just changed.
                m.next = "FILTER"
            with m.State("FILTER"):
                m.d.comb += probe.valid.eq(1)
                with m.If(survives):
                    m.next = "SCORE"
                if config.key_groups:
                    with m.Elif(self.compensated):
                        m.next = "WEIGH"
                with m.Elif(last_key):
                    m.next = "OFFER"
                with m.Else():
                    m.d.comb += advance.eq(1)
            if config.key_groups:
                with m.State("WEIGH"):
                    m.d.comb += [weigh.eq(1), advance.eq(~last_key)]
                    m.next = "FILTER"
                    with m.If(last_key):
                        m.next = "OFFER"
            with m.State("SCORE"):
                m.d.comb += self.keys.read.eq(1)
                m.d.sync += part.eq(part + 1)
                with m.If(part == config.cross_slices - 1):
                    m.d.sync += part.eq(0)
                    m.next = "LAST PRODUCT"
            with m.State("LAST PRODUCT"):
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [done.eq(1), advance.eq(~last_key)]
                m.next = "FILTER"
                with m.If(last_key):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [self.o.valid.eq(1), self.waiting_for_row.eq(~self.o.ready)]
                with m.If(self.o.ready):
                    m.d.comb += self.scored.eq(1)
                    m.d.sync += [half.eq(~half), key.eq(0)]
                    m.next = "ROW"
        with m.If(advance):
            m.d.sync += key.eq(key + 1)
        if config.key_groups:
            m.d.comb += [self.o.payload.best.eq(best), self.o.payload.keys.eq(keys)]
            m.submodules.pruned_mass = masses = SerialPrunedMass(config)
            m.d.comb += [
                masses.group.eq(self.group), masses.add.eq(weigh), masses.weight.eq(self._weight(m, best, limiter)),
                masses.row_ends.eq(self.scored), masses.read_group.eq(self.mass_group), self.mass.eq(masses.mass),
            ]
        elif weighs(config):
            self._weight(m, best, limiter)
        self._store(m, half, done, self._cross_products(m))
        return m

    def _limit(self, m: Module, keys: Signal, best: Signal) -> SerialRowLimiter | None:
        """Make the limiter that a build with codes by length has."""
        if not self.config.code_octaves:
            return None
        m.submodules.limiter = limiter = SerialRowLimiter(self.config)
        m.d.comb += [
            limiter.code_valid.eq(self.code_valid), limiter.code.eq(self.code), limiter.keys.eq(keys),
            limiter.maximum.eq(best),
        ]
        if len(self.config.threshold_kinds) > 1:
            m.d.comb += limiter.kind.eq(self.kind)
        return limiter

    def _weight(self, m: Module, best: Signal, limiter: SerialRowLimiter | None) -> Signal:
        """Look weights up for the limiter, then for pruned keys; return the weight."""
        m.submodules.gap_table = table = SerialGapTable(self.config)
        m.d.comb += [table.fill.eq(self.fill), table.gap.eq(best - self.estimate)]
        if limiter is not None and limiter.by_mass:
            m.d.comb += [limiter.weight.eq(table.weight), limiter.end.eq(table.end)]
            with m.If(limiter.searching):
                m.d.comb += table.gap.eq(limiter.gap)
        return table.weight

    def _cross_products(self, m: Module) -> Signal:
        """Return the sum over a survivor's slices."""
        config = self.config
        total = Signal(signed(config.cross_bits))
        # The two cross products are from -240 to 210; the product of two low parts is wider from 5 bits on.
        field = max(9, 2 * config.low_bits)
        terms = []
        for query, key in zip(self.query, self.keys.data, strict=True):
            packed = [(element.high << field) + element.low for element in (query, key)]
            product = Signal((packed[0] * packed[1]).shape(), name=f"product_{len(terms)}")
            m.d.comb += product.eq(packed[0] * packed[1])
            # A negative product of the low halves has borrowed one.
            terms.append(product[field:2 * field].as_signed() + product[field - 1])
        valid, first = delay(m, Cat(self.step, self.keys.slice == 0), 1, name="slice")
        with m.If(valid):
            m.d.sync += total.eq(Mux(first, 0, total) + sum(terms))
        return total

    def _store(self, m: Module, half: Signal, done: Signal, total: Signal) -> None:
        """Keep a score, and the largest one."""
        config, o, stored = self.config, self.o.payload, Signal(self.stored)
        survivors, maximum = o.survivors, o.maximum
        m.submodules.memory = memory = DualPortRam(self.stored, 2 << ceil_log2(config.max_seq_len))
        place = len(memory.read_addr) - 1
        m.d.comb += [
            stored.score.eq((self.estimate << config.low_bits) + total), stored.key.eq(self.keys.key),
            memory.write_en.eq(done), memory.write_data.eq(stored),
            memory.write_addr.eq(Cat(survivors[:place], half)),
            memory.read_addr.eq(Cat(self.score_index[:place], ~half)), self.score.eq(memory.read_data),
        ]
        with m.If(done):
            m.d.sync += survivors.eq(survivors + 1)
            with m.If((survivors == 0) | (stored.score > maximum)):
                m.d.sync += maximum.eq(stored.score)
        with m.If(self.scored):
            m.d.sync += survivors.eq(0)
