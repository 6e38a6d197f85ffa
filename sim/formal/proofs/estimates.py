"""Estimates between the array and the filter: tiles in by column, out by row, and the largest of each row."""

import functools

from amaranth import Array, Cat, Const, Mux, Signal, Value

from latte.golden.config import AttentionConfig, preset
from latte.rtl.common.primitives import add_modulo, next_modulo
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, EstimateBuffer, buffer_size
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_CONFIG = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=2, query_rows=8, weight_bits=4,
                 bus_bytes=2, estimate_bits=2).lean()
_PAIRS = _CONFIG.replace(key_lanes=2, key_groups=2)
_ONE, _TWO = "tiles of 2 rows, a key in a beat", "tiles of 2 rows, 2 keys in a beat, 2 groups"


class _Tiles:
    """The tiles that are in the buffer, in order, each in its place.

    Attributes
    ----------
    front, written
        Places of the tile that leaves next, and of the one whose beats come; `first` and `current` are these tiles.
    given
        What was announced, by place.
    beat, key, ends
        Beats of the tile that is written, the next one's first key; this one is its last.
    count, finished
        Tiles; those whose last beat came `latency` cycles ago.
    offered, complete, whole
        A tile is at the scanner; so many are ready behind it; the last beats of so many have come.
    """

    def __init__(self, s: Setting, dut: EstimateBuffer, inside: Inside) -> None:
        m, config, tile = s.m, dut.config, dut.tile.payload
        rows, lanes, size = config.query_lanes, config.key_lanes, buffer_size(config)
        self.dut = dut
        self.front, self.written, self.newest = (
            Signal(range(TILE_BUFFERS), name=name) for name in ("front", "written", "newest"))
        self.given = Array(Signal(tile.shape(), name=f"given_{n}") for n in range(TILE_BUFFERS))
        self.beat = Signal(range(config.max_seq_len // lanes + 1), name="beats")
        accepts, frees = dut.tile.valid & dut.tile.ready, dut.scan.valid & dut.scan.ready
        self.first, self.current = Signal(tile.shape(), name="first"), Signal(tile.shape(), name="current")
        self.key = self.beat * lanes
        self.ends = Signal(name="tile_ends")
        m.d.comb += [self.first.eq(self.given[self.front]), self.current.eq(self.given[self.written]),
                     self.ends.eq(dut.est_valid & (self.key + lanes >= self.current.last_keys))]
        # `TileSequencer.tile_due`, `ScoreEstimator.one_each`.
        s.assume("tile", self._legal(tile))
        s.seek(tile.first_keys <= 2)
        due = s.count("due", s.held("announced", accepts, dut.announcement - 1), self.ends, TILE_BUFFERS)
        s.assume("beats", ~dut.est_valid | (due != 0))
        self.count = s.count("tiles", accepts, frees, TILE_BUFFERS)
        ended = s.held("ended", self.ends, dut.latency - 1)
        self.finished = s.count("finished", ended, frees, TILE_BUFFERS)
        with m.If(accepts):
            m.d.sync += [self.given[self.newest].eq(tile), self.newest.eq(next_modulo(self.newest, TILE_BUFFERS))]
        with m.If(dut.est_valid):
            m.d.sync += self.beat.eq(Mux(self.ends, 0, self.beat + 1))
        with m.If(self.ends):
            m.d.sync += self.written.eq(next_modulo(self.written, TILE_BUFFERS))
        with m.If(frees):
            m.d.sync += self.front.eq(next_modulo(self.front, TILE_BUFFERS))

        self.complete, self.offered = inside["complete"], dut.scan.valid
        announced = [s.held("accepted", accepts, n) for n in range(1, dut.announcement)]
        under_way = [s.held("end", self.ends, n) for n in range(1, dut.latency - 1)]
        self.whole = self.offered + self.complete + sum(under_way)
        offers = self.place(self.offered)
        s.invariant("tiles", (self.count == self.whole + due + sum(announced)) & (self.count <= TILE_BUFFERS)
                    & (self.finished + ended == self.offered + self.complete))
        s.invariant("places", (self.front < TILE_BUFFERS) & (self.written == self.place(self.whole))
                    & (self.newest == self.place(self.count)))
        s.invariant("pointers", (inside["announced"] == 1 << self.newest) & (inside["write_tile"] == self.written)
                    & (inside["scan_tile"] == offers) & (inside["taken"] == self.count))
        s.invariant("bases", (inside["_write.base"] == self.written * size) & (inside["_offer.base"] == offers * size)
                    & (~self.offered | (dut.scan.payload.base == self.front * size)))
        s.invariant("beat", (self.beat == 0) | ((due != 0) & (self.key < self.current.last_keys)))
        s.invariant("counters", (inside["_write.key"] == self.key) & (inside["end"] == self.key + lanes)
                    & (inside["phase"] == self.beat % rows) & (inside["_write.group"] == self.beat // rows * rows)
                    & Cat(row == (n - self.beat)[:len(row)] for n, row in enumerate(inside["_write.row_of"])).all())
        s.invariant("last", (due == 0) | (inside["reached"].bit_select(self.written, 1)
                                          == (self.key + lanes >= self.current.last_keys)))
        for n, given in enumerate(self.given):
            s.invariant(f"given_{n}", ~self.among(self.count, n) | (
                (inside["elaborate.tiles"][n] == given) & self._legal(given)))

    def place(self, number: Value | int) -> Value:
        """Return the place of a tile behind so many others."""
        return add_modulo(self.front, number, TILE_BUFFERS)[:2]

    def among(self, number: Value, place: Value | int) -> Value:
        """Return whether the tile in a place is among so many from the front one on."""
        return Cat((number > n) & (self.place(n) == place) for n in range(TILE_BUFFERS)).any()

    def _legal(self, tile: Value) -> Value:
        config = self.dut.config
        return ((tile.rows != 0) & (tile.rows <= config.query_lanes) & (tile.first_keys != 0)
                & (tile.last_keys == tile.first_keys + Mux(tile.causal, tile.rows - 1, 0))
                & (tile.last_keys <= config.max_seq_len))


def _order(s: Setting, config: AttentionConfig) -> None:
    dut = EstimateBuffer(config)
    inside = s.add(dut)
    tiles, scan = _Tiles(s, dut, inside), dut.scan.payload
    single = scan.single == (tiles.first.first_keys <= config.pairs_per_cycle)
    s.invariant("offered", ~tiles.offered | ((scan.tile == tiles.first) & single))
    s.claim("tile_taken", "a tile is taken as long as a buffer is free", dut.tile.ready == (tiles.count < TILE_BUFFERS))
    s.claim("tile_offered", "it is offered once, in order, from `latency` cycles behind its last beat on or when the "
            "tile before it leaves, and nothing else is", dut.scan.valid == (tiles.finished != 0),
            when=dut.scan.valid | (tiles.finished != 0))
    s.claim("tile_as_announced", "as it was announced, and whether its first row is a single group",
            (scan.tile == tiles.first) & single, when=dut.scan.valid)
    s.stable("tile_stable", "it stands until its last group is read", dut.scan.valid, dut.scan.ready, scan)
    s.reach("next_complete", dut.scan.valid & (tiles.complete != 0))


def _maxima(s: Setting, config: AttentionConfig) -> None:
    dut = EstimateBuffer(config)
    inside, m = s.add(dut), s.m
    maxima = [inside.part(f"maximum_{n}") for n in range(config.query_lanes)]
    tiles = _Tiles(s, dut, inside)
    # The largest estimate of any row so far, of the keys that it sees; and of each tile that is complete.
    row, lowest = s.constant("any_row", range(config.query_lanes)), -1 << (config.row_bits - 1)
    shape = dut.est[0][0].shape()
    largest = [Signal(shape, name=f"largest_{n}", init=lowest) for n in range(TILE_BUFFERS)]
    before, within = Signal(shape, init=lowest), tiles.beat != 0
    now = before
    for lane in range(config.key_lanes):
        estimate = Array(dut.est[n][lane] for n in range(config.query_lanes))[row]
        sees = tiles.key + lane < tiles.current.first_keys + Mux(tiles.current.causal, row, 0)
        now = Mux(sees & (estimate > now), estimate, now)
    with m.If(dut.est_valid):
        m.d.sync += before.eq(Mux(tiles.ends, lowest, now))
    for n in range(TILE_BUFFERS):
        with m.If(tiles.ends & (tiles.written == n)):
            m.d.sync += largest[n].eq(now)
    running = Array(Mux(of["take"], of["latest"], of["maximum"]) for of in maxima)[row]
    late = dut.beat_latency
    s.invariant("running", ~s.held("within", within, late) | (running == s.held("before", before, late)))
    s.invariant("begins", within | (before == lowest))
    for n in range(TILE_BUFFERS):
        ready = tiles.among(tiles.offered + tiles.complete, n) & ~(tiles.offered & (tiles.front == n))
        of_row = Array(inside["results"][n][k] for k in range(config.query_lanes))[row]
        s.invariant(f"result_{n}", ~ready | (of_row == largest[n]))
    of_front = Array(largest)[tiles.front]
    s.claim("row_max", "any row's largest estimate of the keys that it sees comes with its tile",
            Array(dut.scan.payload.row_max[n] for n in range(config.query_lanes))[row] == of_front,
            when=dut.scan.valid)
    s.reach("later_row", dut.scan.valid & tiles.first.causal & (tiles.first.first_keys == 2) & (row == 1))


def _read(s: Setting, config: AttentionConfig) -> None:
    dut = EstimateBuffer(config)
    inside, m = s.add(dut), s.m
    rows, lanes, pairs = config.query_lanes, config.key_lanes, config.pairs_per_cycle
    memories = [inside.part(f"memory_{n}") for n in range(pairs)]
    tiles = _Tiles(s, dut, inside)
    # The estimate of any key of any row of the tile in any place, and the key's group.
    place, row = s.constant("any_place", range(TILE_BUFFERS)), s.constant("any_row", range(rows))
    key = s.constant("any_key", range(config.max_seq_len))
    s.assume("any", place < TILE_BUFFERS)
    word, there = Signal(config.row_bits + config.group_bits), Signal()
    groups = [dut.groups[n] if config.group_bits else Const(0, 0) for n in range(lanes)]
    beats = Array(Cat(dut.est[n // lanes][n % lanes], groups[n % lanes]) for n in range(pairs))
    comes = dut.est_valid & (tiles.written == place) & (tiles.beat == key // lanes)
    with m.If(dut.scan.valid & dut.scan.ready & (tiles.front == place)):
        m.d.sync += there.eq(0)
    with m.If(comes):
        m.d.sync += [word.eq(beats[row * lanes + key % lanes]), there.eq(1)]
    # It lies where the rotation has it, from two cycles later on.
    address = place * buffer_size(config) + key // pairs * rows + row
    windows = Array(s.window(of.memory("array_0"), address) for of in memories)
    here = windows[(key // lanes + row) % rows * lanes + key % lanes]
    s.invariant("word", ~there | s.held("comes", comes) | (here == word))
    came = tiles.among(tiles.whole, place) | ((tiles.written == place) & (tiles.beat > key // lanes))
    sees = key < tiles.given[place].last_keys
    s.invariant("there", there | ~came | ~sees)
    reads = dut.scan.valid & (tiles.front == place) & sees & (dut.read_row == row) & (
        dut.read_index == dut.scan.payload.base + row + key // pairs * rows)
    late = dut.read_latency
    data = [Cat(dut.read_data[n], dut.read_groups[n] if config.group_bits else Const(0, 0)) for n in range(pairs)]
    s.claim("estimate_read", "any estimate of any row of the tile that is offered is read as it came, with its key's "
            "group in a build that has several", Array(data)[key % pairs] == s.held("word", word, late),
            when=s.held("reads", reads, late))
    s.reach("rotated", s.held("rotated", reads & (row == 1) & (key // lanes == 1), late))


PROOFS = (
    Proof("EstimateBuffer", functools.partial(_order, config=_CONFIG), "induction", 9, 16, _ONE),
    Proof("EstimateBuffer", functools.partial(_maxima, config=_CONFIG), "induction", 9, 16, _ONE),
    Proof("EstimateBuffer", functools.partial(_maxima, config=_PAIRS), "induction", 9, 16, _TWO, "groups"),
    Proof("EstimateBuffer", functools.partial(_read, config=_CONFIG), "induction", 9, 18, _ONE),
    Proof("EstimateBuffer", functools.partial(_read, config=_PAIRS), "induction", 9, 18, _TWO, "groups"),
)
