"""What every engine shows of itself: ports, sticky status bits, performance counters."""

from amaranth import Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import AttentionConfig
from latte.rtl.common.entry_words import parameter_layout
from latte.rtl.common.payloads import job_layout, output_layout, verdict_layout

__all__ = ["COUNTER_BITS", "Core", "counters_layout", "status_layout"]

COUNTER_BITS = 32


def status_layout() -> data.StructLayout:
    """Sticky bits, set by the event and cleared by `clear`, `clear_status` or reset.

    ``qk_saturated``: a Q or K element above `qk_max` was limited. ``head_invalid``: a job or parameter named a head
    that does not exist or was never written; the job was refused. ``too_long``: a job had more rows than the build, or
    its sequence, holds; refused. ``no_keys``: a job had no keys to attend to; refused. ``overflow``: a queue lost an
    entry, or a single-ported memory was read while it was written, which the design excludes; results since then are
    wrong. ``entry_invalid``: a register file entry was written out of turn, or has something that the build lacks; its
    head is unknown. ``groups_differ``: a job went on with a sequence whose keys are in other groups than those of its
    entry; refused.
    """
    return data.StructLayout({"qk_saturated": 1, "head_invalid": 1, "too_long": 1, "no_keys": 1, "overflow": 1,
                              "entry_invalid": 1, "groups_differ": 1})


def counters_layout() -> data.StructLayout:
    """Performance counters; they wrap at 2**32.

    ``cycles``: a job was being loaded or computed. ``estimator_beats``: the estimator worked. ``pairs_estimated``,
    ``survivors``: (query, key) pairs seen by the filter, and kept. ``cross_beats``, ``value_beats``: those
    units worked. ``stall_*``: the estimator stood still because keys or values were loading, the next tile's queries
    were not there, or no tile buffer was free. ``filter_stalls``: the filter waited for the survivor queue.
    ``output_stalls``: an output beat waited for its consumer. ``pruned_mass``: sum of `HeadTrace.mass`, the weight of
    pruned keys in weight steps; 0 in a build without compensation.
    """
    return data.StructLayout(dict.fromkeys((
        "cycles", "estimator_beats", "pairs_estimated", "survivors", "cross_beats", "value_beats",
        "stall_key_load", "stall_query_load", "stall_filter", "filter_stalls", "output_stalls", "pruned_mass"),
        COUNTER_BITS))


class Core(wiring.Component):
    """Ports of an attention core; each engine is one.

    Members
    -------
    job : In(stream of job_layout)
    parameter : In(stream of parameter_layout)
        Writes the head-wise register file, an entry word by word; a job takes the entry that was there when it was
        accepted.
    q, k, v : In(stream of bus_bytes int8 elements)
        Row-major rows in job order.
    o : Out(stream of output_layout)
    verdict : Out(verdict_layout)
        Of each job, one cycle, before its rows are taken: whether it was refused, and why.
    clear : In(1)
        Clears status and counters.
    clear_status : In(status_layout)
        Clears the status bits that are set in it.
    status : Out(status_layout)
    counters : Out(counters_layout)
    probe : Out
        Taps for a scoreboard; unused in a build.
    """

    def __init__(self, config: AttentionConfig, probe: data.StructLayout) -> None:
        self.config = config
        beat = data.ArrayLayout(signed(8), config.bus_bytes)
        super().__init__({
            "job": In(stream.Signature(job_layout())),
            "parameter": In(stream.Signature(parameter_layout())),
            "q": In(stream.Signature(beat)), "k": In(stream.Signature(beat)), "v": In(stream.Signature(beat)),
            "o": Out(stream.Signature(output_layout(config))), "verdict": Out(verdict_layout()),
            "clear": In(1), "clear_status": In(status_layout()), "status": Out(status_layout()),
            "counters": Out(counters_layout()),
            "probe": Out(probe)})

    def keep(self, m: Module, events: dict[str, Value], increments: dict[str, Value]) -> None:
        """Keep the sticky status bits and the counters.

        Parameters
        ----------
        m
            The core's own module.
        events
            One for each of `status_layout`.
        increments
            One for each of `counters_layout` but ``output_stalls``, which the port itself tells.
        """
        increments = increments | {"output_stalls": self.o.valid & ~self.o.ready}
        for name in self.status.shape().members:
            # Registered first, as the increments are below: the events come from everywhere.
            seen = Signal(name=f"{name}_seen")
            m.d.sync += seen.eq(events[name])
            with m.If(seen):
                m.d.sync += self.status[name].eq(1)
            with m.Elif(self.clear | self.clear_status[name]):
                m.d.sync += self.status[name].eq(0)
        # On from reset: one register for both is all that the counters' many bits hang on.
        wipe = Signal(init=1)
        m.d.sync += wipe.eq(self.clear)
        for name in self.counters.shape().members:
            # The adders are long.
            step = Signal(increments[name].shape(), name=f"{name}_step")
            counter = Signal(COUNTER_BITS, name=f"{name}_count", reset_less=True)
            m.d.sync += [step.eq(increments[name]), counter.eq(counter + step)]
            m.d.comb += self.counters[name].eq(counter)
            with m.If(wipe):
                m.d.sync += counter.eq(0)
