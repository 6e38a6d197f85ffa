"""What the benches of blocks that read a sequence from memory share: sequences, queries, what they come to."""

import numpy as np
from amaranth import Module, Signal, Value

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import ENTRY_BYTES, CacheMemory
from latte.golden.memory.jobs import CacheJob, JobKind, Tile, carry_out
from latte.golden.thresholds import ThresholdKind
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters
from latte.rtl.memory.tile_payloads import tile_row_layout
from latte.sim.cache_core_programs import group_of, random_entries
from tests.cocotb.blocks import WIDE

KINDS = ("relative", "mass", "absolute")
BASE = 0x9A6C_53E7_1B4D_A000
"""Address of a memory's first byte."""
FIRST = 0x5A3C_96E1
"""Number of a memory's first page: addresses and entries of page tables have all of their bits."""
OTHER = FIRST ^ 0xFFFF_FFFF
"""Another such number, whose bits are those that `FIRST` lacks."""
PAGES = 16
"""Of a memory at least: the model of a bench with a short sequence is that of one with a long one."""


def _build(core: AttentionConfig, name: str, **sizes: int) -> MemoryBuild:
    """Return a build whose lists and pages small sequences fill."""
    d = sizes.pop("head_dim", 32)
    core = core.replace(name=name, max_seq_len=512, heads=16, head_dim=d, dim_lanes=d)
    return MemoryBuild(core=core, **{"slots": 2, "page_rows": 16, "bus_bytes": 8} | sizes)


EVERY_KIND = _build(WIDE.replace(threshold_kinds=KINDS, key_groups=4), "every-kind", candidates=32, tile_rows=3)
SLICED = _build(WIDE.replace(threshold_kinds=KINDS[:2], key_groups=8, split="slice", weight_bits=8, exp_frac_bits=6),
                "sliced", candidates=24, tile_rows=2, bus_bytes=16, page_rows=32)
THREE_BITS = _build(WIDE.replace(threshold_kinds=KINDS, key_groups=2, estimate_bits=3), "three-bits", candidates=64,
                    tile_rows=4, bus_bytes=16, page_rows=64, head_dim=64)
TWO_BITS = _build(WIDE.replace(threshold_kinds=("mass",), key_groups=1, estimate_bits=2), "two-bits", candidates=20,
                  tile_rows=1, head_dim=16, bus_bytes=16)
LEAN = _build(WIDE.replace(threshold_kinds=("relative", "mass")), "lean", candidates=48, tile_rows=2)
BUILDS = (EVERY_KIND, SLICED, THREE_BITS, TWO_BITS, LEAN)


def master(build: MemoryBuild, **parameters: int) -> MasterParameters:
    """Return a master as wide as the build's bus."""
    return MasterParameters(data_bits=8 * build.bus_bytes, **{"burst_beats": 16, "reads_in_flight": 8} | parameters)


