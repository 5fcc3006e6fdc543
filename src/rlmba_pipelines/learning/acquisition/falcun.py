"""FALCUN: uncertain samples that look unlike each other in the space of class probabilities.

Concept  relevance = uncertainty + distance to what is chosen, both between 0 and 1; the next sample is drawn with
         probability in proportion to relevance to a power.
Source   Gilhuber, Beer, Ma & Seidl, "FALCUN: A Simple and Efficient Deep Active Learning Strategy", ECML PKDD 2024,
         and their code, sobermeier/falcun (distances ``distance_unc_norm``).
Stated   uncertainty u = 1 − (p₁ − p₂); d starts as u and falls to the L1 distance to the nearest choice; d is brought
         to [0, 1] over what is left before every draw; P(x) ∝ (d + u)^γ, γ = 10.
Chosen   distances are measured only where they can fall: two distributions that differ by a in one class are at least
         2 a apart. One uniform u a pick, and the first candidate with cumsum(weight) > u · total, in float64. Where
         every weight is 0, all that is left is equally likely.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.selection.batch import blocks, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection

BLOCK_ROWS = 8192  # rows upcast at once


def relevance(uncertainty_N: np.ndarray, distance_N: np.ndarray, free_N: np.ndarray, out_N: np.ndarray) -> np.ndarray:
    """float64[N]: uncertainty plus distance, the latter brought to [0, 1] over the free rows; 0 for the others.

    >>> free_N, out_N = np.array([True, True, False]), np.empty(3)
    >>> relevance(np.array([0.5, 0.2, 0.9]), np.array([2.0, 1.0, 3.0]), free_N, out_N).tolist()
    [1.5, 0.2, 0.0]
    """
    least = distance_N.min(where=free_N, initial=np.inf)
    most = distance_N.max(where=free_N, initial=-np.inf)
    if most > least:
        np.subtract(distance_N, least, out=out_N)
        out_N /= most - least
        out_N += uncertainty_N
    else:
        out_N[:] = uncertainty_N
    out_N *= free_N
    return out_N


def draw(weight_N: np.ndarray, free_N: np.ndarray, uniform: float, cumulative_N: np.ndarray | None = None) -> int:
    """First row with ``cumsum(weight) > uniform · total``; free rows are equally likely where all weights are 0.

    Args:
        cumulative_N: float64[N] to work in.

    >>> draw(np.array([1.0, 0.0, 3.0]), np.ones(3, dtype=bool), uniform=0.25)
    2
    >>> draw(np.zeros(3), np.array([True, False, True]), uniform=0.5)
    2
    """
    cumulative_N = np.cumsum(weight_N, out=cumulative_N)
    if cumulative_N[-1] == 0:
        weight_N = free_N.astype(np.float64)
        cumulative_N = np.cumsum(weight_N)
    row = int(np.searchsorted(cumulative_N, uniform * cumulative_N[-1], side="right"))
    # a uniform within rounding of 1 would step over the end
    return row if row < len(weight_N) else int(np.flatnonzero(weight_N)[-1])


@register(
    "falcun",
    requires=("predictions",),
    cost="O(Q N C)",
    reference="Gilhuber et al., ECML PKDD 2024, 'FALCUN: A Simple and Efficient Deep Active Learning Strategy'",
    idea="Draw samples that are uncertain and whose class probabilities differ from those already chosen.",
    formula="P(x) ∝ (u(x) + d(x))^γ, u = 1 − (p₁ − p₂), d = min(u, L1 to the nearest choice) in [0, 1]",
    when="Large pools and large batches, since no embedding is searched; blind to what the classes do not tell apart.",
    deterministic=False,
    options_from={"gamma": "the code of Gilhuber et al. 2024: 10"},
)
def falcun(view: PoolView, query_size: int, rng: np.random.Generator, *, gamma: float = 10.0) -> Selection:
    """Drawn by relevance; utility is the relevance in [0, 2] at the moment of choice."""
    assert view.predictions is not None
    pool = view.candidate_rows
    probabilities_UC = view.predictions.probabilities_NC[pool]
    uncertainty_U = np.clip(margin(probabilities_UC).astype(np.float64), 0, 1)
    distance_U = uncertainty_U.copy()
    likeliest_U = probabilities_UC.argmax(axis=1)
    highest_U = np.take_along_axis(probabilities_UC, likeliest_U[:, None], axis=1)[:, 0].astype(np.float64)
    total_U = probabilities_UC.sum(axis=1, dtype=np.float64)
    free_U = np.ones(len(pool), dtype=bool)
    one_U, other_U, third_U = np.empty((3, len(pool)))  # to work in: new arrays at each pick took half of the time
    picks: list[int] = []
    chosen_relevance: list[float] = []
    while len(picks) < min(query_size, len(pool)):
        if picks:
            picked_C = probabilities_UC[picks[-1]].astype(np.float64)
            # what one class differs by, others make up for, unless the sums are not quite 1
            at_least_U = np.take(picked_C, likeliest_U, out=one_U, mode="clip")
            np.abs(np.subtract(highest_U, at_least_U, out=at_least_U), out=at_least_U)
            at_least_U *= 2
            at_least_U -= np.abs(np.subtract(total_U, total_U[picks[-1]], out=other_U), out=other_U)
            closer = np.flatnonzero(at_least_U < distance_U)
            distance_U[closer] = np.minimum(distance_U[closer], _l1(probabilities_UC, closer, picked_C))
        relevance_U = relevance(uncertainty_U, distance_U, free_U, one_U)
        weight_U = np.power(relevance_U, gamma, out=other_U)
        weight_U *= free_U
        pick = draw(weight_U, free_U, rng.random(), third_U)
        picks.append(pick)
        chosen_relevance.append(relevance_U[pick])
        free_U[pick] = False
    utility_Q, margin_Q = np.array(chosen_relevance), uncertainty_U[picks]
    batch = selection_of(view, pool[picks], utility_Q)
    reasons = {"margin": margin_Q, "prediction_distance": utility_Q - margin_Q, "relevance": utility_Q}
    return Selection(batch.sample_ids, batch.utility_Q, reasons)


def _l1(probabilities_UC: np.ndarray, rows: np.ndarray, picked_C: np.ndarray) -> np.ndarray:
    """float64[R]: L1 distances of ``rows`` to the picked probabilities."""
    distance_R = np.empty(len(rows))
    for part in blocks(len(rows), BLOCK_ROWS):
        distance_R[part] = cdist(probabilities_UC[rows[part]], picked_C[None], "cityblock")[:, 0]
    return distance_R
