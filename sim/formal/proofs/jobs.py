"""The work list and the register file: what is refused, what is loaded where, and when a head is known."""

import functools

from amaranth import Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from latte.golden.config import AttentionConfig, preset
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.entry_words import entry_words, parameter_layout
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.payloads import groups_layout, job_layout
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_SIZES = {"head_dim": 8, "max_seq_len": 6, "heads": 3, "query_lanes": 1, "query_rows": 4, "dim_lanes": 8,
          "cross_lanes": 8, "value_lanes": 8}
_LEAN = preset("small", **_SIZES).lean()
_GROUPED = _LEAN.replace(key_groups=2)


class _Judge:
    """What the golden model says of jobs (`latte.golden.jobs.Sequence.load`), one after the other.

    Attributes
    ----------
    job
        Under way, or the last one.
    refusals
        Names and conditions, the first that is true counts.
    keys_before, keys
        That the sequence had before the job, and has with it.
    judged, refused
        There was a verdict; the job is refused.
    groups
        Of the sequence.
    """

    def __init__(self, s: Setting, dut: JobSequencer, known: Value) -> None:
        config, m = dut.config, s.m
        self.job = Signal(job_layout())
        self.judged = Signal()
        self.refused = Signal()
        self.keys, self.keys_before = Signal(17, name="keys"), Signal(17, name="keys_before")
        job, grouped = self.job, bool(config.group_bits)
        base = Signal(17)
        total = Signal(18)
        m.d.comb += [base.eq(Mux(job.fresh, 0, self.keys)), total.eq(base + job.load_rows)]
        needs = (job.query_rows != 0) | ((job.load_rows != 0) if grouped else 0)
        self.refusals = {
            "head_invalid": needs & ~known, "no_keys": total == 0,
            "too_long": (total > config.max_seq_len) | (job.causal & (job.query_rows > total)),
            "groups_differ": Const(0)}
        if grouped:
            entry = self._look_up(s, dut)
            self.groups = Signal(groups_layout(config), name="sequence_groups")
            self.refusals["groups_differ"] = needs & (base != 0) & (entry.as_value() != self.groups.as_value())
        refused = Cat(self.refusals.values()).any()
        with m.If(dut.job.valid & dut.job.ready):
            m.d.sync += [job.eq(dut.job.payload), self.judged.eq(0)]
        with m.If(dut.verdict.valid):
            m.d.sync += [self.judged.eq(1), self.refused.eq(refused), self.keys_before.eq(self.keys),
                         self.keys.eq(Mux(refused, base, total))]
            if grouped:
                with m.If(~refused & (base == 0)):
                    m.d.sync += self.groups.eq(entry)

    def _look_up(self, s: Setting, dut: JobSequencer) -> data.View:
        """Take the groups of an entry from the words that are looked up; they are such as the register file holds."""
        entry = Signal(groups_layout(dut.config), name="entry_groups")
        taken = s.held("look_up", Cat(dut.look_up, dut.index), dut.look_up_latency)
        for place, (name, layout) in enumerate(dut.words.items()):
            word = data.View(layout, dut.word[:layout.size])
            here = taken == Cat(Const(1, 1), Const(place, len(dut.index)))
            if name == "control":
                s.assume("group_bits", ~here | (word.group_bits <= dut.config.group_bits))
                with s.m.If(here):
                    s.m.d.sync += entry.group_bits.eq(word.group_bits)
            elif name.startswith("group_"):
                bit = int(name.removeprefix("group_"))
                element = word[f"element_{bit}"]
                s.assume(f"element_{bit}", ~here | (element < dut.config.head_dim))
                with s.m.If(here):
                    s.m.d.sync += [entry.elements[bit].eq(element), entry.cuts[bit].eq(word[f"cut_{bit}"])]
        return entry


