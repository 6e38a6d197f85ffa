"""Row buffer and scanner under the stall matrix: tiles in by column, out by row, with their maxima."""

import random

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.threshold_filter import row_maximum
from latte.rtl.common.primitives import delay
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer
from latte.rtl.wide.payloads import row_layout, tile_layout
from latte.rtl.wide.row_scanner import RowScanner, scanned_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED, bits, limits, of_signed, row_lengths, wide_config

pytestmark = [pytest.mark.parametrize("stall", STALLS)]


class ScannedTiles(wiring.Component):
    """Estimate buffer and row scanner; beats of estimates wait for the announcement of their tile.

    Parameters
    ----------
    config
    """

    def __init__(self, config):
        self.config = config
        self.buffer = EstimateBuffer(config)
        beat = data.StructLayout({"est": self.buffer.est.shape(), "tile_last": 1})
        super().__init__({"tile": In(stream.Signature(tile_layout(config))), "beat": In(stream.Signature(beat)),
                          "room": In(1), "row_valid": Out(1), "row": Out(row_layout(config)),
                          "o_valid": Out(1), "o": Out(scanned_layout(config))})

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
        return m


@wide_config
def test_estimate_buffer_and_scanner(config, check):
    rng = random.Random(SEED)
    lanes, pairs, low = config.key_lanes, config.pairs_per_cycle, limits(config.est_bits)[0]
    tiles, beats, rows, groups = [], [], [], []
    for last_keys in row_lengths(config, rng, 20):
        count = rng.randint(1, min(config.query_lanes, last_keys))
        causal, bank, job_last = (rng.getrandbits(1) for _ in range(3))
        first_keys, slot = last_keys - (count - 1) * causal, rng.randrange(config.query_rows)
        entry = {"tau": rng.randint(1, config.tau_keep_all), "scale_mantissa": rng.getrandbits(16),
                 "scale_shift": rng.getrandbits(6)}
        tiles.append({"entry": entry, "rows": count, "first_keys": first_keys, "last_keys": last_keys,
                      "causal": causal, "bank": bank, "slot": slot, "job_last": job_last})
        padded = -(-last_keys // pairs) * pairs
        estimates = np.array([[of_signed(rng, config.est_bits) for _ in range(padded)]
                              for _ in range(config.query_lanes)])
        if rng.getrandbits(1):
            estimates[:, :first_keys] = low  # the row's maximum is then the least estimate there is
        visible = np.arange(padded) < (first_keys + causal * np.arange(config.query_lanes))[:, None]
        maxima = row_maximum(estimates, visible)
        beats += [{"est": estimates[:, key:key + lanes].tolist(), "tile_last": key + lanes >= last_keys}
                  for key in range(0, last_keys, lanes)]
        for r in range(count):
            rows.append({"scale_mantissa": entry["scale_mantissa"], "scale_shift": entry["scale_shift"], "bank": bank,
                         "job_last": job_last and r == count - 1})
            keys = int(visible[r].sum())
            groups += [{"estimate": [int(estimates[r, key + n]) if key + n < keys else None for n in range(pairs)],
                        "visible": bits(visible[r, key:key + pairs]), "row_max": maxima[r], "tau": entry["tau"],
                        "key": key, "slot": (slot + r) % config.query_rows, "bank": bank,
                        "row_last": key + pairs >= keys} for key in range(0, keys, pairs)]
    check(ScannedTiles(config), f"scanner-{config.name}", {"tile": Offer(tiles), "beat": Offer(beats)},
          {"row": Expect(rows), "o": Expect(groups, "room", RowScanner.latency)})
