"""Attention of whole models that something else computes, held to torch's exact arithmetic in every bit.

Q, K and V are smoothed and quantised as `HardwareAttention` does it, and output codes dequantised as there; between the
two the codes come from a backend, and the model goes on with them. The exact arithmetic in torch computes the same
operands beside it, and every code is compared.
"""

import abc
import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from latte.golden.attention import HeadParameters
from latte.golden.backend import BackendFailure
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import HeadCodes
from latte.golden.models.hardware import HardwareAttention, PairCounter
from latte.golden.register_image import RegisterImage

__all__ = ["BlockFigures", "ComparedAttention", "Computed"]


@dataclasses.dataclass
class BlockFigures:
    """What the attentions of one block came to.

    Parameters
    ----------
    cycles
        Clock cycles of the core.
    jobs
    outputs
        Attention outputs, one per head and forward pass.
    differing
        Those in which a bit differs from torch's.
    """

    cycles: int = 0
    jobs: int = 0
    outputs: int = 0
    differing: int = 0


@dataclasses.dataclass(frozen=True)
class Computed:
    """One block's attention by a backend.

    Parameters
    ----------
    outputs : list of int32 [queries, d]
        Output codes of each query head.
    jobs, cycles
        That it took.
    """

    outputs: list[np.ndarray]
    jobs: int
    cycles: int


class ComparedAttention(HardwareAttention, abc.ABC):
    """Attention handler that goes on with a backend's output codes.

    Parameters
    ----------
    checkpoint
    thresholds
    image
        Their registers, the same for every sequence.
    config
        Of the backend's build.
    on_block
        Called after each attention, for progress bars.

    Attributes
    ----------
    heads, heads_per_key : int
        Query heads of a block, and how many of them share keys.
    pairs : PairCounter
        Visible and kept pairs.
    blocks : list of BlockFigures
    differences : list of str
        One line for each output that differs.
    """

    def __init__(self, checkpoint: Checkpoint, thresholds: Thresholds, image: RegisterImage, config: AttentionConfig,
                 on_block: Callable[[], None] = lambda: None) -> None:
        self.pairs = PairCounter(checkpoint.blocks, checkpoint.heads)
        super().__init__(thresholds, config, self.pairs)
        self.blocks = [BlockFigures() for _ in range(checkpoint.blocks)]
        self.differences: list[str] = []
        self.heads, self.heads_per_key = checkpoint.heads, checkpoint.heads_per_key
        self._entries = [entry.parameters for entry in image.heads]
        self._on_block = on_block

    @abc.abstractmethod
    def compute(self, block: int, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> Computed:
        """Let the backend compute one block's attention.

        Parameters
        ----------
        block
        q : int8 [heads, m, d]
            Of the last m positions.
        k, v : int8 [heads, n, d]
            Repeated for each query head that shares them.
        causal

        Raises
        ------
        BackendFailure
            There is no answer.
        """

    def entries(self, block: int) -> list[HeadParameters]:
        """Return the register entries of a block's heads."""
        return self._entries[block * self.heads:(block + 1) * self.heads]

    @property
    def total(self) -> BlockFigures:
        """Sums over the blocks."""
        return BlockFigures(*(sum(column) for column in zip(*map(dataclasses.astuple, self.blocks), strict=True)))

    def pruned(self, block: int | None = None) -> float:
        """Return the share of visible pairs that were pruned, of one block or of all."""
        chosen = slice(None) if block is None else block
        return 1 - float(self.pairs.kept[chosen].sum() / max(1, self.pairs.visible[chosen].sum()))

    def output_codes(self, block: int, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], codes: HeadCodes,
                     step: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the backend's codes; count and name those outputs that are not torch's."""
        exact = super().output_codes(block, operands, codes, step, causal)
        if len(exact) != 1:
            raise LatteError(f"a backend takes one sequence at a time, not {len(exact)}")
        q, k, v = (rows[0].cpu().numpy().astype(np.int8) for rows in operands)
        computed = self.compute(block, q, k, v, causal)
        if len(computed.outputs) != self.heads:
            raise BackendFailure(f"block {block}: {len(computed.outputs)} of {self.heads} heads came to an output")
        produced = torch.from_numpy(np.stack(computed.outputs)).to(exact)
        different = (produced != exact[0]).flatten(1).sum(1).tolist()
        figures = self.blocks[block]
        figures.cycles += computed.cycles
        figures.jobs += computed.jobs
        figures.outputs += len(different)
        figures.differing += sum(count > 0 for count in different)
        self.differences += [f"block {block}, head {head}: {count} of {exact[0, head].numel()} output codes of "
                             f"{exact.shape[-2]} queries and {operands[1].shape[-2]} keys differ"
                             for head, count in enumerate(different) if count]
        self._on_block()
        return produced[None]
