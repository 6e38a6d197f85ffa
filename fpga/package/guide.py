"""The integration guide of a package: ``README.md``."""

import pathlib
from collections.abc import Iterator

import jinja2

from latte.fpga.package.bench_head import bench_head
from latte.fpga.package.forms import form_of
from latte.fpga.package.ports import ports
from latte.golden.documents import markdown_table
from latte.rtl.axi.bus import LITE_ADDRESS_BITS
from latte.rtl.axi.bus_core import BusCore
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DESCRIPTOR_FIELDS, STATUS_BITS
from latte.rtl.axi.job_registers import JOB_STATUS_BITS, JOBS_MAX
from latte.rtl.axi.registers import VERSION, output_element_bytes
from latte.rtl.common.entry_words import entry_words
from latte.rtl.common.identity import MAGIC

__all__ = ["SOURCES", "guide"]

SOURCES = pathlib.Path(__file__).parent / "sources"
"""Files that packages hold as they stand there, and the guides' templates."""


def guide(core: BusCore) -> str:
    """Return the text of the guide."""
    config, parameters = core.config, core.parameters
    words = entry_words(config)
    beats = -(-config.head_dim // parameters.data_bytes)
    element_bytes = output_element_bytes(config)
    fingerprint = next(register.reset for register in core.registers if register.name == "FINGERPRINT")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string((SOURCES / form_of(parameters).guide).read_text()).render(
        config=config, parameters=parameters, fingerprint=f"{fingerprint:#010x}", head=bench_head(config)[1],
        magic=f"{MAGIC:#010x}", version=VERSION, register_bytes=1 << LITE_ADDRESS_BITS,
        descriptor_bytes=DESCRIPTOR_BYTES, element_bytes=element_bytes, entry_words=words,
        jobs_max=JOBS_MAX, row_beats=beats, output_beats=-(-element_bytes * config.head_dim // parameters.data_bytes),
        job_bytes=config.max_seq_len * parameters.data_bytes * beats * (3 + element_bytes),
        ports=markdown_table(("port", "goes", "bits", "is"), ((f"`{port.name}`", "out" if port.output else "in",
                                                          port.width, port.description) for port in ports(core))),
        descriptor=markdown_table(("bits", "field", "is"), ((_bits(field.offset, field.width), f"`{field.name}`",
                                                             field.description) for field in DESCRIPTOR_FIELDS)),
        job_status=markdown_table(("bit", "name", "says"), _named(JOB_STATUS_BITS)),
        status=markdown_table(("bit", "name", "says"), [
            *_named(STATUS_BITS),
            ("31:16", "`number`", "Of the descriptor, as RING_TAIL counts.")]),
        entry=markdown_table(("word", "name", "fields: bits"), (
            (n, f"`{name}`", ", ".join(f"{field} {_bits(place.offset, place.width)}" for field, place in layout))
            for n, (name, layout) in enumerate(words.items()))))


def _named(bits: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield rows of a table of bits."""
    return ((bit, f"`{name}`", text) for bit, (name, text) in enumerate(bits.items()))


def _bits(low: int, width: int) -> str:
    """Return the bits of a field, from the high one."""
    return str(low) if width == 1 else f"{low + width - 1}:{low}"
