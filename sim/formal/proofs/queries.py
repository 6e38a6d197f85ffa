"""Queries on their way in, until the cross products are done with them."""

from amaranth import Mux, Signal, Value

from latte.golden.config import preset
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_QUERIES = preset("small", head_dim=4, max_seq_len=4, heads=2, query_lanes=1, query_rows=4, weight_bits=4, bus_bytes=4,
                  estimate_bits=2, cross_lanes=4, value_lanes=4).lean()
_MOST = 7
"""Rows that are counted."""


def _queries(s: Setting) -> None:
    config = _QUERIES
    dut = QueryBuffer(config)
    s.add(dut)
    m, load, q, o = s.m, dut.load, dut.q, dut.o
    number, place = s.constant("any_row", range(6)), s.constant("any_element", range(config.head_dim))
    beats, step = config.head_dim // config.bus_bytes, 1 << config.low_bits
    # Rows that the command has left; rows that have come to be kept, left, and are no longer needed.
    left, drop, beat = Signal(COUNT_BITS), Signal(), Signal(range(beats))
    came, gone, retired = (Signal(range(_MOST + 1), name=name) for name in ("came", "gone", "retired"))
    takes = q.valid & q.ready
    ends = takes & (beat == beats - 1)
    s.assume("most", ~ends | drop | (came != _MOST))
    s.assume("retire", ~dut.retire | (retired < gone))
    with m.If(load.valid & load.ready):
        m.d.sync += [left.eq(load.payload.rows), drop.eq(load.payload.drop)]
    with m.If(takes):
        m.d.sync += [beat.eq(Mux(ends, 0, beat + 1)), left.eq(left - ends), came.eq(came + (ends & ~drop))]
    m.d.sync += [gone.eq(gone + (o.valid & o.ready)), retired.eq(retired + dut.retire)]
    given = Value.cast(q.payload).word_select(place % config.bus_bytes, 8).as_signed()
    element = Signal(given.shape())
    with m.If(takes & ~drop & (came == number) & (beat == place // config.bus_bytes)):
        m.d.sync += element.eq(Mux(given > config.qk_max, config.qk_max, given))
    s.claim("commanded", "rows are taken while the command has any left, and the next command behind them",
            (load.ready == (left == 0)) & (~q.ready | (left != 0)))
    high = Value.cast(o.payload).word_select(place, config.estimate_bits).as_signed()
    rest = element - (high << config.low_bits)
    s.claim("high_parts", "any row's high parts leave, in the order of the rows, each once",
            (rest >= -(step // 2)) & (rest < step // 2) & (came > gone), when=o.valid & (gone == number))
    s.claim("only_rows", "and nothing that is not kept", came > gone, when=o.valid)
    address = (dut.cross_slot == number % config.query_rows) & (dut.cross_slice == place // config.cross_lanes)
    data = Value.cast(dut.cross_data).word_select(place % config.cross_lanes, 8)
    low, top = data[:config.low_bits].as_signed(), data[config.low_bits:].as_signed()
    kept = (gone > number) & (retired <= number)
    s.claim("kept_whole", "both parts of any row that has left are read until it is retired",
            (top << config.low_bits) + low == s.held("element", element, RAM_LATENCY),
            when=s.held("asked", address & kept, RAM_LATENCY))
    s.claim("row_room", "a row begins only while there is a place for it", came - retired < config.query_rows,
            when=takes & ~drop & (beat == 0))


PROOFS = (
    Proof("QueryBuffer", _queries, "bounded", 14, 16, "a ring of 4 rows of one beat"),
)
