"""Result files: ``build/<target>.json`` (DESIGN section 4)."""

import json
import pathlib
import subprocess
from importlib import metadata
from typing import Any

from latte.golden.config import AttentionConfig
from latte.golden.whole_file import whole_file

__all__ = ["git_revision", "write_results", "write_text"]


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
    record = {"target": target, "version": metadata.version("latte"), "git": git_revision(),
              "config": config.to_dict(), "results": results, "pass": passed} | others
    write_text(path, json.dumps(record, indent=1) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())