class Cache:
    """A memory in which a sequence lies, on pages that are not one behind the other.

    Parameters
    ----------
    build
    k, v : int8 [n, d]
    entry
        Under which the keys are appended.
    """

    def __init__(self, build: MemoryBuild, k: np.ndarray, v: np.ndarray, entry: HeadParameters) -> None:
        self.build = build
        self.keys = len(k)
        self.memory = CacheMemory(build, max(PAGES, 2 * len(k) // build.page_rows + 4))
        other, self.handle = self.memory.open(), self.memory.open()
        for page in range(-(-len(k) // build.page_rows)):
            if page % 3 == 1:
                self.memory.reserve(other, (page // 3 + 1) * build.page_rows)
            self.memory.reserve(self.handle, min((page + 1) * build.page_rows, len(k)))
        outcome = carry_out(CacheJob(JobKind.APPEND, self.handle, 0, np.zeros((0, 0, k.shape[1]), np.int8), k, v),
                            self.memory, {0: entry})
        assert outcome.status is None

    @classmethod
    def random(cls, rng: np.random.Generator, build: MemoryBuild, keys: int, heads: int
               ) -> tuple["Cache", np.ndarray, list[HeadParameters]]:
        """Return a random sequence, queries int8 [heads, d], and their entries."""
        d = build.core.head_dim
        k, v = (np.clip(rng.normal(0, 50, (keys, d)).round(), -128, 127).astype(np.int8) for _ in range(2))
        entries = random_entries(rng, build, group_of(build, k), heads)
        return cls(build, k, v, entries[0]), rng.integers(-100, 128, (heads, d)).astype(np.int8), entries

    def ask(self, q: np.ndarray, entries: list[HeadParameters]) -> list[Tile]:
        """Return what the golden model makes of a query of each head, int8 [heads, d]."""
        none = np.zeros((0, q.shape[-1]), np.int8)
        outcome = carry_out(CacheJob(JobKind.DECODE, self.handle, 0, q[:, None], none, none), self.memory,
                            dict(enumerate(entries)))
        assert outcome.status is None
        return outcome.tiles

    def offers(self, q: np.ndarray, entries: list[HeadParameters]) -> dict[str, list]:
        """Return what a tile engine is offered for the same."""
        build, table = self.build, BASE + self.memory.state(self.handle).table_address
        known = tile_row_layout(build).members
        return {"tile": [{"rows": len(q[first:first + build.tile_rows]), "keys": self.keys, "table_address": table}
                         for first in range(0, len(q), build.tile_rows)],
                "row": [{name: value for name, value in self._row(entry).items() if name in known}
                        for entry in entries],
                "q": q.reshape(-1, build.bus_bytes).tolist()}

    def sums(self) -> list[dict]:
        """Return the sums of groups that a tile comes with: all of one position."""
        build, state = self.build, self.memory.state(self.handle)
        words = state.group_sums.reshape(len(state.group_sums), -1, build.bus_bytes)
        return [{"position": 0, "group": group, "slice": part, "keys": int(state.group_keys[group]),
                 "sums": words[group, part].tolist()}
                for group in range(words.shape[0]) for part in range(words.shape[1])]

    def _row(self, entry: HeadParameters) -> dict[str, int]:
        return {"keys": self.keys, "code": entry.threshold.codes[self.keys.bit_length() - 1],
                "kind": list(ThresholdKind).index(entry.threshold.kind), "group_bits": len(entry.groups.elements),
                "scale_mantissa": entry.scale_code[0], "scale_shift": entry.scale_code[1],
                "denominator_gain": entry.gains.denominator, "mean_gain": entry.gains.mean}

    def words(self, broken: tuple[int, ...] = ()) -> list[dict[str, int]]:
        """Return the memory's words, pages numbered from `FIRST` on; some are read with an error."""
        words, beat = memory_words(self.memory, broken), self.build.bus_bytes
        first = self.memory.state(self.handle).table_address // beat
        for word in words[first:first + self.build.padded(ENTRY_BYTES * self.build.page_limit) // beat]:
            entries = renumbered(np.frombuffer(word["data"].to_bytes(beat, "little"), np.uint8))
            word["data"] = int.from_bytes(entries.tobytes(), "little")
        return words


def first_page(memory: CacheMemory, first: int = FIRST) -> int:
    """Return the address of page 0, which is not there, of a memory that begins at `BASE` with page `first`."""
    return (BASE + memory.first_page - first * memory.format.page_bytes) % (1 << ADDRESS_BITS)


def renumbered(table: np.ndarray, first: int = FIRST) -> np.ndarray:
    """Return bytes of page tables in which the pages have numbers from `first` on; nothing stays nothing."""
    entries = table.view("<u4")
    return np.where(entries == 0, 0, entries + np.uint32(first)).astype("<u4").view(np.uint8)


def memory_words(memory: CacheMemory, broken: tuple[int, ...] = ()) -> list[dict[str, int]]:
    """Return a memory's words as they are filled in; reads of some of them are answered with an error."""
    beat, image = memory.build.bus_bytes, memory.image.data
    whole = np.pad(image, (0, -len(image) % beat)).reshape(-1, beat)
    return [{"data": int.from_bytes(word.tobytes(), "little"), "broken": n in broken, "last": n == len(whole) - 1}
            for n, word in enumerate(whole)]


def read_beats(tile: Tile, build: MemoryBuild, *kinds: str) -> int:
    """Return the beats that a tile reads, of some kinds of its traffic; half of what is spilled is written."""
    moved = tile.traffic.moved
    return sum(moved[kind] // (2 if kind == "spilled" else 1) for kind in kinds) // build.bus_bytes


def complete_in(m: Module, complete: Signal, begins: Value, cycles: int = 100) -> None:
    """Say that a tile is complete some cycles behind its begin: until then it waits, whatever else is ready."""
    left = Signal(range(cycles + 1))
    m.d.comb += complete.eq(left == 0)
    with m.If(begins):
        m.d.sync += left.eq(cycles)
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
