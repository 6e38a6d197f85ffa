"""What packages differ in by how rows come and go: the core, its name, files, the guide."""

import dataclasses
from collections.abc import Callable, Sequence

from latte.fpga.package.bench_head import BenchHead, bench_head, cache_bench_head
from latte.fpga.package.record_table import RECORD_FIELDS
from latte.golden.config import AttentionConfig
from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.bus import DataParameters
from latte.rtl.axi.bus_core import BusCore
from latte.rtl.axi.bus_cores import create_bus_core
from latte.rtl.axi.descriptors import JOB_DESCRIPTOR, DescriptorField, DescriptorTable
from latte.rtl.axi.register_types import Register
from latte.rtl.axi.registers import register_table
from latte.rtl.memory.axi_cache_core import AxiCacheCore, rows_master_of
from latte.rtl.memory.cache_descriptors import CACHE_DESCRIPTOR
from latte.rtl.memory.cache_registers import cache_register_table

__all__ = ["Design", "Form", "bus_design", "cache_design"]

_COMMON = {"latte_ring.c": "driver", "latte_ring.h": "driver", "latte_device.py": "driver", "bench_system.h": "bench",
           "bench_run.h": "bench", "latte_litex.py": "litex", "package_ip.tcl": "vivado"}
"""Files of all packages with a ring of descriptors."""


@dataclasses.dataclass(frozen=True)
class Form:
    """One kind of package.

    Parameters
    ----------
    name
        Of the top module, of its SystemVerilog and of the core in FuseSoC, IP-XACT and Vivado.
    description
        Of the core.
    bench
        What its bench does.
    guide
        Template of the guide, in `SOURCES`.
    copied
        File of `SOURCES`: folder in a package.
    descriptors
        Of jobs in memory, if there are any.
    record
        Of sequences in memory, if there are any.
    """

    name: str
    description: str
    bench: str
    guide: str
    copied: dict[str, str]
    descriptors: DescriptorTable | None = None
    record: Sequence[DescriptorField] = ()


_FORMS = {
    "axi": Form(
        "latte_axi", "LATTE attention core behind AXI4-Lite registers and an AXI4 master",
        "The C driver runs one real head and compares every output code with the golden model", "guide.md",
        {**_COMMON, "latte.c": "driver", "latte.h": "driver", "latte_driver.py": "driver", "bench.cpp": "bench",
         "run_head.h": "bench"}, JOB_DESCRIPTOR),
    "axi-stream": Form(
        "latte_axi_stream", "LATTE attention core behind AXI4-Lite registers, with AXI4-Stream ports",
        "One real head by registers and streams, every output code compared with the golden model", "stream_guide.md",
        {"stream_bench.cpp": "bench", "package_ip.tcl": "vivado"})}
"""By `interface` of the parameters."""
_CACHE_FORM = Form(
    "latte_axi_cache", "LATTE attention core with keys in memory behind AXI4-Lite registers and two AXI4 masters",
    "The C driver keeps two sequences of real rows and compares every output code with the golden model",
    "cache_guide.md",
    {**_COMMON, "latte_cache.c": "driver", "latte_cache.h": "driver", "latte_cache_driver.py": "driver",
     "cache_bench.cpp": "bench", "run_cache.h": "bench"}, CACHE_DESCRIPTOR, RECORD_FIELDS)


@dataclasses.dataclass(frozen=True)
class Design:
    """What a package is of.

    Parameters
    ----------
    form
    config
        The arithmetic.
    parameters
        Of the ports of rows.
    build
        Of a core with keys in memory.
    registers, create, head
        Return its registers, the core, and what its bench runs.
    """

    form: Form
    config: AttentionConfig
    parameters: DataParameters
    build: MemoryBuild | None
    registers: Callable[[], list[Register]]
    create: Callable[[], BusCore]
    head: Callable[[], BenchHead]


def bus_design(config: AttentionConfig, parameters: DataParameters) -> Design:
    """Return the core with keys on chip behind these ports."""
    return Design(_FORMS[parameters.interface], config, parameters, None,
                  lambda: register_table(config, parameters), lambda: create_bus_core(config, parameters),
                  lambda: bench_head(config))


def cache_design(build: MemoryBuild) -> Design:
    """Return the core with keys in memory behind AXI."""
    parameters = rows_master_of(build)
    return Design(_CACHE_FORM, build.core, parameters, build, lambda: cache_register_table(build, parameters),
                  lambda: AxiCacheCore(build), lambda: cache_bench_head(build))
