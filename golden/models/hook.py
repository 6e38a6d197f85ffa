"""A custom attention inside any transformers model, through the library's own registries, its code untouched.

The accelerator knows two visibilities: every key, or the keys up to the query's own position (causal), where the
queries are the last positions of the sequence. What a model wants beyond these and a scale of its scores is refused by
name, not computed without it: transformers hands such wishes over as masks and keywords, which are easily overlooked.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from latte.golden.errors import LatteError
from latte.golden.models.exact import visible_mask

__all__ = ["NAME", "Handler", "attention_modules", "float_attention", "float_handler", "replaced_attention"]

NAME = "latte"
"""The ``attn_implementation`` under which the hook is registered."""

Handler = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, bool], torch.Tensor]
"""``handler(block, q, k, v, causal) -> output``: q [batch, heads, m, head_dim], the last m positions; k and v
[batch, heads, n, head_dim], repeated per query head; keys and queries already rotated, scores to be scaled by
``1 / sqrt(head_dim)``."""

_OF_THE_MODEL = {"position_ids", "cache_position", "past_key_values", "use_cache", "return_dict",
                 "output_hidden_states", "num_items_in_batch"}
"""Keywords that reach an attention but speak to the model around it; positions are in the rotated operands."""

_handlers: "weakref.WeakKeyDictionary[nn.Module, tuple[int, Handler]]" = weakref.WeakKeyDictionary()


def _dispatch(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
              attention_mask: torch.Tensor | None, scaling: float | None = None, is_causal: bool | None = None,
              **wishes: Any) -> tuple[torch.Tensor, None]:
    """Hand one call of a model's attention to its handler, with the signature that transformers prescribes."""
    if module not in _handlers:
        raise LatteError(f"attention {type(module).__name__} runs as {NAME!r} without a handler; "
                         "enter latte.golden.models.hook.replaced_attention first")
    block, handler = _handlers[module]
    _check_wishes(wishes, key.shape[-2])
    if key.shape != value.shape or query.shape[-1] != key.shape[-1] or query.shape[1] % key.shape[1]:
        raise LatteError(f"attention {type(module).__name__} has queries {tuple(query.shape)}, keys {tuple(key.shape)} "
                         f"and values {tuple(value.shape)}; the latte attention needs one head_dim for all, and a "
                         "number of query heads that the key heads divide")
    causal = _visibility(attention_mask, query, key, bool(module.is_causal if is_causal is None else is_causal))
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    wanted = query.shape[-1] ** -0.5
    if scaling is not None and abs(scaling - wanted) > 1e-9:
        query = query * (scaling / wanted)
    return handler(block, query, key, value, causal).transpose(1, 2), None


def _check_wishes(wishes: dict[str, Any], keys: int) -> None:
    """Raise `LatteError` for a keyword that is set and would change the attention."""
    for name, value in wishes.items():
        if name in _OF_THE_MODEL or value is None or (isinstance(value, bool | int | float) and not value):
            continue
        if name == "sliding_window" and isinstance(value, int) and value >= keys:
            continue  # a window as long as the sequence hides nothing
        shown = f" = {value}" if isinstance(value, bool | int | float | str) else ""
        raise LatteError(f"the model's attention asks for {name}{shown}, which the latte attention does not follow; "
                         "use a model, a mode (evaluation) or a configuration without it")


