"""Vector files: int8 Q, K, V of real heads with scales and thresholds (DESIGN section 3)."""

import dataclasses
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["VectorSet", "embedded_vectors", "load_vectors", "save_vectors"]

_ARRAYS = {
    "q": (np.int8, 3), "k": (np.int8, 3), "v": (np.int8, 3),
    "q_scale": (np.float32, 1), "k_scale": (np.float32, 1), "v_scale": (np.float32, 1), "tau": (np.float32, 1),
    "block": (np.int32, 1), "head": (np.int32, 1),
}
_READ_ERRORS = (OSError, ValueError, EOFError, SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
"""What zipfile and NumPy raise on a damaged or foreign archive."""


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """Activations of the heads of one forward pass.

    Parameters
    ----------
    q, k, v : int8 [H, n, d]
    q_scale, k_scale, v_scale : float32 [H]
    tau : float32 [H]
        Scaled score, natural exponent; +inf keeps every key.
    causal
    block, head : int32 [H]
    model
        The model's name, for tables.
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

    def __len__(self) -> int:
        return len(self.q)

    @property
    def keys(self) -> int:
        """Keys of each head, ``n``."""
        return self.q.shape[1]

    def names(self) -> list[str]:
        """Return ``<model>.block<b>.head<h>`` for each head."""
        return [f"{self.model}.block{b}.head{h}" for b, h in zip(self.block, self.head, strict=True)]

    def parameters(self, index: int, config: AttentionConfig) -> HeadParameters:
        """Return the register file entry of head `index`."""
        return HeadParameters.encode(float(self.tau[index]), float(self.q_scale[index]), float(self.k_scale[index]),
                                     config)

    def select(self, indices: list[int]) -> "VectorSet":
        """Return the heads at `indices`, in that order."""
        arrays = {name: getattr(self, name)[indices] for name in _ARRAYS}
        return dataclasses.replace(self, **arrays)

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
            if "mask" in archive.files:
                raise LatteError(f"{path}: key 'mask' is not followed: a head sees every key, or with 'causal' those "
                                 "up to its own position; remove the key if it says nothing else")
            data = {}
            for key in (*_ARRAYS, "causal", "model"):
                if key not in archive.files:
                    raise LatteError(f"{path}: key {key!r} is missing")
                try:
                    data[key] = archive[key]
                except (*_READ_ERRORS, MemoryError) as error:
                    raise LatteError(f"{path}: key {key!r} cannot be read ({_reason(error)}); "
                                     "pickled objects are not accepted") from None
    except LatteError:
        raise
    except FileNotFoundError:
        raise LatteError(f"{path}: no such vector file") from None
    except _READ_ERRORS as error:
        raise LatteError(f"{path}: not a readable .npz archive ({_reason(error)})") from None
    try:
        return _validate(data)
    except LatteError as error:
        raise LatteError(f"{path}: {error}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _validate(data: dict[str, np.ndarray]) -> VectorSet:
    for key, (dtype, ndim) in _ARRAYS.items():
        if data[key].dtype != dtype:
            raise LatteError(f"key {key!r} must be {np.dtype(dtype).name}, not {data[key].dtype}")
        if data[key].ndim != ndim:
            raise LatteError(f"key {key!r} must have {ndim} dimensions, not shape {data[key].shape}")
    heads, keys, _ = shape = data["q"].shape
    if 0 in shape:
        raise LatteError(f"key 'q' is empty: shape {shape}")
    for key, (_, ndim) in _ARRAYS.items():
        expected = shape if ndim == 3 else (heads,)
        if data[key].shape != expected:
            raise LatteError(f"key {key!r} must have shape {expected} like 'q', not {data[key].shape}")
    for key in ("q_scale", "k_scale", "v_scale"):
        if not (np.isfinite(data[key]).all() and (data[key] > 0).all()):
            raise LatteError(f"key {key!r} must be finite and positive for every head")
    if np.isnan(data["tau"]).any() or (data["tau"] < 0).any():
        raise LatteError("key 'tau' must be zero, positive or +inf for every head")
    for key in ("block", "head"):
        if (data[key] < 0).any():
            raise LatteError(f"key {key!r} must not be negative")
    if data["causal"].dtype != np.bool_ or data["causal"].ndim != 0:
        raise LatteError(f"key 'causal' must be one bool, not {data['causal'].dtype} {data['causal'].shape}")
    if data["model"].dtype.kind != "U" or data["model"].ndim != 0:
        raise LatteError(f"key 'model' must be one string, not {data['model'].dtype} {data['model'].shape}")
    arrays = {key: data[key] for key in _ARRAYS}
    return VectorSet(causal=bool(data["causal"]), model=str(data["model"]), **arrays)


def save_vectors(path: str | pathlib.Path, vectors: VectorSet) -> None:
    """Write a vector file, whole or not at all."""
    path = pathlib.Path(path)
    data = {key: np.ascontiguousarray(getattr(vectors, key), dtype) for key, (dtype, _) in _ARRAYS.items()}
    data |= {"causal": np.bool_(vectors.causal), "model": np.str_(vectors.model)}
    _validate({key: np.asarray(value) for key, value in data.items()})
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **data)
    partial.replace(path)


def embedded_vectors() -> Iterator[VectorSet]:
    """Yield the vector sets that travel with the package, in file name order."""
    folder = pathlib.Path(__file__).parent / "data"
    for path in sorted(folder.glob("*.npz")):
        yield load_vectors(path)
