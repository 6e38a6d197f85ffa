"""Whether a design fits a device, before it is placed."""

from latte.fpga.boards.devices import Device
from latte.fpga.synthesis.yosys import Usage
from latte.golden.errors import LatteError

__all__ = ["check_fits"]


def check_fits(usage: Usage, device: Device, what: str, others: dict[str, Usage]) -> None:
    """Raise `LatteError` if a design is too large: by how much, and which of the `others` (presets) would fit."""
    over = _excess(usage, device)
    if over:
        fitting = [name for name, other in others.items() if not _excess(other, device)]
        advice = f"; of the presets, {' and '.join(fitting)} fits" if fitting else "; no preset fits"
        raise LatteError(f"{what} is too large for the {device.title}: it needs {', '.join(over)}{advice}, "
                         "and a smaller max_seq_len needs less block RAM")


def _excess(usage: Usage, device: Device) -> list[str]:
    pairs = {"LUT4": (usage.lut4_equivalents, device.lut4), "flip-flops": (usage.ff, device.ff),
             "block RAMs": (usage.bram, device.bram),
             "single-ported RAMs": (usage.spram, device.spram), "multipliers": (usage.dsp, device.dsp)}
    return [f"{used} {unit}, {used - available} more than its {available}"
            for unit, (used, available) in pairs.items() if used > available]
