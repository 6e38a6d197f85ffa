"""Accuracy and work of a whole model, chunk by chunk: restartable, and the same for any number of Dask workers."""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from latte.golden.bit_operations import DENSE_BITOPS
from latte.golden.config import preset
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.hook import Handler, float_handler
from latte.golden.results import write_text
from latte.golden.train.methods import Measured, build_method
from latte.golden.train.passes import forward
from latte.golden.train.source import Source, digest
from latte.golden.train.workers import Workers, one_thread

__all__ = ["Chunks", "Job", "evaluate", "evaluate_chunk", "summarise", "time_over_float"]

Chunks = list[dict[str, Any]]
"""What `evaluate_chunk` returned for all chunks of a job, in order."""

_CHUNK_FORMAT = "3"
"""Changes when a method's meaning does: chunks kept by older programs are then measured again."""
SEGMENTS = 8
"""Parts of a text window whose mean losses are compared: 1024 tokens in parts of 128."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is measured; two equal jobs give equal results.

    Parameters
    ----------
    source
    method
        As `latte.golden.train.methods.build_method` takes it.
    thresholds
    split
    chunk
        Items of one forward pass, and of one task.
    """

    source: Source
    method: str
    thresholds: Thresholds | None = None
    split: str = "balanced"
    chunk: int = 10

    def fingerprint(self) -> str:
        """Return a name of the job but for the number of items, for the folder of its chunks."""
        parts: list[str | bytes] = [_CHUNK_FORMAT, self.source.fingerprint(), self.method, self.split, str(self.chunk)]
        table = pathlib.Path(self.method.partition(":")[2])
        parts.append(table.read_bytes() if table.is_file() else b"")
        if self.thresholds is not None:
            for field in dataclasses.fields(self.thresholds):
                value = getattr(self.thresholds, field.name)
                text = str(value).encode() if isinstance(value, str | int) else b""
                parts.append(field.name.encode() + text
                             + (np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else b""))
        return digest(*parts)


def evaluate_chunk(job: Job, start: int, stop: int) -> dict[str, Any]:
    """Measure items `start` to `stop`, as plain values: losses, divergences, hits, pairs per head, bit operations.

    ``losses`` are one per item; ``segments``, losses, and ``divergences`` from the float model are one per image and
    `SEGMENTS` per window of text.
    """
    checkpoint, data = job.source.checkpoint(), job.source.dataset()
    method = _method(job)
    inputs, labels = data.batch(np.arange(start, stop))
    logits, target = forward(checkpoint, _handler(method), inputs), torch.from_numpy(labels)
    if checkpoint.causal:
        logits, target = logits[:, :-1], target[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), target, reduction="none").double()
    result: dict[str, Any] = {"losses": loss.flatten(1).mean(1).tolist() if checkpoint.causal else loss.tolist(),
                              "segments": _by_segment(loss, checkpoint.causal)}
    if not checkpoint.causal:
        result["hits"] = [int(hit) for hit in logits.argmax(-1) == target]
    if method is not None:
        wanted = _float_logits(job.source, start, stop)
        divergence = _divergence(wanted[:, :-1] if checkpoint.causal else wanted, logits)
        result["divergences"] = _by_segment(divergence, checkpoint.causal)
        n = inputs.shape[1] if checkpoint.causal else checkpoint.image_tokens
        heads = checkpoint.blocks * checkpoint.heads
        result |= {"visible": method.counter.visible.tolist(), "kept": method.counter.kept.tolist(),
                   "square": heads * len(inputs) * n * n,
                   "bitops": method.bit_operations(checkpoint.head_dim, heads * len(inputs) * n)}
    return result


def _method(job: Job) -> Measured | None:
    checkpoint = job.source.checkpoint()
    config = preset("small", split=job.split).for_head_dim(checkpoint.head_dim)
    return build_method(job.method, job.thresholds, checkpoint, config)


def _handler(method: Measured | None) -> Handler:
    return float_handler if method is None else method.handler


@functools.lru_cache(maxsize=1)
def _float_logits(source: Source, start: int, stop: int) -> torch.Tensor:
    return forward(source.checkpoint(), float_handler, source.dataset().batch(np.arange(start, stop))[0])


