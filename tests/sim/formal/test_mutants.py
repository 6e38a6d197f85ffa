"""A block that is broken is found by the property that says so."""

import dataclasses
import importlib

import pytest

from latte.fpga.link.frame import FrameReceiver, FrameSender
from latte.fpga.link.request_queue import RequestQueue
from latte.fpga.link.uart import UartTransmitter
from latte.rtl.axi.axi_lite_slave import AxiLiteSlave
from latte.rtl.axi.descriptor_fetcher import DescriptorFetcher
from latte.rtl.axi.descriptor_ring import DescriptorRing
from latte.rtl.axi.job_completer import JobCompleter
from latte.rtl.axi.job_dispatcher import JobDispatcher
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.axi.packet_receiver import PacketReceiver
from latte.rtl.axi.packet_sender import PacketSender
from latte.rtl.axi.packet_transmitter import PacketTransmitter
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.axi.register_bank import RegisterBank
from latte.rtl.axi.row_bursts import RowBursts
from latte.rtl.axi.row_fetcher import RowFetcher
from latte.rtl.axi.row_gearbox import RowGearbox
from latte.rtl.axi.wishbone_slave import WishboneSlave
from latte.rtl.axi.write_engine import WriteEngine
from latte.rtl.common.adder_tree import AdderTree
from latte.rtl.common.bit_plane_dot import BitPlaneDot
from latte.rtl.common.head_registers import HeadRegisters
from latte.rtl.common.job_sequencer import JobSequencer
from latte.rtl.common.key_membership import KeyMembership
from latte.rtl.common.key_value_loader import KeyValueLoader, RowLoader
from latte.rtl.common.operand_split import SplitBeat
from latte.rtl.common.ram import Ram
from latte.rtl.common.stream_queue import StreamQueue
from latte.rtl.common.word_packer import WordPacker
from latte.rtl.dense.dense_softmax import DenseSoftmax
from latte.rtl.dense.dense_value_accumulator import DenseValueAccumulator
from latte.rtl.dense.score_array import ScoreArray
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
from latte.rtl.wide.gap_table import FillTables, GapTable
from latte.rtl.wide.group_sums import GroupSums
from latte.rtl.wide.operand_plane import OperandPlane
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.query_memory import QueryMemory
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.serial.serial_finisher import SerialFinisher
from latte.rtl.serial.serial_gap_table import SerialGapTable
from latte.rtl.serial.serial_group_sums import SerialGroupSums
from latte.rtl.serial.serial_memories import DualPortRam, SinglePortRam
from latte.rtl.serial.serial_pruned_mass import SerialPrunedMass
from latte.rtl.serial.serial_query_ring import SerialQueryRing
from latte.rtl.serial.serial_row_limiter import SerialRowLimiter
from latte.rtl.serial.serial_scorer import SerialScorer
from latte.rtl.serial.serial_scratchpad import SerialScratchpad, SinglePortPlane
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.rtl.memory.tile_values import TileValues
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_limits import MassThreshold
from latte.rtl.wide.row_memory import RowMemory, RowRegister
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.tile_sequencer import TileSequencer
from latte.rtl.wide.cross_product import BitPlaneCrossDot, PairedCrossDot
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.mass_compensation import MassCompensation
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_scaler import RowScaler
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.rtl.wide.virtual_survivors import VirtualSurvivors
from latte.rtl.wide.weight_pipeline import FineWeightPipeline, WeightPipeline
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
    # The host's link: frames, bytes, requests.
    "crc_begins": ("FrameSender-arrives", FrameSender, "self.o.payload.eq(END), crc.start.eq(1)",
                   "self.o.payload.eq(END), crc.start.eq(0)"),
    "writes_all": ("FrameReceiver-refuses", FrameReceiver, "place < self.payload_bytes", "place <= self.payload_bytes"),
    "line_level": ("UartTransmitter-bytes", UartTransmitter, "Cat(0, self.i.payload)", "Cat(1, self.i.payload)"),
    "has_room": ("RequestQueue-requests", RequestQueue, "(arrived - served)[:len(arrived)]", "(arrived - served)"),
    # Memories, queues and loaders: another word, another place, too early, too late.
    "read_back": ("Ram-ram", Ram, "read.addr.eq(self.read_addr)", "read.addr.eq(self.write_addr)"),
    "elements": ("RowMemory-row_memory", RowMemory, "Cat(read_slice, ~write_half)", "Cat(read_slice, write_half)"),
    "row_elements": ("RowRegister-row_register", RowRegister, "[row.eq(self.write_data), beat.eq(0)]",
                     "[row.eq(self.write_data)]"),
    "query_read": ("QueryMemory-query_rows", QueryMemory, "write.addr.eq(Cat(step, bank))",
                   "write.addr.eq(Cat(step, self.k_bank))"),
    "row_read": ("OperandPlane-plane", OperandPlane, "part.eq(0), lane.eq(0)]", "part.eq(0)]"),
    "taken_out": ("SurvivorQueue-survivors", SurvivorQueue, "group.key + index", "group.key"),
    "row_max_order": ("ScoreQueue-scores", ScoreQueue, "first.eq(self.i.row_last)", "first.eq(0)"),
    "kept_beats": ("RowLoader-row_loader", RowLoader, "self.i.valid & self.i.ready & ~drop",
                   "self.i.valid & self.i.ready"),
    "loaded": ("KeyValueLoader-loads", KeyValueLoader, "self.loaded.eq(both.all())", "self.loaded.eq(both.any())"),
    "member": ("KeyMembership-membership", KeyMembership, "element > cut", "element >= cut"),
    "group_sum": ("GroupSums-sums", GroupSums, "touched.eq(Mux(self.row_last, 0, touched | here))",
                  "touched.eq(touched | here)"),
    "group": ("RowScanner-scan", RowScanner, "key + n < keys", "key + n <= keys"),
    "rows_loaded": ("TileSequencer-tiles", TileSequencer, "self.query.valid.eq(self.rows.valid & free)",
                    "self.query.valid.eq(self.rows.valid)"),
    "fills_in_turn": ("FillTables-fills", FillTables, "self.fill.write.eq(~done & (answered",
                      "self.fill.write.eq((answered"),
    "nothing": ("GapTable-weights", GapTable, "counts.eq(self.valid & (self.gap < end))",
                "counts.eq(self.gap < end)"),
    "not_else": ("MassThreshold-thresholds", MassThreshold, "self.mass.ready.eq(taken)",
                 "self.mass.ready.eq(self.row.valid)"),
    "commanded": ("QueryBuffer-queries", QueryBuffer, "self.load.ready.eq(rows < 0)", "self.load.ready.eq(rows < 1)"),
    # Products: a carry, a plane, a borrow is forgotten; a sum or a score goes wrong, or is given twice.
    "sum": ("AdderTree-tree-carries", AdderTree, "self._sum(Cat(a, x), Cat(b, y))[1:]",
            "self._sum(Cat(a, x), Cat(a, y))[1:]"),
    "plane_dot": ("BitPlaneDot-planes", BitPlaneDot, "low - (register", "low + (register"),
    "pair_dot": ("PairTableDot-pairs", PairTableDot, "half * self.pairs", "half"),
    "lower_dot": ("PackedDspDot-packed", PackedDspDot, "lower[-1] & lower[:-1].any()", "lower[-1]"),
    "paired_cross": ("PairedCrossDot-cross-high", PairedCrossDot, "q0[0] == q1[0]", "q0[0] != q1[0]"),
    "plane_cross": ("BitPlaneCrossDot-cross-high", BitPlaneCrossDot, "planes[2] - top if", "planes[2] + top if"),
    "estimate": ("ScoreEstimator-estimator-multiplier", ScoreEstimator, "rows.k_slice.eq(index)", "rows.k_slice.eq(0)"),
    "one_each": ("ScoreEstimator-estimator-multiplier", ScoreEstimator, "est_valid.eq(valid & last)",
                 "est_valid.eq(valid)"),
    "score": ("CrossProductUnit-unit", CrossProductUnit, "Mux(beside.first, 0, total)", "total"),
    "retires": ("CrossProductUnit-unit", CrossProductUnit, "self.i.ready & survivor.row_last, self",
                "self.step & survivor.row_last, self"),
    # Weights: rounding, limits; a row is taken early, goes on, gives way; masses of rows that have none.
    "scaled": ("ScaledProduct-product", ScaledProduct, "(half_steps + 1) >> 1", "half_steps >> 1"),
    "quotient": ("RowScaler-scaler", RowScaler, "(product + (1 << (drop - 1))) >> drop", "product >> drop"),
    "weight": ("WeightPipeline-weight", WeightPipeline, "\"saturate\") | exponent[-1]", "\"saturate\")"),
    "fine_weight": ("FineWeightPipeline-weight", FineWeightPipeline,
                    "vanishes = overflow | octaves[octave_bits:].any()", "vanishes = overflow"),
    "rescaling": ("FineWeightPipeline-weight", FineWeightPipeline, "limited + (MASS_FRAC_BITS + weight_bits)",
                  "limited + MASS_FRAC_BITS"),
    "row_taken": ("Softmax-softmax", Softmax, "told & (~active | row_ends)", "told"),
    "beside": ("Softmax-softmax", Softmax, "row.job_last & item.row_last", "row.job_last"),
    "word": ("ValueAccumulator-accumulator", ValueAccumulator, "moves.eq(emit & valid_next)", "moves.eq(0)"),
    "reserves": ("ValueAccumulator-accumulator", ValueAccumulator, "step & (part == 0) & item.row_last",
                 "step & item.row_last"),
    "room_for_one": ("Normalizer-rows", Normalizer, "self.row_room.eq(~reserved)", "self.row_room.eq(~leaving_valid)"),
    "unseen_key": ("MassScan-scan", MassScan, "gap_table.valid.eq(visible[n])", "gap_table.valid.eq(1)"),
    "waits_for_sums": ("SurvivorMass-survivors", SurvivorMass, "(wait == 0) & queue.room", "queue.room"),
    "masses_taken": ("SurvivorMass-survivors", SurvivorMass, "sums.sum_valid & sums.sum_wanted", "sums.sum_valid"),
    "passes_alone": ("MassCompensation-compensation", MassCompensation, "item.last.eq(passed | loop.last)",
                     "item.last.eq(loop.last)"),
    # The dense baseline: halves, a row's flags, its total.
    "in_step_low_high": ("ScoreArray-scores", ScoreArray, "self.k[lane][d][k_half]", "self.k[lane][d][q_half]"),
    "group_beside": ("DenseSoftmax-softmax", DenseSoftmax, "Mux(self.i.row_last, 0, group + 1)", "group + 1"),
    "unseen": ("DenseSoftmax-softmax", DenseSoftmax, "Mux(visible[n], pipeline.weight, 0)", "pipeline.weight"),
    "row_word": ("DenseValueAccumulator-accumulator", DenseValueAccumulator,
                 "self.word[d].eq(total), accumulator.eq(0)", "self.word[d].eq(total)"),
    # The serial core: memories; rows between its stages.
    "read": ("DualPortRam-dual", DualPortRam, "write.addr.eq(self.write_addr)", "write.addr.eq(self.read_addr)"),
    "stands": ("SinglePortRam-single", SinglePortRam, "read.en.eq(~self.write_en)", "read.en.eq(1)"),
    "conflict": ("SinglePortPlane-plane", SinglePortPlane, "packer.word_valid & self.port.read",
                 "self.beat_valid & self.port.read"),
    "scored": ("SerialQueryRing-queries", SerialQueryRing, "times(read_row, slices) + read_slice",
               "times(read_row, slices)"),
    "no_conflict": ("SerialScratchpad-scratchpad", SerialScratchpad, "packer.word_valid & self.port.read",
                    "packer.word_valid | self.port.read"),
    "estimate": ("SerialEstimator-estimates", SerialEstimator, "memory.read_addr.eq(Cat(self.index[:place], ~half))",
                 "memory.read_addr.eq(Cat(self.index[:place], half))"),
    "judged": ("SerialScorer-scores", SerialScorer, "survives.eq(self.estimate > threshold)",
               "survives.eq(self.estimate >= threshold)"),
    "weight": ("SerialGapTable-table", SerialGapTable, "weighs.eq(self.gap < self.end)", "weighs.eq(1)"),
    "mass": ("SerialPrunedMass-mass", SerialPrunedMass, "last_sums.read_addr.eq(Cat(self.read_group, ~half))",
             "last_sums.read_addr.eq(Cat(self.read_group, half))"),
    "group_sum": ("SerialGroupSums-sums", SerialGroupSums, "Mux(known, memory.read_data[n], 0)",
                  "memory.read_data[n]"),
    "threshold": ("SerialRowLimiter-limit", SerialRowLimiter, "code[:config.est_bits].as_signed()",
                  "code[:config.est_bits]"),
    "release": ("SerialFinisher-finishes", SerialFinisher, "self.release.eq(row.job_last)", "self.release.eq(1)"),
    # Descriptors, jobs, registers.
    "settled": ("JobDispatcher-dispatches", JobDispatcher, "self.asked.valid & self.settled", "self.asked.valid"),
    "descriptor": ("DescriptorFetcher-fetches", DescriptorFetcher, "self.taken & (beat == beats - 1)",
                   "self.taken & (beat == beats - 2)"),
    "refused": ("RegisterBank-bank", RegisterBank, "self.locked if register.locked else Const(0)", "Const(0)"),
    "status_last": ("JobCompleter-completes", JobCompleter, "bursts.rows.ready & ~self.unanswered",
                    "bursts.rows.ready"),
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
