"""Testpoints: what is to be shown of the hardware, and what shows it; `tests/TESTPLAN.md` is made of them."""

import dataclasses
import pathlib
from collections.abc import Callable

from latte.golden.documents import markdown_table, replace_section
from latte.sim.coverage.baseline import read_baseline
from latte.sim.formal.catalogue import PROOFS

__all__ = ["DOCUMENT", "TABLES", "TESTPOINTS", "Testpoint", "is_done", "write_testplan"]

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "TESTPLAN.md"


@dataclasses.dataclass(frozen=True)
class Testpoint:
    """One thing to show.

    Parameters
    ----------
    name
    intent
    tests
        Below ``tests``: ``file.py::test``.
    groups
        Of the functional plan, which must be full.
    proofs
        Blocks of which properties are proved.
    commands
        Measurements that show it, with a figure and a bar.
    gap
        What is not shown; a testpoint with a gap is not done.
    """

    __test__ = False  # no class of tests, whatever its name

    name: str
    intent: str
    tests: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    gap: str = ""


_CORE, _AXI, _STREAM = (f"cocotb/{name}.py::" for name in ("test_core", "test_axi_core", "test_axi_stream_core"))
_AXI_CACHE = "cocotb/test_axi_cache_core.py::"
_CASES = "sim/fuzz/test_cases.py::"