def _sequencer(s: Setting, config: AttentionConfig, overlapping: bool) -> None:
    dut = JobSequencer(config, overlapping=overlapping)
    inside, m = s.add(dut), s.m
    accepted = dut.job.valid & dut.job.ready
    known = Signal()
    with m.If(accepted):
        m.d.sync += known.eq(s.free("is_known"))
    m.d.comb += dut.known.eq(known)
    golden = _Judge(s, dut, known)
    job, kv_load, query_load, compute = golden.job, dut.kv_load, dut.query_load, dut.compute
    loading = Signal()
    bank = Signal()
    commanded, dispatched = kv_load.valid & kv_load.ready, compute.valid & compute.ready
    with m.If(commanded):
        m.d.sync += loading.eq(1)
        with m.If(~golden.refused):
            m.d.sync += bank.eq(kv_load.payload.bank)
    with m.Elif(dut.loaded):
        m.d.sync += loading.eq(0)
    s.assume("loaded", ~dut.loaded | loading)
    most = 2 * config.query_rows - 1
    computing = [s.count(f"computing_{b}", dispatched & (compute.payload.bank == b),
                         dut.release & (dut.release_bank == b), most) for b in range(2)]
    for b in range(2):
        s.assume(f"released_{b}", ~(dut.release & (dut.release_bank == b)) | (computing[b] != 0))
        s.assume(f"ring_{b}", ~dut.compute.ready | (computing[b] < most))
    under = Mux(kv_load.payload.bank, computing[1], computing[0])
    _sequencer_invariants(s, inside, dut, golden, loading, bank, computing)

    verdict, earlier = dut.verdict, Const(0)
    agrees: Value = Const(1)
    for name, applies in golden.refusals.items():
        agrees = agrees & (verdict[name] == (applies & ~earlier))
        earlier = earlier | applies
        if name != "groups_differ" or config.group_bits:
            s.reach(name, verdict.valid & verdict[name])
    s.claim("verdict", "a job is refused by golden's rule, and for golden's reason", agrees, when=verdict.valid)
    s.claim("one_verdict", "a job is judged once, before anything is asked for", ~golden.judged, when=verdict.valid)
    asks = kv_load.valid | query_load.valid | compute.valid
    s.claim("verdict_first", "nothing is asked for, or computed, before the verdict", golden.judged, when=asks)
    start = Mux(job.fresh, 0, golden.keys_before)
    s.claim("loads", "keys and values of a job go behind those of its sequence; those of a refused one are dropped",
            (kv_load.payload.rows == job.load_rows) & (kv_load.payload.drop == golden.refused)
            & (golden.refused | (kv_load.payload.start == start)), when=kv_load.valid)
    s.claim("queries", "so are its queries", (query_load.payload.rows == job.query_rows)
            & (query_load.payload.drop == golden.refused), when=query_load.valid)
    s.claim("computes", "what is computed is a job that has queries and was not refused, on all keys of its sequence",
            ~golden.refused & (job.query_rows != 0) & (compute.payload.rows == job.query_rows)
            & (compute.payload.keys == golden.keys) & (compute.payload.causal == job.causal)
            & (compute.payload.bank == bank), when=compute.valid)
    s.claim("bank_free", "no bank gets a new sequence while a job computes from it", under == 0,
            when=kv_load.valid & ~kv_load.payload.drop & (start == 0))
    if config.kv_banks == 2:
        s.claim("bank_kept", "a sequence goes on in its bank", kv_load.payload.bank == bank,
                when=kv_load.valid & ~kv_load.payload.drop & (start != 0))
    for name, port in (("load", kv_load), ("query", query_load), ("compute", compute)):
        s.stable(f"{name}_stable", "a command stands until it is taken", port.valid, port.ready, port.payload)
    _progress(s, inside, dut, golden, loading, bank, computing)


