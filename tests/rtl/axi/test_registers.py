"""What the table of registers says of a build; what they do is in tests/cocotb/test_register_blocks.py."""

from latte.golden.config import preset
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.register_types import Access
from latte.rtl.axi.registers import register_table
from latte.rtl.common.identity import MAGIC


def test_constants_come_first():
    table = register_table(preset("tiny"), MasterParameters())
    constants = [register for register in table
                 if all(field.access is Access.CONSTANT for field in register.fields)]
    assert (table[0].name, table[0].offset, table[0].reset) == ("ID", 0, MAGIC)
    assert len(constants) >= 8 and constants == table[:len(constants)]


def test_fingerprint_is_that_of_bits_and_interface():
    def fingerprint(config, **master):
        table = register_table(config, MasterParameters(**master))
        return next(register.reset for register in table if register.name == "FINGERPRINT")

    tiny = preset("tiny")
    assert fingerprint(tiny) == fingerprint(tiny.replace(query_rows=32, name="other"), data_bits=128)
    assert fingerprint(tiny) != fingerprint(tiny.replace(heads=3))
