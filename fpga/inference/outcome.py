"""What came of a whole model on hardware: verdict, result file, and what a person sees."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from latte.fpga.inference.tasks import Task
from latte.golden.models.cached_inference import CachedAttention, PassFigures
from latte.golden.models.compared import ComparedAttention

__all__ = ["Outcome"]

_SHOWN = 5
"""Differences that are spelt out."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A task's answers by the hardware and by torch alone.

    Parameters
    ----------
    model
        Its short name.
    task
    attention
        With what it counted.
    answer
        Of the task; ``None`` if the backend failed.
    expected
        The same with torch's exact arithmetic for every attention.
    failure
        Why there is no answer; ``None`` if there is one.
    mhz
        The build's clock.
    """

    model: str
    task: Task
    attention: ComparedAttention
    answer: Any
    expected: Any
    failure: str | None
    mhz: float

    @property
    def bits_equal(self) -> bool:
        """Whether every bit of every attention output is torch's."""
        return self.failure is None and not self.attention.differences

    @property
    def same_answer(self) -> bool:
        """Whether the model decides as with torch alone."""
        return self.failure is None and self.task.decisions(self.answer) == self.task.decisions(self.expected)

    @property
    def passed(self) -> bool:
        """Whether the hardware did what it should."""
        return self.bits_equal and self.same_answer

    @property
    def seconds(self) -> float:
        """Time of the counted cycles at the clock."""
        return self.attention.total.cycles / (self.mhz * 1e6)

    @property
    def passes(self) -> list[PassFigures]:
        """What each forward pass moved; nothing where keys are on chip."""
        return self.attention.passes if isinstance(self.attention, CachedAttention) else []

    def results(self) -> list[dict[str, Any]]:
        """Return the entries of the result file."""
        total = self.attention.total
        entries = {
            "bits_equal": ("pass", int(self.bits_equal), {"outputs": total.outputs, "differing": total.differing}),
            self.task.figure: ("pass", int(self.same_answer),
                               self.task.details(self.answer) if self.failure is None else {}),
            "cycles": ("count", total.cycles, {"seconds": self.seconds, "mhz": self.mhz, "jobs": total.jobs,
                                               "pruned": self.attention.pruned()})}
        for block, figures in enumerate(self.attention.blocks):
            fields = dataclasses.asdict(figures) | {"pruned": self.attention.pruned(block)}
            entries[f"block{block}.cycles"] = "count", fields.pop("cycles"), fields
        for number, passed in enumerate(self.passes):
            fields = dataclasses.asdict(passed)
            entries[f"pass{number}.bytes"] = "bytes", passed.moved, fields
        return [{"name": f"{self.model}.{name}", "unit": unit, "value": value, **fields}
                for name, (unit, value, fields) in entries.items()]

    def show(self, console: Console) -> None:
        """Print the answer, or why there is none, and what differs."""
        if self.failure is None:
            self.task.show(console, self.answer)
        else:
            console.print(f"stopped: {self.failure}", soft_wrap=True)
        for line in self.attention.differences[:_SHOWN]:
            console.print(line, soft_wrap=True)
        if self.failure is None and not self.same_answer:
            console.print(f"torch alone decides otherwise: {self.task.decisions(self.expected)}, not "
                          f"{self.task.decisions(self.answer)}", soft_wrap=True)
        total = self.attention.total
        console.print(f"{total.outputs - total.differing} of {total.outputs} attention outputs equal torch's in every "
                      f"bit; {self.attention.pruned():.1%} of the keys pruned", soft_wrap=True)
        if self.passes:
            prompt, *further = self.passes
            self._show_moved(console, f"prompt of {prompt.tokens} tokens", [prompt])
            self._show_moved(console, "each token behind it", further)

    def _show_moved(self, console: Console, title: str, passes: Sequence[PassFigures]) -> None:
        """Print what some passes moved on average."""
        if not passes:
            return
        mean = {field.name: sum(getattr(of, field.name) for of in passes) / len(passes)
                for field in dataclasses.fields(PassFigures)}
        console.print(
            f"{title}: {mean['bytes_read']:.0f} bytes read from memory and {mean['bytes_written']:.0f} written, "
            f"{mean['dense_bytes']:.0f} together by dense attention; {mean['values_fetched']:.0f} rows of V fetched, "
            f"{mean['dense_values']:.0f} by dense attention; {mean['cycles']:.0f} cycles", soft_wrap=True)
