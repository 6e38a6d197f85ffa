"""Register file and job sequencer: entries as they are written, jobs as they are judged, under the stall matrix."""

import bisect
import dataclasses

import numpy as np
import pytest

from latte.golden.attention import HeadParameters
from latte.golden.config import THRESHOLD_KINDS
from latte.golden.jobs import COUNT_BITS
from latte.golden.pruned_mass import NO_COMPENSATION, table_holds
from latte.golden.quantizer import SCALE_SHIFT_BITS, SCALE_SHIFT_MAX
from latte.golden.thresholds import LENGTH_OCTAVES, Threshold, ThresholdKind
from latte.rtl.common.entry_words import ENTRY_WORD_BITS, ENTRY_WORDS_MAX, entry_words, pack_entry
from latte.sim.block_testbench import Expect, Offer
from latte.sim.core_programs import random_entry
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE
from tests.cocotb.work_list import Program, WorkList

OVERLAPPING = WIDE.replace(name="overlapping", heads=37, max_seq_len=40_000, threshold_kinds=THRESHOLD_KINDS,
                           key_groups=4, kv_banks=2)
ONE_BY_ONE = WIDE.replace(name="one-by-one", heads=5, max_seq_len=20, query_lanes=1, kv_banks=1).lean()
JOBS = 240


def writes_of(rng, config, entry, head):
    """Return writes of an entry: as they should be, or with a word or their order spoilt."""
    writes = list(pack_entry(head, entry, config))
    kind = rng.integers(18)
    place = int(rng.integers(1, len(writes)))
    if kind == 0:
        del writes[place]
    elif kind == 1:
        writes = writes[:place]
    elif kind == 2:
        writes.insert(place, writes[place] | {"head": (head + 1) % config.heads})
    elif kind == 3:
        writes.insert(place, writes[place - 1])
    elif kind == 4:
        writes[-1] = writes[-1] | {"word": int(rng.integers(len(writes), ENTRY_WORDS_MAX))}
    elif kind == 5:
        beyond = int(rng.choice([config.heads, 64 << int(rng.integers(10)), 65_535]))
        writes = [write | {"head": beyond} for write in writes]
    elif kind > 9:
        place = int(rng.integers(len(writes) if rng.random() < 0.4 else len(writes) - len(config.code_octaves)))
        name = list(entry_words(config))[place]
        high = 1 << int(rng.integers(SCALE_SHIFT_BITS if name == "control" else ENTRY_WORD_BITS))
        near = writes[place]["data"] ^ high
        choices = {"control": [near | 3 << 6, near | 3 << 8, near | 1 << 10, near | 1 << 15],
                   "scale": [max(0, least_mantissa(entry.scale_shift, config) - 1), near],
                   "gains": [(low := int(rng.integers(255))) * 257, low + 1 | low << 8, low | low + 1 << 8, near]}
        data = int(rng.choice(choices.get(name, [0, high, high - 1, near])))
        if name.startswith("group_"):
            data = data & 0xFF00 | int(rng.choice([config.head_dim, 32, 64, 128, rng.integers(config.head_dim, 256)]))
        writes[place] = writes[place] | {"data": data}
    return writes


def least_mantissa(shift, config):
    """Return the smallest mantissa of a softmax scale that the table of weights holds; 65,536 if there is none."""
    return bisect.bisect_left(range(1 << 16), True, key=lambda mantissa: table_holds((mantissa, shift), config))


def random_head(rng, config):
    """Return an entry; its scale is any, if nothing needs a table of weights, else often one that just fits there."""
    entry, shift = random_entry(rng, config), int(rng.integers(SCALE_SHIFT_MAX + 1))
    if rng.random() < 0.6 and len(config.threshold_kinds) > 1:
        kind = ThresholdKind(rng.choice(THRESHOLD_KINDS))
        low, high = kind.code_range(config)
        codes = rng.choice([low, high, 0, *(1 << n for n in range(high.bit_length()))], len(entry.threshold.codes))
        entry = dataclasses.replace(entry, threshold=Threshold(kind, tuple(codes.tolist())))
    least = least_mantissa(shift, config)
    if entry.threshold.kind != "mass" and entry.gains == NO_COMPENSATION:
        least = int(rng.choice([0, max(0, least - 1)]))
    if least >> 16:
        return entry
    mantissa = int(rng.choice([least, rng.integers(least, 1 << 16)]))
    return dataclasses.replace(entry, scale_shift=shift, scale_mantissa=mantissa)


