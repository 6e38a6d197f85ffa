"""``latte interface``: figures, tables and the bar; what stands for a core is not left out by synthesis."""

import json
import types

import pytest
from amaranth import Value
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator
from click.testing import CliRunner

from latte.fpga.benchmark import interface, interface_command
from latte.fpga.benchmark.interface import TABLES, InterfaceCycles
from latte.fpga.synthesis.core_stub import CoreStub
from latte.fpga.synthesis.yosys import Usage
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.vectors import embedded_vectors
from latte.rtl.axi.bus import MasterParameters

BLOCKS = {"runner": Usage(lut=1500, ff=900, lut4_equivalents=1500), "bank": Usage(ff=400, lut4_equivalents=700)}


def test_every_input_of_a_stub_reaches_every_output():
    stub = CoreStub(preset("tiny", max_seq_len=16))
    outputs = [Value.cast(value) for _, member, value in stub.signature.flatten(stub) if member.flow is Out]
    seen = [0] * len(outputs)

    async def bench(ctx):
        ctx.set(stub.k.payload[0], 1)
        await ctx.tick()
        ctx.set(stub.k.payload[0], 0)
        for _ in range(1000):
            for n, output in enumerate(outputs):
                seen[n] |= ctx.get(output)
            await ctx.tick()

    simulator = Simulator(stub)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [(1 << len(output)) - 1 for output in outputs]


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return a function that runs the command with made-up measurements of so many cycles."""
    def run(through, *options):
        monkeypatch.setattr(interface_command, "interface_blocks", lambda *arguments: BLOCKS)
        monkeypatch.setattr(interface_command, "measure_cycles", lambda *arguments: [
            InterfaceCycles("deit-tiny", 36, through, 1000, 70, 50, 0.05)])
        return CliRunner().invoke(interface_command.interface_command, ["--build", str(tmp_path), *options])
    return run


@pytest.mark.parametrize(("through", "passed"), [(1029, True), (1031, False)])
def test_bar(command, through, passed, tmp_path):
    result = command(through)
    assert result.exit_code == 1 - passed, result.output
    assert ("met" in result.output) == passed and ("MISSED" in result.output) == (not passed)
    record = json.loads((tmp_path / "interface.json").read_text())
    assert record["pass"] == passed
    values = {figure["name"]: figure["value"] for figure in record["results"]}
    assert values["small.axi64.deit-tiny.through"] == through and values["small.axi64.ecp5.all.ff"] == 1300


@pytest.mark.parametrize("options", [["--sample", "2"], ["--max-seq-len", "512"]])
def test_a_baseline_is_of_all_heads_and_a_preset(command, options):
    result = command(1000, "--rebase", *options)
    assert isinstance(result.exception, LatteError) and "leave out --sample" in str(result.exception)


def test_what_no_engine_holds_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(interface_command, "interface_blocks", lambda *arguments: pytest.fail("synthesised"))
    options = ["--build", str(tmp_path), "--max-seq-len", "5000"]
    result = CliRunner().invoke(interface_command.interface_command, options)
    assert isinstance(result.exception, LatteError) and "keys on chip" in str(result.exception)


def test_tables():
    from latte.fpga.synthesis.targets import find_target

    cycles = [InterfaceCycles("a", 3, 110, 100, 30, 20, 0.1), InterfaceCycles("b", 2, 50, 60, 9, 8, 0)]
    measured = interface.figures(preset("small"), MasterParameters(data_bits=128), find_target("ecp5"), cycles, BLOCKS)
    baseline = {figure["name"]: figure["value"] for figure in measured}
    rows = TABLES["interface-cycles"](baseline).splitlines()[2:]
    assert rows == ["| `small`, 128 bits | a | 100 | 110 | +10.00 | +10.00 | 20 | 30 |",
                    "| `small`, 128 bits | b | 60 | 50 | -16.67 | +0.00 | 8 | 9 |",
                    "| `small`, 128 bits | all | 160 | 160 | +0.00 |  |  |  |"]
    rows = TABLES["interface-areas"](baseline).splitlines()[2:]
    assert rows[0] == "| `small`, 128 bits | ecp5 | all | 2200 | 1300 | 0 |" and len(rows) == 3
    assert TABLES["interface-cycles"]({}).count("\n") == 1


def test_heads_beside_each_other(monkeypatch, tmp_path):
    """The first head is left out of what loses most: it has nothing to hide its loading under."""
    vectors = next(iter(embedded_vectors())).select([0, 1, 2])
    cycles = {"axi": [500, 110, 105], "core": [100, 100, 100]}

    def simulate(sets, model, config, folder, *, processes, run):
        assert processes == 1
        heads = [types.SimpleNamespace(name="head", problems=problems, cycles=of)
                 for of in cycles[model][:len(sets[0])]]
        return heads, [types.SimpleNamespace(elapsed=sum(head.cycles for head in heads))]

    problems = []
    monkeypatch.setattr(interface, "simulate", simulate)
    monkeypatch.setattr(interface, "build_axi_core", lambda *arguments, **options: "axi")
    monkeypatch.setattr(interface, "build_core", lambda *arguments, **options: "core")
    found, = interface.measure_cycles([vectors], preset("small"), MasterParameters(), tmp_path)
    assert found == InterfaceCycles("deit-tiny", 3, 715, 300, 500, 100, pytest.approx(0.1))
    problems.append("estimate: 1 of 2 differ")
    with pytest.raises(LatteError, match="differs from the golden model: head: estimate"):
        interface.measure_cycles([vectors], preset("small"), MasterParameters(), tmp_path)
