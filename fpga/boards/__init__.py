"""FPGAs and boards: place and route, Fmax, bitstreams (``latte timing``, ``latte bitstream``)."""
