"""Both drivers against the hardware in simulation: real heads in every bit, failed jobs, builds that are not theirs."""

import dataclasses
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from latte.fpga.package import contents, forms
from latte.golden.config import preset
from latte.golden.jobs import Job
from latte.golden.vectors import embedded_vectors
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.registers import register_table
from latte.rtl.axi.ring_registers import RING_REGISTERS
from latte.sim import core_programs
from latte.sim.axi_run import build_axi_core
from latte.sim.program import Program
from tests.cocotb.test_axi_core import BUILDS
from tests.fpga.package.c_session import FLAGS, compile_driver
from tests.fpga.package.python_session import driver_of

pytest.importorskip("systemrdl", reason="the extra package is not installed")
pytest.importorskip("cocotbext.axi")

TOY, TINY = BUILDS["toy"][0], preset("tiny", heads=8).lean()
MASTER = MasterParameters()
SESSIONS = {"c": ("c", False), "c_interrupt": ("c", True), "python": ("python", False),
            "python_interrupt": ("python", True), "linux": ("linux", False)}


def write_drivers(folder, config=TOY):
    """Write drivers, the C one compiled; return their folder."""
    contents.write_drivers(forms.bus_design(config, MASTER), folder)
    compile_driver(folder / "driver")
    return folder / "driver"


def short_jobs() -> Program:
    """Return one long job, and short ones of all kinds behind it, some of which are refused."""
    long, short = core_programs.random_heads(TOY, 1, [TOY.max_seq_len]), core_programs.mixed(TOY, 5, 9)
    return Program(TOY, short.parameters, [*long.jobs, *short.jobs])


def real_heads(rows: int, indices=(0, 20)) -> Program:
    """Return jobs of embedded heads of each model, cut to some rows, and one without an entry among them."""
    jobs, parameters = [], {}
    for vectors in embedded_vectors():
        for index in indices:
            head = len(parameters)
            index %= len(vectors)
            parameters[head] = vectors.parameters(index, TINY)
            jobs.append(Job(head, vectors.q[index, :rows], vectors.k[index, :rows], vectors.v[index, :rows],
                            causal=vectors.causal))
    jobs.insert(1, dataclasses.replace(jobs[0], head=TINY.heads - 1))
    # A decoded token, and queries without new keys.
    last = jobs[-1]
    jobs.append(dataclasses.replace(last, q=last.q[:1], k=last.k[:1], v=last.v[:1], fresh=False))
    jobs.append(dataclasses.replace(last, q=last.q[:2], k=last.k[:0], v=last.v[:0], fresh=False, causal=False))
    return Program(TINY, parameters, jobs)


def run(program, sessions, folder, build) -> dict:
    """Run sessions one after the other in one simulation; return the drivers' answers."""
    folder.mkdir()
    program.save(folder)
    (folder / "settings.json").write_text(json.dumps({"master": dataclasses.asdict(MASTER), "sessions": {
        name: {"driver": driver, "interrupt": interrupt, "package": str(package)}
        for name, (driver, interrupt, package) in sessions.items()}}))
    model = build_axi_core(program.config, MASTER, build_folder=build)
    model.run("tests.fpga.package.driver_testbench", folder)
    assert (folder / "answers.json").exists(), (folder / "sim.log").read_text()[-3000:]
    return json.loads((folder / "answers.json").read_text())


def check(program, folder, name, answers) -> None:
    """Compare all that a driver said and returned with the golden model."""
    expected, refusals = dict(program.expected()), program.refusals()
    assert len(expected) > 3 and any(refusals)
    with np.load(folder / f"{name}.npz") as rows:
        for index, trace in expected.items():
            assert np.array_equal(rows[f"job{index}"], trace.output), (name, index)
    assert answers["open"] == "ok"
    if name.startswith("c"):
        assert answers["jobs"] == [["ok", ["done"]] if refusal is None else
                                   ["job_failed", ["done", "error", f"refused_{refusal}"]] for refusal in refusals]
        assert [answers[name] for name in ("unaligned", "full", "entry", "gone", "future", "close")] == [
            "bad_ring", "ring_full", "no_entry", "unknown_job", "unknown_job", "ok"]
        assert answers["errors"] == 1 << list(RING_REGISTERS.errors).index("job_refused")
    else:
        assert answers["jobs"] == ["ok" if refusal is None else [f"refused_{refusal}"] for refusal in refusals]
        assert answers["errors"] == ["job_refused"] and answers["counters"]["descriptors"] == len(program.jobs)
        for said, words in zip(answers["refused"][-5:], ("no job 0", "q must be int8", "values", "does not exist",
                                                         "words")):
            assert words in said
        assert all("take one first" in said for said in answers["refused"][:-5])


