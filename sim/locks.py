"""Folders that one process at a time works in, on every operating system."""

import contextlib
import pathlib
import shutil
import warnings
from collections.abc import Iterator

from latte.golden.errors import LatteError

__all__ = ["claimed", "emptied", "locked"]

_FOR_EVER = -1


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Hold a lock file, after any other process that does: so that two do not make the same thing.

    Where the system has locks, that of a process that was killed is free.

    Raises
    ------
    LatteError
        The file system has no locks.
    """
    with _hold(path, _FOR_EVER):
        yield


@contextlib.contextmanager
def claimed(folder: pathlib.Path) -> Iterator[None]:
    """Hold a folder that a run works in, by a lock file beside it.

    Raises
    ------
    LatteError
        Another process holds it, or the file system has no locks.
    """
    with _hold(folder, 0):
        yield


@contextlib.contextmanager
def emptied(folder: pathlib.Path) -> Iterator[None]:
    """Hold a folder as `claimed` does, with nothing in it of an earlier run."""
    with claimed(folder):
        # A tool that outlives a run which was killed goes on in the folder that it had.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield


@contextlib.contextmanager
def _hold(path: pathlib.Path, timeout: float) -> Iterator[None]:
    """Hold a lock file; wait for it so many seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the system has no locks, filelock says so, and makes the file the lock
        import filelock  # here, so that only what needs a lock needs it
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lock of one kind does not look like one of another.
    lock = filelock.FileLock(path.with_name(f"{path.name}.{filelock.FileLock.__name__}"), timeout)
    try:
        lock.acquire()
    except NotImplementedError:
        raise LatteError(f"{path.parent}: this file system has no locks, which keep two runs from working in one "
                         "folder; choose another output folder with --build") from None
    except filelock.Timeout:
        raise LatteError(f"{path} is in use by another run; wait until that has ended, or choose another output folder "
                         "with --build") from None
    try:
        yield
    finally:
        lock.release()
