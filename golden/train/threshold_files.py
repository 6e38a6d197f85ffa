"""Files of thresholds: what a model's heads were trained or calibrated to, and those that travel with the package."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from latte.golden.errors import LatteError
from latte.golden.key_groups import GROUP_BITS_MAX
from latte.golden.model_thresholds import Thresholds
from latte.golden.thresholds import ThresholdKind
from latte.golden.top_theta import ThetaTables
from latte.golden.whole_file import whole_file

__all__ = ["SHIPPED", "find_thresholds", "load_theta", "load_thresholds", "read_arrays", "read_thresholds",
           "save_theta", "save_thresholds", "shipped_thresholds", "write_arrays"]

SHIPPED = pathlib.Path(__file__).parent / "thresholds"
"""Folder of the thresholds that travel with the package, by model."""

_ARRAYS = tuple(field.name for field in dataclasses.fields(Thresholds) if field.name not in ("kind", "estimate_bits"))


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray | np.generic]) -> None:
    """Write an .npz file, whole or not at all."""
    with whole_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_arrays(path: str | pathlib.Path, kind: str) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file of some `kind`; a file that is none raises `LatteError`."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
        if str(data["kind"]) != kind:
            raise LatteError(f"{path}: holds {data['kind']}, not {kind}")
    except LatteError:
        raise
    except FileNotFoundError:
        raise LatteError(f"{path}: no such {kind} file") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LatteError(f"{path}: not a readable {kind} file ({reason})") from None
    return data


def shipped_thresholds() -> list[str]:
    """Return the names of the thresholds that travel with the package, ``model/name``."""
    return sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.glob("*/*.npz"))


def find_thresholds(name: str | pathlib.Path) -> pathlib.Path:
    """Return the file of a path, or of a shipped name such as ``deit_tiny/best_90``.

    Raises
    ------
    LatteError
        There is neither such a file nor such a name.
    """
    path = pathlib.Path(name)
    if path.exists():
        return path
    if path.as_posix() in shipped_thresholds():
        return SHIPPED / f"{path.as_posix()}.npz"
    if path.suffix == ".npz":
        raise LatteError(f"{path}: no such thresholds file")
    raise LatteError(f"{name}: neither a thresholds file nor the name of shipped thresholds, which are "
                     f"{', '.join(shipped_thresholds())}")


def save_thresholds(path: str | pathlib.Path, thresholds: Thresholds, model: str, about: dict[str, Any]) -> None:
    """Write thresholds, gains and scales of a model, whole or not at all.

    Parameters
    ----------
    model
        Short name of the checkpoint.
    about
        How they came to be, as plain values.
    """
    arrays = {name: np.asarray(getattr(thresholds, name)) for name in _ARRAYS
              if getattr(thresholds, name) is not None}
    write_arrays(pathlib.Path(path), arrays | {
        "kind": np.str_("thresholds"), "threshold": np.str_(thresholds.kind),
        "estimate_bits": np.int64(thresholds.estimate_bits), "model": np.str_(model),
        "about": np.str_(json.dumps(about))})


def read_thresholds(path: str | pathlib.Path) -> tuple[str, Thresholds]:
    """Read a file, or shipped thresholds by name, and return (the model's short name, its thresholds).

    A file that does not name the kind of its thresholds holds relative ones.

    Raises
    ------
    LatteError
        The file cannot be read or is damaged.
    """
    path = find_thresholds(path)
    data = read_arrays(path, "thresholds")
    try:
        kind = ThresholdKind.parse(str(data.get("threshold", "relative")))
    except LatteError as error:
        raise LatteError(f"{path}: {error}") from None
    thresholds = Thresholds(kind=kind, estimate_bits=int(data.get("estimate_bits", 4)),
                            **{name: data[name] for name in _ARRAYS if name in data})
    _check(path, thresholds)
    return str(data["model"]), thresholds


def load_thresholds(path: str | pathlib.Path, model: str, blocks: int, heads: int, head_dim: int) -> Thresholds:
    """Read the thresholds of a model, as `read_thresholds` does.

    Raises
    ------
    LatteError
        The file cannot be read, is damaged, or belongs to another model.
    """
    path = find_thresholds(path)
    of_model, thresholds = read_thresholds(path)
    if of_model != model:
        raise LatteError(f"{path}: thresholds of {of_model}, not of {model}")
    if thresholds.tau.shape != (blocks, heads):
        raise LatteError(f"{path}: thresholds of {thresholds.tau.shape[0]} x {thresholds.tau.shape[1]} heads, but "
                         f"{model} has {blocks} x {heads}")
    elements, offset = thresholds.group_elements, thresholds.key_offset
    if (elements is not None and (elements >= head_dim).any()) or (
            offset is not None and offset.shape[-1] != head_dim):
        raise LatteError(f"{path}: its key groups or smoothing are for another head_dim than the {head_dim} of {model}")
    return thresholds


def _check(path: str | pathlib.Path, thresholds: Thresholds) -> None:
    """Raise `LatteError` unless the arrays have values that registers can hold."""
    tau, heads = thresholds.tau, thresholds.tau.shape
    if np.isnan(tau).any() or (thresholds.kind is not ThresholdKind.ABSOLUTE and (tau < 0).any()):
        raise LatteError(f"{path}: a threshold is NaN, or negative where its kind, {thresholds.kind}, has none; "
                         "calibrate or train again")
    if thresholds.estimate_bits not in (2, 3, 4):
        raise LatteError(f"{path}: thresholds for an estimate of {thresholds.estimate_bits} bits; 2, 3 and 4 are known")
    for first, second in (("denominator_gain", "mean_gain"), ("group_elements", "group_cuts"),
                          ("key_offset", "channel_scale")):
        if (getattr(thresholds, first) is None) != (getattr(thresholds, second) is None):
            raise LatteError(f"{path}: {first} and {second} belong together; calibrate or train again")
    for name in ("tau_per_octave", "denominator_gain", "mean_gain", "q_scale", "k_scale", "v_scale"):
        values = getattr(thresholds, name)
        if values is not None and (values.shape != heads or not np.isfinite(values).all()
                                   or ("scale" in name and (values <= 0).any())):
            raise LatteError(f"{path}: {name} is damaged; calibrate or train again")
    denominator, mean = thresholds.denominator_gain, thresholds.mean_gain
    if denominator is not None and mean is not None and not ((mean >= 0) & (mean <= denominator)).all():
        raise LatteError(f"{path}: the gains are damaged, 0 <= mean <= denominator must hold; calibrate or train again")
    offset, scale = thresholds.key_offset, thresholds.channel_scale
    if offset is not None and scale is not None and (
            offset.shape != scale.shape or offset.shape[:-1] != heads or not (scale > 0).all()
            or not np.isfinite([offset, scale]).all()):
        raise LatteError(f"{path}: the smoothing is damaged, every head needs a finite key_offset and a positive "
                         "channel_scale for each element; calibrate or train again")
    elements, cuts = thresholds.group_elements, thresholds.group_cuts
    if elements is not None and cuts is not None and (
            elements.shape != cuts.shape or elements.shape[:-1] != heads or elements.shape[-1] > GROUP_BITS_MAX
            or elements.dtype != np.int64 or (elements < 0).any() or not np.isfinite(cuts).all()):
        raise LatteError(f"{path}: the key groups are damaged; every head needs as many elements as cuts, at most "
                         f"{GROUP_BITS_MAX}; calibrate or train again")


def save_theta(path: str | pathlib.Path, tables: ThetaTables, model: str) -> None:
    """Write Top-Theta's tables of a model, [blocks, heads(, lengths)] each."""
    write_arrays(pathlib.Path(path), {"kind": np.str_("top-theta"), "model": np.str_(model),
                                      **dataclasses.asdict(tables)})


def load_theta(path: str | pathlib.Path, model: str, blocks: int, heads: int) -> ThetaTables:
    """Read Top-Theta's tables.

    Raises
    ------
    LatteError
        The file cannot be read, or belongs to another model.
    """
    data = read_arrays(path, "top-theta")
    missing = [field.name for field in dataclasses.fields(ThetaTables) if field.name not in data]
    if missing:
        raise LatteError(f"{path}: the table {missing[0]!r} is missing; calibrate again with --mode top-theta")
    if str(data["model"]) != model or data["theta"].shape[:2] != (blocks, heads):
        raise LatteError(f"{path}: Top-Theta thresholds of {data['model']}, not of {model}")
    return ThetaTables(*(data[field.name] for field in dataclasses.fields(ThetaTables)))
