"""First half of a tile: the stream of high planes, the survivors of each row, their scores."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.memory.build import MemoryBuild
from latte.golden.thresholds import ThresholdKind
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.axi.read_engine import reader_members
from latte.rtl.axi.write_engine import writer_members
from latte.rtl.common.payloads import key_shape, length_shape
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.memory.place_merge import PlaceMerge
from latte.rtl.memory.row_selector import RowSelector
from latte.rtl.memory.row_tables import RowTables
from latte.rtl.memory.score_store import ScoreStore
from latte.rtl.memory.spill_store import SpillStore
from latte.rtl.memory.tile_array import TileArray
from latte.rtl.memory.tile_payloads import merged_layout, score_shape, tile_config, tile_row_layout
from latte.rtl.memory.tile_reader import ReadCommand, TileReader
from latte.rtl.wide.row_limiter import group_mass_layout

__all__ = ["TileFront", "failure_layout", "tile_layout"]

ESTIMATES = 1024
"""Keys whose estimates wait while a row's tables are filled, or a selector makes room in its list: it takes a key in
each cycle, and a bus of a beat for half a row of high parts brings one in two, so that it catches up."""


def tile_layout(build: MemoryBuild) -> data.StructLayout:
    """A tile of `rows` query rows, of which the last sees `keys` keys, of the sequence whose page table is there."""
    return data.StructLayout({"rows": range(build.tile_rows + 1), "keys": length_shape(build.core),
                              "table_address": ADDRESS_BITS})


def failure_layout() -> data.StructLayout:
    """Why a tile's outputs mean nothing: a page has no entry, a read or a write had an error."""
    return data.StructLayout({"page_unmapped": 1, "memory_error": 1})


class _Phase:
    """What a tile is about.

    Attributes
    ----------
    begins, table, streams, selects, scores, ends
        A tile is taken; its page table is asked for; keys are streamed; survivors get their scores; the scores leave;
        it has ended.
    asked
        The stream was asked for.
    fetches, recalls
        A survivor, a piece of what was spilled is asked for.
    known, filled, limited
        Rows whose entry is here, whose table is filled, whose limit is known.
    table_of
        Which of its selector's tables each row uses.
    """

    def __init__(self, build: MemoryBuild) -> None:
        self.begins, self.table, self.streams, self.selects, self.scores, self.ends = (
            Signal(name=name) for name in ("begins", "table", "streams", "selects", "scores", "ends"))
        self.asked, self.fetches, self.recalls = (Signal(name=name) for name in ("asked", "fetches", "recalls"))
        self.known, self.filled, self.limited, self.table_of = (
            Signal(build.tile_rows, name=name) for name in ("known", "filled", "limited", "table_of"))


