"""What tests of ``latte infer`` on tiny models share."""

import dataclasses

import numpy as np

from latte.golden.model_thresholds import Thresholds
from latte.golden.models.extraction import capture

PROMPT = "a few words to be cut"


def static_thresholds(checkpoint, batch, tau):
    """Return relative thresholds with the scales of one batch, without compensation."""
    taken = capture(checkpoint, batch)
    scales = {f"{name}_scale": np.abs(np.stack([rows[0] for rows in getattr(taken, name)])).max((-2, -1)) / limit
              for name, limit in (("q", 119), ("k", 119), ("v", 127))}
    return dataclasses.replace(Thresholds.uniform(tau, checkpoint.blocks, checkpoint.heads),
                               **{name: scale.astype(np.float64) for name, scale in scales.items()})


def figures(record):
    """Return the results by the end of their names."""
    return {result["name"].split(".", 1)[1]: result for result in record["results"]}
