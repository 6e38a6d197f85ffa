"""Register file and job sequencer side by side, and what they should make of writes and jobs.

Expected are what `latte.golden.jobs` makes of each job, and what stands in the document of each port.
"""

import numpy as np
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS, REFUSALS, Job, Sequence
from latte.golden.key_groups import GROUP_BITS_MAX
from latte.golden.pruned_mass import table_holds
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.entry_words import entry_words, parameter_layout
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.payloads import code_bits, groups_layout, head_entry_layout, job_layout, load_layout
from latte.rtl.common.primitives import next_modulo
from latte.sim.block_testbench import decode

SLOTS = 3
IN_FLIGHT_MAX = 8


class WorkList(wiring.Component):
    """Register file and sequencer; what is around them loads at once, and releases a job when it is told to.

    Writes wait until so many jobs were judged, jobs until so many words were written.

    Members
    -------
    parameter, job : In(stream)
    release : In(stream)
        Cycles until the oldest job that computes is released.
    fault, verdict, code : Out
        Pushes. `taken`: a job that computes has its codes in that slot.
    query_load, kv_load, compute : Out(stream)
        `in_use`: a job computes from the bank that a sequence is begun in.
    accepted, loaded, released : Out(1)
        Pushes, which are to be 1: `busy` and `waiting_for_keys` are right, `compute` stood as long as it should.
    clash : Out(1)
        A write could be taken during a look-up.
    """

    def __init__(self, config, *, overlapping):
        self.overlapping = overlapping
        self.registers = HeadRegisters(config)
        self.sequencer = JobSequencer(config, overlapping=overlapping, slots=SLOTS)
        members = self.sequencer.signature.members
        load = {"command": load_layout(), "in_use": 1}
        if config.group_bits:
            load["groups"] = groups_layout(config)
        ports = {
            "parameter": In(stream.Signature(data.StructLayout({"write": parameter_layout(), "verdicts": COUNT_BITS}))),
            "job": In(stream.Signature(data.StructLayout({"job": job_layout(), "writes": COUNT_BITS}))),
            "release": In(stream.Signature(10)),
            "fault": Out(data.StructLayout({"head_invalid": 1, "entry_invalid": 1})),
            "verdict": Out(data.StructLayout(dict.fromkeys(REFUSALS, 1))), "query_load": members["query_load"],
            "kv_load": Out(stream.Signature(data.StructLayout(load))), "compute": members["compute"]}
        pushes = ["fault", "verdict", "accepted", "loaded", "released"]
        if "code" in members:
            ports["code"] = Out(data.StructLayout({"code": members["code"].shape, "taken": 1}))
            pushes.append("code")
        ports |= dict.fromkeys(("accepted", "loaded", "released", "clash"), Out(1))
        super().__init__(ports | {f"{name}_valid": Out(1) for name in pushes})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.registers, m.submodules.sequencer = registers, sequencer = self.registers, self.sequencer
        for port in ("look_up", "head", "index"):
            m.d.comb += getattr(registers, port).eq(getattr(sequencer, port))
        m.d.comb += [sequencer.word.eq(registers.word), sequencer.known.eq(registers.known)]
        self._offer(m)
        self._judge(m)
        self._load(m)
        self._compute(m)
        return m

    def _offer(self, m):
        """Let writes and jobs in, each in its turn."""
        registers, sequencer = self.registers, self.sequencer
        verdicts, writes, settled = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(COUNT_BITS)
        wait = Signal(range(3))
        let_in = self.parameter.payload.verdicts <= verdicts
        m.d.comb += [registers.parameter.payload.eq(self.parameter.payload.write),
                     registers.parameter.valid.eq(self.parameter.valid & let_in),
                     self.parameter.ready.eq(registers.parameter.ready & let_in)]
        m.d.sync += [verdicts.eq(verdicts + sequencer.verdict.valid), wait.eq(Mux(wait == 0, 0, wait - 1))]
        # A look-up sees a write from the second cycle on.
        with m.If(self.parameter.valid & self.parameter.ready):
            m.d.sync += [writes.eq(writes + 1), wait.eq(2)]
        with m.Elif(wait == 0):
            m.d.sync += settled.eq(writes)
        let_in = self.job.payload.writes <= settled
        m.d.comb += [sequencer.job.payload.eq(self.job.payload.job), sequencer.job.valid.eq(self.job.valid & let_in),
                     self.job.ready.eq(sequencer.job.ready & let_in)]

    def _judge(self, m):
        """Show what the register file and the sequencer say of writes and jobs."""
        registers, sequencer = self.registers, self.sequencer
        m.d.comb += [self.fault.head_invalid.eq(registers.head_invalid),
                     self.fault.entry_invalid.eq(registers.entry_invalid),
                     self.fault_valid.eq(registers.head_invalid | registers.entry_invalid),
                     self.clash.eq(sequencer.look_up & registers.parameter.ready),
                     self.verdict_valid.eq(sequencer.verdict.valid)]
        m.d.comb += [self.verdict[name].eq(sequencer.verdict[name]) for name in REFUSALS]

    def _load(self, m):
        """Carry out commands to the loaders, in some cycles."""
        sequencer, left, under_way = self.sequencer, Signal(4), Signal()
        wiring.connect(m, wiring.flipped(self.query_load), sequencer.query_load)
        m.d.comb += [self.kv_load.payload.command.eq(sequencer.kv_load.payload),
                     self.kv_load.valid.eq(sequencer.kv_load.valid & ~under_way),
                     sequencer.kv_load.ready.eq(self.kv_load.ready & ~under_way),
                     sequencer.loaded.eq(under_way & (left == 0)), self.loaded_valid.eq(sequencer.loaded)]
        if hasattr(sequencer, "groups"):
            m.d.comb += self.kv_load.payload.groups.eq(sequencer.groups)
        with m.If(self.kv_load.valid & self.kv_load.ready):
            m.d.sync += [under_way.eq(1), left.eq(sequencer.kv_load.payload.rows)]
        with m.Elif(under_way):
            m.d.sync += [left.eq(left - 1), under_way.eq(left != 0)]

    def _compute(self, m):
        """Keep the banks and slots of jobs that compute, and release the oldest one when it is time."""
        sequencer = self.sequencer
        compute, command = sequencer.compute, sequencer.kv_load.payload
        jobs, banks = Signal(range(IN_FLIGHT_MAX + 1)), Signal(IN_FLIGHT_MAX)
        room, dispatched, release = (Signal(name=name) for name in ("room", "dispatched", "release_now"))
        left, armed = Signal(10), Signal()
        behind = Signal.like(jobs)
        m.d.comb += [room.eq(jobs != IN_FLIGHT_MAX), self.compute.payload.eq(compute.payload),
                     self.compute.valid.eq(compute.valid & room), compute.ready.eq(self.compute.ready & room),
                     dispatched.eq(compute.valid & compute.ready), self.release.ready.eq(~armed),
                     release.eq(armed & (left == 0) & (jobs != 0)), behind.eq(jobs - release),
                     sequencer.release.eq(release), sequencer.release_bank.eq(banks[0])]
        m.d.sync += [jobs.eq(behind + dispatched), banks.eq(banks >> release)]
        with m.If(dispatched):
            m.d.sync += banks.eq(banks >> release & ~(1 << behind) | (compute.payload.bank << behind))
        with m.If(self.release.valid & self.release.ready):
            m.d.sync += [armed.eq(1), left.eq(self.release.payload)]
        with m.Elif(release):
            m.d.sync += armed.eq(0)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        stood, used = Signal(compute.payload.shape()), Signal()
        with m.If(dispatched):
            m.d.sync += stood.eq(compute.payload)
        m.d.comb += [
            used.eq((Mux(command.bank, banks, ~banks) & Cat(n < jobs for n in range(IN_FLIGHT_MAX))).any()),
            self.kv_load.payload.in_use.eq(used & (command.start == 0) & ~command.drop),
            self.accepted_valid.eq(sequencer.job.valid & sequencer.job.ready),
            self.accepted.eq(sequencer.busy == (jobs != 0)),
            self.loaded.eq(sequencer.busy & (sequencer.waiting_for_keys == (jobs == 0))),
            self.released_valid.eq(release),
            self.released.eq(sequencer.busy & (self.overlapping | (stood.as_value() == compute.payload.as_value())))]
        if hasattr(sequencer, "code"):
            m.d.comb += [self.code_valid.eq(sequencer.code_valid), self.code.code.eq(sequencer.code),
                         self.code.taken.eq(self._taken(m, dispatched, release, jobs))]

    def _taken(self, m, dispatched, release, jobs):
        """Return whether the codes that come now are put in place of those of a job that computes."""
        if not self.overlapping:
            return jobs != 0
        oldest, slots = Signal(range(SLOTS)), Signal(SLOTS)
        with m.If(release):
            m.d.sync += [oldest.eq(next_modulo(oldest, SLOTS)), slots.bit_select(oldest, 1).eq(0)]
        with m.If(dispatched):
            m.d.sync += slots.bit_select(self.sequencer.compute.payload.slot, 1).eq(1)
        return slots.bit_select(self.sequencer.code.slot, 1)


