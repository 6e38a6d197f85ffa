"""What is broken in each block that is proved, and the property that must see it."""

from latte.fpga.link.frame import FrameReceiver, FrameSender
from latte.fpga.link.host_link import HostLink
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
from latte.rtl.dense.dense_core import DenseCore
from latte.rtl.dense.dense_softmax import DenseSoftmax
from latte.rtl.dense.dense_value_accumulator import DenseValueAccumulator
from latte.rtl.dense.score_array import ScoreArray
from latte.rtl.memory.cache_completer import CacheCompleter
from latte.rtl.memory.cache_dispatcher import CacheDispatcher
from latte.rtl.memory.cache_sequencer import CacheSequencer
from latte.rtl.memory.candidate_filter import CandidateFilter
from latte.rtl.memory.candidate_list import CandidateList
from latte.rtl.memory.entry_reader import EntryReader
from latte.rtl.memory.estimate_histogram import EstimateHistogram
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
from latte.rtl.memory.tile_reader import TileReader
from latte.rtl.memory.tile_softmax import TileSoftmax
from latte.rtl.memory.tile_values import TileValues
from latte.rtl.serial.serial_core import SerialCore
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
from latte.rtl.wide.cross_product import BitPlaneCrossDot, PairedCrossDot
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.estimate_buffer import EstimateBuffer
from latte.rtl.wide.gap_table import FillTables, GapTable
from latte.rtl.wide.group_sums import GroupSums
from latte.rtl.wide.key_counts import KeyCounts
from latte.rtl.wide.mass_compensation import MassCompensation
from latte.rtl.wide.mass_scan import MassScan
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.operand_plane import OperandPlane
from latte.rtl.wide.packed_dsp_dot import PackedDspDot
from latte.rtl.wide.pair_table_dot import PairTableDot
from latte.rtl.wide.query_buffer import QueryBuffer
from latte.rtl.wide.query_memory import QueryMemory
from latte.rtl.wide.query_tables import QueryTables
from latte.rtl.wide.reciprocal import Reciprocal
from latte.rtl.wide.row_limiter import RowLimiter
from latte.rtl.wide.row_limits import MassThreshold
from latte.rtl.wide.row_memory import RowMemory, RowRegister
from latte.rtl.wide.row_scaler import RowScaler
from latte.rtl.wide.row_scanner import RowScanner
from latte.rtl.wide.running_maximum import RunningMaximum
from latte.rtl.wide.scaled_product import ScaledProduct
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.score_queue import ScoreQueue
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.survivor_mass import SurvivorMass
from latte.rtl.wide.survivor_queue import SurvivorQueue
from latte.rtl.wide.threshold_filter import ThresholdFilter
from latte.rtl.wide.tile_sequencer import TileSequencer
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.rtl.wide.virtual_survivors import VirtualSurvivors
from latte.rtl.wide.weight_pipeline import FineWeightPipeline, WeightPipeline
from latte.rtl.wide.wide_core import WideCore

__all__ = ["MUTANTS"]

