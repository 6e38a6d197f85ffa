"""What passes between the blocks that carry jobs out."""

from collections.abc import Iterable

from amaranth.lib import data

from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.descriptors import STATUS_BITS
from latte.rtl.axi.job_registers import JOB_STATUS_BITS
from latte.rtl.common.payloads import job_layout

__all__ = ["STREAMS", "asked_layout", "begun_layout", "causes_layout", "checked_layout", "descriptor_causes_layout",
           "job_causes_layout", "rows_of_job_layout", "written_layout"]

STREAMS = ("q", "k", "v")
"""Rows that a job takes."""


def causes_layout(status_bits: Iterable[str]) -> data.StructLayout:
    """Bits of a status, without those that follow from them."""
    return data.StructLayout({name: 1 for name in status_bits if name not in ("done", "error")})


def descriptor_causes_layout() -> data.StructLayout:
    """Of a descriptor's status word."""
    return causes_layout(STATUS_BITS)


def job_causes_layout() -> data.StructLayout:
    """Of a job that registers queued."""
    return causes_layout(JOB_STATUS_BITS)


def checked_layout(fields: data.StructLayout, causes: data.StructLayout) -> data.StructLayout:
    """A descriptor as it was read, and why it cannot be carried out, if it cannot."""
    return data.StructLayout({"fields": fields, "invalid": 1, "causes": causes})


def asked_layout(causes: data.StructLayout) -> data.StructLayout:
    """A job for the core, or, if it is `invalid`, one that never comes there because of `causes`."""
    return data.StructLayout({"job": job_layout(), "interrupt": 1, "invalid": 1, "causes": causes})


def rows_of_job_layout() -> data.StructLayout:
    """So many rows the core will take off a stream; those of a job that it refused mean nothing."""
    return data.StructLayout({"rows": COUNT_BITS, "refused": 1})


def begun_layout(causes: data.StructLayout) -> data.StructLayout:
    """What is to be done about a job that was handed to the core, or that could not be.

    ``in_core``: the core has it, and its rows were asked for. ``rows`` of output will come, unless it is `refused`.
    """
    return data.StructLayout({"causes": causes, "in_core": 1, "refused": 1, "fresh": 1, "interrupt": 1,
                              "rows": COUNT_BITS})


def written_layout() -> data.StructLayout:
    """A descriptor that has begun, and where its output rows go."""
    return data.StructLayout({"begun": begun_layout(descriptor_causes_layout()), "address": ADDRESS_BITS, "stride": 32})
