"""Every proof of the catalogue holds, and none is void; the slow ones run with the slow tests."""

import importlib
import inspect
import json
import pkgutil

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner

import latte.fpga.link
import latte.rtl
from latte.fpga.cli import cli
from latte.golden.errors import LatteError
from latte.sim.formal import catalogue, prove
from latte.sim.formal.catalogue import PROOFS, choose_proofs
from latte.sim.formal.prove import check_solver
from latte.sim.formal.setting import Proof, Setting

QUICK = {"AxiLiteSlave-writes", "AxiLiteSlave-reads", "WriteEngine-writes", "StreamQueue-queue",
         "RunningMaximum-maximum", "PacketTransmitter-transmits", "PacketReceiver-receives", "PacketSender-sends",
         "WishboneSlave-cycles", "SurvivorMerge-survivors", "EntryReader-entries", "SequenceRecord-keeps",
         "CandidateFilter-candidates"}
"""A few seconds each: what every test run shows."""


@pytest.mark.parametrize("proof", [
    pytest.param(proof, marks=[] if proof.name in QUICK else pytest.mark.slow) for proof in PROOFS],
    ids=lambda proof: proof.name)
def test_proof(proof, tmp_path):
    outcome = prove.prove(proof, tmp_path)
    assert outcome.passed, (outcome.problems, [(verdict.property.name, verdict.result) for verdict in outcome.verdicts])


def test_names_are_unique():
    names = [proof.full_name(claimed) for proof in PROOFS for claimed in proof.properties()]
    assert len(set(names)) == len(names) >= 25
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)
    assert {proof.name for proof in PROOFS} >= QUICK


def test_every_block_is_proved_or_said_not_to_be():
    blocks = {
        block.__name__ for layer in (latte.rtl, latte.fpga.link)
        for module in pkgutil.walk_packages(layer.__path__, f"{layer.__name__}.")
        for block in vars(importlib.import_module(module.name)).values()
        if inspect.isclass(block) and issubclass(block, wiring.Component) and block.__module__ == module.name
        and not block.__name__.startswith("_")}
    proved = {proof.block for proof in PROOFS}
    assert proved | set(catalogue.NOT_PROVED) == blocks and not proved & set(catalogue.NOT_PROVED)


class Counter(wiring.Component):
    """Counts up to 5, which nobody sees before the sixth cycle."""

    step: In(1)
    number: Out(3)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.step & (self.number != 5)):
            m.d.sync += self.number.eq(self.number + 1)
        return m


def stays_small(s: Setting) -> None:
    dut = Counter()
    s.add(dut)
    s.claim("small", "it stays below 5", dut.number < 5, when=dut.step)


def is_never_seven(s: Setting) -> None:
    dut = Counter()
    s.add(dut)
    s.claim("not_seven", "a state that is never reached, and from which 7 follows", dut.number != 7)


def says_nothing(s: Setting) -> None:
    dut = Counter()
    s.add(dut)
    s.assume("still", ~dut.step)
    s.claim("grows", "of what never is, anything holds", dut.number == 3, when=dut.step)


def contradicts_itself(s: Setting) -> None:
    s.add(Counter())
    s.assume("nothing", Signal(name="zero"))
    s.claim("anything", "without any case", Signal(name="never"))


class Chain(wiring.Component):
    """A counter that steps when another has come to 5."""

    number: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Counter()
        m.submodules.second = second = Counter()
        m.d.comb += [first.step.eq(1), second.step.eq(first.number == 5), self.number.eq(second.number)]
        return m


def steps_in_time(s: Setting) -> None:
    dut = Chain()
    s.add(dut)
    s.claim("late", "the second counts behind the first", dut.number == 0)


def steps_at_will(s: Setting) -> None:
    dut = Chain()
    s.cut(s.add(dut), "first")
    s.reset_once()
    s.claim("late", "without the first, the second counts when it likes", dut.number == 0)


@pytest.mark.parametrize(("describe", "mode", "depth", "result"), [
    (steps_in_time, "bounded", 6, "proved"), (steps_at_will, "bounded", 6, "fails"),
    (stays_small, "bounded", 6, "proved"), (stays_small, "bounded", 7, "fails"), (stays_small, "induction", 2, "fails"),
    (is_never_seven, "induction", 1, "not proved"), (says_nothing, "bounded", 6, "void"),
    (contradicts_itself, "bounded", 4, "void")])
def test_results(describe, mode, depth, result, tmp_path):
    outcome = prove.prove(Proof("Counter", describe, mode, depth, 8, ""), tmp_path)
    [verdict] = outcome.verdicts
    assert verdict.result == result and outcome.passed == verdict.proved == (result == "proved")
    trace = tmp_path / f"Counter-{describe.__name__}" / "trace0.vcd"
    assert trace.exists() == (result == "fails")
    if trace.exists():
        assert "number" in trace.read_text() and str(trace) in outcome.problems[0]


def test_claims_of_one_case_are_told_apart_where_parts_are_cut_out(tmp_path):
    def counts(s: Setting) -> None:
        dut = Chain()
        s.cut(s.add(dut), "first")
        s.claim("small", "it stays below 6", dut.number < 6, when=dut.number != 0)
        s.claim("smaller", "and so it is below 7", dut.number < 7, when=dut.number != 0)

    verdicts = prove.prove(Proof("Counter", counts, "bounded", 6, 8, ""), tmp_path).verdicts
    assert [verdict.property.name for verdict in verdicts if verdict.proved] == ["small", "smaller"]


def test_command(tmp_path, monkeypatch):
    proofs = (Proof("Counter", stays_small, "bounded", 6, 6, ""),)
    monkeypatch.setattr(catalogue, "PROOFS", proofs)
    done = CliRunner().invoke(cli, ["formal", "--build", str(tmp_path)], catch_exceptions=False)
    written = json.loads((tmp_path / "formal.json").read_text())
    assert done.exit_code == 0 and written["pass"] and "1 of 1 properties" in done.output
    assert written["results"][0] == written["results"][0] | {
        "name": "Counter.small", "unit": "pass", "value": 1, "mode": "bounded", "depth": 6, "witness": 1}
    monkeypatch.setattr(catalogue, "PROOFS", (Proof("Counter", stays_small, "bounded", 8, 8, ""),))
    done = CliRunner().invoke(cli, ["formal", "--build", str(tmp_path)], catch_exceptions=False)
    written = json.loads((tmp_path / "formal.json").read_text())
    assert done.exit_code == 1 and not written["pass"] and written["results"][0]["value"] == 0
    assert "trace0.vcd" in done.output


def test_bad_input(monkeypatch):
    with pytest.raises(LatteError, match="'AxiCore'; choose one of AxiLiteSlave"):
        choose_proofs(("AxiCore",))
    monkeypatch.setattr(prove, "_SOLVER", "no-such-solver")
    with pytest.raises(LatteError, match=r"pip install .*\[formal\]"):
        check_solver()
