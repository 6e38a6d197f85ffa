"""Learned thresholds: calibration, training, evaluation of whole models, register images.

Like `latte.golden.models` it may import torch, and importing this package or its ``commands`` does not.
"""
