"""Hands descriptors to the core as jobs, and has the rows fetched that they need."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import REFUSALS
from latte.rtl.axi.payloads import STREAMS, begun_layout, checked_layout
from latte.rtl.axi.row_fetcher import fetch_layout
from latte.rtl.common.payloads import job_layout, verdict_layout

__all__ = ["JobDispatcher"]


class JobDispatcher(wiring.Component):
    """Carries each descriptor from the ring to the core::

        descriptor -+-> job -> [verdict of the core] -> fetch_k, fetch_v, fetch_q -+-> begun
                    +-> invalid ---------------------------------------------------+

    The core judges a job as soon as its predecessor's keys are loaded, before it takes a row of it. Only then are its
    rows asked for. A job that the core refuses takes its rows off the streams all the same: it is fed rows of zeros,
    and nothing is read from memory. An invalid descriptor never comes to the core.

    Throughput: one job at a time on its way to the verdict; rows and outputs of others may be under way.

    Members
    -------
    descriptor : In(stream of checked_layout)
    settled : In(1)
        What was written to the register file is in place: a job may follow.
    job : Out(stream of job_layout), verdict : In(verdict_layout)
        The core's.
    fetch_q, fetch_k, fetch_v : Out(stream of fetch_layout)
    begun : Out(stream of begun_layout)
        In the order of the descriptors.
    """

    def __init__(self) -> None:
        super().__init__({
            "descriptor": In(stream.Signature(checked_layout())), "settled": In(1),
            "job": Out(stream.Signature(job_layout())), "verdict": In(verdict_layout()),
            **{f"fetch_{name}": Out(stream.Signature(fetch_layout())) for name in STREAMS},
            "begun": Out(stream.Signature(begun_layout()))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        descriptor, fields = self.descriptor.payload, self.descriptor.payload.fields
        begun = self.begun.payload
        refused = Signal()
        m.d.comb += [self.job.payload[name].eq(fields[name]) for name in job_layout().members]
        m.d.comb += [
            begun.causes.eq(descriptor.causes), begun.in_core.eq(~descriptor.invalid), begun.fresh.eq(fields.fresh),
            begun.interrupt.eq(fields.interrupt), begun.address.eq(fields.o_address),
            begun.stride.eq(fields.o_stride),
            begun.rows.eq(Mux(refused | descriptor.invalid, 0, fields.query_rows)),
        ]
        verdict = Signal(verdict_layout())
        for name in REFUSALS:
            with m.If(verdict[name] & ~descriptor.invalid):
                m.d.comb += begun.causes[f"refused_{name}"].eq(1)
        for name in STREAMS:
            command = getattr(self, f"fetch_{name}").payload
            m.d.comb += [
                command.address.eq(fields[f"{name}_address"]), command.stride.eq(fields[f"{name}_stride"]),
                command.rows.eq(fields.query_rows if name == "q" else fields.load_rows), command.zeros.eq(refused),
            ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.descriptor.valid & descriptor.invalid):
                    m.next = "BEGUN"
                with m.Elif(self.descriptor.valid & self.settled):
                    m.next = "JOB"
            with m.State("JOB"):
                m.d.comb += self.job.valid.eq(1)
                with m.If(self.job.ready):
                    m.next = "VERDICT"
            with m.State("VERDICT"):
                m.d.sync += [verdict.eq(self.verdict),
                             refused.eq(self.verdict.as_value()[1:].any())]
                with m.If(self.verdict.valid):
                    m.next = "FETCH k"
            # Keys and values first: queries may wait for those of the job before.
            for name, after in (("k", "FETCH v"), ("v", "FETCH q"), ("q", "BEGUN")):
                with m.State(f"FETCH {name}"):
                    command = getattr(self, f"fetch_{name}")
                    m.d.comb += command.valid.eq(1)
                    with m.If(command.ready):
                        m.next = after
            with m.State("BEGUN"):
                m.d.comb += [self.begun.valid.eq(1), self.descriptor.ready.eq(self.begun.ready)]
                with m.If(self.begun.ready):
                    m.next = "IDLE"
        return m
