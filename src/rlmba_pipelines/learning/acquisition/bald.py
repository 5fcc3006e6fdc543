"""BALD: the samples on which the members of the ensemble disagree while each is sure of itself.

Concept  mutual information of the class and the member: I(y; ω) = H[mean_k p_k] − mean_k H[p_k].
Source   Houlsby et al. 2011 (arXiv 1112.5745); Gal et al. 2017 (arXiv 1703.02910) with draws of a network.
Stated   the formula, with the K draws as equally likely posterior samples.
Chosen   the draws are the heads of the ensemble; float64 throughout, so that float32 draws are ranked the same way.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import entropy
from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection

BLOCK_ENTRIES = 1_000_000  # probabilities in float64 at once; decides memory, never the result
RESOLUTION = 1e-12  # nats; less is rounding


def disagreement(draws_NKC: np.ndarray) -> np.ndarray:
    """Mutual information of class and member in nats, float64[N] in [0, ln min(C, K)].

    >>> disagreement(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])).round(4).tolist()
    [0.6931, 0.0]
    """
    n_samples, n_draws, n_classes = draws_NKC.shape
    information_N = np.zeros(n_samples)
    for part in blocks(n_samples, max(1, BLOCK_ENTRIES // (n_draws * n_classes))):
        draws_BKC = draws_NKC[part].astype(np.float64)
        information_N[part] = entropy(draws_BKC.mean(axis=1)) - entropy(draws_BKC).mean(axis=1)
    return np.where(information_N < RESOLUTION, 0.0, information_N)


@register(
    "bald",
    requires=("predictions", "draws"),
    optional=("prices",),
    cost="O(N K C)",
    reference="Houlsby et al. 2011, arXiv 1112.5745; Gal et al. 2017, arXiv 1703.02910",
    idea="Ask where the members of the ensemble contradict one another.",
    formula="u(x) = H[mean_k p_k] − mean_k H[p_k]",
    when="Noisy labels, where margin and entropy chase what no label can settle; batches may repeat themselves.",
    deterministic=True,
    pointwise=True,
)
def bald(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Largest mutual information (nats) of the fused prediction with the head of the ensemble first."""
    assert view.predictions is not None
    information_N = disagreement(view.predictions.draws_NKC)
    reasons = {"bald": information_N, "entropy": entropy(view.predictions.probabilities_NC)}
    return top_k(view, information_N, query_size, reasons)
