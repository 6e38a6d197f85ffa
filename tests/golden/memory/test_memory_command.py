"""``latte memory``: its figures, its bars, and what it says to bad input."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from latte.fpga.cli import cli
from latte.golden.attention import attend
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.memory import report
from latte.golden.memory.cycles import Machine
from latte.golden.memory.measurement import LengthFigures
from latte.golden.memory.parts import find_part
from latte.golden.memory.workloads import ShareKept, Task, resampled_tasks, thresholds_at_width
from latte.golden.model_thresholds import Thresholds
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.threshold_files import read_thresholds, save_thresholds
from latte.golden.vectors import embedded_vectors
from tests.golden.memory.made_up import build

SET = next(vectors for vectors in embedded_vectors() if vectors.model == "smollm2-135m")


def run(*arguments):
    return CliRunner().invoke(cli, ["memory", *map(str, arguments)])


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("bits", [4, 2])
def test_embedded_heads(bits, tmp_path):
    done = run("--lengths", "64,1024,4096", "--sample", 2, "--estimate-bits", bits, "--page-rows", 32, "--part",
               "zynq_lpddr4")
    record = json.loads((tmp_path / "build" / "memory.json").read_text())
    assert done.exit_code == (0 if record["pass"] else 1) and record["target"] == "memory"
    values = {entry["name"]: entry["value"] for entry in record["results"]}
    tenth = f"{'small' if bits == 4 else 'small-2bit'}.smollm2-135m-tenth-resampled"
    kept = values[f"{tenth}.n4096.kept"]
    # With two bits, a row whose query has only small elements cannot tell its keys apart.
    assert kept == pytest.approx(0.1, abs=0.004) or bits == 2
    assert values[f"{tenth}.bytes_per_dense_byte"] == values[f"{tenth}.n4096.bytes_per_dense_byte"]
    # The stream, and the rows that are kept; what else is moved is small.
    spilled = next(entry["bytes"]["spilled"] / sum(entry["dense_bytes"].values()) for entry in record["results"]
                   if entry["name"].startswith(f"{tenth}.n4096") and "bytes" in entry)
    assert 0 < values[f"{tenth}.bytes_per_dense_byte"] - bits / 16 - kept - spilled < 0.01
    bars = {bar["name"]: bar for bar in record["bars"]}
    assert bars[f"{tenth}.n4096.bytes_per_dense_byte"]["limit"] == {4: 0.36, 2: 0.25}[bits]
    assert record["pass"] == all(bar["met"] for bar in record["bars"]) and len(bars) == 5
    start = "small" if bits == 4 else "small-2bit"
    for name in ("best_90.n64", "best_90-prompt.n64", "best_90-resampled.n1024", "best_90-prompt-resampled.n4096"):
        assert f"{start}.smollm2-135m-{name}.dense_values_per_value" in values
    assert all((tmp_path / "build" / f"memory.{suffix}").stat().st_size for suffix in ("png", "svg"))
    assert "K/V bytes" in done.output and ("MISSED" in done.output) == (not record["pass"])


@pytest.mark.parametrize(("options", "says"), [
    (["--part", "hbm"], "unknown memory part 'hbm'"), (["--lengths", "1024,x"], "--lengths '1024,x'"),
    (["--lengths", "1,100"], "from 2 to 65536"), (["--lengths", "65537"], "from 2 to 65536"),
    (["--text", "a.txt"], "--text is read by a model"), (["--model", "smollm2"], "give it with --text FILE"),
    (["--thresholds", "best"], "neither a thresholds file nor the name"), (["--output", "x.txt"], ".json file"),
    (["--thresholds", "deit_tiny/best_90"], "the thresholds are of deit-tiny"),
    (["--candidates", "3"], "candidates must be"),
])
def test_bad_input(options, says, tmp_path):
    done = run(*options)
    assert isinstance(done.exception, LatteError) and says in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_thresholds_without_scales(tmp_path):
    dynamic = Thresholds.uniform(4.0, 30, 9, kind=ThresholdKind.MASS)
    save_thresholds(tmp_path / "dynamic.npz", dynamic, "smollm2-135m", {})
    done = run("--thresholds", tmp_path / "dynamic.npz")
    assert isinstance(done.exception, LatteError) and "no static scales" in str(done.exception)


def test_only_lengths_that_were_asked_for(tmp_path):
    assert run("--lengths", "30", "--sample", 1, "--output", "short.json").exit_code == 0
    record = json.loads((tmp_path / "short.json").read_text())
    assert record["bars"] == [] and {entry["name"].split(".")[1] for entry in record["results"]} == {
        "smollm2-135m-best_90", "smollm2-135m-best_90-prompt"}


def made_up_figures(**changes):
    """Return a workload whose bars are all met, with other figures in it."""
    def of(n):
        figures = LengthFigures(n, 1, 1, n, n, kept=n // 10, weighty_rows=n // 10, value_rows=n // 10)
        figures.traffic.add("high", 34 * n, 1)
        figures.dense.add("high", 100 * n, 1)
        return dataclasses.replace(figures, cycles=34 * n / 15.3 / 0.9, dense_cycles=100 * n / 15.0, **changes)

    return report.WorkloadFigures("made-up", "made up", {n: of(n) for n in (1024, 4096)}, real=True)


@pytest.mark.parametrize("missed", [None, "bandwidth_share", "cycles_per_key_growth", "bytes_per_dense_byte",
                                    "dense_values_per_value"])
def test_bars(missed):
    machine = Machine(build(bus_bytes=16), find_part("arty_ddr3"))
    workload = made_up_figures(**({"value_rows": 600} if missed == "dense_values_per_value" else {}))
    if missed == "bandwidth_share":
        workload.by_length[1024].cycles *= 1.2
        workload.by_length[4096].cycles *= 1.2
    if missed == "cycles_per_key_growth":
        workload.by_length[4096].cycles *= 1.01
    if missed == "bytes_per_dense_byte":
        for of in workload.by_length.values():
            of.dense.moved["high"] = 90 * of.keys
    both = [workload, dataclasses.replace(workload, name="tenth", tenth=True)]
    held = report.bars(both, machine)
    assert len(held) == 6 and {bar.name.rpartition(".")[2] for bar in held if not bar.met} == ({missed} - {None})
    assert len(report.bars(both, dataclasses.replace(machine, latency=100))) == 4
    assert report.bars([dataclasses.replace(workload, prompts=True)], machine) == []


def test_bandwidth_is_held_to_its_bar_from_4096_keys_on():
    machine, workload = Machine(build(bus_bytes=16), find_part("arty_ddr3")), made_up_figures()
    workload.by_length[1024].cycles *= 1.2
    assert all(bar.met for bar in report.bars([workload], machine))


def test_a_tenth_is_kept_in_all():
    core = preset("small", max_seq_len=65536)
    entries = [SET.parameters(index, core) for index in range(len(SET))]
    share, kept, seen = ShareKept(0.1, core), 0, 0
    for task in resampled_tasks(SET, entries, [700], 3):
        task = share.task(task)
        trace = attend(task.q[0], task.k, task.v, task.entries[0], core, causal=True)
        kept, seen = kept + int(trace.keep.sum()), seen + trace.keep.size
    assert seen == 700 * len(SET) and kept == pytest.approx(0.1 * seen, abs=40)


def test_resampled_caches_have_the_heads_estimates():
    entries = [SET.parameters(index, preset("small")) for index in range(len(SET))]
    for index, task in enumerate(resampled_tasks(SET, entries, [4096], 1)):
        assert isinstance(task, Task) and task.k.shape == task.v.shape == (4096, 64)
        real, made = (task.q[0].astype(int) @ rows.astype(int).T / 256 for rows in (SET.k[index], task.k))
        assert made.mean() == pytest.approx(real.mean(), abs=0.2 * real.std() + 1)
        assert made.std() == pytest.approx(real.std(), rel=0.2)
        np.testing.assert_array_equal(task.q[0, 0], SET.q[index, -1])


@pytest.mark.parametrize("bits", [3, 2])
def test_scales_of_other_widths(bits):
    config = preset("small", estimate_bits=bits)
    _, learned = read_thresholds("smollm2_135m/best_90")
    changed = thresholds_at_width(learned, bits)
    assert changed.estimate_bits == bits and thresholds_at_width(learned, 4) is learned
    np.testing.assert_allclose(changed.q_scale / learned.q_scale, 119 / config.qk_max)
