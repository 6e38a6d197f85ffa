"""Where chunks of work run: in this process, in local Dask processes, or on a Dask cluster."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from latte.golden import distribution
from latte.golden.errors import LatteError

__all__ = ["Workers"]


class Workers(contextlib.AbstractContextManager):
    """Workers for the ``with`` block; the same chunks give the same results on any of them.

    Parameters
    ----------
    count
        Local processes; 1 works in this process, ``None`` is one per core.
    scheduler
        Address of a Dask scheduler, whose workers have this package, and what the chunks need; `count` is then ignored.

    Raises
    ------
    LatteError
        On entry: Dask is not installed, or the scheduler cannot be reached.
    """

    option, extra = "--processes", "sweep"
    """What a user sets `count` with, and the extra that Dask comes with."""

    def __init__(self, count: int | None = 1, scheduler: str | None = None) -> None:
        self.count, self.scheduler = count or os.cpu_count() or 1, scheduler
        self._stack = contextlib.ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        if self.count == 1 and self.scheduler is None:
            return self
        try:
            from dask.distributed import Client, LocalCluster
        except ImportError:
            raise LatteError("several workers need the package 'distributed', which is not installed; install it with: "
                             f"{distribution.install_command(self.extra)}, or take {self.option} 1") from None
        try:
            where = self.scheduler or self._stack.enter_context(LocalCluster(
                n_workers=self.count, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50))
            self._client = self._stack.enter_context(Client(where, timeout="5s", set_as_default=False))
        except (OSError, ValueError, ImportError) as error:
            self._stack.close()
            raise LatteError(f"the Dask scheduler {self.scheduler} cannot be reached ({type(error).__name__}); check "
                             "the address, or leave --scheduler out to use local processes") from None
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield (index, ``function(*arguments[index])``) as they are done, each computed by one thread."""
        if self._client is None:
            for index, items in enumerate(arguments):
                yield index, function(*items)
            return
        from dask.distributed import as_completed

        futures = {self._client.submit(function, *items, pure=False): index for index, items in enumerate(arguments)}
        for future in as_completed(futures, loop=self._client.loop):
            yield futures[future], future.result()
