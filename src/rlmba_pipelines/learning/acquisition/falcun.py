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

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.distance import cdist

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.selection.batch import blocks, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection

BLOCK_ROWS = 16_384  # rows worked on at once: what is made of them stays near the core


def relevance(uncertainty_N: np.ndarray, distance_N: np.ndarray, least: float, most: float) -> np.ndarray:
    """float64[N]: uncertainty plus distance, the latter brought to [0, 1]; NaN for what is chosen, as it is.

    >>> relevance(np.array([0.5, 0.2, 0.9]), np.array([2.0, 1.0, np.nan]), least=1.0, most=2.0).tolist()
    [1.5, 0.2, nan]
    """
    share_N = distance_N - least
    if most > least:
        share_N /= most - least
    share_N += uncertainty_N
    return share_N


def draw(weight_N: np.ndarray, target: float) -> int:
    """First row with ``cumsum(weight) > target``; some weight is above 0.

    >>> draw(np.array([1.0, 0.0, 3.0]), target=1.0)
    2
    """
    row = int(np.searchsorted(np.cumsum(weight_N), target, side="right"))
    # a target within rounding of the total would step over the end
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
    distance_U = uncertainty_U.copy()  # NaN once chosen
    likeliest_U = probabilities_UC.argmax(axis=1)
    highest_U = np.take_along_axis(probabilities_UC, likeliest_U[:, None], axis=1)[:, 0].astype(np.float64)
    total_U = probabilities_UC.sum(axis=1, dtype=np.float64)
    slack = np.ptp(total_U) if len(pool) else 0.0  # what one class differs by, others make up for but for this
    parts = list(blocks(len(pool), BLOCK_ROWS))
    least_B, most_B, weight_B = np.empty((3, len(parts)))
    span = (np.nan, np.nan)
    moved = list(range(len(parts)))  # blocks in which a distance is another than at the pick before
    picks: list[int] = []
    chosen_relevance: list[float] = []

    def relevance_of(part: slice) -> np.ndarray:
        return relevance(uncertainty_U[part], distance_U[part], *span)

    def weight_of(part: slice) -> np.ndarray:
        weight = relevance_of(part) ** gamma
        weight[np.isnan(weight)] = 0
        return weight

    n_picks = min(query_size, len(pool))
    while len(picks) < n_picks:
        for b in moved:
            least_B[b], most_B[b] = np.fmin.reduce(distance_U[parts[b]]), np.fmax.reduce(distance_U[parts[b]])
        before, span = span, (np.fmin.reduce(least_B), np.fmax.reduce(most_B))
        for b in moved if span == before else range(len(parts)):
            weight_B[b] = weight_of(parts[b]).sum()
        uniform = rng.random()
        if weight_B.any():
            pick = _draw_in_blocks(weight_B, parts, weight_of, uniform)
        else:
            free = np.flatnonzero(~np.isnan(distance_U))
            pick = int(free[int(uniform * len(free))])
        picks.append(pick)
        chosen_relevance.append(relevance_of(slice(pick, pick + 1))[0])
        if len(picks) == n_picks:
            break
        distance_U[pick] = np.nan
        picked_C = probabilities_UC[pick].astype(np.float64)
        moved = [b for b, part in enumerate(parts) if part.start <= pick < part.stop]
        for b, part in enumerate(parts):
            apart = picked_C[likeliest_U[part]]
            apart -= highest_U[part]
            np.abs(apart, out=apart)
            apart *= 2
            apart -= slack
            closer = part.start + np.flatnonzero(apart < distance_U[part])
            if len(closer):
                l1 = cdist(probabilities_UC[closer], picked_C[None], "cityblock")[:, 0]
                distance_U[closer] = np.minimum(distance_U[closer], l1)
                moved.append(b)
    utility_Q, margin_Q = np.array(chosen_relevance), uncertainty_U[picks]
    batch = selection_of(view, pool[picks], utility_Q)
    reasons = {"margin": margin_Q, "prediction_distance": utility_Q - margin_Q, "relevance": utility_Q}
    return Selection(batch.sample_ids, batch.utility_Q, reasons)


def _draw_in_blocks(
    weight_B: np.ndarray, parts: Sequence[slice], weight_of: Callable[[slice], np.ndarray], uniform: float
) -> int:
    """First row with ``cumsum(weight) > uniform · total``, by the sums of the blocks and then within one."""
    target = uniform * weight_B.sum()
    block = draw(weight_B, target)
    return int(parts[block].start) + draw(weight_of(parts[block]), target - weight_B[:block].sum())
