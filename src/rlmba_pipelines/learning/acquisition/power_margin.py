"""Power margin: draw samples in proportion to a power of their doubt, so that a batch does not repeat itself.

Concept  stochastic batch acquisition: the top of β ln u + Gumbel noise is a draw without replacement with weights u^β.
Source   Kirsch et al. 2023 (arXiv 2106.12059); Gumbel top-k: Kool et al. 2019 (arXiv 1903.06059).
Stated   "power" acquisition of any score of at least 0, with β = 1 where nothing else is said.
Chosen   u is the margin uncertainty 1 − (p₁ − p₂). A sample of no doubt at all (u = 0) has weight 0: it comes after all
         others, those among themselves in random order.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning import evidence
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

LEAST = np.finfo(np.float64).tiny  # stands for a weight of 0 under the logarithm: 708 nats below a weight of 1


@register(
    "power_margin",
    requires=("predictions",),
    cost="O(N C)",
    reference="Kirsch et al. 2023, arXiv 2106.12059",
    idea="Draw samples at random, those between two classes more often.",
    formula="P(next = x) ∝ (1 − (p₁ − p₂))^β among those left",
    when="Large batches of many similar samples, where margin repeats itself; as cheap as margin.",
    deterministic=False,
    options_from={"beta": "Kirsch et al. 2023: 1; 0 is random, large values are margin"},
)
def power_margin(view: PoolView, query_size: int, rng: np.random.Generator, *, beta: float = 1.0) -> Selection:
    """Sampling without replacement with weights u^β; utility is the perturbed score β ln u + Gumbel(0, 1).

    Raises:
        UserError: ``beta`` is negative or not finite.
    """
    assert view.predictions is not None
    if not (np.isfinite(beta) and beta >= 0):
        raise UserError(f"power_margin.beta must be a number of at least 0, got {beta!r}.")
    margin_N = evidence.margin(view.predictions.probabilities_NC).astype(np.float64)
    noise_N = rng.gumbel(size=len(margin_N))
    utility_N = beta * np.log(np.maximum(margin_N, LEAST)) + noise_N  # a rounded softmax may leave a margin below 0
    return top_k(view, utility_N, query_size, reasons={"margin": margin_N})