def run_all(program, package, folder, build) -> None:
    """Run a program with every driver, and compare."""
    answers = run(program, {name: (*session, package) for name, session in SESSIONS.items()}, folder, build)
    for name in SESSIONS:
        check(program, folder, name, answers[name])
    assert answers["linux"]["free"]


def check_compiles(folder) -> None:
    """Compile the driver of a folder as C++, and each of its headers alone; it needs nothing besides."""
    for source in folder.glob("latte*.c"):
        subprocess.run(["c++", "-Wall", "-Wextra", "-Werror", "-std=c++14", "-x", "c++", "-c", "-o", os.devnull,
                        source], check=True)
        (folder / "alone.c").write_text(f'#include "{source.stem}.h"\n')
        subprocess.run(["cc", *FLAGS, "-c", "-o", os.devnull, folder / "alone.c"], check=True)
    symbols = subprocess.run(["nm", "-u", folder / "liblatte.so"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in symbols.splitlines() if " U " in line and "@" not in line], symbols


def test_header_and_driver_compile_without_a_warning(tmp_path):
    """As C of their own, and as C++, which the bench is."""
    folder = write_drivers(tmp_path / "drivers")
    check_compiles(folder)


def test_drivers_run_jobs_of_all_kinds(tmp_path, build_folder):
    """Polled and by interrupts, in C, on PYNQ's buffers, on a u-dma-buf."""
    run_all(short_jobs(), write_drivers(tmp_path / "drivers"), tmp_path / "run", build_folder)


@pytest.mark.slow
def test_drivers_run_real_heads(tmp_path, build_folder):
    """Their first rows; a whole one runs in the bench of a package."""
    run_all(real_heads(12), write_drivers(tmp_path / "drivers", TINY), tmp_path / "run", build_folder)


def test_drivers_of_other_hardware_are_refused(tmp_path, build_folder, monkeypatch):
    """Another configuration, another version, no core at all."""
    other = write_drivers(tmp_path / "other", TOY.replace(fraction_bits=9))

    def table_of(register_name):
        def changed(*arguments):
            return [dataclasses.replace(register, fields=tuple(dataclasses.replace(field, reset=field.reset ^ 1)
                                                               for field in register.fields))
                    if register.name == register_name else register for register in register_table(*arguments)]

        monkeypatch.setattr(forms, "register_table", changed)

    table_of("VERSION")
    newer = write_drivers(tmp_path / "newer")
    table_of("ID")
    foreign = write_drivers(tmp_path / "foreign")
    expected = {"other_build": (other, "another configuration"), "other_version": (newer, "speaks version"),
                "no_core": (foreign, "no LATTE core")}
    sessions = {f"{driver}_{result}": (driver, False, package) for result, (package, _) in expected.items()
                for driver in ("c", "python")}
    answers = run(short_jobs(), sessions, tmp_path / "run", build_folder)
    for result, (_, sentence) in expected.items():
        assert answers[f"c_{result}"]["open"] == result
        assert sentence in answers[f"python_{result}"]["open"]


def test_python_driver_without_hardware(tmp_path):
    """Files stand for the devices of Linux: registers, interrupt, a u-dma-buf that is too small."""
    package = write_drivers(tmp_path / "drivers")
    (tmp_path / "uio0").write_bytes(bytes(4096))
    (tmp_path / "udmabuf0").write_bytes(bytes(4096))
    (tmp_path / "sys" / "udmabuf0").mkdir(parents=True)
    (tmp_path / "sys" / "udmabuf0" / "phys_addr").write_text("0x1f400000\n")
    (tmp_path / "sys" / "udmabuf0" / "size").write_text("4096\n")
    with driver_of(package) as driver:
        device = driver.UioDevice(str(tmp_path / "uio0"))
        device.write(0x40, 0x12345678)
        assert device.read(0x40) == 0x12345678
        assert pathlib.Path(tmp_path / "uio0").read_bytes()[0x40:0x44] == b"\x78\x56\x34\x12"
        buffer = driver.UDmaBuffer("udmabuf0", devices=tmp_path, properties=tmp_path / "sys")
        first, second = buffer.allocate((3, 8), np.uint8), buffer.allocate((100,), np.int16)
        assert (first.physical_address, second.physical_address) == (0x1F400000, 0x1F400040)
        second[:] = 7
        assert (tmp_path / "udmabuf0").read_bytes()[0x40:0x44] == b"\x07\x00\x07\x00"
        with pytest.raises(driver.LatteError, match="no 4096 bytes"):
            buffer.allocate((4096,), np.uint8)
        second.freebuffer()
        first.freebuffer()
        first.freebuffer()
        assert buffer.allocate((4096,), np.uint8).physical_address == 0x1F400000
        with pytest.raises(driver.LatteError, match="no LATTE core"):
            driver.Latte(device, buffer.allocate)
