"""Images and texts as model inputs, as arrays: decoding and preprocessing, tokens cut in windows."""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from latte.golden.errors import LatteError
from latte.golden.models.preprocessing import Preprocess

__all__ = ["ImageSet", "find_images", "load_image", "load_images", "text_windows"]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".jpeg2000"}


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Image files and, where the file name starts with one, the index of the class.

    Parameters
    ----------
    paths
        In file name order.
    labels : int64 [len(paths)]
        -1 where the name gives none.
    """

    paths: list[pathlib.Path]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: slice) -> "ImageSet":
        """Return a part of the set."""
        return ImageSet(self.paths[indices], self.labels[indices])


def find_images(source: str | pathlib.Path) -> ImageSet:
    """List the images of a folder, or the one file given.

    Raises
    ------
    LatteError
        The path does not exist or holds no image.
    """
    source = pathlib.Path(source)
    if not source.exists():
        raise LatteError(f"{source}: no such image file or folder")
    paths = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise LatteError(f"{source}: the folder holds no image ({', '.join(sorted(_SUFFIXES))})")
    matches = [re.match(r"(\d+)_", path.name) for path in paths]
    return ImageSet(paths, np.array([int(match.group(1)) if match else -1 for match in matches], np.int64))


def load_image(path: pathlib.Path, preprocess: Preprocess) -> np.ndarray:
    """Decode one image to the pixels that a model reads, float32 [3, size, size].

    Raises
    ------
    LatteError
        It cannot be read, or the preprocessing fails.
    """
    image = _decode(path)
    if image is None:
        raise LatteError(f"{path}: not an image that can be read; give a JPEG, PNG or other common image file")
    return preprocess(image)


def load_images(paths: list[pathlib.Path], preprocess: Preprocess) -> np.ndarray:
    """Decode images to the pixels that a model reads.

    Parameters
    ----------
    preprocess
        The checkpoint's, `latte.golden.models.checkpoint.Checkpoint.preprocess`.

    Returns
    -------
    float32 [len(paths), 3, size, size]

    Raises
    ------
    LatteError
        Some cannot be read; the message counts them and names the first. Or the preprocessing fails.
    """
    images = [_decode(path) for path in paths]
    unreadable = [path for path, image in zip(paths, images, strict=True) if image is None]
    if unreadable:
        raise LatteError(f"{len(unreadable)} of {len(paths)} images cannot be read, the first is {unreadable[0].name}; "
                         "remove them or pass --skip-unreadable")
    return np.stack([preprocess(image) for image in images])


def _decode(path: pathlib.Path) -> Any:
    """Return an RGB image of PIL, None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None


def text_windows(source: str | pathlib.Path, tokenizer: Any, tokens: int) -> np.ndarray:
    """Cut a text in windows that do not overlap; the rest at the end is dropped.

    Returns
    -------
    int64 [windows, tokens]

    Raises
    ------
    LatteError
        The text cannot be read or is shorter than one window, or the model came without a tokenizer.
    """
    source = pathlib.Path(source)
    if tokenizer is None:
        raise LatteError("the checkpoint holds no tokenizer; add its tokenizer files to the model's folder")
    try:
        text = source.read_text(encoding="utf-8")
    except OSError:
        raise LatteError(f"{source}: no such text file") from None
    except UnicodeDecodeError:
        raise LatteError(f"{source}: not a UTF-8 text file") from None
    ids = np.array(tokenizer(text, verbose=False)["input_ids"], np.int64)
    if len(ids) < tokens:
        raise LatteError(f"{source}: {len(ids)} tokens are fewer than the {tokens} of one window; "
                         "give a longer text or a smaller --tokens")
    return ids[: len(ids) // tokens * tokens].reshape(-1, tokens)
