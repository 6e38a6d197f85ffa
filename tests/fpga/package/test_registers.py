"""The compiled SystemRDL against the table it is made of, and against the hardware; what the exporters make of it."""

import dataclasses
import json
import runpy
import subprocess

import pytest
from click.testing import CliRunner

from latte.fpga.cli import cli
from latte.fpga.package import contents
from latte.fpga.package.exports import compile_rdl
from latte.fpga.package.forms import bus_design, cache_design
from latte.fpga.package.system_rdl import DESCRIPTOR_MAP, REGISTER_MAP, system_rdl
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.sequence_state import StateFormat
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DESCRIPTOR_FIELDS, descriptor_layout
from latte.rtl.axi.register_types import Access
from latte.rtl.axi.registers import register_table
from latte.rtl.memory.axi_cache_core import rows_master_of
from latte.rtl.memory.cache_descriptors import CACHE_FIELDS
from latte.rtl.memory.cache_registers import cache_register_table
from latte.sim.axi_run import build_axi_core
from tests.cocotb import cached, test_axi_stream_core
from tests.cocotb.test_axi_core import BUILDS
from tests.fpga.package.described import described

pytest.importorskip("systemrdl", reason="the extra package is not installed")
pytest.importorskip("cocotbext.axi")


STREAM_BUILDS = test_axi_stream_core.BUILDS


@pytest.fixture(scope="module")
def drivers(tmp_path_factory):
    """Return the folder of the toy build's drivers and SystemRDL."""
    folder = tmp_path_factory.mktemp("toy") / "package"
    contents.write_drivers(bus_design(*BUILDS["toy"]), folder)
    return folder


def compiled(folder, name):
    return compile_rdl(folder / "registers" / "latte_axi.rdl")[name]


@pytest.mark.parametrize(("config", "parameters"), [BUILDS["toy"], BUILDS["uneven"], STREAM_BUILDS["serial"]],
                         ids=["toy", "uneven", "streams"])
def test_compiled_registers_are_the_table(config, parameters, tmp_path):
    table = register_table(config, parameters)
    (tmp_path / "registers.rdl").write_text(system_rdl(table))
    registers = described(compile_rdl(tmp_path / "registers.rdl")[REGISTER_MAP])
    assert [(r["name"], r["offset"]) for r in registers] == [(r.name, r.offset) for r in table]
    clears = {Access.WRITE_1_TO_CLEAR}
    silent = {Access.WRITE_ONLY, Access.WRITE_1_TO_PULSE}
    for register, row in zip(registers, table, strict=True):
        assert register["fields"] == [
            {"name": field.name, "low": field.low, "width": field.width, "reset": field.reset,
             "readable": field.access not in silent, "writable": field.access.writable,
             "clears": field.access in clears, "keeps": field.access is Access.READ_WRITE} for field in row.fields]


def test_compiled_descriptor_is_the_hardwares(drivers):
    node = compiled(drivers, DESCRIPTOR_MAP)
    assert node.size == DESCRIPTOR_BYTES
    layout = descriptor_layout()
    places = {field.inst_name: (8 * register.address_offset + field.low, field.width)
              for register in node.registers() for field in register.fields()}
    for field in DESCRIPTOR_FIELDS:
        if field.name != "status":
            assert places[field.name] == (layout[field.name].offset, layout[field.name].width)