class RegisterFile:
    """What a register file holds after some writes, by the document of `HeadRegisters`.

    Attributes
    ----------
    words : dict of (head, word) to int
    known : dict of int to HeadParameters
    """

    def __init__(self, config):
        self.config = config
        self.names = list(entry_words(config))
        self.words, self.known = {}, {}
        self._turn, self._good, self._control, self._small = (None, 0), False, {}, False

    def write(self, head, word, data, entry):
        """Take a word of an entry, and return the events that tells of, as an item of `fault`."""
        if head >= self.config.heads:
            return {"head_invalid": 1, "entry_invalid": 0}
        in_turn = word == 0 or (head, word) == self._turn
        fault, held = self._check(word, data) if word < len(self.names) else (False, data)
        self._good = (word == 0 or self._good) and in_turn and not fault
        if in_turn:
            self.words[head, word] = held
            self._turn = (head, word + 1)
            if word == 0:
                self.known.pop(head, None)
            if word == len(self.names) - 1:
                self._turn = (None, 0)
                if self._good:
                    self.known[head] = entry
        return {"head_invalid": 0, "entry_invalid": 1} if fault or not in_turn else None

    def _check(self, word, data):
        """Return (whether no entry of the build has such a word, what is held of it)."""
        config, name = self.config, self.names[word]
        fields = decode(entry_words(config)[name], data)
        kinds = list(ThresholdKind)
        if name == "control":
            self._control = fields
            grouped = config.group_bits < GROUP_BITS_MAX and fields["group_bits"] > config.group_bits
            return (fields["kind"] >= len(kinds) or kinds[fields["kind"]] not in config.threshold_kinds or grouped
                    or data >> entry_words(config)[name].size != 0), data
        # A build with one kind judges codes by that, one with several by none if there is no such kind.
        if len(config.threshold_kinds) == 1:
            kind = ThresholdKind(config.threshold_kinds[0])
        else:
            kind = dict(enumerate(kinds)).get(self._control["kind"])
        if name == "scale":
            self._small = not table_holds((fields["scale_mantissa"], self._control["scale_shift"]), config)
            return kind == "mass" and self._small, data
        if name == "gains":
            return fields["mean_gain"] > fields["denominator_gain"] or (
                self._small and fields["denominator_gain"] > 0), data
        if name.startswith("group_"):
            return fields[f"element_{name[-1]}"] >= config.head_dim, data
        if kind is None:
            return False, data
        code = data - (data >> 15 << 16) if kind == "absolute" else data
        low, high = kind.code_range(config)
        if kind == "relative" and code == 0:
            return False, 1
        return not low <= code <= high, data


