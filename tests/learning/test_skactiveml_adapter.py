"""The adapter for scikit-activeml: against the library where it is installed (make bench-selection's environment), else
against a stand-in of the two things that it uses."""

import importlib.util
import pickle
import sys
import types

import numpy as np
import pytest

import rlmba_pipelines
from rlmba_pipelines.learning import skactiveml_adapter
from rlmba_pipelines.learning.types import UserError

INSTALLED = importlib.util.find_spec("skactiveml") is not None


class StandIn:
    """What scikit-activeml's base class does for a strategy, without its checks."""

    def __init__(self, missing_label, random_state):
        self.missing_label, self.random_state = missing_label, random_state

    def _validate_data(self, X, y, candidates, batch_size, return_utilities, reset):
        self.random_state_ = np.random.RandomState(self.random_state)
        return np.asarray(X), np.asarray(y), candidates, batch_size, return_utilities

    def _transform_candidates(self, candidates, X, y, enforce_mapping, allow_only_unlabeled):
        rows = np.flatnonzero(np.isnan(y)) if candidates is None else np.asarray(candidates)
        if not np.isnan(y[rows]).all():
            raise ValueError("Candidates must not contain labeled samples.")
        return X[rows], rows


@pytest.fixture
def pool_strategy(monkeypatch):
    """The class, made from the library or from the stand-in."""
    if not INSTALLED:
        base, utils = types.ModuleType("skactiveml.base"), types.ModuleType("skactiveml.utils")
        base.SingleAnnotatorPoolQueryStrategy = StandIn
        utils.is_labeled = lambda y, missing_label: ~np.isnan(y)
        for name, module in (
            ("skactiveml", types.ModuleType("skactiveml")),
            (base.__name__, base),
            ("skactiveml.utils", utils),
        ):
            monkeypatch.setitem(sys.modules, name, module)
    skactiveml_adapter._pool_strategy.cache_clear()
    yield skactiveml_adapter.PoolStrategy
    skactiveml_adapter._pool_strategy.cache_clear()


class Classifier:
    """Sure by nearness to class means; counts how often it was fitted."""

    fitted = 0

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y):
        known = ~np.isnan(y)
        self.classes_ = np.unique(y[known])
        self.means = np.array([X[known][y[known] == c].mean(axis=0) for c in self.classes_])
        Classifier.fitted += 1
        return self

    def predict_proba(self, X):
        odds = np.exp(-np.square(X[:, None] - self.means).sum(axis=-1))
        return odds / odds.sum(axis=1, keepdims=True)


def data(n=30):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y = np.full(n, np.nan)
    y[:4] = [0, 1, 0, 1]
    return X, y, rng.dirichlet(np.ones(2), size=n)


def test_picks_are_those_of_select(pool_strategy):
    X, y, p = data()
    for name in ("margin", "core_set", "coverage", "galaxy"):
        labels = {"labels": [0, 1, 0, 1]}
        wanted = rlmba_pipelines.select(
            name, features=X, probabilities=p, labeled_ids=range(4), query_size=5, rng=0, **labels
        )
        picked = pool_strategy(name, random_state=0).query(X, y, probabilities=p, batch_size=5)
        assert picked.tolist() == wanted.sample_ids.tolist()


def test_the_same_random_state_gives_the_same_picks(pool_strategy):
    X, y, _ = data()
    picks = [pool_strategy("random", random_state=s).query(X, y, batch_size=5).tolist() for s in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]


def test_only_candidates_are_picked_and_labeled_ones_are_refused(pool_strategy):
    X, y, p = data()
    few = pool_strategy("margin").query(X, y, probabilities=p, candidates=np.array([20, 9, 11]), batch_size=2)
    assert set(few) <= {9, 11, 20}
    with pytest.raises(ValueError, match="labeled"):
        pool_strategy("margin").query(X, y, probabilities=p, candidates=np.array([0, 9]))


def test_a_classifier_is_cloned_and_fitted_only_where_predictions_are_needed(pool_strategy):
    X, y, _ = data()
    clf = Classifier()
    before = Classifier.fitted
    pool_strategy("coverage").query(X, y, clf=clf)
    assert Classifier.fitted == before
    picked = pool_strategy("margin").query(X, y, clf=clf, batch_size=3)
    assert Classifier.fitted == before + 1
    assert not hasattr(clf, "classes_")
    probabilities = Classifier().fit(X, y).predict_proba(X)
    assert picked.tolist() == pool_strategy("margin").query(X, y, probabilities=probabilities, batch_size=3).tolist()


def test_utilities_are_those_at_the_moment_of_the_pick_and_nan_where_not_known(pool_strategy):
    X, y, p = data()
    picked, utilities = pool_strategy("margin").query(X, y, probabilities=p, batch_size=3, return_utilities=True)
    assert utilities.shape == (3, 30)
    assert np.isnan(utilities[:, :4]).all()
    assert (np.nanargmax(utilities, axis=1) == picked).all()
    assert np.nanmax(utilities[0]) == pytest.approx(1 - abs(p[picked[0], 0] - p[picked[0], 1]))
    assert np.isnan(utilities[2, picked[:2]]).all()
    picked, utilities = pool_strategy("core_set").query(X, y, probabilities=p, batch_size=3, return_utilities=True)
    assert (np.isnan(utilities).sum(axis=1) == 29).all()
    assert (np.nanargmax(utilities, axis=1) == picked).all()


def test_labels_by_name_need_the_names_of_the_columns():
    assert skactiveml_adapter.columns_of_labels(np.array([2.0, 0.0]), None).tolist() == [2, 0]
    with pytest.raises(UserError, match="classes="):
        skactiveml_adapter.columns_of_labels(np.array(["cat"]), None)
    with pytest.raises(UserError, match="'emu' is not among classes"):
        skactiveml_adapter.columns_of_labels(np.array(["emu"]), ["cat", "dog"])


def test_what_select_would_not_know_is_refused_by_name(pool_strategy):
    X, y, _ = data()
    with pytest.raises(UserError, match="not 'weights'"):
        pool_strategy("margin").query(X, y, weights=[1.0])


def test_a_query_strategy_survives_pickling(pool_strategy):
    assert pickle.loads(pickle.dumps(pool_strategy("badge", random_state=3))).strategy == "badge"


def test_without_scikit_activeml_one_sentence_says_what_to_install(monkeypatch):
    skactiveml_adapter._pool_strategy.cache_clear()
    monkeypatch.setitem(sys.modules, "skactiveml.base", None)
    with pytest.raises(UserError, match="pip install scikit-activeml") as refusal:
        _ = skactiveml_adapter.PoolStrategy
    assert isinstance(refusal.value, ImportError)
    assert "\n" not in str(refusal.value)
