"""The core that a configuration asks for."""

from latte.golden.config import AttentionConfig
from latte.rtl.attention_core import AttentionCore
from latte.rtl.core_base import CoreBase
from latte.rtl.dense_core import DenseCore

__all__ = ["create_core"]


def create_core(config: AttentionConfig) -> CoreBase:
    """Return the LATTE core, or its dense baseline, whichever ``config.engine`` names."""
    return AttentionCore(config) if config.engine == "latte" else DenseCore(config)
