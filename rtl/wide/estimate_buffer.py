"""Row buffer between estimator and filter: rotating tile buffers, and the maximum of each row."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig, ceil_div
from latte.rtl.common.primitives import delay, next_modulo, register
from latte.rtl.common.ram import RAM_LATENCY, Ram
from latte.rtl.wide.payloads import tile_layout
from latte.rtl.wide.running_maximum import RunningMaximum

__all__ = ["EstimateBuffer", "TILE_BUFFERS", "scan_layout"]

TILE_BUFFERS = 3
"""One being written, one being scanned, and one more: with two, the estimator would wait for its own latency."""


def scan_layout(config: AttentionConfig) -> data.StructLayout:
    """One tile ready to be scanned: its description, its row maxima, and where its estimates start.

    ``single``: its first row is a single group.
    """
    return data.StructLayout({
        "tile": tile_layout(config), "single": 1,
        "row_max": data.ArrayLayout(signed(config.row_bits), config.query_lanes),
        "base": range(TILE_BUFFERS * buffer_size(config))})


def buffer_size(config: AttentionConfig) -> int:
    """Words of each memory that one tile takes."""
    return config.query_lanes * ceil_div(config.max_seq_len, config.pairs_per_cycle)


class EstimateBuffer(wiring.Component):
    """Turns beats of ``query_lanes`` rows x ``key_lanes`` keys into groups of ``P`` keys of a single row.

    The filter and everything behind it work row by row. ``P = query_lanes * key_lanes`` memories hold a tile so that
    both the beat that is written and the group that is read touch each memory once::

        beat g, row r  ->  memories ((g + r) mod query_lanes) * key_lanes ...   word  (g // query_lanes, r)

        memory 0:  row 0 keys 0..   row 2 keys P.. (rotated by one per beat)
        memory 1:  row 1 keys 0..   row 0 keys ...

    Beside it, the running maximum of each row over the keys it may see (LATTE Eq. 6).

    Latency: a tile is offered to the filter `latency` cycles after its last beat; `read_latency` for a read.
    Throughput: one beat written and one group read per cycle.

    Members
    -------
    tile : In(stream of tile_layout)
        Announces the beats of the next tile; ready while a tile buffer is free.
    est_valid, est : In
        A beat of estimates, in the order of the announced tiles, at least `announcement` cycles after its description.
    groups : In(ArrayLayout(group_bits, key_lanes))
        The groups of its keys, in a build with several key groups; `read_groups` : Out then gives those of a read.
    scan : Out(stream of scan_layout)
        Complete tiles. Accepting one frees its buffer: by then the last read has been issued.
    read_index : In
        Word to read: ``base + row + query_lanes * group``.
    read_row : In(range(query_lanes))
        The row it belongs to, in the same cycle.
    read_data : Out(ArrayLayout(signed(row_bits), P))
    """

    read_latency = RAM_LATENCY + 1
    """The memories, and the rotation undone."""
    announcement = 3
    """Cycles by which a tile's description comes before its first beat: kept, its rows' keys counted, compared."""
    beat_latency = 4
    """Its tile, keys that are left, candidates, the largest of them."""
    latency = beat_latency + RunningMaximum.latency + 3
    """Of a beat; the running maximum; kept, counted, offered."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        est = data.ArrayLayout(data.ArrayLayout(signed(config.row_bits), config.key_lanes), config.query_lanes)
        super().__init__({
            "tile": In(stream.Signature(tile_layout(config))),
            "est_valid": In(1), "est": In(est),
            "scan": Out(stream.Signature(scan_layout(config))),
            "read_index": In(range(TILE_BUFFERS * buffer_size(config))),
            "read_row": In(range(max(2, config.query_lanes))),
            "read_data": Out(data.ArrayLayout(signed(config.row_bits), config.pairs_per_cycle)),
            **({"groups": In(data.ArrayLayout(config.group_bits, config.key_lanes)),
                "read_groups": Out(data.ArrayLayout(config.group_bits, config.pairs_per_cycle))}
               if config.group_bits else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tiles, write_tile = self._descriptions(m)
        last, key, memories = self._write(m, tiles, write_tile)
        row_max, published = self._row_maxima(m, tiles, write_tile, last, key)
        self._offer(m, tiles, row_max, published)
        self._read(m, memories)
        return m

    def _descriptions(self, m: Module) -> tuple[Array, Signal]:
        """Keep the announced tiles' descriptions; return (them, one per buffer, the buffer that is written)."""
        tiles = Array(Signal(tile_layout(self.config), name=f"tile_{n}") for n in range(TILE_BUFFERS))
        announced, taken = Signal(TILE_BUFFERS, init=1), Signal(range(TILE_BUFFERS + 1))
        accepted, freed = self.tile.valid & self.tile.ready, self.scan.valid & self.scan.ready
        m.d.comb += self.tile.ready.eq(taken != TILE_BUFFERS)
        m.d.sync += taken.eq(taken + accepted - freed)
        with m.If(accepted):
            m.d.sync += announced.eq(announced.rotate_left(1))
            for n in range(TILE_BUFFERS):
                with m.If(announced[n]):
                    m.d.sync += tiles[n].eq(self.tile.payload)
        return tiles, Signal(range(TILE_BUFFERS), name="write_tile")

    def _write(self, m: Module, tiles: Array, write_tile: Signal) -> tuple[Signal, Signal, list[Ram]]:
        """Rotate each beat into the memories; return (this beat is its tile's last, its first key, the memories)."""
        config = self.config
        rows, lanes, size = config.query_lanes, config.key_lanes, buffer_size(config)
        # The beat's first key, and the first behind it.
        key = Signal(range(config.max_seq_len + lanes + 1))
        end = Signal(range(config.max_seq_len + 2 * lanes + 1), init=lanes)
        base = Signal(range(TILE_BUFFERS * size + 1))
        group = Signal(range(size + rows))
        phase = Signal(range(max(2, rows)))
        # The row that each memory takes next: rotates by one memory per beat.
        row_of = [Signal(range(max(2, rows)), init=n, name=f"row_of_{n}") for n in range(rows)]
        # Whether the next beat to come would be a tile's last is known before, of each tile.
        last, next_end = Signal(), Signal.like(end)
        reached = Signal(TILE_BUFFERS)
        m.d.comb += [last.eq(self.est_valid & reached.bit_select(write_tile, 1)),
                     next_end.eq(Mux(last, lanes, end + lanes))]
        for n, tile in enumerate(tiles):
            restarted, advanced, held = (keys >= tile.last_keys for keys in (lanes, end + lanes, end))
            m.d.sync += reached[n].eq(Mux(last, restarted, Mux(self.est_valid, advanced, held)))
        with m.If(self.est_valid):
            m.d.sync += [key.eq(end), end.eq(next_end), phase.eq(next_modulo(phase, rows))]
            m.d.sync += [row_of[n].eq(row_of[n - 1]) for n in range(rows)]
            with m.If(phase == rows - 1):
                m.d.sync += group.eq(group + rows)
        with m.If(last):
            m.d.sync += [key.eq(0), phase.eq(0), group.eq(0),
                         base.eq(Mux(base == (TILE_BUFFERS - 1) * size, 0, base + size))]
            m.d.sync += [row_of[n].eq(n) for n in range(rows)]

        write_en = delay(m, self.est_valid, 1, name="write_en")
        # All rows of a beat see the same keys.
        groups = [Const(0, 0)] * lanes
        if config.group_bits:
            groups = delay(m, self.groups, 1, name="groups", reset_less=True)
        memories = []
        for n in range(rows):
            estimates = Array(self.est[r] for r in range(rows))[row_of[n]]
            address = Signal(range(TILE_BUFFERS * size), name=f"write_addr_{n}", reset_less=True)
            beat = Signal(data.ArrayLayout(signed(config.row_bits), lanes), name=f"write_data_{n}", reset_less=True)
            m.d.sync += [address.eq(base + group + row_of[n]), beat.eq(estimates)]
            for c in range(lanes):
                ram = m.submodules[f"memory_{n * lanes + c}"] = Ram(config.row_bits + config.group_bits,
                                                                    TILE_BUFFERS * size)
                m.d.comb += [ram.write_en.eq(write_en), ram.write_addr.eq(address),
                             ram.write_data.eq(Cat(beat[c], groups[c])), ram.read_addr.eq(self.read_index)]
                memories.append(ram)
        return last, key, memories

    def _row_maxima(self, m: Module, tiles: Array, write_tile: Signal, last: Signal,
                    key: Signal) -> tuple[Array, Signal]:
        """Follow the largest visible estimate of each row; return (maxima per tile buffer, a tile's are complete)."""
        config = self.config
        first = delay(m, key == 0, self.beat_latency, name="first")
        beat_valid = delay(m, self.est_valid, self.beat_latency, name="max_valid")
        tile_last = delay(m, last, self.beat_latency + RunningMaximum.latency, name="tile_last")
        buffer = delay(m, write_tile, self.beat_latency + RunningMaximum.latency, name="max_buffer")
        visible = self._visible(m, tiles[write_tile], key)
        estimates = delay(m, self.est, self.beat_latency - 2, name="estimates", reset_less=True)
        results = Array(Signal(data.ArrayLayout(signed(config.row_bits), config.query_lanes), name=f"row_max_{n}")
                        for n in range(TILE_BUFFERS))
        lowest = -(1 << (config.row_bits - 1))
        for r in range(config.query_lanes):
            seen = []
            for c in range(config.key_lanes):
                candidate = Signal(signed(config.row_bits), name=f"candidate_{r}_{c}", reset_less=True)
                m.d.sync += candidate.eq(estimates[r][c])
                seen.append(Mux(visible[r][c], candidate, lowest))
            beat_max = Signal(signed(config.row_bits), name=f"beat_max_{r}", reset_less=True)
            m.d.sync += beat_max.eq(_maximum(seen))
            m.submodules[f"maximum_{r}"] = running = RunningMaximum(config.row_bits)
            m.d.comb += [running.valid.eq(beat_valid), running.first.eq(first), running.value.eq(beat_max)]
            for n in range(TILE_BUFFERS):
                with m.If(tile_last & (buffer == n)):
                    m.d.sync += results[n][r].eq(running.maximum)
        with m.If(last):
            m.d.sync += write_tile.eq(next_modulo(write_tile, TILE_BUFFERS))
        return results, delay(m, tile_last, 1, name="published")

    def _visible(self, m: Module, tile: data.View, key: Signal) -> list[list[Value]]:
        """Return whether [row][lane] of a beat sees its key, with the beat's candidates.

        Of the keys that the first row has left no more matters than whether they are fewer than the lanes, or how few a
        later causal row has in addition: a number of a few bits, of which each answer is a LUT.
        """
        config = self.config
        limit = max(config.query_lanes, config.key_lanes)
        first_keys, causal = (register(m, value, name) for value, name in (
            (tile.first_keys, "first_keys"), (tile.causal, "causal")))
        causal = register(m, causal, "causal_beat")
        left = register(m, first_keys - register(m, key, "first_key"), "left")
        few = Signal(range(-limit, limit + 1))
        m.d.comb += few.eq(left)
        with m.If(left[len(few) - 1:] != left[-1].replicate(len(left) - len(few) + 1)):
            m.d.comb += few.eq(Mux(left[-1], -limit, limit))
        return [[register(m, few > Mux(causal, lane - row, lane), f"visible_{row}_{lane}")
                 for lane in range(config.key_lanes)] for row in range(config.query_lanes)]

    def _offer(self, m: Module, tiles: Array, row_max: Array, published: Signal) -> None:
        """Offer complete tiles to the filter, in order."""
        size = buffer_size(self.config)
        complete = Signal(range(TILE_BUFFERS + 1))
        scan_tile = Signal(range(TILE_BUFFERS))
        base = Signal(range(TILE_BUFFERS * size))
        load = Signal()
        m.d.comb += load.eq((complete != 0) & (~self.scan.valid | self.scan.ready))
        single = Cat(tile.first_keys <= self.config.pairs_per_cycle for tile in tiles)
        single = delay(m, single, 1, name="single", reset_less=True)
        m.d.sync += complete.eq(complete + published - load)
        with m.If(self.scan.ready):
            m.d.sync += self.scan.valid.eq(0)
        with m.If(load):
            m.d.sync += [
                self.scan.valid.eq(1), self.scan.payload.tile.eq(tiles[scan_tile]),
                self.scan.payload.single.eq(single.bit_select(scan_tile, 1)),
                self.scan.payload.row_max.eq(row_max[scan_tile]), self.scan.payload.base.eq(base),
                scan_tile.eq(next_modulo(scan_tile, TILE_BUFFERS)),
                base.eq(Mux(scan_tile == TILE_BUFFERS - 1, 0, base + size)),
            ]

    def _read(self, m: Module, memories: list[Ram]) -> None:
        """Undo the rotation: key ``p`` of row ``r`` lies ``r * key_lanes`` memories further."""
        config = self.config
        rows, lanes = config.query_lanes, config.key_lanes
        row = delay(m, self.read_row, RAM_LATENCY, name="read_row", reset_less=True)
        for n in range(rows):
            for c in range(lanes):
                source = Array(memories[(n + r) % rows * lanes + c].read_data for r in range(rows))[row]
                m.d.sync += self.read_data[n * lanes + c].eq(source[:config.row_bits].as_signed())
                if config.group_bits:
                    m.d.sync += self.read_groups[n * lanes + c].eq(source[config.row_bits:])


def _maximum(values: list[Value]) -> Value:
    """Return the largest of signed values, as a tree of comparators."""
    while len(values) > 1:
        pairs = [values[i:i + 2] for i in range(0, len(values), 2)]
        values = [p[0] if len(p) == 1 else Mux(p[0] > p[1], p[0], p[1]) for p in pairs]
    return values[0]
