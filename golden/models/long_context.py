"""Decoded tokens of a real model at long contexts: the operands of chosen positions, from one forward pass."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.memory.workloads import Task
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.extraction import model_inputs, select_heads
from latte.golden.models.hardware import HardwareAttention
from latte.golden.models.hook import float_attention, replaced_attention
from latte.golden.register_image import RegisterImage

__all__ = ["decode_tokens"]


def decode_tokens(checkpoint: Checkpoint, thresholds: Thresholds, tokens: np.ndarray, lengths: Sequence[int],
                  config: AttentionConfig, take: Callable[[Task], None], *, key_heads: str = "all",
                  on_block: Callable[[], None] = lambda: None) -> None:
    """Run the float model once, and hand over the decoded token of each head of keys at each length.

    Parameters
    ----------
    thresholds
        With static scales; their smoothing, scales, entries and width of the estimate are used.
    tokens : int64 [n]
    lengths
        Positions up to ``n``, counted from 1.
    config
        Its numeric fields.
    take
        Called with each task, as soon as its block is there.
    key_heads
        Heads of keys, as `select_heads` takes them.
    on_block
        Called after each block, for progress bars.

    Raises
    ------
    LatteError
        `thresholds` do not let heads share keys that the model's heads share.
    """
    sharing, per_block = checkpoint.heads_per_key, checkpoint.heads // checkpoint.heads_per_key
    chosen = set(select_heads(key_heads, checkpoint.blocks, per_block))
    entries = [head.parameters for head in RegisterImage.encode(checkpoint.name, config, thresholds).heads]
    hardware = HardwareAttention(thresholds, config)

    def record(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        wanted = [group for group in range(per_block) if (block, group) in chosen]
        if wanted:
            operands, _, _, _ = hardware.operands(block, q, k, v)
            codes = [rows[0].cpu().numpy().astype(np.int8) for rows in operands]
        for group in wanted:
            heads = slice(group * sharing, (group + 1) * sharing)
            of_heads = entries[block * checkpoint.heads:][heads]
            rows = [part[heads] for part in codes]
            if any((part != part[:1]).any() for part in rows[1:]) or len({entry.groups for entry in of_heads}) > 1:
                raise LatteError(f"the thresholds give the query heads of block {block} that share keys other codes or "
                                 "groups of them; a cache needs the same for all: calibrate again")
            for n in lengths:
                take(Task(f"{checkpoint.name}.block{block}.keys{group}", rows[0][:, n - 1:n], rows[1][0, :n],
                                rows[2][0, :n], of_heads))
        on_block()
        return float_attention(q, k, v, causal)

    with torch.inference_mode(), replaced_attention(checkpoint.model, record):
        checkpoint.model.base_model(**model_inputs(checkpoint, tokens[None]))
