"""Branches and toggles of a component whose branches are known, and of the netlist of a core."""

import importlib.util
import json
import pathlib
import re

import pytest
from amaranth import Module
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from latte.golden.config import preset
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.engines import create_core
from latte.sim.block_testbench import Expect, Offer, run_block
from latte.sim.coverage import branches
from latte.sim.coverage.branches import Branch, Probed, text_of, written_branches
from latte.sim.coverage.instrument import Counts, Instrument, Reader, Toggles
from latte.sim.coverage.netlist import Net, find_nets, mark_nets, marked_lines
from latte.sim.memory_model import MemoryModel
from latte.sim.runner import build_model
from tests.sim import relay_testbench

SOURCE = pathlib.Path(__file__).parent / "toy.py"
FILE = "rtl/toy.py"


@pytest.fixture
def hardware(tmp_path, monkeypatch):
    """Return a function that loads a module of the tests as a file of the hardware."""
    def load(source):
        path = tmp_path / "rtl" / source.name
        path.parent.mkdir()
        path.write_text(source.read_text())
        monkeypatch.setattr(branches, "_ROOT", tmp_path)
        spec = importlib.util.spec_from_file_location(source.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def toy(hardware):
    """Return the module of the toy."""
    return hardware(SOURCE)


def line(text: str, nth: int = 0) -> int:
    """Return the number of a line that begins so."""
    return [number for number, found in enumerate(SOURCE.read_text().splitlines(), 1)
            if found.strip().startswith(text)][nth]


def test_branches_and_toggles_of_a_run(toy, tmp_path, build_folder):
    """Each arm as often as it begins, the way past arms where none is written; no bit that cannot move has moved."""
    folder = tmp_path / "run"
    problems = run_block(toy.Toy(), "covered-toy", folder, {"a": Offer([0, 1, 2, 0])},
                         {"o": Expect([0, 2, 4, 3])}, build_folder=build_folder, instrument=Instrument())
    assert not problems, problems
    counts = Reader(build_model(toy.Toy(), "covered-toy", build_folder=build_folder, instrument=Instrument())
                    ).read(folder)
    valid, state = line("with m.If(self.a_valid)"), line("with m.State")
    never = line("with m.If(self.a_valid & (self.a == 3))")
    taken = {(branch.line, branch.way): count for branch, count in counts.branches.items()}
    assert all(branch.file == FILE for branch in counts.branches)
    # Twice: a run of a block is broken off by a reset, and begun anew.
    assert taken == {
        (valid, "arm"): 2, (valid, "otherwise"): 3,  # runs of pushes, between times without
        (line("with m.Case(0)"), "arm"): 4, (line("with m.Case(1, 2)"), "arm"): 2, (line("with m.Case(3)"), "arm"): 0,
        (state, "state"): 2, (line("with m.If(self.a_valid)", 1), "arm"): 2,
        (line("with m.If(self.a_valid)", 1), "otherwise"): 2,
        (line("with m.State", 1), "state"): 2, (line("with m.State", 2), "state"): 0,
        (never, "arm"): 0, (line("with m.Else"), "arm"): 1,
        (line("with m.If(self.step)"), "arm"): 2, (line("with m.If(self.step)"), "otherwise"): 3}
    toggles = {net.name: seen for net, seen in counts.toggles.items()}
    assert toggles["count"] == Toggles(3, 0b111, 0b111)  # to 4, and back by the reset
    assert toggles["a"].missing == (0, 0) and toggles["stuck"] == Toggles(2, 0b01, 0b01)
    assert {"a", "a_valid", "o", "o_valid", "above", "stuck", "fsm_state", "count", "step"} == set(toggles)


def test_an_arm_is_not_taken_by_what_says_so(toy):
    """The mirrors of one domain's statements are not taken for statements of the next one."""
    text = rtlil.convert(Probed(toy.Late()), name="top", emit_src=False)
    said = re.findall(r"assign \\(branch_taken\S*) \[0\] 1'1", text)
    assert len(said) == len(set(said)) == 2


def test_a_compiled_clock_loop_counts_the_same(hardware, tmp_path, build_folder):
    """Of a component whose first statement is no combinational one; the arms of faults that are not asked for are 0."""
    relay = hardware(pathlib.Path(relay_testbench.__file__)).Relay
    parts = [{"i": [1, 5, 1 << 69], "other_i": [3]}, {"i": [2], "other_i": []}]
    settings = {"parts": parts, "stall": "both", "seed": 3, "fault": None, "patience": 2000}
    found = []
    for compiled in (False, True):
        run = tmp_path / f"loop{compiled}"
        run.mkdir()
        (run / "settings.json").write_text(json.dumps(settings))
        model = build_model(relay(), "covered-relay", build_folder=build_folder, clock_loop=compiled,
                            instrument=Instrument())
        model.run("tests.sim.relay_testbench", run, environment={"LATTE_RUN": str(run)})
        found.append(Reader(model).read(run))
    assert found[0] == found[1]
    never = {text_of(branch) for branch, count in found[0].branches.items() if not count}
    assert never == {"with m.If(getattr(self, name)):", 'with m.If(waits & faults["changes"]):',
                     'with m.If(waits & faults["withdraws"]):'}


def test_signals_of_a_netlist(toy):
    """A part's ports are counted in the part; names that were made up, and the clock, are not."""
    text = rtlil.convert(Probed(toy.Toy()), name="top", emit_src=True)
    nets = find_nets(text)
    assert {net.name for net in nets.values()} == {"a", "a_valid", "o", "o_valid", "above", "stuck", "fsm_state",
                                                   "step", "count"}
    assert nets["top", "stuck"] == Net(FILE, "stuck", f"{FILE}:{line('stuck = ')}")


class Beside(wiring.Component):
    """A queue, and a memory that is made of queues, too."""

    full: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = StreamQueue(2, 4)
        m.submodules.memory = memory = MemoryModel(MasterParameters(data_bits=64), 16)
        m.d.comb += self.full.eq(memory.filled)
        return m


def test_a_simulated_memory_is_not_counted():
    """Neither its own branches and signals nor those of the hardware's queues in it."""
    probed = Probed(Beside())
    text = rtlil.convert(probed, name="top", emit_src=True)
    assert "top.memory.reads" in text and {module for module, _ in find_nets(text)} == {"top.queue"}
    assert len(probed.probes) == 1 and {branch.file for branch in probed.probes["branches_0"]} == {
        "rtl/common/stream_queue.py"}


def test_lines_that_were_marked_are_found_again():
    verilog = ("module \\top.part (clk);\n  input clk;\n  reg [2:0] count = 3'h0;\n  wire \\a.b ;\n  assign x = y;\n"
               "endmodule\n")
    marked = mark_nets(verilog, {("top.part", "count"), ("top", "clk")})
    assert marked_lines(marked) == {4: ("top.part", "count")}
    assert re.sub(r"/\*.*?\*/", "", marked).split() == verilog.split()


def test_branches_are_those_of_the_text():
    """Every arm that a core has is one that is written, and the files that it is made of have few that it lacks."""
    probed = Probed(create_core(preset("tiny", max_seq_len=32, heads=4, head_dim=16)))
    rtlil.convert(probed)
    known = {branch for some in probed.probes.values() for branch in some}
    arms, written = {branch for branch in known if not branch.otherwise}, set(written_branches())
    assert len(arms) > 100 and arms <= written, arms - written
    assert all(".If(" in text_of(branch) or ".Switch(" in text_of(branch) for branch in known - arms)
    serial = {branch for branch in written if branch.file.startswith("rtl/serial/")}
    assert len(arms & serial) >= 0.9 * len(serial), serial - arms


def test_what_several_runs_reached_is_added():
    one, other, net = Branch(FILE, 3), Branch(FILE, 5, "otherwise"), Net(FILE, "x", "")
    counts = Counts({one: 2, other: 0}, {net: Toggles(3, 0b001, 0b100)})
    counts.add(Counts({other: 4}, {net: Toggles(5, 0b10000, 0b001), Net(FILE, "y", ""): Toggles(1, 0, 1)}))
    assert counts.branches == {one: 2, other: 4}
    assert counts.toggles[net] == Toggles(5, 0b10001, 0b101) and counts.toggles[net].missing == (0b01110, 0b11010)
    assert counts.toggles[Net(FILE, "y", "")] == Toggles(1, 0, 1)
