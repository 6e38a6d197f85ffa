"""The engine ``serial``: the same bits from three stages that work on one row each, for the smallest FPGAs."""
