"""Packets of rows that come in and go out, right and wrong ones: rows, faults, causes and ends of jobs."""

import random

import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_div
from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.rtl.axi.bus import StreamParameters
from latte.rtl.axi.job_registers import PACKET_FAULTS
from latte.rtl.axi.packet_receiver import PacketReceiver
from latte.rtl.axi.packet_sender import PacketSender
from latte.rtl.axi.packet_transmitter import PacketTransmitter, transmitted_layout
from latte.rtl.axi.payloads import STREAMS, job_causes_layout
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

stalls = pytest.mark.parametrize("stall", STALLS)
MOST_ROWS = (1 << COUNT_BITS) - 1


def packet_layout(parameters: StreamParameters) -> data.StructLayout:
    """A beat of a packet that comes in."""
    return data.StructLayout({"data": parameters.data_bits, "keep": parameters.data_bytes, "last": 1})


class ReceiverBench(wiring.Component):
    """A receiver whose packets are a stream, beside a count of the beats that it waits for.

    Parameters
    ----------
    receiver

    Members
    -------
    job : In(stream)
        Rows, and the beats of them that its packet brings.
    packet : In(stream), o : Out(stream)
    faults : Out
        Of each packet that is finished, if `faults_valid`.
    wrong : Out(1)
        `beat` or `stall` is not what the ports show.
    """

    def __init__(self, receiver: PacketReceiver) -> None:
        self.receiver = receiver
        members, size = receiver.signature.members, receiver.parameters.data_bytes
        job = data.StructLayout({"rows": COUNT_BITS,
                                 "beats": range(ceil_div(receiver.row_bytes, size) * MOST_ROWS + 1)})
        super().__init__({
            "job": In(stream.Signature(job)), "o": members["o"], "faults": members["faults"], "faults_valid": Out(1),
            "packet": In(stream.Signature(packet_layout(receiver.parameters))),
            "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.receiver = receiver = self.receiver
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        packet = self.packet.payload
        begun, awaited = Signal.like(self.job.payload.beats), Signal.like(self.job.payload.beats)
        m.d.comb += [
            receiver.rows.payload.eq(self.job.payload.rows), receiver.rows.valid.eq(self.job.valid),
            self.job.ready.eq(receiver.rows.ready), receiver.tvalid.eq(self.packet.valid),
            self.packet.ready.eq(receiver.tready), receiver.tdata.eq(packet.data), receiver.tkeep.eq(packet.keep),
            receiver.tlast.eq(packet.last), self.faults.eq(receiver.faults), self.faults_valid.eq(receiver.finished),
            self.wrong.eq((receiver.beat != (self.packet.valid & self.packet.ready))
                          | (receiver.stall != ((awaited != 0) & ~self.packet.valid))),
        ]
        # A packet is waited for from the second cycle behind its job's on.
        m.d.sync += begun.eq(Mux(self.job.valid & self.job.ready, self.job.payload.beats, 0))
        with m.If(begun != 0):
            m.d.sync += awaited.eq(begun)
        with m.Elif(receiver.beat & (awaited != 0)):
            m.d.sync += awaited.eq(awaited - 1)
        return m


class Packets:
    """Jobs and their packets, and the rows and faults that the core gets.

    Parameters
    ----------
    row, size, going
        Bytes of a row, of a beat that comes, and of one that goes.
    rng
    """

    def __init__(self, row: int, size: int, going: int, rng: random.Random) -> None:
        self.row, self.size, self.going, self.rng = row, size, going, rng
        self.row_beats = ceil_div(row, size)
        self.jobs, self.beats, self.rows, self.faults = [], [], [], []

    def add(self, count: int, *, short: int = 0, more: int = 0, holes: tuple[int, ...] = (), spare: bool = False
            ) -> None:
        """Add a job.

        Parameters
        ----------
        count
            Its rows.
        short, more
            Beats that its packet lacks, and has too many.
        holes
            Bytes of rows whose TKEEP is low.
        spare
            TKEEP is low behind the end of a row, too, and anywhere in beats that are too many.
        """
        rng, row, size = self.rng, self.row, self.size
        beats = self.row_beats
        given = count * beats - short
        rows = bytearray(rng.randbytes(count * row))
        keep = [0 if spare else 255] * (count * beats * size)
        sent = bytearray(rng.randbytes(len(keep)))
        for n in range(count):
            first = n * beats * size
            sent[first:first + row] = rows[n * row:(n + 1) * row]
            keep[first:first + row] = [255] * row
        for byte in holes:
            keep[byte // row * beats * size + byte % row] = 0
        rows[given // beats * row + given % beats * size:] = b""
        packet = [(sent[at:at + size], keep[at:at + size]) for at in range(0, given * size, size)]
        packet += [(rng.randbytes(size), [rng.choice([0, 255]) if spare else 255] * size) for _ in range(more)]
        self.beats += [{"data": int.from_bytes(values, "little"), "last": n == len(packet) - 1,
                        "keep": sum(1 << n for n, bit in enumerate(kept) if bit)}
                       for n, (values, kept) in enumerate(packet)]
        self.jobs.append({"rows": count, "beats": given})
        whole = rows + bytes(count * row - len(rows))
        self.rows += [int.from_bytes(whole[at:at + self.going], "little") for at in range(0, len(whole), self.going)]
        self.faults.append({"packet_short": short > 0, "packet_long": more > 0, "bytes_missing": bool(holes)})

    def add_any(self) -> None:
        """Add a job with a packet of any kind."""
        rng, count = self.rng, self.rng.randrange(5)
        beats = count * self.row_beats
        kind = rng.choice(["short", "long", "right", "right"]) if count else "right"
        short = rng.randrange(1, beats) if kind == "short" and beats > 1 else 0
        # The bytes that surely come.
        there = (beats - short) // self.row_beats * self.row
        holes = tuple(rng.sample(range(there), rng.randrange(1, 3))) if there > 1 and rng.random() < 0.4 else ()
        self.add(count, short=short, more=rng.randrange(1, 5) if kind == "long" else 0, holes=holes,
                 spare=rng.random() < 0.5)


RECEIVERS = {f"{row}-{size}-{going}": (row, size, going)
             for row, size, going in ((12, 8, 12), (16, 8, 4), (20, 8, 2), (12, 16, 3), (8, 4, 8))}


def check_packets(check, name: str, packets: Packets) -> None:
    """Let the bench do what was added."""
    receiver = PacketReceiver(packets.row, packets.going, StreamParameters(data_bits=8 * packets.size))
    check(ReceiverBench(receiver), f"packets-{name}", {"job": Offer(packets.jobs), "packet": Offer(packets.beats)},
          {"o": Expect(packets.rows), "faults": Expect(packets.faults)}, quiet=["wrong"])


@stalls
@pytest.mark.parametrize("name", [name if name == "12-8-12" else pytest.param(name, marks=pytest.mark.slow)
                                  for name in RECEIVERS])
def test_packets_that_come_in(check, stall, name):
    """Every job gets as many rows as it asked for, and is told what was wrong."""
    packets = Packets(*RECEIVERS[name], random.Random(SEED))
    for byte in range(2 * packets.row):
        packets.add(2, holes=(byte,), spare=bool(byte % 2))
    for _ in range(100):
        packets.add_any()
    check_packets(check, name, packets)


@pytest.mark.parametrize("stall", ["none"])
def test_the_longest_packet(check, stall):
    packets = Packets(*RECEIVERS["12-8-12"], random.Random(SEED))
    packets.add(1)
    packets.add(MOST_ROWS)
    packets.add(2, more=1)
    check_packets(check, "12-8-12", packets)


class TransmitterBench(wiring.Component):
    """A transmitter, beats for it among which are stops, and its packets as a stream.

    Parameters
    ----------
    parameters

    Members
    -------
    i : In(stream)
        Beats; one that `stops` is none: what comes before it is stopped, until nothing is under way.
    o : Out(stream of transmitted_layout)
    wrong : Out(1)
        `idle` or `moved` is not what the ports show.
    """

    def __init__(self, parameters: StreamParameters) -> None:
        self.parameters = parameters
        beat = transmitted_layout(parameters)
        item = data.StructLayout({"beat": beat, "stops": 1})
        super().__init__({"i": In(stream.Signature(item)), "o": Out(stream.Signature(beat)), "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.transmitter = transmitter = PacketTransmitter(self.parameters)
        stops, within = self.i.valid & self.i.payload.stops, Signal()
        taken = transmitter.i.valid & transmitter.i.ready
        m.d.comb += [
            # What is stopped takes nothing, whatever is offered.
            transmitter.i.valid.eq(self.i.valid), transmitter.i.payload.eq(self.i.payload.beat),
            transmitter.stop.eq(stops), self.i.ready.eq(Mux(stops, transmitter.idle, transmitter.i.ready)),
            self.wrong.eq((stops & transmitter.i.ready) | (transmitter.moved != (self.o.valid & self.o.ready))
                          | (transmitter.idle != (~self.o.valid & ~within))),
        ]
        m.d.comb += [self.o.payload.data.eq(transmitter.tdata), self.o.payload.last.eq(transmitter.tlast),
                     self.o.payload.error.eq(transmitter.tuser), self.o.valid.eq(transmitter.tvalid),
                     transmitter.tready.eq(self.o.ready)]
        # Nothing ends the packet but a last beat that was taken, or that a stop put in its place.
        with m.If(taken):
            m.d.sync += within.eq(~self.i.payload.beat.last)
        with m.Elif(stops & (~self.o.valid | self.o.ready)):
            m.d.sync += within.eq(0)
        return m


@stalls
def test_packets_that_go_out(check, stall):
    """They go out as they came; one that is stopped ends with one more beat, which is marked."""
    rng, parameters = random.Random(SEED), StreamParameters(data_bits=32)
    items, wanted = [], []

    def stop() -> None:
        items.append({"beat": {"data": rng.getrandbits(32), "last": rng.getrandbits(1), "error": rng.getrandbits(1)},
                      "stops": 1})

    for _ in range(150):
        count, error = rng.randrange(1, 7), rng.getrandbits(1)
        packet = [{"data": rng.getrandbits(32), "last": n == count - 1, "error": error and n == count - 1}
                  for n in range(count)]
        cut = rng.randrange(1, count) if count > 1 and rng.random() < 0.4 else count
        items += [{"beat": beat, "stops": 0} for beat in packet[:cut]]
        wanted += packet[:cut]
        if cut < count:
            stop()
            wanted.append({"data": 0, "last": 1, "error": 1})
        if rng.random() < 0.2:
            stop()
    check(TransmitterBench(parameters), "transmitter", {"i": Offer(items)}, {"o": Expect(wanted)}, quiet=["wrong"])


class SenderBench(wiring.Component):
    """A sender whose packets are taken some time after their last beats.

    Parameters
    ----------
    sender

    Members
    -------
    begun, fetched_q, fetched_k, fetched_v, beat : In(stream), o : Out(stream)
        The sender's.
    taken : In(stream)
        An item for each packet that is not empty: it was taken.
    done : Out
        Causes and interrupt of each job, if `done_valid`.
    wrong : Out(1)
        A job is done, and its packet was not taken.
    """

    def __init__(self, sender: PacketSender) -> None:
        self.sender = sender
        self.inputs = ["begun", "beat", *(f"fetched_{name}" for name in STREAMS)]
        members = sender.signature.members
        done = data.StructLayout({"causes": job_causes_layout(), "interrupt": 1})
        super().__init__({**{name: members[name] for name in self.inputs}, "taken": In(stream.Signature(1)),
                          "o": members["o"], "done": Out(done), "done_valid": Out(1), "wrong": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect."""
        m = Module()
        m.submodules.sender = sender = self.sender
        for name in self.inputs:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(sender, name))
        wiring.connect(m, sender.o, wiring.flipped(self.o))
        under_way, ended = Signal(), Signal()
        m.d.comb += [sender.sent.eq(~under_way), self.taken.ready.eq(ended),
                     self.done_valid.eq(sender.done), self.wrong.eq(sender.done & under_way),
                     self.done.causes.eq(sender.causes), self.done.interrupt.eq(sender.interrupt)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [under_way.eq(1), ended.eq(self.o.payload.last)]
        with m.Elif(self.taken.valid & self.taken.ready):
            m.d.sync += [under_way.eq(0), ended.eq(0)]
        return m


class Ends:
    """Jobs that were begun, and how they must end.

    Parameters
    ----------
    row, size
        Bytes of a row and of a beat.
    rng
    """

    def __init__(self, row: int, size: int, rng: random.Random) -> None:
        self.row, self.size, self.rng = row, size, rng
        self.offered = {name: [] for name in ("begun", "beat", *(f"fetched_{name}" for name in STREAMS))}
        self.packets, self.done = [], []
        # The present sequence lacks keys or values.
        self.broken = False

    def add(self, rows: int, faults: dict[str, str], *, fresh: int, refusal: str | None = None) -> None:
        """Add a job.

        Parameters
        ----------
        rows
            Of output.
        faults
            By stream, what was wrong with its packet.
        fresh, refusal
            Of the job.
        """
        rng, row_beats = self.rng, ceil_div(self.row, self.size)
        interrupt = rng.getrandbits(1)
        causes = dict.fromkeys(job_causes_layout().members, 0)
        causes |= {"sequence_invalid": not fresh and self.broken, **dict.fromkeys(faults.values(), 1)}
        if refusal:
            causes[f"refused_{refusal}"] = 1
        self.broken = (self.broken and not fresh) or (not refusal and bool(set(faults) & set("kv")))
        # What is known before is the core's verdict; all else is found out here.
        known = {name: causes[name] if name.startswith("refused") else rng.getrandbits(1) for name in causes}
        self.offered["begun"].append({"causes": known, "in_core": rng.getrandbits(1), "refused": refusal is not None,
                                      "fresh": fresh, "interrupt": interrupt, "rows": rows})
        for name in STREAMS:
            self.offered[f"fetched_{name}"].append({fault: fault == faults.get(name) for fault in PACKET_FAULTS})
        self.done.append({"causes": causes, "interrupt": interrupt})
        values = []
        for beat in range(rows * row_beats):
            value, kept = rng.randbytes(self.size), min(self.size, self.row - beat % row_beats * self.size)
            if not refusal:
                self.offered["beat"].append({"data": int.from_bytes(value, "little"), "strobe": (1 << kept) - 1})
            values.append(0 if refusal else int.from_bytes(value[:kept], "little"))
        self.packets += [{"data": value, "last": n == len(values) - 1,
                          "error": n == len(values) - 1 and any(causes.values())} for n, value in enumerate(values)]

    def add_any(self) -> None:
        """Add a job of any kind."""
        rng = self.rng
        faults = {name: rng.choice(list(PACKET_FAULTS)) for name in STREAMS if rng.random() < 0.15}
        self.add(rng.choice([0, 1, 1, 2, 3, 5]), faults, fresh=rng.random() < 0.4,
                 refusal=rng.choice(list(REFUSALS)) if rng.random() < 0.2 else None)

    def check(self, check, name: str) -> None:
        """Let the bench do it."""
        sender = PacketSender(self.row, StreamParameters(data_bits=8 * self.size))
        check(SenderBench(sender), f"sender-{name}", {
            **{name: Offer(items) for name, items in self.offered.items()},
            "taken": Offer([0] * sum(beat["last"] for beat in self.packets))},
              {"o": Expect(self.packets), "done": Expect(self.done)}, quiet=["wrong"])


SENDERS = {f"{row}-{size}": (row, size) for row, size in ((20, 8), (32, 16), (4, 4))}


@stalls
@pytest.mark.parametrize("name", [name if name == "20-8" else pytest.param(name, marks=pytest.mark.slow)
                                  for name in SENDERS])
def test_jobs_that_end(check, stall, name):
    """Each has its packet and its causes, and tells those that go on with what it could not load."""
    ends = Ends(*SENDERS[name], random.Random(SEED))
    for stream_name in STREAMS:
        for fault in PACKET_FAULTS:
            for refusal in (None, *REFUSALS):
                ends.add(1, {stream_name: fault}, fresh=1, refusal=refusal)
                ends.add(2, {}, fresh=0)
                ends.add(0, {}, fresh=0)
                ends.add(1, {}, fresh=1, refusal=refusal)
    for _ in range(150):
        ends.add_any()
    ends.check(check, name)


@pytest.mark.parametrize("stall", ["none"])
def test_the_longest_packet_of_outputs(check, stall):
    """It is that of a job that was refused: zeros."""
    ends = Ends(*SENDERS["20-8"], random.Random(SEED))
    ends.add(2, {"k": "packet_long"}, fresh=1)
    ends.add(MOST_ROWS, {}, fresh=0, refusal=next(iter(REFUSALS)))
    ends.add(1, {}, fresh=0)
    ends.check(check, "20-8")
