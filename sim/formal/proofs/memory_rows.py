"""Lists of a tile's rows: nothing is lost, repeated or put in another order on the way through them."""


from amaranth import Cat, Mux, Signal, Value, unsigned

from latte.golden.memory.page_format import PageFormat
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.memory.candidate_list import CandidateList
from latte.rtl.memory.place_merge import PlaceMerge
from latte.rtl.memory.plane_unpacker import PlaneUnpacker, plane_lane
from latte.rtl.memory.score_store import ScoreStore
from latte.rtl.memory.survivor_merge import SurvivorMerge
from latte.sim.formal.followed import Followed
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.proofs.streams import QueueState
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_LEAN = small_build()
_UNEVEN = small_build(head_dim=16, estimate_bits=3)


def _survivors(s: Setting) -> None:
    dut = SurvivorMerge(_LEAN)
    inside, m = s.add(dut), s.m
    recalled, listed = dut.recalled.payload, dut.listed.payload
    s.m.d.comb += dut.floor.eq(s.constant("any_floor", dut.floor.shape()))
    for name in ("recalled", "listed"):
        port = getattr(dut, name)
        s.assume_stable(f"{name}_stable", port.valid, port.ready, port.payload)
    # Candidates that are to be read back. A list says in time that there is no more, and stays with it.
    left = Signal.like(dut.recalls)
    back, lists = dut.recalled.valid & dut.recalled.ready, dut.listed.valid & dut.listed.ready
    with m.If(dut.begin):
        m.d.sync += left.eq(dut.recalls)
    with m.Elif(back):
        m.d.sync += left.eq(left - 1)
    s.invariant("left", inside["left"] == left)
    s.invariant("busy", dut.busy | ((left == 0) & ~inside["held"]))
    s.assume("begin", ~(dut.begin & dut.busy))
    s.assume("listed_last", ~(dut.listed_last & dut.listed.valid))
    s.assume("no_more", ~s.held("was_last", dut.listed_last & dut.busy) | dut.listed_last)
    survives = (back & (recalled.estimate > dut.floor)) | lists
    leaves, o = dut.o.valid & dut.o.ready, dut.o.payload
    place = Mux(back, recalled.place, listed.place)
    estimate = Mux(back, recalled.estimate, listed.estimate)
    items = s.count("items", survives, leaves, 1)
    s.invariant("items", items == inside["held"])
    # The row has one at least.
    any_item = Signal()
    with m.If(dut.begin):
        m.d.sync += any_item.eq(0)
    with m.Elif(survives):
        m.d.sync += any_item.eq(1)
    s.assume("not_empty", ~(dut.busy & (left == 0) & dut.listed_last) | any_item)
    s.invariant("any_item", ~dut.busy | (inside["held"] == any_item))
    item = Followed(s, survives, Cat(place[:len(o.place)], estimate[:len(o.estimate)], back), items, leaves)
    s.invariant("item", ~item.here | ((item.ahead == 0) & inside["held"]
                                      & (item.item == Cat(o.place, o.estimate, o.spilled))))
    s.claim("order", "any survivor leaves as it came, behind all that came before it",
            Cat(o.place, o.estimate, o.spilled) == item.item, when=item.here & dut.o.valid)
    s.claim("nothing_else", "nothing leaves that is not a survivor, each once", items != 0, when=dut.o.valid)
    s.claim("spilled_first", "candidates of the list wait until all that were spilled are read back", left == 0,
            when=lists)
    s.claim("above_floor", "what is not above the floor goes without being offered", dut.recalled.ready,
            when=dut.recalled.valid & (left != 0) & (recalled.estimate <= dut.floor))
    s.claim("last", "the last survivor alone is marked: nothing is left in memory or in the list",
            o.last == ((left == 0) & dut.listed_last), when=dut.o.valid)
    s.claim("ends", "and with it the row ends", ~dut.busy | s.held("begins", dut.begin),
            when=s.held("last_leaves", leaves & o.last))
    s.claim("goes_on", "the row does not end before", dut.busy,
            when=s.held("busy", dut.busy & ~(leaves & o.last)))
    s.stable("stable", "a survivor stands until it is taken", dut.o.valid, dut.o.ready, Cat(o.place, o.estimate,
                                                                                           o.spilled, o.last))
    s.reach("both", dut.o.valid & ~o.spilled & s.held("spilled", o.spilled & leaves))


