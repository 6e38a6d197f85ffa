"""Hands jobs to the core, and has the rows fetched that they need."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import REFUSALS
from latte.rtl.axi.payloads import STREAMS, asked_layout, begun_layout, rows_of_job_layout
from latte.rtl.common.payloads import job_layout, verdict_layout

__all__ = ["JobDispatcher"]


class JobDispatcher(wiring.Component):
    """Carries each job to the core::

        asked -+-> job -> [verdict of the core] -> rows_k, rows_v, rows_q -+-> begun
               +-> invalid -----------------------------------------------+

    The core judges a job as soon as its predecessor's keys are loaded, before it takes a row of it. Only then are its
    rows asked for. A job that the core refuses takes its rows off the streams all the same. An invalid one never comes
    to the core.

    Throughput: one job at a time on its way to the verdict; rows and outputs of others may be under way.

    Parameters
    ----------
    causes
        Why a job ends with an error: the bits of its status.

    Members
    -------
    asked : In(stream of asked_layout)
        Stands until everything about it was handed on.
    settled : In(1)
        What was written to the register file is in place: a job may follow.
    job : Out(stream of job_layout), verdict : In(verdict_layout)
        The core's.
    rows_q, rows_k, rows_v : Out(stream of rows_of_job_layout)
    begun : Out(stream of begun_layout)
        In the order of the jobs.
    """

    def __init__(self, causes: data.StructLayout) -> None:
        self.causes = causes
        super().__init__({
            "asked": In(stream.Signature(asked_layout(causes))), "settled": In(1),
            "job": Out(stream.Signature(job_layout())), "verdict": In(verdict_layout()),
            **{f"rows_{name}": Out(stream.Signature(rows_of_job_layout())) for name in STREAMS},
            "begun": Out(stream.Signature(begun_layout(causes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked, begun = self.asked.payload, self.begun.payload
        verdict, refused = Signal(verdict_layout()), Signal()
        m.d.comb += [
            self.job.payload.eq(asked.job), begun.causes.eq(asked.causes), begun.in_core.eq(~asked.invalid),
            begun.refused.eq(refused & ~asked.invalid), begun.fresh.eq(asked.job.fresh),
            begun.interrupt.eq(asked.interrupt), begun.rows.eq(asked.job.query_rows),
        ]
        for name in REFUSALS:
            with m.If(verdict[name] & ~asked.invalid):
                m.d.comb += begun.causes[f"refused_{name}"].eq(1)
        for name in STREAMS:
            command = getattr(self, f"rows_{name}").payload
            m.d.comb += [command.rows.eq(asked.job.query_rows if name == "q" else asked.job.load_rows),
                         command.refused.eq(refused)]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.asked.valid & asked.invalid):
                    m.next = "BEGUN"
                with m.Elif(self.asked.valid & self.settled):
                    m.next = "JOB"
            with m.State("JOB"):
                m.d.comb += self.job.valid.eq(1)
                with m.If(self.job.ready):
                    m.next = "VERDICT"
            with m.State("VERDICT"):
                m.d.sync += [verdict.eq(self.verdict), refused.eq(self.verdict.as_value()[1:].any())]
                with m.If(self.verdict.valid):
                    m.next = "ROWS k"
            # Keys and values first: queries may wait for those of the job before.
            for name, after in (("k", "ROWS v"), ("v", "ROWS q"), ("q", "BEGUN")):
                with m.State(f"ROWS {name}"):
                    command = getattr(self, f"rows_{name}")
                    m.d.comb += command.valid.eq(1)
                    with m.If(command.ready):
                        m.next = after
            with m.State("BEGUN"):
                m.d.comb += [self.begun.valid.eq(1), self.asked.ready.eq(self.begun.ready)]
                with m.If(self.begun.ready):
                    m.next = "IDLE"
        return m
