"""cocotb testbench of the core with AXI4-Stream ports and wrong packets: every fault is told, other jobs are right.

Packets end too soon or too late or lack bytes, at random, and jobs are queued where there is no place, while the
program in its folder runs. Runs inside the simulator's process.
"""

import collections
import random
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiResp, AxiStreamFrame

from latte.golden.jobs import Job, Sequence
from latte.rtl.axi.job_registers import JOBS_MAX, PACKET_FAULTS
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_stream_testbench import AxiStreamTestbench
from latte.sim.bus_testbench import run_testbench

__all__ = ["StreamFaultTestbench", "run_with_wrong_packets"]


@cocotb.test()
async def run_with_wrong_packets(dut: Any) -> None:
    """Run the program once."""
    await run_testbench(dut, StreamFaultTestbench, StreamFaultTestbench.run_and_count)


class StreamFaultTestbench(AxiStreamTestbench):
    """Decides which packets are wrong, and knows what must follow.

    Attributes
    ----------
    faults
        For each job, stream and fault of a packet of its, if one is wrong.
    counts
        Of each fault, and of jobs that found no place.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rng = random.Random(self.settings["seed"])
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults = [self._choose(job) for job in self.program.jobs]
        self._taps = ()

    def _choose(self, job: Job) -> tuple[str, str] | None:
        """Let something be wrong with every other job; return stream and fault."""
        present = [name for name in "qkv" if len(getattr(job, name))]
        if not present or self.rng.random() < 0.5:
            return None
        name, fault = self.rng.choice(present), self.rng.choice(list(PACKET_FAULTS))
        if fault == "packet_short" and len(self.packet(getattr(job, name)).tdata) == self.stream.data_bytes:
            return None
        self.counts[fault] += 1
        return name, fault

    def packets(self, index: int, job: Job) -> dict[str, AxiStreamFrame]:
        """Return the packets of a job, one of them wrong."""
        frames = super().packets(index, job)
        if wrong := self.faults[index]:
            name, fault = wrong
            frames[name] = self._spoil(frames[name], fault)
        return frames

    def _spoil(self, frame: AxiStreamFrame, fault: str) -> AxiStreamFrame:
        beat, data = self.stream.data_bytes, bytes(frame.tdata)
        if fault == "packet_short":
            return AxiStreamFrame(data[:beat * self.rng.randrange(1, len(data) // beat)])
        if fault == "packet_long":
            return AxiStreamFrame(data + bytes(beat * self.rng.randrange(1, 9)))
        keep = [1] * len(data)
        keep[beat * self.rng.randrange(len(data) // beat)] = 0
        return AxiStreamFrame(data, tkeep=keep)

    async def run_and_count(self) -> None:
        """Run the program; compare every status, every packet's TUSER, and what must be right."""
        await self.begin()
        sequence, broken = Sequence(self.program.config, self.program.parameters), False
        errors: set[str] = set()
        for index, job in enumerate(self.program.jobs):
            await self._overfill()
            await self.until(lambda index=index: len(self.ended) > index, f"the end of job {index}")
            await self.submit()
            refusal = sequence.load(job)
            want = {"done"} if refusal is None else {"done", f"refused_{refusal}"}
            errors |= {"job_refused"} if refusal else set()
            if broken and not job.fresh:
                want.add("sequence_invalid")
            if job.fresh:
                broken = False
            if spoilt := self.faults[index]:
                name, fault = spoilt
                want.add(fault)
                broken |= name != "q" and refusal is None
            errors |= want & {*PACKET_FAULTS, "sequence_invalid"}
            failed = want != {"done"}
            wrong = self.compare_status(index, want | {"error"} if failed else want)
            if wrong:
                raise TestbenchFailure(f"job {index}, {self.faults[index]}: {wrong}")
            if len(job.q):
                rows = await self.next_packet(len(job.q), failed)
                self._compare_rows(index, rows, sequence, job, refusal, failed)
            self.report["jobs"].append({"index": index, "mismatches": [], "status": sorted(want)})
        await self._finish(errors)

    def _compare_rows(self, index: int, rows: np.ndarray, sequence: Sequence, job: Job, refusal: str | None,
                      failed: bool) -> None:
        """Compare output rows that mean something."""
        want = sequence.compute(job).output if refusal is None else np.zeros_like(rows)
        if (refusal is not None or not failed) and not np.array_equal(rows, want):
            raise TestbenchFailure(f"job {index}: output rows differ, among packets that were wrong")

    async def _overfill(self) -> None:
        """Stop now and then, and queue a job that finds no place: it is refused and forgotten."""
        if self.rng.random() < 0.8:
            return
        await self.registers.write("CONTROL", enable=0)
        await self.until_idle()
        done = await self.registers.read("JOBS_DONE")
        await self.until(lambda: (len(self.ended) - done) % (1 << 16) == 0, "the status of what was begun")
        await self.submit()
        if self.submitted - len(self.ended) == JOBS_MAX:
            answer = await self.registers.bus.write(self.registers.registers["JOB_ROWS"].offset, bytes(4))
            if answer.resp != AxiResp.SLVERR:
                raise TestbenchFailure("a job was queued where there was no place")
            self.counts["job_lost"] += 1
        await self.registers.write("CONTROL", enable=1)

    async def _finish(self, errors: set[str]) -> None:
        """Compare what the registers remember of all of it."""
        await self.until_idle()
        errors |= {"job_lost"} if self.counts["job_lost"] else set()
        seen = {name for name, value in (await self.registers.read_fields("ERROR")).items() if value}
        problems = await self.check_registers()
        if seen != errors:
            problems.append(f"ERROR has {sorted(seen)}, expected {sorted(errors)}")
        await self.registers.write("ERROR", **dict.fromkeys(seen, 1))
        if await self.registers.read("ERROR"):
            problems.append("ERROR is not cleared")
        if problems:
            raise TestbenchFailure("; ".join(problems))
        self.report["counters"] = dict(self.counts)
