"""Least confidence: the samples whose likeliest class is least likely.

Concept  u(x) = 1 − max_c p_c.
Source   Lewis & Gale 1994; Settles 2009.
Stated   the samples of highest u are asked for.
Chosen   of the fused head.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "least_confidence",
    requires=("predictions",),
    optional=("prices",),
    cost="O(N C)",
    reference="Lewis & Gale 1994; Settles 2009",
    idea="Ask where the likeliest class is least likely.",
    formula="u(x) = 1 − max_c p_c",
    when="A cheap baseline; with many classes it sits between margin and entropy.",
    deterministic=True,
    pointwise=True,
)
def least_confidence(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Smallest probability of the predicted class of the fused prediction first; utility in [0, 1 − 1/C]."""
    assert view.predictions is not None
    confidence_N = view.predictions.probabilities_NC.max(axis=1).astype(np.float64)
    return top_k(view, 1 - confidence_N, query_size, reasons={"confidence": confidence_N})
