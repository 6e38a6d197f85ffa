"""Workers for whole models: chunks that give the same results on any of them."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from latte.golden import workers

__all__ = ["Workers", "one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Fix the order of sums, which decides their rounding; parallelism comes from workers instead."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Workers(workers.Workers):
    """Workers that have the model and the data, each with one thread of torch."""

    option, extra = "--workers", "models"

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield (index, ``function(*arguments[index])``) as they are done, each computed by one thread."""
        return super().map(functools.partial(_call, function), arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    with one_thread(), torch.inference_mode():
        return function(*arguments)
