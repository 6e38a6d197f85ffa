"""FPGAs that designs are placed on: what they hold, and how nextpnr is told."""

import dataclasses

from latte.golden.errors import LatteError

__all__ = ["DEVICES", "Device", "find_device"]


@dataclasses.dataclass(frozen=True)
class Device:
    """One part.

    Parameters
    ----------
    name, title
    target
        Family, of `latte.fpga.synthesis.targets`.
    lut4, ff, bram, dsp, spram
        What it holds; `spram`: single-ported RAMs.
    tool, options
        The nextpnr and its options for the part and speed grade, without the package.
    package
        Option and name of a package, for runs without pins.
    """

    name: str
    title: str
    target: str
    lut4: int
    ff: int
    bram: int
    dsp: int
    tool: str
    options: tuple[str, ...]
    package: tuple[str, ...] = ()
    spram: int = 0


_ECP5_PACKAGE = ("--package", "CABGA381")
DEVICES = {device.name: device for device in (
    Device("25k", "ECP5-25F", "ecp5", 24288, 24288, 56, 28, "nextpnr-ecp5", ("--25k",), _ECP5_PACKAGE),
    Device("45k", "ECP5-45F", "ecp5", 43848, 43848, 108, 72, "nextpnr-ecp5", ("--45k",), _ECP5_PACKAGE),
    Device("um5g-45k", "ECP5-5G-45F", "ecp5", 43848, 43848, 108, 72, "nextpnr-ecp5", ("--um5g-45k",), _ECP5_PACKAGE),
    Device("85k", "ECP5-85F", "ecp5", 83640, 83640, 208, 156, "nextpnr-ecp5", ("--85k",), _ECP5_PACKAGE),
    Device("up5k", "iCE40 UP5K", "ice40", 5280, 5280, 30, 8, "nextpnr-ice40", ("--up5k",), ("--package", "sg48"),
           spram=4),
    Device("gw1nr-9c", "Gowin GW1NR-9C", "gowin", 8640, 6480, 26, 10, "nextpnr-himbaechel-gowin",
           ("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C")),
)}


def find_device(name: str) -> Device:
    """Return the device of that name, or raise `LatteError`."""
    if name not in DEVICES:
        raise LatteError(f"unknown device {name!r}; the devices are {', '.join(DEVICES)}")
    return DEVICES[name]
