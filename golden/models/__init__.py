"""Whole transformer models on the golden attention: checkpoints, the attention hook, activations as vector files.

The only place beside `latte.golden.train` that may import torch and transformers, and only inside the modules that need
them: importing this package, or `latte.golden.models.commands`, loads neither.
"""
