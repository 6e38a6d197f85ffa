"""Why some mutants survive: sentences of ``survivors.toml``, each for mutants of some lines of a block.

An entry has ``block`` and ``why``, and, to say which mutants it is of, any of ``line`` (a part of the source's line),
``bit`` (a part of what the mutant is called) and ``modes``.
"""

import dataclasses
import functools
import pathlib
import tomllib

import latte.rtl
from latte.golden.errors import LatteError
from latte.sim.mutation.campaign import Outcome

__all__ = ["EXPLANATIONS", "UNEXPLAINED", "Explanation", "explain", "load_explanations", "source_line"]

EXPLANATIONS = pathlib.Path(__file__).parent / "survivors.toml"
UNEXPLAINED = "unexplained"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why some mutants of a block survive.

    Parameters
    ----------
    block, why
    line, bit
        Parts of the source's line and of the mutant's name; empty: any.
    modes
        Of the mutants; empty: any.
    """

    block: str
    why: str
    line: str = ""
    bit: str = ""
    modes: tuple[str, ...] = ()

    def holds_for(self, outcome: Outcome) -> bool:
        """Return whether it is about a mutant."""
        mutant = outcome.mutant
        return (outcome.block == self.block and self.line in source_line(mutant.place) and self.bit in str(mutant)
                and (not self.modes or mutant.mode in self.modes))


def load_explanations(path: pathlib.Path = EXPLANATIONS) -> list[Explanation]:
    """Return what is written in a file.

    Raises
    ------
    LatteError
        An entry has another field than those of `Explanation`, or lacks ``block`` or ``why``.
    """
    try:
        entries = tomllib.loads(path.read_text()).get("survivor", [])
        return [Explanation(**entry | {"modes": tuple(entry.get("modes", ()))}) for entry in entries]
    except (TypeError, tomllib.TOMLDecodeError) as error:
        fields = ", ".join(field.name for field in dataclasses.fields(Explanation))
        raise LatteError(f"{path}: not explanations of survivors ({error}); each [[survivor]] has some of {fields}, "
                         "block and why among them") from None


def explain(outcome: Outcome, explanations: list[Explanation]) -> str:
    """Return why a mutant survives, `UNEXPLAINED` if nothing says so."""
    return next((one.why for one in explanations if one.holds_for(outcome)), UNEXPLAINED)


@functools.cache
def source_line(place: str) -> str:
    """Return the text of a place ``rtl/wide/softmax.py:84``, empty if it is not in ``rtl``."""
    file, _, number = place.partition(":")
    path = pathlib.Path(latte.rtl.__file__).parent / file.removeprefix("rtl/")
    if not file.startswith("rtl/") or not path.exists() or not number:
        return ""
    return path.read_text().splitlines()[int(number) - 1].strip()
