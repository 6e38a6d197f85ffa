"""Passes of a model over calibration data: statistics of every attention, chunk by chunk, on any workers.

A collector looks at the attentions of one chunk and returns arrays. Chunks are merged in their order, so the result
does not depend on who computed them, and are kept in a folder, so that a pass that was cut off continues.
"""

import dataclasses
import pathlib
import pickle
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.extraction import model_inputs
from latte.golden.models.hook import Handler, replaced_attention
from latte.golden.train.data import Dataset
from latte.golden.train.source import Source, digest
from latte.golden.train.threshold_files import write_arrays
from latte.golden.train.workers import Workers
from latte.golden.vectors import ARCHIVE_ERRORS

__all__ = ["Arrays", "Collector", "LocalPasses", "Passes", "SourcePasses", "forward"]

Arrays = dict[str, np.ndarray]


class Collector(Protocol):
    """Statistics of a pass; a small picklable object, equal for equal settings."""

    def begin(self, checkpoint: Checkpoint) -> tuple[Handler, Callable[[], Arrays]]:
        """Return an attention handler for one chunk, and what returns its statistics afterwards."""

    def merge(self, chunks: list[Arrays]) -> Arrays:
        """Return the statistics of all chunks, given in the order of the data."""


class Passes(Protocol):
    """A model and its data, over which collectors pass."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model."""

    def run(self, collector: Collector) -> Arrays:
        """Return the collector's statistics over all data."""

    def first(self, items: int) -> "Passes":
        """Return passes over the first items only."""


def forward(checkpoint: Checkpoint, handler: Handler, inputs: np.ndarray, positions: np.ndarray | None = None
            ) -> torch.Tensor:
    """Return the logits of a forward pass with every attention run by `handler`; inputs as `model_inputs` has them."""
    with replaced_attention(checkpoint.model, handler):
        return checkpoint.model(**model_inputs(checkpoint, inputs, positions)).logits


def _collect(checkpoint: Checkpoint, data: Dataset, collector: Collector, start: int, stop: int) -> Arrays:
    handler, result = collector.begin(checkpoint)
    with torch.inference_mode():
        items = np.arange(start, stop)
        forward(checkpoint, handler, data.batch(items)[0], data.positions(items))
    return result()


@dataclasses.dataclass(frozen=True)
class LocalPasses:
    """Passes in this process over a model in memory, on whatever device it is.

    Parameters
    ----------
    checkpoint, data
    chunk
        Items of a forward pass.
    """

    checkpoint: Checkpoint
    data: Dataset
    chunk: int = 8

    def run(self, collector: Collector) -> Arrays:
        """Return the collector's statistics over all data."""
        return collector.merge([
            _collect(self.checkpoint, self.data, collector, start, min(start + self.chunk, len(self.data)))
            for start in range(0, len(self.data), self.chunk)])

    def first(self, items: int) -> "LocalPasses":
        """Return passes over the first items only."""
        return dataclasses.replace(self, data=self.data.first(items))


@dataclasses.dataclass(frozen=True)
class SourcePasses:
    """Passes on workers, which open model and data themselves.

    Parameters
    ----------
    source
    chunk
        Items of a forward pass, and of one task.
    workers
        Entered.
    cache
        Folder for finished chunks, or ``None``.
    progress
        Called with (chunks done, chunks in all) of the present pass.
    """

    source: Source
    chunk: int = 8
    workers: Workers = dataclasses.field(default_factory=Workers)
    cache: pathlib.Path | None = None
    progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def checkpoint(self) -> Checkpoint:
        """The model, as loaded in this process."""
        return self.source.checkpoint()

    def first(self, items: int) -> "SourcePasses":
        """Return passes over the first items only."""
        return dataclasses.replace(self, source=dataclasses.replace(self.source, items=items))

    def run(self, collector: Collector) -> Arrays:
        """Return the collector's statistics over all data."""
        total = len(self.source.dataset())
        ranges = [(start, min(start + self.chunk, total)) for start in range(0, total, self.chunk)]
        folder = None
        if self.cache is not None:
            folder = self.cache / digest(self.source.fingerprint(), str(self.chunk), pickle.dumps(collector))
            folder.mkdir(parents=True, exist_ok=True)
        chunks = {place: kept for place in ranges if (kept := _load(folder, place)) is not None}
        missing = [place for place in ranges if place not in chunks]
        self.progress(len(chunks), len(ranges))
        for index, arrays in self.workers.map(_collect_source, [(self.source, collector, *place) for place in missing]):
            chunks[missing[index]] = arrays
            _keep(folder, missing[index], arrays)
            self.progress(len(chunks), len(ranges))
        return collector.merge([chunks[place] for place in ranges])


def _collect_source(source: Source, collector: Collector, start: int, stop: int) -> Arrays:
    return _collect(source.checkpoint(), source.dataset(), collector, start, stop)


def _load(folder: pathlib.Path | None, place: tuple[int, int]) -> Arrays | None:
    """Return a chunk that was kept, None if there is none or if it is damaged: it is then collected again."""
    if folder is None:
        return None
    try:
        with (folder / "{}-{}.npz".format(*place)).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except ARCHIVE_ERRORS:
        return None


def _keep(folder: pathlib.Path | None, place: tuple[int, int], arrays: Arrays) -> None:
    if folder is not None:
        write_arrays(folder / "{}-{}.npz".format(*place), arrays)
