"""Which package of rtl may import which."""

import ast
import pathlib

import pytest

import latte.rtl

ALLOWED = {"common": {"common"}, "wide": {"common", "wide"}, "serial": {"common", "serial"},
           "dense": {"common", "wide", "dense"}, "memory": {"axi", "common", "wide", "memory"},
           "axi": {"axi", "common", "engines"}}
FOLDER = pathlib.Path(latte.rtl.__path__[0])


@pytest.mark.parametrize("package", ALLOWED)
def test_engines_stand_beside_each_other(package):
    files = sorted((FOLDER / package).glob("*.py"))
    assert len(files) > 2
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("latte.rtl."):
                assert node.module.split(".")[2] in ALLOWED[package], f"{path.name} imports {node.module}"


def test_every_engine_of_a_configuration_is_registered():
    from latte.golden.config import AttentionConfig, preset
    from latte.golden.errors import LatteError
    from latte.rtl.common.core import Core
    from latte.rtl.engines import ENGINES, engine_of

    names = AttentionConfig.__annotations__["engine"].__args__
    assert set(ENGINES) == set(names) and all(issubclass(engine.core, Core) for engine in ENGINES.values())
    assert engine_of(preset("tiny")).name == "serial"
    with pytest.raises(LatteError, match="cycle model"):
        from latte.rtl.cycle_prediction import predict_cycles

        predict_cycles([], preset("small").dense())
