"""The specification: LATTE attention as exact integer NumPy code, one function per hardware block.

Nothing here knows of hardware description; the RTL in ``latte.rtl`` is held to these functions bit for bit, and
``latte.golden.reference`` (float64 mathematics) holds these functions to the truth.
"""
