"""A block that is broken is found by the property that says so."""

import dataclasses
import importlib

import pytest

from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.descriptor_ring import DescriptorRing
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.axi.packet_receiver import PacketReceiver
from latte.rtl.axi.packet_sender import PacketSender
from latte.rtl.axi.packet_transmitter import PacketTransmitter
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.row_fetcher import RowFetcher
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.axi.wishbone_slave import WishboneSlave
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.operand_split import SplitBeat
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.common.word_packer import WordPacker
from latte.rtl.memory.cache_completer import CacheCompleter
from latte.rtl.memory.cache_dispatcher import CacheDispatcher
from latte.rtl.memory.candidate_filter import CandidateFilter
from latte.rtl.memory.candidate_list import CandidateList
from latte.rtl.memory.entry_reader import EntryReader
from latte.rtl.memory.gap_mass import GapMass
from latte.rtl.memory.limit_finder import LimitFinder
from latte.rtl.memory.mass_return import MassReturn
from latte.rtl.memory.page_table import PageTable
from latte.rtl.memory.piece_bursts import PieceBursts
from latte.rtl.memory.piece_reader import PieceReader
from latte.rtl.memory.place_merge import PlaceMerge
from latte.rtl.memory.plane_unpacker import PlaneUnpacker
from latte.rtl.memory.row_appender import RowAppender
from latte.rtl.memory.row_sums import RowSums
from latte.rtl.memory.row_tables import RowTables
from latte.rtl.memory.score_store import ScoreStore
from latte.rtl.memory.sequence_record import SequenceRecord
from latte.rtl.memory.spill_store import SpillStore
from latte.rtl.memory.survivor_merge import SurvivorMerge
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.rtl.memory.tile_values import TileValues
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.virtual_survivors import VirtualSurvivors
from latte.sim.formal.catalogue import PROOFS
from latte.sim.formal.prove import prove
from tests.sim.formal.broken import break_source

