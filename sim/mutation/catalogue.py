"""Which block is judged by which tests."""

import dataclasses
import pathlib

from latte.golden.errors import LatteError

__all__ = ["BLOCKS", "DOCUMENT", "NOT_JUDGED", "Block", "choose_blocks"]

DOCUMENT = pathlib.Path(__file__).parent / "README.md"
_COCOTB = "tests/cocotb/test_{}.py"


@dataclasses.dataclass(frozen=True)
class Block:
    """What one file of ``rtl`` describes.

    Parameters
    ----------
    source
        The file.
    tests
        Files of tests that call `run_block`: what they ask judges the block's mutants.
    """

    source: str
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name, in the field's words."""
        return pathlib.PurePath(self.source).stem

    @property
    def bench(self) -> str:
        """What judges it, for people."""
        return ", ".join(pathlib.PurePath(test).stem for test in self.tests)


_TESTED = {
    "stream_queue": ("common/stream_queue",),
    "survivor_queue": ("wide/survivor_queue",),
    "word_packer": ("common/word_packer",),
    "key_membership": ("common/key_membership",),
    "key_value_loader": ("common/key_value_loader",),
    "status_and_counters": ("common/core",),
    "score_estimator": ("wide/score_estimator", "wide/packed_dsp_dot"),
    "tile_sequencer": ("wide/tile_sequencer",),
    "cross_product_unit": ("wide/cross_product_unit", "wide/cross_product", "wide/pair_table_dot",
                           "common/adder_tree"),
    "dense_blocks": ("dense/score_array", "dense/dense_softmax", "dense/dense_value_accumulator"),
    "axi_engines": ("axi/read_engine", "axi/write_engine"),
    "cache_completer": ("memory/cache_completer",),
    "cache_dispatcher": ("memory/cache_dispatcher",),
    "cache_sequencer": ("memory/cache_sequencer",),
    "descriptor_jobs": ("axi/job_completer", "axi/job_dispatcher"),
    "descriptors": ("axi/descriptor_fetcher", "axi/descriptor_ring"),
    "entry_reader": ("memory/entry_reader",),
    "estimate_buffer": ("wide/estimate_buffer", "wide/row_scanner", "wide/running_maximum", "common/ram"),
    "gap_table": ("wide/gap_table",),
    "mass_compensation": ("wide/mass_compensation", "wide/key_counts"),
    "mass_return": ("memory/mass_return",),
    "normalizer": ("wide/normalizer", "wide/reciprocal", "wide/row_memory", "wide/row_scaler"),
    "operand_memories": ("common/operand_split", "wide/operand_plane", "wide/query_buffer", "wide/query_memory",
                         "wide/query_tables"),
    "output_packer": ("axi/output_packer",),
    "packet_blocks": ("axi/packet_receiver", "axi/packet_sender", "axi/packet_transmitter"),
    "page_table": ("memory/page_table",),
    "piece_bursts": ("memory/piece_bursts",),
    "piece_reader": ("memory/piece_reader",),
    "register_blocks": ("axi/register_bank", "axi/axi_lite_slave", "axi/wishbone_slave"),
    "row_appender": ("memory/row_appender",),
    "row_fetcher": ("axi/row_bursts", "axi/row_fetcher"),
    "row_gearbox": ("axi/row_gearbox",),
    "row_limiter": ("wide/row_limiter", "wide/mass_scan", "wide/group_sums"),
    "row_limits": ("wide/row_limits",),
    "row_selector": ("memory/row_selector", "memory/candidate_filter", "memory/candidate_list"),
    "row_tables": ("memory/row_tables",),
    "scaled_product": ("wide/scaled_product",),
    "selector_blocks": ("memory/estimate_histogram", "memory/gap_mass", "memory/limit_finder",
                        "memory/survivor_merge"),
    "sequence_record": ("memory/sequence_record",),
    "softmax": ("wide/softmax", "wide/score_queue", "wide/weight_pipeline"),
    "spill_store": ("memory/spill_store",),
    "stream_runner": ("axi/stream_runner",),
    "survivor_mass": ("wide/survivor_mass",),
    "threshold_filter": ("wide/threshold_filter",),
    "tile_engine": ("memory/tile_engine",),
    "tile_front": ("memory/tile_front", "memory/tile_array"),
    "tile_reader": ("memory/tile_reader",),
    "tile_softmax": ("memory/tile_softmax",),
    "tile_stores": ("memory/score_store", "memory/place_merge", "memory/plane_unpacker"),
    "tile_values": ("memory/tile_values", "memory/row_sums"),
    "value_accumulator": ("wide/value_accumulator", "wide/virtual_survivors"),
    "work_list": ("common/head_registers", "common/job_sequencer"),
    "serial_blocks": ("serial/serial_estimator", "serial/serial_query_ring", "serial/serial_scorer",
                      "serial/serial_finisher", "serial/serial_memories", "common/bit_plane_dot"),
    "serial_pruning": ("serial/serial_gap_table", "serial/serial_group_sums", "serial/serial_pruned_mass",
                       "serial/serial_row_limiter"),
    "serial_scratchpad": ("serial/serial_scratchpad",),
}
"""By the name of a test of `tests/cocotb`: files of ``rtl``."""
BLOCKS: tuple[Block, ...] = tuple(Block(f"rtl/{file}.py", tests=(_COCOTB.format(test),))
                                  for test, files in _TESTED.items() for file in files)
_COMPOSED = "connects blocks; programs compare what leaves each of them in a whole core (tests/cocotb/test_core.py)"
_WIRES = "connects blocks with wires alone, in which there are no faults (tests/cocotb/test_key_value_scratchpad.py)"
_BEHIND_BUSES = "connects blocks; programs compare what leaves it in a whole core (tests/cocotb/test_axi_core.py)"
_CONNECTS = "connects blocks; whole cores with keys in memory run it (tests/cocotb/test_cache_core.py)"
NOT_JUDGED = {
    **dict.fromkeys(("wide/wide_core", "serial/serial_core", "dense/dense_core"), _COMPOSED),
    "wide/key_value_scratchpad": _WIRES,
    **dict.fromkeys(("axi/axi_core", "axi/axi_stream_core", "axi/descriptor_runner"), _BEHIND_BUSES),
    **dict.fromkeys(("memory/axi_cache_core", "memory/cache_core", "memory/cache_runner"), _CONNECTS),
}
"""Files that describe hardware and have no mutants, and why."""


def choose_blocks(names: tuple[str, ...]) -> list[Block]:
    """Return some blocks, all if none is named.

    Raises
    ------
    LatteError
        There is no such block.
    """
    known = {block.name: block for block in BLOCKS}
    for name in names:
        if name not in known:
            raise LatteError(f"there are no mutants of a block {name!r}; choose one of {', '.join(known)}")
    return [block for block in BLOCKS if not names or block.name in names]
