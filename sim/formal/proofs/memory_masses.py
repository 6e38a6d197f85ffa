"""What pruned keys give back: each mass of a row is multiplied in turn, each unit and denominator given once."""

from amaranth import Cat, Mux, Signal, Value

from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.memory.mass_return import MassReturn
from latte.rtl.wide.mass_product import GAIN, MASS, SUM, UNIT
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.sim.formal.proofs.memory_builds import small_build
from latte.sim.formal.setting import Proof, Setting

__all__ = ["PROOFS"]

_BUILD = small_build(weight_bits=4, key_groups=2)
_RETURN = 1 + ScaledProduct.latency
"""Operands; the product."""


def _returns(s: Setting) -> None:
    dut = MassReturn(_BUILD)
    inside, m = s.add(dut), s.m
    product, units = inside.part("scaled").block, inside.part("units").block
    queues = [inside.part(f"pruned_{n}").block for n in range(_BUILD.tile_rows)]
    ours, groups = s.constant("any_group", range(_BUILD.core.key_groups)), _BUILD.core.key_groups
    windows = [inside.memory(name).read_port(domain="comb") for name in ("masses", "reciprocals")]
    m.d.comb += [window.addr.eq(ours) for window in windows]
    rescale, row = dut.rescale.payload, dut.rescale.payload.row
    s.assume_stable("rescale_stable", dut.rescale.valid, dut.rescale.ready, rescale)
    s.assume("gains", ~dut.rescale.valid | ~s.held("waits", dut.rescale.valid & ~dut.rescale.ready)
             | (Value.cast(dut.gains) == s.held("gains", Value.cast(dut.gains))))
    # A row takes long: its witness is sought of one with a single group, for which nothing is waited for.
    offered = [getattr(dut, f"pruned_{n}") for n in range(_BUILD.tile_rows)]
    s.seek(dut.rescale.valid & dut.denominator.ready & dut.unit.ready & Cat(
        port.valid & port.payload.last & (port.payload.mass == 1) for port in offered).all()
        & (Value.cast(dut.gains) == 0) & (rescale.power == 1) & (rescale.shift == 0) & (dut.reciprocal.mantissa == 1))
    begins, step, which, group = (inside[f"elaborate.{name}"] for name in ("begins", "step", "which", "group"))
    mass = inside["elaborate.mass"]
    # Passes of a row, and the groups of each: one or two, as its masses say.
    passes, turn, last = Signal(range(SUM + 2)), Signal(range(groups)), Signal(range(groups))
    s.assume("masses", ~step | (passes != MASS) | mass.last | (turn != groups - 1))
    ends = Mux(passes == MASS, mass.last, (passes == SUM) | (turn == last))
    with m.If(begins):
        m.d.sync += [passes.eq(MASS), turn.eq(0)]
    with m.Elif(step):
        m.d.sync += [turn.eq(Mux(ends, 0, turn + 1)), passes.eq(passes + ends)]
        with m.If(passes == MASS):
            m.d.sync += last.eq(turn)
    flight, of_pass, of_turn = [step], [passes], [turn]
    for chain, name in ((flight, "flight"), (of_pass, "of_pass"), (of_turn, "of_turn")):
        for age in range(1, _RETURN + 1):
            chain.append(s.held(f"{name}_{age}", chain[-1]))
    del flight[0], of_pass[0], of_turn[0]
    comes, number, came = flight[-1], of_pass[-1], of_turn[-1]
    # What has come of any group last, of all in the first pass, and in the end.
    made, known, total, given = Signal.like(product.o), Signal(), Signal.like(dut.mass), Signal.like(product.o)
    with m.If(comes):
        m.d.sync += given.eq(product.o)
        with m.If(came == ours):
            m.d.sync += [made.eq(product.o), known.eq(1)]
        with m.If(number == MASS):
            m.d.sync += total.eq(total + product.o)
    with m.If(begins):
        m.d.sync += [total.eq(0), known.eq(0)]
    # Reciprocals that were asked for, and have come; that of the group.
    asked, answered = Signal(range(groups + 1), init=groups), Signal(range(groups + 1), init=groups)
    reciprocal, told = Signal.like(dut.reciprocal), Signal()
    asks = dut.keys.valid & dut.keys.ready
    s.assume("counted", ~dut.counted | (answered < asked))
    with m.If(begins):
        m.d.sync += [asked.eq(0), answered.eq(0), told.eq(0)]
    with m.Else():
        m.d.sync += [asked.eq(asked + asks), answered.eq(answered + dut.counted)]
        with m.If(dut.counted & (answered == ours)):
            m.d.sync += [reciprocal.eq(dut.reciprocal), told.eq(1)]
    recalled = Value.cast(windows[1].data) == Value.cast(reciprocal)
    state, within = inside.state, passes != SUM + 1
    stepped = Mux(passes == MASS, turn > ours, ours <= last)
    coming = Cat(step & (at == MASS) & (which_turn == ours)
                 for step, at, which_turn in zip(flight, of_pass, of_turn, strict=True)).any()
    for name, condition in {
            "any": state(), "open": state("ROW") | dut.rescale.valid,
            "pass": ~state("PASS") | ((which == passes) & within & ((passes == SUM) | (group == turn))),
            "wait": ~state("WAIT") | ((which + 1 == passes) & (turn == 0) & (passes != MASS)),
            "give": ~state("GIVE") | (passes == SUM + 1), "sum": (passes != SUM) | (turn == 0),
            "none": state("PASS", "WAIT") | ~Cat(flight).any(),
            "flight": Cat(~step | (at == which) for step, at in zip(flight, of_pass, strict=True)).all(),
            "last": state("ROW") | (passes == MASS) | (inside["last_group"] == last),
            "turn": ~state("PASS") | (passes == MASS) | (turn <= last),
            "known": state("ROW") | ~stepped | known | coming, "made": ~known | (windows[0].data == made),
            "total": state("ROW") | (dut.mass == total),
            "asked": (inside["asked"] == asked) & (inside["answered"] == answered) & (answered <= asked)
                     & (asked <= groups),
            "told": (answered <= ours) | (state("ROW") & ~told) | (told & recalled),
            "answers": ~state("ROW", "GIVE") | (answered == groups),
            "answered": ~state("PASS", "WAIT") | (passes < UNIT) | ((passes == UNIT) & (turn == 0))
                        | (answered == groups),
            "given": ~state("GIVE") | (inside["given"] == given[:len(inside["given"])])}.items():
        s.invariant(name, condition)
    gains = dut.gains[row]
    operands = {MASS: (mass.mass, rescale.power), GAIN: (made, gains.mean_gain), UNIT: (made, reciprocal.mantissa),
                SUM: (total, gains.denominator_gain)}
    for number_of, (name, meaning) in {
            MASS: ("rescales", "each mass of the row is multiplied with its power"),
            GAIN: ("gains", "then what has come of it with the gain of the mean"),
            UNIT: ("units", "then that with the reciprocal of the number of keys of its group"),
            SUM: ("sums", "then the sum of what came of them first with the gain of the denominator")}.items():
        a, b = operands[number_of]
        case = step & (passes == number_of) & ((turn == ours) | (number_of in (MASS, SUM)))
        s.claim(f"return_{name}", meaning,
                (product.a == s.held(f"a_{name}", a[:len(product.a)]))
                & (product.b == s.held(f"b_{name}", b)),
                when=s.held(f"case_{name}", case))
    s.claim("return_fits", "what is multiplied again fits", product.o >> len(product.a) == 0,
            when=comes & (number < UNIT))
    s.claim("return_own", "a row takes masses of its own", Cat(~queue.o.ready | (row == n)
                                                              for n, queue in enumerate(queues)).all(),
            when=Cat(queue.o.ready for queue in queues).any())
    unit = units.i.payload
    s.claim("return_unit", "a unit is given for each group of the row, in order, the last one marked",
            (number == UNIT) & (unit.row == row) & (unit.group == came) & (unit.last == (came == last))
            & (unit.unit == product.o[:len(unit.unit)]), when=units.i.valid)
    s.claim("return_each_unit", "and none is left out", units.i.valid, when=comes & (number == UNIT))
    s.claim("return_denominator", "a denominator is given when all passes of the row are through, and taken with "
            "the row", (passes == SUM + 1) & dut.rescale.valid & (dut.denominator.payload.row == row)
            & (dut.denominator.payload.denominator == given[:len(dut.denominator.payload.denominator)])
            & (dut.rescale.ready == dut.denominator.ready), when=dut.denominator.valid)
    s.claim("return_mass", "the mass of the row is told once, with the sum of its rescaled masses",
            (passes == SUM) & step & (dut.mass == total), when=dut.mass_valid)
    # Keys of any group of the row.
    keys, settled = s.constant("its_keys", dut.count.shape()), RAM_LATENCY
    place, our_row = Cat(dut.count_row, dut.count_group), s.constant("any_row", row.shape())
    looked = s.held("looked", place, settled)
    s.assume("count", (looked != Cat(our_row, ours)) | (dut.count == keys))
    s.assume("count_stands", (looked != s.held("before", looked)) | (dut.count == s.held("count", dut.count)))
    s.claim("return_keys", "the keys of each of the row's groups are asked about in turn, one if there is none",
            (dut.count_row == row) & (dut.count_group == asked) & (asked < groups) & (
                (Cat(row, asked) != Cat(our_row, ours)) | (dut.keys.payload == Mux(keys == 0, 1, keys))),
            when=dut.keys.valid)
    s.stable("return_keys_stable", "a question stands until it is taken", dut.keys.valid, dut.keys.ready,
             dut.keys.payload)


PROOFS = (
    Proof("MassReturn", _returns, "induction", 9, 44,
          "2 rows, 2 key groups, weights of 4 bits; products as ScaledProduct has them"),
)