TESTPOINTS: tuple[Testpoint, ...] = (
    Testpoint("arithmetic", "integer arithmetic against float64 mathematics and by its definitions",
              ("golden/test_arithmetic.py::test_exp2_table_against_mathematics",
               "golden/test_arithmetic.py::test_reciprocal_against_mathematics",
               "golden/test_arithmetic.py::test_scores_element_by_element",
               "golden/test_vector_files.py::test_output_error_budget_on_every_embedded_head")),
    Testpoint("heads", "whole heads, causal or not, with every kind of threshold, split and form of job, in every bit",
              (_CORE + "test_corners", _CORE + "test_random_heads", _CORE + "test_pruned_heads"), ("kinds", "builds")),
    Testpoint("real heads", "the embedded heads of real transformers on the RTL, in every bit",
              (_CORE + "test_real_heads", _CORE + "test_real_head_on_the_serial_core"), commands=("latte sim",)),
    Testpoint("lengths", "rows and sequences at every length at which something of a build ends",
              (_CORE + "test_longest_rows", _CORE + "test_longest_heads"), ("lengths",)),
    Testpoint("appended keys", "decoded tokens and appended keys are one sequence",
              (_CORE + "test_appended_keys", "golden/test_jobs.py::test_appended_keys_are_one_sequence"), ("kinds",)),
    Testpoint("shared keys", "query heads that share the keys of another",
              (_CORE + "test_keys_and_groups_that_heads_share",), ("shared keys",)),
    Testpoint("compensation", "the mass of pruned keys, by group of keys, given back",
              (_CORE + "test_keys_and_groups_that_heads_share",
               "cocotb/test_mass_compensation.py::test_mass_compensation",
               "rtl/test_serial_compensation.py::test_compensated_rows"), ("compensation",)),
    Testpoint("refused jobs", "jobs that cannot be computed set their bit and harm no other",
              (_CORE + "test_refused_jobs_raise_a_sticky_bit_and_harm_no_other",
               _CORE + "test_sequences_that_begin_behind_refused_jobs_leave_those_before_alone"),
              ("refusals", "status"), ("JobSequencer",)),
    Testpoint("register file", "entries word by word; what no entry can have leaves its head unknown",
              ("rtl/test_head_registers.py::test_what_no_entry_of_the_build_can_have_leaves_its_head_unknown",
               "rtl/test_head_registers.py::test_words_out_of_turn_leave_the_head_unknown"), ("status",),
              ("HeadRegisters",)),
    Testpoint("stalls", "idle sources and slow sinks change no bit, and nothing is lost or doubled",
              (_CORE + "test_corners", "cocotb/test_stream_queue.py::test_stream_queue"), ("kinds", "interfaces"),
              ("StreamQueue",)),
    Testpoint("resets", "a reset in mid-job leaves nothing behind, a soft reset behind a bus as well",
              (_CORE + "test_reset_in_mid_row", _AXI + "test_soft_reset_in_the_middle",
               _STREAM + "test_soft_reset_in_the_middle"), ("resets",)),
    Testpoint("counters", "counters of cycles, pairs, survivors and pruned mass",
              (_CORE + "test_counters", _CASES + "test_new_cases")),
    Testpoint("blocks", "each block by itself, with random and extreme items, under every stall",
              ("cocotb/test_softmax.py::test_softmax", "cocotb/test_normalizer.py::test_normalizer",
               "cocotb/test_value_accumulator.py::test_values_to_output",
               "cocotb/test_cross_product_unit.py::test_cross_product_unit",
               "cocotb/test_estimate_buffer.py::test_estimate_buffer_and_scanner",
               "cocotb/test_threshold_filter.py::test_threshold_filter",
               "cocotb/test_tile_softmax.py::test_tiles_of_all_shapes", "cocotb/test_tile_values.py::test_tiles",
               "cocotb/test_mass_return.py::test_tiles",
               "cocotb/test_serial_blocks.py::test_scorer", "cocotb/test_serial_blocks.py::test_finisher")),
    Testpoint("estimator", "the estimate of every structure, at its corners",
              ("rtl/test_score_estimator.py::test_structures_agree", "rtl/test_score_estimator.py::test_corners",
               "rtl/test_dot_product.py::test_packed_dsp_dot")),
    Testpoint("latencies", "each block takes the cycles that it says, whole cores those of the cycle model",
              ("rtl/test_latencies.py::test_latency_is_what_the_block_says",
               "rtl/test_latencies.py::test_no_latency_goes_unmeasured",
               "rtl/test_cycle_model.py::test_within_one_per_cent_of_the_rtl")),
    Testpoint("pruning is right for all inputs", "which keys survive, proved of the filter's parts", (), (),
              ("ThresholdFilter", "RunningMaximum", "VirtualSurvivors")),
    Testpoint("registers", "every register by AXI4-Lite and Wishbone, in ways that are allowed and ways that are not",
              ("cocotb/test_register_blocks.py::test_axi_lite", "cocotb/test_register_blocks.py::test_wishbone",
               _AXI + "test_registers_behind_wishbone"), (), ("AxiLiteSlave", "WishboneSlave")),
    Testpoint("descriptors", "programs from memory, by rings of any size, with scattered rows",
              (_AXI + "test_programs_from_memory", _AXI + "test_rings_of_any_size",
               "cocotb/test_descriptors.py::test_descriptors_are_read_and_checked"), ("interfaces",),
              ("DescriptorRing", "RowBursts", "RowFetcher")),
    Testpoint("keys in memory", "sequences that are appended to, asked and freed, with their pages, spilled lists and "
              "all refusals, in every bit, byte and beat",
              ("cocotb/test_cache_core.py::test_programs", "cocotb/test_tile_engine.py::test_tiles",
               "cocotb/test_tile_front.py::test_tiles", "cocotb/test_row_selector.py::test_rows_of_all_shapes",
               "cocotb/test_row_appender.py::test_row_appender",
               "cocotb/test_sequence_record.py::test_sequence_record", "cocotb/test_spill_store.py::test_tiles",
               "cocotb/test_tile_stores.py::test_lists_are_merged",
               "cocotb/test_tile_stores.py::test_scores_are_kept",
               "cocotb/test_tile_stores.py::test_planes_are_unpacked",
               "sim/test_cache_run.py::test_pages_are_used_again", "sim/test_cache_run.py::test_what_differs_is_said"),
              ("cached kinds", "cached builds", "cached tiles", "cached compensation", "cached lengths",
               "cached status"),
              proofs=("CacheSequencer", "PieceBursts", "PieceReader", "PageTable", "EntryReader", "CandidateList",
                      "SurvivorMerge", "PlaceMerge", "ScoreStore", "PlaneUnpacker",
                      "SequenceRecord", "SpillStore", "CandidateFilter", "EstimateHistogram", "RowSums")),
    Testpoint("keys in memory by descriptors", "appends, decodes, prefills by rings of any size; each descriptor ends "
              "with its status, whatever it asks for and whichever beat fails; soft resets",
              (_AXI_CACHE + "test_every_descriptor_ends_as_it_must", _AXI_CACHE + "test_rings_of_any_size",
               _AXI_CACHE + "test_every_error_is_told_and_harms_no_other_job",
               _AXI_CACHE + "test_a_record_that_cannot_be_written", _AXI_CACHE + "test_soft_reset_in_the_middle",
               _AXI_CACHE + "test_real_heads"),
              ("cached interfaces", "cached status", "cached resets", "cached descriptors", "cached faults")),
    Testpoint("memory errors", "words that cannot be read or written, pages without entry: told, and no harm besides",
              ("cocotb/test_tile_engine.py::test_a_value_that_cannot_be_read",
               "cocotb/test_tile_front.py::test_a_page_without_entry_and_a_table_that_cannot_be_read",
               "cocotb/test_row_appender.py::test_write_errors"), ("cached status", "cached faults")),
    Testpoint("bus protocol", "AXI4 and AXI4-Stream rules hold whatever the other side does", (), (),
              ("ReadEngine", "WriteEngine", "PacketTransmitter", "PacketReceiver", "PacketSender")),
    Testpoint("bus errors", "error responses, wrong descriptors and addresses are told, and harm no other job",
              (_AXI + "test_every_error_is_told_and_harms_no_other_job",
               _AXI + "test_ten_thousand_transactions_with_errors"), ("bus faults",)),
    Testpoint("packets", "programs by packets; packets that are too short, too long or lack bytes",
              (_STREAM + "test_programs_by_packets",
               _STREAM + "test_every_wrong_packet_is_told_and_harms_no_other_job",
               "cocotb/test_packet_blocks.py::test_packets_that_come_in"),
              ("packet faults", "interfaces")),
    Testpoint("random programs", "random programs on random builds, and every two values of two fields",
              (_CASES + "test_random_builds", _CASES + "test_builds_of_pairs_of_values"), commands=("latte fuzz",)),
    Testpoint("tests can fail", "broken cores and broken blocks are found by fuzzing and by proofs",
              ("sim/fuzz/test_broken_cores.py::test_broken_core_is_found_and_made_small",
               "sim/formal/test_mutants.py::test_mutant_is_found")),
    Testpoint("second simulator", "the generated SystemVerilog gives the same bits on Icarus",
              (_CORE + "test_second_simulator", _CASES + "test_second_simulator_fuzzes_too")),
    Testpoint("warnings", "the SystemVerilog is free of warnings but for those that are waived",
              ("rtl/test_emit.py::test_no_warning_at_the_default_level_and_none_unnamed_at_all",
               "rtl/test_emit.py::test_axi_stream_top_has_conventional_ports_and_no_warning")),
    Testpoint("netlist", "the synthesised netlist gives the same bits",
              ("fpga/synthesis/test_serial_netlist.py::test_netlist_gives_the_same_bits",),
              gap="of the serial engine only; no netlist of the wide engine is simulated"),
    Testpoint("host link", "frames, lost and damaged ones, and whole heads over the link of a board",
              ("fpga/link/test_host_link.py::test_damaged_request_leaves_no_trace",
               "fpga/host/test_host_simulated.py::test_faults_never_give_a_wrong_answer")),
    Testpoint("interrupted runs", "a command that is killed at any moment, or started twice in one folder, gives the "
              "right figures",
              ("test_interrupted.py::test_killed_and_run_again", "test_interrupted.py::test_two_at_once",
               "sim/test_locks.py::test_a_killed_process_holds_nothing",
               "sim/test_runner.py::test_damaged_models_are_made_anew")),
    Testpoint("toggles of 32-bit counters", "the upper halves of the counters count", (),
              gap="waived: runs of minutes; counting is one sum for all bits"),
    Testpoint("coverage of the host link", "branches and toggles of fpga/link", (),
              gap="`latte coverage` measures rtl/; the link has tests alone"),
    Testpoint("board", "heads on a board equal the golden model in every bit", (),
              gap="no bitstream has run on a board yet"),
)
"""All of them."""


