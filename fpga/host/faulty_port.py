"""A serial port with a bad cable: flips, drops and inserts bytes on the way, for tests."""

import collections
import random

from latte.fpga.host.transport import Port

__all__ = ["FAULTS", "FaultyPort"]

FAULTS = ("flip", "drop", "insert")


class FaultyPort:
    """Passes bytes on, some of them damaged.

    Parameters
    ----------
    port
    rate
        Probability of a fault per byte, in both directions.
    seed
        Of the faults.
    kinds
        Of `FAULTS`.

    Attributes
    ----------
    injected : Counter
        Faults so far, by ``(direction, kind)``.
    """

    def __init__(self, port: Port, rate: float, seed: int, kinds: tuple[str, ...] = FAULTS) -> None:
        self.rate = rate
        self.injected: collections.Counter[tuple[str, str]] = collections.Counter()
        self._port = port
        self._random = random.Random(seed)
        self._kinds = kinds

    @property
    def timeout(self) -> float | None:
        """Seconds that a read waits."""
        return self._port.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._port.timeout = seconds

    def write(self, data: bytes) -> int:
        """Send damaged bytes."""
        self._port.write(self._damage(data, "sent"))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Return damaged bytes."""
        return self._damage(self._port.read(size), "received")

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _damage(self, data: bytes, direction: str) -> bytes:
        damaged = bytearray()
        for byte in data:
            kind = self._random.choice(self._kinds) if self._random.random() < self.rate else None
            if kind is not None:
                self.injected[direction, kind] += 1
            if kind == "flip":
                damaged.append(byte ^ 1 << self._random.randrange(8))
            elif kind != "drop":
                damaged.append(byte)
            if kind == "insert":
                damaged.append(self._random.randrange(256))
        return bytes(damaged)
