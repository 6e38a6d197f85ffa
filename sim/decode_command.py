"""``latte decode``."""

import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from latte.golden.console import create_console, create_progress, create_table, show_status
from latte.golden.errors import LatteError
from latte.golden.memory.options import size_options
from latte.golden.results import write_results
from latte.sim.decode_figures import COLUMNS, cells, update_figures
from latte.sim.options import build_option, refuse_given
from latte.sim.stalls import STALLS

if TYPE_CHECKING:
    from latte.golden.memory.build import MemoryBuild
    from latte.golden.memory.workloads import Task

__all__ = ["decode_command"]

_EMBEDDED = "smollm2-135m"
_SHARING = 3
_LENGTHS = "1024,4096,16384"


@click.command("decode")
@click.option("--model", help="Real activations of a language model: folder, hub name, .gguf file, or 'smollm2'. "
              "[default: caches resampled from the embedded heads of SmolLM2]")
@click.option("--text", type=click.Path(path_type=pathlib.Path),
              help="With --model: UTF-8 text whose first window is read.")
@click.option("--thresholds", default="smollm2_135m/best_90", show_default=True, metavar="FILE|NAME",
              help="With static scales.")
@click.option("--lengths", default=_LENGTHS, show_default=True, help="Keys behind which a token is decoded.")
@click.option("--sample", default=4, show_default=True, type=click.IntRange(1), metavar="N",
              help="Heads of keys, spread over those there are.")
@click.option("--prompt", default=0, show_default=True, type=click.IntRange(0), metavar="TOKENS",
              help="Without --model: the last so many tokens are a prompt that is appended and asked at once.")
@size_options
@click.option("--latency", default=60, show_default=True, type=click.IntRange(1, 1000),
              help="Cycles from a read to its first beat.")
@click.option("--part", "part_name", metavar="NAME", help="Memory whose pins and banks limit it: ulx3s_sdram, "
              "orangecrab_ddr3, arty_ddr3, zynq_lpddr4. [default: none; a beat in each cycle]")
@click.option("--interface", default="core", show_default=True, type=click.Choice(("core", "axi")),
              help="What the jobs come through: the core's own streams, or as well AXI, by descriptors in memory; its "
                   "cycles then stand beside.")
@click.option("--stall", default="none", show_default=True, type=click.Choice(STALLS),
              help="Behind AXI: random pauses of the memory's answers (source), of its attention (sink), or both.")
