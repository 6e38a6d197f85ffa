"""Tables that a tile's row fills by itself, against the golden model, under the stall matrix."""

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.pruned_mass import GAP_TABLE_SIZE, gap_weights
from latte.rtl.memory.row_tables import RowTables
from latte.rtl.wide.gap_table import scale_layout, table_write_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED
from tests.cocotb.weighed import PRUNING, held_scale


class FilledTables(wiring.Component):
    """The tables of a list of jobs, each of which is through when its table is known."""

    def __init__(self, build):
        self.build = build
        fields = table_write_layout(build.core).members
        written = data.StructLayout({name: fields[name] for name in ("table", "gap", "weight")})
        super().__init__({
            "job": In(stream.Signature(scale_layout())), "table": Out(stream.Signature(1)),
            "written_valid": Out(1), "written": Out(written), "ends_valid": Out(1), "ends": Out(fields["ends"])})

    def elaborate(self, platform):
        """Connect."""
        m = Module()
        m.submodules.tables = tables = RowTables(self.build)
        wiring.connect(m, wiring.flipped(self.job), tables.job)
        wiring.connect(m, tables.table, wiring.flipped(self.table))
        handed = tables.table.valid & tables.table.ready
        m.d.comb += [tables.release.eq(handed), tables.release_table.eq(tables.table.payload),
                     self.written_valid.eq(tables.fill.write), self.ends_valid.eq(handed),
                     self.ends.eq(tables.fill.ends),
                     *(self.written[name].eq(tables.fill[name]) for name in ("table", "gap", "weight"))]
        return m


@pytest.mark.parametrize("stall", STALLS)
def test_row_tables(check):
    """Scales that differ, and the same one again, which takes the same table without filling it."""
    rng = random.Random(SEED)
    scales = [held_scale(rng, PRUNING) for _ in range(20)]
    jobs, table, ends = {"job": [], "table": [], "written": [], "ends": []}, 0, [None, None]
    for scale in scales:
        table = 1 - table
        weights = gap_weights(np.arange(2 * GAP_TABLE_SIZE), scale, PRUNING)
        ends[table] = int(np.count_nonzero(weights))
        jobs["written"] += [{"table": table, "gap": gap, "weight": int(weights[gap])}
                            for gap in range(min(ends[table] + 1, GAP_TABLE_SIZE))]
        for _ in range(rng.choice([1, 3])):
            jobs["job"].append({"mantissa": scale[0], "shift": scale[1], "used": 1})
            jobs["table"].append(table)
            jobs["ends"].append(list(ends))
    check(FilledTables(MemoryBuild(core=PRUNING)), "row-tables", {"job": Offer(jobs.pop("job"))},
          {name: Expect(items) for name, items in jobs.items()})