def _merge(s: Setting) -> None:
    build = _LEAN.__class__(**{**vars(_LEAN), "tile_rows": 2})
    dut = PlaceMerge(build, unsigned(2))
    inside, m, rows = s.add(dut), s.m, range(build.tile_rows)
    lists = [getattr(dut, f"i_{row}") for row in rows]
    o, leaves = dut.o.payload, dut.o.valid & dut.o.ready
    present, last_page = s.constant("any_rows", build.tile_rows), s.constant("any_page", len(dut.last_page))
    m.d.comb += [dut.rows.eq(present), dut.last_page.eq(last_page)]
    s.assume("rows", present != 0)
    # No restart: a tile's lists are merged once.
    s.assume("restart", ~dut.restart | s.after_reset)
    ended, takes = Signal(build.tile_rows), Cat(one.valid & one.ready for one in lists)

    def turn(place: Value) -> Value:
        """Return a place's number in the order of the stream."""
        return Cat(place, place < last_page)

    newest = [Signal(len(o.place) + 1, name=f"newest_{row}") for row in rows]
    some = Signal(build.tile_rows)
    for row, one in enumerate(lists):
        item = one.payload
        s.assume_stable(f"list_{row}_stable", one.valid, one.ready, item)
        s.assume(f"list_{row}_sorted", ~one.valid | ~some[row] | (turn(item.place) > newest[row]))
        s.assume(f"list_{row}_ended", ~one.valid | (present[row] & ~ended[row]))
        with m.If(takes[row]):
            m.d.sync += [some[row].eq(1), newest[row].eq(turn(item.place)), ended[row].eq(item.last)]
    s.invariant("ended", inside["ended"] == ended)
    taken = takes.any()
    given = turn(o.place)
    chosen, first = inside["chosen"], inside["first"]
    left = present & ~ended
    offers = [Cat(one.valid, left[row]) == 0b11 for row, one in enumerate(lists)]
    keys = [turn(one.payload.place) for one in lists]
    least = Mux(offers[0] & (~left[1] | (keys[0] <= keys[1])), keys[0], keys[1])
    s.invariant("chosen", ~chosen | (Cat(offer | ~left[row] for row, offer in enumerate(offers)).all() & left.any()
                                     & (first == least)))
    newest_given = Signal(len(given))
    began = Signal()
    with m.If(taken):
        m.d.sync += [newest_given.eq(least), began.eq(1)]
    for row in rows:
        s.invariant(f"newest_{row}", ~some[row] | (began & (newest_given >= newest[row])))
        s.invariant(f"next_{row}", ~began | ~left[row] | Mux(
            lists[row].valid, keys[row] > newest_given, some[row] & (newest[row] == newest_given)))
    s.invariant("given", ~dut.o.valid | (began & (given == newest_given) & (o.rows != 0)))
    s.claim("first", "what is taken is the first place of all lists, of each list that has it, and of no other",
            Cat(takes[row] == (offers[row] & (keys[row] == least)) for row in rows).all()
            & Cat(offer | ~left[row] for row, offer in enumerate(offers)).all(), when=taken)
    same = Cat(s.held(f"took_{row}", takes[row]) == o.rows[row] for row in rows).all()
    values = Cat(~o.rows[row] | ((o.values[row] == s.held(f"value_{row}", one.payload.value))
                                 & (o.spilled[row] == s.held(f"spilled_{row}", one.payload.spilled)))
                 for row, one in enumerate(lists)).all()
    s.claim("gives", "a key is given once, a cycle behind, with the rows that have it and what each says of it",
            dut.o.valid & same & values & (given == s.held("least", least)), when=s.held("taken", taken))
    s.claim("nothing_else", "and nothing else is given", s.held("took", taken) | s.held("waits", dut.o.valid & ~leaves),
            when=dut.o.valid)
    s.claim("order", "keys are given in the order of the stream, each once", given > s.held("before", newest_given),
            when=s.held("takes", taken) & s.held("had", began))
    s.claim("last", "the last key alone is marked: all lists have ended", o.last == ((present & ~ended) == 0),
            when=dut.o.valid)
    s.within("in_time", "a key is taken in the second cycle of its being there", 1,
             waits=Cat(offer | ~left[row] for row, offer in enumerate(offers)).all() & left.any() & ~taken
             & (~dut.o.valid | dut.o.ready))
    s.stable("stable", "a key stands until it is taken", dut.o.valid, dut.o.ready, Cat(
        o.place, o.rows, o.spilled & o.rows, o.last, *(Mux(o.rows[row], o.values[row], 0) for row in rows)))
    s.reach("both", dut.o.valid & o.rows.all())
    s.reach("one", dut.o.valid & ~o.rows[0] & present.all() & (ended == 0))


