"""cocotb testbench of the core behind AXI on a bus that fails: every error is in a status, every other job is right.

Descriptors are wrong, memory answers with errors, and registers are accessed in ways that they do not allow, all at
random, while the program of ``$LATTE_RUN`` runs. Runs inside the simulator's process.
"""

import json
import os
import pathlib
import random
import time
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiResp

from latte.golden.jobs import Sequence
from latte.golden.results import write_text
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_program import PlacedJob, expected_status, read_rows, status_names
from latte.sim.axi_testbench import AxiTestbench, SimulatedClock
from latte.sim.program import Program

__all__ = ["FaultTestbench", "run_with_faults"]

_INVALID = {"type": "unknown_type", "reserved_word": "reserved_set", "reserved_flags": "reserved_set",
            "q_address": "unaligned", "v_stride": "unaligned", "rows": "no_rows", "descriptor": "fetch_failed"}
"""What may be wrong with a descriptor, and the bit that says so."""


@cocotb.test()
async def run_with_faults(dut: Any) -> None:
    """Run the program once."""
    folder = pathlib.Path(os.environ["LATTE_RUN"])
    settings = json.loads((folder / "settings.json").read_text())
    report: dict[str, Any] = {"jobs": [], "failure": None}
    started = time.monotonic()
    clock = SimulatedClock(dut, settings["patience"])
    core = FaultTestbench(clock, dut, Program.load(folder), settings, folder, report)
    try:
        await core.power_up()
        await core.run()
    except TestbenchFailure as failure:
        report["failure"] = str(failure)
    report |= {"cycles": clock.cycle, "seconds": time.monotonic() - started}
    write_text(folder / "report.json", json.dumps(report))


