"""What is judged, what is kept, and what a run says: with mutants whose outcome is given."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from latte.golden.errors import LatteError
from latte.golden.workers import Workers
from latte.sim.mutation import campaign, report
from latte.sim.mutation.campaign import run_campaign
from latte.sim.mutation.cases import Case, Netlist
from latte.sim.mutation.catalogue import BLOCKS, NOT_JUDGED, Block, choose_blocks
from latte.sim.mutation.commands import mutation_command
from latte.sim.mutation.explanations import UNEXPLAINED, Explanation, explain, load_explanations, source_line
from latte.sim.mutation.mutants import Mutant

ROOT = pathlib.Path(__file__).parents[3]
SOURCE = "rtl/wide/softmax.py"
BLOCK = Block(SOURCE, tests=("tests/cocotb/test_softmax.py",))


def netlist_of(name: str, cells: int, cases: int = 1) -> Netlist:
    """Return a netlist with a component of that many cells, and cases."""
    cell = f'  attribute \\src "{SOURCE}:84"\n  cell $not $1\n  end\n'
    return Netlist(name, f"module \\harness.dut\n{cell * cells}end\n", {}, {}, (Case(name, {}),) * cases)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a campaign of which every fourth mutant survives, and what was examined in it."""
    examined = []

    def list_mutants(netlist, wanted, seed):
        return "flat", {source: [Mutant("inv", f"$not{seed}", "Y", bit, -1, "", f"{source}:84") for bit in range(count)]
                        for source, count in wanted.items()}

    def examine(netlist, flat, some, build_folder, survive):
        examined.append((netlist.name, len(some)) + ("proofs alone",) * survive)
        return [("one", "o: item 0 differs", None) if one.bit % 4 else (None, None, None) for one in some]

    monkeypatch.setattr(campaign, "list_mutants", list_mutants)
    monkeypatch.setattr(campaign, "examine", examine)

    def start(count, *netlists, seed=0):
        examined.clear()
        told = []
        with Workers(1) as workers:
            outcomes = run_campaign([BLOCK], {BLOCK.tests[0]: netlists}, count, seed, tmp_path, workers,
                                    begin=lambda total: told.append(total), done=lambda more: told.append(-more))
        assert sum(told) == 0, "as many become known as there are"
        return outcomes, list(examined)
    return start


def test_a_sample_is_of_the_largest_build(run):
    outcomes, examined = run(40, netlist_of("small", 2), netlist_of("large", 9))
    assert examined == [("large", 40)] and len(outcomes) == 40
    assert {one.netlist for one in outcomes} == {"large"}


def test_a_sample_is_of_the_build_with_the_most_cases(run):
    _, examined = run(4, netlist_of("small", 2, 3), netlist_of("large", 9), netlist_of("middle", 3, 3))
    assert examined == [("middle", 4)]


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_builds_of_one_size_a_sample_is_of_the_first_by_name(names, run):
    _, examined = run(4, *(netlist_of(name, 2) for name in names))
    assert examined == [("a", 4)]


def test_all_are_of_every_build(monkeypatch, run):
    monkeypatch.setattr(campaign, "ALL", 40)
    _, examined = run(40, netlist_of("small", 2), netlist_of("large", 9))
    assert sorted(examined) == [("large", 20), ("small", 20)]


def test_a_run_goes_on_where_one_ended(run):
    first, _ = run(8, netlist_of("one", 2))
    again, examined = run(8, netlist_of("one", 2))
    assert examined == [] and again == first
    more, examined = run(12, netlist_of("one", 2))
    assert examined == [("one", 4)] and more[:8] == first


def test_other_hardware_begins_anew(run):
    run(8, netlist_of("one", 2))
    assert run(8, netlist_of("one", 3))[1] == [("one", 8)]
    assert run(8, netlist_of("one", 3), seed=1)[1] == [("one", 8)]


def test_another_proof_is_tried_on_survivors_alone(monkeypatch, run):
    run(8, netlist_of("one", 2))
    monkeypatch.setattr("latte.sim.mutation.equivalence.RECIPE", "another")
    assert run(8, netlist_of("one", 2))[1] == [("one", 2, "proofs alone")]
    assert run(8, netlist_of("one", 2))[1] == []


def test_scores(run):
    outcomes, _ = run(8, netlist_of("one", 2))
    [score] = report.count_scores([BLOCK], outcomes)
    assert (score.mutants, score.equivalent, score.killed, score.survived, score.score) == (8, 0, 6, 2, 0.75)
    assert [row["place"] for row in report.survivor_rows(outcomes)] == [f"{SOURCE}:84"] * 2


def test_a_block_that_is_in_no_netlist_of_its_tests_is_told(run):
    with pytest.raises(LatteError, match="rtl/wide/softmax.py is in no netlist of test_softmax"):
        run(8)


