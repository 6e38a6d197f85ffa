"""A tile's weights and values: each survivor counts once, in its row, and each row's sums leave once."""

import dataclasses

from amaranth import Array, Cat, Mux, Signal, signed

from latte.rtl.memory.row_sums import RowSums
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.rtl.memory.tile_values import TileValues
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_BUILD = dataclasses.replace(small_build(head_dim=16, weight_bits=4), tile_rows=3)
_SCORES = small_build(weight_bits=4, exp_frac_bits=4)


def _values(s: Setting) -> None:
    dut = TileValues(_BUILD)
    inside, m = s.add(dut), s.m
    banks = [inside.part(f"bank_{bank}") for bank in range(dut.banks)]
    windows = [[bank.memory(name).read_port(domain="comb") for name in ("sums", "weight_sums")] for bank in banks]
    item, slices, latency = dut.i.payload, dut.config.value_slices, RowSums.latency
    for name in ("i", "value"):
        port = getattr(dut, name)
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
    s.assume("begin", ~(dut.begin & dut.busy))
    s.assume("rows", (dut.rows != 0) & (dut.rows <= _BUILD.tile_rows))
    s.assume("stands", ~dut.busy | ~s.held("busy", dut.busy) | (dut.rows == s.held("rows", dut.rows)))
    s.assume("weighs", ~dut.i.valid | ((item.fetch == Cat(item.weights).any()) & (item.fetch | item.last) & Cat(
        (n < dut.rows) | (item.weights[n] == 0) for n in range(_BUILD.tile_rows)).all()))
    # Products are proved of `RowSums`: values are small.
    value = dut.value.payload[0]
    s.assume("small", (value >= -2) & (value < 2))
    takes, comes = dut.i.valid & dut.i.ready, dut.value.valid & dut.value.ready
    # The tile's last item is in, and no other one comes before the next tile; the beat that comes; what leaves.
    all_in, beat = Signal(), Signal(range(slices))
    s.assume("items", ~dut.i.valid | (dut.busy & ~all_in))
    sent, part = Signal.like(dut.rows), Signal(range(slices))
    gives = dut.row_reserve | (part != 0)
    # Any sum of any row: its values times its weights; and its weights.
    row, which, lane = s.constant("any_row", range(_BUILD.tile_rows)), s.constant("any_slice", range(slices)), 0
    s.assume("row", row < _BUILD.tile_rows)
    total, weights = Signal(signed(len(dut.word[lane]))), Signal.like(dut.weight_sum)
    weight = Array(item.weights)[row]
    product = weight * value
    with m.If(comes):
        m.d.sync += beat.eq(Mux(beat == slices - 1, 0, beat + 1))
        with m.If(beat == which):
            m.d.sync += total.eq(total + product)
        with m.If(beat == 0):
            m.d.sync += weights.eq(weights + weight)
    with m.If(takes & item.last):
        m.d.sync += all_in.eq(1)
    with m.If(gives):
        m.d.sync += part.eq(Mux(part == slices - 1, 0, part + 1))
        with m.If(part == slices - 1):
            m.d.sync += sent.eq(sent + 1)
    with m.If(dut.begin):
        m.d.sync += [all_in.eq(0), total.eq(0), weights.eq(0), sent.eq(0)]
    at, state, given = inside["elaborate.at"], inside.state, inside["_weigh.given"]
    walk, walked = at.walked, Cat(at.walked.slice, at.walked.row)
    ours, items = Cat(which, row), state("ITEMS")
    # The row has had the beat at hand, or has it now.
    has = given.bit_select(row, 1)
    for name, condition in {
            "any": state(), "busy": dut.busy == state("BEGIN", "ITEMS"), "beat": inside["_weigh.part"] == beat,
            "beats": (beat < slices) & ((beat == 0) | dut.i.valid), "given": (given == 0) | (
                dut.i.valid & item.fetch & dut.value.valid & ((given & Cat(one == 0 for one in item.weights)) == 0)),
            "items_in": ~items | (inside["items_in"] == all_in), "begins": ~state("BEGIN") | ~(
                all_in | total.any() | weights.any() | beat.any() | given.any() | sent.any() | part.any()),
            "walk": Mux(items, (walk.row == sent) & (walk.slice == part), part == 0),
            "rows": ~dut.busy | (walk.row < dut.rows), "slices": walk.slice < slices,
            "idle": ~state("IDLE") | (walked == 0), "sent": ~items | (sent < dut.rows),
            "parts": (part == 0) | all_in}.items():
        s.invariant(name, condition)
    known = (row < dut.rows) & (items | (state("BEGIN") & (walked > ours)))
    begun = (row < dut.rows) & (items | (state("BEGIN") & (walked > Cat(which & 0, row))))
    stepped = Signal.like(total)
    m.d.comb += stepped.eq(total + Mux(has & (beat == which), product, 0))
    weighed = Signal.like(weights)
    m.d.comb += weighed.eq(weights + Mux(has & (beat == 0), weight, 0))
    for bank, (window, weight_window) in enumerate(windows):
        mine = row[0] == bank
        m.d.comb += [window.addr.eq(Cat(which, row[1:])), weight_window.addr.eq(row[1:])]
        s.invariant(f"sum_{bank}", ~mine | ~s.held("known", known, latency - 1) | (
            window.data[lane] == s.held("stepped", stepped, latency - 1)))
        s.invariant(f"weights_{bank}", ~mine | ~s.held("begun", begun) | (
            weight_window.data == s.held("weighed", weighed)))
    leaves = gives & (sent == row)
    s.claim("tile_sums", "any sum of a row is that of the values of all the tile's items, each times the row's weight",
            dut.word_valid & (dut.word[lane] == s.held("total", total, latency)),
            when=s.held("leaves", leaves & (part == which), latency))
    s.claim("tile_words", "rows leave in order, slice after slice, each once", dut.word_valid == s.held(
        "gives", gives, latency), when=dut.word_valid | s.held("gave", gives, latency))
    s.claim("tile_weights", "and so does the sum of the weights of each",
            dut.sum_valid & (dut.weight_sum == s.held("weights", weights, RowSums.sum_latency))
            & (dut.job_last == s.held("last", row == dut.rows - 1, RowSums.sum_latency)),
            when=s.held("begins_to_leave", leaves & dut.row_reserve, RowSums.sum_latency))
    s.claim("tile_weights_once", "once, and the tile's last one is marked", s.held(
        "reserved", dut.row_reserve, RowSums.sum_latency), when=dut.sum_valid)
    s.claim("tile_all_in", "none leaves before the tile's last item is in, nor without room", all_in & dut.row_room
            & dut.busy, when=dut.row_reserve)
    s.claim("tile_ends", "a tile ends when all its rows are under way", sent == s.held("rows", dut.rows),
            when=s.held("was_busy", dut.busy) & ~dut.busy & ~s.after_reset)
    s.claim("tile_beats", "beats are taken of items that weigh something, each item with its last one",
            item.fetch & dut.i.valid & (takes == (beat == slices - 1)), when=comes)
    s.claim("tile_light", "an item that weighs nothing is taken at once", takes & ~comes,
            when=dut.i.valid & ~item.fetch & s.held("ready", items))
    s.reach("two", s.held("two", leaves & (part == which) & (row == 2), latency) & (dut.word[lane] == -3))


