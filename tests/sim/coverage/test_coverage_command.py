"""``latte coverage`` around the simulator: exit codes, what is written, the baseline; and a share of it for real."""

import collections
import json

import pytest
from click.testing import CliRunner

from latte.golden.errors import LatteError
from latte.sim.coverage import baseline, measure, testplan, waivers
from latte.sim.coverage.branches import written_branches
from latte.sim.coverage.commands import coverage_command
from latte.sim.coverage.instrument import Counts, Toggles
from latte.sim.coverage.netlist import Net
from latte.sim.coverage.page import bit_ranges
from latte.sim.coverage.plan import PLAN
from latte.sim.coverage.record import Figures, load_figures, save_figures
from latte.sim.coverage.workload import LOADS

FILE = "rtl/wide/softmax.py"


def reached(load):
    """Return what a load might have reached: everything but one branch and some bits."""
    branches = dict.fromkeys(written_branches(), 3)
    branches[next(branch for branch in branches if branch.file == FILE)] = 0
    hits = {group.name: collections.Counter(group.all_points) for group in PLAN}
    toggles = {Net(FILE, "delta", f"{FILE}:1"): Toggles(100, (1 << 100) - 1, (1 << 93) - 1)}
    return measure.Measured(load, Figures(Counts(branches, toggles), hits, programs=2, jobs=9, cycles=1000))


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return a function that runs the command on what `reached` says, changed by a function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(waivers, "FILE", tmp_path / "waivers.toml")
    monkeypatch.setattr(waivers.read_waivers, "__defaults__", (tmp_path / "waivers.toml",))
    (tmp_path / "waivers.toml").write_text("")

    def run(*arguments, change=lambda measured: None):
        def measured(loads, build_folder, *, done, **settings):
            results = [reached(load) for load in loads]
            for one in results:
                change(one.figures)
                done(one)
            return results

        monkeypatch.setattr(measure, "measure", measured)
        return CliRunner().invoke(coverage_command, list(arguments))
    return run


def test_passes_and_tells(command, tmp_path):
    result = command()
    assert result.exit_code == 0, result.output
    assert "1 branches never taken" in result.output and FILE in result.output
    record = json.loads((tmp_path / "build/coverage.json").read_text())
    values = {entry["name"]: entry for entry in record["results"]}
    assert record["pass"] and values["coverage.functional"]["value"] == 100
    assert values["coverage.branch"]["of"] - values["coverage.branch"]["reached"] == 1
    assert values[f"coverage.toggle.{FILE}"]["reached"] == 193 and len(record["branches_missed"]) == 1
    page = (tmp_path / "build/coverage/index.html").read_text()
    assert "93 to 99" in page and "http" not in page and page.count("never") > 1


@pytest.mark.parametrize("change", [
    lambda one: one.problems.append("job 3 differs"),
    lambda one: one.counts.branches.update({branch: 0 for branch in written_branches() if "/axi/" in branch.file}),
    lambda one: one.counts.toggles.update({Net(FILE, "still", ""): Toggles(40, 0, 0)}),
    lambda one: one.hits["kinds"].pop(PLAN[0].all_points[7]),
], ids=["differs", "branches", "toggles", "points"])
def test_what_misses_fails(change, command, tmp_path):
    result = command(change=change)
    assert result.exit_code == 1, result.output
    assert not json.loads((tmp_path / "build/coverage.json").read_text())["pass"]


def test_bars_are_of_all_engines(command):
    result = command("--engine", "serial", change=lambda one: one.hits.clear() or one.hits.update(
        {group.name: collections.Counter() for group in PLAN}))
    assert result.exit_code == 0, result.output
    assert "serial-slice" in result.output and "wide-slice" not in result.output and "cached-slice" not in result.output


def test_keys_in_memory_are_an_engine(command):
    result = command("--engine", "memory", change=lambda one: one.hits.clear())
    assert result.exit_code == 0, result.output
    assert "cached-axi" in result.output and "serial-slice" not in result.output


def test_a_waiver_of_nothing_ends_it(command, tmp_path):
    (tmp_path / "waivers.toml").write_text('[[branch]]\nfile = "rtl/no.py"\ntext = "*"\nreason = "none such"\n')
    result = command()
    assert isinstance(result.exception, LatteError) and "names nothing" in str(result.exception)


@pytest.mark.parametrize(("arguments", "says"), [
    (["--engine", "wide"], "unknown engine 'wide'"), (["--rebase", "--engine", "dense"], "leave out --engine")])
def test_bad_options_are_one_sentence(arguments, says, command):
    result = command(*arguments)
    assert isinstance(result.exception, LatteError) and says in str(result.exception)


def test_a_run_of_all_engines_becomes_the_baseline(command, tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "_FILE", tmp_path / "baseline.json")
    for module, name in ((baseline, "README.md"), (testplan, "TESTPLAN.md")):
        document = tmp_path / name
        document.write_text("\n".join(f"<!-- BEGIN {section}: x -->\n<!-- END {section} -->"
                                      for section in module.TABLES))
        monkeypatch.setattr(module, "DOCUMENT", document)
    failed = command("--full", "--rebase", change=lambda one: one.problems.append("differs"))
    assert isinstance(failed.exception, LatteError) and not (tmp_path / "baseline.json").exists()
    result = command("--full", "--rebase")
    assert result.exit_code == 0, result.output
    table = (tmp_path / "README.md").read_text()
    assert "Last run of all engines: 20" in table and "`latte coverage --full --seed 1`" in table
    assert f"| `{FILE}` |" in table
    assert "**" in (tmp_path / "TESTPLAN.md").read_text()
    again = command("--full", change=lambda one: one.hits["resets"].pop(PLAN[8].all_points[0]))
    assert "resets: [6, 6, 0] -> [5, 6, 0]" in again.output


def test_figures_are_read_again_if_nothing_changed(tmp_path):
    figures, path = reached(LOADS[0]).figures, tmp_path / "figures.json"
    save_figures(path, figures, (LOADS[0], 1))
    assert load_figures(path, (LOADS[0], 1)) == figures
    assert load_figures(path, (LOADS[0], 2)) is None and load_figures(tmp_path / "none.json", (LOADS[0], 1)) is None
    path.write_text(path.read_text()[:-9])
    assert load_figures(path, (LOADS[0], 1)) is None


def test_bits_as_text():
    assert [bit_ranges(mask) for mask in (0, 1, 0b1011, 0xF0)] == ["", "0", "0 to 1, 3", "4 to 7"]


@pytest.mark.slow
def test_a_share_for_real(tmp_path, output):
    """The dense engine alone: all agrees, and every branch of its files is taken."""
    result = CliRunner().invoke(coverage_command, ["--engine", "dense", "--processes", "1", "--build", str(output)])
    assert result.exit_code == 0, result.output
    record = json.loads((output / "coverage.json").read_text())
    values = {entry["name"]: entry["value"] for entry in record["results"]}
    branches = {name: value for name, value in values.items() if name.startswith("coverage.branch.rtl/dense/")}
    assert len(branches) == 4 and set(branches.values()) == {100}, branches
