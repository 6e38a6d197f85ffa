"""Compiled models are kept, and made anew when anything has damaged them; folders may have any name."""

import json
import pathlib
import shutil
import tempfile

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.errors import LatteError
from latte.sim import runner
from latte.sim.block_testbench import Expect, Offer, run_block
from latte.sim.compilation import Compilation, Verilator, take_library
from latte.sim.runner import build_model, load_ports


class Incrementer(wiring.Component):
    """Adds one to what passes through."""

    def __init__(self):
        super().__init__({"i": In(stream.Signature(4)), "o": Out(stream.Signature(4))})

    def elaborate(self, platform):
        m = Module()
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.payload.eq(self.i.payload + 1), self.o.valid.eq(self.i.valid)]
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        return m


def build(folder):
    return build_model(Incrementer(), "incrementer", build_folder=folder)


def the_model(folder):
    """Return the only folder of a compiled model in a build folder."""
    [model] = (folder / "sim").glob("incrementer-*")
    return model


def works(folder):
    """Return whether the model kept in `folder` adds one."""
    return run_block(Incrementer(), "incrementer", folder / "run", {"i": Offer([1, 7, 3])}, {"o": Expect([2, 8, 4])},
                     build_folder=folder) == []


@pytest.fixture(scope="module")
def original(tmp_path_factory, request):
    """Return a build folder with one compiled model, the same for all processes that run tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if hasattr(request.config, "workerinput") else own) / "original"
    build(folder)
    return folder


@pytest.fixture
def compilations(monkeypatch, original):
    """Count compilations, which are replaced by copies of the original's product."""
    made = []

    def copy(compilation, verilog, folder, *settings):
        made.append(folder.name)
        shutil.copy2(the_model(original) / "harness", folder / "harness")

    monkeypatch.setattr(Compilation, "compile", copy)
    return made


