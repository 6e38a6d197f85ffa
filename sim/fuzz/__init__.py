"""Random builds and programs against the golden model, and every pair of values of a configuration's fields."""
