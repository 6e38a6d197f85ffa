"""What compiled SystemRDL says of registers, as plain values."""

from typing import Any

__all__ = ["described"]


def described(node: Any) -> list[dict[str, Any]]:
    """Return the registers of an elaborated address map; `keeps`: a field reads as what was written to it."""
    return [{"name": register.inst_name, "offset": register.address_offset, "fields": [
        {"name": field.inst_name, "low": field.low, "width": field.width, "reset": field.get_property("reset"),
         "readable": field.is_sw_readable, "writable": field.is_sw_writable,
         "clears": field.get_property("onwrite") is not None,
         "keeps": field.is_sw_readable and field.is_sw_writable and field.get_property("onwrite") is None}
        for field in register.fields()]} for register in node.registers()]
