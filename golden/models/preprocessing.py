"""From a decoded image to the pixels that an image classifier was trained on.

A checkpoint's own ``preprocessor_config.json`` decides, carried out by transformers' image processor. A checkpoint
without one gets the ImageNet protocol.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from transformers import AutoImageProcessor
from transformers.utils import IMAGE_PROCESSOR_NAME, cached_file

from latte.golden.errors import LatteError

__all__ = ["ImagenetProtocol", "Preprocess", "find_preprocessing"]

Preprocess = Callable[[Any], np.ndarray]
"""From an RGB ``PIL.Image`` to pixels, float32 [3, size, size]."""

_NAMES_OF_CLASSES = {"image_processor_type", "feature_extractor_type", "processor_class"}
_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, ArithmeticError)
"""What transformers raises on a broken file and on values that make no sense."""


@dataclasses.dataclass(frozen=True)
class ImagenetProtocol:
    """Shorter side to ``size * 256 / 224`` (bicubic), centre cut out, ImageNet's mean and deviation.

    An image that is already `size` square is neither resized nor cut.

    Parameters
    ----------
    size
        Side of the model's input, in pixels.
    """

    size: int
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __call__(self, image: Any) -> np.ndarray:
        """Return the pixels of an RGB image."""
        size = self.size
        if image.size != (size, size):
            shorter = round(size * 256 / 224)
            scale = shorter / min(image.size)
            image = image.resize([max(shorter, round(side * scale)) for side in image.size], 3)
            left, top = ((side - size) // 2 for side in image.size)
            image = image.crop((left, top, left + size, top + size))
        scaled = np.asarray(image).astype(np.float32) / 255
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return ((scaled - mean) / std).transpose(2, 0, 1)


@dataclasses.dataclass(frozen=True)
class CheckpointProcessor:
    """The image processor of a checkpoint.

    Parameters
    ----------
    processor
        Of transformers.
    source
        The file, for messages.
    size
        Side of the model's input, in pixels.
    """

    processor: Any
    source: str
    size: int

    def __call__(self, image: Any) -> np.ndarray:
        """Return the pixels of an RGB image."""
        try:
            pixels = self.processor(image, data_format="channels_first", return_tensors="np")["pixel_values"][0]
        except _ERRORS as error:
            raise LatteError(f"{self.source} cannot be followed ({_reason(error)}); mend it, or remove it to get the "
                             "ImageNet protocol") from None
        if pixels.shape != (3, self.size, self.size):
            raise LatteError(f"{self.source} makes pixels of shape {pixels.shape} from an image of {image.width} x "
                             f"{image.height}, but the model reads 3 x {self.size} x {self.size}; mend its size, "
                             "crop_size, do_resize and do_center_crop")
        if not np.isfinite(pixels).all():
            raise LatteError(f"{self.source} makes pixels that are not finite; mend its image_std and rescale_factor")
        return pixels.astype(np.float32)


def find_preprocessing(source: str, size: int) -> Preprocess:
    """Return the preprocessing of a checkpoint: its own, or the ImageNet protocol if it holds none.

    Parameters
    ----------
    source
        Folder or hub name.
    size
        Side of the model's input, in pixels.

    Raises
    ------
    LatteError
        There is a ``preprocessor_config.json``, but it cannot be read, or asks for a step that is not known.
    """
    if pathlib.Path(source).is_dir():
        path = pathlib.Path(source) / IMAGE_PROCESSOR_NAME
        found = path if path.exists() else None
    else:
        found = cached_file(source, IMAGE_PROCESSOR_NAME, _raise_exceptions_for_gated_repo=False,
                            _raise_exceptions_for_missing_entries=False,
                            _raise_exceptions_for_connection_errors=False)
    if found is None:
        return ImagenetProtocol(size)
    where = f"{source}: {IMAGE_PROCESSOR_NAME}"
    try:
        fields = json.loads(pathlib.Path(found).read_text())
        if not isinstance(fields, dict):
            raise ValueError("not a table of fields")
        # The same library for everybody: torchvision, if it is installed, resizes to other pixels.
        processor = AutoImageProcessor.from_pretrained(source, backend="pil")
    except _ERRORS as error:
        raise LatteError(f"{where} cannot be read ({_reason(error)}); mend it, or remove it to get the ImageNet "
                         "protocol") from None
    known = set(processor.valid_kwargs.__annotations__) | _NAMES_OF_CLASSES
    unknown = [name for name, value in fields.items() if name not in known and value not in (None, False)]
    if unknown:
        raise LatteError(f"{where} sets {unknown[0]} = {fields[unknown[0]]!r}, which {type(processor).__name__} "
                         "does not follow; remove the field if it has no effect on the pixels")
    return CheckpointProcessor(processor, where, size)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(". ") or type(error).__name__
