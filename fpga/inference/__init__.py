"""Whole models on hardware (``latte infer``).

Here, above simulation, boards and driver, because it takes any of them for a backend; the models themselves, which need
torch, are in `latte.golden.models.inference`.
"""
