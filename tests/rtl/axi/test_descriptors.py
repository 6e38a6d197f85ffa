"""The table of a descriptor."""

from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, DESCRIPTOR_FIELDS, STATUS_OFFSET, descriptor_layout


def test_fields_fill_the_descriptor():
    assert sum(field.width for field in DESCRIPTOR_FIELDS) == 8 * DESCRIPTOR_BYTES
    assert descriptor_layout()["status"].offset == 8 * STATUS_OFFSET
