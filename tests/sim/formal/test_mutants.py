"""A block that is broken is found by the property that says so."""

import dataclasses
import importlib

import pytest

from latte.sim.formal.catalogue import PROOFS
from latte.sim.formal.prove import prove
from tests.sim.formal.broken import break_source
from tests.sim.formal.mutants import MUTANTS

QUICK = {"AxiLiteSlave.b_in_time", "RunningMaximum.maximum"}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MUTANTS])
def test_mutant_is_found(name, monkeypatch, tmp_path):
    proof_name, block, old, new = MUTANTS[name]
    claimed = name.partition(".")[2]
    [proof] = [proof for proof in PROOFS if proof.name == proof_name]
    described = importlib.import_module(getattr(proof.describe, "func", proof.describe).__module__)
    monkeypatch.setattr(described, block.__name__, break_source(block, old, new))
    for steps in (proof.depth, proof.steps):  # some fail only behind another property, and few steps are soon searched
        outcome = prove(dataclasses.replace(proof, steps=steps), tmp_path)
        failed = [verdict.property.name for verdict in outcome.verdicts if verdict.result == "fails"]
        if claimed in failed:
            break
    assert claimed in failed, outcome.problems
    assert (tmp_path / proof.name / "trace0.vcd").exists()


def test_each_text_stands_once():
    for _, block, old, new in MUTANTS.values():
        break_source(block, old, new)
