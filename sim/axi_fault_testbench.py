"""cocotb testbench of the core behind AXI on a bus that fails: every error is in a status, every other job is right.

Descriptors are wrong, memory answers with errors, and registers are accessed in ways that they do not allow, all at
random, while the program in its folder runs. Runs inside the simulator's process.
"""

import dataclasses
import random
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiResp

from latte.golden.jobs import COUNT_BITS, Sequence
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_OFFSET
from latte.rtl.axi.register_types import Register
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_program import PlacedJob, expected_status, read_rows, status_names
from latte.sim.axi_testbench import AxiTestbench
from latte.sim.bus_testbench import run_testbench

__all__ = ["FaultTestbench", "run_with_faults"]

_INVALID = {"type": "unknown_type", "reserved_word": "reserved_set", "reserved_flags": "reserved_set",
            "q_address": "unaligned", "v_stride": "unaligned", "rows": "no_rows", "descriptor": "fetch_failed"}
"""What may be wrong with a descriptor, and the bit that says so."""
_RESPONSES = {"slverr": AxiResp.SLVERR, "decerr": AxiResp.DECERR}
_FAR = 1 << COUNT_BITS - 2
"""Descriptors that no ring of a test holds."""


@cocotb.test()
async def run_with_faults(dut: Any) -> None:
    """Run the program once."""
    await run_testbench(dut, FaultTestbench, _steps)


async def _steps(core: "FaultTestbench") -> None:
    await core.run()
    await core.misplace_ring()
    await core.write_in_reset()
    core.report["counters"] = {"register_accesses": core.accesses, "bursts": core.memory.bursts}


