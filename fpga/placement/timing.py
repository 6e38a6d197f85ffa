"""Fmax of the core and of each block alone, placed and routed without pins."""

import dataclasses
import pathlib
from collections.abc import Callable

from amaranth.lib import wiring

from latte.fpga.boards.devices import Device
from latte.fpga.placement.fit import check_fits
from latte.fpga.placement.place import Placement, place
from latte.fpga.synthesis.area import baseline_usages
from latte.fpga.synthesis.builds import Build, arithmetic_of, create, name_of
from latte.fpga.synthesis.core_stub import CoreStub
from latte.fpga.synthesis.targets import TARGETS
from latte.fpga.synthesis.yosys import synthesise
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.memory.build import MemoryBuild
from latte.rtl.axi.axi_core import AxiCore
from latte.rtl.engines import create_core, engine_of
from latte.rtl.wide.cross_product_unit import CrossProductUnit
from latte.rtl.wide.normalizer import Normalizer
from latte.rtl.wide.softmax import Softmax
from latte.rtl.wide.value_accumulator import ValueAccumulator
from latte.sim.locks import emptied

__all__ = ["BLOCKS", "TimedBlock", "measure_timing"]


@dataclasses.dataclass(frozen=True)
class TimedBlock:
    """What is placed alone, and how fast it is meant to be.

    Parameters
    ----------
    create
    goal
        MHz to place for, which the median must reach.
    """

    create: Callable[[AttentionConfig], wiring.Component]
    goal: float


BLOCKS = {
    "pe_array": TimedBlock(lambda config: engine_of(config).array(config), 200),
    "core": TimedBlock(create_core, 120),
    "axi": TimedBlock(lambda config: AxiCore(config, core=CoreStub(config)), 120),
    "cross_product_unit": TimedBlock(CrossProductUnit, 120),
    "softmax": TimedBlock(Softmax, 120),
    "value_accumulator": TimedBlock(ValueAccumulator, 120),
    "normalizer": TimedBlock(Normalizer, 120),
}
"""By the name of a run."""
_OF_ALL_ENGINES = ("pe_array", "core", "axi")


def measure_timing(name: str, build: Build, device: Device, folder: pathlib.Path, *, mhz: float,
                   seeds: int, progress: Callable[[Placement], None] = lambda placement: None) -> list[Placement]:
    """Place and route a block of `BLOCKS` with several seeds.

    Raises
    ------
    LatteError
        It does not fit the device, or the build has no such block.
    """
    if isinstance(build, MemoryBuild):
        if name != "core":
            raise LatteError(f"of a core with keys in memory, the core is placed as a whole; leave out --block {name}")
        component = create(build)
    else:
        if build.engine == "serial" and name not in _OF_ALL_ENGINES:
            raise LatteError(f"{build.name!r} has no {name}; of engine 'serial' there are "
                             f"{', '.join(_OF_ALL_ENGINES)}")
        component = BLOCKS[name].create(build)
    folder = folder / name
    placements = []
    with emptied(folder):
        blocks = synthesise(component, TARGETS[device.target], folder, top=name, block_rams=device.bram,
                            fill=isinstance(build, MemoryBuild))
        usage = next(iter(blocks.values()))
        what = f"{name_of(build)!r} with max_seq_len = {arithmetic_of(build).max_seq_len}"
        check_fits(usage, device, what, baseline_usages(device.target))
        for seed in range(1, seeds + 1):
            placements.append(place(f"{name}.json", device, folder, mhz=mhz, seed=seed,
                                    options=("--out-of-context", *device.package)))
            progress(placements[-1])
    return placements
