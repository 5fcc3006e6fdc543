"""Contract checks for strategies and selectors, and brute-force oracles. Public: use them on your own strategy.

``check_acquisition("my_strategy")`` runs every law below on a registered strategy; ``check_selector`` those that hold
for anything that chooses. The oracles do the plain, slow thing in float64 that the fast selectors must agree with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rlmba_pipelines.learning.acquisition.registry import VIEW_FIELDS, get_strategy, select_batch
from rlmba_pipelines.learning.acquisition.views import make_view, take, view_of
from rlmba_pipelines.learning.selection.oracles import coverage_of, plain_herding, plain_k_center, plain_kmeans_pp
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

__all__ = [
    "SELECTOR_LAWS",
    "STRATEGY_LAWS",
    "check_acquisition",
    "check_selector",
    "coverage_of",
    "make_view",
    "plain_herding",
    "plain_k_center",
    "plain_kmeans_pp",
    "take",
    "view_of",
]

Choose = Callable[[PoolView, int, np.random.Generator], Selection]


# --- laws: of anything that chooses -----------------------------------------------------------------------------------


def picks_are_unique_candidates_of_the_right_count(choose: Choose) -> None:
    for n, n_labeled, query_size in ((30, 6, 7), (30, 0, 7), (1, 0, 1), (12, 4, 8), (12, 4, 50), (9, 8, 3)):
        view = make_view(n, n_labeled)
        batch = choose(view, query_size, np.random.default_rng(0))
        candidate_ids = view.sample_ids[~view.labeled_N]
        assert len(batch) == min(query_size, n - n_labeled), (n, n_labeled, query_size, len(batch))
        assert len(set(batch.sample_ids)) == len(batch), "a sample was chosen twice"
        assert set(batch.sample_ids) <= set(candidate_ids), "a labeled sample was chosen"


def same_generator_gives_the_same_answer(choose: Choose) -> None:
    view = make_view(40, 8, missing=0.2)
    first, second = (choose(view, 9, np.random.default_rng(5)) for _ in range(2))
    assert first.sample_ids.tolist() == second.sample_ids.tolist()
    assert np.array_equal(first.utility_Q, second.utility_Q)


def row_order_does_not_matter(choose: Choose) -> None:
    view = make_view(40, 8, missing=0.2)
    shuffled = take(view, np.random.default_rng(1).permutation(40))
    ordered = take(view, np.arange(40))
    answers = [choose(v, 9, np.random.default_rng(5)).sample_ids.tolist() for v in (ordered, shuffled)]
    assert answers[0] == answers[1]


def inputs_are_left_as_they_were(choose: Choose) -> None:
    view = make_view(30, 6, missing=0.2)
    arrays = _arrays(view)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    choose(view, 7, np.random.default_rng(0))
    assert all(np.array_equal(now, then) for now, then in zip(arrays, before, strict=True))


def threads_do_not_change_the_answer(choose: Choose) -> None:
    view = make_view(700, 60, missing=0.1)
    answers = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            answers.append(choose(view, 12, np.random.default_rng(5)).sample_ids.tolist())
    assert answers[0] == answers[1]


def identical_rows_are_no_obstacle(choose: Choose) -> None:
    view = take(make_view(1, 0), np.zeros(10, dtype=np.int64))
    for labeled in (0, 3):
        repeated = replace(view, labeled_N=np.arange(10) < labeled)
        batch = choose(repeated, 10 - labeled, np.random.default_rng(0))
        assert set(batch.sample_ids) == set(repeated.sample_ids[labeled:])


def missing_modalities_are_no_obstacle(choose: Choose) -> None:
    view = make_view(30, 6, modalities=("image", "text", "audio"), missing=0.6)
    assert view.features is not None
    assert view.present_NM is not None
    batch = choose(view, 7, np.random.default_rng(0))
    for m, block in enumerate(view.features.values()):
        block[~view.present_NM[:, m]] = 7.0  # whatever lies there must not be looked at
    assert choose(view, 7, np.random.default_rng(0)).sample_ids.tolist() == batch.sample_ids.tolist()


SELECTOR_LAWS: tuple[Callable[[Choose], None], ...] = (
    picks_are_unique_candidates_of_the_right_count,
    same_generator_gives_the_same_answer,
    row_order_does_not_matter,
    inputs_are_left_as_they_were,
    threads_do_not_change_the_answer,
    identical_rows_are_no_obstacle,
    missing_modalities_are_no_obstacle,
)


def check_selector(choose: Choose) -> None:
    """Every law of choosing, on ``choose(view, query_size, rng) -> Selection``.

    Raises:
        AssertionError: a law is broken; the traceback names it.
    """
    for law in SELECTOR_LAWS:
        law(choose)


# --- laws: of registered strategies -----------------------------------------------------------------------------------


def an_empty_pool_gives_an_empty_batch(name: str) -> None:
    assert len(select_batch(name, make_view(4, 4), 3, np.random.default_rng(0))) == 0


def nonsense_is_refused(name: str) -> None:
    view, rng = make_view(6, 2), np.random.default_rng(0)
    for query_size, options in ((0, {}), (-1, {}), (2, {"no_such_option": 1})):
        try:
            select_batch(name, view, query_size, rng, options)
        except UserError:
            continue
        raise AssertionError(f"{name} accepted query_size={query_size}, options={options}")


def labels_of_unlabeled_samples_are_out_of_reach(name: str) -> None:
    view = make_view(6, 2)
    try:
        replace(view, y=np.zeros(6, dtype=np.int64))
    except ValueError:
        return
    raise AssertionError("a view accepted labels of unlabeled samples")


def poisoned_labels_are_refused(name: str) -> None:
    """A view that was tampered with after its own checks does not reach a strategy."""
    view = make_view(30, 6)
    assert view.y is not None
    view.y[view.candidate_rows[0]] = 0
    try:
        select_batch(name, view, 7, np.random.default_rng(3))
    except ValueError:
        return
    raise AssertionError("a label of an unlabeled sample reached the strategy")


def what_is_not_required_does_not_matter(name: str) -> None:
    view = make_view(30, 6)
    needed = {VIEW_FIELDS[part] for part in get_strategy(name).requires}
    bare: dict[str, Any] = {field: None for field in VIEW_FIELDS.values() if field not in needed}
    views = (view, replace(view, **bare))
    answers = [select_batch(name, v, 7, np.random.default_rng(3)).sample_ids.tolist() for v in views]
    assert answers[0] == answers[1]


def determinism_is_as_declared(name: str) -> None:
    view = make_view(60, 8)
    answers = {tuple(select_batch(name, view, 9, np.random.default_rng(seed)).sample_ids) for seed in range(5)}
    assert (len(answers) == 1) == get_strategy(name).deterministic, f"{len(answers)} answers to 5 generators"


def precision_does_not_change_the_answer(name: str) -> None:
    for seed in range(3):
        views = [make_view(24, 5, seed=seed, dtype=dtype) for dtype in (np.float32, np.float64)]
        narrow, wide = (select_batch(name, view, 5, np.random.default_rng(0)).sample_ids.tolist() for view in views)
        assert narrow == wide, "float32 and float64 disagree"


def pointwise_scores_ignore_who_else_is_there(name: str) -> None:
    if not get_strategy(name).pointwise:
        return
    view = make_view(30, 6)
    everyone = select_batch(name, view, 30, np.random.default_rng(0))
    some = select_batch(name, take(view, np.arange(0, 30, 2)), 30, np.random.default_rng(0))
    score = dict(zip(everyone.sample_ids, everyone.utility_Q, strict=True))
    assert all(score[i.removesuffix("+0")] == u for i, u in zip(some.sample_ids, some.utility_Q, strict=True))


STRATEGY_LAWS: tuple[Callable[[str], None], ...] = (
    an_empty_pool_gives_an_empty_batch,
    nonsense_is_refused,
    labels_of_unlabeled_samples_are_out_of_reach,
    poisoned_labels_are_refused,
    what_is_not_required_does_not_matter,
    determinism_is_as_declared,
    precision_does_not_change_the_answer,
    pointwise_scores_ignore_who_else_is_there,
)


def check_acquisition(name: str) -> None:
    """Every law of choosing and of strategies, on a registered strategy.

    Raises:
        AssertionError: a law is broken; the traceback names it.
    """
    check_selector(partial(select_batch, name))
    for law in STRATEGY_LAWS:
        law(name)


def _arrays(view: PoolView) -> list[np.ndarray]:
    """Every array that a view holds, however deep."""
    found: list[np.ndarray] = []
    for holder in (view, view.predictions, view.terms):
        for value in vars(holder).values() if holder is not None else ():
            parts = value.values() if isinstance(value, Mapping) else [value]
            found += [part for part in parts if isinstance(part, np.ndarray)]
    return found
