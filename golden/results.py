"""Result files: ``build/<target>.json`` (DESIGN section 4)."""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError

__all__ = ["git_revision", "write_arrays", "write_results", "write_text", "write_whole"]


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


@contextlib.contextmanager
def write_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield the name of a file to write, which takes the place of `path` at the end of the ``with`` block.

    If the block fails, `path` is as it was and nothing else is left.

    Raises
    ------
    LatteError
        The system cannot write it, a full disk for example.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise LatteError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file, whole or not at all; errors as of `write_whole`."""
    with write_whole(path) as partial:
        partial.write_text(text)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` file, whole or not at all; errors as of `write_whole`."""
    with write_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
