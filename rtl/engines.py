"""The engines: one record each, registered for the name that a configuration gives.

What differs between them is asked for here; nothing else lists the engines.
"""

import dataclasses

from amaranth.lib import wiring

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.rtl.common.core import Core
from latte.rtl.common.head_work import CycleModel
from latte.rtl.dense.dense_core import DenseCore
from latte.rtl.dense.score_array import ScoreArray
from latte.rtl.serial.cycle_model import SerialCycleModel
from latte.rtl.serial.serial_core import SerialCore
from latte.rtl.serial.serial_estimator import SerialEstimator
from latte.rtl.wide.cycle_model import WideCycleModel
from latte.rtl.wide.score_estimator import ScoreEstimator
from latte.rtl.wide.wide_core import WideCore

__all__ = ["ENGINES", "MOST_KEYS", "Engine", "create_core", "engine_of"]


@dataclasses.dataclass(frozen=True)
class Engine:
    """One way to compute attention.

    Parameters
    ----------
    name
        As in `AttentionConfig.engine`.
    core
        Its core, made from a configuration.
    array
        The block of the core that makes estimates or scores of all keys, made from a configuration.
    array_name
        Its name in the core, and so in a table of blocks.
    products
        Products of parts of elements that the array makes for each pair and element.
    filters
        Keys are pruned: the work behind the filter is that of survivors.
    sweep_lanes
        The field that changes the array's size.
    cycle_model
        Predicts its cycles; None if there is no such model.
    """

    name: str
    core: type[Core]
    array: type[wiring.Component]
    array_name: str
    products: int
    filters: bool
    sweep_lanes: str
    cycle_model: type[CycleModel] | None = None


ENGINES = {engine.name: engine for engine in (
    Engine("latte", WideCore, ScoreEstimator, "score_estimator", products=1, filters=True, sweep_lanes="query_lanes",
           cycle_model=WideCycleModel),
    Engine("serial", SerialCore, SerialEstimator, "score_estimator", products=1, filters=True,
           sweep_lanes="dim_lanes", cycle_model=SerialCycleModel),
    Engine("dense", DenseCore, ScoreArray, "score_array", products=4, filters=False, sweep_lanes="query_lanes"),
)}
"""By name."""
MOST_KEYS = 4096
"""Keys of a sequence that an engine is made for; the arithmetic goes on to more."""


def engine_of(config: AttentionConfig) -> Engine:
    """Return the engine that a configuration asks for.

    Raises
    ------
    LatteError
        No such engine is registered, or it would hold more keys than `MOST_KEYS` on chip.
    """
    if config.max_seq_len > MOST_KEYS:
        raise LatteError(f"max_seq_len = {config.max_seq_len}: cores hold their keys on chip, at most {MOST_KEYS}; "
                         "longer sequences are for keys in memory (latte memory), which has no hardware yet")
    if config.engine not in ENGINES:
        raise LatteError(f"engine = {config.engine!r} has no hardware; choose one of {', '.join(ENGINES)}")
    return ENGINES[config.engine]


def create_core(config: AttentionConfig) -> Core:
    """Return the core that ``config.engine`` names."""
    return engine_of(config).core(config)