@click.option("--seed", default=1, show_default=True, help="Behind AXI: seed of the pauses.")
@click.option("--rebase", is_flag=True, help="Make these figures those of golden/memory/README.md.")
@build_option
def decode_command(model: str | None, text: pathlib.Path | None, thresholds: str, lengths: str, sample: int,
                   prompt: int, sizes: dict[str, int], latency: int, part_name: str | None, interface: str,
                   stall: str, seed: int, rebase: bool, build_folder: pathlib.Path) -> None:
    """Decode tokens on the simulated core with keys and values in memory.

    Each token is a job on a memory of its own that holds the keys before it. Outputs, the memory behind the job, rows
    fetched and beats read must be the golden model's, behind AXI outputs, memory and status; exits with 0 only if they
    are. Writes build/decode.json.
    """
    from latte.golden.config import ceil_div, preset
    from latte.golden.memory.build import LONGEST, MemoryBuild
    from latte.golden.memory.cycles import Machine
    from latte.golden.memory.measurement import LengthFigures, add_up, job_figures, prepare
    from latte.golden.memory.parts import find_part, ideal_part
    from latte.golden.train.threshold_files import find_thresholds
    from latte.sim.axi_cache_program import AxiCacheProgram
    from latte.sim.axi_cache_run import build_axi_cache_core, run_axi_cache
    from latte.sim.cache_run import build_cache_core, run_cache_jobs, words_needed

    if (model is None) != (text is None):
        raise LatteError("a model reads a text, and nothing else does; give both --model and --text, or neither")
    if prompt and model:
        raise LatteError("--prompt is of the embedded heads; leave out --model, or --prompt")
    if interface == "core":
        refuse_given("the core behind AXI (--interface axi)", "stall", "seed")
    elif part_name is not None:
        raise LatteError("--part is of the bare core; leave out it, or --interface axi")
    find_thresholds(thresholds)
    wanted = _lengths(lengths, prompt)
    part = None if part_name is None else find_part(part_name)
    build = MemoryBuild(core=preset("small", max_seq_len=LONGEST), slots=1, bus_bytes=part.bus_bytes if part else 16,
                        **sizes)
    machine = Machine(build, part or ideal_part(build.bus_bytes), latency)
    rate = machine.stream_rate
    console = create_console()
    started = time.monotonic()
    with show_status(console, "compiling the core with keys in memory (some minutes; kept for the next time) ..."):
        words = words_needed(build, ceil_div(wanted[-1], build.page_rows))
        compiled = build_cache_core(build, words, latency=latency, part=part, build_folder=build_folder)
        behind_axi = build_axi_cache_core(build, build_folder=build_folder) if interface == "axi" else None
    console.print(f"compiled in {time.monotonic() - started:.0f} s")
    folder = build_folder / "sim" / "runs" / f"decode-{os.getpid()}"
    figures: dict[int, list[LengthFigures]] = {}
    counted: dict[int, dict[str, int]] = {}
    through: dict[int, int] = {}
    problems: list[str] = []
    key_heads: int | None = None

    def carry_out(task: "Task") -> None:
        memory, job = prepare(task, build)
        n = len(task.k)
        # Nothing leaves a core while a long stream passes.
        report = run_cache_jobs(compiled, memory, dict(enumerate(task.entries)), [job], folder,
                                patience=100_000 + 16 * n)
        problems.extend(f"{task.name}, {n} keys: {text}" for text in report.all_problems)
        for done in report.jobs:
            figures.setdefault(n, []).append(job_figures(done.outcome, job, task.entries, machine))
            of_length = counted.setdefault(n, dict.fromkeys(done.counters, 0))
            for name, count in done.counters.items():
                of_length[name] += count
        if behind_axi is not None:
            program = AxiCacheProgram(prepare(task, build)[0], dict(enumerate(task.entries)))
            program.add(job)
            found = run_axi_cache(behind_axi, program, folder / "axi", stall=stall, seed=seed, latency=latency,
                                  patience=100_000 + 16 * n)
            problems.extend(f"{task.name}, {n} keys, behind AXI: {text}" for text in found.problems)
            through[n] = through.get(n, 0) + sum(found.cycles)

    with create_progress(console, "jobs") as progress:
        bar = progress.add_task("decoding", total=sample * len(wanted))

        def take(task: "Task") -> None:
            carry_out(task)
            progress.advance(bar)

        if model is None:
            for task in _embedded(thresholds, wanted, sample, prompt, build):
                take(task)
        else:
            assert text is not None
            key_heads = _read_text(model, text, thresholds, wanted, sample, build, take)
    sums = {n: add_up(of) for n, of in sorted(figures.items())}
    lengths_found = []
    for n, of in sums.items():
        hardware = counted[n]
        cycles = hardware["cycles"] / of.jobs
        beats = hardware["beats_read"] + hardware["beats_written"]
        lengths_found.append({
            "keys": n, "jobs": of.jobs, "kept": of.kept / of.pairs, "cycles": cycles, "cycles_per_key": cycles / n,
            "bandwidth_share": beats * build.bus_bytes / (rate * hardware["cycles"]),
            "model_cycles": of.cycles / of.jobs, "dense_model_cycles": of.dense_cycles / of.jobs,
            "dense_values_per_value": of.dense_rows / max(1, hardware["values_fetched"]),
            # Of all the model's heads of keys, one job after the other.
            "token_ms": key_heads and cycles * key_heads / (1e3 * machine.part.core_mhz),
            "dense_token_ms": key_heads and of.dense_cycles / of.jobs * key_heads / (1e3 * machine.part.core_mhz),
            **({"axi_cycles": through[n] / of.jobs} if n in through else {})})
    table = create_table(*COLUMNS, title="keys and values in memory: RTL against golden")
    for found in lengths_found:
        table.add_row(*cells(found))
    console.print(table)
    for n, of_axi in sorted(through.items()):
        console.print(f"{n} keys behind AXI: {of_axi / sums[n].jobs:.0f} cycles from the doorbell to the status word, "
                      f"{of_axi / counted[n]['cycles'] - 1:+.2%}", soft_wrap=True)
    memory = f"{part.title}; {rate:.2f} bytes a cycle at {part.core_mhz:g} MHz" if part else (
        f"a beat of {rate} bytes a cycle")
    console.print(f"cycles of a job; {latency} of latency, {memory}; dense: by the model of time; "
                  f"tokens: all heads, one after the other, at {machine.part.core_mhz:g} MHz", soft_wrap=True)
    for problem in problems:
        console.print(problem, style="bold red", highlight=False, soft_wrap=True)
    results = [{"name": f"n{found['keys']}.cycles", "unit": "cycles", "value": found["cycles"], **found}
               for found in lengths_found]
    if rebase and not problems:
        name = "resampled" if model is None else pathlib.Path(model).name
        update_figures(f"{name}, {pathlib.Path(thresholds).stem}{f', prompts of {prompt}' if prompt else ''}"
                       f"{f', {part_name}' if part_name else ''}", lengths_found)
    write_results(build_folder / "decode.json", "decode", build.core, results, not problems, thresholds=thresholds,
                  model=model, latency=latency, part=part_name, interface=interface, stall=stall, seed=seed, **sizes,
                  problems=problems)
    console.print(f"{'every' if not problems else 'not every'} bit and beat is the golden model's; "
                  f"{build_folder / 'decode.json'}", soft_wrap=True)
    raise SystemExit(1 if problems else 0)


