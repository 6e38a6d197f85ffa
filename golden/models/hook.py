"""A custom attention inside any transformers model, through the library's own registry, its code untouched."""

import contextlib
import weakref
from collections.abc import Callable, Iterator

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from latte.golden.errors import LatteError

__all__ = ["NAME", "Handler", "attention_modules", "float_attention", "replaced_attention"]

NAME = "latte"
"""The ``attn_implementation`` under which the hook is registered."""

Handler = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, bool], torch.Tensor]
"""``handler(block, q, k, v, causal) -> output``: all [batch, heads, n, head_dim], keys already repeated per query head
and rotated, scores to be scaled by ``1 / sqrt(head_dim)``."""

_handlers: "weakref.WeakKeyDictionary[nn.Module, tuple[int, Handler]]" = weakref.WeakKeyDictionary()


def _dispatch(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
              attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0,
              is_causal: bool | None = None, **_: object) -> tuple[torch.Tensor, None]:
    if module not in _handlers:
        raise LatteError(f"attention {type(module).__name__} runs as {NAME!r} without a handler; "
                         "enter latte.golden.models.hook.replaced_attention first")
    if attention_mask is not None:
        raise LatteError("the latte attention takes no padding mask; give every sequence of a batch the same length")
    block, handler = _handlers[module]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    wanted = query.shape[-1] ** -0.5
    if scaling is not None and abs(scaling - wanted) > 1e-9:
        query = query * (scaling / wanted)
    causal = bool(module.is_causal if is_causal is None else is_causal)
    return handler(block, query, key, value, causal).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _dispatch)


def attention_modules(model: PreTrainedModel) -> list[nn.Module]:
    """Return the self-attention modules of a model in block order.

    Raises
    ------
    LatteError
        The model has none that asks the registry for its attention.
    """
    modules = [module for module in model.modules()
               if type(module).__name__.endswith("Attention") and hasattr(module, "is_causal")]
    if not modules or any(getattr(module, "is_cross_attention", False) for module in modules):
        raise LatteError(f"{type(model).__name__} has no attention that can be replaced; GPT-2, ViT/DeiT and "
                         "Llama-style models are supported")
    return modules


@contextlib.contextmanager
def replaced_attention(model: PreTrainedModel, handler: Handler) -> Iterator[None]:
    """Run every attention of `model` through `handler` inside the ``with`` block."""
    modules = attention_modules(model)
    before = model.config._attn_implementation
    saved = [_handlers.get(module) for module in modules]
    for block, module in enumerate(modules):
        _handlers[module] = (block, handler)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        for module, entry in zip(modules, saved, strict=True):
            if entry is None:
                del _handlers[module]
            else:
                _handlers[module] = entry


def float_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return the exact softmax attention of [batch, heads, n, d] operands in their own precision."""
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
