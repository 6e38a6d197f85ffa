"""The core behind a bus, by how its rows come and go."""

from typing import Any

from latte.golden.config import AttentionConfig
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.axi.axi_stream_core import AxiStreamCore
from latte.rtl.axi.bus import DataParameters, MasterParameters, StreamParameters
from latte.rtl.axi.bus_core import BusCore

__all__ = ["DATA_PORTS", "create_bus_core"]

DATA_PORTS: dict[str, type[MasterParameters] | type[StreamParameters]] = {
    parameters.interface: parameters for parameters in (MasterParameters, StreamParameters)}
"""Parameters of the ports of rows, by what commands call the whole."""
_CORES: dict[str, Any] = {"axi": AxiCore, "axi-stream": AxiStreamCore}


def create_bus_core(config: AttentionConfig, parameters: DataParameters, **options: Any) -> BusCore:
    """Return the component of these parameters; options are those of `BusCore`."""
    return _CORES[parameters.interface](config, parameters, **options)
