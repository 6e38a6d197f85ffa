"""The memory itself: bytes, what cannot be read, and a count of what was moved."""

import numpy as np

from latte.golden.memory.traffic import Traffic

__all__ = ["MemoryFault", "MemoryImage"]


class MemoryFault(Exception):
    """An address that no memory answers at, or one that answers with an error."""


class MemoryImage:
    """Bytes from address 0.

    Parameters
    ----------
    size
    bus_bytes
        Bytes of a beat.

    Attributes
    ----------
    data : uint8 [size]
        What the host writes and reads; not counted.
    traffic : Traffic
        Of the core's reads and writes since it was put here.
    """

    def __init__(self, size: int, bus_bytes: int) -> None:
        self.data = np.zeros(size, np.uint8)
        self.bus_bytes = bus_bytes
        self.traffic = Traffic()
        self._broken: list[range] = []

    def break_range(self, first: int, size: int) -> None:
        """Let reads and writes of some bytes fail from now on."""
        self._broken.append(range(first, first + size))

    @property
    def broken_beats(self) -> list[int]:
        """Beats of which a part fails, by number from address 0."""
        return sorted({beat for of in self._broken for beat in range(of.start // self.bus_bytes,
                                                                     (of.stop - 1) // self.bus_bytes + 1)})

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._broken.clear()

    def read(self, kind: str, address: int, size: int) -> np.ndarray:
        """Return one contiguous piece, uint8 [size]; raise `MemoryFault` if a part of it cannot be had."""
        return self.read_rows(kind, np.array([address]), size)[0]

    def read_rows(self, kind: str, addresses: np.ndarray, size: int) -> np.ndarray:
        """Return the pieces of `size` bytes at some addresses, uint8 [len(addresses), size].

        Raises
        ------
        MemoryFault
            A part cannot be had.
        """
        self._check(addresses, size)
        self._count(kind, addresses, size)
        return self.data[addresses[:, None] + np.arange(size)]

    def write_rows(self, kind: str, addresses: np.ndarray, rows: np.ndarray) -> None:
        """Write pieces at some addresses, uint8 [len(addresses), size].

        Raises
        ------
        MemoryFault
            A part cannot be written; nothing is.
        """
        self._check(addresses, rows.shape[1])
        self._count(kind, addresses, rows.shape[1])
        self.data[addresses[:, None] + np.arange(rows.shape[1])] = rows

    def _check(self, addresses: np.ndarray, size: int) -> None:
        if len(addresses) and int(addresses.max()) + size > len(self.data):
            raise MemoryFault(f"no memory at {int(addresses.max()):#x}")
        for broken in self._broken:
            if ((addresses < broken.stop) & (addresses + size > broken.start)).any():
                raise MemoryFault(f"an error from {broken.start:#x}")

    def _count(self, kind: str, addresses: np.ndarray, size: int) -> None:
        beats = (addresses + size - 1) // self.bus_bytes - addresses // self.bus_bytes + 1
        self.traffic.add(kind, int(beats.sum()) * self.bus_bytes if size else 0, len(addresses) if size else 0)
