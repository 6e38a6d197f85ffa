"""What ``latte infer --keys-in-memory`` runs on: a memory with a sequence for each head of keys, and a core."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from rich.console import Console

from latte.fpga.inference.backends import GoldenCacheBackend
from latte.golden.config import AttentionConfig
from latte.golden.console import show_status
from latte.golden.errors import LatteError
from latte.golden.memory.backend import CacheBackend
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import Handle
from latte.golden.memory.cycles import Machine
from latte.golden.memory.parts import PARTS
from latte.golden.models.cached_inference import open_sequences
from latte.golden.models.checkpoint import Checkpoint
from latte.sim.cache_run import build_cache_core, words_needed
from latte.sim.simulated_cache_core import simulated_cache_core

__all__ = ["LARGEST_MEMORY", "MEMORY_LATENCY", "cached_backend"]

MEMORY_LATENCY = 60
"""Cycles from a read to its first beat."""
_PART = "arty_ddr3"
"""Whose time is predicted."""
LARGEST_MEMORY = 1 << 31
"""Bytes of a memory that is simulated."""


@contextlib.contextmanager
def cached_backend(checkpoint: Checkpoint, core: AttentionConfig, tokens: int, *, simulate: bool,
                   build_folder: pathlib.Path, console: Console
                   ) -> Iterator[tuple[MemoryBuild, list[Handle], CacheBackend]]:
    """Yield what `latte.golden.models.cached_inference.CachedAttention` needs of a text of some tokens at most.

    The host opens all sequences and gives them their pages before the core begins, and writes nothing afterwards.

    Parameters
    ----------
    checkpoint
    core
        Arithmetic of the build; the memory has room for `max_seq_len` keys of each sequence, whatever the text.
    tokens
    simulate
        By the RTL; else by the golden model.
    build_folder
    console

    Raises
    ------
    LatteError
        No core can be built so, or the memory is too large to be simulated.
    """
    slots = checkpoint.blocks * checkpoint.heads // checkpoint.heads_per_key
    build = MemoryBuild(core=core, slots=slots)
    memory, sequences = open_sequences(checkpoint, build, tokens)
    if not simulate:
        machine = Machine(build, PARTS[_PART], MEMORY_LATENCY)
        yield build, sequences, GoldenCacheBackend(machine, memory)
        return
    words = words_needed(build, slots * build.page_limit)
    if words * build.bus_bytes > LARGEST_MEMORY:
        raise LatteError(f"{slots} sequences of {core.max_seq_len} keys take a memory of {words * build.bus_bytes} "
                         f"bytes, more than the {LARGEST_MEMORY} that are simulated; choose a smaller --max-seq-len")
    with show_status(console, f"compiling the core {core.name!r} with keys in memory (some minutes; kept for the next "
                     "time) ..."):
        model = build_cache_core(build, words, latency=MEMORY_LATENCY, build_folder=build_folder)
    folder = build_folder / "sim" / "runs" / f"infer-memory-{core.name}-{os.getpid()}"
    # Nothing leaves a core while a long stream passes.
    with simulated_cache_core(model, memory, folder, patience=100_000 + 16 * core.max_seq_len) as backend:
        yield build, sequences, backend
