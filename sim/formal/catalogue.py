"""All proofs, and their table in the document."""

import importlib
import pathlib

from latte.golden.documents import markdown_table
from latte.golden.errors import LatteError
from latte.sim.formal import (
    axi_jobs,
    axi_lite,
    axi_master,
    axi_memory,
    axi_registers,
    axi_stream,
    buffers,
    cache_jobs,
    dense,
    jobs,
    limits,
    loading,
    masses,
    memory_access,
    memory_append,
    memory_gaps,
    memory_jobs,
    memory_masses,
    memory_record,
    memory_rows,
    memory_selection,
    memory_spill,
    products,
    memory_tiles,
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
    wishbone,
)
from latte.sim.formal.setting import Proof

__all__ = ["DOCUMENT", "PROOFS", "SECTION", "choose_proofs", "proof_table"]

DOCUMENT = pathlib.Path(__file__).parent / "README.md"
SECTION = "properties"
_MODULES = (
    axi_lite, axi_registers, axi_master, axi_memory, axi_jobs, axi_stream, wishbone, streams, buffers, loading, queries,
    jobs, rows, pruning, limits, products, survivors, weights, masses, dense, serial, serial_planes, serial_rows,
    serial_weights, serial_finish, cache_jobs, memory_access, memory_record, memory_rows, memory_selection, memory_spill,
    # Named, since it belongs to a layer above this one.
    importlib.import_module("latte.fpga.link.proofs"))
_MODULES = (axi_lite, axi_master, axi_memory, axi_stream, streams, jobs, pruning, survivors, wishbone, cache_jobs,
            memory_access, memory_append, memory_gaps, memory_jobs, memory_masses, memory_record, memory_rows,
            memory_selection, memory_spill, memory_tiles)
PROOFS: tuple[Proof, ...] = tuple(proof for module in _MODULES for proof in module.PROOFS)


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


def proof_table() -> str:
    """Return what is proved of which block, as a Markdown table."""
    rows = []
    for proof in PROOFS:
        for claimed in proof.properties():
            rows.append((f"`{proof.full_name(claimed)}`", claimed.meaning, proof.mode, proof.depth, proof.build))
    return markdown_table(("property", "what holds", "mode", "depth", "build"), rows)
