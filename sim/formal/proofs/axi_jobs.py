"""Jobs between descriptors and the core: each is handed on once, whole, and told of once."""

from amaranth import Cat, Mux, Signal, Value

from latte.golden.jobs import REFUSALS
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptor_fetcher import DescriptorFetcher
from latte.rtl.axi.descriptors import (
    DESCRIPTOR_BYTES,
    STATUS_BYTES,
    STATUS_OFFSET,
    DescriptorType,
    status_word_layout,
)
from latte.rtl.axi.job_completer import JobCompleter
from latte.rtl.axi.job_dispatcher import JobDispatcher
from latte.rtl.axi.payloads import STREAMS, descriptor_causes_layout
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_MASTER = MasterParameters(burst_beats=8, reads_in_flight=2, writes_in_flight=2)
_BEATS = DESCRIPTOR_BYTES // _MASTER.data_bytes


def _dispatches(s: Setting) -> None:
    dut = JobDispatcher(descriptor_causes_layout())
    inside, m = s.add(dut), s.m
    asked, begun, invalid = dut.asked.payload, dut.begun.payload, dut.asked.payload.invalid
    s.assume_stable("asked", dut.asked.valid, dut.asked.ready, asked)
    # What became of the job: the core has it; it was judged; rows that were asked for.
    given, judged, verdict, rows = Signal(), Signal(), Signal(dut.verdict.shape()), Signal(len(STREAMS))
    ports = [getattr(dut, f"rows_{name}") for name in STREAMS]
    refused, taken = verdict.as_value()[1:].any(), dut.asked.valid & dut.asked.ready
    s.assume("verdict", ~dut.verdict.valid | (given & ~judged))
    with m.If(dut.job.valid & dut.job.ready):
        m.d.sync += given.eq(1)
    with m.If(dut.verdict.valid):
        m.d.sync += [judged.eq(1), verdict.eq(dut.verdict)]
    m.d.sync += rows.eq(rows | Cat(port.valid & port.ready for port in ports))
    with m.If(taken):
        m.d.sync += [given.eq(0), judged.eq(0), rows.eq(0)]
    state = inside.state
    all_rows = [f"ROWS {name}" for name in STREAMS]
    for name, condition in {
            "states": state(), "asked": state("IDLE") | dut.asked.valid, "valid": state("IDLE", "BEGUN") | ~invalid,
            "given": given == (state("VERDICT", *all_rows) | (state("BEGUN") & ~invalid)),
            "judged": judged == (state(*all_rows) | (state("BEGUN") & ~invalid)),
            "rows": Mux(state("BEGUN"), rows == Mux(invalid, 0, 0b111),
                        rows == Cat(0, state("ROWS v") | state("ROWS q"), state("ROWS q"))),
            "verdict": ~judged | ((inside["verdict"].as_value()[1:] == verdict.as_value()[1:])
                                  & (inside["refused"] == refused))}.items():
        s.invariant(name, condition)
    s.claim("job_once", "a job comes to the core once, as it was asked for, and never if it is invalid",
            dut.asked.valid & ~invalid & ~given & (dut.job.payload == asked.job), when=dut.job.valid)
    s.stable("job_stable", "it stands until it is taken", dut.job.valid, dut.job.ready, dut.job.payload)
    s.claim("settled", "not before registers are settled", s.held("settled", dut.settled) | s.held(
        "waits", dut.job.valid), when=dut.job.valid)
    wanted = {name: asked.job.query_rows if name == "q" else asked.job.load_rows for name in STREAMS}
    s.claim("rows_once", "its rows are asked for behind the verdict, of each stream once, as many as the job has",
            judged & Cat(~port.valid | (~rows[n] & (port.payload.rows == wanted[name])
                                        & (port.payload.refused == refused))
                         for n, (name, port) in enumerate(zip(STREAMS, ports, strict=True))).all(),
            when=Cat(port.valid for port in ports).any())
    s.claim("begun_whole", "it has begun when all rows were asked for, or at once if it is invalid",
            dut.asked.valid & Mux(invalid, ~given & (rows == 0), given & judged & rows.all()), when=dut.begun.valid)
    refusals = sum((verdict[name] & ~invalid) << list(begun.causes.shape().members).index(f"refused_{name}")
                   for name in REFUSALS)
    s.claim("begun_tells", "with the causes that it was asked with and those of the verdict",
            (begun.causes.as_value() == asked.causes.as_value() | refusals) & (begun.in_core == ~invalid)
            & (begun.refused == (refused & ~invalid)) & (begun.rows == asked.job.query_rows)
            & (begun.fresh == asked.job.fresh) & (begun.interrupt == asked.interrupt), when=dut.begun.valid)
    s.claim("asked_taken", "and is taken with that", taken == (dut.begun.valid & dut.begun.ready),
            when=taken | dut.begun.valid)
    s.reach("refused", dut.begun.valid & refused)


