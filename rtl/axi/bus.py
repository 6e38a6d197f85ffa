"""Signals of the buses, and the build parameters of those that carry data."""

import dataclasses
import enum
from typing import ClassVar

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from latte.golden.config import ceil_log2
from latte.golden.errors import LatteError

__all__ = ["ADDRESS_BITS", "BOUNDARY", "LITE_ADDRESS_BITS", "LITE_BYTES", "WORD_ADDRESS_BITS", "DataParameters",
           "MasterParameters", "Response", "StreamParameters", "burst_layout", "fault_layout", "lite_members",
           "prefixed", "read_members", "receiver_members", "register_members", "transmitter_members",
           "wishbone_members", "write_members"]

ADDRESS_BITS = 64
"""Of the master."""
BOUNDARY = 4096
"""Bytes; no burst crosses a multiple of it."""
LITE_ADDRESS_BITS = 12
LITE_BYTES = 4
WORD_ADDRESS_BITS = LITE_ADDRESS_BITS - 2
"""Of a register."""
_BURST_BEATS = tuple(1 << n for n in range(3, 9))
_STREAM_BITS = (32, 64, 128)
_INCR = 1
_NORMAL_NON_CACHEABLE_BUFFERABLE = 0b0011


class Response(enum.IntEnum):
    """RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


@dataclasses.dataclass(frozen=True)
class MasterParameters:
    """Build parameters of the AXI4 master.

    Parameters
    ----------
    data_bits
        Width of RDATA and WDATA: 64 or 128. Addresses and strides of rows are multiples of as many bytes.
    burst_beats
        Most beats of a burst: a power of two, 8 to 256, so that a descriptor is one burst.
    reads_in_flight, writes_in_flight
        Most bursts that were asked for and not answered.

    Attributes
    ----------
    interface
        Name of this way for rows to come and go.

    Raises
    ------
    LatteError
        A parameter is out of range.
    """

    interface: ClassVar[str] = "axi"
    data_bits: int = 64
    burst_beats: int = 16
    reads_in_flight: int = 4
    writes_in_flight: int = 4

    def __post_init__(self) -> None:
        if self.data_bits not in (64, 128):
            raise LatteError(f"the master's data width must be 64 or 128 bits, not {self.data_bits!r}")
        if self.burst_beats not in _BURST_BEATS:
            raise LatteError(f"the master's bursts must have {', '.join(map(str, _BURST_BEATS))} beats at most, not "
                             f"{self.burst_beats!r}")
        for field in ("reads_in_flight", "writes_in_flight"):
            if not 1 <= getattr(self, field) <= 64:
                raise LatteError(f"the master's {field} must be 1 to 64, not {getattr(self, field)!r}")

    @property
    def data_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_bits // 8


@dataclasses.dataclass(frozen=True)
class StreamParameters:
    """Build parameters of the AXI4-Stream ports.

    Parameters
    ----------
    data_bits
        Width of TDATA, of all of them: 32, 64 or 128. Each row begins with a beat of its own.

    Attributes
    ----------
    interface
        Name of this way for rows to come and go.
    reads_in_flight
        Nothing is asked for.

    Raises
    ------
    LatteError
        The width is another.
    """

    interface: ClassVar[str] = "axi-stream"
    reads_in_flight: ClassVar[int] = 0
    data_bits: int = 64

    def __post_init__(self) -> None:
        if self.data_bits not in _STREAM_BITS:
            raise LatteError(f"the streams' data width must be {', '.join(map(str, _STREAM_BITS))} bits, not "
                             f"{self.data_bits!r}")

    @property
    def data_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_bits // 8


DataParameters = MasterParameters | StreamParameters
"""How rows come and go: by an AXI4 master, or by AXI4-Stream ports."""


def burst_layout(parameters: MasterParameters) -> data.StructLayout:
    """Address in bytes, and number of beats, of one burst."""
    return data.StructLayout({"address": ADDRESS_BITS, "beats": range(parameters.burst_beats + 1)})


def fault_layout() -> data.StructLayout:
    """Error responses seen."""
    return data.StructLayout({"slverr": 1, "decerr": 1})


def lite_members() -> dict[str, wiring.Member]:
    """Return the signals of AXI4-Lite as its slave has them."""
    return {"awaddr": In(LITE_ADDRESS_BITS), "awprot": In(3), "awvalid": In(1), "awready": Out(1),
            "wdata": In(8 * LITE_BYTES), "wstrb": In(LITE_BYTES), "wvalid": In(1), "wready": Out(1),
            "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
            "araddr": In(LITE_ADDRESS_BITS), "arprot": In(3), "arvalid": In(1), "arready": Out(1),
            "rdata": Out(8 * LITE_BYTES), "rresp": Out(2), "rvalid": Out(1), "rready": In(1)}


def wishbone_members() -> dict[str, wiring.Member]:
    """Return the signals of Wishbone B4, classic, as its slave has them; `adr` counts words."""
    return {"cyc": In(1), "stb": In(1), "we": In(1), "adr": In(WORD_ADDRESS_BITS), "dat_w": In(8 * LITE_BYTES),
            "sel": In(LITE_BYTES), "ack": Out(1), "err": Out(1), "dat_r": Out(8 * LITE_BYTES)}


def register_members() -> dict[str, wiring.Member]:
    """Return how a slave reads and writes registers."""
    return {"write": Out(1), "write_word": Out(WORD_ADDRESS_BITS), "write_data": Out(8 * LITE_BYTES),
            "write_strobe": Out(LITE_BYTES), "write_refused": In(1),
            "read_word": Out(WORD_ADDRESS_BITS), "read_data": In(8 * LITE_BYTES), "read_refused": In(1)}


def _address_members(channel: str, parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return a master's address channel; what never changes is the reset value of its signal."""
    return {f"{channel}id": Out(1), f"{channel}addr": Out(ADDRESS_BITS), f"{channel}len": Out(8),
            f"{channel}size": Out(3, init=ceil_log2(parameters.data_bytes)), f"{channel}burst": Out(2, init=_INCR),
            f"{channel}lock": Out(1), f"{channel}cache": Out(4, init=_NORMAL_NON_CACHEABLE_BUFFERABLE),
            f"{channel}prot": Out(3), f"{channel}qos": Out(4), f"{channel}valid": Out(1), f"{channel}ready": In(1)}


