"""MaxHerding: the batch that the rest of the pool most resembles, as the model sees it.

Concept  generalised coverage C(A) = mean_x max_{a ∈ A ∪ L} k(x, a), maximised greedily.
Source   Bae, Noh & Sutherland 2024, Generalized Coverage for More Robust Low-Budget Active Learning (arXiv 2407.12212).
Stated   k = exp(−(‖x − a‖ / h)²), h = 1, on (self-supervised) representations of length 1; candidates are drawn
         from large pools.
Chosen   the fused embedding is the representation. Targets are the candidates: labeled samples are covered anyway. Over
         ``max_kernel_rows`` candidates a drawn sample stands for all; see ``selection/sample.py``.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import fused_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.herding import MAX_KERNEL_ROWS, herding
from rlmba_pipelines.learning.selection.kernels import Kernel
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "max_herding",
    requires=("embedding",),
    optional=("prices",),
    cost="O(min(N, 15,000)² D), then a few rows a pick",
    reference="Bae et al. 2024, arXiv 2407.12212",
    idea="Ask for the batch that the rest of the pool most resembles in the model's own representation.",
    formula="F(A) = Σ_x max_{a ∈ A ∪ L} k(x, a), k = exp(−(‖z − z′‖ / h)²), ‖z‖ = 1",
    when="Small budgets with a good representation; it does not ask what the model already knows.",
    deterministic=True,
    options_from={
        "bandwidth": "the paper: h = 1 on representations of length 1",
        "max_kernel_rows": "chosen: the similarities of 15,000 rows take 900 MB",
    },
)
def max_herding(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    bandwidth: float = 1.0,
    max_kernel_rows: int = MAX_KERNEL_ROWS,
) -> Selection:
    """Herding with u = 1; up to ``max_kernel_rows`` candidates it is exact and the generator is never asked."""
    kernels = [Kernel(1.0, fused_rows(view), bandwidth)]
    return herding(view, np.ones(len(view.sample_ids)), kernels, query_size, rng=rng, max_kernel_rows=max_kernel_rows)
