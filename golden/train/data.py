"""What a model is calibrated, trained and measured on: image halves and token windows, addressed by index."""

import dataclasses
import pathlib

import numpy as np

from latte.golden.errors import LatteError
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.inputs import ImageSet, find_images, load_images, text_windows
from latte.golden.models.preprocessing import Preprocess

__all__ = ["Dataset", "Images", "Windows", "load_dataset"]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Token windows of a language model.

    Parameters
    ----------
    tokens : int64 [items, tokens]
    context
        The windows stand one behind the other in a context of so many tokens, and from its beginning again; ``None``:
        each at the beginning of its own.
    """

    tokens: np.ndarray
    context: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (inputs, labels) of some items, which are both the windows."""
        return self.tokens[indices], self.tokens[indices]

    def positions(self, indices: np.ndarray) -> np.ndarray | None:
        """Return the positions of some items' tokens, int64 [items, tokens]; ``None`` if each has its own context."""
        if self.context is None:
            return None
        length = self.tokens.shape[1]
        return indices[:, None] % (self.context // length) * length + np.arange(length)

    def first(self, items: int | None) -> "Windows":
        """Return the first items."""
        return dataclasses.replace(self, tokens=self.tokens[:items])


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of a classifier, decoded when asked for.

    Parameters
    ----------
    files
    preprocess
        The checkpoint's.
    """

    files: ImageSet
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (inputs, labels) of some items."""
        return load_images([self.files.paths[i] for i in indices], self.preprocess), self.files.labels[indices]

    def positions(self, indices: np.ndarray) -> None:
        """Images have none."""

    def first(self, items: int | None) -> "Images":
        """Return the first items."""
        return dataclasses.replace(self, files=self.files.select(slice(items)))


Dataset = Windows | Images
"""Inputs of one model."""


def load_dataset(checkpoint: Checkpoint, data: str | pathlib.Path, *, part: str = "all", tokens: int = 1024,
                 context: int | None = None, skip_unreadable: bool = False) -> Dataset:
    """Open the images of a folder or the windows of a text.

    Parameters
    ----------
    part
        ``all``, or every second item in file order: ``even`` (0, 2, ...) or ``odd``.
    tokens
        Of one window.
    context
        As for `Windows`.
    skip_unreadable
        Leave out image files that cannot be decoded, instead of refusing.

    Raises
    ------
    LatteError
        The data does not fit the model, is too short, or image names carry no class.
    """
    if part not in ("all", "even", "odd"):
        raise LatteError(f"the part must be all, even or odd, not {part!r}")
    chosen = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[part]
    if checkpoint.preprocess is None:  # a language model
        if pathlib.Path(data).is_dir():
            raise LatteError(f"{data}: {checkpoint.name} is a language model and needs a text file, not a folder")
        if not 2 <= tokens <= checkpoint.max_tokens:
            raise LatteError(f"--tokens {tokens} must be from 2 to the model's {checkpoint.max_tokens}")
        if context is not None and not tokens <= context <= checkpoint.max_tokens:
            raise LatteError(f"--context {context} must be from the {tokens} tokens of a window to the model's "
                             f"{checkpoint.max_tokens}")
        if context is not None and context % tokens:
            raise LatteError(f"--context {context} must be a multiple of the {tokens} tokens of a window")
        if context is not None and not checkpoint.rotary:
            raise LatteError(f"--context: {checkpoint.name} has learned positions, so a window is another input "
                             "elsewhere; give longer windows with --tokens")
        return Windows(text_windows(data, checkpoint.tokenizer, tokens)[chosen], context)
    if context is not None:
        raise LatteError(f"--context: {checkpoint.name} classifies images, whose tokens have their places")
    images = find_images(data)
    if skip_unreadable:
        readable = [i for i, path in enumerate(images.paths) if _readable(path, checkpoint.preprocess)]
        if not readable:
            raise LatteError(f"{data}: none of the {len(images)} images can be read")
        images = ImageSet([images.paths[i] for i in readable], images.labels[readable])
    unlabelled = [path.name for path, label in zip(images.paths, images.labels, strict=True)
                  if not 0 <= label < checkpoint.model.config.num_labels]
    if unlabelled:
        raise LatteError(f"{data}: {len(unlabelled)} image names do not start with a class index below "
                         f"{checkpoint.model.config.num_labels} and an underscore, the first is {unlabelled[0]}")
    images = images.select(chosen)
    if not len(images):
        raise LatteError(f"{data}: no image is left in part {part!r}")
    return Images(images, checkpoint.preprocess)


def _readable(path: pathlib.Path, preprocess: Preprocess) -> bool:
    try:
        load_images([path], preprocess)
    except LatteError:
        return False
    return True
