"""Register file: what is written is what is looked up; what no entry of the build can be leaves its head unknown."""

import dataclasses

import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig, preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.pruned_mass import NO_COMPENSATION, Gains, table_holds
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.common.entry_words import entry_words, pack_entry
from latte.rtl.common.head_registers import HeadRegisters

CONFIG = preset("tiny", max_seq_len=60, heads=20, threshold_kinds=("relative", "mass", "absolute"), key_groups=4)
PLAIN = preset("tiny", max_seq_len=60, heads=20).lean()
WORDS = list(entry_words(CONFIG))
SCALE = (45_000, 18)
CODES = tuple(range(3, 3 + LENGTH_OCTAVES))
GROUPS = KeyGroups((63, 5), (-128, 127))
ENTRY = HeadParameters(Threshold(ThresholdKind.RELATIVE, CODES), *SCALE, Gains(200, 70), GROUPS)


def write_of(config: AttentionConfig, entry: HeadParameters, head: int = 3, **words: int) -> list[dict[str, int]]:
    """Return the writes of an entry with some of its words in place of the right ones."""
    names = list(entry_words(config))
    writes = list(pack_entry(head, entry, config))
    for name, value in words.items():
        writes[names.index(name)]["data"] = value & 0xFFFF
    return writes


def outcome(config: AttentionConfig, writes: list[dict[str, int]], head: int = 3, *, reset: bool = False) -> dict:
    """Return whether the head is then known, its words, and the events on the way; `reset` comes behind the writes."""
    dut, restart = HeadRegisters(config), Signal()
    found = {"head_invalid": 0, "entry_invalid": 0, "words": []}

    async def bench(ctx):
        # What is wrong with a word is said a cycle after it was taken.
        for write in [*writes, None]:
            ctx.set(dut.parameter.valid, write is not None)
            if write:
                ctx.set(dut.parameter.payload, write)
            await ctx.tick()
            for event in ("head_invalid", "entry_invalid"):
                found[event] += ctx.get(getattr(dut, event))
        await ctx.tick().repeat(3)
        ctx.set(restart, reset)
        await ctx.tick()
        ctx.set(restart, 0)
        ctx.set(dut.head, head)
        ctx.set(dut.look_up, 1)
        for index in range(len(dut.words) + dut.latency):
            ctx.set(dut.index, min(index, len(dut.words) - 1))
            await ctx.tick()
            if index >= dut.latency - 1:
                found["words"].append(ctx.get(dut.word))
        found["known"] = ctx.get(dut.known)

    simulator = Simulator(ResetInserter(restart)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    found["words"] = found["words"][:len(dut.words)]
    return found


@pytest.mark.parametrize(("config", "entry"), [
    (PLAIN, HeadParameters(Threshold.relative(77), *SCALE)),
    (CONFIG, ENTRY),
    (CONFIG, dataclasses.replace(ENTRY, threshold=Threshold(ThresholdKind.MASS, (0,) * LENGTH_OCTAVES))),
    (CONFIG, dataclasses.replace(ENTRY, threshold=Threshold(ThresholdKind.ABSOLUTE, (-8192,) * LENGTH_OCTAVES))),
    (CONFIG, HeadParameters(Threshold.relative(5), 0, 0)),
    (CONFIG.replace(key_groups=8), ENTRY),
], ids=range(6))
def test_entries(config, entry):
    writes = write_of(config, entry)
    found = outcome(config, writes)
    assert found == {"known": 1, "words": [write["data"] for write in writes], "head_invalid": 0, "entry_invalid": 0}
    assert not outcome(config, writes, head=4)["known"] and not outcome(config, writes, head=20)["known"]


@pytest.mark.parametrize("head", [0, 3, CONFIG.heads - 1])
def test_a_reset_forgets_every_head_at_once(head):
    writes = write_of(CONFIG, ENTRY, head)
    assert outcome(CONFIG, writes, head)["known"] and not outcome(CONFIG, writes, head, reset=True)["known"]


def test_a_relative_threshold_of_zero_is_held_as_one():
    zero = dataclasses.replace(ENTRY, threshold=Threshold.relative(0))
    assert outcome(CONFIG, write_of(CONFIG, zero))["words"][-1] == 1
    assert outcome(PLAIN, write_of(PLAIN, HeadParameters(Threshold.relative(0), *SCALE)))["words"][-1] == 1


MASS = dataclasses.replace(ENTRY, threshold=Threshold(ThresholdKind.MASS, CODES))
ABSOLUTE = dataclasses.replace(ENTRY, threshold=Threshold(ThresholdKind.ABSOLUTE, CODES))
SMALL_SCALE = dataclasses.replace(ENTRY, scale_shift=23)
WRONG = {
    "gains": (CONFIG, ENTRY, {"gains": 69 | 70 << 8}), "element": (CONFIG, ENTRY, {"group_1": 64}),
    "no such kind": (CONFIG, ENTRY, {"control": 18 | 3 << 6}), "groups": (CONFIG, ENTRY, {"control": 18 | 3 << 8}),
    "nothing of the kind": (PLAIN, HeadParameters(Threshold.relative(1), *SCALE), {"control": 18 | 1 << 6}),
    "relative code": (CONFIG, ENTRY, {"code_2": 1 << 14}), "mass code": (CONFIG, MASS, {"code_2": 1 << 14}),
    "absolute code": (CONFIG, ABSOLUTE, {"code_5": 8192}), "far below": (CONFIG, ABSOLUTE, {"code_5": -8193}),
    "table by mass": (CONFIG, MASS, {"control": 23 | 1 << 6 | 2 << 8}),
    "table for gains": (CONFIG, ENTRY, {"control": 23 | 2 << 8}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_entry_of_the_build_can_have_leaves_its_head_unknown(name):
    config, entry, words = WRONG[name]
    found = outcome(config, [*write_of(config, entry), *write_of(config, entry, **words)])
    assert found["entry_invalid"] and not found["known"]
    # The next whole entry mends it.
    assert outcome(config, [*write_of(config, entry, **words), *write_of(config, entry)])["known"]


TURNS = {
    "half": (lambda w: w[:-1], 0), "a word left out": (lambda w: w[:2] + w[3:], len(WORDS) - 3),
    "another head between": (lambda w: [*w[:2], w[2] | {"head": 5}, *w[2:]], 1),
    "twice": (lambda w: [*w[:4], *w[3:]], 1), "begun again": (lambda w: w + w[:1], 0),
    "alone": (lambda w: w[-1:], 1), "beyond": (lambda w: [*w[:-1], w[-1] | {"word": len(w)}], 1),
}


@pytest.mark.parametrize("name", TURNS)
def test_words_out_of_turn_leave_the_head_unknown(name):
    change, events = TURNS[name]
    found = outcome(CONFIG, change(write_of(CONFIG, ENTRY)))
    assert not found["known"] and found["entry_invalid"] == events


def test_a_word_out_of_turn_harms_no_known_head():
    writes = write_of(CONFIG, ENTRY)
    others = write_of(CONFIG, ENTRY, 7)[:3]
    found = outcome(CONFIG, [*writes, writes[4] | {"data": 0}, *others, writes[3] | {"data": 0}])
    assert found["known"] and found["words"] == [write["data"] for write in writes]


def test_heads_that_do_not_exist():
    writes = write_of(CONFIG, ENTRY, 20)
    assert outcome(CONFIG, writes)["head_invalid"] == len(writes)
    assert not outcome(CONFIG, writes)["known"]


def test_scales_are_refused_by_hardware_as_by_the_golden_model():
    for code in ((1 << 15, 20), (40_000, 20), (65_535, 20), (65_535, 21), (1 << 15, 19), (100, 3), (0, 0), (65_535, 0)):
        entry = dataclasses.replace(ENTRY, scale_mantissa=code[0], scale_shift=code[1])
        plain = dataclasses.replace(entry, gains=NO_COMPENSATION)
        words = {"gains": 64 | 64 << 8}
        assert outcome(CONFIG, write_of(CONFIG, plain))["known"]
        assert outcome(CONFIG, write_of(CONFIG, plain, **words))["known"] == table_holds(code, CONFIG)
        if not table_holds(code, CONFIG):
            with pytest.raises(LatteError, match="too small for the hardware's table"):
                entry.registers(CONFIG)


@pytest.mark.parametrize(("changes", "entry", "says"), [
    ({"key_groups": 0}, ENTRY, "no compensation.*--key-groups 4"), ({"key_groups": 2}, ENTRY, "--key-groups 4"),
    ({"threshold_kinds": ("relative", "absolute")}, MASS, "no thresholds of kind mass"),
    ({"threshold_kinds": ("relative",)}, dataclasses.replace(ENTRY, gains=NO_COMPENSATION, groups=ONE_GROUP),
     "tau_per_octave"),
    ({}, SMALL_SCALE, "too small for the hardware's table"),
    ({}, dataclasses.replace(ENTRY, groups=KeyGroups((0, CONFIG.head_dim), (1, 2))),
     f"{CONFIG.head_dim}.*another model"),
    ({}, dataclasses.replace(ENTRY, threshold=Threshold(ThresholdKind.RELATIVE, (1 << 15,) * LENGTH_OCTAVES)),
     f"from 1 to .* not {1 << 15}"),
])
def test_what_a_build_lacks_is_one_sentence(changes, entry, says):
    with pytest.raises(LatteError, match=says) as error:
        entry.registers(CONFIG.replace(**changes))
    assert "\n" not in str(error.value)