def random_job(rng, config, known, there):
    """Return arguments of `Program.add_job`: of a known head in most cases, of lengths around the limits."""
    others = [*rng.integers(config.heads, size=3).tolist(), config.heads, 65_535]
    head = rng.choice([*known] if known and rng.random() < 0.7 else others)
    room, power = config.max_seq_len - there, 1 << int(rng.integers(COUNT_BITS))
    keys = int(rng.choice([0, 1, 1, rng.integers(9), rng.integers(room + 1), room, room + 1, config.max_seq_len + 1]))
    length = there + keys
    queries = rng.choice([0, 1, 1, rng.integers(1, 9), rng.integers(length + 1), length, length + 1, power])
    if rng.random() < 0.1:
        queries = keys = 0  # which needs neither an entry nor groups
    return {"head": int(head), "queries": int(queries), "keys": keys, "fresh": bool(rng.random() < 0.3),
            "causal": bool(rng.random() < 0.5)}


def add_every_bit(program):
    """Add each head, each bit of a relative code in each octave and of a job's counts, each shift of a scale."""
    config = program.config
    for head in range(config.heads):
        codes = tuple(1 << (head + octave) % config.est_bits for octave in range(LENGTH_OCTAVES))
        codes = codes if config.code_octaves else codes[:1] * LENGTH_OCTAVES
        entry = HeadParameters(Threshold(ThresholdKind.RELATIVE, codes), 1 << 15, 16)
        program.add_writes(pack_entry(head, entry, config), entry)
        program.add_job(head, 1, 1, fresh=True)
    for bit in range(COUNT_BITS):
        program.add_job(0, 1 << bit, 0)
        if 1 << bit > config.heads:
            program.add_writes([{"head": 1 << bit, "word": 0, "data": 0}], None)
    by_mass = list(ThresholdKind).index(ThresholdKind.MASS) << SCALE_SHIFT_BITS
    for shift in range(SCALE_SHIFT_MAX + 1):
        least = least_mantissa(shift, config)
        for mantissa in (max(least - 1, 0), min(least, 65_535), 65_535):
            words = shift | by_mass, mantissa
            program.add_writes([{"head": 1, "word": n, "data": word} for n, word in enumerate(words)], None)


def random_program(config, overlapping):
    """Return (inputs, outputs) of a `WorkList`."""
    rng, program = np.random.default_rng(SEED), Program(config, overlapping)
    add_every_bit(program)
    groups = None
    while len(program.jobs) < JOBS:
        for _ in range(rng.integers(1, 16)):
            entry = random_head(rng, config)
            # Heads whose keys are in the same groups can go on with each other's sequences.
            groups = entry.groups if groups is None or rng.random() < 0.2 else groups
            entry = dataclasses.replace(entry, groups=groups)
            program.add_writes(writes_of(rng, config, entry, int(rng.integers(config.heads))), entry)
        for _ in range(rng.integers(1, 9)):
            program.add_job(**random_job(rng, config, program.file.known, len(program.sequence.keys)))
    waits = [int(rng.choice([0, rng.integers(128), rng.integers(1024)])) for _ in program.outputs["compute"]]
    return ({"parameter": Offer(program.writes), "job": Offer(program.jobs), "release": Offer(waits)},
            {name: Expect(items) for name, items in program.outputs.items()})


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(("config", "overlapping"), [(OVERLAPPING, True), (ONE_BY_ONE, False)],
                         ids=lambda value: getattr(value, "name", ""))
def test_work_list(config, overlapping, check):
    inputs, outputs = random_program(config, overlapping)
    check(WorkList(config, overlapping=overlapping), f"work-list-{config.name}", inputs, outputs,
          quiet=["clash"])
