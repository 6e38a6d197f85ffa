"""The table of blocks in ``rtl/README.md``, from the blocks; ``latte documents`` writes it."""

import importlib
import inspect
import pathlib
import pkgutil
import re
from collections.abc import Iterator

from amaranth.lib import wiring

import latte.rtl
from latte.golden.config import AttentionConfig, preset
from latte.golden.documents import markdown_table
from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.bus import MasterParameters, StreamParameters

__all__ = ["DOCUMENT", "SECTION", "block_table", "config_blocks"]

DOCUMENT = pathlib.Path(__file__).parent / "README.md"
SECTION = "blocks"
BUILDS = {"common": preset("small"), "wide": preset("small"), "serial": preset("tiny"),
          "dense": preset("small").dense(), "memory": MemoryBuild(), "axi": preset("small")}
"""By package, the build whose latencies the table shows."""


def config_blocks() -> Iterator[tuple[str, str, type[wiring.Component]]]:
    """Yield (package, module, class) of every block that is made from a configuration or a build, and its ports'."""
    for package in BUILDS:
        for module in pkgutil.iter_modules([str(pathlib.Path(latte.rtl.__path__[0]) / package)]):
            name = f"latte.rtl.{package}.{module.name}"
            for block in vars(importlib.import_module(name)).values():
                if (inspect.isclass(block) and issubclass(block, wiring.Component) and block.__module__ == name
                        and not block.__name__.startswith("_")
                        and set(_needs(block)) <= {"build", "config", "parameters"}):
                    yield package, module.name, block


def _needs(block: type[wiring.Component]) -> list[str]:
    """Return the parameters without a default."""
    return [name for name, parameter in inspect.signature(block).parameters.items()
            if parameter.default is inspect.Parameter.empty]


def block_table() -> str:
    """Return the table: block, file, and what the docstring says of time, its latencies as `BUILDS` have them."""
    rows = []
    for package, module, block in config_blocks():
        made = _create(block, BUILDS[package])
        latency = re.sub(r"`(\w+)`", lambda name, made=made: f"{getattr(made, name[1], name[0])}"
                         if "latency" in name[1] else name[0], _says(block, "Latency"))
        rows.append((f"`{block.__name__}`", f"[{module}.py]({package}/{module}.py)", latency,
                     _says(block, "Throughput")))
    return markdown_table(("block", "file", "latency", "throughput"), rows)


def _create(block: type[wiring.Component], build: AttentionConfig | MemoryBuild) -> wiring.Component:
    class Silent(block):
        """Never elaborated, which Amaranth need not warn of."""

        _MustUse__silence = True

    parameters = inspect.signature(block).parameters.get("parameters")
    streams = parameters is not None and parameters.annotation is StreamParameters
    master = MasterParameters(data_bits=8 * build.bus_bytes) if isinstance(build, MemoryBuild) else MasterParameters()
    made_of = {"build": build, "config": build, "parameters": StreamParameters() if streams else master}
    return Silent(*(made_of[name] for name in _needs(block)))


def _says(block: type[wiring.Component], what: str) -> str:
    """Return what a docstring says behind ``what:``, to the end of the sentence."""
    text = " ".join((block.__doc__ or "").split())
    found = re.search(rf"{what}: (.*?)[.;](?: |$)", text)
    return found[1].replace("``", "`").replace("|", "\\|") if found else ""