class TileFront(wiring.Component):
    r"""`latte.golden.memory.tile` up to the scores; one phase after the other::

        tile ----> page table ----------------------------+
        row, q --> RowTables of gap weights               v
        TileReader -> chunk -> TileArray -> estimates -> RowSelectors -> PlaceMerge -+-> TileReader -> TileArray
                                                            \-> masses               +-> estimates --------> + -> score
        score -> ScoreStore -> PlaceMerge -> scores
        candidates beyond a selector's list, and their scores -> SpillStore -> the same merges

    The merge serves both passes: of the selectors' survivors, then of the stored scores.

    Throughput: of the stream, a beat of high planes per cycle; of survivors, a beat per cycle.

    Parameters
    ----------
    build
    parameters
        Of the master.

    Members
    -------
    first_page, spill_address : In(ADDRESS_BITS)
        As of `TileReader` and `SpillStore`.
    tile : In(stream of tile_layout)
        Taken when the last one has `ended`.
    row : In(stream of tile_row_layout), q : In(stream of ArrayLayout(signed(8), bus_bytes))
        Those of the tile, in order.
    complete : In(1)
        The tile's keys may be streamed: they are all in memory.
    rows, present : Out
        Rows of the tile, their number and a bit for each; `entries` : Out(ArrayLayout(tile_row_layout, tile_rows)).
    estimate_max, score_max : Out
        Largest of each row.
    scored : Out(1)
        For one cycle: all survivors have their scores, which follow.
    scores : Out(stream of merged_layout of scores)
    masses_<r> : Out(stream of group_mass_layout)
        Pruned mass of the groups of each row whose head has gains; in a build that compensates.
    fetch : In(stream of key_shape)
        Place of a value to read.
    value : Out(stream of ArrayLayout(signed(8), bus_bytes))
    end : In(1)
        The tile's outputs are all made.
    ended : Out(1)
        No tile is under way.
    failed : Out(1), failure : Out(failure_layout)
        For one cycle: the tile has no page to read, nothing follows, and it has ended. In any case why the last tile
        failed, until the next.
    saturated, key_fetched : Out(1)
        A query element was limited; the rows of a survivor are read.
    overflow : Out(1)
        A queue has lost something.
    request ... write_fault
        As `reader_members` and `writer_members` have them.
    """

    def __init__(self, build: MemoryBuild, parameters: MasterParameters) -> None:
        self.build = build
        self.parameters = parameters
        core, rows = build.core, range(build.tile_rows)
        masses = {f"masses_{row}": Out(stream.Signature(group_mass_layout(core)))
                  for row in rows if core.key_groups}
        beat = data.ArrayLayout(signed(8), build.bus_bytes)
        super().__init__({
            "first_page": In(ADDRESS_BITS), "spill_address": In(ADDRESS_BITS),
            "tile": In(stream.Signature(tile_layout(build))),
            "row": In(stream.Signature(tile_row_layout(build))), "q": In(stream.Signature(beat)), "complete": In(1),
            "rows": Out(range(build.tile_rows + 1)), "present": Out(build.tile_rows),
            "entries": Out(data.ArrayLayout(tile_row_layout(build), build.tile_rows)),
            "estimate_max": Out(data.ArrayLayout(signed(core.est_bits), build.tile_rows)),
            "score_max": Out(data.ArrayLayout(score_shape(build), build.tile_rows)), "scored": Out(1),
            "scores": Out(stream.Signature(merged_layout(build, score_shape(build)))), **masses,
            "fetch": In(stream.Signature(key_shape(core))), "value": Out(stream.Signature(beat)),
            "end": In(1), "ended": Out(1), "failed": Out(1), "failure": Out(failure_layout()), "saturated": Out(1),
            "key_fetched": Out(1),
            "overflow": Out(1), **reader_members(parameters), **writer_members(parameters)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        build = self.build
        m.submodules.reader = reader = TileReader(build, self.parameters)
        m.submodules.array = array = TileArray(build)
        m.submodules.merge = merge = PlaceMerge(build, score_shape(build))
        m.submodules.store = store = ScoreStore(build)
        m.submodules.spill = spill = SpillStore(build, self.parameters)
        tile, last_page = Signal(tile_layout(build), reset_less=True), Signal(key_shape(build.core), reset_less=True)
        at = _Phase(build)
        wiring.connect(m, wiring.flipped(self.q), array.q)
        wiring.connect(m, wiring.flipped(self.value), reader.value)
        for name in ("burst", "beat"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(spill, name))
        wiring.connect(m, wiring.flipped(self.request), reader.request)
        m.d.comb += [
            spill.address.eq(self.spill_address), spill.restart.eq(at.begins), spill.write_idle.eq(self.write_idle),
            spill.write_answered.eq(self.write_answered), spill.write_fault.eq(self.write_fault),
            spill.recall_scores.eq(self.scored),
            spill.recalled_valid.eq(reader.recalled_valid), spill.recalled_row.eq(reader.recalled_row),
            spill.recalled_beat.eq(reader.recalled_beat), reader.spill_address.eq(self.spill_address),
            reader.first_page.eq(self.first_page), reader.restart.eq(at.begins), reader.taken.eq(self.taken),
            reader.data.eq(self.data), reader.fault.eq(self.fault), array.restart.eq(at.begins),
            array.rows.eq(Mux(self.ended, 0, tile.rows)),
            store.restart.eq(at.begins), merge.rows.eq(self.present),
            merge.last_page.eq(last_page), merge.restart.eq(at.begins | self.scored),
            self.rows.eq(tile.rows), self.present.eq(Cat(tile.rows > n for n in range(build.tile_rows))),
            self.saturated.eq(array.saturated), self.score_max.eq(store.row_max), store.read.eq(self.scored),
        ]
        # Lists are merged long after the tile came: no list waits for a subtraction.
        m.d.sync += last_page.eq((tile.keys - 1) & ~(build.page_rows - 1))
        selectors = self._select(m, at, tile, spill)
        self._tables(m, at, selectors)
        lost = self._estimate(m, at, reader, array, selectors)
        m.d.comb += self.overflow.eq(lost | reader.overflow | store.overflow | spill.overflow
                                     | Cat(selector.overflow for selector in selectors).any())
        self._score(m, at, reader, array, merge, store, spill, selectors)
        self._read(m, at, tile, reader, merge, spill)

        with m.If(at.begins):
            m.d.sync += [tile.eq(self.tile.payload), self.failure.eq(0)]
        m.d.comb += self.tile.ready.eq(at.begins)
        with m.FSM():
            with m.State("TILE"):
                m.d.comb += [self.ended.eq(1), at.begins.eq(self.tile.valid)]
                with m.If(at.begins):
                    m.next = "TABLE"
            with m.State("TABLE"):
                m.d.comb += at.table.eq(1)
                with m.If(reader.command.ready):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += at.asked.eq(0)
                with m.If(self.complete & reader.table_read & (array.loaded == tile.rows)):
                    m.next = "STREAM"
                    with m.If(reader.unmapped | reader.memory_error):
                        m.next = "FAILED"
            with m.State("STREAM"):
                m.d.comb += at.streams.eq(1)
                with m.If(reader.command.ready):
                    m.d.sync += at.asked.eq(1)
                with m.If(at.limited == self.present):
                    m.d.comb += spill.recall_candidates.eq(1)
                    m.next = "SURVIVORS"
            with m.State("SURVIVORS"):
                m.d.comb += at.selects.eq(1)
                with m.If(store.valid & store.item.last):
                    m.next = "SCORED"
            with m.State("SCORED"):
                m.d.comb += self.scored.eq(1)
                m.next = "SCORES"
            with m.State("SCORES"):
                m.d.comb += at.scores.eq(1)
                with m.If(self.end):
                    m.next = "END"
            # A table that is still being filled would be taken for the next tile's.
            with m.State("FAILED"), m.If(at.filled == self.present):
                m.d.comb += self.failed.eq(1)
                m.next = "END"
            with m.State("END"):
                m.d.comb += at.ends.eq(1)
                m.d.sync += [self.failure.memory_error.eq(reader.memory_error | spill.faulty),
                             self.failure.page_unmapped.eq(reader.unmapped & ~reader.memory_error)]
                m.next = "TILE"
        return m

    def _select(self, m: Module, at: "_Phase", tile: data.View, spill: SpillStore) -> list[RowSelector]:
        """Take the rows, and hand them to their selectors."""
        build, row = self.build, self.row.payload
        taken = Signal(range(build.tile_rows + 1))
        m.d.comb += self.row.ready.eq(~self.ended & (taken != tile.rows))
        takes = self.row.valid & self.row.ready
        with m.If(takes):
            m.d.sync += taken.eq(taken + 1)
        with m.If(at.begins):
            m.d.sync += [taken.eq(0), at.limited.eq(0)]
        selectors = [RowSelector(build) for _ in range(build.tile_rows)]
        for n, selector in enumerate(selectors):
            m.submodules[f"selector_{n}"] = selector
            wiring.connect(m, selector.spilled, getattr(spill, f"spilled_{n}"))
            wiring.connect(m, getattr(spill, f"candidate_{n}"), selector.recalled)
            entry, offered, summary = self.entries[n], selector.row.payload, selector.summary.payload
            fields = {name: entry[name] for name in offered.shape().members if name in entry.shape().members}
            fields |= {"streamed": tile.keys, "table": at.table_of[n]}
            if build.core.key_groups:
                fields["compensated"] = entry.denominator_gain != 0
                masses = getattr(self, f"masses_{n}")
                wiring.connect(m, wiring.flipped(masses), selector.masses)
            m.d.comb += [
                *(offered[name].eq(value) for name, value in fields.items()),
                # Keys are streamed before; their estimates wait. Until its survivors are asked for, a selector takes
                # no other row.
                selector.row.valid.eq(at.streams & at.filled[n]),
                selector.summary.ready.eq(1),
            ]
            with m.If(takes & (taken == n)):
                m.d.sync += [entry.eq(row), at.known[n].eq(1)]
            with m.If(selector.summary.valid):
                m.d.sync += [self.estimate_max[n].eq(summary.row_max), at.limited[n].eq(1)]
        return selectors

    def _tables(self, m: Module, at: "_Phase", selectors: list[RowSelector]) -> None:
        """Fill each row's tables of gap weights; a head's that was there before is there still."""
        config = tile_config(self.build)
        kinds = [ThresholdKind(kind) for kind in config.threshold_kinds]
        with m.If(at.begins):
            m.d.sync += [at.filled.eq(0), at.known.eq(0)]
        for n, selector in enumerate(selectors):
            m.submodules[f"tables_{n}"] = tables = RowTables(self.build)
            entry, job = self.entries[n], tables.job.payload
            used = Const(0)
            if ThresholdKind.MASS in kinds:
                used |= entry.kind == list(ThresholdKind).index(ThresholdKind.MASS) if len(kinds) > 1 else Const(1)
            if config.key_groups:
                used |= entry.denominator_gain != 0
            m.d.comb += [
                tables.job.valid.eq(at.known[n] & ~at.filled[n]), job.mantissa.eq(entry.scale_mantissa),
                job.shift.eq(entry.scale_shift), job.used.eq(used), tables.table.ready.eq(1),
                tables.release.eq(at.ends & self.present[n]), tables.release_table.eq(at.table_of[n]),
                # It stands until the next tile's.
                at.table_of[n].eq(tables.table.payload), selector.fill.eq(tables.fill),
            ]
            with m.If(tables.table.valid):
                m.d.sync += at.filled[n].eq(1)

    def _estimate(self, m: Module, at: "_Phase", reader: TileReader, array: TileArray,
                  selectors: list[RowSelector]) -> Value:
        """Send each key's estimates to the selectors, all of which take it at once; return whether one is lost."""
        core, rows = self.build.core, self.build.tile_rows
        group = {"group": core.group_bits} if core.group_bits else {}
        layout = data.StructLayout({"estimates": data.ArrayLayout(signed(core.est_bits), rows), **group})
        m.submodules.estimates = queue = StreamQueue(layout, ESTIMATES, producer_latency=array.latency)
        ready = (Cat(selector.key.ready for selector in selectors) | ~self.present).all()
        m.d.comb += [
            array.crosses.eq(at.selects), reader.chunk.ready.eq(at.selects | queue.room),
            array.valid.eq(reader.chunk.valid & reader.chunk.ready), array.chunk.eq(reader.chunk.payload),
            queue.i.valid.eq(array.dot_valid & ~at.selects),
            *(queue.i.payload.estimates[n].eq(array.dot[n]) for n in range(rows)),
            queue.o.ready.eq(ready),
        ]
        if core.group_bits:
            m.d.comb += queue.i.payload.group.eq(array.group)
        for n, selector in enumerate(selectors):
            key = selector.key.payload
            m.d.comb += [selector.key.valid.eq(queue.o.valid & ready & self.present[n]),
                         key.estimate.eq(queue.o.payload.estimates[n])]
            if core.group_bits:
                m.d.comb += key.group.eq(queue.o.payload.group)
        return queue.overflow

    def _score(self, m: Module, at: "_Phase", reader: TileReader, array: TileArray, merge: PlaceMerge,
               store: ScoreStore, spill: SpillStore, selectors: list[RowSelector]) -> None:
        """Merge the rows' survivors, and add the cross products of each to its estimates; then merge the scores."""
        core, layout, merged = self.build.core, merged_layout(self.build, score_shape(self.build)), merge.o.payload
        m.submodules.pending = pending = StreamQueue(layout, 2 * self.parameters.reads_in_flight)
        for n, selector in enumerate(selectors):
            lists, stored, spilled = getattr(merge, f"i_{n}"), getattr(store, f"o_{n}"), getattr(spill, f"score_{n}")
            # From the row's first spilled score on, until the last one is read back.
            survivor, recalls = selector.survivors, Signal(name=f"recalls_{n}")
            with m.If(at.begins | (spilled.valid & spilled.ready & spilled.payload.last)):
                m.d.sync += recalls.eq(0)
            with m.Elif(store.valid & store.item.spilled[n]):
                m.d.sync += recalls.eq(1)
            with m.If(at.selects):
                m.d.comb += [lists.valid.eq(survivor.valid), survivor.ready.eq(lists.ready)]
                m.d.comb += [lists.payload[name].eq(survivor.payload[field]) for name, field in (
                    ("place", "place"), ("value", "estimate"), ("spilled", "spilled"), ("last", "last"))]
            # What was spilled came first in the stream.
            with m.Elif(recalls):
                m.d.comb += [lists.valid.eq(spilled.valid), spilled.ready.eq(lists.ready),
                             lists.payload.eq(spilled.payload),
                             lists.payload.last.eq(spilled.payload.last & store.empty[n])]
            with m.Else():
                m.d.comb += [lists.valid.eq(stored.valid), stored.ready.eq(lists.ready),
                             lists.payload.eq(stored.payload)]
        # Keys on their way of which a score will be spilled.
        under_way = Signal(range(spill.items + 1))
        room = pending.i.ready & (~merged.spilled.any() | (under_way != spill.items))
        fetched = at.fetches & reader.command.ready & ~at.recalls
        m.d.sync += under_way.eq(under_way + (fetched & merged.spilled.any()) - spill.scored_leaves)
        m.d.comb += [
            self.scores.valid.eq(at.scores & merge.o.valid), self.scores.payload.eq(merged),
            at.fetches.eq(at.selects & merge.o.valid & room), pending.i.valid.eq(fetched), self.key_fetched.eq(fetched),
            pending.i.payload.eq(merged), pending.o.ready.eq(array.dot_valid & at.selects),
            merge.o.ready.eq(Mux(at.selects, fetched, at.scores & self.scores.ready)),
        ]
        m.d.sync += store.valid.eq(array.dot_valid & at.selects)
        score = Signal(layout, reset_less=True)
        m.d.sync += score.eq(pending.o.payload)
        m.d.sync += [score.values[n].eq((pending.o.payload.values[n] << core.estimate_shift)
                                        + (array.dot[n] << core.low_bits)) for n in range(self.build.tile_rows)]
        m.d.comb += [store.item.eq(score), spill.scored_valid.eq(store.valid), spill.scored.eq(score)]

    def _read(self, m: Module, at: "_Phase", tile: data.View, reader: TileReader, merge: PlaceMerge,
              spill: SpillStore) -> None:
        """Ask for what the phase reads; what was spilled goes before."""
        command, recall = reader.command.payload, spill.recall.payload
        m.d.comb += [
            reader.command.valid.eq(at.table | (at.streams & ~at.asked) | at.recalls | at.fetches
                                    | (at.scores & self.fetch.valid)),
            self.fetch.ready.eq(at.scores & reader.command.ready & ~at.recalls),
            spill.recall.ready.eq(at.recalls & reader.command.ready),
            at.recalls.eq((at.selects | at.scores) & spill.recall.valid),
            command.address.eq(tile.table_address), command.keys.eq(tile.keys),
            command.place.eq(Mux(at.selects, merge.o.payload.place, self.fetch.payload)),
            *(command[name].eq(recall[name]) for name in recall.shape().members),
        ]
        with m.If(at.table):
            m.d.comb += command.command.eq(ReadCommand.TABLE)
        with m.Elif(at.streams):
            m.d.comb += command.command.eq(ReadCommand.STREAM)
        with m.Elif(at.recalls):
            m.d.comb += command.command.eq(ReadCommand.RECALL)
        with m.Elif(at.selects):
            m.d.comb += command.command.eq(ReadCommand.KEY)
        with m.Else():
            m.d.comb += command.command.eq(ReadCommand.VALUE)
