"""What packages differ in by how rows come and go: the module's name, files, the guide."""

import dataclasses

from latte.rtl.axi.bus import DataParameters
from latte.rtl.axi.descriptors import JOB_DESCRIPTOR, DescriptorTable

__all__ = ["Form", "form_of"]


@dataclasses.dataclass(frozen=True)
class Form:
    """One kind of package.

    Parameters
    ----------
    name
        Of the top module, of its SystemVerilog and of the core in FuseSoC, IP-XACT and Vivado.
    guide
        Template of the guide, in `SOURCES`.
    copied
        File of `SOURCES`, as a template with the name in it: folder in a package.
    descriptors
        Of jobs in memory, if there are any.
    """

    name: str
    guide: str
    copied: dict[str, str]
    descriptors: DescriptorTable | None


_FORMS = {
    "axi": Form(
        "latte_axi", "guide.md", {
            "latte.c": "driver", "latte.h": "driver", "latte_driver.py": "driver", "bench.cpp": "bench",
            "run_head.h": "bench", "latte_litex.py": "litex", "package_ip.tcl": "vivado", "latte_axi.core": "."},
        descriptors=JOB_DESCRIPTOR),
    "axi-stream": Form(
        "latte_axi_stream", "stream_guide.md", {
            "stream_bench.cpp": "bench", "package_ip.tcl": "vivado", "latte_axi_stream.core": "."},
        descriptors=None)}
"""By `interface` of the parameters."""


def form_of(parameters: DataParameters) -> Form:
    """Return the kind of package that a core with these ports gets."""
    return _FORMS[parameters.interface]