def _fetches(s: Setting) -> None:
    dut = DescriptorFetcher(_MASTER)
    inside, m = s.add(dut), s.m
    request, checked, causes = dut.request.payload, dut.checked.payload, dut.checked.payload.causes
    # Beats that came; what was in any one of them; whether one failed.
    busy, asked, count, failed = Signal(), Signal(), Signal(range(_BEATS + 1)), Signal()
    address, at, beat = Signal.like(dut.address), s.constant("at", range(_BEATS)), Signal.like(dut.data)
    s.assume("taken", ~dut.taken | (asked & (count != _BEATS)))
    leaves = dut.checked.valid & dut.checked.ready
    with m.If(dut.request.valid & dut.request.ready):
        m.d.sync += asked.eq(1)
    with m.If(dut.taken):
        m.d.sync += [count.eq(count + 1), failed.eq(failed | dut.fault.as_value().any())]
        with m.If(count == at):
            m.d.sync += beat.eq(dut.data)
    with m.If(dut.take):
        m.d.sync += [busy.eq(1), asked.eq(0), count.eq(0), failed.eq(0), address.eq(dut.address)]
    with m.If(leaves):
        m.d.sync += [busy.eq(0), asked.eq(0)]
    fields, whole, state = checked.fields, busy & (count == _BEATS), inside.state
    width = len(dut.data)
    place = (at + _BEATS - count)[:len(at)]
    here = busy & (at < count)
    for name, condition in {
            "states": state() & (state("IDLE") == ~busy) & (state("ASK") == (busy & ~asked)),
            "read": state("READ") == (busy & asked & (count != _BEATS)),
            "count": (count <= _BEATS) & (~busy | asked | (count == 0)) & (inside["beat"] == count[:len(at)]),
            "idle": busy | (~asked & ((count == 0) | (count == _BEATS))),
            "failed": ~busy | (inside["failed"] == failed), "address": ~busy | (request.address == address),
            "fields": ~here | (fields.as_value().word_select(place, width) == beat)}.items():
        s.invariant(name, condition)
    s.claim("take", "a descriptor is taken when there is one, it may be, and the one before has left",
            dut.take == (dut.enable & dut.waiting & ~busy), when=dut.take | (dut.enable & dut.waiting))
    s.claim("asks_once", "it is asked for once, whole, where it was",
            busy & ~asked & (request.address == address) & (request.beats == _BEATS), when=dut.request.valid)
    s.claim("descriptor", "it is given when all of it has come, each beat at its place",
            whole & (fields.as_value().word_select(at, width) == beat), when=dut.checked.valid)
    unknown = fields.type != DescriptorType.JOB
    odd = Cat(fields[f"{operand}_{what}"] % _MASTER.data_bytes != 0
              for operand in "qkvo" for what in ("address", "stride")).any()
    known = ~failed & ~unknown
    s.claim("checked", "with what is wrong with it", (causes.fetch_failed == failed)
            & (causes.unknown_type == (~failed & unknown))
            & (causes.reserved_set == (known & ((fields.reserved_flags != 0) | (fields.reserved_word != 0))))
            & (causes.unaligned == (known & odd))
            & (causes.no_rows == (known & (fields.query_rows == 0) & (fields.load_rows == 0))),
            when=dut.checked.valid)
    s.claim("invalid", "it is invalid if anything is", checked.invalid == causes.as_value().any(),
            when=dut.checked.valid)
    s.within("in_time", "in the third cycle behind its last beat", 2, waits=whole & ~dut.checked.valid)
    s.stable("checked_stable", "and stands until it is taken", dut.checked.valid, dut.checked.ready, checked)
    s.claim("faults", "error responses to its read are told in their cycle",
            dut.faults.as_value() == Mux(dut.taken, dut.fault.as_value(), 0), when=dut.faults.as_value().any())


