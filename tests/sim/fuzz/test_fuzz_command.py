"""``latte fuzz`` around the campaign: what it runs, writes and prints, and what it refuses."""

import json

import pytest
from click.testing import CliRunner

from latte.golden.config import preset
from latte.golden.documents import read_section
from latte.golden.errors import LatteError
from latte.sim.compilation import check_simulator
from latte.sim.fuzz import baseline, campaign
from latte.sim.fuzz.campaign import Outcome
from latte.sim.fuzz.case import load_case, random_case, save_case
from latte.sim.fuzz.commands import fuzz_command


@pytest.fixture
def fuzz(monkeypatch, tmp_path):
    """Return a function that runs the command in `tmp_path` with cases whose outcome is given."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, failing=(), missing=()):
        def run_case(task, build_folder, folder):
            problems, file = ([], None) if task.seed not in failing else (["program 0, job 1: [b] differs"],
                                                                          build_folder / "fuzz" / "case.npz")
            return Outcome(task, 2, 30, 400, 5000, 1.0, 2.0, problems, file)

        def check(name):
            if name in missing:
                raise LatteError("the program 'iverilog' is not on the PATH; install it")
            check_simulator(name)

        monkeypatch.setattr(campaign, "run_case", run_case)
        monkeypatch.setattr("latte.sim.fuzz.commands.check_simulator", check)
        return CliRunner().invoke(fuzz_command, ["--processes", "1", *arguments])
    return run


def record(tmp_path, name="fuzz"):
    written = json.loads((tmp_path / "build" / f"{name}.json").read_text())
    return written, {result["name"]: result["value"] for result in written["results"]}


def test_what_is_counted(fuzz, tmp_path):
    result = fuzz("--cases", "20", "--seed", "30")
    assert result.exit_code == 0, result.output
    written, values = record(tmp_path)
    assert written["pass"] and written["seed"] == 30
    assert (values["fuzz.cases"], values["fuzz.scores"], values["fuzz.builds"]) == (20, 8000, 3)
    assert values["fuzz.differences"] == 0 and "8,000 scores" in result.output


def test_a_failing_case_prints_the_command_that_repeats_it(fuzz, tmp_path):
    result = fuzz("--config", "tiny", "--head-dim", "32", "--cases", "9", "--seed", "3", failing=[5])
    assert result.exit_code == 1
    assert "again: latte fuzz --config tiny --head-dim 32 --seed 5 --cases 1 --sim verilator" in result.output
    assert "job 1: [b] differs" in result.output and "latte fuzz --case build/fuzz/case.npz" in result.output
    written, values = record(tmp_path)
    assert not written["pass"] and values["fuzz.case5"] == 0 and written["config"]["head_dim"] == 32
    # A build's other cases are not run.
    assert values["fuzz.cases"] == 3


def test_long_cases(fuzz, tmp_path):
    result = fuzz("--config", "tiny", "--cases", "1", "--cycles", "5000000", "--seed", "3", failing=[3])
    assert "latte fuzz --config tiny --cycles 5000000 --seed 3 --cases 1 --sim verilator" in result.output
    assert fuzz("--cases", "1", "--cycles", "20").exit_code == 2


def test_pairs(fuzz, tmp_path, monkeypatch):
    pytest.importorskip("allpairspy")
    builds = pytest.importorskip("latte.sim.fuzz.builds")
    fields = {name: builds.FIELD_VALUES[name] for name in ("engine", "kv_banks", "split")}
    array = builds.pairwise_builds(fields)
    monkeypatch.setattr(builds, "pairwise_builds", lambda: array)
    assert fuzz("--pairwise").exit_code == 0
    _, values = record(tmp_path, "pairwise")
    assert values["pairwise.pairs_refused"] == 2 and values["pairwise.pairs_left"] == 0
    assert values["pairwise.pairs_simulated"] == 14
    result = fuzz("--pairwise", "--cases", "1", failing=[0])
    assert result.exit_code == 1 and "latte fuzz --pairwise --seed 0 --cases 1" in result.output
    assert record(tmp_path, "pairwise")[1]["pairwise.pairs_simulated"] == 0


def test_runs_add_up_and_no_case_counts_twice(fuzz, tmp_path, monkeypatch):
    document = tmp_path / "page.md"
    document.write_text("<!-- BEGIN fuzz-runs -->\n<!-- END fuzz-runs -->\n")
    monkeypatch.setattr(baseline, "_FILE", tmp_path / "runs.json")
    monkeypatch.setattr(baseline, "DOCUMENT", document)
    assert fuzz("--cases", "20", "--rebase").exit_code == 0
    assert fuzz("--cases", "3", "--rebase", failing=[22]).exit_code == 1  # goes on behind the first run
    assert fuzz("--config", "tiny", "--cases", "2", "--rebase").exit_code == 0  # other cases with the same numbers
    lines = read_section(document, "fuzz-runs").split("\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [(row[0], row[2], row[4]) for row in rows[2:]] == [
        ("`latte fuzz`", "0 to 19", "20"), ("`latte fuzz`", "20 to 22", "3"),
        ("`latte fuzz --config tiny`", "0 to 1", "2"), ("all", "", "25")]
    columns = {name: column for name, _, *column in zip(*rows, strict=True)}
    assert columns["scores"] == ["8,000", "1,200", "800", "10,000"] and columns["differences"] == list("0101")
    before = document.read_text()
    result = fuzz("--cases", "3", "--seed", "22", "--rebase")
    assert isinstance(result.exception, LatteError) and "up to 22" in str(result.exception)
    assert document.read_text() == before


def test_a_simulator_that_is_not_installed_is_said(fuzz, tmp_path):
    result = fuzz("--cases", "20", missing=["icarus"])
    assert result.exit_code == 0 and "left out: icarus: the program 'iverilog'" in result.output
    assert "icarus" in record(tmp_path)[0]["left_out"][0]
    assert isinstance(fuzz("--cases", "1", "--sim", "icarus", missing=["icarus"]).exception, LatteError)


@pytest.mark.parametrize(("options", "says"), [
    (["--minutes", "1", "--cases", "2"], "give one of them"), (["--pairwise", "--split", "slice"], "--split slice"),
    (["--case", "absent.npz"], "absent.npz"), (["--sim", "modelsim"], "modelsim"),
    (["--case", "text.npz"], "not a readable case"), (["--case", "text.npz", "--rebase"], "leave out --rebase"),
])
def test_bad_input_is_one_sentence(fuzz, tmp_path, options, says):
    (tmp_path / "text.npz").write_text("not an archive")
    result = fuzz(*options)
    assert isinstance(result.exception, LatteError) and says in str(result.exception)
    assert "\n" not in str(result.exception)


def test_case_files_give_back_what_was_written(tmp_path):
    case = random_case(4, preset("small", head_dim=8, max_seq_len=20), "icarus", 5000)
    save_case(tmp_path / "case.npz", case)
    again = load_case(tmp_path / "case.npz")
    assert (again.config, again.simulator, len(again.runs)) == (case.config, case.simulator, len(case.runs))
    for one, other in zip(case.runs, again.runs, strict=True):
        assert (one.stall, one.seed, one.reset_at) == (other.stall, other.seed, other.reset_at)
        assert one.program.parameters == other.program.parameters
        assert list(one.program.faulty_writes) == list(other.program.faulty_writes)
        arrays = other.program.to_arrays()
        assert all((array == arrays[name]).all() for name, array in one.program.to_arrays().items())
