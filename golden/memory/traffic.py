"""Bytes and requests by what they are for, counted in beats of the bus."""

import dataclasses

__all__ = ["KINDS", "OPERANDS", "Traffic"]

KINDS = {
    "state": "record of the sequence, read",
    "table": "page table",
    "groups": "group numbers, streamed",
    "high": "high planes, streamed",
    "spilled": "spilled candidates and scores, written and read",
    "key_high": "high rows of survivors",
    "key_low": "low rows of survivors",
    "values": "value rows of survivors with weight",
    "written": "appended rows and the record, written",
}
"""What K/V bytes are for; of the core's and of dense attention's traffic alike."""
OPERANDS = "operands"
"""Queries read, outputs written, rows to append read: the same for dense attention, and no K/V bytes."""


@dataclasses.dataclass
class Traffic:
    """Bytes moved and requests made, by kind.

    Parameters
    ----------
    moved
        Bytes in whole beats.
    requests
        Contiguous pieces.
    """

    moved: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys((*KINDS, OPERANDS), 0))
    requests: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys((*KINDS, OPERANDS), 0))

    def add(self, kind: str, moved: int, requests: int) -> None:
        """Count some."""
        self.moved[kind] += moved
        self.requests[kind] += requests

    def include(self, other: "Traffic") -> None:
        """Count what another counted."""
        for kind, moved in other.moved.items():
            self.add(kind, moved, other.requests[kind])

    def since(self, before: "Traffic") -> "Traffic":
        """Return what was counted behind a copy that was made before."""
        return Traffic({kind: moved - before.moved[kind] for kind, moved in self.moved.items()},
                       {kind: count - before.requests[kind] for kind, count in self.requests.items()})

    def copy(self) -> "Traffic":
        """Return the same counts, which stay as they are."""
        return Traffic(dict(self.moved), dict(self.requests))

    @property
    def total(self) -> int:
        """K/V bytes, read and written; operands are none."""
        return sum(self.moved[kind] for kind in KINDS)
