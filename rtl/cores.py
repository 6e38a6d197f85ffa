"""The core that a configuration asks for."""

from latte.golden.config import AttentionConfig
from latte.rtl.attention_core import AttentionCore
from latte.rtl.core_base import CoreBase
from latte.rtl.dense_core import DenseCore
from latte.rtl.serial_core import SerialCore

__all__ = ["create_core"]


def create_core(config: AttentionConfig) -> CoreBase:
    """Return the core that ``config.engine`` names."""
    return {"latte": AttentionCore, "serial": SerialCore, "dense": DenseCore}[config.engine](config)
