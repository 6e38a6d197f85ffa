"""The integration guide of a package: ``README.md``."""

import pathlib
from collections.abc import Iterable, Iterator, Mapping

import jinja2

from latte.fpga.package.forms import Design, Form
from latte.fpga.package.ports import ports
from latte.fpga.package.record_table import ENTRY_BYTES
from latte.golden.documents import markdown_table
from latte.rtl.axi.bus import LITE_ADDRESS_BITS
from latte.rtl.axi.bus_core import BusCore
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DescriptorField
from latte.rtl.axi.job_registers import JOB_STATUS_BITS, JOBS_MAX
from latte.rtl.axi.registers import VERSION, output_element_bytes
from latte.rtl.common.entry_words import entry_words
from latte.rtl.common.identity import MAGIC

__all__ = ["SOURCES", "fusesoc_core", "guide"]

SOURCES = pathlib.Path(__file__).parent / "sources"
"""Files that packages hold as they stand there, and the guides' templates."""


def guide(design: Design, core: BusCore, head: str) -> str:
    """Return the text of the guide.

    Parameters
    ----------
    design
    core
    head
        What the bench runs.
    """
    config, parameters, form = design.config, design.parameters, design.form
    words = entry_words(config)
    beats = -(-config.head_dim // parameters.data_bytes)
    element_bytes = output_element_bytes(config)
    constants = {f"{register.name}.{field.name}": field.reset for register in core.registers
                 for field in register.fields}
    fields, bits = (form.descriptors.fields, form.descriptors.status_bits) if form.descriptors else ((), {})
    number = ("31:16", "`number`", "Of the descriptor, as RING_TAIL counts.")
    return _template(form.guide).render(
        **_memory(design, constants),
        config=config, parameters=parameters, name=form.name, head=head, constants=constants, build=design.build,
        fingerprint=f"{constants['FINGERPRINT.fingerprint']:#010x}", magic=f"{MAGIC:#010x}", version=VERSION,
        register_bytes=1 << LITE_ADDRESS_BITS, descriptor_bytes=DESCRIPTOR_BYTES, element_bytes=element_bytes,
        entry_words=words, jobs_max=JOBS_MAX, row_beats=beats,
        output_beats=-(-element_bytes * config.head_dim // parameters.data_bytes),
        job_bytes=config.max_seq_len * parameters.data_bytes * beats * (3 + element_bytes),
        ports=markdown_table(("port", "goes", "bits", "is"), ((f"`{port.name}`", "out" if port.output else "in",
                                                          port.width, port.description) for port in ports(core))),
        descriptor=_fields(fields), record=_fields(form.record),
        status=markdown_table(("bit", "name", "says"), [*_named(bits), number]),
        job_status=markdown_table(("bit", "name", "says"), _named(JOB_STATUS_BITS)),
        entry=markdown_table(("word", "name", "fields: bits"), (
            (n, f"`{name}`", ", ".join(f"{field} {_bits(place.offset, place.width)}" for field, place in layout))
            for n, (name, layout) in enumerate(words.items()))))


def fusesoc_core(form: Form, folder: pathlib.Path) -> str:
    """Return the text of FuseSoC's core file for what is in a package's folder."""
    found = [path for place in ("driver", "bench") for path in sorted((folder / place).iterdir())]
    return _template("fusesoc.core").render(form=form, **{
        name: [path.relative_to(folder).as_posix() for path in found if path.suffix == f".{name}"]
        for name in ("h", "c", "cpp")})


def _memory(design: Design, constants: dict[str, int]) -> dict[str, int]:
    """Return bytes of what lies in memory beside pages, if keys do."""
    if design.build is None:
        return {}
    table = design.build.padded(ENTRY_BYTES * design.build.page_limit)
    return {"entry_bytes": ENTRY_BYTES, "table_bytes": table, "fixed_bytes": constants["SPILL.bytes"] + constants[
        "SLOTS.number"] * (constants["RECORD.bytes"] + table)}


def _template(name: str) -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
                              loader=jinja2.FileSystemLoader(SOURCES)).get_template(name)


def _fields(fields: Iterable[DescriptorField]) -> str:
    """Return the table of fields in memory."""
    return markdown_table(("bits", "field", "is"), ((_bits(field.offset, field.width), f"`{field.name}`",
                                                     field.description) for field in fields))


def _named(bits: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield rows of a table of bits."""
    return ((bit, f"`{name}`", text) for bit, (name, text) in enumerate(bits.items()))


def _bits(low: int, width: int) -> str:
    """Return the bits of a field, from the high one."""
    return str(low) if width == 1 else f"{low + width - 1}:{low}"
