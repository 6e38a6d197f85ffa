"""Everything between the ring of descriptors and the core."""

from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.golden.jobs import COUNT_BITS
from latte.rtl.axi.bus import ADDRESS_BITS, MasterParameters, burst_layout, fault_layout
from latte.rtl.axi.descriptor_fetcher import DescriptorFetcher
from latte.rtl.axi.descriptor_ring import DescriptorRing
from latte.rtl.axi.job_completer import JobCompleter
from latte.rtl.axi.job_dispatcher import JobDispatcher
from latte.rtl.axi.output_packer import OutputPacker
from latte.rtl.axi.payloads import STREAMS, descriptor_causes_layout, written_layout
from latte.rtl.axi.ring_registers import RING_SIZE_MAX
from latte.rtl.axi.row_fetcher import RowFetcher, fetch_layout
from latte.rtl.axi.write_engine import beat_layout
from latte.rtl.common.payloads import job_layout, output_layout, verdict_layout
from latte.rtl.common.stream_queue import StreamQueue

__all__ = ["READERS", "DescriptorRunner", "connect_ring", "ring_members"]

READERS = (*STREAMS, "descriptor")
"""Who reads from memory, by number at `ReadEngine`."""
_JOBS_BEGUN = 8
"""Descriptors that the core may have at a time, and that wait for their end."""
_COMMANDS = 4
"""Jobs whose rows may be fetched later: queries of those whose keys are being loaded."""


