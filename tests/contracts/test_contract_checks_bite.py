"""A contract suite is worth what it catches: each breach below must be found."""

import numpy as np
import pytest

from rlmba_pipelines.learning.acquisition import registry
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.testing import check_acquisition, check_selector
from rlmba_pipelines.learning.types import Selection


def chooses(view, rows):
    rows = np.asarray(rows)
    return Selection(view.sample_ids[rows], np.zeros(len(rows)))


def too_few(view, query_size, rng):
    return chooses(view, view.candidate_rows[: max(1, query_size - 1)])


def labeled_ones(view, query_size, rng):
    return chooses(view, np.argsort(~view.labeled_N, kind="stable")[:query_size])


HIDDEN = np.random.default_rng(0)


def by_a_hidden_generator(view, query_size, rng):
    return top_k(view, HIDDEN.random(len(view.sample_ids)), query_size)


def writes_into_its_input(view, query_size, rng):
    view.predictions.probabilities_NC[:] = 0.5
    return top_k(view, np.zeros(len(view.sample_ids)), query_size)


def reads_absent_modalities(view, query_size, rng):
    return top_k(view, view.features["text"].sum(axis=1), query_size)


@pytest.mark.parametrize(
    "broken", [too_few, labeled_ones, by_a_hidden_generator, writes_into_its_input, reads_absent_modalities]
)
def test_a_selector_that_breaks_a_law_is_caught(broken):
    with pytest.raises((AssertionError, ValueError)):
        check_selector(broken)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_STRATEGIES", dict(registry._STRATEGIES))

    def add(function, **declared):
        fields = {"requires": ("predictions",), "cost": "O(N)", "reference": "a test", "idea": "A test."}
        fields |= {"formula": "u = 0", "when": "In tests.", "deterministic": True}
        registry.register(function.__name__, **{**fields, **declared})(function)
        return function.__name__

    return add


def ranks_within_the_pool(view, query_size, rng):
    order = np.argsort(np.argsort(view.predictions.probabilities_NC[:, 0]))
    return top_k(view, order.astype(float), query_size)


def is_random_after_all(view, query_size, rng):
    return top_k(view, rng.random(len(view.sample_ids)), query_size)


@pytest.mark.parametrize(
    ("broken", "declared"),
    [(ranks_within_the_pool, {"pointwise": True}), (is_random_after_all, {"deterministic": True})],
)
def test_a_strategy_that_is_not_what_it_declares_is_caught(registered, broken, declared):
    with pytest.raises(AssertionError):
        check_acquisition(registered(broken, **declared))


def test_a_strategy_of_your_own_passes_the_suite_by_being_registered(registered):
    def least_likely(view, query_size, rng, *, class_idx=0):
        return top_k(view, 1 - view.predictions.probabilities_NC[:, class_idx], query_size)

    check_acquisition(registered(least_likely, pointwise=True, options_from={"class_idx": "a test"}))