def _sequencer_invariants(s: Setting, inside: Inside, dut: JobSequencer, golden: _Judge, loading: Signal, bank: Signal,
                          computing: list[Signal]) -> None:
    """Say how the sequencer's registers belong to those of the model."""
    job = golden.job
    first = inside.state("WAIT FOR BANK", "COMMAND QUERIES", "COMMAND KEYS", "WAIT FOR KEYS")
    last = inside.state("DISPATCH")
    waits = first | last
    idle = inside.state("IDLE")
    begins = job.fresh | (golden.keys_before == 0)
    total = Mux(job.fresh, 0, golden.keys_before) + job.load_rows
    loads = inside.state("COMMAND QUERIES", "COMMAND KEYS")
    other = computing[0] if dut.config.kv_banks == 1 else Mux(inside["bank"], computing[0], computing[1])
    # The bank of the sequence: the model sees it with the command, the sequencer keeps it with the last of the keys.
    kept = Mux(inside.state("WAIT FOR KEYS") & ~golden.refused, Mux(begins, inside["next_bank"], inside["bank"]),
               inside["bank"])
    for name, condition in {
            "idle": ~idle | ((inside["keys"] == golden.keys) & ~loading & (dut.index == 0)),
            "states": inside.state() & (dut.index < len(dut.words)), "judged": ~waits | golden.judged,
            "before": ~first | ((inside["keys"] == golden.keys_before) & (inside["begins"] == begins)),
            "after": ~last | (inside["keys"] == golden.keys),
            "job": ~waits | ((inside["job"].as_value() == job.as_value()) & (inside["drop"] == golden.refused)
                             & (inside["asks"] == (job.query_rows != 0)) & (dut.index == 0)),
            "total": ~waits | ((inside["total"] == total) & (
                golden.keys == Mux(golden.refused, Mux(job.fresh, 0, golden.keys_before), total))),
            "length": (golden.keys <= dut.config.max_seq_len) & (golden.keys_before <= dut.config.max_seq_len),
            "bank": kept == bank,
            "free": ~(loads & ~golden.refused & begins) | (other == 0),
            "loading": loading == inside.state("WAIT FOR KEYS"),
            "computing": (inside["in_flight"][0] == computing[0]) & (inside["in_flight"][1] == computing[1]),
            "none": inside["idle"] == Cat(number == 0 for number in computing),
            }.items():
        s.invariant(name, condition)
    if dut.config.group_bits:
        others = [place for place, name in enumerate(dut.words) if name != "control" and not name.startswith("group_")]
        s.invariant("differs", Cat(inside["differs"][place] for place in others) == 0)
        s.invariant("groups", ~(idle | waits) | (golden.keys == 0)
                    | (Value.cast(dut.groups) == golden.groups.as_value()))


def _progress(s: Setting, inside: Inside, dut: JobSequencer, golden: _Judge, loading: Signal, bank: Signal,
              computing: list[Signal]) -> None:
    """Claim that a job never stands still but for its neighbours."""
    other = computing[0] if dut.config.kv_banks == 1 else Mux(bank, computing[0], computing[1])
    begins = golden.job.fresh | (golden.keys_before == 0)
    stands = loading | (golden.judged & ~golden.refused & begins & (other != 0))
    for port in (dut.kv_load, dut.query_load, dut.compute):
        stands = stands | (port.valid & ~port.ready)
    if not dut.overlapping:
        stands = stands | (computing[0] != 0)
    most = dut.check_cycles + 3
    gone = Signal(range(most + 2))
    with s.m.If(dut.job.valid & dut.job.ready):
        s.m.d.sync += gone.eq(0)
    with s.m.Elif(~stands & ~dut.job.ready):
        s.m.d.sync += gone.eq(gone + 1)
    for state, longest in (("WAIT FOR BANK", 4), ("COMMAND QUERIES", 3), ("COMMAND KEYS", 2), ("WAIT FOR KEYS", 1),
                           ("DISPATCH", 1), ("IDLE", 0)):
        s.invariant(f"gone_{state.lower().replace(' ', '_')}", ~inside.state(state) | (gone <= most - longest))
    s.claim("returns", f"{most} cycles after a job, but for those in which a neighbour lets it wait, the next is taken",
            dut.job.ready | stands, when=gone == most)


