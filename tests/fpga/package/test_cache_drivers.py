"""Drivers of the core with keys in memory against the hardware in simulation, the golden model beside them."""

import dataclasses
import json

import pytest

from latte.fpga.package import contents
from latte.fpga.package.forms import cache_design
from latte.sim.axi_cache_run import build_axi_cache_core
from tests.cocotb.cached import BUILDS, EVERY_KIND
from tests.fpga.package.c_session import compile_driver
from tests.fpga.package.cache_twin import PAGES
from tests.fpga.package.test_drivers import check_compiles

pytest.importorskip("systemrdl", reason="the extra package is not installed")
pytest.importorskip("cocotbext.axi")

SESSIONS = {"c": ("c", False), "c_interrupt": ("c", True), "python": ("python", False),
            "python_interrupt": ("python", True), "linux": ("linux", False)}


def write_drivers(folder, build):
    """Write drivers, the C one compiled; return their folder."""
    contents.write_drivers(cache_design(build), folder)
    compile_driver(folder / "driver")
    return folder / "driver"


def run(build, sessions, tmp_path, build_folder) -> dict:
    """Run sessions one after the other in one simulation; return their answers."""
    package, folder = write_drivers(tmp_path / "drivers", build), tmp_path / "run"
    folder.mkdir()
    sizes = dataclasses.asdict(build) | {"core": build.core.to_dict()}
    (folder / "settings.json").write_text(json.dumps({"build": sizes, "sessions": {
        name: {"driver": SESSIONS[name][0], "interrupt": SESSIONS[name][1], "package": str(package)}
        for name in sessions}}))
    model = build_axi_cache_core(build, build_folder=build_folder)
    model.run("tests.fpga.package.cache_driver_testbench", folder)
    assert (folder / "answers.json").exists(), (folder / "sim.log").read_text()[-6000:]
    return json.loads((folder / "answers.json").read_text())


def check_python(said) -> None:
    """Check what the Python driver answers to what cannot be, and to what fails."""
    for name, words in {
            "slots": "all 2 slots hold a sequence; free one", "pages": "are free; free a sequence",
            "long": "more than the 512 of the longest", "values": "1 keys and 0 values", "token": "appends one row",
            "prompt": "queries of the rows", "form": "q must be int8 [rows, ", "none": "q has no rows",
            "entry": "entries up to", "outputs": "o must be a slice", "appended": "leave o out",
            "full": "2 jobs wait for their result", "taken": "there is no job", "late": "is not done after 0 s",
            "gone": "was lost"}.items():
        assert words in said[name], name
        assert said[name].count(".") == 0, name
    assert said["head"][0] == ["refused_head_invalid"] and "an entry it needs was never written" in said["head"][1]
    assert said["stale"][0] == ["refused_sequence_invalid"]
    assert said["kept"] == [True, True] and said["errors"] == ["job_refused"]
    assert said["read_q"] == [["read_failed"], False, 1]
    assert sorted(said["read_k"][0]) == ["failed_memory_error", "read_failed"] and said["read_k"][1:] == [False, 0]
    assert said["asked"] == [["failed_memory_error"], False, 0]
    assert said["descriptor"] == [["fetch_failed"], False, 0] and said["status"] == [["status_lost"], False, 0]
    assert said["memory"] == [["failed_memory_error"], True, 0]
    assert all("was lost" in sentence for sentence in said["lost"])
    assert all("was freed; open another" in sentence for sentence in said["freed"])
    assert said["in_place"] > 3
    assert ["reset"] in said["reset"] and said["torn"] == [True, False]


def check_c(said) -> None:
    """Check the same of the C driver."""
    refused = {name: ["job_failed", ["done", "error", f"refused_{why}"]] for name, why in (
        ("head", "head_invalid"), ("stale", "sequence_invalid"), ("forgotten", "head_invalid"))}
    assert refused.items() <= said.items()
    assert said["memory"] == ["job_failed", ["done", "error", "failed_memory_error"]]
    assert [said[name] for name in ("slots", "pages", "long", "lost", "freed", "gone", "reset", "length", "close")] == [
        "no_slot", "no_pages", "too_long", ["lost"], "freed", ["freed"], "ok", 0, "ok"]
    assert said["all"] == 2 * ["ok", list(range(1, PAGES + 1))]


def check(answers) -> None:
    """Check all sessions."""
    for name, said in answers.items():
        assert said["wrong"] == 0 and said["rows"] > 40, name
        if name.startswith("c"):
            check_c(said)
        elif name.startswith("python"):
            check_python(said)
        else:
            assert said["free"] == 1


def test_headers_and_drivers_compile_without_a_warning(tmp_path):
    """As C of their own, and as C++, which the bench is."""
    check_compiles(write_drivers(tmp_path / "drivers", EVERY_KIND))


def test_drivers_keep_sequences(tmp_path, build_folder):
    """In C by interrupts, polled on PYNQ's buffers and on a u-dma-buf."""
    check(run(EVERY_KIND, ("c_interrupt", "python", "linux"), tmp_path, build_folder))


@pytest.mark.slow
def test_drivers_keep_sequences_by_the_other_way(tmp_path, build_folder):
    """Polled and by interrupts the other way round."""
    check(run(EVERY_KIND, ("c", "python_interrupt"), tmp_path, build_folder))


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS[1:], ids=lambda build: build.core.name)
def test_drivers_of_other_builds(build, tmp_path, build_folder):
    """Other buses, pages, tiles and groups."""
    check(run(build, ("c", "python_interrupt"), tmp_path, build_folder))
