"""Row buffer and scanner under the stall matrix: tiles in by column, out by row, with their maxima."""

import random

import numpy as np
import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.threshold_filter import row_maximum
from latte.golden.thresholds import ThresholdKind
from latte.rtl.common.payloads import code_layout
from latte.rtl.common.primitives import delay
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer
from latte.rtl.wide.payloads import code_slots, row_layout, tile_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, WIDE, bits, limits, of_signed, row_lengths, with_builds
from tests.cocotb.weighed import PRUNING, SINGLE_PRUNING

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class ScannedTiles(wiring.Component):
    """Estimate buffer and row scanner; beats of estimates wait for the announcement of their tile.

    `early`: a row ended before the sums of the last one's groups had left, one in a cycle. `late`: they had, and yet
    the scanner waited in a cycle of `room`, or it did not say whether it waited.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.buffer = EstimateBuffer(config)
        groups = {"groups": self.buffer.groups.shape()} if config.group_bits else {}
        beat = data.StructLayout({"est": self.buffer.est.shape(), "tile_last": 1, **groups})
        codes = {"code_valid": In(1), "code": In(code_layout(config, code_slots(config)))}
        super().__init__({"tile": In(stream.Signature(tile_layout(config))), "beat": In(stream.Signature(beat)),
                          **(codes if config.code_octaves else {}), "room": In(1),
                          "row_valid": Out(1), "row": Out(row_layout(config)),
                          "o_valid": Out(1), "o": Out(scanned_layout(config)), "early": Out(1),
                          "late": Out(1)})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.buffer = buffer = self.buffer
        m.submodules.scanner = scanner = RowScanner(self.config)
        wiring.connect(m, wiring.flipped(self.tile), buffer.tile)
        wiring.connect(m, buffer.scan, scanner.scan)
        announced, begun = Signal(range(TILE_BUFFERS + 1)), self.tile.valid & self.tile.ready
        ended = self.beat.valid & self.beat.ready & self.beat.payload.tile_last
        m.d.sync += announced.eq(announced + delay(m, begun, 2, name="begun") - ended)
        m.d.comb += [
            self.beat.ready.eq(announced != 0), buffer.est_valid.eq(self.beat.valid & self.beat.ready),
            buffer.est.eq(self.beat.payload.est), buffer.read_index.eq(scanner.read_index),
            buffer.read_row.eq(scanner.read_row), scanner.read_data.eq(buffer.read_data), scanner.room.eq(self.room),
            self.row_valid.eq(scanner.row_valid), self.row.eq(scanner.row), self.o_valid.eq(scanner.o_valid),
            self.o.eq(scanner.o),
        ]
        if self.config.group_bits:
            m.d.comb += [buffer.groups.eq(self.beat.payload.groups), scanner.read_groups.eq(buffer.read_groups)]
            sums, ends = Signal(range(self.config.key_groups)), scanner.o_valid & scanner.o.row_last
            offered, stalled, room = delay(m, Cat(buffer.scan.valid, scanner.stalled, self.room), scanner.latency,
                                           name="scanned")
            m.d.comb += [self.early.eq(ends & (sums != 0)),
                         self.late.eq((stalled & room & (sums == 0)) | (stalled != (offered & ~scanner.o_valid)))]
            m.d.sync += sums.eq(Mux(ends, (1 << scanner.o.group_bits) - 1, Mux(sums == 0, 0, sums - 1)))
        if self.config.code_octaves:
            # All codes are there before the first tile.
            count = code_slots(self.config) * len(self.config.code_octaves)
            written = Signal(range(count + 1))
            m.d.sync += written.eq(written + self.code_valid)
            m.d.comb += [scanner.code_valid.eq(self.code_valid), scanner.code.eq(self.code)]
            with m.If(written != count):
                m.d.comb += [self.tile.ready.eq(0), buffer.tile.valid.eq(0)]
        return m


@with_builds(WIDE, PRUNING, slow=[SINGLE_PRUNING])
def test_estimate_buffer_and_scanner(config, check):
    rng = random.Random(SEED)
    lanes, pairs, low = config.key_lanes, config.pairs_per_cycle, limits(config.est_bits)[0]
    tiles, beats, rows, groups = [], [], [], []
    slots = range(code_slots(config))
    codes = {(slot, octave): rng.getrandbits(14) for slot in slots for octave in config.code_octaves}
    # Random lengths, then all of them, in each tile buffer, and rows that fill their groups; rows of three beats.
    lengths = [*row_lengths(config, rng, 50), *[*range(1, config.max_seq_len + 1)] * 2, *[pairs, 2 * pairs] * 5]
    for index, last_keys in enumerate([*lengths, *[3 * lanes] * 64]):
        count = rng.randint(1, min(config.query_lanes, last_keys))
        causal, bank, job_last = (rng.getrandbits(1) for _ in range(3))
        first_keys, slot = last_keys - (count - 1) * causal, rng.randrange(config.query_rows)
        entry = {"scale_mantissa": rng.getrandbits(16), "scale_shift": rng.getrandbits(6)}
        extra, threshold, gains = {}, {}, {}
        if config.code_octaves:
            extra["codes"] = rng.randrange(code_slots(config))
            entry["kind"] = threshold["kind"] = rng.randrange(len(ThresholdKind))
        else:
            entry["tau"] = threshold["tau"] = rng.randint(1, config.tau_keep_all)
        if config.key_groups:
            extra |= {"table": rng.getrandbits(1), "restart": rng.getrandbits(1)}
            gains = {"denominator_gain": rng.choice([0, rng.getrandbits(8)]), "mean_gain": rng.getrandbits(8),
                     "group_bits": rng.randint(0, config.group_bits)}
            threshold |= {"table": extra["table"], "compensated": gains["denominator_gain"] != 0,
                          "group_bits": gains["group_bits"]}
        tiles.append({**extra, "entry": entry | gains, "rows": count, "first_keys": first_keys, "last_keys": last_keys,
                      "causal": causal, "bank": bank, "slot": slot, "job_last": job_last})
        padded = -(-last_keys // pairs) * pairs
        middle, spread = of_signed(rng, config.est_bits), rng.choice([1, 3, 40, -2 * low])
        # Far apart, and so near that each bit of a comparison decides.
        estimates = np.array([[of_signed(rng, config.est_bits) if spread > -low else
                               min(max(middle + rng.randint(-spread, spread), low), -low - 1) for _ in range(padded)]
                              for _ in range(config.query_lanes)])
        if rng.getrandbits(1):
            estimates[:, :first_keys] = low  # the row's maximum is then the least estimate there is
        if index >= len(lengths):
            # All at the maximum behind a step of one, in the second or third beat: what misses it has another maximum.
            estimates[:] = max(middle, low + 1)
            estimates[:, :rng.choice([lanes, 2 * lanes])] -= 1
        visible = np.arange(padded) < (first_keys + causal * np.arange(config.query_lanes))[:, None]
        maxima = row_maximum(estimates, visible)
        grouped = [rng.randrange(max(1, config.key_groups)) for _ in range(padded)]
        beats += [{"est": estimates[:, key:key + lanes].tolist(), "tile_last": key + lanes >= last_keys}
                  | ({"groups": grouped[key:key + lanes]} if config.group_bits else {})
                  for key in range(0, last_keys, lanes)]
        for r in range(count):
            keys = int(visible[r].sum())
            last = {"job_last": job_last and r == count - 1}
            compensated = {"row_max": maxima[r], "keys": keys, "restart": r == 0 and extra.get("restart"), **gains}
            rows.append({"scale_mantissa": entry["scale_mantissa"], "scale_shift": entry["scale_shift"], "bank": bank,
                         **last} | (compensated if config.key_groups else {}))
            marks = threshold | (last if config.key_groups else {})
            if keys > 1 and config.code_octaves:
                marks["code"] = codes[extra["codes"], keys.bit_length() - 1]
            for key in range(0, keys, pairs):
                places = range(key, key + pairs)
                groups.append({"estimate": [int(estimates[r, n]) if n < keys else None for n in places],
                               "visible": bits(visible[r, key:key + pairs]), "row_max": maxima[r],
                               "key": key, "slot": (slot + r) % config.query_rows, "bank": bank,
                               "row_last": key + pairs >= keys, **marks} | (
                    {"groups": [grouped[n] if n < keys else None for n in places]} if config.group_bits else {}))
    inputs = {"tile": Offer(tiles), "beat": Offer(beats)}
    if config.code_octaves:
        inputs["code"] = Offer([{"slot": slot, "octave": octave, "code": code}
                                for (slot, octave), code in codes.items()])
    check(ScannedTiles(config), f"scanner-{config.name}", inputs,
          {"row": Expect(rows), "o": Expect(groups, "room", RowScanner.latency)}, quiet=["early", "late"])
