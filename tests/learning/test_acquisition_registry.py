"""The registry: what it refuses, in which words, and what it hides."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmba_pipelines.learning.acquisition import get_strategy, register, registry, select_batch, strategy_names
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import PoolView, Selection, UserError


@pytest.fixture
def strategies(monkeypatch):
    monkeypatch.setattr(registry, "_STRATEGIES", dict(registry._STRATEGIES))


def added(name, function, requires=()):
    fields = {"cost": "O(N)", "reference": "a test", "idea": "A test.", "formula": "u = 0", "when": "In tests."}
    register(name, requires=requires, deterministic=True, **fields)(function)


def test_a_misspelled_strategy_is_answered_with_the_nearest_name_and_the_list():
    with pytest.raises(UserError, match="Did you mean 'herding'") as refusal:
        get_strategy("hreding")
    assert all(name in str(refusal.value) for name in strategy_names())


def test_an_unknown_option_is_answered_with_strategy_key_and_known_options():
    with pytest.raises(UserError, match="'coverage' has no option 'bandwith'; it knows: bandwidth_quantile"):
        select_batch("coverage", make_view(5, 1), 2, np.random.default_rng(0), {"bandwith": 0.1})
    with pytest.raises(UserError, match="'margin' has no option 'k'; it takes no options"):
        select_batch("margin", make_view(5, 1), 2, np.random.default_rng(0), {"k": 1})


@pytest.mark.parametrize("query_size", [0, -3, 2.5, True, "7"])
def test_a_query_size_that_is_no_count_is_refused(query_size):
    with pytest.raises(UserError, match="query_size"):
        select_batch("random", make_view(5, 1), query_size, np.random.default_rng(0))


def test_a_strategy_that_needs_a_model_says_so_before_there_is_one():
    with pytest.raises(UserError, match=r"'margin' needs predictions.*'coverage'"):
        select_batch("margin", replace(make_view(5, 1), predictions=None), 2, np.random.default_rng(0))


def test_a_strategy_sees_what_it_requires_and_nothing_else(strategies):
    seen = []

    def curious(view, query_size, rng):
        seen.append(view)
        return top_k(view, np.zeros(len(view.sample_ids)), query_size)

    added("curious", curious, requires=("terms", "weights"))
    select_batch("curious", make_view(6, 2), 2, np.random.default_rng(0))
    hidden = {name for name, value in vars(seen[0]).items() if value is None}
    assert hidden == {"features", "predictions", "y", "arm_N", "action", "policy", "price_N"}


@pytest.mark.parametrize(
    "rows", [[0, 1], [2], [2, 3, 4]], ids=["labeled samples", "fewer than asked", "more than asked"]
)
def test_a_strategy_that_breaks_its_contract_is_stopped_by_name(strategies, rows):
    added("careless", lambda view, query_size, rng: Selection(view.sample_ids[rows], np.zeros(len(rows))))
    view = replace(make_view(6, 0), labeled_N=np.arange(6) < 2, y=None)
    with pytest.raises(ValueError, match="'careless' broke its contract"):
        select_batch("careless", view, 2, np.random.default_rng(0))


@given(st.data())
def test_candidates_are_told_from_labeled_samples_and_strangers(data):
    ids = np.array(sorted(data.draw(st.sets(st.text("ab0", max_size=4)))), dtype=str)
    labeled_N = np.array(data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool)
    asked = np.array(data.draw(st.lists(st.text("abc0", max_size=5))), dtype=str)
    found = PoolView(ids, labeled_N).are_candidates(asked)
    assert found.tolist() == [one in set(ids[~labeled_N].tolist()) for one in asked.tolist()]


@pytest.mark.parametrize(("ids", "told"), [("aab", "must be unique"), ("aba", "must be unique"), ("acb", "sorted by")])
def test_a_view_has_every_sample_once_and_sorted(ids, told):
    with pytest.raises(ValueError, match=told):
        PoolView(np.array(list(ids)), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="one-dimensional"):
        PoolView(np.array([list(ids)]), np.zeros((1, 3), dtype=bool))


def test_a_name_is_registered_once_and_requirements_are_known_ones():
    with pytest.raises(ValueError, match="registered twice"):
        added("margin", lambda view, query_size, rng: None)
    with pytest.raises(ValueError, match="gradients"):
        added("new", lambda view, query_size, rng: None, requires=("gradients",))


def test_probabilities_that_are_none_are_refused():
    view = make_view(5, 1)
    logits = replace(view.predictions, probabilities_NC=view.predictions.probabilities_NC * 3)
    with pytest.raises(UserError, match="do not sum to 1"):
        select_batch("margin", replace(view, predictions=logits), 2, np.random.default_rng(0))
    with pytest.raises(UserError, match="fewer than two classes"):
        select_batch("margin", make_view(5, 1, n_classes=1), 2, np.random.default_rng(0))


def test_predictions_of_other_samples_are_refused():
    view = make_view(5, 1)
    shifted = replace(view.predictions, sample_ids=np.roll(view.sample_ids, 1))
    with pytest.raises(ValueError, match="same samples"):
        select_batch("margin", replace(view, predictions=shifted), 2, np.random.default_rng(0))


def test_features_that_are_not_numbers_are_refused_by_sample():
    view = make_view(5, 1)
    view.features["image"][3, 0] = np.nan
    with pytest.raises(ValueError, match=r"features of 'image'.*s000003"):
        select_batch("coverage", view, 2, np.random.default_rng(0))