class FaultTestbench(AxiTestbench):
    """Decides what fails, and knows what must follow."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rng = random.Random(self.settings["seed"])
        self.accesses = 0
        self.failing_reads: set[int] = set()
        self.failing_writes: set[int] = set()
        self.kinds = [self._choose(index) for index in range(len(self.plan.jobs))]
        self.memory.failing = self._fails
        self._taps = ()

    def _choose(self, index: int) -> str:
        """Let something go wrong with every other job; return what."""
        placed = self.plan.jobs[index]
        job, beat = placed.job, self.master.data_bytes
        if self.rng.random() < 0.5:
            return "none"
        present = [name for name, rows in (("q", job.q), ("k", job.k), ("v", job.v), ("o", job.q)) if len(rows)]
        kind = self.rng.choice(["slverr", "slverr", "decerr", *_INVALID])
        if kind in _INVALID:
            changes = {"type": {"type": self.rng.choice([0, 2, 255])}, "reserved_word": {"reserved_word": 1 << 7},
                       "reserved_flags": {"reserved_flags": 1}, "q_address": {"q_address": 4 + 8 * index},
                       "v_stride": {"v_stride": 1}, "rows": {"query_rows": 0, "load_rows": 0}, "descriptor": {}}
            self.plan.jobs[index] = PlacedJob(job, placed.fields | changes[kind])
            return kind
        name = self.rng.choice(present)
        if kind == "decerr":
            beyond = self.memory.size + (self.rng.getrandbits(50) << 12)
            self.plan.jobs[index] = PlacedJob(job, placed.fields | {f"{name}_address": beyond})
        else:
            rows = len(job.k if name in "kv" else job.q)
            size = self.row_bytes if name == "o" else self.program.config.head_dim
            at = (placed.fields[f"{name}_address"] + self.rng.randrange(rows) * placed.fields[f"{name}_stride"]
                  + beat * self.rng.randrange(size // beat))
            (self.failing_writes if name == "o" else self.failing_reads).add(at)
        return f"{kind} {name}"

    def _fails(self, address: int, write: bool) -> bool:
        """Say whether an address answers with SLVERR; of descriptors the one in its slot now."""
        if write:
            return address in self.failing_writes
        number, inside = divmod(address - self.plan.ring, DESCRIPTOR_BYTES)
        if 0 <= number < 1 << self.plan.ring_log2 and inside == 0:
            ahead = (number - len(self.ended)) % (1 << self.plan.ring_log2) + len(self.ended)
            return ahead < len(self.kinds) and self.kinds[ahead] == "descriptor"
        return address in self.failing_reads

    async def run(self, until: int | None = None) -> None:
        """Run the program, with wrong accesses to registers meanwhile; compare every status, and what must be right."""
        await self.begin()
        stop = cocotb.start_soon(self._misuse())
        sequence, broken = Sequence(self.program.config, self.program.parameters), False
        errors: set[str] = set()
        for index, (placed, kind) in enumerate(zip(self.plan.jobs, self.kinds, strict=True)):
            await self.until(lambda index=index: len(self.ended) > index, f"the status of job {index}")
            await self.submit()
            status, job = status_names(self.words[index]), placed.job
            if kind in _INVALID:
                want, broken = {"done", "error", _INVALID[kind]}, True
                errors |= {"descriptor_invalid", *(["read_slverr"] if kind == "descriptor" else [])}
            else:
                refusal = sequence.load(job)
                want = expected_status(refusal)
                response, _, name = kind.partition(" ")
                harmed = kind != "none" and refusal is None
                if harmed:
                    want |= {"error", f"{'write' if name == 'o' else 'read'}_{response}"}
                    errors.add(f"{'write' if name == 'o' else 'read'}_{response}")
                if broken and not job.fresh:
                    want |= {"error", "sequence_invalid"}
                    errors.add("descriptor_invalid")
                errors |= {"job_refused"} if refusal else set()
                broken = (broken and not job.fresh) or (harmed and name in ("k", "v"))
                if want == {"done"} and len(job.q):
                    self._compare_rows(index, placed, sequence)
            if status != want or self.words[index] >> 16 != index % (1 << 16):
                raise TestbenchFailure(f"job {index}, {kind}: status {sorted(status)}, expected {sorted(want)}")
            self.report["jobs"].append({"index": index, "mismatches": [], "fault": kind, "status": sorted(status)})
        stop.cancel()
        self.report["accesses"] = self.accesses
        seen = {name for name, value in (await self.registers.read_fields("ERROR")).items() if value}
        if seen != errors:
            raise TestbenchFailure(f"ERROR has {sorted(seen)}, expected {sorted(errors)}")
        await self.registers.write("ERROR", **dict.fromkeys(seen, 1))
        if await self.registers.read("ERROR"):
            raise TestbenchFailure("ERROR is not cleared")

    def _compare_rows(self, index: int, placed: PlacedJob, sequence: Sequence) -> None:
        """Compare a job's rows in memory with the golden model."""
        rows = read_rows([self.memory.ram.read(at, self.row_bytes) for at in placed.output_rows()], sequence.config)
        if not np.array_equal(rows, sequence.compute(placed.job).output):
            raise TestbenchFailure(f"job {index}: output rows differ, among jobs that met errors")

    async def _misuse(self) -> None:
        """Access registers as they do not allow; each access must be answered as the table says."""
        registers = self.registers
        table = registers.registers.values()
        offsets = {register.offset for register in table}
        never = [register.offset for register in table if not register.writable or register.locked]
        while True:
            at = self.rng.choice([self.rng.randrange(0, 1 << 12, 4), self.rng.choice(sorted(offsets))])
            if self.rng.random() < 0.5:
                done = await registers.bus.read(at, 4)
                legal = at in offsets
            else:
                if at in offsets and at not in never:
                    at = self.rng.choice(never)
                done, legal = await registers.bus.write(at, self.rng.randbytes(4)), False
            self.accesses += 1
            if (done.resp == AxiResp.OKAY) != legal or done.resp == AxiResp.DECERR:
                raise TestbenchFailure(f"an access to register {at:#x} was answered with {done.resp.name}")
