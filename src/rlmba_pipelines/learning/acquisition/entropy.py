"""Entropy: the samples whose class is least settled.

Concept  u(x) = H[p(y | x)].
Source   Shannon 1948; Settles 2009, section 2.1.
Stated   the samples of highest entropy are asked for.
Chosen   of the fused head, in nats.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning import evidence
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "entropy",
    requires=("predictions",),
    optional=("prices",),
    cost="O(N C)",
    reference="Shannon 1948; Settles 2009",
    idea="Ask where the fused prediction is spread over most classes.",
    formula="u(x) = −Σ_c p_c ln p_c",
    when="Few classes; with many, the tail of small probabilities drowns the doubt that matters.",
    deterministic=True,
    pointwise=True,
)
def entropy(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Largest entropy (nats) of the fused prediction first."""
    assert view.predictions is not None
    utility_N = evidence.entropy(view.predictions.probabilities_NC)
    return top_k(view, utility_N, query_size, reasons={"entropy": utility_N})