def ring_members(parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return the signals of a runner but those of its core: to the registers, the master, the interrupt."""
    return {
        "enable": In(1), "base": In(ADDRESS_BITS), "size_log2": In(range(RING_SIZE_MAX + 1)), "ring": In(1),
        "number": In(COUNT_BITS), "overflow": Out(1), "head": Out(COUNT_BITS), "tail": Out(COUNT_BITS),
        "empty": Out(1), "settled": In(1),
        **{f"request_{name}": Out(stream.Signature(burst_layout(parameters))) for name in READERS},
        **{f"taken_{name}": In(1) for name in READERS}, "data": In(parameters.data_bits),
        "fault": In(fault_layout()), "burst": Out(stream.Signature(burst_layout(parameters))),
        "write": Out(stream.Signature(beat_layout(parameters))), "answered": In(1),
        "write_fault": In(fault_layout()), "unanswered": In(1), "done": Out(1), "refused": Out(1),
        "invalid": Out(1), "interrupt": Out(1), "drained": Out(1), "busy": Out(1)}


def connect_ring(m: Module, runner: wiring.Component, fetcher: DescriptorFetcher, completer: wiring.Component) -> None:
    """Put the ring into a runner, between what fetches its descriptors and what ends them, and these to the master.

    The completer has the ports of `JobCompleter` but those that say what has begun, and what became of it.
    """
    m.submodules.ring = ring = DescriptorRing()
    wiring.connect(m, fetcher.request, wiring.flipped(runner.request_descriptor))
    wiring.connect(m, completer.burst, wiring.flipped(runner.burst))
    wiring.connect(m, completer.write, wiring.flipped(runner.write))
    m.d.comb += [
        ring.base.eq(runner.base), ring.size_log2.eq(runner.size_log2), ring.ring.eq(runner.ring),
        ring.number.eq(runner.number), runner.overflow.eq(ring.overflow), runner.head.eq(ring.head),
        runner.tail.eq(ring.tail), runner.empty.eq(ring.empty),
        ring.take.eq(fetcher.take), ring.release.eq(completer.release), ring.done.eq(completer.done),
        runner.busy.eq(ring.under_way | (runner.enable & ring.waiting)),
        fetcher.enable.eq(runner.enable), fetcher.waiting.eq(ring.waiting), fetcher.address.eq(ring.take_address),
        fetcher.taken.eq(runner.taken_descriptor), fetcher.data.eq(runner.data), fetcher.fault.eq(runner.fault),
        completer.answered.eq(runner.answered), completer.fault.eq(runner.write_fault),
        completer.unanswered.eq(runner.unanswered),
        completer.address.eq(ring.done_address), completer.number.eq(ring.tail),
        runner.done.eq(completer.done), runner.refused.eq(completer.done & completer.refused),
        runner.invalid.eq(completer.done & completer.invalid),
        runner.interrupt.eq(completer.done & completer.interrupt),
        runner.drained.eq(completer.done & ring.last & ~runner.ring),
    ]


class DescriptorRunner(wiring.Component):
    """Fetches descriptors, has the core carry them out, writes outputs and status::

        DescriptorRing -> DescriptorFetcher -> JobDispatcher -> job | verdict
                                                 |  |
                                                 |  +-> commands -> RowFetcher q, k, v -> q, k, v
                                                 |                        |
                                                 +-> begun       faults --+          o -> OutputPacker
                                                       |           |                          |
                                                       +-------> JobCompleter <---------------+
                                                                     |
                                                                     +-> burst, write

    A job's keys are fetched while its predecessor computes, as the core's two banks allow; its descriptor is read while
    the predecessor's keys are fetched.

    Parameters
    ----------
    config
    parameters
        Of the master.

    Members
    -------
    enable : In(1), base, size_log2, ring, number, overflow, head, tail, empty
        As of `DescriptorRing`.
    settled : In(1)
        As of `JobDispatcher`.
    job, q, k, v : Out(stream), o : In(stream), verdict : In
        The core's, from the other side; beats of rows as plain bits.
    request_<reader>, taken_<reader>, data, fault
        As of `ReadEngine`.
    burst, write, answered, write_fault, unanswered
        As of `WriteEngine`.
    done, refused, invalid, interrupt, drained : Out(1)
        For one cycle: a descriptor is done; was refused by the core; could not be carried out; asks for an interrupt;
        was the last.
    busy : Out(1)
    """

    def __init__(self, config: AttentionConfig, parameters: MasterParameters) -> None:
        self.config = config
        self.parameters = parameters
        rows = Out(stream.Signature(8 * config.bus_bytes))
        super().__init__({
            **ring_members(parameters), "job": Out(stream.Signature(job_layout())), "verdict": In(verdict_layout()),
            **dict.fromkeys(STREAMS, rows), "o": In(stream.Signature(output_layout(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, parameters = self.config, self.parameters
        m.submodules.descriptor_fetcher = fetcher = DescriptorFetcher(parameters)
        m.submodules.dispatcher = dispatcher = JobDispatcher(descriptor_causes_layout())
        m.submodules.begun_queue = begun = StreamQueue(written_layout(), _JOBS_BEGUN)
        m.submodules.output_packer = packer = OutputPacker(config, parameters, 2 * parameters.burst_beats)
        m.submodules.completer = completer = JobCompleter(packer.row_bytes, parameters, packer.depth)
        checked = fetcher.checked.payload
        connect_ring(m, self, fetcher, completer)
        wiring.connect(m, dispatcher.job, wiring.flipped(self.job))
        wiring.connect(m, begun.o, completer.begun)
        wiring.connect(m, wiring.flipped(self.o), packer.o)
        wiring.connect(m, packer.beat, completer.beat)
        m.d.comb += [
            dispatcher.asked.valid.eq(fetcher.checked.valid), fetcher.checked.ready.eq(dispatcher.asked.ready),
            dispatcher.asked.payload.interrupt.eq(checked.fields.interrupt),
            dispatcher.asked.payload.invalid.eq(checked.invalid), dispatcher.asked.payload.causes.eq(checked.causes),
            dispatcher.settled.eq(self.settled), dispatcher.verdict.eq(self.verdict),
            begun.i.valid.eq(dispatcher.begun.valid), dispatcher.begun.ready.eq(begun.i.ready),
            begun.i.payload.begun.eq(dispatcher.begun.payload), begun.i.payload.address.eq(checked.fields.o_address),
            begun.i.payload.stride.eq(checked.fields.o_stride),
            completer.level.eq(packer.level),
        ]
        m.d.comb += [dispatcher.asked.payload.job[name].eq(checked.fields[name]) for name in job_layout().members]
        for name in STREAMS:
            self._rows(m, name, checked, dispatcher, completer)
        return m

    def _rows(self, m: Module, name: str, checked: data.View, dispatcher: JobDispatcher, completer: JobCompleter
              ) -> None:
        """Fetch the rows of one stream, and keep the faults of each job until the job's end."""
        fetcher = RowFetcher(self.config.head_dim, self.config.bus_bytes, self.parameters)
        commands = StreamQueue(fetch_layout(), _COMMANDS)
        # More than there can be jobs that have begun.
        fetched = StreamQueue(fault_layout(), 2 * _JOBS_BEGUN)
        m.submodules[f"{name}_fetcher"], m.submodules[f"{name}_commands"] = fetcher, commands
        m.submodules[f"{name}_fetched"] = fetched
        asked = getattr(dispatcher, f"rows_{name}")
        wiring.connect(m, commands.o, fetcher.command)
        wiring.connect(m, fetcher.request, wiring.flipped(getattr(self, f"request_{name}")))
        wiring.connect(m, fetcher.o, wiring.flipped(getattr(self, name)))
        wiring.connect(m, fetched.o, getattr(completer, f"fetched_{name}"))
        # The descriptor stands at the dispatcher until all three are asked for.
        m.d.comb += [
            commands.i.valid.eq(asked.valid), asked.ready.eq(commands.i.ready),
            commands.i.payload.rows.eq(asked.payload.rows), commands.i.payload.zeros.eq(asked.payload.refused),
            commands.i.payload.address.eq(checked.fields[f"{name}_address"]),
            commands.i.payload.stride.eq(checked.fields[f"{name}_stride"]),
            fetcher.taken.eq(getattr(self, f"taken_{name}")), fetcher.data.eq(self.data),
            fetcher.fault.eq(self.fault), fetched.i.valid.eq(fetcher.finished), fetched.i.payload.eq(fetcher.faults),
        ]
