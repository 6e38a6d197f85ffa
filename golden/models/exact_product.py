"""LATTE whose survivors get exact 8-bit products: what reusing the estimate costs (the paper's Figure 5)."""

import torch

from latte.golden.models.hardware import HardwareAttention

__all__ = ["ExactProductAttention"]


class ExactProductAttention(HardwareAttention):
    """Attention handler with LATTE's filter and compensation, and a score computed anew for every survivor.

    Parameters are those of `HardwareAttention`.
    """

    def score(self, operands: tuple[torch.Tensor, ...], q_parts: tuple[torch.Tensor, torch.Tensor],
              k_parts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return ``q . k`` of all pairs."""
        del q_parts, k_parts
        q, k = operands[:2]
        return q.clamp(max=self.config.qk_max) @ k.clamp(max=self.config.qk_max).transpose(-1, -2)
