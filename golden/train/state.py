"""The state of a training run, from which it resumes at any step."""

import json
import pathlib

import numpy as np
import torch

from latte.golden.errors import LatteError
from latte.golden.train.threshold_files import read_arrays, write_arrays
from latte.golden.train.trainer import Trainer

__all__ = ["restore_trainer", "save_trainer"]


def save_trainer(path: str | pathlib.Path, trainer: Trainer) -> None:
    """Write everything that `restore_trainer` needs to continue as if nothing had happened."""
    arrays = {f"parameter.{name}": parameter.detach().cpu().numpy()
              for name, parameter in trainer.attention.named_parameters()}
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer.{index}.{name}": value.cpu().numpy() for name, value in moments.items()}
    write_arrays(pathlib.Path(path), arrays | {
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
    data = read_arrays(path, "checkpoint")
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