class Program:
    """Writes and jobs, and what they give at each port of a `WorkList`."""

    def __init__(self, config, overlapping):
        self.config, self.slots = config, SLOTS if overlapping and config.code_octaves else 1
        self.writes, self.jobs = [], []
        self.file = RegisterFile(config)
        self.sequence = Sequence(config, self.file.known)
        self.outputs = {name: [] for name in ("fault", "verdict", "query_load", "kv_load", "compute", "accepted",
                                              "loaded", "released", *(["code"] if config.code_octaves else []))}
        self._bank = self._slot = 0

    def add_writes(self, writes, entry):
        """Add writes of an entry."""
        for write in writes:
            self.writes.append({"write": write, "verdicts": len(self.jobs)})
            if fault := self.file.write(**write, entry=entry):
                self.outputs["fault"].append(fault)

    def add_job(self, head, queries, keys, *, fresh=False, causal=False):
        """Add a job; of a refused one it does not matter where its rows would have been."""
        rows = np.zeros(((1 << COUNT_BITS) - 1, self.config.head_dim), np.int8)
        job = Job(head, rows[:queries], rows[:keys], rows[:keys], fresh, causal)
        self.jobs.append({"writes": len(self.writes), "job": {
            "head": head, "load_rows": len(job.k), "fresh": fresh, "query_rows": len(job.q), "causal": causal}})
        config, outputs, names = self.config, self.outputs, self.file.names
        there = 0 if job.fresh else len(self.sequence.keys)
        begins = job.fresh or there == 0
        refusal = self.sequence.load(job)
        words = {name: self.file.words.get((job.head, place)) for place, name in enumerate(names)}
        is_known = job.head in self.file.known
        for octave in config.code_octaves:
            code = {"code": words[f"code_{octave}"] & (1 << code_bits(config)) - 1} if is_known else {}
            outputs["code"].append({"code": {"octave": octave, "slot": self._slot, **code}, "taken": 0})
        outputs["accepted"].append(1)
        outputs["verdict"].append({name: name == refusal for name in REFUSALS})
        outputs["query_load"].append({"rows": len(job.q), "drop": refusal is not None})
        command = {"rows": len(job.k), "drop": refusal is not None}
        load = {"command": command, "in_use": 0}
        if refusal is None:
            self._bank = (1 - self._bank if config.kv_banks == 2 else 0) if begins else self._bank
            command |= {"start": there, "bank": self._bank}
            if config.group_bits and len(job.k):
                groups = self.sequence.groups
                spare = [None] * (config.group_bits - len(groups.elements))
                load["groups"] = {"group_bits": len(groups.elements), "elements": [*groups.elements, *spare],
                                  "cuts": [*groups.cuts, *spare]}
        outputs["kv_load"].append(load)
        outputs["loaded"].append(1)
        if refusal is None and len(job.q):
            layout = head_entry_layout(config)
            fields = {field: value for name, word in words.items()
                      for field, value in decode(entry_words(config)[name], word).items() if field in layout.members}
            slot = {"slot": self._slot} if self.slots > 1 else {}
            outputs["compute"].append({"entry": fields, "rows": len(job.q), "keys": len(self.sequence.keys),
                                       "causal": job.causal, "bank": self._bank, **slot})
            outputs["released"].append(1)
            self._slot = (self._slot + 1) % self.slots
