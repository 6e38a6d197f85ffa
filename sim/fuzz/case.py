"""One case: programs that run one after the other on one build; made of a seed, or read from a file."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.vectors import ARCHIVE_ERRORS
from latte.golden.whole_file import whole_file
from latte.sim.compilation import SIMULATORS
from latte.sim.core_run import Run
from latte.sim.fuzz.programs import random_program
from latte.sim.program import Program
from latte.sim.stalls import STALLS

__all__ = ["Case", "load_case", "random_case", "save_case"]

_SHORTEST = 1000
"""Cycles that a program aims at; the longest takes all of its case."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Programs for one compiled core; a reset stands before each, but its memories keep what the last one left.

    Parameters
    ----------
    config
    simulator
    runs
    """

    config: AttentionConfig
    simulator: str
    runs: tuple[Run, ...]


def random_case(seed: int, config: AttentionConfig, simulator: str, cycles: int) -> Case:
    """Return the case of a seed.

    Parameters
    ----------
    seed
    config, simulator
    cycles
        That all programs take together, about, without stalls.
    """
    rng = np.random.default_rng([seed, cycles])
    runs = []
    longest = max(1.0, cycles / _SHORTEST)
    while cycles > 0:
        aim = min(cycles, int(_SHORTEST * longest ** rng.random()))
        runs.append(Run(random_program(rng, config, aim), STALLS[rng.choice(4, p=[.4, .2, .2, .2])],
                        int(rng.integers(1 << 31)), int(rng.integers(1, aim)) if rng.random() < 0.25 else None))
        cycles -= aim
    return Case(config, simulator, tuple(runs))


def save_case(path: pathlib.Path, case: Case) -> None:
    """Write a case as an ``.npz`` archive, whole or not at all."""
    arrays: dict[str, Any] = {f"{index}.{name}": array for index, run in enumerate(case.runs)
                              for name, array in run.program.to_arrays().items()}
    runs = [{"stall": run.stall, "seed": run.seed, "reset_at": run.reset_at} for run in case.runs]
    arrays["case"] = np.str_(json.dumps({"config": case.config.to_dict(), "simulator": case.simulator, "runs": runs}))
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


def load_case(path: pathlib.Path) -> Case:
    """Read what `save_case` wrote.

    Raises
    ------
    LatteError
        It cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        record = json.loads(str(arrays["case"]))
        config, simulator = AttentionConfig(**record["config"]), record["simulator"]
        if simulator not in SIMULATORS:
            raise LatteError(f"no simulator {simulator!r}")
        runs = []
        for index, settings in enumerate(record["runs"]):
            start = f"{index}."
            mine = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
            runs.append(Run(Program.from_arrays(config, mine), **settings))
    except (*ARCHIVE_ERRORS, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LatteError(f"{path}: not a readable case of latte fuzz ({reason})") from None
    return Case(config, simulator, tuple(runs))
