"""Facts only: FPGAs, and the boards they sit on."""
