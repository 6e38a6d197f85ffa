"""Accuracy and work of a whole model, chunk by chunk: restartable, and the same for any number of Dask workers."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from latte.golden.bit_operations import DENSE_BITOPS
from latte.golden.config import preset
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.hardware import Thresholds
from latte.golden.train.methods import build_method
from latte.golden.train.passes import forward
from latte.golden.train.source import Source, digest
from latte.golden.train.workers import Workers

__all__ = ["Job", "evaluate", "evaluate_chunk", "summarise"]

_CHUNK_FORMAT = "2"
"""Changes when a method's meaning does: chunks kept by older programs are then measured again."""


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
                parts.append(field.name.encode() + (b"" if value is None else np.ascontiguousarray(value).tobytes()))
        return digest(*parts)


def evaluate_chunk(job: Job, start: int, stop: int) -> dict[str, Any]:
    """Measure items `start` to `stop`, as plain values: losses, hits, pairs per head, bit operations."""
    checkpoint, data = job.source.checkpoint(), job.source.dataset()
    config = preset("small", split=job.split).for_head_dim(checkpoint.head_dim)
    method = build_method(job.method, job.thresholds, checkpoint, config)
    inputs, labels = data.batch(np.arange(start, stop))
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


def evaluate(job: Job, *, workers: Workers | None = None, cache: pathlib.Path | None = None,
             progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Measure all items of a job.

    Parameters
    ----------
    workers
        Entered; ``None`` works in this process.
    cache
        Folder in which finished chunks are kept: a run that was cut off continues there.
    progress
        Called with (chunks done, chunks in all).

    Returns
    -------
    As `summarise` returns; of a language model also ``tokens``.
    """
    total = len(job.source.dataset())
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
    for place, result in (workers or Workers()).map(evaluate_chunk, [(job, *ranges[index]) for index in missing]):
        index = missing[place]
        results[index] = result
        if folder is not None:
            path = folder / "{}-{}.json".format(*ranges[index])
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(result))
            partial.replace(path)
        progress(sum(entry is not None for entry in results), len(ranges))
    summary = summarise(results, job.source.checkpoint())
    return summary | ({"tokens": job.source.tokens} if job.source.checkpoint().causal else {})


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
