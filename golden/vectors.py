"""Vector files: int8 Q, K, V of real heads with scales, thresholds, gains and key groups (DESIGN section 3)."""

import dataclasses
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.key_groups import GROUP_BITS_MAX, ONE_GROUP, KeyGroups
from latte.golden.pruned_mass import GAIN_FRAC_BITS, GAIN_MAX, NO_COMPENSATION, Gains
from latte.golden.thresholds import ThresholdKind
from latte.golden.whole_file import whole_file

__all__ = ["ARCHIVE_ERRORS", "VectorSet", "embedded_vectors", "load_vectors", "save_vectors"]

_ARRAYS = {
    "q": (np.int8, 3), "k": (np.int8, 3), "v": (np.int8, 3),
    "q_scale": (np.float32, 1), "k_scale": (np.float32, 1), "v_scale": (np.float32, 1), "tau": (np.float32, 1),
    "block": (np.int32, 1), "head": (np.int32, 1),
}
ARCHIVE_ERRORS = (OSError, ValueError, EOFError, SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error,
                  struct.error)
"""What zipfile and NumPy raise on a damaged or foreign archive."""
_OPTIONAL = {
    "tau_per_octave": (np.float32, 1), "denominator_gain": (np.float32, 1), "mean_gain": (np.float32, 1),
    "group_elements": (np.int32, 2), "group_cuts": (np.float32, 2),
}
_PAIRS = (("denominator_gain", "mean_gain"), ("group_elements", "group_cuts"))
_REFUSED = {"mask": "masks are not followed: a head sees all keys, or those up to its own position if 'causal'"}


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """Activations of the heads of one forward pass.

    Parameters
    ----------
    q, k, v : int8 [H, n, d]
    q_scale, k_scale, v_scale : float32 [H]
    tau : float32 [H]
        Units of the scaled score, natural exponent, as `threshold` takes it.
    causal
    block, head : int32 [H]
    model
        The model's name, for tables.
    threshold
        Kind of all heads' thresholds.
    tau_per_octave : float32 [H] or None
        Added for every octave of the row's length; ``None`` is 0.
    denominator_gain, mean_gain : float32 [H] or None
        Of the pruned mass; ``None`` for both is no compensation.
    group_elements : int32 [H, bits] or None
    group_cuts : float32 [H, bits] or None
        Key groups, cuts in real units of K; ``None`` for both is one group.
    """

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_scale: np.ndarray
    k_scale: np.ndarray
    v_scale: np.ndarray
    tau: np.ndarray
    causal: bool
    block: np.ndarray
    head: np.ndarray
    model: str
    threshold: ThresholdKind = ThresholdKind.RELATIVE
    tau_per_octave: np.ndarray | None = None
    denominator_gain: np.ndarray | None = None
    mean_gain: np.ndarray | None = None
    group_elements: np.ndarray | None = None
    group_cuts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.q)

    @property
    def keys(self) -> int:
        """Keys of each head, ``n``."""
        return self.q.shape[1]

    def of_model(self, model: str) -> bool:
        """Return whether the vectors are of a model: named as it, or with a suffix behind its name."""
        return self.model == model or self.model.startswith(f"{model}-")

    def names(self) -> list[str]:
        """Return ``<model>.block<b>.head<h>`` for each head."""
        return [f"{self.model}.block{b}.head{h}" for b, h in zip(self.block, self.head, strict=True)]

    def parameters(self, index: int, config: AttentionConfig) -> HeadParameters:
        """Return the register file entry of head `index`."""
        q_scale, k_scale = float(self.q_scale[index]), float(self.k_scale[index])
        gains, groups = NO_COMPENSATION, ONE_GROUP
        if self.denominator_gain is not None and self.mean_gain is not None:
            gains = Gains.encode(float(self.denominator_gain[index]), float(self.mean_gain[index]))
        if self.group_elements is not None and self.group_cuts is not None:
            groups = KeyGroups.encode(self.group_elements[index], self.group_cuts[index], k_scale)
        slope = 0.0 if self.tau_per_octave is None else float(self.tau_per_octave[index])
        return HeadParameters.encode(float(self.tau[index]), q_scale, k_scale, config, kind=self.threshold,
                                     tau_per_octave=slope, gains=gains, groups=groups)

    def select(self, indices: list[int]) -> "VectorSet":
        """Return the heads at `indices`, in that order."""
        arrays = {name: getattr(self, name) for name in (*_ARRAYS, *_OPTIONAL)}
        return dataclasses.replace(self, **{name: array[indices] for name, array in arrays.items()
                                            if array is not None})

    def check_fits(self, config: AttentionConfig) -> None:
        """Raise `LatteError` if a head cannot be held by a build of `config`."""
        if self.q.shape[2] != config.head_dim:
            raise LatteError(f"'q' has head_dim {self.q.shape[2]}, but the configuration {config.name!r} is built "
                             f"for {config.head_dim}; choose --head-dim {self.q.shape[2]}")
        if self.keys > config.max_seq_len:
            raise LatteError(f"'k' has {self.keys} keys, but the configuration {config.name!r} holds at most "
                             f"{config.max_seq_len}; choose more with --max-seq-len")