def read_members(parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return the read channels of AXI4 as a master has them."""
    return _address_members("ar", parameters) | {
        "rid": In(1), "rdata": In(parameters.data_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1),
        "rready": Out(1)}


def write_members(parameters: MasterParameters) -> dict[str, wiring.Member]:
    """Return the write channels of AXI4 as a master has them."""
    return _address_members("aw", parameters) | {
        "wdata": Out(parameters.data_bits), "wstrb": Out(parameters.data_bytes), "wlast": Out(1), "wvalid": Out(1),
        "wready": In(1), "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}


def receiver_members(parameters: StreamParameters) -> dict[str, wiring.Member]:
    """Return the signals of AXI4-Stream as who takes rows has them."""
    return {"tdata": In(parameters.data_bits), "tkeep": In(parameters.data_bytes), "tlast": In(1), "tvalid": In(1),
            "tready": Out(1)}


def transmitter_members(parameters: StreamParameters) -> dict[str, wiring.Member]:
    """Return the signals of AXI4-Stream as who gives rows has them; all bytes count, so there is no TKEEP."""
    return {"tdata": Out(parameters.data_bits), "tlast": Out(1), "tuser": Out(1), "tvalid": Out(1), "tready": In(1)}


def prefixed(prefix: str, members: dict[str, wiring.Member]) -> dict[str, wiring.Member]:
    """Return the signals of a bus under the names that they have as ports."""
    return {f"{prefix}_{name}": member for name, member in members.items()}