def _weighs(s: Setting) -> None:
    dut = TileSoftmax(_SCORES)
    inside, m = s.add(dut), s.m
    pipeline, queue = inside.part("pipeline").block, inside.part("queue").block
    key, rows, latency = dut.i.payload, range(_SCORES.tile_rows), dut.weight_latency
    s.assume_stable("key_stable", dut.i.valid, dut.i.ready, key)
    s.assume("rows", ~dut.i.valid | key.rows.any())
    given, step = inside["given"], inside["step"]
    s.invariant("given", (given == 0) | (dut.i.valid & ((given & ~key.rows) == 0) & (given != key.rows)))
    taken = dut.i.valid & dut.i.ready
    # The row that is weighed, and any key, up to its last row; its weights as they come.
    weighed = [step & key.rows[n] & ~given[n] & ((key.rows & ~given & ((1 << n) - 1)) == 0) for n in rows]
    tracked, goes_on = Signal(name="tracked"), Signal(name="goes_on")
    came = Signal(len(Cat(key.place, key.last, key.rows)))
    starts = step & (given == 0) & ~tracked & s.free("chosen")
    mine = starts | goes_on
    leaves = s.held("leaves", taken & mine, latency + 1)
    weights = [Signal.like(queue.i.payload.weights[n], name=f"weight_{n}") for n in rows]
    began, done = s.held("began", starts, latency), Signal(len(rows))
    with m.If(began):
        m.d.sync += [done.eq(0), *(weight.eq(0) for weight in weights)]
    on_way = []
    for n in rows:
        has = s.held(f"has_{n}", weighed[n] & mine, latency)
        on_way.append(sum(s.held(f"on_way_{n}", weighed[n] & mine, age) for age in range(1, latency + 1)))
        with m.If(has):
            m.d.sync += [weights[n].eq(pipeline.weight), done[n].eq(1)]
        score = s.held(f"distance_{n}", (dut.row_max[n] - key.values[n]), 2)
        scale = dut.scales[n]
        s.claim(f"softmax_distance_{n}", f"of row {n}, the distance of a key's score to the row's largest is weighed, "
                "by the scale of its head", (pipeline.delta == score)
                & (Cat(pipeline.scale_mantissa, pipeline.scale_shift) == s.held(f"scale_{n}", scale.as_value(), 2)),
                when=s.held(f"weighs_{n}", weighed[n], 2))
    with m.If(starts):
        m.d.sync += [tracked.eq(1), came.eq(Cat(key.place, key.last, key.rows))]
    with m.Elif(leaves):
        m.d.sync += tracked.eq(0)
    m.d.sync += goes_on.eq(mine & ~taken)
    o, left = queue.i, [s.held("leaving", taken & mine, age) for age in range(1, latency + 1)]
    s.invariant("tracked", tracked == (goes_on | Cat(left).any() | leaves))
    # What is gathered in front of the queue.
    item, arrived = inside["_gather.item"], Signal(name="arrived")
    with m.If(began):
        m.d.sync += arrived.eq(1)
    with m.Elif(leaves):
        m.d.sync += arrived.eq(0)
    s.invariant("arrived", sum((s.held("started", starts, age) for age in range(1, latency + 1)), arrived) == tracked)
    kept = came[-len(rows):]
    for n, weight in enumerate(weights):
        s.invariant(f"done_{n}", on_way[n] + (arrived & done[n]) == (tracked & Mux(goes_on, given[n], kept[n])))
        s.invariant(f"weight_{n}", ~arrived | ((item.weights[n] == weight) & (done[n] | (weight == 0))))
    s.invariant("item", ~arrived | ((came == Cat(item.place, item.last, kept)) & (
        item.fetch == Cat(weights).any())))
    s.invariant("goes_on", ~goes_on | ((given != 0) & (came == Cat(key.place, key.last, key.rows))))
    s.claim("softmax_weights", "any key goes on with the weight of each row that keeps it, and 0 of each that does not",
            (Cat(o.payload.place, o.payload.last) == came[:-len(rows)]) & Cat(
                o.payload.weights[n] == Mux(kept[n], weight, 0) for n, weight in enumerate(weights)).all(), when=leaves)
    some = Cat(Mux(kept[n], weight, 0) for n, weight in enumerate(weights)).any()
    s.claim("softmax_fetch", "it goes on if it weighs something, or is the tile's last one; its value is wanted if it "
            "weighs something", (o.valid == (some | o.payload.last)) & (o.payload.fetch == some), when=leaves)
    s.claim("softmax_once", "each once, nothing else", s.held("taken", taken, latency + 1), when=o.valid)
    s.claim("softmax_rate", "a row is weighed in each cycle while there is room", step, when=dut.i.valid & queue.room)


PROOFS = (
    Proof("TileValues", _values, "induction", 5, 26, "3 rows of 2 slices, weights of 4 bits, values of 2"),
    Proof("TileSoftmax", _weighs, "induction", 14, 20, "2 rows, weights of 4 bits, as FineWeightPipeline has them"),
)