def _divergence(wanted: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of `logits` from the float model's, float64, over the last dimension.

    Row by row, since the logits of a window of text take much memory.
    """
    rows = []
    for a, b in zip(wanted.flatten(0, -2).split(128), logits.flatten(0, -2).split(128), strict=True):
        a, b = a.log_softmax(-1), b.log_softmax(-1)
        rows.append((a.exp() * (a - b)).sum(-1).double())
    return torch.cat(rows).view(wanted.shape[:-1])


def _by_segment(values: torch.Tensor, causal: bool) -> list[float]:
    """Return the values of images, or the means over `SEGMENTS` equal parts of each window of text."""
    if not causal:
        return values.tolist()
    return [float(part.mean()) for window in values for part in window.tensor_split(min(SEGMENTS, len(window)))]


def evaluate(job: Job, *, workers: Workers | None = None, cache: pathlib.Path | None = None,
             progress: Callable[[int, int], None] = lambda done, total: None) -> Chunks:
    """Measure all items of a job.

    Parameters
    ----------
    workers
        Entered; ``None`` works in this process.
    cache
        Folder in which finished chunks are kept: a run that was cut off continues there.
    progress
        Called with (chunks done, chunks in all).
    """
    total = len(job.source.dataset())
    ranges = [(start, min(start + job.chunk, total)) for start in range(0, total, job.chunk)]
    results: dict[tuple[int, int], dict[str, Any]] = {}
    folder = None if cache is None else cache / job.fingerprint()
    if folder is not None:
        for start, stop in ranges:
            # A chunk that is not there, or damaged, is measured.
            with contextlib.suppress(OSError, ValueError):
                results[start, stop] = json.loads((folder / f"{start}-{stop}.json").read_text())
    missing = [place for place in ranges if place not in results]
    progress(len(results), len(ranges))
    for index, result in (workers or Workers()).map(evaluate_chunk, [(job, *place) for place in missing]):
        results[missing[index]] = result
        if folder is not None:
            write_text(folder / "{}-{}.json".format(*missing[index]), json.dumps(result))
        progress(len(results), len(ranges))
    return [results[place] for place in ranges]


def time_over_float(job: Job, rounds: int = 3) -> float:
    """Return how many times as long as the float model a method takes for a job's first chunk, with one thread each.

    Parameters
    ----------
    job
    rounds
        Passes of both in turn, of which the fastest counts: what else the machine does only slows them down.
    """
    checkpoint, data = job.source.checkpoint(), job.source.dataset()
    inputs = data.batch(np.arange(min(job.chunk, len(data))))[0]
    handlers = float_handler, _handler(_method(job))
    fastest = [math.inf, math.inf]
    with one_thread(), torch.inference_mode():
        for _ in range(rounds):
            for which, handler in enumerate(handlers):
                began = time.perf_counter()
                forward(checkpoint, handler, inputs)
                fastest[which] = min(fastest[which], time.perf_counter() - began)
    return fastest[1] / fastest[0]


def summarise(results: Chunks, reference: Chunks, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return loss, perplexity or top-1, pruned share and savings over all chunks, in chunk order.

    Parameters
    ----------
    results
    reference
        Of the same items, with which they are compared pair by pair: the float model, or dense attention.
    checkpoint

    Returns
    -------
    ``items``, ``loss``, ``loss_increase``, ``ppl`` (language model) or ``top1`` and ``top1_drop`` (percent, points);
    with a filter also ``divergence`` (from the float model, nat), ``pruned`` (valid pairs), ``pruned_macro`` (mean over
    heads), ``bitops_saved`` and ``bitops_saved_n2``. ``*_interval`` is half the width of the 95 % interval of the
    paired difference, or of the mean divergence.
    """
    def gather(chunks: Chunks, name: str) -> np.ndarray:
        return np.array([value for chunk in chunks for value in chunk[name]])

    loss, base = gather(results, "losses"), gather(reference, "losses")
    summary: dict[str, Any] = {
        "items": len(loss), "loss": float(loss.mean()), "loss_increase": float((loss - base).mean()),
        "loss_interval": _interval(gather(results, "segments") - gather(reference, "segments"))}
    if checkpoint.causal:
        summary |= {"ppl": float(np.exp(loss.mean())), "ppl_increase": float(np.exp(loss.mean()) - np.exp(base.mean())),
                    "ppl_increase_percent": float(100 * np.expm1(summary["loss_increase"]))}
    else:
        hits, base = gather(results, "hits"), gather(reference, "hits")
        summary |= {"top1": float(100 * hits.mean()), "top1_drop": float(100 * (base - hits).mean()),
                    "top1_interval": 100 * _interval(base - hits)}
    if "visible" in results[0]:
        divergence = gather(results, "divergences")
        visible, kept = (np.sum([result[name] for result in results], axis=0) for name in ("visible", "kept"))
        bitops = sum(result["bitops"] for result in results) / checkpoint.head_dim / DENSE_BITOPS
        summary |= {"divergence": float(divergence.mean()), "divergence_interval": _interval(divergence),
                    "pruned": float(1 - kept.sum() / visible.sum()),
                    "pruned_macro": float(np.mean(1 - kept / visible)),
                    "bitops_saved": float(1 - bitops / visible.sum()),
                    "bitops_saved_n2": float(1 - bitops / sum(result["square"] for result in results))}
    return summary


def _interval(values: np.ndarray) -> float:
    """Return half the width of the 95 % interval of the mean, by its normal approximation."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