def test_explanations_are_of_lines_bits_and_modes(run):
    outcomes, _ = run(1, netlist_of("one", 2))
    line = source_line(f"{SOURCE}:84")
    assert line and line in (ROOT / SOURCE).read_text()
    for fields, holds in [({}, True), ({"line": line[3:]}, True), ({"line": "no such line"}, False),
                          ({"bit": "bit 0 of port Y"}, True), ({"bit": "port A"}, False),
                          ({"modes": ("inv",)}, True), ({"modes": ("const0",)}, False)]:
        assert explain(outcomes[0], [Explanation("softmax", "because", **fields)]) == (
            "because" if holds else UNEXPLAINED), fields
    assert explain(outcomes[0], [Explanation("normalizer", "because")]) == UNEXPLAINED


@pytest.mark.parametrize("text", [
    "[[survivor]]\nblock = 'a'", "[[survivor]]\nblock = 'a'\nwhy = 'b'\nlines = 'c'", "["])
def test_wrong_explanations_are_refused(text, tmp_path):
    (tmp_path / "survivors.toml").write_text(text)
    with pytest.raises(LatteError, match="survivors.toml: not explanations of survivors"):
        load_explanations(tmp_path / "survivors.toml")


def test_explanations_are_of_blocks_that_are_judged():
    assert {one.block for one in load_explanations()} <= {block.name for block in BLOCKS}


def test_every_file_with_hardware_is_judged_or_says_why_not():
    described = {str(path.relative_to(ROOT / "rtl").with_suffix("")) for path in (ROOT / "rtl").rglob("*.py")
                 if "def elaborate" in path.read_text()}
    judged = {block.source.removeprefix("rtl/").removesuffix(".py") for block in BLOCKS}
    assert judged - {"common/core"} | set(NOT_JUDGED) == described and not judged & set(NOT_JUDGED)
    assert all((ROOT / test).exists() for block in BLOCKS for test in block.tests)


def test_names():
    assert [block.source for block in choose_blocks(("softmax",))] == [SOURCE]
    assert len({block.name for block in BLOCKS}) == len(BLOCKS)
    with pytest.raises(LatteError, match="no mutants of a block 'soft'; choose one of stream_queue"):
        choose_blocks(("soft",))


@pytest.mark.parametrize(("options", "says"), [
    (["--mutants", "5", "--all"], "--mutants and --all both say how many"),
    (["--block", "nothing"], "there are no mutants of a block 'nothing'")])
def test_what_the_command_refuses(options, says, tmp_path):
    result = CliRunner().invoke(mutation_command, [*options, "--build", str(tmp_path)])
    assert isinstance(result.exception, LatteError) and says in str(result.exception)


def test_without_a_checkout_there_are_no_tests(monkeypatch, tmp_path):
    (tmp_path / "latte" / "sim").mkdir(parents=True)
    monkeypatch.setattr("latte.sim.__file__", str(tmp_path / "latte" / "sim" / "__init__.py"))
    with pytest.raises(LatteError, match="runs the tests of a checkout, and there are none beside"):
        campaign.checkout()


def test_what_the_command_writes(monkeypatch, run, tmp_path):
    monkeypatch.setattr("latte.sim.mutation.campaign.collect_netlists",
                        lambda blocks, build_folder, progress: {BLOCK.tests[0]: [netlist_of("one", 2)]})
    result = CliRunner().invoke(mutation_command, ["--block", "softmax", "--mutants", "8", "--processes", "1",
                                                   "--build", str(tmp_path)])
    assert result.exit_code == 1, result.output
    assert "75.0 %" in result.output and "8 mutants of 1 blocks, 2 survive" in result.output
    written = json.loads((tmp_path / "mutation.json").read_text())
    [figure] = written["results"]
    assert (figure["name"], figure["value"], figure["survived"]) == ("mutation.softmax.score", 0.75, 2)
    assert not written["pass"] and len(written["survivors"]) == 2


def test_a_baseline_keeps_the_blocks_that_were_not_judged(monkeypatch, run, tmp_path):
    document = tmp_path / "README.md"
    document.write_text("".join(f"<!-- BEGIN {name}: x -->\n<!-- END {name} -->\n" for name in report.TABLES))
    monkeypatch.setattr(report, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(report, "DOCUMENT", document)
    outcomes, _ = run(8, netlist_of("one", 2))
    settings = {"date": "today", "commit": "c0ffee", "seed": 0, "count": 8}
    report.rebase(report.count_scores([BLOCK], outcomes), report.survivor_rows(outcomes), **settings)
    other = Block("rtl/wide/normalizer.py")
    report.rebase(report.count_scores([other], []), [], **settings | {"count": 9})
    text = document.read_text()
    assert "| `softmax` | test_softmax | 8 | 0 | 6 | 2 | 75.0 % |" in text and "| `normalizer` |" in text
    assert "commit `c0ffee`, seed 0, 8 of each block; " in text or ", 9 of each block; " in text
    assert f"| `softmax` | `{source_line(f'{SOURCE}:84')}` | 2 | unexplained |" in text.replace("\\|", "|")


def test_the_baseline_is_of_blocks_that_there_are():
    record = json.loads(report.BASELINE.read_text())
    assert set(record) <= {block.name for block in BLOCKS}
    for of_block in record.values():
        score = report.Score(**of_block["score"])
        assert score.mutants == score.equivalent + score.killed + score.survived
        assert score.survived == len(of_block["survivors"])
