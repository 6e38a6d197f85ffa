"""cocotb testbench of the core with AXI4-Stream ports: runs the program in its folder by packets.

Runs inside the simulator's process; `latte.sim.axi_run` prepares the folder and reads the report. Output rows are those
of the packets, and every job's status register and TUSER are compared, too.
"""

import pathlib
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from latte.golden.config import ceil_div
from latte.golden.jobs import Job
from latte.rtl.axi.bus import StreamParameters
from latte.rtl.axi.job_registers import JOBS_MAX
from latte.sim.agents import TestbenchFailure
from latte.sim.axi_program import read_rows
from latte.sim.bus_testbench import BusTestbench, run_testbench
from latte.sim.program import Program
from latte.sim.stalls import stall_pair

__all__ = ["AxiStreamTestbench", "run_axi_stream_program"]

_RUBBISH = 0xA5
"""Behind a row's end."""


@cocotb.test()
async def run_axi_stream_program(dut: Any) -> None:
    """Run the program once, or twice with a soft reset in the middle of the first time."""
    await run_testbench(dut, AxiStreamTestbench, AxiStreamTestbench.run_through)


class AxiStreamTestbench(BusTestbench):
    """The program's jobs through registers, and the stream models.

    All packets are offered from the beginning: they wait for their jobs. Jobs follow one another as there is room, each
    with an interrupt, and their status is read when it comes.

    Parameters
    ----------
    clock, dut, program, folder, report
        As of `BusTestbench`.
    settings
        ``stall``, ``seed``, ``reset_at``, ``stream``.
    """

    queue_empty = "queue_empty"

    def __init__(self, clock: Any, dut: Any, program: Program, settings: dict[str, Any], folder: pathlib.Path,
                 report: dict[str, Any]) -> None:
        self.stream = StreamParameters(**settings["stream"])
        super().__init__(clock, dut, program, settings, folder, report, self.stream)
        source, sink = stall_pair(settings["stall"], settings["seed"])
        self.senders = {name: AxiStreamSource(AxiStreamBus.from_prefix(dut, f"s_axis_{name}"), dut.clk, dut.rst)
                        for name in "qkv"}
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_o"), dut.clk, dut.rst)
        for name, model, stall in (*((name, model, source) for name, model in self.senders.items()),
                                   ("o", self.sink, sink)):
            if stall is not None:
                model.set_pause_generator(iter(stall.fork(name), None))
        self.submitted = 0
        self._follower: Any = None

    @property
    def moved(self) -> int:
        """What taps and packets show."""
        waiting = sum(model.count() for model in self.senders.values())
        return sum(tap.count for tap in self._taps_now) + self.sink.count() + len(self.ended) - waiting

    def packet(self, rows: np.ndarray) -> AxiStreamFrame:
        """Return rows as a packet, each from a beat of its own."""
        stride = ceil_div(rows.shape[1], self.stream.data_bytes) * self.stream.data_bytes
        padded = np.full((len(rows), stride), _RUBBISH, np.uint8)
        padded[:, :rows.shape[1]] = rows.view(np.uint8)
        return AxiStreamFrame(padded.tobytes())

    def packets(self, index: int, job: Job) -> dict[str, AxiStreamFrame]:
        """Return the packets of a job, by stream."""
        return {name: self.packet(rows) for name in "qkv" if len(rows := getattr(job, name))}

    async def submit(self) -> None:
        """Queue jobs as far as there is room."""
        room = len(self.ended) + JOBS_MAX
        for job in self.program.jobs[self.submitted:room]:
            await self.registers.write("JOB", fresh=job.fresh, causal=job.causal, interrupt=1, head=job.head)
            await self.registers.write("JOB_ROWS", query_rows=len(job.q), load_rows=len(job.k))
            self.submitted += 1

    async def begin(self) -> None:
        """Write the register file, offer all packets, and queue the first jobs."""
        self.ended, self.words, self.submitted = [], [], 0
        await self.write_parameters()
        for index, job in enumerate(self.program.jobs):
            for name, frame in self.packets(index, job).items():
                self.senders[name].send_nowait(frame)
        await self.registers.write("INTERRUPT_ENABLE", job_done=1)
        await self.registers.write("CONTROL", enable=1)
        self._follower = cocotb.start_soon(self._follow())
        self.rung = self.testbench.cycle
        await self.submit()

    async def _follow(self) -> None:
        """Read the status of jobs as interrupts tell of them."""
        while True:
            while not self.dut.irq.value:
                await self.edge
            await self.registers.write("INTERRUPT_STATUS", job_done=1)
            number = await self.registers.read("JOBS_DONE")
            for index in range(len(self.ended), len(self.ended) + (number - len(self.ended)) % (1 << 16)):
                self.words.append(await self.registers.read(f"JOB_STATUS_{index % JOBS_MAX}"))
                self.ended.append(self.testbench.cycle)

    async def soft_reset(self) -> None:
        """Stop the sources and reset the core; a packet that it has begun ends, marked as worthless."""
        self._follower.cancel()
        for model in self.senders.values():
            model.clear()
            model.pause = True
        await super().soft_reset()
        for model in self.senders.values():
            await self._silence(model)
        while not self.sink.empty():
            self.sink.recv_nowait()

    async def _silence(self, model: AxiStreamSource) -> None:
        """Take an offered beat back, which nobody takes any more: a source is reset with the core."""
        model.assert_reset(True)
        await self.edge
        model.assert_reset(False)
        model.pause = False

    async def end_of(self, index: int, refusal: str | None) -> str | None:
        """Return what is wrong with a status register, or with the packet of a refused job."""
        queries = len(self.program.jobs[index].q)
        if refusal and queries and np.any(await self.next_packet(queries, True)):
            return "the packet of a refused job is not zero"
        return self.compare_status(index, {"done", "error", f"refused_{refusal}"} if refusal else {"done"})

    def compare_status(self, index: int, want: set[str]) -> str | None:
        """Return what is wrong with a status register, None if it has these bits."""
        fields = self.registers.registers["JOB_STATUS_0"].fields
        got = {field.name for field in fields if self.words[index] & field.mask}
        return None if got == want else f"its status says {sorted(got)}, expected {sorted(want)}"

    async def output_of(self, index: int) -> np.ndarray:
        """Return the rows of the packet of the next job that has queries, which must not be marked."""
        return await self.next_packet(len(self.program.jobs[index].q), False)

    async def next_packet(self, count: int, error: bool) -> np.ndarray:
        """Return the rows of the next packet, int32 [count, d], and compare its TUSER."""
        frame = await self.sink.recv()
        stride = ceil_div(self.row_bytes, self.stream.data_bytes) * self.stream.data_bytes
        data = bytes(frame.tdata)
        rows = [data[at:at + stride] for at in range(0, len(data), stride)]
        user = frame.tuser if isinstance(frame.tuser, int) else frame.tuser[-1]
        if len(rows) != count or len(rows[-1]) != stride or bool(user) != error:
            raise TestbenchFailure(f"a packet of {len(data)} bytes, TUSER {user}, expected {count} rows of {stride}, "
                                   f"TUSER {int(error)}")
        if any(any(row[self.row_bytes:]) for row in rows):
            raise TestbenchFailure("bytes behind a row's end are not zero")
        return read_rows([row[:self.row_bytes] for row in rows], self.program.config)

    async def check_registers(self) -> list[str]:
        """Look at the counters of jobs, and that no packet is left."""
        self._follower.cancel()
        problems = []
        self.report["bus"] = {name: await self.registers.read(f"COUNTER_{name}") for name in
                              ("INPUT_BEATS", "OUTPUT_BEATS", "INPUT_STALLS", "JOBS")}
        for name in ("JOBS_QUEUED", "JOBS_DONE"):
            number = await self.registers.read(name)
            if number != len(self.program.jobs) % (1 << 16):
                problems.append(f"{name} {number} after {len(self.program.jobs)} jobs")
        if self.dut.irq.value:
            problems.append("the interrupt is not cleared")
        if not self.sink.empty():
            problems.append("a packet after the last job")
        return problems
