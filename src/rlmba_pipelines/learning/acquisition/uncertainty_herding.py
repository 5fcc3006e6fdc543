"""Uncertainty Herding: cover what the model is in doubt about, ever more finely as labels come in.

Concept  uncertainty coverage F(A) = Σ_x u(x) · max_{a ∈ A ∪ L} k(x, a), maximised greedily; with few labels it is
         coverage, with many it is uncertainty sampling.
Source   Bae, Oliveira & Sutherland 2025, Uncertainty Herding (arXiv 2412.20644).
Stated   u = 1 − (p₁ − p₂) after temperature scaling; k = exp(−(‖x − a‖ / h)²) on representations of length 1; h is the
         smallest distance between labeled samples; T of least calibration error on a part of the labeled samples held
         out of a training of its own; candidates are drawn from large pools.
Chosen   the fused embedding. Repeats among the labeled (distance 0 within float32) are left out of h, which they would
         make 0; with fewer than two distinct labeled samples h is the median nearest-neighbor distance of the
         candidates. T is an option and 1 by default: every label in a view has trained the model, and calibrating on
         them would flatter it. Over ``max_kernel_rows`` candidates a drawn sample stands for all.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import fused_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.selection.herding import MAX_KERNEL_ROWS, herding
from rlmba_pipelines.learning.selection.kernels import Kernel, bandwidth_of, smallest_distance
from rlmba_pipelines.learning.types import PoolView, Selection, UserError


@register(
    "uncertainty_herding",
    requires=("predictions",),
    optional=("prices",),
    cost="O(min(N, 15,000)² D), then a few rows a pick",
    reference="Bae et al. 2025, arXiv 2412.20644",
    idea="Ask for the batch that best covers what the model is in doubt about.",
    formula="F(A) = Σ_x (1 − (p₁ − p₂)) · max_{a ∈ A ∪ L} k(x, a), h = least distance between labeled samples",
    when="Any budget; one embedding and one kernel, blind to single modalities.",
    deterministic=True,
    options_from={
        "temperature": "chosen: 1, no scaling, as a view holds no held-out labels; the paper calibrates on some",
        "max_kernel_rows": "chosen: the similarities of 15,000 rows take 900 MB",
    },
)
def uncertainty_herding(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    temperature: float = 1.0,
    max_kernel_rows: int = MAX_KERNEL_ROWS,
) -> Selection:
    """Herding by margin at ``temperature``; up to ``max_kernel_rows`` candidates exact and without the generator.

    Raises:
        UserError: the temperature is not positive.
    """
    assert view.predictions is not None
    if not temperature > 0:
        raise UserError(f"uncertainty_herding: temperature must be positive, got {temperature!r}.")
    doubt_N = np.maximum(margin(at_temperature(view.predictions.probabilities_NC, temperature)), 0)
    rows_ND = fused_rows(view)
    bandwidth = smallest_distance(rows_ND, view.labeled_rows) or bandwidth_of(rows_ND, view, quantile=1.0)
    return herding(
        view,
        doubt_N,
        [Kernel(1.0, rows_ND, bandwidth)],
        query_size,
        reasons={"margin": doubt_N},
        rng=rng,
        max_kernel_rows=max_kernel_rows,
    )


def at_temperature(probabilities_NC: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / T) of softmax(logits): probabilities to the power 1 / T, summing to 1 again.

    >>> at_temperature(np.array([[0.9, 0.1]]), 2.0)      # √.9 : √.1 = 3 : 1
    array([[0.75, 0.25]])
    """
    if temperature == 1:
        return probabilities_NC
    highest_N1 = probabilities_NC.max(axis=1, keepdims=True)
    powers_NC = (probabilities_NC / highest_N1) ** (1 / temperature)
    return powers_NC / powers_NC.sum(axis=1, keepdims=True)