def _lengths(text: str, prompt: int) -> list[int]:
    from latte.golden.memory.build import LONGEST

    try:
        found = sorted({int(length) for length in text.split(",")})
    except ValueError:
        found = [0]
    if not max(2, prompt + 1) <= found[0] <= found[-1] <= LONGEST:
        raise LatteError(f"--lengths {text!r} must be numbers of keys from {max(2, prompt + 1)} to {LONGEST}, such as "
                         f"{_LENGTHS}")
    return found


def _read_text(model: str, text: pathlib.Path, thresholds: str, lengths: list[int], sample: int, build: "MemoryBuild",
               take: "Callable[[Task], None]") -> int:
    """Hand over the tokens of a text as a model's heads decode them; return how many heads of keys the model has."""
    from latte.golden.models.extras import require_models

    require_models()
    from latte.golden.models.checkpoint import load_checkpoint
    from latte.golden.models.inputs import text_windows
    from latte.golden.models.long_context import decode_tokens
    from latte.golden.train.threshold_files import load_thresholds

    checkpoint = load_checkpoint(model)
    if not checkpoint.causal or checkpoint.head_dim != build.core.head_dim:
        raise LatteError(f"{checkpoint.name} is no language model with heads of {build.core.head_dim}")
    if lengths[-1] > checkpoint.max_tokens:
        raise LatteError(f"--lengths {lengths[-1]} is more than the model's {checkpoint.max_tokens} tokens")
    window = text_windows(text, checkpoint.tokenizer, lengths[-1])[0]
    learned = load_thresholds(thresholds, *checkpoint.shape)
    decode_tokens(checkpoint, learned, window, lengths, build.core, take, key_heads=str(sample))
    return checkpoint.blocks * checkpoint.heads // checkpoint.heads_per_key


def _embedded(thresholds: str, lengths: list[int], sample: int, prompt: int, build: "MemoryBuild"
              ) -> "Iterator[Task]":
    """Yield tasks of resampled embedded heads."""
    import numpy as np

    from latte.golden.memory.workloads import resampled_tasks
    from latte.golden.requantise import prune_as_learned
    from latte.golden.train.threshold_files import read_thresholds
    from latte.golden.vectors import embedded_vectors

    of_model, learned = read_thresholds(thresholds)
    heads = next(vectors for vectors in embedded_vectors() if vectors.model == _EMBEDDED)
    pruned = prune_as_learned(heads, of_model, pathlib.Path(thresholds).stem, learned)
    chosen = sorted({int(n) for n in np.linspace(0, len(pruned) - 1, min(sample, len(pruned))).round()})
    entries = [pruned.parameters(index, build.core) for index in chosen]
    yield from resampled_tasks(pruned.select(chosen), entries, lengths, 1 if prompt else _SHARING, max(1, prompt))