def load_vectors(path: str | pathlib.Path) -> VectorSet:
    """Read and validate a vector file.

    Raises
    ------
    LatteError
        The file cannot be read or breaks the format; the message names the file and the key.
    """
    path = pathlib.Path(path)
    try:
        if not zipfile.is_zipfile(path) and path.exists():
            raise LatteError(f"{path}: not an .npz archive of named arrays, or cut short")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            data = {}
            for key, reason in _REFUSED.items():
                if key in archive.files:
                    raise LatteError(f"{path}: key {key!r}: {reason}; leave it out")
            for key in (*_ARRAYS, "causal", "model", "threshold", *_OPTIONAL):
                if key not in archive.files:
                    if key == "threshold" or key in _OPTIONAL:
                        continue
                    raise LatteError(f"{path}: key {key!r} is missing")
                try:
                    data[key] = archive[key]
                except (*ARCHIVE_ERRORS, MemoryError) as error:
                    raise LatteError(f"{path}: key {key!r} cannot be read ({_reason(error)}); "
                                     "pickled objects are not accepted") from None
    except LatteError:
        raise
    except FileNotFoundError:
        raise LatteError(f"{path}: no such vector file") from None
    except ARCHIVE_ERRORS as error:
        raise LatteError(f"{path}: not a readable .npz archive ({_reason(error)})") from None
    try:
        return _validate(data)
    except LatteError as error:
        raise LatteError(f"{path}: {error}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _validate(data: dict[str, np.ndarray]) -> VectorSet:
    optional = {key: form for key, form in _OPTIONAL.items() if key in data}
    for first, second in _PAIRS:
        if (first in data) != (second in data):
            raise LatteError(f"keys {first!r} and {second!r} belong together: give both or none")
    for key, (dtype, ndim) in (_ARRAYS | optional).items():
        if data[key].dtype != dtype:
            raise LatteError(f"key {key!r} must be {np.dtype(dtype).name}, not {data[key].dtype}")
        if data[key].ndim != ndim:
            raise LatteError(f"key {key!r} must have {ndim} dimensions, not shape {data[key].shape}")
    heads, keys, _ = shape = data["q"].shape
    if 0 in shape:
        raise LatteError(f"key 'q' is empty: shape {shape}")
    bits = data["group_elements"].shape[1] if "group_elements" in data else 0
    for key, (_, ndim) in (_ARRAYS | optional).items():
        expected = {1: (heads,), 2: (heads, bits), 3: shape}[ndim]
        if data[key].shape != expected:
            raise LatteError(f"key {key!r} must have shape {expected}, not {data[key].shape}, where 'q' has {shape}")
    for key in ("q_scale", "k_scale", "v_scale"):
        if not (np.isfinite(data[key]).all() and (data[key] > 0).all()):
            raise LatteError(f"key {key!r} must be finite and positive for every head")
    for key in ("causal", "model", "threshold"):
        wanted, kind = ("bool", "b") if key == "causal" else ("string", "U")
        if key in data and (data[key].dtype.kind != kind or data[key].ndim != 0):
            raise LatteError(f"key {key!r} must be one {wanted}, not {data[key].dtype} {data[key].shape}")
    threshold = ThresholdKind.parse(str(data.get("threshold", "relative")))
    _check_thresholds(data, threshold)
    for key in ("block", "head"):
        if (data[key] < 0).any():
            raise LatteError(f"key {key!r} must not be negative")
    arrays = {key: data[key] for key in (*_ARRAYS, *optional)}
    return VectorSet(causal=bool(data["causal"]), model=str(data["model"]), threshold=threshold, **arrays)


def _check_thresholds(data: dict[str, np.ndarray], threshold: ThresholdKind) -> None:
    """Raise `LatteError` unless thresholds, gains and groups have values that registers can hold."""
    if np.isnan(data["tau"]).any() or (threshold is not ThresholdKind.ABSOLUTE and (data["tau"] < 0).any()):
        allowed = "a number" if threshold is ThresholdKind.ABSOLUTE else "zero, positive or +inf"
        raise LatteError(f"key 'tau' must be {allowed} for every head, for thresholds of kind {threshold}")
    if "tau_per_octave" in data and not np.isfinite(data["tau_per_octave"]).all():
        raise LatteError("key 'tau_per_octave' must be finite for every head")
    if "mean_gain" in data:
        denominator, mean = data["denominator_gain"], data["mean_gain"]
        largest = GAIN_MAX / (1 << GAIN_FRAC_BITS)
        if not ((mean >= 0) & (mean <= denominator) & (denominator <= largest)).all():
            raise LatteError(f"keys 'denominator_gain' and 'mean_gain' must satisfy 0 <= mean <= denominator <= "
                             f"{largest:.3f} for every head")
    if "group_elements" in data:
        elements, dims = data["group_elements"], data["q"].shape[2]
        if elements.shape[1] > GROUP_BITS_MAX:
            raise LatteError(f"key 'group_elements' has {elements.shape[1]} elements per head; at most "
                             f"{GROUP_BITS_MAX} are compared")
        if (elements < 0).any() or (elements >= dims).any():
            raise LatteError(f"key 'group_elements' must lie from 0 to {dims - 1}, the elements of 'k'")
        if not np.isfinite(data["group_cuts"]).all():
            raise LatteError("key 'group_cuts' must be finite for every head")


def save_vectors(path: str | pathlib.Path, vectors: VectorSet) -> None:
    """Write a vector file, whole or not at all."""
    path = pathlib.Path(path)
    data: dict[str, Any] = {key: np.ascontiguousarray(getattr(vectors, key), dtype) for key, (dtype, _) in
                            (_ARRAYS | _OPTIONAL).items() if getattr(vectors, key) is not None}
    data |= {"causal": np.bool_(vectors.causal), "model": np.str_(vectors.model)}
    if vectors.threshold is not ThresholdKind.RELATIVE:
        data["threshold"] = np.str_(vectors.threshold)
    _validate({key: np.asarray(value) for key, value in data.items()})
    with whole_file(path) as file:
        np.savez_compressed(file, **data)


def embedded_vectors() -> Iterator[VectorSet]:
    """Yield the vector sets that travel with the package, in file name order."""
    folder = pathlib.Path(__file__).parent / "data"
    for path in sorted(folder.glob("*.npz")):
        yield load_vectors(path)
