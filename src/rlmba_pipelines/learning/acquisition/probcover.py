"""ProbCover: the samples whose neighborhoods cover most of the pool.

Concept  a ball of radius δ around each sample; greedily the ball that covers most of what no labeled or chosen sample
         covers yet.
Source   Yehuda et al. 2022 (arXiv 2205.11320) and their code, avihu111/TypiClust.
Stated   x covers y where ‖x − y‖ < δ in self-supervised features; δ is the largest radius at which 95 % of the balls
         are pure, that is hold one pseudo-label only; pseudo-labels are k-means with as many clusters as classes.
Chosen   a ball is pure up to the distance of its nearest differently labeled sample, so the largest δ is an order
         statistic of these distances and needs no grid. Features are the encoders', side by side. The classes are
         those bought so far; below two, as many clusters as samples are asked for. Beyond ``max_rows`` candidates the
         pool is as many drawn at random; every labeled sample covers. When everything is covered, all that is left
         counts as uncovered again (the paper stops there). Distances within float32 rounding of δ are not below it.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import raw_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.balls import BallGraph
from rlmba_pipelines.learning.selection.batch import selection_of
from rlmba_pipelines.learning.selection.clusters import at_most, kmeans
from rlmba_pipelines.learning.types import PoolView, Selection, UserError


def largest_pure_radius(enemy_distance_R: np.ndarray, purity: float) -> float:
    """The largest δ for which a share of at least ``purity`` of the balls ``distance < δ`` holds no enemy.

    Args:
        enemy_distance_R: float64[R], distance to the nearest sample of another pseudo-label; infinite without any.

    >>> largest_pure_radius(np.array([3.0, 1.0, 2.0, 4.0]), purity=0.75)
    2.0
    """
    n_impure = int(np.floor((1 - purity) * len(enemy_distance_R) + 1e-9))
    return float(np.sort(enemy_distance_R)[min(n_impure, len(enemy_distance_R) - 1)])


@register(
    "probcover",
    requires=("features", "y"),
    cost="O(n² D), n at most max_rows",
    reference="Yehuda et al. 2022, arXiv 2205.11320",
    idea="Ask for the samples whose close neighborhoods hold most of what is not covered yet.",
    formula="argmax |{y: ‖x − y‖ < δ, y uncovered}|, δ the largest radius with 95 % pure balls",
    when="Small budgets and good features; it hangs on the radius.",
    deterministic=False,
    options_from={
        "purity": "Yehuda et al. 2022: 0.95",
        "delta": "measured by purity; in the unit of features at length 1 a modality",
        "n_classes": "the classes bought so far",
        "max_rows": "chosen: seconds, and 25 MB of edges",
    },
)
def probcover(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    purity: float = 0.95,
    delta: float | None = None,
    n_classes: int | None = None,
    max_rows: int = 20_000,
) -> Selection:
    """Greedy maximum cover; utility is how many uncovered samples the ball holds when it is chosen."""
    if not 0 < purity <= 1:
        raise UserError(f"Strategy 'probcover': purity must be above 0 and at most 1, got {purity}.")
    assert view.y is not None
    rows_ND = raw_rows(view)
    n_picks = min(query_size, len(view.candidate_rows))
    pool = at_most(view.candidate_rows, max(max_rows, n_picks), rng)
    if n_classes is None:
        n_seen = len(np.unique(view.y[view.labeled_rows]))
        n_classes = n_seen if n_seen >= 2 else max(2, query_size)
    pseudo_label_R = kmeans(rows_ND, n_classes, rng, rows=pool).cluster_N
    graph = BallGraph(rows_ND, pool)
    if delta is None:
        delta = largest_pure_radius(graph.enemy_distances(pseudo_label_R), purity)
    delta = min(delta, graph.beyond_all)
    graph.connect(delta)

    degree_Q, layer_Q = np.empty(n_picks), np.empty(n_picks)
    picks: list[int] = []
    uncovered_R = ~graph.covered_by(rows_ND, view.labeled_rows)
    free_R = np.ones(len(pool), dtype=bool)
    degree_R, layer = graph.degrees(uncovered_R), 0
    while len(picks) < n_picks:
        if not uncovered_R.any():
            uncovered_R, layer = free_R.copy(), layer + 1
            degree_R = graph.degrees(uncovered_R)
        pick = int(np.where(free_R, degree_R, -1).argmax())
        degree_Q[len(picks)], layer_Q[len(picks)] = degree_R[pick], layer
        picks.append(pick)
        free_R[pick] = False
        covered_R = graph.ball(pick) & uncovered_R
        uncovered_R &= ~covered_R
        if covered_R.sum() <= uncovered_R.sum():
            degree_R -= graph.degrees(covered_R)
        else:
            degree_R = graph.degrees(uncovered_R)

    batch = selection_of(view, pool[picks], degree_Q)
    reasons = {
        "newly_covered": degree_Q,
        "coverage_gain": degree_Q / len(pool),
        "layer": layer_Q,
        "delta": np.full(n_picks, delta),
    }
    return Selection(batch.sample_ids, batch.utility_Q, reasons)
