"""Hands jobs to the core with keys in memory, has their rows fetched, and takes its verdict."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.jobs import FAILURES, REFUSALS
from latte.rtl.axi.bus import ADDRESS_BITS
from latte.rtl.axi.payloads import STREAMS, checked_layout
from latte.rtl.axi.row_bursts import rows_layout
from latte.rtl.memory.cache_descriptors import cache_causes_layout, cache_descriptor_layout
from latte.rtl.memory.cache_payloads import cache_job_layout, cache_verdict_layout

__all__ = ["CacheDispatcher", "cache_begun_layout"]


def cache_begun_layout() -> data.StructLayout:
    """A descriptor that has begun: why it never comes to the core, or, if it is `in_core`, where its outputs go.

    ``heads`` rows of a position lie one behind the other, positions ``stride`` bytes apart.
    """
    return data.StructLayout({"causes": cache_causes_layout(), "in_core": 1, "interrupt": 1, "address": ADDRESS_BITS,
                              "stride": 32, "heads": COUNT_BITS})


class CacheDispatcher(wiring.Component):
    """Carries one job after the other to the core::

        asked -> begun -+-> job -> rows_k, rows_v, rows_q ... [verdict of the core, outputs have left] -> ended
                        +-> invalid

    The core reads the record while the first rows come. It takes all rows of a job, those of one that it refuses or
    that fails as well, before its verdict: by then their faults are known, too. The next job is handed over when all
    outputs of this one have left the core and `ended` is taken, so nobody mistakes the ones for the others.

    Throughput: one job at a time; the outputs and the status of the last one may be on their way to memory.

    Parameters
    ----------
    row_bytes
        Of a query in memory.

    Members
    -------
    asked : In(stream of checked_layout)
        Stands until its job has ended.
    settled : In(1)
        What was written to the register file is in place: a job may begin.
    begun : Out(stream of cache_begun_layout)
        In the order of the descriptors.
    job : Out(stream of cache_job_layout), verdict : In(cache_verdict_layout), drained : In(1)
        The core's.
    rows_q, rows_k, rows_v : Out(stream of rows_layout)
        To be read; of Q one position after the other.
    lost_q, lost_k, lost_v : In(1)
        A beat of these rows came with a fault.
    rows_failed : Out(1)
        The core's.
    ended : Out(stream of cache_causes_layout)
        The job is through: what became of it.
    """

    def __init__(self, row_bytes: int) -> None:
        self.row_bytes = row_bytes
        super().__init__({
            "asked": In(stream.Signature(checked_layout(cache_descriptor_layout(), cache_causes_layout()))),
            "settled": In(1), "begun": Out(stream.Signature(cache_begun_layout())),
            "job": Out(stream.Signature(cache_job_layout())), "verdict": In(cache_verdict_layout()), "drained": In(1),
            **{f"rows_{name}": Out(stream.Signature(rows_layout())) for name in STREAMS},
            **{f"lost_{name}": In(1) for name in STREAMS}, "rows_failed": Out(1),
            "ended": Out(stream.Signature(cache_causes_layout()))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked, begun, ended = self.asked.payload, self.begun.payload, self.ended.payload
        fields, verdict, query_failed = asked.fields, Signal(cache_verdict_layout()), Signal()
        m.d.comb += [
            *(self.job.payload[name].eq(fields[name]) for name in self.job.payload.shape().members),
            begun.causes.eq(asked.causes), begun.in_core.eq(~asked.invalid), begun.interrupt.eq(fields.interrupt),
            begun.address.eq(fields.o_address), begun.stride.eq(fields.o_stride), begun.heads.eq(fields.heads),
            *(ended[f"refused_{name}"].eq(verdict[name]) for name in REFUSALS),
            *(ended[f"failed_{name}"].eq(verdict[name]) for name in FAILURES),
            ended.read_failed.eq(query_failed | self.rows_failed),
        ]
        # Until its job has ended: a core that refuses may have done so before all rows are asked for.
        with m.If(self.verdict.valid):
            m.d.sync += verdict.eq(self.verdict)
        with m.If(self.lost_k | self.lost_v):
            m.d.sync += self.rows_failed.eq(1)
        with m.If(self.lost_q):
            m.d.sync += query_failed.eq(1)
        address, left = Signal(ADDRESS_BITS), Signal(COUNT_BITS)
        queries = self.rows_q.payload
        m.d.comb += [queries.address.eq(address), queries.stride.eq(self.row_bytes), queries.rows.eq(fields.heads)]
        for name in "kv":
            rows = getattr(self, f"rows_{name}").payload
            m.d.comb += [rows.address.eq(fields[f"{name}_address"]), rows.stride.eq(fields.kv_stride),
                         rows.rows.eq(fields.rows)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [verdict.eq(0), self.rows_failed.eq(0), query_failed.eq(0), address.eq(fields.q_address),
                             left.eq(fields.queries)]
                with m.If(self.asked.valid & (asked.invalid | self.settled)):
                    m.next = "BEGUN"
            with m.State("BEGUN"):
                m.d.comb += [self.begun.valid.eq(1), self.asked.ready.eq(self.begun.ready & asked.invalid)]
                with m.If(self.begun.ready):
                    m.next = "JOB"
                    with m.If(asked.invalid):
                        m.next = "IDLE"
            with m.State("JOB"):
                m.d.comb += self.job.valid.eq(1)
                with m.If(self.job.ready):
                    m.next = "ROWS k"
            for name, after in (("k", "ROWS v"), ("v", "QUERIES")):
                with m.State(f"ROWS {name}"):
                    command = getattr(self, f"rows_{name}")
                    m.d.comb += command.valid.eq(1)
                    with m.If(command.ready):
                        m.next = after
            with m.State("QUERIES"):
                m.d.comb += self.rows_q.valid.eq(left != 0)
                with m.If(left == 0):
                    m.next = "VERDICT"
                with m.Elif(self.rows_q.ready):
                    m.d.sync += [left.eq(left - 1), address.eq(address + fields.q_stride)]
            with m.State("VERDICT"):
                with m.If(verdict.valid & self.drained):
                    m.next = "ENDED"
            with m.State("ENDED"):
                m.d.comb += [self.ended.valid.eq(1), self.asked.ready.eq(self.ended.ready)]
                with m.If(self.ended.ready):
                    m.next = "IDLE"
        return m
