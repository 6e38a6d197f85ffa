"""Place and route: Fmax, bitstreams, the design around the core on a board (``latte timing``, ``latte bitstream``)."""
