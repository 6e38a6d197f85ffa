"""``latte memory``."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from latte.golden.config import PRESETS, preset
from latte.golden.errors import LatteError
from latte.golden.memory.options import SIZES, size_options

if TYPE_CHECKING:
    from latte.golden.memory.cycles import Machine
    from latte.golden.memory.measurement import LengthFigures
    from latte.golden.memory.report import WorkloadFigures
    from latte.golden.memory.workloads import Task

__all__ = ["memory_command"]

_PATH = click.Path(path_type=pathlib.Path)
_EMBEDDED = "smollm2-135m"
_LENGTHS = (256, 512, 1024, 4096, 16384, 65536)
_SHARING = 3
"""Query heads that share keys in the made-up tiles, as in SmolLM2."""
_CHUNK = 16
_KEEP = 0.1
_TENTH = "10 % of the keys kept by a threshold of each row"


@click.command("memory")
@click.option("--config", "name", default="small", show_default=True, type=click.Choice(list(PRESETS)),
              help="Preset whose arithmetic and survivor units are used.")
@click.option("--model", help="Real activations of a language model: folder, hub name, .gguf file, or 'smollm2'. "
              "[default: the embedded heads of SmolLM2 up to 512 keys, longer caches resampled from them]")
@click.option("--text", type=_PATH, help="With --model: UTF-8 text whose first window is read.")
@click.option("--tokens", default=4096, show_default=True, help="With --model: tokens of the window.")
@click.option("--thresholds", default="smollm2_135m/best_90", show_default=True, metavar="FILE|NAME",
              help="With static scales.")
@click.option("--estimate-bits", type=click.Choice(["4", "3", "2"]), default="4", show_default=True,
              help="Width of the high parts.")
@size_options
@click.option("--part", "part_name", default="arty_ddr3", show_default=True, metavar="NAME",
              help="Memory: ulx3s_sdram, orangecrab_ddr3, arty_ddr3, zynq_lpddr4.")
@click.option("--latency", default=60, show_default=True, type=click.IntRange(0),
              help="Cycles from a request to its first beat.")
@click.option("--in-flight", default=32, show_default=True, type=click.IntRange(1), help="Requests that may wait.")
@click.option("--lengths", help="Keys, such as 1024,4096. [default: powers of two up to --tokens; without --model "
              f"{','.join(map(str, _LENGTHS))}]")
@click.option("--sample", type=click.IntRange(1), metavar="N",
              help="Heads of keys, spread over the model's depth. [default: all]")
@click.option("--rebase", is_flag=True, help="Make these figures those of golden/memory/README.md.")
@click.option("--output", default="build/memory.json", show_default=True, type=_PATH,
              help="Result file; plot as .png and .svg beside it.")
def memory_command(name: str, model: str | None, text: pathlib.Path | None, tokens: int, thresholds: str,
                   estimate_bits: str, sizes: dict[str, int], part_name: str, latency: int, in_flight: int,
                   lengths: str | None, sample: int | None, rebase: bool, output: pathlib.Path) -> None:
    """Count what a decoded token moves with its keys and values in memory, beside dense attention.

    This is the specification at work: every byte is counted by the golden model of golden/memory, cycles are those of
    its model of time; latte decode runs the hardware. Exits with 0 only if the figures meet their bars.
    """
    from latte.golden.console import create_console
    from latte.golden.memory.build import LONGEST, MemoryBuild
    from latte.golden.memory.cycles import Machine
    from latte.golden.memory.parts import find_part
    from latte.golden.memory.report import bars, figures, plot_shares, prefix, table
    from latte.golden.memory.tables import update_results
    from latte.golden.results import write_results
    from latte.golden.train.threshold_files import find_thresholds

    if output.suffix != ".json":
        raise LatteError(f"{output}: --output must be a .json file")
    if model is None and text is not None:
        raise LatteError("--text is read by a model; give --model as well, or leave it out")
    if model is not None and text is None:
        raise LatteError(f"--model {model} reads a text; give it with --text FILE")
    _check_rebase(rebase)
    find_thresholds(thresholds)
    part, wanted = find_part(part_name), _lengths(lengths)
    core = preset(name, max_seq_len=LONGEST, estimate_bits=int(estimate_bits))
    build = MemoryBuild(core=core, bus_bytes=part.bus_bytes, **sizes)
    machine = Machine(build, part, latency, in_flight)
    console = create_console()
    if model is None:
        measured = _measure_embedded(machine, thresholds, wanted or _LENGTHS, sample)
    else:
        assert text is not None
        measured = _measure_model(machine, model, text, tokens, thresholds, wanted, sample)
    held = bars(measured, machine)
    passed = all(bar.met for bar in held)
    output.parent.mkdir(parents=True, exist_ok=True)
    results = figures(measured, machine)
    write_results(output, "memory", core, results, passed, thresholds=thresholds, model=model,
                  part=dataclasses.asdict(part), bus_bytes=build.bus_bytes, **sizes, latency=latency,
                  in_flight=in_flight,
                  bars=[dataclasses.asdict(bar) | {"met": bar.met} for bar in held])
    if rebase:
        update_results(results, [prefix(workload, machine) for workload in measured])
    pictures = plot_shares(measured, output.with_suffix(""))
    for workload in measured:
        console.print(table(workload, machine))
    console.print(f"{part.title}; {machine.stream_rate:.2f} bytes a cycle at {part.core_mhz:g} MHz, latency {latency}, "
                  f"{in_flight} requests in flight", soft_wrap=True)
    for bar in held:
        console.print(str(bar), style=None if bar.met else "bold red", highlight=False, soft_wrap=True)
    console.print(f"{output}; {' and '.join(str(path) for path in pictures)}", soft_wrap=True)
    raise SystemExit(0 if passed else 1)


def _check_rebase(rebase: bool) -> None:
    """Raise `LatteError` if figures are to be kept of a memory or a build that is not the default."""
    context = click.get_current_context()
    for name in ("name", *SIZES, "part_name", "latency", "in_flight", "sample"):
        if rebase and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = {"name": "config", "part_name": "part"}.get(name, name).replace("_", "-")
            raise LatteError(f"--rebase keeps the figures of the default build and memory; leave out --{option}")


def _lengths(text: str | None) -> tuple[int, ...]:
    """Return the lengths that were asked for, ascending; none if none were."""
    from latte.golden.memory.build import LONGEST

    if text is None:
        return ()
    try:
        found = sorted({int(length) for length in text.split(",")})
    except ValueError:
        found = [0]
    if not 2 <= found[0] <= found[-1] <= LONGEST:
        raise LatteError(f"--lengths {text!r} must be numbers of keys from 2 to {LONGEST}, such as 1024,4096")
    return tuple(found)


def _measure_embedded(machine: "Machine", thresholds: str, lengths: Sequence[int], sample: int | None
                      ) -> "list[WorkloadFigures]":
    """Measure the embedded heads as far as they go, and longer caches resampled from them."""
    import numpy as np

    from latte.golden.memory.report import WorkloadFigures
    from latte.golden.memory.workloads import ShareKept, head_tasks, resampled_tasks, thresholds_at_width
    from latte.golden.requantise import prune_as_learned
    from latte.golden.train.threshold_files import read_thresholds
    from latte.golden.vectors import embedded_vectors

    core, bits, rows = machine.build.core, machine.build.core.estimate_bits, machine.build.tile_rows
    of_model, learned = read_thresholds(thresholds)
    label = pathlib.Path(thresholds).stem
    heads = next(vectors for vectors in embedded_vectors() if vectors.model == _EMBEDDED)
    pruned = prune_as_learned(heads, of_model, label, thresholds_at_width(learned, bits))
    entries = [pruned.parameters(index, core) for index in range(len(pruned))]
    count = min(sample or len(pruned), len(pruned))
    chosen = sorted({int(index) for index in np.linspace(0, len(pruned) - 1, count).round()})
    some, some_entries = pruned.select(chosen), [entries[index] for index in chosen]
    short, longer = ([n for n in lengths if (n <= pruned.keys) == real] for real in (True, False))
    share = ShareKept(_KEEP, core)
    alone, together = f"{pruned.model}, embedded heads", f"{pruned.model}, resampled"
    workloads = [
        (WorkloadFigures(pruned.model, f"{alone}, each alone", {}, real=True),
         head_tasks(pruned, entries, short), len(pruned) * len(short)),
        (WorkloadFigures(f"{pruned.model}-prompt", f"{alone}, whole prompts, {rows} queries a tile", {}, prompts=True),
         head_tasks(some, some_entries, short, prompts=True), len(some) * len(short)),
        (WorkloadFigures(f"{pruned.model}-resampled", f"{together}, {_SHARING} heads share keys", {}),
         resampled_tasks(some, some_entries, longer, _SHARING), len(some) * len(longer)),
        (WorkloadFigures(f"{pruned.model}-prompt-resampled",
                         f"{together}, {_CHUNK} tokens of a prompt behind them, {rows} queries a tile", {},
                         prompts=True),
         resampled_tasks(some, some_entries, longer, 1, _CHUNK), len(some) * len(longer)),
        (WorkloadFigures(f"{heads.model}-tenth-resampled", f"{heads.model}, resampled, heads alone, {_TENTH}", {},
                         tenth=True),
         map(share.task, resampled_tasks(some, some_entries, longer, 1)), len(some) * len(longer)),
    ]
    return [dataclasses.replace(workload, by_length=_run(workload.title, tasks, total, machine))
            for workload, tasks, total in workloads if total]


def _run(text: str, tasks: "Iterable[Task]", total: int, machine: "Machine") -> "dict[int, LengthFigures]":
    """Measure tasks under a progress bar; return figures by length."""
    from latte.golden.console import create_console, create_progress
    from latte.golden.memory.measurement import add_up, measure_tasks

    by_length: dict[int, list[LengthFigures]] = {}
    with create_progress(create_console()) as bar:
        task = bar.add_task(text, total=total)
        for n, of in measure_tasks(tasks, machine):
            by_length.setdefault(n, []).append(of)
            bar.advance(task)
    return {n: add_up(by_length[n]) for n in sorted(by_length)}


def _measure_model(machine: "Machine", model: str, text: pathlib.Path, tokens: int, thresholds: str,
                   lengths: Sequence[int], sample: int | None) -> "list[WorkloadFigures]":
    """Measure the decoded tokens of a model's real activations, and the same with a tenth of each row's keys kept."""
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.console import create_console, create_progress
    from latte.golden.memory.measurement import add_up, measure_tasks
    from latte.golden.memory.report import WorkloadFigures
    from latte.golden.memory.workloads import ShareKept, thresholds_at_width
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.models.inputs import text_windows
    from latte.golden.models.long_context import decode_tokens
    from latte.golden.train.threshold_files import load_thresholds

    core = machine.build.core
    with create_progress(create_console()) as bar:
        task = bar.add_task("loading the model", total=None)
        checkpoint = load_checkpoint(model)
        if not checkpoint.causal:
            raise LatteError(f"{checkpoint.name} is an image model, which decodes no tokens; give a language model")
        if checkpoint.head_dim != core.head_dim:
            core = core.for_head_dim(checkpoint.head_dim)
            machine = dataclasses.replace(machine, build=dataclasses.replace(machine.build, core=core))
        if not 2 <= tokens <= checkpoint.max_tokens:
            raise LatteError(f"--tokens {tokens} must be from 2 to the model's {checkpoint.max_tokens}")
        if lengths and lengths[-1] > tokens:
            raise LatteError(f"--lengths {lengths[-1]} is longer than the window of --tokens {tokens}")
        lengths = lengths or [n for n in (1 << bit for bit in range(10, 17)) if n < tokens] + [tokens]
        learned = thresholds_at_width(load_thresholds(thresholds, *checkpoint.shape), core.estimate_bits)
        window = text_windows(text, checkpoint.tokenizer, tokens)[0]
        heads = checkpoint.blocks * checkpoint.heads // checkpoint.heads_per_key
        bar.update(task, description="tokens of heads of keys", total=(sample or heads) * len(lengths))
        found: dict[str, dict[int, list[LengthFigures]]] = {"learned": {}, "tenth": {}}
        share = ShareKept(_KEEP, core)

        def take(one: "Task") -> None:
            for key, tasks in (("learned", [one]), ("tenth", [share.task(one)])):
                for n, of in measure_tasks(tasks, machine):
                    found[key].setdefault(n, []).append(of)
            bar.advance(task)

        decode_tokens(checkpoint, learned, window, lengths, core, take, key_heads="all" if sample is None else
                      str(sample))
    sums = {key: {n: add_up(of) for n, of in sorted(entries.items())} for key, entries in found.items()}
    name = f"{checkpoint.name}-{pathlib.Path(thresholds).stem}-text"
    return [
        WorkloadFigures(name, f"{name}, {checkpoint.heads_per_key} heads share keys", sums["learned"], real=True,
                        whole=sample is None),
        WorkloadFigures(f"{checkpoint.name}-tenth-text", f"{checkpoint.name}, text, heads alone, {_TENTH}",
                        sums["tenth"], real=True, tenth=True),
    ]