MUTANTS = {
    # Handshakes: VALID falls, or waits for READY; more than was promised; a request lives through a reset.
    "AxiLiteSlave.b_stable": ("AxiLiteSlave-writes", AxiLiteSlave, "self.bvalid & self.bready", "self.bvalid"),
    "AxiLiteSlave.b_in_time": ("AxiLiteSlave-writes", AxiLiteSlave, "addressed & given & ~self.bvalid",
        "addressed & given & ~self.bvalid & self.bready"),
    "AxiLiteSlave.writes_bounded": ("AxiLiteSlave-writes", AxiLiteSlave, "self.awready.eq(~addressed)",
        "self.awready.eq(1)"),
    "AxiLiteSlave.b_asked_for": ("AxiLiteSlave-writes", AxiLiteSlave,
        "addressed, given, both = Signal(), Signal(), Signal()",
        "addressed, given, both = Signal(reset_less=True), Signal(reset_less=True), Signal()"),
    "AxiLiteSlave.write_carries": ("AxiLiteSlave-writes", AxiLiteSlave, "self.write.eq(both & ~unaligned)",
        "self.write.eq(both)"),
    "AxiLiteSlave.b_tells": ("AxiLiteSlave-writes", AxiLiteSlave, "Mux(unaligned | self.write_refused",
        "Mux(unaligned"),
    "AxiLiteSlave.r_stable": ("AxiLiteSlave-reads", AxiLiteSlave, "self.rvalid & self.rready", "self.rvalid"),
    "AxiLiteSlave.r_in_time": ("AxiLiteSlave-reads", AxiLiteSlave, "with m.If(left == 0):",
        "with m.If((left == 0) & self.rready):"),
    "AxiLiteSlave.r_carries": ("AxiLiteSlave-reads", AxiLiteSlave, "Mux(refused, 0, self.read_data)", "self.read_data"),
    "WishboneSlave.ack_once": ("WishboneSlave-cycles", WishboneSlave, "self.ack.eq(ends & ~refused)",
        "self.ack.eq(ends)"),
    "WishboneSlave.ack_asked_for": ("WishboneSlave-cycles", WishboneSlave, "ends.eq(asked & held", "ends.eq(held"),
    "WishboneSlave.written": ("WishboneSlave-cycles", WishboneSlave, "self.write.eq(ends & writes)",
        "self.write.eq(0)"),
    "WishboneSlave.err_tells": ("WishboneSlave-cycles", WishboneSlave,
        "Mux(writes, self.write_refused, self.read_refused)",
        "self.write_refused"),
    # The master: order, lengths, 4 KB, WLAST, how many are under way.
    "ReadEngine.ar_stable": ("ReadEngine-reads", ReadEngine, "(~self.arvalid | self.arready) & ", ""),
    "ReadEngine.ar_legal": ("ReadEngine-reads", ReadEngine, "chosen.beats - 1", "chosen.beats"),
    "ReadEngine.owner": ("ReadEngine-reads", ReadEngine, "self.rvalid << front.reader", "self.rvalid << turn"),
    "ReadEngine.reads_bounded": ("ReadEngine-reads", ReadEngine, " & (in_flight != most)", ""),
    "ReadEngine.granted_in_turn": ("ReadEngine-reads", ReadEngine, "with m.If(granted | ~offered):",
        "with m.If(~offered):"),
    "WriteEngine.w_last": ("WriteEngine-writes", WriteEngine, "last.eq(left == 1)", "last.eq(left == 2)"),
    "WriteEngine.w_prompt": ("WriteEngine-writes", WriteEngine, "(~self.wvalid | self.wready))", "self.wready)"),
    "WriteEngine.writes_stop": ("WriteEngine-writes", WriteEngine, "~self.stop & ", ""),
    "RowBursts.bursts_legal": ("RowBursts-bursts", RowBursts, "(to_boundary < most) & ", "(to_boundary < most - 1) & "),
    "RowBursts.all_beats": ("RowBursts-bursts", RowBursts, "with m.Elif(left < most):",
        "with m.Elif(left < most - 1):"),
    "DescriptorRing.fits": ("DescriptorRing-ring", DescriptorRing, "more > free", "more > free + 1"),
    "RowFetcher.finds_room": ("RowFetcher-fetcher", RowFetcher, "room >= burst.beats", "room != 0"),
    "OutputPacker.level": ("OutputPacker-packer", OutputPacker, "Mux(pushed, 1, -1)", "Mux(pulled, 1, -1)"),
    # Packets: VALID falls, waits for READY; one does not end, or ends elsewhere; a job takes another's rows.
    "PacketTransmitter.t_stable": ("PacketTransmitter-transmits", PacketTransmitter, "free & ~self.stop", "~self.stop"),
    "PacketTransmitter.takes": ("PacketTransmitter-transmits", PacketTransmitter, "free & ~self.stop",
        "self.tready & ~self.stop"),
    "PacketTransmitter.ends": ("PacketTransmitter-transmits", PacketTransmitter, "~self.tvalid & ~begun",
        "~self.tvalid"),
    "PacketTransmitter.stops": ("PacketTransmitter-transmits", PacketTransmitter, "self.stop & begun & free",
        "self.stop & begun & ~free"),
    "PacketReceiver.in_step": ("PacketReceiver-receives", PacketReceiver, "with m.If(moved & last):",
        "with m.If(moved):"),
    "PacketReceiver.one_packet": ("PacketReceiver-receives", PacketReceiver, "with m.If(self.beat & self.tlast):",
        "with m.If(self.beat):"),
    "PacketReceiver.short": ("PacketReceiver-receives", PacketReceiver, "self.tlast & ~last", "self.tlast & last"),
    "PacketSender.tells": ("PacketSender-sends", PacketSender, "last & causes.as_value().any()",
        "causes.as_value().any()"),
    "PacketSender.fetched": ("PacketSender-sends", PacketSender, "offers.eq(left > 1)", "offers.eq(left > 0)"),
    # Streams: lost, repeated, in another order.
    "StreamQueue.order": ("StreamQueue-queue", StreamQueue, "push.eq(self.i.valid & ~full)", "push.eq(self.i.valid)"),
    "StreamQueue.stable": ("StreamQueue-queue", StreamQueue, "with m.Elif(self.o.ready):", "with m.Else():"),
    "StreamQueue.nothing_else": ("StreamQueue-queue", StreamQueue, "vacant.eq(~fetched)", "vacant.eq(0)"),
    "StreamQueue.no_overflow": ("StreamQueue-room", StreamQueue, "return producer_latency + 2",
        "return producer_latency"),
    "WordPacker.padding": ("WordPacker-packer", WordPacker, "if place >= filled:", "if place > filled:"),
    "RowGearbox.strobes": ("RowGearbox-gearbox-uneven", RowGearbox, "level > byte // lane", "level >= byte // lane"),
    # Jobs: golden's verdict, banks, an end; a head that is half written.
    "JobSequencer.verdict": ("JobSequencer-sequencer", JobSequencer, "total > config.max_seq_len",
        "total >= config.max_seq_len"),
    "JobSequencer.bank_free": ("JobSequencer-sequencer", JobSequencer, "Mux(begins, next_bank, bank)", "bank"),
    "JobSequencer.returns": ("JobSequencer-sequencer", JobSequencer, "self.compute.ready | ~self.compute.valid",
        "self.compute.ready"),
    "HeadRegisters.known": ("HeadRegisters-registers", HeadRegisters, "(starts | good) & in_turn & ~fault",
        "(starts | good) & ~fault"),
    "HeadRegisters.holds": ("HeadRegisters-registers", HeadRegisters, "is_relative & (code == 0)",
        "is_relative & (code == 1)"),
    # Keys in memory: pieces, pages, entries; lists that lose, repeat, or end elsewhere.
    "PieceBursts.places": ("PieceBursts-bursts", PieceBursts, "burst.address + (burst.beats << step)",
        "burst.address + (most << step)"),
    "PieceReader.asks_for_room": ("PieceReader-reads", PieceReader, "self.request.valid.eq(burst.valid & fits)",
        "self.request.valid.eq(burst.valid)"),
    "PageTable.address": ("PageTable-table", PageTable, "table.write_addr.eq(number)", "table.write_addr.eq(0)"),
    "PageTable.unmapped": ("PageTable-table-from_middle", PageTable, "before & (at >= self.first)",
        "before & (at > self.first)"),
    "EntryReader.in_turn": ("EntryReader-entries", EntryReader, "is_code & (octave >=", "is_code & (octave <"),
    "EntryReader.entry": ("EntryReader-entries", EntryReader, "HeadRegisters.latency, name",
        "HeadRegisters.latency - 1, name"),
    "SurvivorMerge.spilled_first": ("SurvivorMerge-survivors", SurvivorMerge, "self.busy & ~recalls & ready",
        "self.busy & ready"),
    "SurvivorMerge.goes_on": ("SurvivorMerge-survivors", SurvivorMerge, "self.busy & ~recalls & self.listed_last",
        "self.busy & self.listed_last"),
    "PlaceMerge.first": ("PlaceMerge-merge", PlaceMerge, "row.payload.place < self.last_page",
        "row.payload.place > self.last_page"),
    "PlaceMerge.gives": ("PlaceMerge-merge", PlaceMerge, "item.rows.eq(ours)", "item.rows.eq(left)"),
    "PlaneUnpacker.waits": ("PlaneUnpacker-unpacks", PlaneUnpacker, "done.eq((rows == 0) | ends)",
        "done.eq((rows == 0) | gives)"),
    "TileReader.asks_in_turn": ("TileReader-asks", TileReader, "next_page.eq(Mux(begun, next_page + 1, 0))",
        "next_page.eq(Mux(begun, next_page + 1, 1))"),
    "TileReader.piece": ("TileReader-asks", TileReader, "look.bytes + look.offset +", "look.bytes +"),
    "TileReader.to_plane": ("TileReader-gives", TileReader, "number == Mux(is_stream, group_beats, 0)", "number == 0"),
    "ScoreStore.row_max": ("ScoreStore-scores", ScoreStore, "score > self.row_max[row]", "score < self.row_max[row]"),
    "CandidateList.stays_or_leaves": ("CandidateList-listed", CandidateList, "name=\"above\")",
        "name=\"above\", reset_less=True)"),
    # What is counted on, spilled; which keys are candidates.
    "SequenceRecord.fields": ("SequenceRecord-keeps", SequenceRecord, "self.length.eq(self.length + 1)",
        "self.length.eq(self.length + 2)"),
    "SpillStore.filled_up": ("SpillStore-spills", SpillStore, "\"estimate\": _NO_ESTIMATE}", "\"estimate\": 0}"),
    "CandidateFilter.candidate": ("CandidateFilter-candidates", CandidateFilter, "(gap < self.reach)",
        "(gap <= self.reach)"),
    "RowSums.value_sums": ("RowSums-sums", RowSums, "read.data[n]) + Mux(high", "read.data[n]) | Mux(high"),
    # The host's link: frames, bytes, requests.
    "FrameSender.crc_begins": ("FrameSender-arrives", FrameSender, "self.o.payload.eq(END), crc.start.eq(1)",
        "self.o.payload.eq(END), crc.start.eq(0)"),
    "FrameReceiver.writes_all": ("FrameReceiver-refuses", FrameReceiver, "place < self.payload_bytes",
        "place <= self.payload_bytes"),
    "UartTransmitter.line_level": ("UartTransmitter-bytes", UartTransmitter, "Cat(0, self.i.payload)",
        "Cat(1, self.i.payload)"),
    "HostLink.payload": ("HostLink-answers", HostLink, "failed.eq(1), choice.eq(reply)",
        "failed.eq(1), choice.eq(answer)"),
    "RequestQueue.has_room": ("RequestQueue-requests", RequestQueue, "(arrived - served)[:len(arrived)]",
        "(arrived - served)"),
    # Memories, queues and loaders: another word, another place, too early, too late.
    "Ram.read_back": ("Ram-ram", Ram, "read.addr.eq(self.read_addr)", "read.addr.eq(self.write_addr)"),
    "RowMemory.elements": ("RowMemory-row_memory", RowMemory, "Cat(read_slice, ~write_half)",
        "Cat(read_slice, write_half)"),
    "RowRegister.row_elements": ("RowRegister-row_register", RowRegister, "[row.eq(self.write_data), beat.eq(0)]",
        "[row.eq(self.write_data)]"),
    "QueryMemory.query_read": ("QueryMemory-query_rows", QueryMemory, "write.addr.eq(Cat(step, bank))",
        "write.addr.eq(Cat(step, self.k_bank))"),
    "OperandPlane.row_read": ("OperandPlane-plane", OperandPlane, "part.eq(0), lane.eq(0)]", "part.eq(0)]"),
    "SurvivorQueue.taken_out": ("SurvivorQueue-survivors", SurvivorQueue, "group.key + index", "group.key"),
    "ScoreQueue.row_max_order": ("ScoreQueue-scores", ScoreQueue, "first.eq(self.i.row_last)", "first.eq(0)"),
    "RowLoader.kept_beats": ("RowLoader-row_loader", RowLoader, "self.i.valid & self.i.ready & ~drop",
        "self.i.valid & self.i.ready"),
    "KeyValueLoader.loaded": ("KeyValueLoader-loads", KeyValueLoader, "self.loaded.eq(both.all())",
        "self.loaded.eq(both.any())"),
    "KeyMembership.member": ("KeyMembership-membership", KeyMembership, "element > cut", "element >= cut"),
    "GroupSums.group_sum": ("GroupSums-sums", GroupSums, "touched.eq(Mux(self.row_last, 0, touched | here))",
        "touched.eq(touched | here)"),
    "RowScanner.group": ("RowScanner-scan", RowScanner, "key + n < keys", "key + n <= keys"),
    "TileSequencer.rows_loaded": ("TileSequencer-tiles", TileSequencer, "self.query.valid.eq(self.rows.valid & free)",
        "self.query.valid.eq(self.rows.valid)"),
    "FillTables.fills_in_turn": ("FillTables-fills", FillTables, "self.fill.write.eq(~done & (answered",
        "self.fill.write.eq((answered"),
    "GapTable.nothing": ("GapTable-weights", GapTable, "counts.eq(self.valid & (self.gap < end))",
        "counts.eq(self.gap < end)"),
    "MassThreshold.not_else": ("MassThreshold-thresholds", MassThreshold, "self.mass.ready.eq(taken)",
        "self.mass.ready.eq(self.row.valid)"),
    "RowLimiter.one_limit": ("RowLimiter-rows", RowLimiter, "limit.ready.eq(step & groups.row_last)",
        "limit.ready.eq(step)"),
    "QueryBuffer.commanded": ("QueryBuffer-queries", QueryBuffer, "self.load.ready.eq(rows < 0)",
        "self.load.ready.eq(rows < 1)"),
    # Estimates by tile: another's place, read too soon, of a key that a row may not see, not rotated back.
    "EstimateBuffer.tile_taken": ("EstimateBuffer-order", EstimateBuffer, "self.tile.ready.eq(taken != TILE_BUFFERS)",
        "self.tile.ready.eq(1)"),
    "EstimateBuffer.tile_offered": ("EstimateBuffer-order", EstimateBuffer, "complete + published - load",
        "complete + published"),
    "EstimateBuffer.tile_as_announced": ("EstimateBuffer-order", EstimateBuffer,
        "self.scan.payload.tile.eq(tiles[scan_tile])", "self.scan.payload.tile.eq(self.tile.payload)"),
    "EstimateBuffer.tile_stable": ("EstimateBuffer-order", EstimateBuffer,
        "(complete != 0) & (~self.scan.valid | self.scan.ready)", "complete != 0"),
    "EstimateBuffer.row_max": ("EstimateBuffer-maxima", EstimateBuffer, "few > Mux(causal, lane - row, lane)",
        "few > lane"),
    "EstimateBuffer.estimate_read": ("EstimateBuffer-read", EstimateBuffer, "(n + r) % rows * lanes + c",
        "n * lanes + c"),
    # Tables of queries; keys counted by group: given up too late, told twice, asked for or answered for another.
    "QueryTables.entries": ("QueryTables-tables", QueryTables, "Mux(taken, ~row_bank, bank)", "bank"),
    "QueryTables.offset": ("QueryTables-tables", QueryTables, "delay(m, switch, self.offset_delay,",
        "delay(m, switch, self.offset_delay - 1,"),
    "QueryTables.table_loads": ("QueryTables-tables", QueryTables, "busy.eq(step != self.slices)",
        "busy.eq(step != self.slices - 1)"),
    "KeyCounts.next_row": ("KeyCounts-counts", KeyCounts, "with m.If(~asks.any())", "with m.If(1)"),
    "KeyCounts.counted_in_time": ("KeyCounts-counts", KeyCounts, "m.next = \"WAIT\"", "m.next = \"COUNTED\""),
    "KeyCounts.added": ("KeyCounts-counts", KeyCounts, "self.added_room & (counted != wanted)", "counted != wanted"),
    "KeyCounts.first": ("KeyCounts-counts", KeyCounts, "self.added.first.eq(~known)", "self.added.first.eq(key == 0)"),
    "KeyCounts.number": ("KeyCounts-counts", KeyCounts, "Mux(known, read.data, 0) + 1", "read.data + 1"),
    "KeyCounts.reciprocal": ("KeyCounts-counts-one_group", KeyCounts, "Cat(next_group, self.side)",
        "Cat(next_group, ~self.side)"),
    # Products: a carry, a plane, a borrow is forgotten; a sum or a score goes wrong, or is given twice.
    "AdderTree.sum": ("AdderTree-tree-carries", AdderTree, "self._sum(Cat(a, x), Cat(b, y))[1:]",
        "self._sum(Cat(a, x), Cat(a, y))[1:]"),
    "BitPlaneDot.plane_dot": ("BitPlaneDot-planes", BitPlaneDot, "low - (register", "low + (register"),
    "PairTableDot.pair_dot": ("PairTableDot-pairs", PairTableDot, "half * self.pairs", "half"),
    "PackedDspDot.lower_dot": ("PackedDspDot-packed", PackedDspDot, "lower[-1] & lower[:-1].any()", "lower[-1]"),
    "PairedCrossDot.paired_cross": ("PairedCrossDot-cross-high", PairedCrossDot, "q0[0] == q1[0]", "q0[0] != q1[0]"),
    "BitPlaneCrossDot.plane_cross": ("BitPlaneCrossDot-cross-high", BitPlaneCrossDot, "planes[2] - top if",
        "planes[2] + top if"),
    "ScoreEstimator.estimate": ("ScoreEstimator-estimator-multiplier", ScoreEstimator, "rows.k_slice.eq(index)",
        "rows.k_slice.eq(0)"),
    "ScoreEstimator.one_each": ("ScoreEstimator-estimator-multiplier", ScoreEstimator, "est_valid.eq(valid & last)",
        "est_valid.eq(valid)"),
    "CrossProductUnit.score": ("CrossProductUnit-unit", CrossProductUnit, "Mux(beside.first, 0, total)", "total"),
    "CrossProductUnit.retires": ("CrossProductUnit-unit", CrossProductUnit, "self.i.ready & survivor.row_last, self",
        "self.step & survivor.row_last, self"),
    # Weights: rounding, limits; a row is taken early, goes on, gives way; masses of rows that have none.
    "ScaledProduct.scaled": ("ScaledProduct-product", ScaledProduct, "(half_steps + 1) >> 1", "half_steps >> 1"),
    "RowScaler.quotient": ("RowScaler-scaler", RowScaler, "(product + (1 << (drop - 1))) >> drop", "product >> drop"),
    "WeightPipeline.weight": ("WeightPipeline-weight", WeightPipeline, "\"saturate\") | exponent[-1]", "\"saturate\")"),
    "FineWeightPipeline.fine_weight": ("FineWeightPipeline-weight", FineWeightPipeline,
        "vanishes = overflow | octaves[octave_bits:].any()",
        "vanishes = overflow"),
    "FineWeightPipeline.rescaling": ("FineWeightPipeline-weight", FineWeightPipeline,
        "limited + (MASS_FRAC_BITS + weight_bits)",
        "limited + MASS_FRAC_BITS"),
    "Softmax.row_taken": ("Softmax-softmax", Softmax, "told & (~active | row_ends)", "told"),
    "Softmax.beside": ("Softmax-softmax", Softmax, "row.job_last & item.row_last", "row.job_last"),
    "ValueAccumulator.word": ("ValueAccumulator-accumulator", ValueAccumulator, "moves.eq(emit & valid_next)",
        "moves.eq(0)"),
    "ValueAccumulator.reserves": ("ValueAccumulator-accumulator", ValueAccumulator,
        "step & (part == 0) & item.row_last",
        "step & item.row_last"),
    "Normalizer.room_for_one": ("Normalizer-rows", Normalizer, "self.row_room.eq(~reserved)",
        "self.row_room.eq(~leaving_valid)"),
    "MassScan.unseen_key": ("MassScan-scan", MassScan, "gap_table.valid.eq(visible[n])", "gap_table.valid.eq(1)"),
    "SurvivorMass.waits_for_sums": ("SurvivorMass-survivors", SurvivorMass, "(wait == 0) & queue.room", "queue.room"),
    "SurvivorMass.masses_taken": ("SurvivorMass-survivors", SurvivorMass, "sums.sum_valid & sums.sum_wanted",
        "sums.sum_valid"),
    "MassCompensation.passes_alone": ("MassCompensation-compensation", MassCompensation,
        "item.last.eq(passed | loop.last)",
        "item.last.eq(loop.last)"),
    # The dense baseline: halves, a row's flags, its total.
    "ScoreArray.in_step_low_high": ("ScoreArray-scores", ScoreArray, "self.k[lane][d][k_half]",
        "self.k[lane][d][q_half]"),
    "DenseSoftmax.group_beside": ("DenseSoftmax-softmax", DenseSoftmax, "Mux(self.i.row_last, 0, group + 1)",
        "group + 1"),
    "DenseSoftmax.unseen": ("DenseSoftmax-softmax", DenseSoftmax, "Mux(visible[n], pipeline.weight, 0)",
        "pipeline.weight"),
    "DenseValueAccumulator.row_word": ("DenseValueAccumulator-accumulator", DenseValueAccumulator,
        "self.word[d].eq(total), accumulator.eq(0)",
        "self.word[d].eq(total)"),
    # The serial core: memories; rows between its stages.
    "DualPortRam.read": ("DualPortRam-dual", DualPortRam, "write.addr.eq(self.write_addr)",
        "write.addr.eq(self.read_addr)"),
    "SinglePortRam.stands": ("SinglePortRam-single", SinglePortRam, "read.en.eq(~self.write_en)", "read.en.eq(1)"),
    "SinglePortPlane.conflict": ("SinglePortPlane-plane", SinglePortPlane, "packer.word_valid & self.port.read",
        "self.beat_valid & self.port.read"),
    "SerialQueryRing.scored": ("SerialQueryRing-queries", SerialQueryRing, "times(read_row, slices) + read_slice",
        "times(read_row, slices)"),
    "SerialScratchpad.no_conflict": ("SerialScratchpad-scratchpad", SerialScratchpad,
        "packer.word_valid & self.port.read",
        "packer.word_valid | self.port.read"),
    "SerialEstimator.estimate": ("SerialEstimator-estimates", SerialEstimator,
        "memory.read_addr.eq(Cat(self.index[:place], ~half))",
        "memory.read_addr.eq(Cat(self.index[:place], half))"),
    "SerialScorer.judged": ("SerialScorer-scores", SerialScorer, "survives.eq(self.estimate > threshold)",
        "survives.eq(self.estimate >= threshold)"),
    "SerialGapTable.weight": ("SerialGapTable-table", SerialGapTable, "weighs.eq(self.gap < self.end)", "weighs.eq(1)"),
    "SerialPrunedMass.mass": ("SerialPrunedMass-mass", SerialPrunedMass,
        "last_sums.read_addr.eq(Cat(self.read_group, ~half))",
        "last_sums.read_addr.eq(Cat(self.read_group, half))"),
    "SerialGroupSums.group_sum": ("SerialGroupSums-sums", SerialGroupSums, "Mux(known, memory.read_data[n], 0)",
        "memory.read_data[n]"),
    "SerialRowLimiter.threshold": ("SerialRowLimiter-limit", SerialRowLimiter, "code[:config.est_bits].as_signed()",
        "code[:config.est_bits]"),
    "SerialFinisher.release": ("SerialFinisher-finishes", SerialFinisher, "self.release.eq(row.job_last)",
        "self.release.eq(1)"),
    # Descriptors, jobs, registers.
    "JobDispatcher.settled": ("JobDispatcher-dispatches", JobDispatcher, "self.asked.valid & self.settled",
        "self.asked.valid"),
    "DescriptorFetcher.descriptor": ("DescriptorFetcher-fetches", DescriptorFetcher, "self.taken & (beat == beats - 1)",
        "self.taken & (beat == beats - 2)"),
    "RegisterBank.refused": ("RegisterBank-bank", RegisterBank, "self.locked if register.locked else Const(0)",
        "Const(0)"),
    "JobCompleter.beats_there": ("JobCompleter-completes", JobCompleter, "writes.connect(m)",
        "writes.connect(m); m.d.comb += self.burst.valid.eq(burst.valid)"),
    "JobCompleter.status_last": ("JobCompleter-completes", JobCompleter, "bursts.rows.ready & ~self.unanswered",
        "bursts.rows.ready"),
    # Keys in memory: tables and masses of gaps, sums of a tile, jobs.
    "RowTables.gap_weights": ("RowTables-tables", RowTables, "pipeline.latency, name=", "pipeline.latency - 1, name="),
    "GapMass.masses": ("GapMass-mass", GapMass, "self.masses[n] + product", "self.masses[n] | product"),
    "LimitFinder.least_once": ("LimitFinder-limits", LimitFinder, "asks.eq(self.begin)",
        "asks.eq(self.begin | self.valid)"),
    "TileValues.tile_sums": ("TileValues-values", TileValues, "Mux(at.begins, self.half, 0)",
        "Mux(at.begins, self.half, 1)"),
    "TileSoftmax.softmax_weights": ("TileSoftmax-weighs", TileSoftmax, "m.If(at.row[n] | at.first)", "m.If(at.row[n])"),
    "MassReturn.return_keys": ("MassReturn-returns", MassReturn, "self.count | (self.count == 0)", "self.count"),
    "RowAppender.append_takes": ("RowAppender-appends", RowAppender, "queues, rooms = {}, [keys != 0]",
        "queues, rooms = {}, []"),
    "EstimateHistogram.counts": ("EstimateHistogram-counts", EstimateHistogram, "one & ~Cat(same[:age]).any()", "one"),
    "CacheSequencer.refuses": ("CacheSequencer-carry_out", CacheSequencer, "m.Elif(at.total == 0)",
        "m.Elif(at.total == 1)"),
    "CacheDispatcher.dispatch_begins": ("CacheDispatcher-dispatches", CacheDispatcher, "(asked.invalid | self.settled)",
        "1"),
    "CacheCompleter.complete_all": ("CacheCompleter-completes", CacheCompleter, "bursts.rows.ready & (rows == 0)",
        "bursts.rows.ready"),
    # Arithmetic.
    "SplitBeat.whole": ("SplitBeat-split", SplitBeat, "config.low_bits - 1) if", "config.low_bits) if"),
    "RunningMaximum.maximum": ("RunningMaximum-maximum", RunningMaximum, "Mux(take, above_latest, above_maximum)",
        "above_maximum"),
    "ThresholdFilter.rule": ("ThresholdFilter-filter", ThresholdFilter, "scanned.estimate[n] > threshold",
        "scanned.estimate[n] >= threshold"),
    "ThresholdFilter.row_ends": ("ThresholdFilter-filter", ThresholdFilter,
        "leaves = waiting_valid & (waiting.row_last | arrives)",
        "leaves = waiting_valid & (waiting.row_last | compared)"),
    "VirtualSurvivors.next_row": ("VirtualSurvivors-rows", VirtualSurvivors, "self.i.valid & ~ended &",
        "self.i.valid &"),
    "Reciprocal.reciprocal": ("Reciprocal-reciprocal", Reciprocal, "(extended - step) >>", "(extended + step) >>"),
    # Whole cores: room that never comes, a job that is never over, queries that nobody announces, rows without their
    # description.
    "WideCore.ends": ("WideCore-wide", WideCore, "scanner.room.eq(survivors.room & rows.room)",
        "scanner.room.eq(0)"),
    "WideCore.moves": ("WideCore-wide", WideCore, "cross.room.eq(scores.room)", "cross.room.eq(0)"),
    "WideCore.rows": ("WideCore-wide", WideCore, "rows.i.payload.eq(scanner.row)", "rows.i.payload.eq(0)"),
    "SerialCore.ends": ("SerialCore-serial", SerialCore, "jobs.release.eq(finisher.release)", "jobs.release.eq(0)"),
    "SerialCore.moves": ("SerialCore-serial", SerialCore, "estimator.query_available.eq(queries.available)",
        "estimator.query_available.eq(0)"),
    "SerialCore.rows": ("SerialCore-serial", SerialCore, "wiring.connect(m, scorer.o, finisher.row)",
        "m.d.comb += [finisher.row.valid.eq(scorer.o.valid), scorer.o.ready.eq(finisher.row.ready), "
        "finisher.row.payload.survivors.eq(scorer.o.payload.survivors)]"),
    "DenseCore.ends": ("DenseCore-dense", DenseCore, "scanner.room.eq(queue.room)", "scanner.room.eq(0)"),
    "DenseCore.moves": ("DenseCore-dense", DenseCore, "queue.i.valid.eq(softmax.o_valid)", "queue.i.valid.eq(0)"),
    "DenseCore.rows": ("DenseCore-dense", DenseCore, "softmax.row_valid.eq(scanner.row_valid)",
        "softmax.row_valid.eq(0)"),
}
"""Property: the proof that has it; the block, what is changed in its source."""