QUICK = {"b_in_time", "maximum"}
MUTANTS = {
    # Handshakes: VALID falls, or waits for READY; more than was promised; a request lives through a reset.
    "b_stable": ("AxiLiteSlave-writes", AxiLiteSlave, "self.bvalid & self.bready", "self.bvalid"),
    "b_in_time": ("AxiLiteSlave-writes", AxiLiteSlave, "addressed & given & ~self.bvalid",
                  "addressed & given & ~self.bvalid & self.bready"),
    "writes_bounded": ("AxiLiteSlave-writes", AxiLiteSlave, "self.awready.eq(~addressed)", "self.awready.eq(1)"),
    "b_asked_for": ("AxiLiteSlave-writes", AxiLiteSlave, "addressed, given, both = Signal(), Signal(), Signal()",
                    "addressed, given, both = Signal(reset_less=True), Signal(reset_less=True), Signal()"),
    "write_carries": ("AxiLiteSlave-writes", AxiLiteSlave, "self.write.eq(both & ~unaligned)", "self.write.eq(both)"),
    "b_tells": ("AxiLiteSlave-writes", AxiLiteSlave, "Mux(unaligned | self.write_refused", "Mux(unaligned"),
    "r_stable": ("AxiLiteSlave-reads", AxiLiteSlave, "self.rvalid & self.rready", "self.rvalid"),
    "r_in_time": ("AxiLiteSlave-reads", AxiLiteSlave, "with m.If(left == 0):", "with m.If((left == 0) & self.rready):"),
    "r_carries": ("AxiLiteSlave-reads", AxiLiteSlave, "Mux(refused, 0, self.read_data)", "self.read_data"),
    "ack_once": ("WishboneSlave-cycles", WishboneSlave, "self.ack.eq(ends & ~refused)", "self.ack.eq(ends)"),
    "ack_asked_for": ("WishboneSlave-cycles", WishboneSlave, "ends.eq(asked & held", "ends.eq(held"),
    "written": ("WishboneSlave-cycles", WishboneSlave, "self.write.eq(ends & writes)", "self.write.eq(0)"),
    "err_tells": ("WishboneSlave-cycles", WishboneSlave, "Mux(writes, self.write_refused, self.read_refused)",
                  "self.write_refused"),
    # The master: order, lengths, 4 KB, WLAST, how many are under way.
    "ar_stable": ("ReadEngine-reads", ReadEngine, "(~self.arvalid | self.arready) & ", ""),
    "ar_legal": ("ReadEngine-reads", ReadEngine, "chosen.beats - 1", "chosen.beats"),
    "owner": ("ReadEngine-reads", ReadEngine, "self.rvalid << front.reader", "self.rvalid << turn"),
    "reads_bounded": ("ReadEngine-reads", ReadEngine, " & (in_flight != most)", ""),
    "granted_in_turn": ("ReadEngine-reads", ReadEngine, "with m.If(granted | ~offered):", "with m.If(~offered):"),
    "w_last": ("WriteEngine-writes", WriteEngine, "last.eq(left == 1)", "last.eq(left == 2)"),
    "w_prompt": ("WriteEngine-writes", WriteEngine, "(~self.wvalid | self.wready))", "self.wready)"),
    "writes_stop": ("WriteEngine-writes", WriteEngine, "~self.stop & ", ""),
    "bursts_legal": ("RowBursts-bursts", RowBursts, "(to_boundary < most) & ", "(to_boundary < most - 1) & "),
    "all_beats": ("RowBursts-bursts", RowBursts, "with m.Elif(left < most):", "with m.Elif(left < most - 1):"),
    "fits": ("DescriptorRing-ring", DescriptorRing, "more > free", "more > free + 1"),
    "finds_room": ("RowFetcher-fetcher", RowFetcher, "room >= burst.beats", "room != 0"),
    "level": ("OutputPacker-packer", OutputPacker, "Mux(pushed, 1, -1)", "Mux(pulled, 1, -1)"),
    # Packets: VALID falls, waits for READY; one does not end, or ends elsewhere; a job takes another's rows.
    "t_stable": ("PacketTransmitter-transmits", PacketTransmitter, "free & ~self.stop", "~self.stop"),
    "takes": ("PacketTransmitter-transmits", PacketTransmitter, "free & ~self.stop", "self.tready & ~self.stop"),
    "ends": ("PacketTransmitter-transmits", PacketTransmitter, "~self.tvalid & ~begun", "~self.tvalid"),
    "stops": ("PacketTransmitter-transmits", PacketTransmitter, "self.stop & begun & free",
              "self.stop & begun & ~free"),
    "in_step": ("PacketReceiver-receives", PacketReceiver, "with m.If(moved & last):", "with m.If(moved):"),
    "one_packet": ("PacketReceiver-receives", PacketReceiver, "with m.If(self.beat & self.tlast):",
                   "with m.If(self.beat):"),
    "short": ("PacketReceiver-receives", PacketReceiver, "self.tlast & ~last", "self.tlast & last"),
    "tells": ("PacketSender-sends", PacketSender, "last & causes.as_value().any()", "causes.as_value().any()"),
    "fetched": ("PacketSender-sends", PacketSender, "offers.eq(left > 1)", "offers.eq(left > 0)"),
    # Streams: lost, repeated, in another order.
    "order": ("StreamQueue-queue", StreamQueue, "push.eq(self.i.valid & ~full)", "push.eq(self.i.valid)"),
    "stable": ("StreamQueue-queue", StreamQueue, "with m.Elif(self.o.ready):", "with m.Else():"),
    "nothing_else": ("StreamQueue-queue", StreamQueue, "vacant.eq(~fetched)", "vacant.eq(0)"),
    "no_overflow": ("StreamQueue-room", StreamQueue, "return producer_latency + 2", "return producer_latency"),
    "padding": ("WordPacker-packer", WordPacker, "if place >= filled:", "if place > filled:"),
    "strobes": ("RowGearbox-gearbox-uneven", RowGearbox, "level > byte // lane", "level >= byte // lane"),
    # Jobs: golden's verdict, banks, an end; a head that is half written.
    "verdict": ("JobSequencer-sequencer", JobSequencer, "total > config.max_seq_len", "total >= config.max_seq_len"),
    "bank_free": ("JobSequencer-sequencer", JobSequencer, "Mux(begins, next_bank, bank)", "bank"),
    "returns": ("JobSequencer-sequencer", JobSequencer, "self.compute.ready | ~self.compute.valid",
                "self.compute.ready"),
    "known": ("HeadRegisters-registers", HeadRegisters, "(starts | good) & in_turn & ~fault",
              "(starts | good) & ~fault"),
    # Keys in memory: pieces, pages, entries; lists that lose, repeat, or end elsewhere.
    "places": ("PieceBursts-bursts", PieceBursts, "burst.address + (burst.beats << step)",
               "burst.address + (most << step)"),
    "asks_for_room": ("PieceReader-reads", PieceReader, "self.request.valid.eq(burst.valid & fits)",
                      "self.request.valid.eq(burst.valid)"),
    "address": ("PageTable-table", PageTable, "table.write_addr.eq(number)", "table.write_addr.eq(0)"),
    "unmapped": ("PageTable-table-from_middle", PageTable, "before & (at >= self.first)", "before & (at > self.first)"),
    "in_turn": ("EntryReader-entries", EntryReader, "is_code & (octave >=", "is_code & (octave <"),
    "entry": ("EntryReader-entries", EntryReader, "HeadRegisters.latency, name", "HeadRegisters.latency - 1, name"),
    "spilled_first": ("SurvivorMerge-survivors", SurvivorMerge, "self.busy & ~recalls & ready", "self.busy & ready"),
    "goes_on": ("SurvivorMerge-survivors", SurvivorMerge, "self.busy & ~recalls & self.listed_last",
                "self.busy & self.listed_last"),
    "first": ("PlaceMerge-merge", PlaceMerge, "row.payload.place < self.last_page",
              "row.payload.place > self.last_page"),
    "gives": ("PlaceMerge-merge", PlaceMerge, "item.rows.eq(ours)", "item.rows.eq(left)"),
    "waits": ("PlaneUnpacker-unpacks", PlaneUnpacker, "done.eq((rows == 0) | ends)", "done.eq((rows == 0) | gives)"),
    "row_max": ("ScoreStore-scores", ScoreStore, "score > self.row_max[row]", "score < self.row_max[row]"),
    "stays_or_leaves": ("CandidateList-listed", CandidateList, "name=\"above\")",
                        "name=\"above\", reset_less=True)"),
    # What is counted on, spilled; which keys are candidates.
    "fields": ("SequenceRecord-keeps", SequenceRecord, "self.length.eq(self.length + 1)",
               "self.length.eq(self.length + 2)"),
    "filled_up": ("SpillStore-spills", SpillStore, "\"estimate\": _NO_ESTIMATE}", "\"estimate\": 0}"),
    "candidate": ("CandidateFilter-candidates", CandidateFilter, "(gap < self.reach)", "(gap <= self.reach)"),
    "value_sums": ("RowSums-sums", RowSums, "read.data[n]) + Mux(high", "read.data[n]) | Mux(high"),
    # Keys in memory: tables and masses of gaps, sums of a tile, jobs.
    "gap_weights": ("RowTables-tables", RowTables, "pipeline.latency, name=", "pipeline.latency - 1, name="),
    "masses": ("GapMass-mass", GapMass, "self.masses[n] + product", "self.masses[n] | product"),
    "least_once": ("LimitFinder-limits", LimitFinder, "with m.Elif(answered):", "with m.Elif(self.valid):"),
    "tile_sums": ("TileValues-values", TileValues, "Mux(at.begins, self.half, 0)", "Mux(at.begins, self.half, 1)"),
    "softmax_weights": ("TileSoftmax-weighs", TileSoftmax, "m.If(at.row[n] | at.first)", "m.If(at.row[n])"),
    "return_keys": ("MassReturn-returns", MassReturn, "self.count | (self.count == 0)", "self.count"),
    "append_takes": ("RowAppender-appends", RowAppender, "queues, rooms = {}, [keys != 0]", "queues, rooms = {}, []"),
    "dispatch_begins": ("CacheDispatcher-dispatches", CacheDispatcher, "(asked.invalid | self.settled)", "1"),
    "complete_all": ("CacheCompleter-completes", CacheCompleter, "bursts.rows.ready & (rows == 0)",
                     "bursts.rows.ready"),
    # Arithmetic.
    "whole": ("SplitBeat-split", SplitBeat, "config.low_bits - 1) if", "config.low_bits) if"),
    "maximum": ("RunningMaximum-maximum", RunningMaximum, "Mux(take, above_latest, above_maximum)", "above_maximum"),
    "rule": ("ThresholdFilter-filter", ThresholdFilter, "scanned.estimate[n] > threshold",
             "scanned.estimate[n] >= threshold"),
    "row_ends": ("ThresholdFilter-filter", ThresholdFilter, "leaves = waiting_valid & (waiting.row_last | arrives)",
                 "leaves = waiting_valid & (waiting.row_last | compared)"),
    "next_row": ("VirtualSurvivors-rows", VirtualSurvivors, "self.i.valid & ~ended &", "self.i.valid &"),
    "reciprocal": ("Reciprocal-reciprocal", Reciprocal, "(extended - step) >>", "(extended + step) >>"),
}
"""Property: the proof that has it; the block, what is changed in its source."""


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MUTANTS])
def test_mutant_is_found(name, monkeypatch, tmp_path):
    proof_name, block, old, new = MUTANTS[name]
    [proof] = [proof for proof in PROOFS if proof.name == proof_name]
    described = importlib.import_module(getattr(proof.describe, "func", proof.describe).__module__)
    monkeypatch.setattr(described, block.__name__, break_source(block, old, new))
    for steps in (proof.depth, proof.steps):  # some fail only behind another property, and few steps are soon searched
        outcome = prove(dataclasses.replace(proof, steps=steps), tmp_path)
        failed = [verdict.property.name for verdict in outcome.verdicts if verdict.result == "fails"]
        if name in failed:
            break
    assert name in failed, outcome.problems
    assert (tmp_path / proof.name / "trace0.vcd").exists()


def test_each_text_stands_once():
    for _, block, old, new in MUTANTS.values():
        break_source(block, old, new)
