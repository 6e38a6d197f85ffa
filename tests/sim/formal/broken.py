"""Blocks with one line of their source changed, in memory: what a proof must notice."""

import pathlib
import sys
import types
from typing import Any


def break_source(block: type, old: str, new: str) -> Any:
    """Return the class `block` as it is when `old`, which its file has once, is `new`."""
    module = sys.modules[block.__module__]
    text = pathlib.Path(module.__file__).read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {module.__file__}"
    changed = types.ModuleType(f"{module.__name__}_broken")
    exec(compile(text.replace(old, new), module.__file__, "exec"), changed.__dict__)
    return getattr(changed, block.__name__)
