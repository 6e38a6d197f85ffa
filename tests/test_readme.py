"""README.md and what it leads to: links lead somewhere, commands and options exist, figures are measured ones."""

import importlib
import itertools
import pathlib
import re
import shlex

import click
import pytest

from latte.fpga.baselines import read_baseline
from latte.fpga.cli import cli
from latte.golden.builds import BUILDS
from latte.golden.config import PRESETS

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("[a-z]*/README.md")), ROOT / "golden/train/README.md",
             ROOT / "golden/memory/README.md", ROOT / "sim/formal/README.md", ROOT / "sim/mutation/README.md"]
CODE_FOLDERS = "golden|rtl|sim|fpga|tests"


def anchors(path: pathlib.Path) -> set[str]:
    """Return what a link may name behind ``#``: the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def command_lines(text: str) -> list[str]:
    """Return every ``latte ...`` of a document, in code blocks and between backticks."""
    blocks = re.findall(r"^(?: {4}|)(latte [a-z][^\n#`|]*)", re.sub(r"\\\n\s*", "", text), re.MULTILINE)
    return blocks + re.findall(r"`(latte [a-z][^`]*)`", text)


def unknown_options(line: str) -> list[str]:
    """Return what a command line names that the command line tool lacks."""
    words = shlex.split(line.replace("...", "").replace("[", "").replace("]", ""))[1:]
    command = cli.get_command(click.Context(cli), words[0])
    if command is None:
        return [words[0]]
    options = set(itertools.chain.from_iterable((*option.opts, *option.secondary_opts) for option in command.params))
    return [word for word in words[1:] if word.startswith("--") and word not in options | {"--help"}]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_commands(path):
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        place = path.parent / file if file else path
        assert place.exists(), f"{path}: {target}"
        assert not anchor or anchor in anchors(place), f"{path}: {target}"
    for line in command_lines(text):
        assert not unknown_options(line), f"{path}: {line}"


@pytest.mark.parametrize("path", [README, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_named_files_exist(path):
    for name in re.findall(rf"`((?:{CODE_FOLDERS})/[\w/.]*)`", path.read_text()):
        assert (ROOT / name).exists(), name
    for module in re.findall(r"`python -m ([\w.]+)`", path.read_text()):
        importlib.import_module(module)


def test_one_page():
    assert len(README.read_text().splitlines()) <= 150


def test_presets_and_boards_are_listed():
    text = README.read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(PRESETS)
    assert all(f"`{board}`" in text for board in BUILDS)


def test_results_are_the_committed_ones():
    """Bit operations are held by tests/golden/test_bit_operations.py, embedded heads by tests/test_installed.py."""
    text, bench, boards = README.read_text(), read_baseline("bench"), read_baseline("bitstream")
    small, base = (f"{bench[f'{name}.lean.keep14.84.throughput_per_area_vs_dense']:.3f}" for name in ("small", "base"))
    assert f"**{base} times**" in text and f"`small` {small}, `base` {base} times" in text
    small, base = (f"{bench[f'{name}.lean.deit-tiny.cycles_over_bound']:.3f}" for name in ("small", "base"))
    assert f"`small` {small}, `base` {base} |" in text
    assert f"ULX3S 25F {boards['ulx3s_25f.fmax']} MHz, iCEBreaker {boards['icebreaker.fmax']} MHz" in text