def is_done(testpoint: Testpoint) -> bool:
    """Return whether everything that shows a testpoint is there; that its tests exist and pass is theirs to say."""
    plan = read_baseline().get("plan", {})
    full = all(group in plan and plan[group][0] == plan[group][1] for group in testpoint.groups)
    return not testpoint.gap and full


def _table() -> str:
    done = sum(map(is_done, TESTPOINTS))
    rows = []
    for point in TESTPOINTS:
        shown = [f"`{test}`" for test in point.tests]
        shown += [f"coverage of *{group}*" for group in point.groups]
        shown += [f"proofs of `{block}`" for block in point.proofs]
        shown += [f"`{command}`" for command in point.commands]
        state = "done" if is_done(point) else point.gap or "not done"
        rows.append((point.name, point.intent, "<br>".join(shown), state))
    table = markdown_table(["testpoint", "shows", "by", "state"], rows)
    proofs = sum(len(proof.properties()) for proof in PROOFS)
    return f"**{done} of {len(TESTPOINTS)} testpoints are done**; {proofs} properties are proved.\n\n{table}"


TABLES: dict[str, Callable[[], str]] = {"testplan": _table}
"""What makes each section of `DOCUMENT`."""


def write_testplan() -> None:
    """Write the document's tables."""
    for section, table in TABLES.items():
        replace_section(DOCUMENT, section, table())