class _Completed:
    """The descriptor that is being brought to its end.

    Attributes
    ----------
    busy, written
        There is one; it, and where its rows go.
    fetched, asked, told
        Its rows' faults were taken; its status word's burst was begun; its status word was written.
    open, owed
        Bursts that are not answered; beats of bursts that were begun, still to be written.
    causes
        What its status word is to say.
    broken
        Keys or values of the sequence were not loaded.
    """

    def __init__(self, s: Setting, dut: JobCompleter, status: Value) -> None:
        m = s.m
        self.busy, self.fetched, self.asked, self.told, self.broken = (Signal(name=name) for name in (
            "busy", "fetched", "asked", "told", "broken"))
        self.written, self.causes = Signal(dut.begun.payload.shape()), Signal(descriptor_causes_layout())
        begun, burst = self.written.begun, dut.burst.payload
        gives, wrote = dut.burst.valid & dut.burst.ready, dut.write.valid & dut.write.ready
        self.open = s.count("open", gives, dut.answered, _MASTER.writes_in_flight)
        self.owed = Signal(8)
        m.d.sync += self.owed.eq(self.owed + Mux(gives, burst.beats, 0) - wrote)
        full = _MASTER.writes_in_flight
        s.assume("engine", (~dut.write.ready | (self.owed != 0)) & (~dut.burst.ready | (self.open != full)) & (
            ~dut.answered | ((self.open != 0) & (self.owed <= (self.open - 1) * _MASTER.burst_beats)))
            & (~dut.burst.ready | (self.owed == 0) | ((self.owed == 1) & wrote))
            & (dut.unanswered == (self.open != 0)))
        ports = [getattr(dut, f"fetched_{name}") for name in STREAMS]
        for name, port in zip(STREAMS, ports, strict=True):
            s.assume_stable(f"fetched_{name}", port.valid, port.ready, port.payload)
        self.fetches = Cat(port.valid & port.ready for port in ports)
        lost = Cat(port.payload.as_value() for name, port in zip(STREAMS, ports, strict=True) if name != "q").any()
        with m.If(dut.answered):
            m.d.sync += [self.causes[f"write_{kind}"].eq(self.causes[f"write_{kind}"] | dut.fault[kind])
                         for kind in ("slverr", "decerr")]
        with m.If(self.fetches.any()):
            m.d.sync += [self.fetched.eq(1), self.broken.eq((~begun.fresh & self.broken) | lost)]
            m.d.sync += [self.causes[f"read_{kind}"].eq(Cat(port.payload[kind] for port in ports).any())
                         for kind in ("slverr", "decerr")]
        m.d.sync += [self.asked.eq(self.asked | (gives & status)), self.told.eq(self.told | (wrote & self.asked))]
        with m.If(dut.done):
            m.d.sync += self.busy.eq(0)
        with m.If(dut.begun.valid & dut.begun.ready):
            m.d.sync += [signal.eq(0) for signal in (self.fetched, self.asked, self.told)]
            m.d.sync += [self.busy.eq(1), self.written.eq(dut.begun.payload), self.causes.eq(
                dut.begun.payload.begun.causes)]
            with m.If(dut.begun.payload.begun.in_core):
                m.d.sync += self.causes.sequence_invalid.eq(~dut.begun.payload.begun.fresh & self.broken)
            with m.Else():
                m.d.sync += self.broken.eq(1)


