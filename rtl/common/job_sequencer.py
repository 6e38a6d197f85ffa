"""Work list: checks each job, has its keys and values loaded, and hands it to the tile sequencer."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.common.payloads import compute_layout, head_entry_layout, job_layout, load_layout, query_load_layout

__all__ = ["JobSequencer"]


class JobSequencer(wiring.Component):
    """Runs a list of heads in order, loading each while its predecessor computes::

        job -> check -> [wait for a free bank] -> kv_load, query_load -> [wait for loaded] -> compute

    A job that cannot be computed is refused: its keys, values and queries are read off their streams and dropped,
    no output is produced, and a status bit says why. A refused job that would have started a sequence leaves no
    sequence behind, so that jobs which meant to use its keys are refused too.

    Jobs leave in order; a fresh sequence takes the other bank as soon as no job computes from it. Jobs that are not
    `overlapping` are accepted when no other computes, and `compute` stands until the release.

    Parameters
    ----------
    config
    overlapping
        A job is loaded while others compute.

    Members
    -------
    job : In(stream of job_layout)
    look_up, head, entry, known
        Look-up in `HeadRegisters`: the entry, and whether it is known, `look_up_latency` cycles later.
    kv_load, query_load : Out(stream)
        Commands to the loaders.
    loaded : In(1)
        The `kv_load` command was carried out.
    compute : Out(stream of compute_layout)
    release, release_bank : In(1)
        A job's last row has left the given bank.
    busy : Out(1)
        A job is being loaded or computed.
    waiting_for_keys : Out(1)
        Keys or values are being loaded while nothing computes.
    head_invalid, too_long, no_keys : Out(1)
        One cycle when a job is refused: unknown head; more rows than the build or the sequence holds; none at all.
    """

    look_up_latency = 2
    """Cycles after which the entry is taken; `HeadRegisters` answer in as many."""
    check_cycles = 5
    """From a job's acceptance to its command to the query loader: look-up, comparison, check, judgement."""
    command_cycles = 2
    """From there to the command to the key loader, and from its answer to the dispatch."""

    def __init__(self, config: AttentionConfig, *, overlapping: bool = True) -> None:
        self.config = config
        self.overlapping = overlapping
        super().__init__({
            "job": In(stream.Signature(job_layout())),
            "look_up": Out(1), "head": Out(COUNT_BITS), "entry": In(head_entry_layout(config)), "known": In(1),
            "kv_load": Out(stream.Signature(load_layout())),
            "query_load": Out(stream.Signature(query_load_layout())),
            "loaded": In(1),
            "compute": Out(stream.Signature(compute_layout(config))),
            "release": In(1), "release_bank": In(1),
            "busy": Out(1), "waiting_for_keys": Out(1),
            "head_invalid": Out(1), "too_long": Out(1), "no_keys": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        job = Signal(job_layout())
        bank = Signal()
        keys = Signal(COUNT_BITS)
        total = Signal(COUNT_BITS + 1)
        unknown, excessive, none = Signal(), Signal(), Signal()
        drop = Signal()
        next_bank = Signal()
        # A job in flight holds at least one row of the pipeline, whose rows are bounded by the query ring.
        in_flight = [Signal(range(2 * config.query_rows), name=f"in_flight_{b}") for b in range(2)]
        idle = Signal(2, init=3)  # no job in flight
        dispatched = Signal()

        m.d.comb += [
            self.head.eq(job.head),
            next_bank.eq(~bank if config.kv_banks == 2 else 0),
            self.kv_load.payload.start.eq(Mux(job.fresh, 0, keys)),
            self.kv_load.payload.rows.eq(job.load_rows),
            self.kv_load.payload.bank.eq(Mux(job.fresh, next_bank, bank)),
            self.kv_load.payload.drop.eq(drop),
            self.query_load.payload.rows.eq(job.query_rows),
            self.query_load.payload.drop.eq(drop),
            self.compute.payload.rows.eq(job.query_rows),
            self.compute.payload.keys.eq(keys),
            self.compute.payload.causal.eq(job.causal),
            self.compute.payload.bank.eq(bank),
        ]
        entry = Signal.like(self.entry)
        m.d.comb += self.compute.payload.entry.eq(entry)

        with m.FSM():
            with m.State("IDLE"):
                # With one memory port for loading and computing, nobody keeps a copy of a command.
                m.d.comb += self.job.ready.eq(1 if self.overlapping else in_flight[0] == 0)
                with m.If(self.job.ready):
                    m.d.sync += job.eq(self.job.payload)
                with m.If(self.job.ready & self.job.valid):
                    m.next = "LOOK UP"
            with m.State("LOOK UP"):
                m.d.comb += self.look_up.eq(1)
                m.d.sync += total.eq(Mux(job.fresh, 0, keys) + job.load_rows)
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [
                    none.eq(total == 0),
                    excessive.eq((total > config.max_seq_len) | (job.causal & (job.query_rows > total))),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [entry.eq(self.entry), unknown.eq((job.query_rows != 0) & ~self.known)]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += drop.eq(1)
                m.next = "COMMAND QUERIES"
                with m.If(unknown):
                    m.d.comb += self.head_invalid.eq(1)
                with m.Elif(none):
                    m.d.comb += self.no_keys.eq(1)
                with m.Elif(excessive):
                    m.d.comb += self.too_long.eq(1)
                with m.Else():
                    m.d.sync += drop.eq(0)
                    with m.If(job.fresh):
                        m.next = "WAIT FOR BANK"
            with m.State("WAIT FOR BANK"), m.If(idle.bit_select(next_bank, 1)):
                m.next = "COMMAND QUERIES"
            with m.State("COMMAND QUERIES"):
                m.d.comb += self.query_load.valid.eq(1)
                with m.If(self.query_load.ready):
                    m.next = "COMMAND KEYS"
            with m.State("COMMAND KEYS"):
                m.d.comb += self.kv_load.valid.eq(1)
                with m.If(self.kv_load.ready):
                    m.next = "WAIT FOR KEYS"
            with m.State("WAIT FOR KEYS"):
                m.d.comb += self.waiting_for_keys.eq(idle.all())
                with m.If(self.loaded):
                    m.next = "DISPATCH"
                    with m.If(~drop):
                        m.d.sync += keys.eq(total)
                    with m.Elif(job.fresh):
                        m.d.sync += keys.eq(0)
                    with m.If(job.fresh & ~drop):
                        m.d.sync += bank.eq(next_bank)
            with m.State("DISPATCH"):
                m.d.comb += self.compute.valid.eq(~drop & (job.query_rows != 0))
                with m.If(self.compute.ready | ~self.compute.valid):
                    m.next = "IDLE"

        m.d.comb += [
            dispatched.eq(self.compute.valid & self.compute.ready),
            self.busy.eq(~self.job.ready | ~idle.all()),
        ]
        for b in range(2):
            up, down = dispatched & (bank == b), self.release & (self.release_bank == b)
            with m.If(up ^ down):
                m.d.sync += [in_flight[b].eq(in_flight[b] + Mux(up, 1, -1)), idle[b].eq(~up & (in_flight[b] == 1))]
        return m
