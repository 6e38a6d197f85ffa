"""First stage of the serial core: the estimates of one query row, one slice of one key per cycle."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_log2
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.common.payloads import compute_layout, key_shape, length_shape
from latte.rtl.common.primitives import delay
from latte.rtl.serial.serial_memories import DualPortRam
from latte.rtl.serial.serial_scratchpad import plane_port

__all__ = ["SerialEstimator", "estimated_row_layout"]


def estimated_row_layout(config: AttentionConfig) -> data.StructLayout:
    """One row whose estimates are all there: how many keys it sees, the largest of their estimates."""
    return data.StructLayout({"keys": length_shape(config), "maximum": signed(config.est_bits), "job_last": 1})


class SerialEstimator(wiring.Component):
    """``est[j] = sum(q_hi * k_hi[j])`` for the keys that each query row of a job sees (LATTE Eq. 5, Eq. 6)::

        compute -> row, key, slice counters -> [query ring, high plane] -> BitPlaneDot -> sum of slices -+-> memory
                                                                                                         +-> maximum

    Estimates wait in one half of a memory while the next row's go to the other. The end of a causal row is its own
    position: nothing is computed to be masked.

    Latency: a row of n keys is offered ``n * dim_slices + latency + 1`` cycles after its query was found, `latency`
    is from a slice's address to its place in the sum. Throughput: the next query is looked for one cycle after a row
    has left. Exact.

    Members
    -------
    compute : In(stream of compute_layout)
        A job; its payload stands until the last row has left the core.
    query_available : In(1)
    query_slice : Out, query : In
        A slice of the present row's high halves, one cycle later.
    keys : Out(plane_port)
    row : Out(stream of estimated_row_layout)
        Accepting a row frees the half of the memory that was read before.
    index : In(key_shape), estimate : Out(signed(est_bits))
        Estimates of the row that was accepted last, one cycle later.
    waiting_for_query, waiting_for_row : Out(1)
        No slice in this cycle, because the next query is not there; because the finished row is not taken.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self.latency = self.latency_of(config)
        super().__init__({
            "compute": In(stream.Signature(compute_layout(config))),
            "query_available": In(1), "query_slice": Out(range(config.dim_slices)),
            "query": In(data.ArrayLayout(signed(config.estimate_bits), config.dim_lanes)),
            "keys": Out(plane_port(config, signed(config.estimate_bits), config.dim_lanes)),
            "row": Out(stream.Signature(estimated_row_layout(config))),
            "index": In(key_shape(config)), "estimate": Out(signed(config.est_bits)),
            "waiting_for_query": Out(1), "waiting_for_row": Out(1)})

    @staticmethod
    def latency_of(config: AttentionConfig) -> int:
        """Return the cycles from a slice's address to its place in the sum: memories, dot product, sum."""
        return DualPortRam.latency + BitPlaneDot.latency_of(config.dim_lanes) + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        job = self.compute.payload
        rows_left = Signal.like(job.rows)
        visible = Signal(length_shape(config))
        key, part = self.keys.key, self.keys.slice
        key_ends, last_key, drained, half = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            key_ends.eq(part == config.dim_slices - 1), last_key.eq(key == visible - 1),
            self.query_slice.eq(part),
            self.row.payload.keys.eq(visible), self.row.payload.job_last.eq(rows_left == 1),
        ]
        with m.FSM():
            with m.State("JOB"):
                m.d.comb += self.compute.ready.eq(1)
                m.d.sync += [rows_left.eq(job.rows),
                             visible.eq(Mux(job.causal, job.keys - job.rows + 1, job.keys))]
                with m.If(self.compute.valid):
                    m.next = "QUERY"
            with m.State("QUERY"):
                m.d.comb += self.waiting_for_query.eq(~self.query_available)
                m.d.sync += [key.eq(0), part.eq(0)]
                with m.If(self.query_available):
                    m.next = "ESTIMATE"
            with m.State("ESTIMATE"):
                m.d.comb += self.keys.read.eq(1)
                m.d.sync += part.eq(Mux(key_ends, 0, part + 1))
                with m.If(key_ends):
                    m.d.sync += key.eq(key + 1)
                    with m.If(last_key):
                        m.next = "DRAIN"
            with m.State("DRAIN"), m.If(drained):
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [self.row.valid.eq(1), self.waiting_for_row.eq(~self.row.ready)]
                with m.If(self.row.ready):
                    m.d.sync += [half.eq(~half), rows_left.eq(rows_left - 1), visible.eq(visible + job.causal)]
                    m.next = "QUERY"
                    with m.If(self.row.payload.job_last):
                        m.next = "JOB"

        # Products of a slice, their sum, and what becomes of it.
        m.submodules.dot = dot = BitPlaneDot(config.dim_lanes, config.estimate_bits)
        m.d.comb += [dot.q.eq(self.query), dot.k.eq(self.keys.data)]
        flags = Cat(self.keys.read, self.keys.read & (part == 0), self.keys.read & key_ends,
                    self.keys.read & key_ends & last_key)
        valid, first, ends, last = delay(m, flags, self.latency - 1, name="flags")
        total, complete, first_key = Signal(signed(config.est_bits)), Signal(), Signal(init=1)
        written, maximum = Signal(key_shape(config)), self.row.payload.maximum
        m.d.sync += [complete.eq(ends), drained.eq(last)]
        with m.If(valid):
            m.d.sync += total.eq(Mux(first, 0, total) + dot.sum)
        m.submodules.memory = memory = DualPortRam(signed(config.est_bits), 2 << ceil_log2(config.max_seq_len))
        place = len(memory.read_addr) - 1
        m.d.comb += [
            memory.write_en.eq(complete), memory.write_data.eq(total), memory.write_addr.eq(Cat(written[:place], half)),
            memory.read_addr.eq(Cat(self.index[:place], ~half)), self.estimate.eq(memory.read_data),
        ]
        with m.If(complete):
            m.d.sync += [written.eq(Mux(drained, 0, written + 1)), first_key.eq(drained)]
            with m.If(first_key | (total > maximum)):
                m.d.sync += maximum.eq(total)
        return m
