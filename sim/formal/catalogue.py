"""All proofs, and their table in the document."""

import importlib
import pathlib

from latte.golden.documents import markdown_table
from latte.golden.errors import LatteError
from latte.sim.formal.proofs import (
    axi_jobs,
    axi_lite,
    axi_master,
    axi_memory,
    axi_registers,
    axi_stream,
    buffers,
    cache_jobs,
    dense,
    estimates,
    jobs,
    limits,
    loading,
    masses,
    memory_access,
    memory_append,
    memory_gaps,
    memory_jobs,
    memory_masses,
    memory_reads,
    memory_record,
    memory_rows,
    memory_selection,
    memory_spill,
    memory_tiles,
    products,
    pruning,
    queries,
    rows,
    serial,
    serial_finish,
    serial_planes,
    serial_rows,
    serial_weights,
    streams,
    survivors,
    weights,
    whole_cores,
    wishbone,
)
from latte.sim.formal.setting import Proof

__all__ = ["DOCUMENT", "NOT_PROVED", "PROOFS", "TABLES", "choose_proofs"]

DOCUMENT = pathlib.Path(__file__).parent / "README.md"
_MODULES = (
    axi_lite, axi_registers, axi_master, axi_memory, axi_jobs, axi_stream, wishbone, streams, buffers, loading, queries,
    jobs, estimates, rows, pruning, limits, products, survivors, weights, masses, dense, serial, serial_planes,
    serial_rows, serial_weights, serial_finish, cache_jobs, memory_jobs, memory_access, memory_append, memory_reads,
    memory_record, memory_rows, memory_selection, memory_gaps, memory_spill, memory_masses, memory_tiles, whole_cores,
    # Named, since it belongs to a layer above this one.
    importlib.import_module("latte.fpga.link.proofs"))
PROOFS: tuple[Proof, ...] = tuple(proof for module in _MODULES for proof in module.PROOFS)
_COMPOSED = "connects blocks that have proofs, and adds their phases; what they do together is simulated"
NOT_PROVED = {
    **dict.fromkeys((
        "AxiCore", "AxiStreamCore", "BusCore", "DescriptorRunner", "StreamRunner", "Core", "KeyValueScratchpad",
        "AxiCacheCore", "CacheCore", "CacheRunner", "RowSelector", "TileArray", "TileEngine", "TileFront",
        "HostedCore"), _COMPOSED),
    "CacheDescriptorFetcher": "a DescriptorFetcher of another descriptor",
    "LimitSearch": "in the proof of LimitFinder",
    "UartReceiver": "in the proof of UartTransmitter",
}
"""Blocks without a proof of their own, and why."""


def choose_proofs(blocks: tuple[str, ...]) -> list[Proof]:
    """Return the proofs of some blocks, of all if none is named.

    Raises
    ------
    LatteError
        There is none of a block.
    """
    known = list(dict.fromkeys(proof.block for proof in PROOFS))
    for block in blocks:
        if block not in known:
            raise LatteError(f"nothing is proved of a block {block!r}; choose one of {', '.join(known)}")
    return [proof for proof in PROOFS if not blocks or proof.block in blocks]


def _proof_table() -> str:
    """Return what is proved of which block, as a Markdown table."""
    rows = []
    for proof in PROOFS:
        for claimed in proof.properties():
            rows.append((f"`{proof.full_name(claimed)}`", claimed.meaning, proof.mode, proof.depth, proof.build))
    return markdown_table(("property", "what holds", "mode", "depth", "build"), rows)


def _count() -> str:
    """Return how much is proved, as a sentence."""
    properties = [(proof, claimed) for proof in PROOFS for claimed in proof.properties()]
    bounded = sum(proof.mode == "bounded" for proof, _ in properties)
    blocks = {proof.block for proof in PROOFS}
    return f"{len(properties)} properties of {len(blocks)} blocks, {bounded} of them bounded, all others by induction."


def _open_table() -> str:
    """Return the blocks that have no proof, as a Markdown table."""
    reasons = dict.fromkeys(NOT_PROVED.values())
    return markdown_table(("blocks", "why not"), [
        (", ".join(f"`{block}`" for block, why in NOT_PROVED.items() if why == reason), reason) for reason in reasons])


TABLES = {"properties": _proof_table, "properties-count": _count, "not-proved": _open_table}
"""What makes each section of the document."""
