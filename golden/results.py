"""Result files: ``build/<target>.json`` (DESIGN section 4)."""

import json
import pathlib
import subprocess
from typing import Any

from latte.golden import distribution
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.whole_file import whole_file

__all__ = ["git_revision", "read_results", "write_results", "write_text"]


def git_revision() -> str:
    """Return the short commit the code was run from, with ``-dirty`` if files differ; empty outside a clone."""
    folder = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=folder,
                              capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write_results(path: pathlib.Path, target: str, config: AttentionConfig, results: list[dict[str, Any]],
                  passed: bool, **others: Any) -> None:
    """Write a result file, whole or not at all.

    Parameters
    ----------
    path
    target
        The make target.
    config
    results
        Each with ``name``, ``unit``, ``value`` and any further fields.
    passed
    **others
        Further top-level fields.
    """
    assert all({"name", "unit", "value"} <= set(entry) for entry in results)
    record = {"target": target, "version": distribution.version(), "git": git_revision(),
              "config": config.to_dict(), "results": results, "pass": passed} | others
    write_text(path, json.dumps(record, indent=1) + "\n")


def read_results(path: pathlib.Path) -> dict[str, Any] | None:
    """Return a result file, None if there is none.

    Raises
    ------
    LatteError
        It is not a result file.
    """
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LatteError(f"{path}: not a readable result file ({error}); make it again") from None
    if not isinstance(record, dict) or not isinstance(record.get("results"), list):
        raise LatteError(f"{path}: not a result file, 'results' is missing; make it again")
    for entry in record["results"]:
        if not isinstance(entry, dict) or not {"name", "value"} <= set(entry):
            raise LatteError(f"{path}: a result without 'name' or 'value'; make it again")
    return record


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())
