"""Files of a threshold run: the thresholds a model ends with, and the state from which training resumes."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import torch

from latte.golden.errors import LatteError
from latte.golden.key_groups import GROUP_BITS_MAX
from latte.golden.models.hardware import Thresholds
from latte.golden.top_theta import ThetaTables
from latte.golden.train.trainer import Trainer

__all__ = ["load_theta", "load_thresholds", "restore_trainer", "save_theta", "save_thresholds", "save_trainer"]

_FIELDS = tuple(field.name for field in dataclasses.fields(Thresholds))


def _write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def _read(path: str | pathlib.Path, kind: str) -> dict[str, np.ndarray]:
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


def save_thresholds(path: str | pathlib.Path, thresholds: Thresholds, model: str, about: dict[str, Any]) -> None:
    """Write thresholds, gains and scales of a model, whole or not at all.

    Parameters
    ----------
    model
        Short name of the checkpoint.
    about
        How they came to be, as plain values.
    """
    arrays = {name: np.asarray(getattr(thresholds, name)) for name in _FIELDS
              if getattr(thresholds, name) is not None}
    _write(pathlib.Path(path), arrays | {"kind": np.str_("thresholds"), "model": np.str_(model),
                                         "about": np.str_(json.dumps(about))})


def load_thresholds(path: str | pathlib.Path, model: str, blocks: int, heads: int) -> Thresholds:
    """Read the thresholds of a model.

    Raises
    ------
    LatteError
        The file cannot be read, or belongs to another model.
    """
    data = _read(path, "thresholds")
    if str(data["model"]) != model:
        raise LatteError(f"{path}: thresholds of {data['model']}, not of {model}")
    if data["tau"].shape != (blocks, heads):
        raise LatteError(f"{path}: thresholds of {data['tau'].shape[0]} x {data['tau'].shape[1]} heads, but {model} "
                         f"has {blocks} x {heads}")
    thresholds = Thresholds(**{name: data[name] for name in _FIELDS if name in data})
    if thresholds.group_elements is not None or thresholds.group_cuts is not None:
        _check_groups(path, thresholds)
    return thresholds


def _check_groups(path: str | pathlib.Path, thresholds: Thresholds) -> None:
    """Raise `LatteError` unless every head has as many elements as cuts, which the hardware can compare."""
    elements, cuts = thresholds.group_elements, thresholds.group_cuts
    if (elements is None or cuts is None or elements.shape != cuts.shape or elements.shape[:-1] != thresholds.tau.shape
            or elements.shape[-1] > GROUP_BITS_MAX or elements.dtype != np.int64 or (elements < 0).any()
            or not np.isfinite(cuts).all()):
        raise LatteError(f"{path}: the key groups are damaged; every head needs as many elements as cuts, at most "
                         f"{GROUP_BITS_MAX}; calibrate or train again")


def save_theta(path: str | pathlib.Path, tables: ThetaTables, model: str) -> None:
    """Write Top-Theta's tables of a model, [blocks, heads(, lengths)] each."""
    _write(pathlib.Path(path), {"kind": np.str_("top-theta"), "model": np.str_(model), **dataclasses.asdict(tables)})


def load_theta(path: str | pathlib.Path, model: str, blocks: int, heads: int) -> ThetaTables:
    """Read Top-Theta's tables.

    Raises
    ------
    LatteError
        The file cannot be read, or belongs to another model.
    """
    data = _read(path, "top-theta")
    missing = [field.name for field in dataclasses.fields(ThetaTables) if field.name not in data]
    if missing:
        raise LatteError(f"{path}: the table {missing[0]!r} is missing; calibrate again with --mode top-theta")
    if str(data["model"]) != model or data["theta"].shape[:2] != (blocks, heads):
        raise LatteError(f"{path}: Top-Theta thresholds of {data['model']}, not of {model}")
    return ThetaTables(*(data[field.name] for field in dataclasses.fields(ThetaTables)))


def save_trainer(path: str | pathlib.Path, trainer: Trainer) -> None:
    """Write everything that `restore_trainer` needs to continue as if nothing had happened."""
    arrays = {f"parameter.{name}": parameter.detach().cpu().numpy()
              for name, parameter in trainer.attention.named_parameters()}
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer.{index}.{name}": value.cpu().numpy() for name, value in moments.items()}
    _write(pathlib.Path(path), arrays | {
        "kind": np.str_("checkpoint"), "model": np.str_(trainer.checkpoint.name),
        "run": np.str_(json.dumps(trainer.fingerprint())), "step": np.int64(trainer.step),
        "average": np.float64(trainer.average), "history": np.str_(json.dumps(trainer.history))})


def restore_trainer(path: str | pathlib.Path, trainer: Trainer) -> None:
    """Continue a run: parameters, optimiser, step and history of `trainer` become those of the file.

    Raises
    ------
    LatteError
        The file is of another model, or of a run with other settings.
    """
    data = _read(path, "checkpoint")
    if str(data["model"]) != trainer.checkpoint.name:
        raise LatteError(f"{path}: a checkpoint of {data['model']}, not of {trainer.checkpoint.name}")
    run, own = json.loads(str(data["run"])), trainer.fingerprint()
    changed = sorted(name for name in own if run.get(name) != own[name])
    if changed:
        raise LatteError(f"{path}: a checkpoint of a run with {changed[0]} = {run.get(changed[0])}, not "
                         f"{own[changed[0]]}; repeat that run's settings, or begin anew with another --output")
    with torch.no_grad():
        for name, parameter in trainer.attention.named_parameters():
            parameter.copy_(torch.from_numpy(data[f"parameter.{name}"]))
    state = trainer.optimizer.state_dict()
    prefix = "optimizer."
    state["state"] = {}
    for key in data:
        if key.startswith(prefix):
            index, name = key.removeprefix(prefix).split(".", 1)
            state["state"].setdefault(int(index), {})[name] = torch.from_numpy(data[key])
    trainer.optimizer.load_state_dict(state)
    trainer.step = int(data["step"])
    trainer.average = float(data["average"])
    trainer.history = json.loads(str(data["history"]))