def _visibility(mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor, causal: bool) -> bool:
    """Return whether the attention is causal, as the mask says, or without a mask the model's flag `causal`.

    Parameters
    ----------
    mask : bool, or additive float, [batch or 1, heads or 1, m, n]
        True, or 0, where a key is visible; an additive mask hides with minus infinity or the least finite number.
    """
    m, n = query.shape[-2], key.shape[-2]
    if m > n and (causal or mask is not None):
        raise LatteError(f"{m} queries cannot be the last positions of {n} keys; the latte attention takes "
                         "self-attention with at most as many queries as keys")
    if mask is None:
        return causal
    if mask.ndim != 4 or mask.shape[-2:] != (m, n):
        raise LatteError(f"an attention mask of shape {tuple(mask.shape)} does not fit {m} queries and {n} keys; the "
                         "latte attention takes masks [batch, heads, queries, keys]")
    if mask.dtype == torch.bool:
        visible = mask
    elif mask.is_floating_point():
        visible = mask == 0
        if not (visible | (mask <= torch.finfo(mask.dtype).min)).all():
            raise LatteError("the attention mask holds numbers besides 0 and minus infinity, a bias on the scores, "
                             "which the latte attention does not follow; use a model without it")
    else:
        raise LatteError(f"an attention mask of {mask.dtype} is neither bool nor additive (float); convert it to bool")
    for answer in (causal, not causal):
        plain = visible_mask(m, n, answer, mask.device)
        if bool((visible if plain is None else visible == plain).all()):
            return answer
    raise LatteError("the attention mask hides keys that a full or causal attention sees (padding, a window, packed "
                     "sequences, or a mask of your own), which the latte attention does not follow; give sequences of "
                     "one length, unpadded and one per row of the batch")


def _mask(batch_size: int, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None,
          **settings: Any) -> torch.Tensor:
    """Return the bool mask [batch, 1, m, n] of a model, never ``None``: `_dispatch` compares it.

    transformers passes no mask at all to an attention that has no mask function registered.
    """
    if attention_mask is not None and attention_mask.ndim != 2:
        raise LatteError(f"an attention_mask of shape {tuple(attention_mask.shape)} is neither [batch, keys] nor "
                         "[batch, heads, queries, keys]")
    settings |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(batch_size, q_length, kv_length, attention_mask=attention_mask, **settings)


ALL_ATTENTION_FUNCTIONS.register(NAME, _dispatch)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _mask)


def attention_modules(model: PreTrainedModel) -> list[nn.Module]:
    """Return the self-attention modules of a model in block order.

    Raises
    ------
    LatteError
        The model has none that asks the registry for its attention, or cross-attention besides.
    """
    modules = [module for module in model.modules()
               if type(module).__name__.endswith("Attention") and hasattr(module, "is_causal")]
    if getattr(model.config, "is_encoder_decoder", False) or any(
            getattr(module, "is_cross_attention", False) for module in modules):
        raise LatteError(f"{type(model).__name__} has cross-attention, whose queries and keys are of two sequences; "
                         "GPT-2, ViT/DeiT and Llama-style models without it are supported")
    if not modules:
        raise LatteError(f"{type(model).__name__} has no attention that can be replaced; GPT-2, ViT/DeiT and "
                         "Llama-style models are supported")
    return modules


@contextlib.contextmanager
def replaced_attention(model: PreTrainedModel, handler: Handler) -> Iterator[None]:
    """Run every attention of `model` through `handler` inside the ``with`` block.

    Raises
    ------
    LatteError
        The model's attention cannot be replaced; inside the block, a forward pass asks for more than full or causal
        self-attention.
    """
    modules = attention_modules(model)
    if getattr(model.config, "output_attentions", False):
        raise LatteError("output_attentions is set in the model's configuration, but the latte attention has no "
                         "matrix of weights to give; set it to False")
    before = model.config._attn_implementation
    saved = [_handlers.get(module) for module in modules]
    for block, module in enumerate(modules):
        _handlers[module] = (block, handler)
    try:
        model.set_attn_implementation(NAME)
        if model.config._attn_implementation != NAME:
            raise LatteError(f"{type(model).__name__} does not let its attention be replaced; GPT-2, ViT/DeiT and "
                             "Llama-style models are supported")
        yield
    finally:
        model.set_attn_implementation(before)
        for module, entry in zip(modules, saved, strict=True):
            if entry is None:
                del _handlers[module]
            else:
                _handlers[module] = entry


def float_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return the exact softmax attention of q [batch, heads, m, d], k and v [batch, heads, n, d] in their precision.

    A causal query sees the keys up to its own position; the queries are the last `m` positions.
    """
    m, n = q.shape[-2], k.shape[-2]
    if causal and m < n:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible_mask(m, n, True, q.device))
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def float_handler(_: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return `float_attention`: the handler of the float model."""
    return float_attention(q, k, v, causal)