def _registers(s: Setting) -> None:
    config = _LEAN
    dut = HeadRegisters(config)
    inside, m = s.add(dut), s.m
    head, names = s.constant("any_head", 16), list(entry_words(config))
    # What was taken a cycle ago is carried out now.
    taken, parameter = Signal(), Signal(parameter_layout())
    m.d.sync += [taken.eq(dut.parameter.valid & dut.parameter.ready), parameter.eq(dut.parameter.payload)]
    # Words of this head's entry that are in place, in turn and without another between.
    next_word = Signal(range(len(names)))
    whole = Signal()
    mine, in_turn = parameter.head == head, (parameter.word == next_word) & (next_word != 0)
    control = entry_words(config)["control"]
    word_0 = data.View(control, parameter.data[:control.size])
    relative = list(ThresholdKind).index(ThresholdKind.RELATIVE)
    legal = {"control": (word_0.kind == relative) & (word_0.group_bits == 0)
             & (parameter.data[control.size:] == 0), "scale": Const(1),
             "tau": (parameter.data >> config.est_bits) == 0}
    good = Signal()
    fits = Value.cast(0)
    for place, name in enumerate(names):
        fits = fits | ((parameter.word == place) & legal[name])
    with m.If(taken & (parameter.head < config.heads)):
        with m.If(mine & (parameter.word == 0)):
            m.d.sync += [next_word.eq(1), good.eq(fits), whole.eq(0)]
        with m.Elif(mine & in_turn):
            m.d.sync += [next_word.eq(Mux(next_word == len(names) - 1, 0, next_word + 1)), good.eq(good & fits)]
            with m.If(next_word == len(names) - 1):
                m.d.sync += whole.eq(good & fits)
        with m.Elif(mine):
            m.d.sync += good.eq(0)
        with m.Elif(parameter.word == 0):
            m.d.sync += next_word.eq(0)
        with m.Else():
            m.d.sync += good.eq(0)
    place = head[:len(inside["entry_head"])]
    arriving = inside["new"] & (inside["new_head"] == place)
    under_way = (inside["entry_head"] == place) & (inside["turn"] != 0) & (head < config.heads)
    for name, condition in {
            "whole": Mux(head < config.heads, whole == Mux(arriving, inside["new_known"],
                                                           inside["written"].bit_select(place, 1)), ~whole),
            "next_word": next_word == Mux(under_way, inside["turn"], 0), "turn": inside["turn"] < len(names),
            "good": (next_word == 0) | (good == inside["good"]),
            "writes": inside["writes"] == (taken & (parameter.head < config.heads)),
            "word": ~taken | ((inside["write"].head == parameter.head) & (inside["write"].word == parameter.word)),
            "fault": ~inside["writes"] | (parameter.word >= len(names)) | (inside["fault"] != fits)}.items():
        s.invariant(name, condition)
    steady = (dut.head == head) & s.held("head_before", dut.head == head) & s.held("head_still", dut.head == head, 2)
    s.claim("known", "a head is known if, and only if, every word of its last entry came in turn and was legal",
            dut.known == s.held("was_whole", whole & (head < config.heads), 2), when=steady)
    s.reach("is_known", steady & dut.known)
    zero = (parameter.word == names.index("tau")) & (parameter.data == 0)
    s.claim("holds", "a word is held as it was taken, but a threshold of 0, which would keep no key, as 1",
            inside["write"].data == Mux(zero, 1, parameter.data),
            when=inside["writes"] & (parameter.word < len(names)))
    s.reach("held_as_1", inside["writes"] & zero)
    s.claim("ready", "a write waits for nothing but a look-up", dut.parameter.ready != dut.look_up,
            when=dut.parameter.valid)
    s.claim("told", "what is refused is told, a cycle after it is taken",
            dut.head_invalid == (parameter.head >= config.heads), when=taken)


_SIZE = f"{_SIZES['max_seq_len']} keys, {_SIZES['heads']} heads"
PROOFS = (
    Proof("JobSequencer", functools.partial(_sequencer, config=_LEAN, overlapping=True), "induction", 10, 25,
          f"{_SIZE}, two banks"),
    Proof("JobSequencer", functools.partial(_sequencer, config=_GROUPED, overlapping=True), "induction", 14, 30,
          f"{_SIZE}, two banks, two key groups", "grouped"),
    Proof("JobSequencer", functools.partial(_sequencer, config=_LEAN.replace(kv_banks=1), overlapping=False),
          "induction", 10, 25, f"{_SIZE}, one bank, one job at a time", "serial"),
    Proof("HeadRegisters", _registers, "induction", 4, 14, f"{_SIZES['heads']} heads, relative thresholds"),
)