DAMAGE = {
    "empty record": lambda model: (model / "ports.json").write_text(""),
    "cut record": lambda model: (model / "ports.json").write_text((model / "ports.json").read_text()[:40]),
    "foreign record": lambda model: (model / "ports.json").write_text("[1, 2]"),
    "record without checksum": lambda model: (model / "ports.json").write_text(json.dumps(
        {side: {} for side in ("inputs", "outputs")})),
    "no record": lambda model: (model / "ports.json").unlink(),
    "binary record": lambda model: (model / "ports.json").write_bytes(b"\xff\xfe\x00"),
    "cut program": lambda model: (model / "harness").write_bytes((model / "harness").read_bytes()[:5000]),
    "empty program": lambda model: (model / "harness").write_bytes(b""),
    "one bit": lambda model: (model / "harness").write_bytes((model / "harness").read_bytes()[:-1] + b"\x01"),
    "no program": lambda model: (model / "harness").unlink(),
    "program not executable": lambda model: (model / "harness").chmod(0o644),
    "killed compilation": lambda model: ((model / "ports.json").unlink(), (model / "compiling-x").mkdir(),
                                         (model / "compiling-x" / "half.o").write_text("half")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_models_are_made_anew(kind, original, compilations, tmp_path):
    folder = tmp_path / "build"
    shutil.copytree(original, folder)
    model = the_model(folder)
    build(folder)
    assert not compilations
    DAMAGE[kind](model)
    build(folder)
    assert compilations == [model.name]
    build(folder)
    assert len(compilations) == 1 and not list(model.glob("compiling-*"))
    inputs, outputs = load_ports(model)
    assert "i__payload" in inputs and "o__valid" in outputs


def test_what_was_made_anew_runs(original, compilations, tmp_path):
    shutil.copytree(original, tmp_path / "build")
    (the_model(tmp_path / "build") / "harness").write_bytes(b"")
    assert works(tmp_path / "build") and len(compilations) == 1


def test_another_version_of_a_tool_is_another_model(original, compilations, monkeypatch, tmp_path):
    shutil.copytree(original, tmp_path / "build")
    monkeypatch.setattr(runner.metadata, "version", lambda package: "0.0")
    build(tmp_path / "build")
    assert len(compilations) == 1 and len(list((tmp_path / "build" / "sim").glob("incrementer-*"))) == 2


def test_a_known_source_is_not_emitted_again(compilations, monkeypatch, tmp_path):
    first = build_model(Incrementer(), "incrementer", build_folder=tmp_path, source="one")
    emitted = []
    emit = runner.emit_rtlil
    monkeypatch.setattr(runner, "emit_rtlil", lambda *arguments: emitted.append(1) or emit(*arguments))
    assert build_model(Incrementer(), "incrementer", build_folder=tmp_path, source="one") == first and not emitted
    # Sources may differ where the component does not.
    assert build_model(Incrementer(), "incrementer", build_folder=tmp_path, source="two") == first
    assert build_model(Incrementer(), "incrementer", build_folder=tmp_path, source="two") == first
    assert len(emitted) == len(compilations) == 1
    (first.folder / "harness").write_bytes(b"")
    assert build_model(Incrementer(), "incrementer", build_folder=tmp_path, source="two") == first
    assert len(emitted) == len(compilations) == 2


def the_library(folder):
    """Return the only folder of a compiled run-time library in a build folder."""
    [library] = (folder / "sim").glob("library-*")
    return library


def test_models_share_the_runtime_library(original, tmp_path):
    """In a folder of any name: compiled where make can, and run where the output shall be."""
    folder = tmp_path / "a b" / "c#d:e"
    shutil.copytree(the_library(original), folder / "sim" / the_library(original).name)
    assert works(folder)
    model = the_model(folder)
    assert "verilated_vpi.cpp" in (the_model(original) / "compile.log").read_text()
    log = (model / "compile.log").read_text()
    assert "verilated_vpi.cpp" not in log and "-include verilated_headers.h.fast" in log
    assert {path.name for path in the_library(original).glob("*.gch")} == {
        "verilated_headers.h.fast.gch", "verilated_headers.h.slow.gch"}
    names = {path.name for path in model.iterdir() if not path.name.startswith("lock")}
    assert names == {"harness", "harness.sv", "ports.json", "compile.log"}


LIBRARY_DAMAGE = {
    "no library": shutil.rmtree,
    "no record": lambda library: (library / "checksums.json").unlink(),
    "cut record": lambda library: (library / "checksums.json").write_text('{"verilated.o'),
    "foreign record": lambda library: (library / "checksums.json").write_text("[1, 2]"),
    "no object": lambda library: (library / "verilated.o").unlink(),
    "cut object": lambda library: (library / "verilated.o").write_bytes((library / "verilated.o").read_bytes()[:999]),
}


@pytest.mark.parametrize("kind", LIBRARY_DAMAGE)
def test_a_damaged_runtime_library_is_not_linked(kind, original, tmp_path):
    library = shutil.copytree(the_library(original), tmp_path / "library")
    (tmp_path / "scratch").mkdir()
    assert "verilated.o" in take_library(library, tmp_path / "scratch")
    LIBRARY_DAMAGE[kind](library)
    assert take_library(library, tmp_path / "scratch") == []


@pytest.mark.parametrize("odd", [" ", "#", ";"])
def test_an_environment_that_make_cannot_use_is_named(odd, monkeypatch, tmp_path):
    monkeypatch.setattr(Verilator, "root", pathlib.Path(f"/home/me/my{odd}work/.venv/verilator"))
    with pytest.raises(LatteError, match=f"the path has a '{odd}' in it.*VENV"):
        build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_folder_that_make_can_use(monkeypatch, tmp_path):
    (tmp_path / "t m p").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t m p"))
    with pytest.raises(LatteError, match="set TMPDIR"):
        build(tmp_path / "a b")
    assert not list((tmp_path / "t m p").iterdir())
