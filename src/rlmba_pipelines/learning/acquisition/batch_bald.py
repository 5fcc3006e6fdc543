"""BatchBALD: the batch whose labels together would tell most about which member of the ensemble is right.

Concept  greedy joint mutual information: gain of x after A is I(y_x; ω | y_A) = H(y_x | y_A) − E_k H(y_x | ω_k).
Source   Kirsch, van Amersfoort & Gal 2019 (arXiv 1906.08158).
Stated   greedy choice; the joint entropy by enumerating the classes of the chosen (C^|A| configurations) while that
         fits, then by configurations drawn from p(y_A).
Chosen   each configuration is kept as its probability and its posterior over the K members, so that a gain is the
         expected mutual information under those posteriors.
         Exact: everything while A has at most ``configurations`` possible configurations. The gain of a candidate
         only falls as A grows, its BALD first of all, so stale gains are upper bounds and lazy evaluation is that of
         the plain greedy loop.
         Estimated: after that, all but ``configurations`` of them are dropped at every pick: the likely ones stay, of
         the others some are drawn, with one uniform number, to stand for the rest without bias. A stale gain bounds
         nothing there; a candidate's mutual information under the mean posterior of what was kept does (entropy is
         concave), so lazy evaluation is exact for the estimate at hand.
         Cut: only the ``candidates`` of highest BALD can be chosen jointly, and at most ``joint_picks`` of them. The
         joint information cannot exceed ln K: where no candidate adds ``SATURATED`` nats any more, or the joint picks
         are spent, the rest of the batch is the highest BALD left. So any Q returns, in the time of ``joint_picks``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlmba_pipelines.learning.acquisition.bald import disagreement
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import entropy
from rlmba_pipelines.learning.selection.batch import blocks, check_finite, lazy_argmax
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

TIE = 1e-10  # nats; gains this close are equal
SATURATED = 1e-6  # nats; a gain below says nothing of which candidate is better
BLOCK_ENTRIES = 1_000_000  # probabilities held at once; decides memory, never the result


@dataclass(frozen=True)
class Belief:
    """What the labels of the chosen may turn out to be, and which member each outcome would speak for.

    Attributes:
        weight_S: float64[S], probability of each configuration; sums to 1.
        posterior_SK: float64[S, K], probability of each member given the configuration; rows sum to 1.
        exact: no configuration of positive probability was left out.
    """

    weight_S: np.ndarray
    posterior_SK: np.ndarray
    exact: bool = True

    def gain(self, draws_BKC: np.ndarray) -> np.ndarray:
        """float64[B]: expected mutual information (nats) of each sample's class with the member."""
        n_samples, n_draws, n_classes = draws_BKC.shape
        gain_B = np.empty(n_samples)
        for part in blocks(n_samples, max(1, BLOCK_ENTRIES // (len(self.weight_S) * n_classes))):
            members_KX = draws_BKC[part].transpose(1, 0, 2).reshape(n_draws, -1)
            predicted_SBC = (self.posterior_SK @ members_KX).reshape(len(self.weight_S), -1, n_classes)
            gain_B[part] = self.weight_S @ entropy(predicted_SBC)
        return gain_B - entropy(draws_BKC) @ (self.weight_S @ self.posterior_SK)

    def bound(self, draws_BKC: np.ndarray) -> np.ndarray:
        """float64[B]: no less than ``gain``, since entropy is concave; one configuration's work."""
        mean_SK = (self.weight_S @ self.posterior_SK)[None]
        return Belief(np.ones(1), mean_SK).gain(draws_BKC)

    def after(self, draws_KC: np.ndarray, most: int, rng: np.random.Generator) -> Belief:
        """The belief with one more sample chosen; of more than ``most`` configurations, ``most`` stay."""
        joint_SC = self.weight_S[:, None] * (self.posterior_SK @ draws_KC)
        cells, weight = np.flatnonzero(joint_SC), joint_SC[joint_SC > 0]
        exact = len(cells) <= most
        if not exact:
            drawn, weight = thin_out(weight, most, rng.random())
            cells = cells[drawn]
        before, class_idx = np.divmod(cells, joint_SC.shape[1])
        posterior_SK = self.posterior_SK[before] * draws_KC[:, class_idx].T
        posterior_SK /= posterior_SK.sum(axis=1, keepdims=True)
        return Belief(weight / weight.sum(), posterior_SK, self.exact and exact)


def thin_out(weight: np.ndarray, most: int, uniform: float) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` of positive weights and what they weigh then; the mean over ``uniform`` is the weights given.

    Those above a threshold stay as they are; the others are drawn at evenly spaced quantiles and share the rest evenly
    (the resampling of least variance, Fearnhead & Clifford 2003).

    >>> thin_out(np.array([0.1, 0.6, 0.1, 0.1, 0.1]), most=3, uniform=0.25)
    (array([1, 0, 3]), array([0.6, 0.2, 0.2]))
    """
    order = np.argsort(-weight, kind="stable")
    rest = np.cumsum(weight[order][::-1])[::-1]  # weight of each and of all lighter ones
    left = np.arange(most, 0, -1)
    n_kept = int(np.argmax(weight[order[:most]] * left <= rest[:most]))
    kept, light = order[:n_kept], np.sort(order[n_kept:])
    cumulative = np.cumsum(weight[light])
    quantiles = (np.arange(most - n_kept) + uniform) / (most - n_kept)
    drawn = np.searchsorted(cumulative, quantiles * cumulative[-1], side="right")
    drawn, count = np.unique(np.minimum(drawn, len(light) - 1), return_counts=True)
    shared = count * cumulative[-1] / (most - n_kept)
    return np.concatenate([kept, light[drawn]]), np.concatenate([weight[kept], shared])


@register(
    "batch_bald",
    requires=("predictions", "draws"),
    cost="O(N K C), then per joint pick at most O(candidates · configurations · K C)",
    reference="Kirsch et al. 2019, arXiv 1906.08158",
    idea="Ask for the batch whose labels together tell most about which member of the ensemble is right.",
    formula="argmax_x I(y_x; ω | y_A), A the batch so far",
    when="Small batches (up to about 10) with an ensemble; beyond ln K nats there is nothing left to tell apart.",
    deterministic=False,
    options_from={
        "configurations": "chosen: gains within 0.02 nats of exact ones on ensembles of 5 and 20 members",
        "candidates": "chosen: what a minute allows with 101 classes",
        "joint_picks": "chosen: twice the largest batch of the paper's main experiment (10)",
    },
)
def batch_bald(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    configurations: int = 500,
    candidates: int = 1000,
    joint_picks: int = 20,
) -> Selection:
    """Greedy joint mutual information; utility is the gain in nats, or a sample's own BALD once ``joint`` is 0.

    Reasons: ``bald``, ``joint`` (1: chosen jointly), ``exact`` (1: its gain was enumerated, not estimated).

    Raises:
        UserError: an option is below 1.
    """
    assert view.predictions is not None
    if min(configurations, candidates, joint_picks) < 1:
        raise UserError("batch_bald: configurations, candidates and joint_picks must be at least 1.")
    bald_N = disagreement(view.predictions.draws_NKC)
    check_finite(bald_N, view, "batch_bald: draws")
    top_rows = np.sort(_rows(view, top_k(view, bald_N, candidates)))
    picks, gain, exact = _jointly(
        view.predictions.draws_NKC[top_rows].astype(np.float64), min(query_size, joint_picks), configurations, rng
    )
    joint_rows = top_rows[picks]
    rest_rows = _rows(view, top_k(view, bald_N, query_size))
    rest_rows = rest_rows[~np.isin(rest_rows, joint_rows)][: query_size - len(joint_rows)]
    rows = np.concatenate([joint_rows, rest_rows])
    joint_Q = (np.arange(len(rows)) < len(picks)).astype(np.float64)
    exact_Q = np.concatenate([exact, np.zeros(len(rest_rows))])
    reasons = {"bald": bald_N[rows], "joint": joint_Q, "exact": exact_Q}
    return Selection(view.sample_ids[rows], np.concatenate([gain, bald_N[rest_rows]]), reasons)


def _jointly(
    draws_TKC: np.ndarray, query_size: int, configurations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions chosen, their gains, and 1.0 where the gain is exact; fewer than asked where information runs out."""
    n_draws = draws_TKC.shape[1]
    belief = Belief(np.ones(1), np.full((1, n_draws), 1 / n_draws))
    bound_T, fresh_T = belief.gain(draws_TKC), np.ones(len(draws_TKC), dtype=bool)
    picks, gains, exact = list[int](), list[float](), list[float]()
    while len(picks) < min(query_size, len(draws_TKC)):
        pick = lazy_argmax(bound_T, fresh_T, lambda rows: belief.gain(draws_TKC[rows]), TIE)  # noqa: B023
        if bound_T[pick] < SATURATED:
            break
        picks.append(pick)
        gains.append(float(bound_T[pick]))
        exact.append(float(belief.exact))
        belief = belief.after(draws_TKC[pick], configurations, rng)
        if not belief.exact:
            bound_T = belief.bound(draws_TKC)
        bound_T[picks] = -np.inf
        fresh_T[:] = False
    return np.array(picks, dtype=np.int64), np.array(gains), np.array(exact)


def _rows(view: PoolView, batch: Selection) -> np.ndarray:
    return np.searchsorted(view.sample_ids, batch.sample_ids)
