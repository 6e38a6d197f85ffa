"""Roofline of a build: what its lanes, its block RAM, its ports and its serial line allow."""

import dataclasses

from latte.golden.config import AttentionConfig, ceil_div

__all__ = ["HeadPoint", "Roof", "compute_roofs", "head_intensity", "memory_roofs"]

_UART_BITS_PER_BYTE = 10


@dataclasses.dataclass(frozen=True)
class Roof:
    """One bound on the speed.

    Parameters
    ----------
    name
    value
        MAC/s of a compute bound, bytes/s of a memory bound.
    """

    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class HeadPoint:
    """A measured head.

    Parameters
    ----------
    name
    intensity
        MAC per byte through the ports.
    speed
        MAC/s.
    """

    name: str
    intensity: float
    speed: float


def macs_per_pair(config: AttentionConfig) -> int:
    """Return the 8-bit multiply-accumulates that dense attention spends on a (query, key) pair: q·k and p·v."""
    return 2 * config.head_dim


def compute_roofs(config: AttentionConfig, clock_hz: float, keep: float) -> list[Roof]:
    """Return the bounds set by the units, in the multiply-accumulates of the dense attention they stand for.

    Parameters
    ----------
    config
    clock_hz
    keep
        Share of the pairs that survive.
    """
    pairs = {
        "estimator": config.pairs_per_cycle / config.dim_slices,
        "cross": 1 / (config.cross_slices * keep),
        "P·V": 1 / (config.value_slices * keep),
    }
    return [Roof(name, rate * clock_hz * macs_per_pair(config)) for name, rate in pairs.items()]


def memory_roofs(config: AttentionConfig, clock_hz: float, baud: int) -> list[Roof]:
    """Return the bounds on the bytes of Q, K, V and O that pass the ports."""
    output_bytes = config.normalizer_lanes * ceil_div(config.out_bits, 8)
    return [Roof("core's ports", (3 * config.bus_bytes + output_bytes) * clock_hz),
            Roof(f"UART, {baud} baud", baud / _UART_BITS_PER_BYTE)]


def head_intensity(config: AttentionConfig, keys: int, pairs: int) -> float:
    """Return the dense multiply-accumulates per byte of a head of `keys` rows and `pairs` visible pairs."""
    return pairs * macs_per_pair(config) / (keys * config.head_dim * (3 + ceil_div(config.out_bits, 8)))