def _scores(s: Setting) -> None:
    build, row = _LEAN, _LEAN.tile_rows - 1
    dut = ScoreStore(build)
    inside, m = s.add(dut), s.m
    queue, kept = inside.part(f"queue_{row}"), inside.part(f"list_{row}")
    QueueState(s, queue.block, queue)
    item = dut.item
    score, given = item.values[row], queue.block.i
    keeps = dut.valid & item.rows[row] & ~item.spilled[row]
    # Scores that are kept, and those on their way out; they come before they are read, no more than there is room for.
    reading, total, gone = Signal(), Signal(range(build.candidates + 1)), Signal(range(build.candidates + 1))
    s.assume("scores", ~(dut.valid & (reading | dut.read | dut.restart)))
    s.assume("most", ~keeps | (total != build.candidates))
    s.assume("restart", ~dut.restart | (gone == total))
    largest, some = Signal(score.shape()), Signal()
    with m.If(dut.read):
        m.d.sync += reading.eq(1)
    m.d.sync += [total.eq(total + keeps), gone.eq(gone + given.valid)]
    with m.If(dut.valid & item.rows[row]):
        m.d.sync += [some.eq(1), largest.eq(Mux(some & (largest > score), largest, score))]
    with m.If(dut.restart):
        m.d.sync += [reading.eq(0), total.eq(0), gone.eq(0), some.eq(0)]
    # Any one of them, and where it lies.
    here, at, followed = Signal(), Signal(range(build.candidates)), Signal(len(Cat(item.place, score)))
    with m.If(dut.restart):
        m.d.sync += here.eq(0)
    with m.Elif(keeps & s.free("chosen") & ~here):
        m.d.sync += [here.eq(1), at.eq(total), followed.eq(Cat(item.place, score))]
    window = kept.memory("array_0").read_port(domain="comb")
    m.d.comb += window.addr.eq(at)
    steps = [s.held("step", inside["step"], age) for age in range(1, RAM_LATENCY + 1)]
    for name, condition in {
            "largest": ~some | (dut.row_max[row] == largest), "some": inside["some"] == some,
            "used": inside["used"] == total, "item": ~here | ((Value.cast(window.data) == followed) & (at < total)),
            "reads": inside["reads"] == reading, "total": total <= build.candidates,
            "taken": (inside["taken"] == gone + steps[0] + steps[1]) & (inside["taken"] <= total),
            "given": given.valid == steps[1]}.items():
        s.invariant(name, condition)
    s.claim("row_max", "row_max is the largest of a row's scores, also of those that are spilled",
            dut.row_max[row] == largest, when=some)
    s.claim("order", "any score leaves its list as it came, behind all that came before it",
            Cat(given.payload.place, given.payload.value) == followed, when=here & given.valid & (gone == at))
    s.claim("last", "the last one alone is marked", given.payload.last == (gone + 1 == total), when=given.valid)
    s.claim("nothing_else", "nothing leaves that did not come", gone < total, when=given.valid)
    s.claim("no_overflow", "none is lost: the queue that takes them has room for all that are under way",
            ~queue.block.overflow & queue.block.i.ready, when=given.valid)
    s.claim("empty", "a row is empty if none of its scores was kept", dut.empty[row] == (total == 0), when=reading)


