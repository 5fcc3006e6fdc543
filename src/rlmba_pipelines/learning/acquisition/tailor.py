"""TAILOR: let several strategies ask, and more often the one whose questions turned up rare classes.

Concept  a bandit over strategies (arms): Thompson sampling with a reward for labels that balance the classes.
Source   Zhang et al. 2023 (arXiv 2302.07317), multi-class form, and its official code.
Stated   arm i yields class c with unknown probabilities θ_i; per slot of the batch θ_i is drawn from its Dirichlet
         posterior and the arm of highest θ_i · v asks next; labels update the posteriors after the batch. v_c = 1 over
         the number of labels of class c (at least 1), negative for a class that holds more than half of the labels.
Chosen   posterior Dirichlet(prior + labels of each class that the arm bought), prior 1 (uniform); the official code
         forgets by a factor 0.9 a round, which is left out, since the pool says who bought a label but not when.
         Arms whose draws tie are drawn evenly: before there are labels every class is worth the same.
         An arm asks for the next sample of its own batch, in its own order, that no other arm has asked for.
         Arms by default: those of the paper that need no search target of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import get_strategy, register, select_batch
from rlmba_pipelines.learning.types import UNLABELED, PoolView, Selection, UserError

OF_ARMS = ("predictions", "embedding", "draws", "unimodal", "y", "arms")  # parts of a view that an arm may ask for
TIE = 1e-12  # rewards this close are equal: one of their arms is drawn evenly


def class_rewards(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Worth of one more label of each class, float64[C]: 1 / count, negative for a class of more than half.

    >>> class_rewards(np.array([0, 0, 0, 1]), n_classes=3).round(2).tolist()
    [-0.33, 1.0, 1.0]
    """
    count_C = np.bincount(y, minlength=n_classes)
    sign_C = np.where(2 * count_C > max(1, len(y)), -1.0, 1.0)
    return sign_C / np.maximum(count_C, 1)


def posterior(y: np.ndarray, arm: np.ndarray, n_arms: int, n_classes: int, prior: float) -> np.ndarray:
    """Dirichlet parameters of the classes that each arm turns up, float64[A, C]; labels of no known arm say nothing.

    >>> posterior(np.array([0, 1, 1, 0]), np.array([0, 1, 1, -1]), n_arms=2, n_classes=2, prior=1.0).tolist()
    [[2.0, 1.0], [1.0, 3.0]]
    """
    alpha_AC = np.full((n_arms, n_classes), float(prior))
    known = arm != UNLABELED
    np.add.at(alpha_AC, (arm[known], y[known]), 1.0)
    return alpha_AC


@register(
    "tailor",
    requires=("predictions", "y", "arms"),
    cost="O(Q A C), and the batch of every arm that is drawn",
    reference="Zhang et al. 2023, arXiv 2302.07317",
    idea="Let several strategies ask, more often the one whose questions turned up rare classes.",
    formula="arm of a slot = argmax_i θ_i · v, θ_i ~ Dirichlet(prior + classes arm i bought), v_c = ±1 / labels of c",
    when="Imbalanced classes, several rounds, and no knowledge of which strategy suits the data.",
    deterministic=False,
    options_from={
        "arms": "Zhang et al. 2023: the three that look at uncertainty",
        "prior": "chosen: 1, every mixture of classes as likely as any other",
    },
)
def tailor(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    arms: Sequence[str] = ("galaxy", "least_confidence", "badge"),
    prior: float = 1.0,
) -> Selection:
    """A batch put together from the batches of the arms; utility is the drawn reward θ · v of the arm that asked.

    Reasons: ``arm`` (position in ``arms``; next round's view knows by it who bought what), ``expected_reward`` (mean
    of the arm's posterior), ``arm_utility`` (what the arm itself gave the sample).

    Raises:
        UserError: no arms, an unknown one or tailor itself, labels bought by an arm that is not in ``arms`` any more,
            or a prior that is not positive.
    """
    assert view.predictions is not None
    assert view.y is not None
    assert view.arm_N is not None
    rows = np.flatnonzero(view.y != UNLABELED)
    y = view.y[rows]
    _check(arms, prior, view.arm_N)
    n_classes = max(view.predictions.probabilities_NC.shape[1], int(y.max(initial=0)) + 1)
    reward_C = class_rewards(y, n_classes)
    alpha_AC = posterior(y, view.arm_N[rows], len(arms), n_classes, prior)
    theta_QAC = rng.standard_gamma(alpha_AC, size=(query_size, *alpha_AC.shape))
    theta_QAC /= np.maximum(theta_QAC.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    drawn_QA = theta_QAC @ reward_C
    best_QA = drawn_QA >= drawn_QA.max(axis=1, keepdims=True) - TIE  # all arms, where all classes are worth the same
    arm_Q = np.where(best_QA, rng.random(best_QA.shape), -1.0).argmax(axis=1)

    seeds = rng.integers(2**63, size=len(arms))  # one stream an arm: who is drawn never shifts another's draws
    batch_by_arm = {
        arm: select_batch(arms[arm], view, query_size, np.random.default_rng(seeds[arm])) for arm in np.unique(arm_Q)
    }
    places = {arm: iter(range(len(batch))) for arm, batch in batch_by_arm.items()}
    taken: set[str] = set()
    ids, own_utility = [], []
    for arm in arm_Q:
        batch = batch_by_arm[arm]
        place = next(p for p in places[arm] if batch.sample_ids[p] not in taken)
        taken.add(batch.sample_ids[place])
        ids.append(batch.sample_ids[place])
        own_utility.append(batch.utility_Q[place])
    expected_A = alpha_AC @ reward_C / alpha_AC.sum(axis=1)
    reasons = {
        "arm": arm_Q.astype(np.float64),
        "expected_reward": expected_A[arm_Q],
        "arm_utility": np.array(own_utility),
    }
    return Selection(np.array(ids, dtype=view.sample_ids.dtype), drawn_QA[np.arange(query_size), arm_Q], reasons)


def _check(arms: Sequence[str], prior: float, arm_N: np.ndarray) -> None:
    if isinstance(arms, str) or not arms or len(set(arms)) != len(arms):
        raise UserError(f"tailor.arms must be a list of different strategies, got {arms!r}.")
    for name in arms:
        arm = get_strategy(name)
        if arm.name == "tailor":
            raise UserError("tailor.arms must not hold 'tailor' itself.")
        beyond = sorted(set(arm.requires) - {*OF_ARMS})
        if beyond:
            raise UserError(
                f"tailor shows its arms predictions and labels; {name!r} needs {' and '.join(beyond)} too. "
                "Take another strategy into tailor.arms."
            )
    if arm_N.max(initial=UNLABELED) >= len(arms):
        raise UserError(
            f"Labels were bought by arm {int(arm_N.max())} of tailor, but tailor.arms has {len(arms)} strategies; "
            "keep the arms of an experiment as they are."
        )
    if not (np.isfinite(prior) and prior > 0):
        raise UserError(f"tailor.prior must be a positive number, got {prior!r}.")
