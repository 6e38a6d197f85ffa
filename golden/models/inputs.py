"""Images and texts as model inputs, as arrays: decoding, resizing, normalising, cutting in windows."""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from latte.golden.errors import LatteError

__all__ = ["ImageSet", "find_images", "load_images", "text_windows"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
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


def load_images(paths: list[pathlib.Path], size: int) -> np.ndarray:
    """Decode images to normalised pixels.

    An image that is not already `size` square has its shorter side resized to ``size * 256 / 224`` and its centre
    cut out, as the ImageNet protocol does.

    Returns
    -------
    float32 [len(paths), 3, size, size]

    Raises
    ------
    LatteError
        Some cannot be read; the message counts them and names the first.
    """
    from PIL import Image

    pixels, unreadable = [], []
    for path in paths:
        try:
            with Image.open(path) as image:
                pixels.append(_square(image.convert("RGB"), size))
        except (OSError, ValueError, SyntaxError):
            unreadable.append(path)
    if unreadable:
        raise LatteError(f"{len(unreadable)} of {len(paths)} images cannot be read, the first is {unreadable[0].name}; "
                         "remove them or pass --skip-unreadable")
    batch = np.stack(pixels).astype(np.float32) / 255
    return ((batch - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)).transpose(0, 3, 1, 2)


def _square(image: Any, size: int) -> np.ndarray:
    if image.size != (size, size):
        shorter = round(size * 256 / 224)
        scale = shorter / min(image.size)
        image = image.resize([max(shorter, round(side * scale)) for side in image.size], 3)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


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
