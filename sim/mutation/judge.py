"""Verdicts: which mutants of a netlist its cases kill, many of them in one compiled model."""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

from latte.golden.errors import LatteError
from latte.sim.mutation.cases import Netlist
from latte.sim.mutation.mutants import PORT, Mutant, mutated_verilog
from latte.sim.runner import Model, build_netlist

__all__ = ["SURVIVES", "Verdict", "judge"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a mutant in simulation.

    Parameters
    ----------
    case
        Index of the case that kills it, None: it survives them all.
    failure
        What that case finds.
    """

    case: int | None
    failure: str | None

    @property
    def killed(self) -> bool:
        """Whether a case finds it."""
        return self.failure is not None


SURVIVES = Verdict(None, None)


def judge(netlist: Netlist, flat: str, mutants: Sequence[Mutant], build_folder: pathlib.Path) -> list[Verdict]:
    """Return the verdict of each mutant.

    Parameters
    ----------
    netlist
        With its cases.
    flat
        What the mutants are of.
    mutants
    build_folder
        Models are compiled below it, and not kept.

    Raises
    ------
    LatteError
        A case fails without a fault.
    """
    (build_folder / "mutation").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build_folder / "mutation", prefix="judging-") as name:
        folder = pathlib.Path(name)
        model = build_netlist(mutated_verilog(flat, mutants), folder / "model", (netlist.inputs, netlist.outputs),
                              [PORT], build_folder=build_folder)
        numbers = list(range(1, len(mutants) + 1))
        found = _judge(model, netlist, numbers, folder / "run")
    return [found[number] for number in numbers]


def _judge(model: Model, netlist: Netlist, numbers: list[int], folder: pathlib.Path) -> dict[int, Verdict]:
    """Judge mutants in as few simulator processes as can be.

    A mutant may stop the simulator (its logic does not settle), which kills it; one that wrote where only initial
    contents belong spoils the memories of those behind it, which are then judged in two halves.
    """
    found: dict[int, Verdict] = {}
    left = numbers
    while left:
        lines = _run(model, netlist, left, folder)
        if not lines or lines[0].get("failure"):
            what = lines[0]["failure"] if lines else "the simulator ended without a verdict"
            where = netlist.cases[lines[0]["case"]].test if lines else netlist.name
            raise LatteError(f"without a fault, {where} fails on the netlist of mutants ({what}); run that test, and "
                             "mend what it finds first")
        verdicts = {line["number"]: Verdict(line["case"], line["failure"]) for line in lines[1:] if "number" in line}
        spoiled = "end" in lines[-1] and lines[-1]["end"] is not None
        if spoiled and len(left) > 1:
            half = len(left) // 2
            return found | _judge(model, netlist, left[:half], folder) | _judge(model, netlist, left[half:], folder)
        if "end" not in lines[-1]:
            begun = [line["begun"] for line in lines if "begun" in line]
            verdicts[begun[-1]] = Verdict(None, "the simulator stops: the logic does not settle")
        found |= verdicts
        left = [number for number in left if number not in found]
    return found


def _run(model: Model, netlist: Netlist, numbers: Sequence[int], folder: pathlib.Path) -> list[dict]:
    """Run one simulator process and return the lines that it left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cases = [case.setting for case in netlist.cases]
    (folder / "batch.json").write_text(json.dumps({"numbers": list(numbers), "cases": cases}))
    model.run("latte.sim.mutation.testbench", folder)
    path = folder / "verdicts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