class FaultTestbench(AxiTestbench):
    """Decides what fails, and knows what must follow.

    Attributes
    ----------
    accesses
        To registers, besides those that the program needs.
    kinds
        For each job, what goes wrong with it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rng = random.Random(self.settings["seed"])
        self.accesses = self.overflows = 0
        self.misusing = True
        self.failing: dict[tuple[int, bool], AxiResp] = {}
        self.kinds = [self._choose(index) for index in range(len(self.plan.jobs))]
        self.memory.failing = self._response
        self._taps = ()

    def _choose(self, index: int) -> str:
        """Let something go wrong with every other job; return what."""
        placed = self.plan.jobs[index]
        job, beat = placed.job, self.master.data_bytes
        if self.rng.random() < 0.5:
            return "none"
        present = [name for name, rows in (("q", job.q), ("k", job.k), ("v", job.v), ("o", job.q)) if len(rows)]
        kind = self.rng.choice(["slverr", "slverr", "decerr", "decerr", "wild", "status", "long", *_INVALID])
        if kind in ("status", "descriptor"):
            return f"{kind} {self.rng.choice(list(_RESPONSES))}"
        if kind in _INVALID:
            changes = {"type": {"type": self.rng.choice([0, 2, 255])}, "reserved_word": {"reserved_word": 1 << 7},
                       "reserved_flags": {"reserved_flags": 1}, "q_address": {"q_address": 4 + 8 * index},
                       "v_stride": {"v_stride": 1}, "rows": {"query_rows": 0, "load_rows": 0}}
            self.plan.jobs[index] = PlacedJob(job, placed.fields | changes[kind])
            return kind
        if kind == "long":
            zeros = np.zeros((self.program.config.max_seq_len + 1, self.program.config.head_dim), np.int8)
            self.plan.jobs[index] = PlacedJob(dataclasses.replace(job, k=zeros, v=zeros),
                                              placed.fields | {"load_rows": len(zeros)})
            return kind
        name = self.rng.choice(present)
        if kind == "wild":
            beyond = self.memory.size + (self.rng.getrandbits(50) << 12)
            self.plan.jobs[index] = PlacedJob(job, placed.fields | {f"{name}_address": beyond})
            return f"decerr {name}"
        rows = len(job.k if name in "kv" else job.q)
        size = self.row_bytes if name == "o" else self.program.config.head_dim
        at = (placed.fields[f"{name}_address"] + self.rng.randrange(rows) * placed.fields[f"{name}_stride"]
              + beat * self.rng.randrange(size // beat))
        self.failing[at, name == "o"] = _RESPONSES[kind]
        return f"{kind} {name}"

    def _response(self, address: int, write: bool) -> AxiResp:
        """Return what an address answers with; of a slot of the ring, what its descriptor now says."""
        number, inside = divmod(address - self.plan.ring, DESCRIPTOR_BYTES)
        size = 1 << self.plan.ring_log2
        if 0 <= number < size:
            done = len(self.ended)
            ahead = (number - done) % size + done
            kind, _, response = self.kinds[ahead].partition(" ") if ahead < len(self.kinds) else ("none", "", "")
            if kind == "descriptor" and not write and inside == 0:
                return _RESPONSES[response]
            if kind == "status" and write and inside == STATUS_OFFSET:
                # The descriptor ends all the same, and only the register says so.
                self.ended.append(self.testbench.cycle)
                self.words.append(0)
                return _RESPONSES[response]
        return self.failing.get((address, write), AxiResp.OKAY)

    async def run(self, until: int | None = None) -> None:
        """Run the program, with wrong accesses to registers meanwhile; compare every status, and what must be right."""
        await self.begin()
        misuse = cocotb.start_soon(self._misuse())
        sequence, broken = Sequence(self.program.config, self.program.parameters), False
        errors: set[str] = set()
        for index, (placed, kind) in enumerate(zip(self.plan.jobs, self.kinds, strict=True)):
            await self.until(lambda index=index: len(self.ended) > index, f"the status of job {index}")
            await self.submit()
            kind, _, detail = kind.partition(" ")
            if kind in _INVALID:
                want, broken = {"done", "error", _INVALID[kind]}, True
                errors |= {"descriptor_invalid", *([f"read_{detail}"] if detail else [])}
            else:
                refusal = sequence.load(placed.job)
                want, harmed = expected_status(refusal), kind in _RESPONSES and refusal is None
                if harmed:
                    error = f"{'write' if detail == 'o' else 'read'}_{kind}"
                    want |= {"error", error}
                    errors.add(error)
                if broken and not placed.job.fresh:
                    want |= {"error", "sequence_invalid"}
                    errors.add("descriptor_invalid")
                errors |= {"job_refused"} if refusal else set()
                errors |= {f"write_{detail}"} if kind == "status" else set()
                broken = (broken and not placed.job.fresh) or (harmed and detail in ("k", "v"))
                if want == {"done"} and len(placed.job.q):
                    self._compare_rows(index, placed, sequence)
            self._compare_status(index, want)
        await self._finish(misuse, errors)

    def _compare_rows(self, index: int, placed: PlacedJob, sequence: Sequence) -> None:
        """Compare a job's rows in memory with the golden model."""
        rows = read_rows([self.memory.ram.read(at, self.row_bytes) for at in placed.output_rows()], sequence.config)
        if not np.array_equal(rows, sequence.compute(placed.job).output):
            raise TestbenchFailure(f"job {index}: output rows differ, among jobs that met errors")

    def _compare_status(self, index: int, want: set[str]) -> None:
        """Compare a job's status word, if it could be written."""
        word, kind = self.words[index], self.kinds[index]
        if not kind.startswith("status") and (status_names(word) != want or word >> 16 != index % (1 << COUNT_BITS)):
            raise TestbenchFailure(f"job {index}, {kind}: status word {word:#010x} says {sorted(status_names(word))}, "
                                   f"expected {sorted(want)}")
        self.report["jobs"].append({"index": index, "mismatches": [], "fault": kind, "status": sorted(want)})

    async def _finish(self, misuse: Any, errors: set[str]) -> None:
        """End the wrong accesses, and compare what the registers remember of all of it."""
        self.misusing = False
        await misuse
        await self.until_idle()
        if await self.registers.read("RING_TAIL") != len(self.plan.jobs) % (1 << COUNT_BITS):
            raise TestbenchFailure("RING_TAIL is not the number of all jobs")
        await self._compare_errors(errors | ({"ring_overflow"} if self.overflows else set()))

    async def _compare_errors(self, errors: set[str]) -> None:
        """Compare ERROR, clear it, and see that it is clear."""
        seen = {name for name, value in (await self.registers.read_fields("ERROR")).items() if value}
        if seen != errors:
            raise TestbenchFailure(f"ERROR has {sorted(seen)}, expected {sorted(errors)}")
        await self.registers.write("ERROR", **dict.fromkeys(seen, 1))
        if await self.registers.read("ERROR"):
            raise TestbenchFailure("ERROR is not cleared")

    async def _misuse(self) -> None:
        """Access registers in every way; each access must be answered as the table says."""
        table = self.registers.registers
        offsets = {register.offset: register for register in table.values()}
        never = [register for register in table.values() if not register.writable or register.locked]
        whole = [register for register in table.values() if register.whole]
        unused = max(self.program.parameters) + 1
        await self._access_field(table["PARAMETER_SELECT"], unused, True)
        while self.misusing:
            way = self.rng.choice(["read", "read", "nowhere", "never", "part", "doorbell", "parameter"])
            at = self.rng.choice([self.rng.randrange(0, 1 << 12, 4), *offsets])
            if way == "read":
                await self._access(at, None, at in offsets)
            elif way == "nowhere" and at not in offsets:
                await self._access(at, self.rng.randbytes(4), False)
            elif way == "never":
                await self._access(self.rng.choice(never).offset, self.rng.randbytes(4), False)
            elif way == "part":
                await self._access(self.rng.choice(whole).offset, self.rng.randbytes(1), False)
            elif way == "doorbell":
                # Back, or far ahead.
                number = self.told + self.rng.choice([-1, -self.rng.randrange(1, _FAR), _FAR])
                await self._access_field(table["RING_HEAD"], number % (1 << COUNT_BITS), False)
                self.overflows += 1
            elif way == "parameter":
                await self._access_field(table["PARAMETER_DATA"], self.rng.getrandbits(16), True)

    async def _access_field(self, register: Register, value: int, legal: bool) -> None:
        """Write a whole register."""
        await self._access(register.offset, value.to_bytes(4, "little"), legal)

    async def _access(self, at: int, data: bytes | None, legal: bool) -> None:
        """Read, or write data, and check the response."""
        bus = self.registers.bus
        done = await (bus.read(at, 4) if data is None else bus.write(at, data))
        self.accesses += 1
        if done.resp != (AxiResp.OKAY if legal else AxiResp.SLVERR):
            raise TestbenchFailure(f"{'read' if data is None else 'write'} of register {at:#x} was answered with "
                                   f"{done.resp.name}")

    async def misplace_ring(self) -> None:
        """Enable a ring at an address that it cannot have; nothing is fetched."""
        write, bursts = self.registers.write, self.memory.bursts
        await write("CONTROL", enable=0)
        await write("RING_BASE_LOW", address=(self.plan.ring & 0xFFFFFFFF) + DESCRIPTOR_BYTES // 2)
        await write("CONTROL", enable=1)
        await write("RING_HEAD", number=(len(self.plan.jobs) + 1) % (1 << COUNT_BITS))
        for _ in range(50):
            await self.edge
        await write("CONTROL", enable=0)
        await self._compare_errors({"ring_unaligned"})
        if self.memory.bursts != bursts:
            raise TestbenchFailure("something was fetched from a ring that is not aligned")
        await write("RING_BASE_LOW", address=self.plan.ring & 0xFFFFFFFF)

    async def write_in_reset(self) -> None:
        """Reset while a read is under way: it ends when the read does, and what is written meanwhile is refused."""
        table, data = self.registers.registers, self.memory.ram.read_if.r_channel
        data.set_pause_generator(None)
        data.pause = True
        bursts = self.memory.bursts
        await self.registers.write("CONTROL", enable=1)
        await self.until(lambda: self.memory.bursts > bursts, "a descriptor's read")
        await self.registers.write("CONTROL", soft_reset=1)
        for name in ("PARAMETER_DATA", "RING_HEAD"):
            await self._access_field(table[name], 1, False)
        if not (await self.registers.read_fields("STATUS"))["resetting"]:
            raise TestbenchFailure("a soft reset did not wait for a read that is under way")
        data.pause = False
        await self.soft_reset()
        await self._compare_errors({"parameter_lost"})
        if await self.registers.read("RING_HEAD") or (await self.registers.read_fields("STATUS"))["busy"]:
            raise TestbenchFailure("the soft reset left something of the ring")
