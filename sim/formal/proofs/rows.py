"""Rows of estimates on their way to the filter: tiles of them, scanned, limited."""

import functools

from amaranth import Cat, Mux, Signal, Value

from latte.golden.config import AttentionConfig, preset
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.ram import RAM_LATENCY
from latte.rtl.wide.estimate_buffer import TILE_BUFFERS, buffer_size
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.tile_sequencer import TileSequencer
from latte.sim.formal.setting import Inside, Proof, Setting

__all__ = ["PROOFS"]

_LEAN = preset("small", head_dim=4, max_seq_len=8, heads=2, query_lanes=2, query_rows=8, weight_bits=4,
               bus_bytes=2, estimate_bits=2).lean()
_SLICES = _LEAN.replace(key_lanes=2, dim_lanes=2, pe_structure="multiplier")
_KINDS = _LEAN.replace(threshold_kinds=("relative", "absolute"), key_groups=2)


def _scan(s: Setting, config: AttentionConfig) -> None:
    dut = RowScanner(config)
    inside, m, latency = s.add(dut), s.m, RowScanner.latency
    pairs, lanes = config.pairs_per_cycle, config.query_lanes
    scan, tile = dut.scan.payload, dut.scan.payload.tile
    waits = dut.scan.valid & ~dut.scan.ready
    s.assume_stable("scan_stable", dut.scan.valid, dut.scan.ready, scan)
    s.assume("tile", (tile.rows != 0) & (tile.rows <= lanes) & (tile.first_keys != 0)
             & (tile.first_keys + Mux(tile.causal, tile.rows - 1, 0) <= config.max_seq_len)
             & (scan.single == (tile.first_keys <= pairs)) & (scan.base <= (TILE_BUFFERS - 1) * buffer_size(config))
             & (tile.slot < config.query_rows))
    # Where the tile's next step is.
    row, group = Signal(range(lanes)), Signal(range(config.max_seq_len // pairs))
    keys = tile.first_keys + Mux(tile.causal, row, 0)
    first_key = group * pairs
    row_ends = first_key + pairs >= keys
    room = dut.room
    if config.group_bits:
        apart = Signal(range(config.key_groups))
        room = room & (~row_ends | (apart == 0))
        s.invariant("apart", inside["waits"] == apart)
    step = dut.scan.valid & room
    ends = step & row_ends & (row == tile.rows - 1)
    with m.If(step):
        m.d.sync += group.eq(group + 1)
        with m.If(row_ends):
            m.d.sync += [group.eq(0), row.eq(Mux(ends, 0, row + 1))]
    if config.group_bits:
        with m.If(step & row_ends):
            m.d.sync += apart.eq((1 << tile.entry.group_bits) - 1)
        with m.Elif(apart != 0):
            m.d.sync += apart.eq(apart - 1)
    starts = (row == 0) & (group == 0)
    s.invariant("within", starts | s.held("waits", waits))
    s.invariant("counters", (inside["elaborate.row"] == row) & (inside["elaborate.key"] == first_key)
                & (inside["end"] == first_key + pairs) & (inside["offset"] == group * lanes)
                & (inside["tile_starts"] == starts))
    s.invariant("row", starts | ((row < tile.rows) & (first_key < keys) & (inside["held_keys"] == keys)
                                 & (inside["held_row_ends"] == row_ends)))
    s.claim("reads", "each step reads the next group of the row, of each row in turn",
            (dut.read_index == scan.base + row + lanes * group) & (dut.read_row == row), when=step)
    s.claim("tile_leaves", "a tile is let go with the last group of its last row, and not before",
            dut.scan.ready == ends, when=dut.scan.valid)
    s.claim("scans_on", "as long as there is room, it scans", dut.stalled == ~room, when=dut.scan.valid)
    came = s.held("came", step, latency)
    o, fields = dut.o, {"key": first_key, "slot": (tile.slot + row) % config.query_rows, "bank": tile.bank,
                        "row_last": row_ends, "row_max": Value.cast(scan.row_max).word_select(row, config.row_bits),
                        "visible": Cat(first_key + n < keys for n in range(pairs))}
    fields |= {name: tile.entry[name] for name in ("tau", "kind", "group_bits") if name in tile.entry.shape().members}
    s.claim("group", "a step's group comes with its first key, which of its keys the row sees, the row's largest "
            "estimate and threshold, and whether it is its last",
            Cat(Value.cast(o[name]).as_unsigned() == s.held(name, value[:len(Value.cast(o[name]))], latency)
                for name, value in fields.items()).all(), when=came)
    s.claim("one_each", "each step gives a group, with what was read", (dut.o_valid == came)
            & (Value.cast(o.estimate) == Value.cast(dut.read_data)), when=dut.o_valid | came)
    begins = s.held("begins", step & (group == 0))
    of_row = {"scale_mantissa": tile.entry.scale_mantissa, "scale_shift": tile.entry.scale_shift, "bank": tile.bank,
              "job_last": tile.job_last & (row == tile.rows - 1)}
    if config.key_groups:
        of_row |= {"keys": keys, "restart": tile.restart & (row == 0)}
    s.claim("row_begins", "each row is told when its scan begins, with its scale, and whether it is its job's last",
            (dut.row_valid == begins) & (~begins | Cat(
                dut.row[name] == s.held(f"row_{name}", value[:len(dut.row[name])])
                for name, value in of_row.items()).all()), when=dut.row_valid | begins)
    if config.code_octaves:
        _codes(s, dut, inside, step, keys)
    s.reach("second_row", came & s.held("second", (row == 1) & (group == 1), latency))


def _codes(s: Setting, dut: RowScanner, inside: Inside, step: Value, keys: Value) -> None:
    """Follow the code of any octave and job."""
    slot, octave = s.constant("any_slot", dut.code.slot.shape()), s.constant("any_octave", dut.code.octave.shape())
    code, known = Signal.like(dut.code.code), Signal()
    with s.m.If(dut.code_valid & (dut.code.slot == slot) & (dut.code.octave == octave)):
        s.m.d.sync += [code.eq(dut.code.code), known.eq(1)]
    held = inside.memory("codes").read_port(domain="comb")
    s.m.d.comb += held.addr.eq(Cat(octave, slot))
    s.invariant("code", ~known | (held.data == code))
    of_length = Cat((keys >> n) == 1 for n in range(dut.config.max_seq_len.bit_length()))
    asks = step & (keys > 1) & of_length.bit_select(octave, 1) & (dut.scan.payload.tile.codes == slot)
    late = RowScanner.latency - 2
    s.claim("code", "with the threshold's code of its job and its length's octave", dut.o.code == s.held(
        "code", code, late), when=s.held("asks", s.held("asked", asks, 2) & known, late))


def _tiles(s: Setting) -> None:
    config = _SLICES
    dut = TileSequencer(config)
    inside, m, lanes, slices = s.add(dut), s.m, config.query_lanes, config.dim_slices
    state = functools.partial(inside.state, machine="loader")
    compute, query, tile = dut.compute.payload, dut.query.payload, dut.tile.payload
    # The estimator takes a row when it is ready, and is ready until it has one.
    s.assume("free", dut.query.ready | ~s.held("was_free", dut.query.ready & ~dut.query.valid))
    s.assume("job", (compute.rows != 0) & (compute.keys != 0) & (compute.keys <= config.max_seq_len)
             & (~compute.causal | (compute.rows <= compute.keys)))
    # The job whose rows are loaded: rows that belong to no tile yet; of those, rows of the next tile in place.
    begins = dut.compute.valid & dut.compute.ready
    job, left, placed, slot, bank = (Signal(compute.shape()), Signal(COUNT_BITS), Signal(range(lanes + 1)),
                                     Signal(range(config.query_rows)), Signal())
    rows = Signal(range(lanes + 1))
    m.d.comb += rows.eq(Mux(left < lanes, left, lanes))
    first = job.keys - Mux(job.causal, left - 1, 0)
    whole = state("TILE") & inside["free"] & ~inside["_load_tiles.tile"].valid
    # The tile that is complete; the one whose keys are walked.
    due, due_bank, given = Signal(), Signal(), Signal(tile.shape())
    walks, key, part, walked, walked_bank = Signal(), Signal(range(16)), Signal(range(slices)), Signal(4), Signal()
    key_bank, taken = Signal(), dut.tile.valid & dut.tile.ready
    ends = walks & (part == slices - 1) & (key + config.key_lanes >= walked)
    with m.If(begins):
        m.d.sync += [job.eq(compute), left.eq(compute.rows)]
    with m.If(dut.query.valid):
        m.d.sync += placed.eq(placed + 1)
    with m.If(taken):
        m.d.sync += due.eq(0)
    with m.If(whole):
        m.d.sync += [due.eq(1), due_bank.eq(bank), bank.eq(~bank), left.eq(left - rows), placed.eq(0),
                     slot.eq((slot + rows) % config.query_rows), given.entry.eq(job.entry), given.rows.eq(rows),
                     given.first_keys.eq(first), given.last_keys.eq(first + Mux(job.causal, rows - 1, 0)),
                     given.causal.eq(job.causal), given.bank.eq(job.bank), given.slot.eq(slot),
                     given.job_last.eq(left <= lanes)]
    with m.If(walks):
        m.d.sync += part.eq(part + 1)
        with m.If(part == slices - 1):
            m.d.sync += [part.eq(0), key.eq(key + config.key_lanes)]
    with m.If(ends):
        m.d.sync += walks.eq(0)
    with m.If(taken):
        m.d.sync += [walks.eq(1), key.eq(0), part.eq(0), walked.eq(tile.last_keys), walked_bank.eq(due_bank),
                     key_bank.eq(tile.bank)]
    loads = state("ROWS", "TILE")
    s.invariant("loader", state() & (state("JOB") == (left == 0)) & (placed <= rows)
                & (~state("JOB", "WAIT FOR BANK") | (placed == 0)) & (~state("TILE") | (placed == rows))
                & (~state("ROWS") | (placed != rows)))
    s.invariant("job", (left == 0) | ((inside["job"] == job) & (inside["rows_left"] == left) & (job.keys != 0)
                                      & (inside["visible"] == first) & (job.keys <= config.max_seq_len)
                                      & (~job.causal | (left <= job.keys))))
    s.invariant("loads", ~loads | ((inside["rows_in_tile"] == rows) & (inside["last_tile"] == (left <= lanes))
                                   & (inside["_load_tiles.row"] == placed)))
    s.invariant("tile", ~state("TILE") | ((inside["last_keys"] == first + Mux(job.causal, rows - 1, 0))
                                                 & (inside["next_slot"] == (slot + rows) % config.query_rows)))
    s.invariant("places", (inside["_load_tiles.slot"] == slot) & (inside["_load_tiles.bank"] == bank))
    held = inside["_load_tiles.tile"]
    s.invariant("due", (held.valid == due) & (~due | (
        (held.payload == given) & (inside["tile_bank"] == due_bank) & (given.last_keys != 0)
        & (given.last_keys <= config.max_seq_len))))
    s.invariant("walk", (inside["active"] == walks) & (~walks | (
        (inside["group"] * config.key_lanes == key) & (inside["part"] == part) & (inside["query_bank"] == walked_bank)
        & (inside["key_bank"] == key_bank) & (key < walked) & (walked <= config.max_seq_len)
        & (inside["behind"] == ((walked - 1 - key) >> 1) - 1))))
    drains = [Cat(s.held(f"drains_{n}", ends & (walked_bank == n), age)
                  for age in range(1, dut.bank_drain + 1)).any() for n in range(2)]
    for n in range(2):
        uses = [loads & (bank == n), due & (due_bank == n), walks & (walked_bank == n), drains[n]]
        s.invariant(f"bank_{n}", (inside["bank_busy"][n] == Cat(uses).any()) & (sum(uses[1:], uses[0]) <= 1))
    s.claim("rows_loaded", "each query row goes to the estimator as it comes, in turn, and only when it is taken",
            (dut.query.valid == (dut.rows.valid & dut.rows.ready)) & dut.query.ready & (placed < rows)
            & (Value.cast(query.hi) == Value.cast(dut.rows.payload)) & (query.row == placed) & (query.bank == bank),
            when=dut.query.valid | (dut.rows.valid & dut.rows.ready))
    s.claim("bank_idle", "no row is loaded into a bank whose tile is due, is walked, or has not drained",
            ~Mux(bank, drains[1], drains[0]) & ~(due & (due_bank == bank)) & ~(walks & (walked_bank == bank)),
            when=dut.query.valid)
    s.claim("tile_due", "each tile of a job is handed over once, in order, when its rows are in place: with the keys "
            "that its first and its last row see, and the first one's slot", due & (tile == given),
            when=dut.tile.valid)
    s.claim("keys_walked", "a tile's keys are addressed from the cycle behind that on, each group in all its slices, "
            "to the last that a row sees, and no others", (dut.key_valid == walks) & (~walks | (
                (dut.key_group * config.key_lanes == key) & (dut.key_slice == part) & (dut.key_bank == key_bank))),
            when=walks | dut.key_valid)
    s.claim("no_gap", "the next tile's may follow at once", dut.tile.valid, when=ends & due)
    s.claim("beats", "a beat is told with its data: the query bank that it meets, and whether it is its group's first",
            (dut.beat_valid == s.held("walks", walks, RAM_LATENCY)) & (~dut.beat_valid | (
                (dut.beat_query_bank == s.held("meets", walked_bank, RAM_LATENCY))
                & (dut.beat_first == s.held("first", part == 0, RAM_LATENCY)))),
            when=dut.beat_valid | s.held("walked", walks, RAM_LATENCY))
    s.reach("second_tile", walks & due & (due_bank != walked_bank))


PROOFS = (
    Proof("RowScanner", functools.partial(_scan, config=_LEAN), "induction", 5, 12, "2 keys of a row at a time"),
    Proof("RowScanner", functools.partial(_scan, config=_KINDS), "induction", 5, 12,
          "several thresholds, 2 groups of keys", "kinds"),
    Proof("TileSequencer", _tiles, "induction", 6, 18, "tiles of 2 rows, groups of 2 keys in 2 slices"),
)
