"""Master of Wishbone B4, classic, with the interface of cocotbext-axi's `AxiLiteMaster`; in the simulator's process."""

import dataclasses
from typing import Any

from cocotb.triggers import Lock, RisingEdge
from cocotbext.axi import AxiResp

__all__ = ["WishboneAnswer", "WishboneMaster"]


@dataclasses.dataclass(frozen=True)
class WishboneAnswer:
    """How a cycle ended: OKAY for ACK, SLVERR for ERR; and what was read."""

    resp: AxiResp
    data: bytes


class WishboneMaster:
    """Carries cycles out, one after the other.

    Parameters
    ----------
    dut
        Has the signals.
    prefix
        Of their names.
    """

    def __init__(self, dut: Any, prefix: str) -> None:
        self._signals = {name: getattr(dut, f"{prefix}_{name}") for name in (
            "cyc", "stb", "we", "adr", "dat_w", "sel", "ack", "err", "dat_r")}
        self._edge = RisingEdge(dut.clk)
        self._lock = Lock()

    async def read(self, address: int, length: int) -> WishboneAnswer:
        """Read a word."""
        return await self._cycle(address, None, length)

    async def write(self, address: int, data: bytes) -> WishboneAnswer:
        """Write the low bytes of a word."""
        return await self._cycle(address, data, len(data))

    async def _cycle(self, address: int, data: bytes | None, length: int) -> WishboneAnswer:
        signals = self._signals
        async with self._lock:
            for name, value in {"cyc": 1, "stb": 1, "we": data is not None, "adr": address // 4,
                                "dat_w": int.from_bytes(data or b"", "little"), "sel": (1 << length) - 1}.items():
                signals[name].value = int(value)
            await self._edge
            while not (signals["ack"].value or signals["err"].value):
                await self._edge
            answer = WishboneAnswer(AxiResp.SLVERR if signals["err"].value else AxiResp.OKAY,
                                    int(signals["dat_r"].value).to_bytes(4, "little")[:length])
            signals["cyc"].value = signals["stb"].value = 0
            return answer
