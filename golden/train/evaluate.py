"""Accuracy and work of a whole model, chunk by chunk: restartable, and the same for any number of Dask workers."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from latte.golden.bit_operations import DENSE_BITOPS
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.models.checkpoint import Checkpoint, load_checkpoint
from latte.golden.models.hardware import Thresholds
from latte.golden.train.data import Dataset, load_dataset
from latte.golden.train.methods import build_method
from latte.golden.train.trainer import forward

__all__ = ["Job", "evaluate", "evaluate_chunk", "summarise"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is measured; two equal jobs give equal results.

    Parameters
    ----------
    model, data, part, tokens, items, skip_unreadable
        As `load_checkpoint` and `load_dataset` take them; the first `items`, or all.
    method
        As `latte.golden.train.methods.build_method` takes it.
    thresholds
    split
    chunk
        Items of one forward pass, and of one task.
    """

    model: str
    data: str
    method: str
    thresholds: Thresholds | None = None
    part: str = "all"
    tokens: int = 1024
    items: int | None = None
    skip_unreadable: bool = False
    split: str = "balanced"
    chunk: int = 10

    def fingerprint(self) -> str:
        """Return a name of the job but for the number of items, for the folder of its chunks."""
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):
            if field.name not in ("thresholds", "items"):
                digest.update(f"{field.name}={getattr(self, field.name)};".encode())
        if self.thresholds is not None:
            for field in dataclasses.fields(self.thresholds):
                value = getattr(self.thresholds, field.name)
                digest.update(field.name.encode() + (b"" if value is None else np.ascontiguousarray(value).tobytes()))
        return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=1)
def _loaded(model: str) -> Checkpoint:
    return load_checkpoint(model)


@functools.lru_cache(maxsize=2)
def _dataset(model: str, data: str, part: str, tokens: int, skip: bool) -> Dataset:
    return load_dataset(_loaded(model), data, part=part, tokens=tokens, skip_unreadable=skip)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Fix the order of sums, which decides their rounding; parallelism comes from workers instead."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def evaluate_chunk(job: Job, start: int, stop: int) -> dict[str, Any]:
    """Measure items `start` to `stop`, as plain values: losses, hits, pairs per head, bit operations."""
    checkpoint = _loaded(job.model)
    data = _dataset(job.model, job.data, job.part, job.tokens, job.skip_unreadable)
    config = preset("small", split=job.split).for_head_dim(checkpoint.head_dim)
    method = build_method(job.method, job.thresholds, checkpoint, config)
    inputs, labels = data.batch(np.arange(start, stop))
    with _one_thread(), torch.inference_mode():
        logits, target = forward(checkpoint, method.handler, inputs), torch.from_numpy(labels)
        if checkpoint.causal:
            shifted = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), target[:, 1:], reduction="none")
            losses, hits = shifted.double().mean(1), torch.zeros(len(inputs))
        else:
            losses = torch.nn.functional.cross_entropy(logits, target, reduction="none").double()
            hits = logits.argmax(-1) == target
    result = {"losses": losses.tolist(), "hits": [int(hit) for hit in hits]}
    if method.counter is not None:
        n = inputs.shape[1] if checkpoint.causal else checkpoint.image_tokens
        heads = checkpoint.blocks * checkpoint.heads
        result |= {"visible": method.counter.visible.tolist(), "kept": method.counter.kept.tolist(),
                   "square": heads * len(inputs) * n * n,
                   "bitops": method.bit_operations(checkpoint.head_dim, heads * len(inputs) * n)}
    return result


def evaluate(job: Job, *, workers: int = 1, scheduler: str | None = None, cache: pathlib.Path | None = None,
             progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Measure all items of a job.

    Parameters
    ----------
    workers
        Local processes; 1 runs in this one.
    scheduler
        Address of a Dask cluster, instead of local processes.
    cache
        Folder in which finished chunks are kept: a run that was cut off continues there.
    progress
        Called with (chunks done, chunks in all).

    Returns
    -------
    As `summarise` returns.
    """
    checkpoint = _loaded(job.model)
    total = len(_dataset(job.model, job.data, job.part, job.tokens, job.skip_unreadable).first(job.items))
    ranges = [(start, min(start + job.chunk, total)) for start in range(0, total, job.chunk)]
    results: list[dict[str, Any] | None] = [None] * len(ranges)
    folder = None if cache is None else cache / job.fingerprint()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for index, (start, stop) in enumerate(ranges):
            path = folder / f"{start}-{stop}.json"
            if path.exists():
                results[index] = json.loads(path.read_text())
    missing = [index for index, result in enumerate(results) if result is None]
    progress(len(ranges) - len(missing), len(ranges))
    for index, result in _run(job, ranges, missing, workers, scheduler):
        results[index] = result
        if folder is not None:
            path = folder / "{}-{}.json".format(*ranges[index])
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(result))
            partial.replace(path)
        progress(sum(entry is not None for entry in results), len(ranges))
    return summarise(results, checkpoint)


def _run(job: Job, ranges: list[tuple[int, int]], missing: list[int], workers: int, scheduler: str | None
         ) -> Iterator[tuple[int, dict[str, Any]]]:
    if not missing:
        return
    if workers == 1 and scheduler is None:
        for index in missing:
            yield index, evaluate_chunk(job, *ranges[index])
        return
    try:
        from dask.distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise LatteError("several workers need the package 'distributed', which is not installed; install it with: "
                         "pip install 'latte[models]', or leave --workers at 1") from None

    with contextlib.ExitStack() as stack:
        try:
            target = scheduler or stack.enter_context(LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50))
            client = stack.enter_context(Client(target, timeout="10s"))
        except (OSError, TimeoutError, ValueError) as error:
            raise LatteError(f"the Dask scheduler {scheduler} cannot be reached ({type(error).__name__}); check the "
                             "address, or leave --scheduler out to use local processes") from None
        futures = {client.submit(evaluate_chunk, job, *ranges[index], pure=False): index for index in missing}
        for future in as_completed(futures):
            yield futures[future], future.result()


def summarise(results: list[dict[str, Any]], checkpoint: Checkpoint) -> dict[str, Any]:
    """Return loss, perplexity or top-1, pruned share and savings over all chunks, in chunk order.

    Returns
    -------
    ``items``, ``loss``, ``ppl`` (language model) or ``top1`` (percent); with a filter also ``pruned`` (valid pairs),
    ``pruned_macro`` (mean over heads), ``bitops_saved`` and ``bitops_saved_n2``.
    """
    losses = [loss for result in results for loss in result["losses"]]
    summary: dict[str, Any] = {"items": len(losses), "loss": float(np.mean(losses))}
    if checkpoint.causal:
        summary["ppl"] = float(np.exp(summary["loss"]))
    else:
        summary["top1"] = 100 * float(np.mean([hit for result in results for hit in result["hits"]]))
    if "visible" in results[0]:
        visible, kept = (np.sum([result[name] for result in results], axis=0) for name in ("visible", "kept"))
        bitops = sum(result["bitops"] for result in results) / checkpoint.head_dim / DENSE_BITOPS
        summary |= {"pruned": float(1 - kept.sum() / visible.sum()),
                    "pruned_macro": float(np.mean(1 - kept / visible)),
                    "bitops_saved": float(1 - bitops / visible.sum()),
                    "bitops_saved_n2": float(1 - bitops / sum(result["square"] for result in results))}
    return summary
