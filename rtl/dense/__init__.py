"""The engine ``dense``: the yardstick, every key of every row at full precision and no filter."""