def _completes(s: Setting) -> None:
    dut = JobCompleter(2 * _MASTER.data_bytes, _MASTER, 15)
    inside = s.add(dut)
    bursts = inside.part("bursts")
    state, all_taken = inside.state, bursts.block.rows.ready
    job = _Completed(s, dut, state("STATUS"))
    begun, left, burst, beat = job.written.begun, bursts["left"], bursts.block.burst.payload, dut.write.payload
    s.assume("address", (dut.address[:6] == 0) & (~job.busy | (dut.address == s.held("address", dut.address))))
    leaves, comes = dut.beat.valid & dut.beat.ready, s.free("comes")
    level = s.count("level", comes, leaves, dut.depth)
    s.assume("level", (dut.level == level) & (~comes | (level != dut.depth)) & (~dut.beat.valid | (level != 0)))
    s.assume("causes", ~dut.begun.valid | (dut.begun.payload.begun.causes.sequence_invalid == 0))
    early, late = ("ROWS", "BURSTS", "FETCHED"), ("STATUS", "WORD", "ANSWER", "DONE")
    for name, condition in {
            "states": state() & (state(*early, *late) == job.busy),
            "rows": state("BURSTS") | (all_taken & bursts.state("IDLE")),
            "bursts": bursts.state() & (~bursts.state("RUN") | (bursts["rows"] != 0))
                      & (~bursts.state("CUT", "OFFER") | (left != 0)),
            "beats": ~bursts.state("OFFER") | ((burst.beats != 0) & (burst.beats <= _MASTER.burst_beats) & (
                burst.beats <= left)), "core": ~state(*early) | begun.in_core,
            "fetched": ~job.busy | (job.fetched == (state(*late) & begun.in_core)),
            "asked": ~job.busy | (job.asked == state("WORD", "ANSWER", "DONE")),
            "told": ~job.busy | (job.told == state("ANSWER", "DONE")),
            "open": (job.open <= _MASTER.writes_in_flight) & (state("BURSTS", "ANSWER") | (job.open == state("WORD")))
                    & ((job.owed == 0) | (job.open != 0)) & (job.owed <= job.open * _MASTER.burst_beats),
            "owed": Mux(state("BURSTS"), (job.owed == inside["writes"].owed) & (job.owed <= level),
                        (job.owed == state("WORD")) & (inside["writes"].owed == 0)),
            "written": ~job.busy | (inside["written"].as_value() == job.written.as_value()),
            "broken": job.broken == (inside["broken"] | (state("STATUS") & ~begun.in_core)),
            "causes": ~job.busy | state("ROWS") | (inside["causes"].as_value() == job.causes.as_value()),
            }.items():
        s.invariant(name, condition)
    all_rows = dut.burst.payload
    s.claim("beats_there", "a burst of rows is begun only if all its beats wait, behind those of the one before",
            level >= all_rows.beats + job.owed, when=dut.burst.valid & state("BURSTS"))
    s.stable("burst_offer", "and stands until it is begun", dut.burst.valid, dut.burst.ready, all_rows)
    s.claim("status_last", "a status word is begun when all its rows are, and all of them are answered",
            job.busy & ~job.asked & all_taken & (job.open == 0) & (job.fetched == begun.in_core)
            & (all_rows.address == dut.address + STATUS_OFFSET) & (all_rows.beats == 1),
            when=dut.burst.valid & ~state("BURSTS"))
    s.claim("release", "which is told, once for each descriptor", dut.release == (
        dut.burst.valid & dut.burst.ready & ~state("BURSTS")), when=dut.release | dut.burst.valid)
    word = status_word_layout()(beat.data[:8 * STATUS_BYTES])
    told = Cat(word[name] == job.causes[name] for name in descriptor_causes_layout().members).all()
    s.claim("status_word", "it says that the descriptor is done, its number, what it began with, and every fault of "
            "its rows", told & word.done & (word.error == job.causes.as_value().any()) & (word.number == dut.number)
            & (beat.strobe == (1 << STATUS_BYTES) - 1), when=dut.write.valid & job.asked)
    s.claim("fetched_once", "what became of its rows is taken once, of all streams together, if it came to the core",
            job.busy & begun.in_core & ~job.fetched & job.fetches.all(), when=job.fetches.any())
    s.claim("done_last", "it is done when its status word is answered", job.told & (job.open == 0), when=dut.done)
    s.claim("done_tells", "with whether it was refused, is invalid, asks for an interrupt", (
        dut.refused == Cat(job.causes[f"refused_{name}"] for name in REFUSALS).any())
        & (dut.invalid == (~begun.in_core | job.causes.sequence_invalid)) & (dut.interrupt == begun.interrupt),
        when=dut.done)
    s.claim("next_waits", "the next one begins behind that", ~job.busy, when=dut.begun.valid & dut.begun.ready)
    s.reach("goes_on_broken", job.busy & job.causes.sequence_invalid)


PROOFS = (
    Proof("JobCompleter", _completes, "induction", 2, 12, f"{_MASTER.data_bits} bits, rows of 2 beats"),
    Proof("JobDispatcher", _dispatches, "induction", 2, 10, "descriptors"),
    Proof("DescriptorFetcher", _fetches, "induction", 3, 15, f"{_MASTER.data_bits} bits"),
)
