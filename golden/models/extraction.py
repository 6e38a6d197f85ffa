"""Vector files of a model's real activations: one forward pass, captured head by head and quantised."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.hook import float_attention, replaced_attention
from latte.golden.models.thresholds import tau_for_keep
from latte.golden.quantizer import V_MAX, quantize
from latte.golden.vectors import VectorSet

__all__ = ["Activations", "capture", "extract_vectors", "select_heads"]


@dataclasses.dataclass(frozen=True)
class Activations:
    """Float operands and outputs of every attention of one forward pass, a list entry per block.

    Parameters
    ----------
    q, k, v, output : list of float32 [batch, heads, n, head_dim]
        Queries and keys after rotary embedding, keys and values repeated per query head.
    causal
    """

    q: list[np.ndarray]
    k: list[np.ndarray]
    v: list[np.ndarray]
    output: list[np.ndarray]
    causal: bool


def model_inputs(checkpoint: Checkpoint, batch: np.ndarray, positions: np.ndarray | None = None
                 ) -> dict[str, torch.Tensor]:
    """Return the keyword arguments of a forward pass over token windows or pixels.

    Parameters
    ----------
    batch : int64 [batch, tokens] or float32 [batch, 3, size, size]
    positions : int64 [batch, tokens], optional
        Of the tokens in their contexts; every window is at its own beginning if none are given.
    """
    device = checkpoint.model.device
    tensor = torch.from_numpy(np.ascontiguousarray(batch)).to(device)
    if not checkpoint.causal:
        return {"pixel_values": tensor}
    places = {} if positions is None else {"position_ids": torch.from_numpy(positions).to(device)}
    return {"input_ids": tensor, "use_cache": False, **places}


def capture(checkpoint: Checkpoint, batch: np.ndarray, on_block: Callable[[], None] = lambda: None) -> Activations:
    """Run the float model once and keep the operands of every attention.

    Parameters
    ----------
    batch : int64 [batch, tokens] or float32 [batch, 3, size, size]
    on_block
        Called after each block, for progress bars.
    """
    taken = Activations([], [], [], [], checkpoint.causal)

    def keep_operands(block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
        output = float_attention(q, k, v, causal)
        for store, tensor in ((taken.q, q), (taken.k, k), (taken.v, v), (taken.output, output)):
            store.append(tensor.cpu().numpy())
        on_block()
        return output

    with torch.inference_mode(), replaced_attention(checkpoint.model, keep_operands):
        checkpoint.model(**model_inputs(checkpoint, batch))
    if len(taken.q) != checkpoint.blocks:
        raise LatteError(f"{checkpoint.name}: {len(taken.q)} of {checkpoint.blocks} attention blocks ran through the "
                         "hook; the model mixes attentions that are not supported")
    return taken


def select_heads(heads: str, blocks: int, per_block: int) -> list[tuple[int, int]]:
    """Return (block, head) pairs of a selection.

    Parameters
    ----------
    heads
        ``all``; a count ``12``, spread evenly over the depth; or a list ``0.1,3.2`` of block.head.

    Raises
    ------
    LatteError
        The selection cannot be read or names a head the model does not have.
    """
    total = blocks * per_block
    wrong = LatteError(f"heads {heads!r} must be 'all', a count from 1 to {total}, or a list of block.head with blocks "
                       f"below {blocks} and heads below {per_block}, such as 0.0,{blocks - 1}.{per_block - 1}")
    if heads == "all":
        return [divmod(index, per_block) for index in range(total)]
    try:
        if "." not in heads:
            count = int(heads)
            if not 1 <= count <= total:
                raise wrong
            chosen = {int(index) for index in np.linspace(0, total - 1, count).round()}
            return [divmod(index, per_block) for index in sorted(chosen)]
        pairs = [(int(block), int(head)) for block, head in (entry.split(".") for entry in heads.split(","))]
    except ValueError:
        raise wrong from None
    if not all(0 <= block < blocks and 0 <= head < per_block for block, head in pairs):
        raise wrong
    return pairs


def extract_vectors(checkpoint: Checkpoint, batch: np.ndarray, config: AttentionConfig, *, heads: str = "all",
                    keep: float = 0.15, on_block: Callable[[], None] = lambda: None) -> VectorSet:
    """Return the int8 operands, scales and thresholds of the chosen heads on the first sequence of `batch`.

    Parameters
    ----------
    batch : int64 [1, tokens] or float32 [1, 3, size, size]
    heads
        As `select_heads` takes it.
    keep
        Share of visible pairs each head's ``tau`` keeps on this very input.
    """
    if checkpoint.head_dim != config.head_dim:
        config = config.for_head_dim(checkpoint.head_dim)
    pairs = select_heads(heads, checkpoint.blocks, checkpoint.heads)
    taken = capture(checkpoint, batch, on_block)
    q, q_scale = quantize(np.stack([taken.q[block][0, head] for block, head in pairs]))
    k, k_scale = quantize(np.stack([taken.k[block][0, head] for block, head in pairs]))
    v, v_scale = quantize(np.stack([taken.v[block][0, head] for block, head in pairs]), V_MAX)
    tau = [tau_for_keep(q[i], k[i], q_scale[i], k_scale[i], keep, config, causal=taken.causal)
           for i in range(len(pairs))]
    block, head = np.array(pairs, np.int32).T
    return VectorSet(q, k, v, q_scale, k_scale, v_scale, np.array(tau, np.float32), taken.causal, block, head,
                     checkpoint.name)
