"""The table and the result entry of verified heads, of the simulated core and of a board alike."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from latte.golden.console import create_table
from latte.sim.verdict import HeadRun

__all__ = ["head_result", "print_heads", "print_problems"]

_SHOWN_PROBLEMS = 20


def print_heads(console: Console, heads: Sequence[HeadRun], *, title: str,
                beside: Sequence[HeadRun] | None = None) -> None:
    """Print one row per head, with the cycles of the same heads `beside` on the bare core."""
    more = [] if beside is None else ["bare core"]
    table = create_table("model", "block", "head", "n", "kept %", "cycles", *more, "estimator", "largest error", "bits",
                         title=title, left=["bits"])
    for n, head in enumerate(heads):
        table.add_row(
            head.model, str(head.block), str(head.head), str(head.keys),
            f"{100 * head.kept / head.visible:.2f}" if head.visible else "-", str(head.cycles),
            *([] if beside is None else [str(beside[n].cycles)]),
            f"{100 * head.utilisation:.1f} %", f"{head.largest_error:.4f}",
            Text("equal", "green") if head.passed else Text("DIFFER", "bold red"))
    console.print(table)
    console.print("cycles: from the previous head's last output, or this head's first estimates if later; estimator: "
                  "share of them that its pairs take (above 100 % if it began under its predecessor); largest error: "
                  "steps of V", soft_wrap=True)


def print_problems(console: Console, heads: Sequence[HeadRun], hint: str = "") -> None:
    """Print what is wrong, the first lines of it, and a hint if anything is."""
    lines = [f"{head.name}: {problem}" for head in heads for problem in head.problems]
    for line in lines[:_SHOWN_PROBLEMS]:
        console.print(line, style="red", soft_wrap=True)
    if len(lines) > _SHOWN_PROBLEMS:
        console.print(f"... and {len(lines) - _SHOWN_PROBLEMS} lines more")
    if lines and hint:
        console.print(hint)


def head_result(head: HeadRun, beside: HeadRun | None = None) -> dict[str, object]:
    """Return a head's entry of a result file, with the cycles of the same head on the bare core if there are any."""
    result: dict[str, object] = {
        "name": head.name, "unit": "pass", "value": int(head.passed), "n": head.keys, "kept": head.kept,
        "visible": head.visible, "cycles": head.cycles, "estimator_utilisation": head.utilisation,
        "out_rel_rms": head.relative_rms, "out_max_error": head.largest_error}
    result |= {} if beside is None else {"core_cycles": beside.cycles}
    return result | ({"problems": head.problems} if head.problems else {})
