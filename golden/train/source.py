"""A model with its data, by name: small enough to send to a worker, which opens both once."""

import dataclasses
import functools
import hashlib
import pathlib

from latte.golden import distribution
from latte.golden.models.checkpoint import Checkpoint, load_checkpoint
from latte.golden.train.data import Dataset, load_dataset

__all__ = ["Source", "digest"]


@dataclasses.dataclass(frozen=True)
class Source:
    """What is read, as `load_checkpoint` and `load_dataset` take it.

    Parameters
    ----------
    model, data, part, tokens, skip_unreadable, context
    items
        Only the first ones; ``None`` for all.
    """

    model: str
    data: str
    part: str = "all"
    tokens: int = 1024
    items: int | None = None
    skip_unreadable: bool = False
    context: int | None = None

    def checkpoint(self) -> Checkpoint:
        """Return the model, loaded once per process."""
        return _checkpoint(self.model)

    def dataset(self) -> Dataset:
        """Return the chosen items."""
        return _dataset(dataclasses.replace(self, items=None)).first(self.items)

    def fingerprint(self) -> str:
        """Return a text that changes with the source, but for the number of items: names, file sizes and times."""
        fields = dataclasses.replace(self, items=None)
        files = [str(fields), distribution.version()]
        for place in (pathlib.Path(self.model), pathlib.Path(self.data)):
            for path in sorted(place.iterdir()) if place.is_dir() else [place]:
                if path.is_file():
                    status = path.stat()
                    files.append(f"{path}:{status.st_size}:{status.st_mtime_ns}")
        return digest(*files)


@functools.lru_cache(maxsize=1)
def _checkpoint(model: str) -> Checkpoint:
    return load_checkpoint(model)


@functools.lru_cache(maxsize=2)
def _dataset(source: Source) -> Dataset:
    return load_dataset(source.checkpoint(), source.data, part=source.part, tokens=source.tokens,
                        context=source.context, skip_unreadable=source.skip_unreadable)


def digest(*parts: str | bytes) -> str:
    """Return a short name of some texts and bytes."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return whole.hexdigest()[:16]
