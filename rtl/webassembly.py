"""Runs the open tools, which are WebAssembly in wheels: nothing has to be on the PATH.

The first use of a tool compiles it, up to some minutes, into a cache in the user's home or in ``YOWASP_CACHE_DIR``.
"""

import functools
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import platformdirs

from latte.golden.errors import LatteError

__all__ = ["check_cache", "run_webassembly"]

_CALL = "import importlib, sys; sys.exit(getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(sys.argv[3:]))"
_VARIABLE = "YOWASP_CACHE_DIR"


def run_webassembly(package: str, function: str, arguments: Sequence[str],
                    folder: pathlib.Path) -> subprocess.CompletedProcess:
    """Run a tool in `folder`; return its exit status and, as ``stdout``, all that it printed.

    Parameters
    ----------
    package, function
        The wheel's module, and the function in it that takes the arguments: ``run_yosys``.
    arguments
    folder

    Raises
    ------
    LatteError
        The tool would have to be compiled, and the cache cannot keep it.
    """
    cache = check_cache(package, function)
    return subprocess.run([sys.executable, "-c", _CALL, package, function, *arguments], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          env=os.environ | {_VARIABLE: str(cache)})


def check_cache(package: str, function: str) -> pathlib.Path:
    """Return the folder of compiled tools, whole path; tell a terminal if this tool has to be compiled first.

    Raises
    ------
    LatteError
        It has to be compiled, and the folder cannot be written.
    """
    given = os.environ.get(_VARIABLE)
    cache = pathlib.Path(given or platformdirs.user_cache_dir("YoWASP", appauthor=False))
    place = cache.absolute() / package / f"{function.removeprefix('run_').replace('_', '-')}.wasm"
    if _is_compiled(package, place):
        return cache.absolute()
    try:
        if not given and not cache.is_absolute():
            raise OSError("there is no home folder")
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise LatteError(f"the WebAssembly tools are compiled once into {cache}, which cannot be written "
                         f"({error.strerror or error}); set {_VARIABLE} to a folder that can") from None
    _announce(place.stem, cache)
    return cache.absolute()


@functools.cache
def _announce(tool: str, cache: pathlib.Path) -> None:
    """Tell who waits at a terminal, once."""
    if sys.stderr.isatty():
        print(f"preparing {tool} for its first use, a minute or more; kept in {cache}", file=sys.stderr)


def _is_compiled(package: str, place: pathlib.Path) -> bool:
    """Return whether the cache has the installed version of a tool."""
    if not place.is_dir():
        return False
    compiled = place / _digest(package, place.name)
    return os.access(compiled, os.R_OK) and compiled.stat().st_size > 0


@functools.cache
def _digest(package: str, name: str) -> str:
    """Return the name that the tools' own runtime gives to what it compiles of a file."""
    folder = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
    return hashlib.sha1((folder / name).read_bytes()).hexdigest()
