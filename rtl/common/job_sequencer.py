"""Work list: checks each job, has its keys and values loaded, and hands it to the tile sequencer."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, entry_words
from latte.rtl.common.payloads import (
    code_layout,
    compute_layout,
    groups_layout,
    job_layout,
    load_layout,
    query_load_layout,
    verdict_layout,
)
from latte.rtl.common.primitives import delay, next_modulo, register

__all__ = ["JobSequencer"]


class JobSequencer(wiring.Component):
    """Runs a list of heads in order, loading each while its predecessor computes::

        job -> check -> [wait for a free bank] -> kv_load, query_load -> [wait for loaded] -> compute

    A job that cannot be computed is refused: its keys, values and queries are read off their streams and dropped,
    no output is produced, and a status bit says why. A refused job that would have started a sequence leaves no
    sequence behind, so that jobs which meant to use its keys are refused too.

    Jobs leave in order; a new sequence takes the other bank as soon as no job computes from it. Jobs that are not
    `overlapping` are accepted when no other computes, and `compute` stands until the release.

    An entry of the register file is looked up word by word, after which nothing that is written to it alters the job.
    What its rows need goes with `compute`, its groups to the loader, and the codes of its threshold to a memory of the
    engine's, if there is more than one (`AttentionConfig.code_octaves`): by octave, in the job's slot. Groups are those
    of the entry under which a sequence's first keys were loaded; a job that goes on with it must have the same.

    Parameters
    ----------
    config
    overlapping
        A job is loaded while others compute.
    slots
        Jobs whose codes the engine keeps: so many are loaded or computed at a time. No limit to a build with one code.

    Members
    -------
    job : In(stream of job_layout)
    look_up, head, index, word, known
        Look-up in `HeadRegisters`: a word, and whether the entry is known, `look_up_latency` cycles later.
    code_valid : Out(1), code : Out(code_layout)
        A code of the threshold, for the engine's memory; in a build with more than one.
    groups : Out(groups_layout)
        Of the keys that are loaded; in a build with several key groups.
    kv_load, query_load : Out(stream)
        Commands to the loaders.
    loaded : In(1)
        The `kv_load` command was carried out.
    compute : Out(stream of compute_layout)
        With the number of its slot if there are several.
    release, release_bank : In(1)
        A job's last row has left the given bank.
    busy : Out(1)
        A job is being loaded or computed.
    waiting_for_keys : Out(1)
        Keys or values are being loaded while nothing computes.
    verdict : Out(verdict_layout)
        Valid for one cycle for each job, before its rows are asked for. It is refused because of an unknown head; no
        rows at all; more of them than the build or the sequence holds; groups that the sequence's keys do not have.
    """

    look_up_latency = 3
    """Cycles after which a word is there; `HeadRegisters` answer in as many."""
    command_cycles = 2
    """From there to the command to the key loader, and from its answer to the dispatch."""

    def __init__(self, config: AttentionConfig, *, overlapping: bool = True, slots: int = 1) -> None:
        self.config = config
        self.overlapping = overlapping
        self.slots = slots if config.code_octaves else 1
        self.words = entry_words(config)
        self.check_cycles = self.check_cycles_of(config)
        optional: dict[str, wiring.Member] = {}
        if config.code_octaves:
            optional |= {"code_valid": Out(1), "code": Out(code_layout(config, self.slots))}
        if config.group_bits:
            optional["groups"] = Out(groups_layout(config))
        super().__init__({
            "job": In(stream.Signature(job_layout())),
            "look_up": Out(1), "head": Out(COUNT_BITS), "index": Out(range(len(self.words))),
            "word": In(ENTRY_WORD_BITS), "known": In(1), **optional,
            "kv_load": Out(stream.Signature(load_layout())),
            "query_load": Out(stream.Signature(query_load_layout())),
            "loaded": In(1),
            "compute": Out(stream.Signature(compute_layout(config, self.slots))),
            "release": In(1), "release_bank": In(1),
            "busy": Out(1), "waiting_for_keys": Out(1),
            "verdict": Out(verdict_layout())})

    @staticmethod
    def check_cycles_of(config: AttentionConfig) -> int:
        """Return the cycles from a job's acceptance to its command to the query loader.

        The look-up, a word a cycle, and the last word's way; comparison, check, judgement. A job that begins a sequence
        takes one more.
        """
        return len(entry_words(config)) + 5

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        job = Signal(job_layout())
        bank = Signal()
        keys = Signal(COUNT_BITS)
        total = Signal(COUNT_BITS + 1)
        unknown, excessive, none = Signal(), Signal(), Signal()
        drop = Signal()
        next_bank = Signal()
        # Without keys a job begins a sequence, and takes its groups, in a bank of its own like a fresh one: before a
        # job that was refused there may be others that still compute from the present bank.
        begins = Signal()
        # A job in flight holds at least one row of the pipeline, whose rows are bounded by the query ring.
        in_flight = [Signal(range(2 * config.query_rows), name=f"in_flight_{b}") for b in range(2)]
        idle = Signal(2, init=3)  # no job in flight
        dispatched = Signal()
        last_word = len(self.words) - 1
        # Compared while words are looked up, out of the way of `dispatched`.
        asks, loads = Signal(), Signal()

        m.d.sync += [asks.eq(job.query_rows != 0), loads.eq(job.load_rows != 0),
                     begins.eq(job.fresh | (keys == 0))]
        m.d.comb += [
            self.head.eq(job.head),
            next_bank.eq(~bank if config.kv_banks == 2 else 0),
            self.kv_load.payload.start.eq(Mux(job.fresh, 0, keys)),
            self.kv_load.payload.rows.eq(job.load_rows),
            self.kv_load.payload.bank.eq(Mux(begins, next_bank, bank)),
            self.kv_load.payload.drop.eq(drop),
            self.query_load.payload.rows.eq(job.query_rows),
            self.query_load.payload.drop.eq(drop),
            self.compute.payload.rows.eq(job.query_rows),
            self.compute.payload.keys.eq(keys),
            self.compute.payload.causal.eq(job.causal),
            self.compute.payload.bank.eq(bank),
        ]
        # A job that neither loads nor asks needs no groups.
        differ = self._take_entry(m, begins) & (asks | loads)
        full = self._slots(m, dispatched)

        with m.FSM():
            with m.State("IDLE"):
                # With one memory port for loading and computing, nobody keeps a copy of a command.
                m.d.comb += self.job.ready.eq(~full if self.overlapping else in_flight[0] == 0)
                with m.If(self.job.ready):
                    m.d.sync += job.eq(self.job.payload)
                with m.If(self.job.ready & self.job.valid):
                    m.next = "LOOK UP"
            with m.State("LOOK UP"):
                m.d.comb += self.look_up.eq(1)
                m.d.sync += [total.eq(Mux(job.fresh, 0, keys) + job.load_rows),
                             self.index.eq(next_modulo(self.index, len(self.words)))]
                with m.If(self.index == last_word):
                    m.next = "AWAIT"
            with m.State("AWAIT"):
                # The words of groups are compared by the judgement, which a short entry would come before.
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [
                    none.eq(total == 0),
                    excessive.eq((total > config.max_seq_len) | (job.causal & (job.query_rows > total))),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                # Keys get their groups as they are loaded.
                m.d.sync += unknown.eq((asks | loads if config.group_bits else asks) & ~self.known)
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += self.verdict.valid.eq(1)
                m.d.sync += drop.eq(1)
                m.next = "COMMAND QUERIES"
                with m.If(unknown):
                    m.d.comb += self.verdict.head_invalid.eq(1)
                with m.Elif(none):
                    m.d.comb += self.verdict.no_keys.eq(1)
                with m.Elif(excessive):
                    m.d.comb += self.verdict.too_long.eq(1)
                with m.Elif(differ):
                    m.d.comb += self.verdict.groups_differ.eq(1)
                with m.Else():
                    m.d.sync += drop.eq(0)
                    with m.If(begins):
                        m.next = "WAIT FOR BANK"
            with m.State("WAIT FOR BANK"), m.If(idle.bit_select(next_bank, 1)):
                m.next = "COMMAND QUERIES"
            with m.State("COMMAND QUERIES"):
                m.d.comb += self.query_load.valid.eq(1)
                with m.If(self.query_load.ready):
                    m.next = "COMMAND KEYS"
            with m.State("COMMAND KEYS"):
                m.d.comb += self.kv_load.valid.eq(1)
                with m.If(self.kv_load.ready):
                    m.next = "WAIT FOR KEYS"
            with m.State("WAIT FOR KEYS"):
                m.d.comb += self.waiting_for_keys.eq(idle.all())
                with m.If(self.loaded):
                    m.next = "DISPATCH"
                    with m.If(~drop):
                        m.d.sync += keys.eq(total)
                    with m.Elif(job.fresh):
                        m.d.sync += keys.eq(0)
                    with m.If(begins & ~drop):
                        m.d.sync += bank.eq(next_bank)
            with m.State("DISPATCH"):
                m.d.comb += self.compute.valid.eq(~drop & asks)
                with m.If(self.compute.ready | ~self.compute.valid):
                    m.next = "IDLE"

        m.d.comb += [
            dispatched.eq(self.compute.valid & self.compute.ready),
            self.busy.eq(~self.job.ready | ~idle.all()),
        ]
        for b in range(2):
            up, down = dispatched & (bank == b), self.release & (self.release_bank == b)
            with m.If(up ^ down):
                m.d.sync += [in_flight[b].eq(in_flight[b] + Mux(up, 1, -1)), idle[b].eq(~up & (in_flight[b] == 1))]
        return m

    def _take_entry(self, m: Module, begins: Signal) -> Value:
        """Take the words that are looked up; return whether the job's groups are others than the sequence's."""
        entry = Signal(self.compute.payload.entry.shape())
        # Of each word, since all of them together are more logic than fits in a cycle.
        differs = Signal(len(self.words))
        m.d.comb += self.compute.payload.entry.eq(entry)
        # The register file may be far away; the last word, of the threshold, has time before the job is handed on.
        looked_up = register(m, self.word, "looked_up")
        taken = delay(m, Cat(self.look_up, self.index), self.look_up_latency + 1, name="taken")
        with m.If(taken[0]), m.Switch(taken[1:]):
            for place, (name, layout) in enumerate(self.words.items()):
                with m.Case(place):
                    word = Signal(layout, name=f"{name}_word")
                    m.d.comb += word.as_value().eq(looked_up)
                    m.d.sync += [entry[field].eq(word[field]) for field in entry.shape().members if
                                 field in layout.members]
                    if name.startswith("code_"):
                        m.d.comb += [self.code_valid.eq(1), self.code.code.eq(looked_up),
                                     self.code.octave.eq(int(name.removeprefix("code_")))]
                    if groups := self._groups_of(name, word):
                        with m.If(begins):
                            m.d.sync += [mine.eq(theirs) for mine, theirs in groups]
                        m.d.sync += differs[place].eq(~begins & Cat(
                            mine.as_unsigned() != theirs.as_unsigned()[:len(mine)] for mine, theirs in groups).any())
        return differs.any()

    def _groups_of(self, name: str, word: data.View) -> list[tuple[Value, Value]]:
        """Return what a word of an entry says of groups, as (the sequence's, the word's)."""
        if name == "control" and self.config.group_bits:
            return [(self.groups.group_bits, word.group_bits)]
        if name.startswith("group_"):
            bit = int(name.removeprefix("group_"))
            return [(self.groups.elements[bit], word[f"element_{bit}"]), (self.groups.cuts[bit], word[f"cut_{bit}"])]
        return []

    def _slots(self, m: Module, dispatched: Signal) -> Value:
        """Give each job that computes a slot; return whether none is free."""
        if not self.config.code_octaves or not self.overlapping:
            return Const(0)
        jobs, slot = Signal(range(self.slots + 1)), Signal(range(max(2, self.slots)))
        m.d.sync += jobs.eq(jobs + dispatched - self.release)
        m.d.comb += self.code.slot.eq(slot)
        if self.slots > 1:
            m.d.comb += self.compute.payload.slot.eq(slot)
            with m.If(dispatched):
                m.d.sync += slot.eq(next_modulo(slot, self.slots))
        return jobs == self.slots
