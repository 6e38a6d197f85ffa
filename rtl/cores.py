"""The core that a configuration asks for."""

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.rtl.attention_core import AttentionCore
from latte.rtl.core_base import CoreBase
from latte.rtl.dense_core import DenseCore
from latte.rtl.serial_core import SerialCore

__all__ = ["create_core"]


def create_core(config: AttentionConfig) -> CoreBase:
    """Return the core that ``config.engine`` names.

    Raises
    ------
    LatteError
        The RTL has no such width of the estimate.
    """
    if config.estimate_bits != 4:
        raise LatteError(f"the RTL estimates with 4 bits, not {config.estimate_bits}; leave estimate_bits at 4, or use "
                         "latte eval")
    return {"latte": AttentionCore, "serial": SerialCore, "dense": DenseCore}[config.engine](config)