def _unpacks(s: Setting) -> None:
    build = _UNEVEN
    dut = PlaneUnpacker(build)
    inside, m = s.add(dut), s.m
    core, form, lane = build.core, PageFormat(build), plane_lane(build)
    chunks = core.head_dim // len(dut.o.payload.elements)
    coming = build.bus_bytes // lane
    beat, o = dut.i.payload, dut.o.payload
    takes, gives = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    begins = takes & beat.first
    # Of a piece: chunks that have not left; lanes inside.
    low, rest, within = Signal(), Signal(range(build.page_rows * chunks + 1)), Signal(range(3 * coming + 1))
    going = Mux(low, form.low_bytes // chunks // lane, form.high_bytes // chunks // lane)
    last = gives & (rest == 1)
    s.assume("piece", ~beat.first | ((beat.skip < coming) & (beat.rows != 0) & (beat.rows <= build.page_rows)))
    s.assume_stable("beat", dut.i.valid, dut.i.ready, beat)
    after = within - Mux(gives, going, 0)
    with m.If(begins):
        m.d.sync += [low.eq(beat.low), rest.eq(beat.rows * chunks), within.eq(coming - beat.skip)]
    with m.Else():
        m.d.sync += [rest.eq(rest - gives), within.eq(after + Mux(takes & (rest != 0) & ~last, coming, 0))]
    # Any lane of it, until it leaves or the piece ends before.
    here, ahead, item, spot = (Signal(name="here"), Signal(range(3 * coming)), Signal(8 * lane),
                               s.free("spot", range(coming)))
    s.assume("spot", spot < coming)
    came = beat.data.word_select(spot, 8 * lane)
    chosen = s.free("chosen")
    with m.If(begins):
        m.d.sync += [here.eq(chosen & (spot >= beat.skip)), ahead.eq(spot - beat.skip), item.eq(came)]
    with m.Elif(last):
        m.d.sync += here.eq(0)
    with m.Elif(here):
        m.d.sync += [here.eq(~gives | (ahead >= going)), ahead.eq(ahead - Mux(gives, going, 0))]
    with m.Elif(takes & (rest != 0) & chosen):
        m.d.sync += [here.eq(1), ahead.eq(after + spot), item.eq(came)]
    for name, condition in {
            "level": (rest == 0) | (inside["level"] == within), "plane": (rest == 0) | (inside["plane"] == low),
            "rows": Mux(rest == 0, inside["rows"] == 0,
                        (inside["rows"] * chunks == rest + inside["number"]) & (inside["number"] < chunks)),
            "capacity": (rest == 0) | (within <= inside["capacity"]),
            "item": ~here | ((rest != 0) & (ahead < within)
                             & (inside["elaborate.buffer"].word_select(ahead, 8 * lane) == item))}.items():
        s.invariant(name, condition)
    planes = [Cat(Value.cast(element)[:bits] for element in o.elements) for bits in (core.low_bits, core.estimate_bits)]
    s.claim("order", "any lane of a piece leaves in its chunk, at its place, as it came",
            Mux(low, planes[0].word_select(ahead, 8 * lane), planes[1].word_select(ahead, 8 * lane)) == item,
            when=here & dut.o.valid & (ahead < going))
    s.claim("chunks", "as many chunks leave as the rows of the piece have, numbered, the last of each row marked",
            (rest != 0) & (o.low == low) & (o.last == (o.number == chunks - 1)), when=dut.o.valid)
    s.claim("idle", "idle if, and only if, all of them have left", dut.idle == (rest == 0),
            when=dut.idle | (rest == 0))
    s.claim("offers", "a chunk is offered as soon as all of it is here", dut.o.valid,
            when=(rest != 0) & (within >= going))
    s.claim("takes", "a beat is taken if it is the next piece's and this one has left, or finds room behind this chunk",
            dut.i.ready, when=(rest == 0) | last | (~beat.first & (after + coming <= inside["capacity"])))
    s.claim("waits", "the next piece waits until this one has left", (rest == 0) | last, when=begins)
    s.stable("stable", "a chunk stands until it is taken", dut.o.valid, dut.o.ready, o)
    s.reach("skips", begins & (beat.skip == coming - 1))


def _listed(s: Setting) -> None:
    dut = CandidateList(_LEAN)
    s.add(dut)
    m, candidate, o = s.m, dut.candidate, dut.o.payload
    leaves, floor = dut.o.valid & dut.o.ready, Signal(dut.floor.shape())
    m.d.comb += dut.floor.eq(floor)
    s.assume("append", ~dut.append | ~(dut.full | dut.busy | dut.begin))
    s.assume("begin", ~(dut.begin & dut.busy))
    # Candidates come in the order of their places: any one is known by its own.
    newest, some = Signal(candidate.place.shape()), Signal()
    s.assume("sorted", ~dut.append | ~some | (candidate.place > newest))
    place, listed, due = s.constant("any_place", len(candidate.place)), Signal(), Signal()
    estimate, latest, gave = Signal(candidate.estimate.shape()), Signal(candidate.place.shape()), Signal()
    with m.If(dut.append):
        m.d.sync += [newest.eq(candidate.place), some.eq(1)]
        with m.If(candidate.place == place):
            m.d.sync += [listed.eq(1), estimate.eq(candidate.estimate)]
    with m.If(dut.begin):
        m.d.sync += [floor.eq(s.free("any_floor", dut.floor.shape())), gave.eq(0)]
    begun, thins = s.held("begun", dut.begin), s.held("thins", dut.thins)
    with m.If(begun):
        m.d.sync += [listed.eq(listed & thins & (estimate > floor)), due.eq(listed & ~thins & (estimate > floor))]
    with m.If(leaves):
        m.d.sync += [gave.eq(1), latest.eq(o.place)]
        with m.If(o.place == place):
            m.d.sync += due.eq(0)
    s.claim("stays_or_leaves", "what is listed and above the floor of each pass leaves with the one that empties the "
            "list, as it came; nothing else does", due & (o.estimate == estimate),
            when=dut.o.valid & (o.place == place))
    s.claim("nothing_lost", "no pass ends before all of it has left", ~due,
            when=s.held("was_busy", dut.busy) & ~dut.busy)
    s.claim("order", "and it leaves in the order in which it came, each once", ~gave | (o.place > latest),
            when=dut.o.valid)
    s.claim("no_overflow", "none is lost as long as the list is not full", ~dut.overflow, when=dut.append)
    s.stable("stable", "a candidate stands until it is taken", dut.o.valid, dut.o.ready, o)


PROOFS = (
    Proof("SurvivorMerge", _survivors, "induction", 2, 14, "40 keys"),
    Proof("PlaneUnpacker", _unpacks, "induction", 1, 12, "rows of 16 elements, high parts of 3 bits"),
    Proof("ScoreStore", _scores, "induction", 7, 16, "lists of 16 scores"),
    Proof("CandidateList", _listed, "bounded", 12, 14, "lists of 16 candidates"),
    Proof("PlaceMerge", _merge, "induction", 2, 12, "2 rows, 40 keys"),
)
