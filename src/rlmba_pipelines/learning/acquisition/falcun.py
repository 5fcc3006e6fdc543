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

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.selection.batch import blocks, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection

BLOCK_ROWS = 8192  # rows upcast at once
SUMMED_ROWS = 1024  # weights summed up at once


def relevance(uncertainty_N: np.ndarray, distance_N: np.ndarray, least: float, most: float) -> np.ndarray:
    """float64[N]: uncertainty plus distance, the latter brought to [0, 1] from [least, most].

    >>> relevance(np.array([0.5, 0.2]), np.array([2.0, 1.0]), least=1.0, most=2.0).tolist()
    [1.5, 0.2]
    """
    share_N = distance_N - least
    if most > least:
        share_N /= most - least
    return uncertainty_N + share_N


def draw(weight_N: np.ndarray, chosen: Sequence[int], uniform: float) -> int:
    """First row with ``cumsum(weight) > uniform · total``; where all weights are 0, all but the chosen weigh the same.

    Weights are summed up in blocks, then within the block that it falls into: float64 in that order.

    >>> draw(np.array([1.0, 0.0, 3.0]), [], uniform=0.25)
    2
    >>> draw(np.zeros(3), [1], uniform=0.5)
    2
    """
    starts = np.arange(0, len(weight_N), SUMMED_ROWS)
    sums = np.add.reduceat(weight_N, starts)
    until = np.cumsum(sums)
    if until[-1] == 0:
        free_N = np.ones(len(weight_N))
        free_N[chosen] = 0
        return draw(free_N, (), uniform)
    target = uniform * until[-1]
    block = min(int(np.searchsorted(until, target, side="right")), int(np.flatnonzero(sums)[-1]))
    part = weight_N[starts[block] : starts[block] + SUMMED_ROWS]
    row = int(np.searchsorted(np.cumsum(part) + (until[block - 1] if block else 0.0), target, side="right"))
    # a uniform within rounding of 1 would step over the end
    return int(starts[block]) + (row if row < len(part) else int(np.flatnonzero(part)[-1]))


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
    distance_U = uncertainty_U.copy()  # NaN once chosen
    likeliest_U = probabilities_UC.argmax(axis=1)
    highest_U = np.take_along_axis(probabilities_UC, likeliest_U[:, None], axis=1)[:, 0].astype(np.float64)
    total_U = probabilities_UC.sum(axis=1, dtype=np.float64)
    slack = np.ptp(total_U) if len(pool) else 0.0  # what one class differs by, others make up for but for this
    reach_U = (distance_U + slack) / 2
    apart_U, weight_U = np.empty((2, len(pool)))
    span = (np.nan, np.nan)
    changed = np.arange(len(pool))  # rows whose distance is another than at the pick before
    picks: list[int] = []
    chosen_relevance: list[float] = []
    while len(picks) < min(query_size, len(pool)):
        if picks:
            picked_C = probabilities_UC[picks[-1]].astype(np.float64)
            np.take(picked_C, likeliest_U, out=apart_U, mode="clip")
            np.abs(np.subtract(highest_U, apart_U, out=apart_U), out=apart_U)
            changed = np.flatnonzero(apart_U < reach_U)
            distance_U[changed] = np.minimum(distance_U[changed], _l1(probabilities_UC, changed, picked_C))
            reach_U[changed] = (distance_U[changed] + slack) / 2
        before, span = span, (np.fmin.reduce(distance_U), np.fmax.reduce(distance_U))
        stale = changed if span == before else slice(None)  # few picks move the least or the largest distance
        weight_U[stale] = relevance(uncertainty_U[stale], distance_U[stale], *span) ** gamma
        weight_U[picks] = 0
        pick = draw(weight_U, picks, rng.random())
        picks.append(pick)
        chosen_relevance.append(float(relevance(uncertainty_U[pick], distance_U[pick], *span)))
        distance_U[pick] = reach_U[pick] = np.nan
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