def test_registers_and_descriptors_with_keys_in_memory(tmp_path):
    """What ``latte emit --registers`` writes of them is the tables; the C headers compile."""
    folder, build = tmp_path / "registers", MemoryBuild(bus_bytes=8, slots=3)
    result = CliRunner().invoke(cli, ["emit", "--top", "axi-cache", "--registers", str(folder), "--slots", "3",
                                      "--max-seq-len", str(build.core.max_seq_len)])
    assert result.exit_code == 0, result.output
    maps = compile_rdl(folder / "registers" / "latte_axi_cache.rdl", record=True)
    table = cache_register_table(build, rows_master_of(build))
    assert [(r["name"], r["offset"], [field["reset"] for field in r["fields"]])
            for r in described(maps[REGISTER_MAP])] == [
        (r.name, r.offset, [field.reset for field in r.fields]) for r in table]
    places = {field.inst_name: (8 * register.address_offset + field.low, field.width)
              for register in maps[DESCRIPTOR_MAP].registers() for field in register.fields()}
    assert {field.name: (field.offset, field.width) for field in CACHE_FIELDS if field.name != "status"}.items() <= (
        places.items())
    tables = runpy.run_path(str(folder / "driver" / "latte_registers.py"))
    assert tables["TYPE_PREFILL"] == 4 and list(tables["STATUS_BITS"])[-1] == "write_failed"
    assert tables["CONSTANTS"]["number"] == 3 and "TYPE_JOB" not in tables
    (tmp_path / "use.c").write_text('#include "latte_registers.h"\n#include "latte_descriptor.h"\n'
                                    '#include "latte_types.h"\n#include "latte_record.h"\n'
                                    "char size[sizeof(latte_descriptor_t) == 64 && LATTE_TYPE_DECODE == 3 ? 1 : -1];\n")
    subprocess.run(["cc", "-std=gnu99", "-Wall", "-Werror", "-c", "use.c", f"-I{folder / 'driver'}"], cwd=tmp_path,
                   check=True)


@pytest.mark.parametrize("build", cached.BUILDS, ids=lambda build: build.core.name)
def test_a_record_is_what_the_golden_model_makes_of_it(build, tmp_path):
    """Its fields in the tables; all else of an empty sequence's is 0."""
    contents.write_registers(cache_design(build), tmp_path / "registers")
    tables = runpy.run_path(str(tmp_path / "registers" / "driver" / "latte_registers.py"))
    records, table = StateFormat(build), 0x1234_5678_9ABC_DEF0
    fields = {"live": 1, "generation": 0xBEEF, "length": 0, "table_address": table}
    word = sum(fields[name] << offset for name, (offset, _) in tables["RECORD"].items())
    assert word.to_bytes(records.state_bytes, "little") == records.encode(records.empty(0xBEEF, table)).tobytes()
    state = dataclasses.replace(records.empty(1, 0), length=0xABCDE)
    offset, width = tables["RECORD"]["length"]
    assert int.from_bytes(records.encode(state).tobytes(), "little") >> offset & (1 << width) - 1 == 0xABCDE


def test_every_register_over_the_bus(drivers, tmp_path, build_folder):
    """Reset values, and what a write does, as the compiled SystemRDL says; words between registers are refused."""
    registers = described(compiled(drivers, REGISTER_MAP))
    (tmp_path / "settings.json").write_text(json.dumps(registers))
    model = build_axi_core(*BUILDS["toy"], build_folder=build_folder)
    model.run("tests.fpga.package.register_testbench", tmp_path)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["differences"] == []
    assert answers["accesses"] > 4 * len(registers)


@pytest.mark.slow
def test_every_register_of_streams_over_the_bus(tmp_path, build_folder):
    contents.write_drivers(bus_design(*STREAM_BUILDS["serial"]), tmp_path / "package")
    node = compile_rdl(tmp_path / "package" / "registers" / "latte_axi_stream.rdl", descriptors=False)[REGISTER_MAP]
    registers = described(node)
    (tmp_path / "settings.json").write_text(json.dumps(registers))
    model = build_axi_core(*STREAM_BUILDS["serial"], build_folder=build_folder)
    model.run("tests.fpga.package.register_testbench", tmp_path)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["differences"] == []
    assert answers["accesses"] > 4 * len(registers)


def test_a_wrong_register_is_seen(drivers, tmp_path, build_folder):
    """The comparison sees a wrong reset, a wrong access and a wrong place."""
    registers = described(compiled(drivers, REGISTER_MAP))
    by_name = {register["name"]: register for register in registers}
    by_name["SHAPE"]["fields"][0]["reset"] += 1
    by_name["RING_BASE_LOW"]["fields"][0] |= {"writable": False, "keeps": False}
    by_name["RING_TAIL"]["offset"] += 0x100
    (tmp_path / "settings.json").write_text(json.dumps(registers))
    model = build_axi_core(*BUILDS["toy"], build_folder=build_folder)
    model.run("tests.fpga.package.register_testbench", tmp_path)
    found = " ".join(json.loads((tmp_path / "answers.json").read_text())["differences"])
    for text in ("SHAPE after reset", "write of RING_BASE_LOW", "RING_TAIL after reset", "0x68"):
        assert text in found
