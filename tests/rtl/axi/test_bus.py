"""Build parameters of the buses that cannot be."""

import pytest

from latte.golden.errors import LatteError
from latte.rtl.axi.bus import MasterParameters, StreamParameters


@pytest.mark.parametrize("changes", [{"data_bits": 32}, {"burst_beats": 12}, {"burst_beats": 4}, {"reads_in_flight": 0},
                                     {"writes_in_flight": 65}])
def test_masters(changes):
    with pytest.raises(LatteError, match="the master's"):
        MasterParameters(**changes)


@pytest.mark.parametrize("bits", [8, 48, 256])
def test_streams(bits):
    with pytest.raises(LatteError, match=rf"32, 64, 128 bits, not {bits}"):
        StreamParameters(data_bits=bits)
