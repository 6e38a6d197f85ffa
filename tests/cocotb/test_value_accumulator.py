"""Weighted values, divided, against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from latte.golden.normalizer import normalize
from latte.golden.pruned_mass import UNIT_BITS, UNIT_FRAC_BITS, accumulate_virtual_survivors
from latte.golden.value_accumulator import accumulate_values
from latte.rtl.common.payloads import output_layout
from latte.rtl.common.primitives import delay
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.wide.key_counts import ROW_BITS, added_key_layout
from latte.rtl.wide.mass_compensation import compensation_layout
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.payloads import denominator_bits, weight_layout
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.rtl.wide.virtual_survivors import VirtualSurvivors
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, extreme_rows, output_beats, padded_words, row_lengths, wide_config, with_builds
from tests.cocotb.weighed import ONE_GROUP, PRUNING, SINGLE_PRUNING

MANY_SLICES = PRUNING.replace(name="many-slices", value_lanes=1, normalizer_lanes=1, bus_bytes=1, key_groups=8)

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


def connect_late(m: Module, source: stream.Interface, sink: stream.Interface, begins: Value, cycles: int) -> None:
    """Connect streams behind the time when it `begins`; half of the time an item waits for one of every `cycles`."""
    time, offered = Signal(10), Signal()
    comes = time[:exact_log2(cycles)] == 0
    m.d.sync += [time.eq(time + 1), offered.eq((offered & ~(source.valid & source.ready)) | comes | time[-1])]
    passes = offered & begins
    m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid & passes),
                 source.ready.eq(sink.ready & passes)]


class OutputFromMemory(wiring.Component):
    """Value accumulator in front of a value plane with given contents, and normaliser.

    A row's sums are outputs, too: of their low bits the quotients show nothing. `released`: the bank that a job's end
    gives back. `unlike`: an item ends its job, but no row. `idle`: a virtual survivor waits that is not its row's last,
    and no item is taken though one could be.

    Parameters
    ----------
    config
    v : int8 [2, max_seq_len, head_dim]
        By bank.
    additions
        Keys that are added to sums of values; virtual survivors wait for all of them, as each waits for its own.
    """

    def __init__(self, config, v, additions=0):
        self.config = config
        self.v = v
        self.additions = additions
        layouts = {"added": added_key_layout, "compensation": compensation_layout, "denominator": denominator_bits}
        compensation = {name: In(stream.Signature(layout(config))) for name, layout in layouts.items()
                        if config.key_groups}
        self.accumulator = ValueAccumulator(config)
        sums = data.StructLayout({"weight_sum": self.accumulator.weight_sum.shape(), "job_last": 1})
        super().__init__({"i": In(stream.Signature(weight_layout(config))), **compensation,
                          "sum_valid": Out(1), "sum": Out(sums),
                          "word_valid": Out(1), "word": Out(self.accumulator.word.shape()),
                          "released_valid": Out(1), "released": Out(1), "unlike": Out(1), "idle": Out(1),
                          "o": Out(stream.Signature(output_layout(config)))})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        config = self.config
        m.submodules.accumulator = accumulator = self.accumulator
        m.submodules.normalizer = normalizer = Normalizer(config)
        if config.key_groups:
            m.submodules.virtual = virtual = VirtualSurvivors(config)
            m.submodules.added = added = StreamQueue(added_key_layout(config), self.additions + 2)
            m.submodules.items = given = StreamQueue(compensation_layout(config))
            wiring.connect(m, wiring.flipped(self.i), virtual.i)
            wiring.connect(m, wiring.flipped(self.added), added.i)
            wiring.connect(m, added.o, virtual.added)
            connect_late(m, wiring.flipped(self.denominator), virtual.denominator, Const(1), 128)
            wiring.connect(m, wiring.flipped(self.compensation), given.i)
            come = Signal(range(self.additions + 1))
            m.d.sync += come.eq(come + (self.added.valid & self.added.ready))
            complete = delay(m, come == self.additions, StreamQueue.latency, name="complete")
            connect_late(m, given.o, virtual.compensation, complete, 16)
            wiring.connect(m, virtual.o, accumulator.i)
            item, waits = virtual.o.payload, virtual.compensation.payload
            takes = Cat(source.valid & source.ready for source in (virtual.i, virtual.added, virtual.compensation))
            m.d.comb += [accumulator.denominator.eq(virtual.sum_end),
                         self.unlike.eq(virtual.o.valid & item.job_last & ~item.row_last),
                         self.idle.eq(virtual.compensation.valid & waits.virtual & ~waits.last & ~takes.any()
                                      & (~virtual.o.valid | virtual.o.ready))]
        else:
            wiring.connect(m, wiring.flipped(self.i), accumulator.i)
        wiring.connect(m, wiring.flipped(self.o), normalizer.o)
        m.d.comb += [getattr(normalizer, name).eq(getattr(accumulator, name)) for name in (
            "row_reserve", "sum_valid", "weight_sum", "job_last", "word_valid", "word")]
        m.d.comb += [self.sum_valid.eq(accumulator.sum_valid), self.sum.weight_sum.eq(accumulator.weight_sum),
                     self.sum.job_last.eq(accumulator.job_last), self.word_valid.eq(accumulator.word_valid),
                     self.word.eq(accumulator.word), self.released_valid.eq(accumulator.release),
                     self.released.eq(accumulator.release_bank)]
        words = padded_words(self.v.reshape(-1, config.head_dim), config.value_lanes).tolist()
        m.submodules.plane = plane = Ram(data.ArrayLayout(signed(8), config.value_lanes), len(words), words)
        m.d.comb += [
            accumulator.row_room.eq(normalizer.row_room), accumulator.values.eq(plane.read_data),
            plane.read_addr.eq((accumulator.bank * config.max_seq_len + accumulator.key) * config.value_slices
                               + accumulator.slice),
        ]
        return m


def rounding_margin(added: np.ndarray) -> np.ndarray:
    """Return how far sums of what virtual survivors add lie from the last or the next edge of rounding."""
    beyond = (added + (1 << UNIT_FRAC_BITS >> 1)) % (1 << UNIT_FRAC_BITS)
    return np.minimum(beyond, (1 << UNIT_FRAC_BITS) - 1 - beyond)


@wide_config
def test_values_to_output(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    v = np.stack([extreme_rows(generator, config.max_seq_len, config, 127) for _ in range(2)])
    most = (1 << config.weight_bits) - 1
    items, sums, words, outputs, released = [], [], [], [], []
    for index, length in enumerate(row_lengths(config, rng, 20)):
        # Of equal values -128 at first: the only case that reaches the limit of the output.
        keys = [index] if index < 2 else sorted(rng.sample(range(config.max_seq_len), length))
        row = np.zeros((1, config.max_seq_len), np.int64)
        row[0, keys] = [rng.choice([0, most, rng.randint(0, most)]) for _ in keys]
        row[0, rng.choice(keys)] = most  # the weight of the row's largest score
        job_last, bank = rng.getrandbits(1), rng.getrandbits(1)
        items += [{"weight": int(row[0, key]), "key": key, "bank": bank, "row_last": key == keys[-1],
                   "job_last": job_last and key == keys[-1]} for key in keys]
        released += [bank] * job_last
        accumulated, weight_sum = accumulate_values(row, v[bank])
        sums.append({"weight_sum": int(weight_sum[0]), "job_last": job_last})
        words += padded_words(accumulated, config.value_lanes).tolist()
        outputs += output_beats(normalize(accumulated, weight_sum, config)[0], job_last, config)
    check(OutputFromMemory(config, v), f"values-{config.name}", {"i": Offer(items)},
          {"o": Expect(outputs), "sum": Expect(sums), "word": Expect(words), "released": Expect(released)})


@with_builds(PRUNING, MANY_SLICES, ONE_GROUP, slow=[SINGLE_PRUNING])
def test_virtual_survivors(config, check):
    rng, generator = random.Random(SEED), np.random.default_rng(SEED)
    v = np.stack([extreme_rows(generator, config.max_seq_len, config, 127) for _ in range(2)])
    most = (1 << config.weight_bits) - 1
    group_of_key = generator.integers(0, config.key_groups, config.max_seq_len)
    items, additions, compensation, denominators, sums, words, outputs, released = [], [], [], [], [], [], [], []
    added, added_bank = [], 0
    for index, length in enumerate([*row_lengths(config, rng, 25), *[1] * 40]):
        keys = [0] if index < 2 else sorted(rng.sample(range(config.max_seq_len), length))
        row = np.zeros((1, config.max_seq_len), np.int64)
        row[0, keys] = [rng.choice([0, most, rng.randint(0, most)]) for _ in keys]
        row[0, rng.choice(keys)] = most
        job_last, bank = rng.getrandbits(1), rng.getrandbits(1)
        items += [{"weight": int(row[0, key]), "key": key, "bank": bank, "row_last": key == keys[-1],
                   "job_last": job_last and key == keys[-1]} for key in keys]
        released += [bank] * job_last
        accumulated, weight_sum = accumulate_values(row, v[bank])
        denominators.append(0)
        if index % 3 == 2 or (length == 1 and rng.random() < 0.6):
            compensation.append({"virtual": 0, "last": 1})
        else:
            # Sums begin anew with a group's first key, others go on.
            if rng.random() < 0.3:
                added, added_bank = [], rng.getrandbits(1)
            for key in range(len(added), min(config.max_seq_len, len(added) + rng.randint(index == 0, 4))):
                group = int(group_of_key[key])
                additions.append({"key": key, "bank": added_bank, "group": group,
                                  "first": group not in group_of_key[added], "row": index % (1 << ROW_BITS)})
                added.append(key)
            keys_of_group = [[key for key in added if group_of_key[key] == g] for g in range(config.key_groups)]
            group_sums = np.array([[v[added_bank, some].sum(axis=0, dtype=np.int64) for some in keys_of_group]])
            units = [[rng.choice([0, (1 << UNIT_BITS) - 1, rng.getrandbits(UNIT_BITS - 4)]) if some else 0
                      for some in keys_of_group] for _ in range(16)]
            # One element of the row lies next to an edge of rounding: there alone each bit of a product counts.
            margins = rounding_margin(np.array(units) @ group_sums[0, :, index % config.head_dim])
            unit = np.array([units[np.argmin(margins)]])
            compensation += [{"virtual": 1, "unit": int(unit[0, g]), "group": g,
                              "last": g == config.key_groups - 1} for g in range(config.key_groups)]
            accumulated = accumulate_virtual_survivors(accumulated, unit, group_sums)
            # As much as the virtual survivors weigh at least, or the quotient would leave the range of V.
            least = int(unit[0] @ [len(some) for some in keys_of_group]) >> UNIT_FRAC_BITS
            denominators[-1] = min((1 << denominator_bits(config)) - 1, least
                                   + rng.choice([0, 1, rng.getrandbits(12), 1 << denominator_bits(config)]))
        sums.append({"weight_sum": int(weight_sum[0]) + denominators[-1], "job_last": job_last})
        words += padded_words(accumulated, config.value_lanes).tolist()
        outputs += output_beats(normalize(accumulated, weight_sum + denominators[-1], config)[0], job_last, config)
    if not config.group_bits:
        for item in additions + compensation:
            item.pop("group", None)
    check(OutputFromMemory(config, v, len(additions)), f"virtual-{config.name}",
          {"i": Offer(items), "added": Offer(additions), "compensation": Offer(compensation),
           "denominator": Offer(denominators)},
          {"o": Expect(outputs), "sum": Expect(sums), "word": Expect(words), "released": Expect(released)},
          quiet=["unlike", "idle"])
