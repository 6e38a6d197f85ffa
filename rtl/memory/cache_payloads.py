"""What jobs of a core with keys in memory are, and what becomes of them."""

from amaranth.lib import data

from latte.golden.jobs import COUNT_BITS
from latte.golden.memory.jobs import FAILURES, REFUSALS

__all__ = ["GENERATION_BITS", "cache_job_layout", "cache_verdict_layout", "drop_layout"]

_SLOT_BITS = 16
GENERATION_BITS = 16


def cache_job_layout() -> data.StructLayout:
    """A job, `latte.golden.memory.jobs.CacheJob`.

    It appends `rows` rows to the sequence of a slot, and asks `queries` queries of each of `heads` heads, whose entries
    of the register file begin at `head`.
    """
    return data.StructLayout({"slot": _SLOT_BITS, "generation": GENERATION_BITS, "head": COUNT_BITS,
                              "heads": COUNT_BITS, "rows": COUNT_BITS, "queries": COUNT_BITS})


def cache_verdict_layout() -> data.StructLayout:
    """What became of a job, in the cycle of `valid`: one of `REFUSALS` or `FAILURES`, or none of them."""
    return data.StructLayout({"valid": 1, **dict.fromkeys((*REFUSALS, *FAILURES), 1)})


def drop_layout() -> data.StructLayout:
    """Rows of K and V, and of Q, that are read off their streams for nobody."""
    return data.StructLayout({"keys": COUNT_BITS, "queries": COUNT_BITS})
