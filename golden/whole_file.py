"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from latte.golden.errors import LatteError

__all__ = ["whole_file"]


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Open a file for writing beside `path` and put it in its place at the end; an error leaves nothing of it.

    Raises
    ------
    LatteError
        It cannot be written: the disk is full, or the folder is not writable.
    """
    path = pathlib.Path(path)
    # Of this process: another may be writing the same file.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise LatteError(f"{path} cannot be written: {error.strerror or error}; make room or choose another folder"
                         ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
