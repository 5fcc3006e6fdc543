"""Margin: the samples between two classes.

Concept  u(x) = 1 − (p_first − p_second).
Source   Scheffer, Decomain & Wrobel 2001.
Stated   the samples of smallest margin are asked for.
Chosen   of the fused head; 1 minus the margin, so that higher is more worth labeling.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning import evidence
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "margin",
    requires=("predictions",),
    optional=("prices",),
    cost="O(N C)",
    reference="Scheffer et al. 2001",
    idea="Ask where the two likeliest classes are closest.",
    formula="u(x) = 1 − (p₁ − p₂), the two largest probabilities",
    when="A strong and cheap baseline at every budget; batches may repeat themselves.",
    deterministic=True,
    pointwise=True,
)
def margin(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Smallest gap between the two likeliest classes of the fused prediction first."""
    assert view.predictions is not None
    utility_N = evidence.margin(view.predictions.probabilities_NC)
    return top_k(view, utility_N, query_size, reasons={"margin": utility_N})
