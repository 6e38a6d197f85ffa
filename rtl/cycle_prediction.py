"""Cycles of a work list by its engine's cycle model, from the golden kept masks alone."""

from collections.abc import Iterable, Sequence

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.quantizer import saturate_qk
from latte.golden.row_limit import row_limits
from latte.golden.score_estimator import estimate_scores
from latte.golden.split import split_halves
from latte.golden.threshold_filter import row_maximum, threshold_filter, visible_keys
from latte.golden.vectors import VectorSet
from latte.rtl.common.head_work import HeadWork, Prediction
from latte.rtl.engines import ENGINES, engine_of

__all__ = ["kept_keys", "predict_cycles", "predict_vectors"]


def kept_keys(q: np.ndarray, k: np.ndarray, entry: HeadParameters, config: AttentionConfig, *,
              causal: bool) -> np.ndarray:
    """Return the bool [m, n] mask of a head's survivors."""
    query, key = (split_halves(saturate_qk(rows, config.qk_max)[0], config.split, config.estimate_bits)[0]
                  for rows in (q, k))
    estimate, visible = estimate_scores(query, key), visible_keys(len(q), len(k), causal)
    limit = row_limits(entry.threshold, estimate, visible, row_maximum(estimate, visible), entry.scale_code, config)
    return threshold_filter(estimate, visible, limit)


def predict_vectors(vectors: VectorSet, config: AttentionConfig,
                    parameters: Sequence[HeadParameters] | None = None) -> Prediction:
    """Predict the heads of a vector set, one after the other; `parameters` may replace the set's own."""
    vectors.check_fits(config)
    entries = parameters or [vectors.parameters(i, config) for i in range(len(vectors))]
    return predict_cycles((HeadWork.of_entry(kept_keys(q, k, entry, config, causal=vectors.causal), entry, config,
                                             causal=vectors.causal)
                           for q, k, entry in zip(vectors.q, vectors.k, entries, strict=True)), config)


def predict_cycles(jobs: Iterable[HeadWork], config: AttentionConfig) -> Prediction:
    """Predict the cycles of a work list that starts on an idle core.

    Raises
    ------
    LatteError
        The configuration's engine has no cycle model.
    """
    engine = engine_of(config)
    if engine.cycle_model is None:
        raise LatteError(f"engine = {engine.name!r} has no cycle model; simulate it, or choose one of "
                         f"{', '.join(other.name for other in ENGINES.values() if other.cycle_model)}")
    model = engine.cycle_model(config)
    for job in jobs:
        model.run(job)
    return model.prediction()
