"""Jobs between registers, packets and a core that only says what it was given: ends, states, counts and losses."""

import random

import pytest
from amaranth import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.rtl.axi.bus import StreamParameters, receiver_members
from latte.rtl.axi.job_registers import JOB_STATUS_BITS, JOBS_MAX, PACKET_FAULTS, packet_fault_layout
from latte.rtl.axi.packet_transmitter import PacketTransmitter
from latte.rtl.axi.payloads import STREAMS
from latte.rtl.axi.stream_runner import StreamRunner, queued_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.test_axi_core import TOY
from tests.cocotb.test_output_packer import Outputs
from tests.cocotb.test_packet_blocks import Ends, Packets, packet_layout

PUSH, OVERFILL, ENABLE, WAIT, LOOK = range(5)


class RunnerBench(wiring.Component):
    """A runner with what registers do to it in one order, and streams for what the core and others say.

    Parameters
    ----------
    config, parameters

    Members
    -------
    steps : In(stream)
        PUSH a job when there is a place; OVERFILL: push one when there is none; ENABLE, or not, by `flag`; WAIT until
        nothing is carried out, or, with `flag`, until all is done; LOOK at what registers show, with `flag` for the
        last time at the faults before.
    packet_q, packet_k, packet_v : In(stream), outputs : In(stream), packets : Out(stream)
    verdict : In(stream)
        Of each job: why it is refused, in the order of `REFUSALS`.
    job, q, k, v : Out(stream)
        What the core gets.
    seen, ended : Out
        What registers show, with faults; what is said of a job that is done.
    wrong : Out(1)
        Something is said of a job that is not done; one too many begins when it is not to; what is said of places, of
        beats, of the last job or of being busy is not what the ports show.
    """

    def __init__(self, config: AttentionConfig, parameters: StreamParameters) -> None:
        self.runner, self.parameters = StreamRunner(config, parameters), parameters
        members = self.runner.signature.members
        step = data.StructLayout({"step": 3, "flag": 1, "queued": queued_layout()})
        status = data.StructLayout(dict.fromkeys(JOB_STATUS_BITS, 1))
        self.shown = ("submitted", "finished", "busy", "empty")
        seen = data.StructLayout({**{name: members[name].shape for name in self.shown},
                                  "faults": packet_fault_layout(), "status": data.ArrayLayout(status, JOBS_MAX)})
        packet = In(stream.Signature(packet_layout(parameters)))
        super().__init__({
            "steps": In(stream.Signature(step)), **{f"packet_{name}": packet for name in STREAMS},
            "outputs": members["o"], "packets": members["beats"], "verdict": In(stream.Signature(len(REFUSALS))),
            **{name: members[name] for name in ("job", *STREAMS)}, "seen": Out(seen), "seen_valid": Out(1),
            "ended": Out(data.StructLayout({"refused": 1, "invalid": 1, "interrupt": 1})), "ended_valid": Out(1),
            "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.runner = runner = self.runner
        m.submodules.transmitter = transmitter = PacketTransmitter(self.parameters)
        wiring.connect(m, runner.beats, transmitter.i)
        wiring.connect(m, wiring.flipped(self.outputs), runner.o)
        for name in STREAMS:
            wiring.connect(m, getattr(runner, name), wiring.flipped(getattr(self, name)))
            packet = getattr(self, f"packet_{name}")
            inside = {port: getattr(runner, f"{name}_{port}") for port in receiver_members(self.parameters)}
            m.d.comb += [inside["tdata"].eq(packet.payload.data), inside["tkeep"].eq(packet.payload.keep),
                         inside["tlast"].eq(packet.payload.last), inside["tvalid"].eq(packet.valid),
                         packet.ready.eq(inside["tready"])]
        packets = self.packets
        m.d.comb += [packets.payload.data.eq(transmitter.tdata), packets.payload.last.eq(transmitter.tlast),
                     packets.payload.error.eq(transmitter.tuser), packets.valid.eq(transmitter.tvalid),
                     transmitter.tready.eq(packets.ready), runner.sent.eq(transmitter.idle), runner.settled.eq(1)]
        begins = self.job.valid & self.job.ready
        self._step(m, begins, self._judge(m, begins))
        return m

    def _judge(self, m: Module, begins: Value) -> Signal:
        """Hand a verdict on for each job of the core; return the jobs that it has, or that are not done."""
        runner, judged, in_core = self.runner, Signal(init=1), Signal(range(JOBS_MAX + 1))
        m.d.comb += [
            self.job.payload.eq(runner.job.payload), self.job.valid.eq(runner.job.valid & judged),
            runner.job.ready.eq(self.job.ready & judged), self.verdict.ready.eq(~judged),
            runner.verdict.valid.eq(self.verdict.valid & ~judged),
            *(runner.verdict[name].eq(self.verdict.payload[n]) for n, name in enumerate(REFUSALS))]
        with m.If(begins):
            m.d.sync += judged.eq(0)
        with m.Elif(self.verdict.valid):
            m.d.sync += judged.eq(1)
        m.d.sync += in_core.eq(in_core + begins - runner.done)
        return in_core

    def _step(self, m: Module, begins: Value, in_core: Signal) -> None:
        """Do what registers do, and watch."""
        runner, step, taken = self.runner, self.steps.payload, self.steps.valid & self.steps.ready
        jobs, full, faults = Signal(range(JOBS_MAX + 1)), Signal(), Signal(packet_fault_layout())
        pushes = {PUSH: ~full, OVERFILL: full, ENABLE: 1, LOOK: 1}
        m.d.comb += [full.eq(jobs == JOBS_MAX), runner.queued.eq(step.queued),
                     runner.push.eq(taken & ((step.step == PUSH) | (step.step == OVERFILL)))]
        with m.Switch(step.step):
            for number, ready in pushes.items():
                with m.Case(number):
                    m.d.comb += self.steps.ready.eq(ready)
            with m.Case(WAIT):
                m.d.comb += self.steps.ready.eq(~runner.busy & (~step.flag | runner.empty))
        with m.If(taken & (step.step == ENABLE)):
            m.d.sync += runner.enable.eq(step.flag)
        m.d.comb += [
            self.seen_valid.eq(taken & (step.step == LOOK)), self.seen.faults.eq(faults),
            *(self.seen[name].eq(getattr(runner, name)) for name in self.shown),
            *(self.seen.status[slot].eq(getattr(runner, f"status_{slot}")) for slot in range(JOBS_MAX)),
            self.ended_valid.eq(runner.done), self.ended.refused.eq(runner.refused),
            self.ended.invalid.eq(runner.invalid), self.ended.interrupt.eq(runner.interrupt),
        ]
        kept, queued = faults.as_value(), runner.push & ~full
        with m.If(self.seen_valid & step.flag):
            m.d.sync += kept.eq(runner.faults.as_value())
        with m.Else():
            m.d.sync += kept.eq(kept | runner.faults.as_value())
        # What was about to begin when nothing more is to begin: one job.
        ended = Signal()
        m.d.sync += [jobs.eq(jobs + queued - runner.done), ended.eq(~runner.enable & (ended | begins))]
        moved = [getattr(self, f"packet_{name}").valid & getattr(self, f"packet_{name}").ready for name in STREAMS]
        m.d.comb += self.wrong.eq(
            (~runner.done & (runner.refused | runner.invalid | runner.interrupt))
            | (begins & ended) | (runner.lost != (runner.push & full)) | (runner.empty != (jobs == 0))
            | (runner.drained != (runner.done & (jobs == 1) & ~queued))
            | (~runner.busy & ((in_core != 0) | (runner.enable & (jobs != 0))))
            | sum(runner.taken[n] != beat for n, beat in enumerate(moved)).any())


class Jobs:
    """What the bench does, and what must come of it.

    Parameters
    ----------
    config, parameters
    rng
    """

    def __init__(self, config: AttentionConfig, parameters: StreamParameters, rng: random.Random) -> None:
        self.rng, size = rng, parameters.data_bytes
        self.outputs = Outputs(config, parameters, rng)
        self.ends = Ends(self.outputs.row_bytes, size, rng)
        self.streams = {name: Packets(config.head_dim, size, config.bus_bytes, rng) for name in STREAMS}
        self.steps, self.jobs, self.verdicts, self.packets, self.ended, self.seen = [], [], [], [], [], []
        self.status = [dict.fromkeys(JOB_STATUS_BITS, 0) for _ in range(JOBS_MAX)]
        self.faults: set[str] = set()

    def job(self, **fixed: int) -> dict[str, int]:
        """Return any job, but for what is fixed."""
        rng = self.rng
        return {"head": rng.getrandbits(COUNT_BITS), "load_rows": rng.choice([0, 1, 2, 3]), "fresh": rng.random() < 0.4,
                "query_rows": rng.choice([0, 1, 1, 2]), "causal": rng.getrandbits(1)} | fixed

    def push_any(self, spoilt: float) -> None:
        """Queue a job whose packets are wrong that often."""
        rng = self.rng
        self.push(self.job(), refusal=rng.choice(REFUSALS) if rng.random() < 0.2 else None,
                  faults={name: rng.choice(list(PACKET_FAULTS)) for name in STREAMS if rng.random() < spoilt})

    def push(self, job: dict[str, int], *, refusal: str | None = None, faults: dict[str, str]) -> None:
        """Queue a job, and say how it ends; `faults` of packets that there are."""
        rng, number = self.rng, len(self.jobs)
        rows = {name: job["query_rows" if name == "q" else "load_rows"] for name in STREAMS}
        faults = {name: kind for name, kind in faults.items() if rows[name]}
        for name, packets in self.streams.items():
            count, kind = rows[name], faults.get(name)
            packets.add(count, short=rng.randrange(1, count * packets.row_beats) if kind == "packet_short" else 0,
                        more=rng.randrange(1, 4) if kind == "packet_long" else 0,
                        holes=(rng.randrange(count * packets.row),) if kind == "bytes_missing" else ())
        self.ends.add(job["query_rows"], faults, fresh=job["fresh"], refusal=refusal)
        causes, interrupt = (self.ends.done[-1][name] for name in ("causes", "interrupt"))
        self._outputs(job["query_rows"], any(causes.values()), refusal is not None)
        self.faults |= set(faults.values())
        self.jobs.append(job)
        self.verdicts.append(1 << REFUSALS.index(refusal) if refusal else 0)
        self.steps.append({"step": PUSH, "queued": {"job": job, "interrupt": interrupt}})
        self.ended.append({"refused": refusal is not None, "invalid": causes["sequence_invalid"],
                           "interrupt": interrupt})
        self.status[number % JOBS_MAX] = {**causes, "done": 1, "error": any(causes.values())}

    def _outputs(self, rows: int, error: bool, refused: bool) -> None:
        """Say which packet comes of a job, and have the core give the rows of one that it did not refuse."""
        count = len(self.outputs.beats)
        for _ in range(rows if not refused else 0):
            self.outputs.give()
        beats = [0] * (rows * self.ends.row // self.ends.size) if refused else [
            int.from_bytes(bytes(byte or 0 for byte in beat["data"]), "little") for beat in self.outputs.beats[count:]]
        self.packets += [{"data": beat, "last": n == len(beats) - 1, "error": error and n == len(beats) - 1}
                         for n, beat in enumerate(beats)]

    def enable(self, flag: int) -> None:
        """Begin jobs, or no more."""
        self.steps.append({"step": ENABLE, "flag": flag})

    def wait(self, flag: int = 1) -> None:
        """Wait until nothing is carried out, or all is done."""
        self.steps.append({"step": WAIT, "flag": flag})

    def look(self, waiting: int | None = 0) -> None:
        """See what registers show while so many jobs wait, None: any number."""
        seen = {"submitted": len(self.jobs) % (1 << COUNT_BITS), "busy": 0}
        if waiting is not None:
            slots = {(len(self.jobs) - 1 - n) % JOBS_MAX for n in range(waiting)}
            seen |= {"finished": (len(self.jobs) - waiting) % (1 << COUNT_BITS), "empty": waiting == 0, "status": [
                dict.fromkeys(status, 0) if slot in slots else dict(status) for slot, status in enumerate(self.status)]}
        if waiting == 0:
            seen["faults"] = {fault: fault in self.faults for fault in PACKET_FAULTS}
            self.faults.clear()
        self.steps.append({"step": LOOK, "flag": waiting == 0})
        self.seen.append(seen)

    def check(self, check, config: AttentionConfig, parameters: StreamParameters) -> None:
        """Let the bench do it."""
        check(RunnerBench(config, parameters), "stream-runner", {
            "steps": Offer(self.steps), "verdict": Offer(self.verdicts),
            "outputs": Offer([step["o"] for step in self.outputs.steps]),
            **{f"packet_{name}": Offer(packets.beats) for name, packets in self.streams.items()}},
            {"job": Expect(self.jobs), "packets": Expect(self.packets), "ended": Expect(self.ended),
             "seen": Expect(self.seen), **{name: Expect(packets.rows) for name, packets in self.streams.items()}},
            quiet=["wrong"])


@pytest.mark.parametrize("stall", STALLS)
def test_jobs(check, stall):
    """Each ends in its order with its status, events and packet; those without a place are lost and harm none."""
    parameters = StreamParameters()
    jobs = Jobs(TOY, parameters, random.Random(SEED))
    jobs.look()
    # So that a reset finds something in all states, not only in jobs that are under way.
    jobs.enable(1)
    jobs.push(jobs.job(load_rows=1, fresh=1, query_rows=0), faults={"k": "packet_short", "v": "packet_long"})
    for n in range(1, JOBS_MAX):
        jobs.push(jobs.job(load_rows=0, fresh=0, query_rows=0), refusal=REFUSALS[n % len(REFUSALS)], faults={})
    jobs.wait()
    for cause in (*REFUSALS, *PACKET_FAULTS):
        for _ in range(JOBS_MAX):
            refused, name = cause in REFUSALS, jobs.rng.choice(STREAMS)
            jobs.push(jobs.job(load_rows=1, query_rows=1), refusal=cause if refused else None,
                      faults={} if refused else {name: cause})
        jobs.wait()
        jobs.look()
        jobs.look()
    jobs.enable(0)
    for n in range(8):
        # All places are taken while nothing is begun.
        for waiting in range(JOBS_MAX):
            jobs.push_any(0.1)
            jobs.look(waiting + 1)
        for _ in range(2):
            jobs.steps.append({"step": OVERFILL, "queued": {"job": jobs.job(), "interrupt": 1}})
        jobs.look(JOBS_MAX)
        jobs.enable(1)
        for _ in range(n):
            jobs.push_any(0.3 * (n % 2))
        # Jobs that have begun end; how many these are is not known.
        jobs.enable(0)
        jobs.wait(0)
        jobs.look(None)
        jobs.enable(1)
        jobs.wait()
        jobs.look()
        for _ in range(10):
            jobs.push_any(0.05 * (n % 2))
            if n < 4:
                jobs.wait()
                jobs.look()
        jobs.wait()
        jobs.look()
        jobs.enable(0)
    jobs.check(check, TOY, parameters)
