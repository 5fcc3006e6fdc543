"""TAILOR's posterior and its law of choosing arms; GALAXY's lines, bisections and cuts."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, chisquare, dirichlet, kstest

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.galaxy import AT_RANDOM, BESIDE_A_CUT, BISECTION, class_order, next_place
from rlmba_pipelines.learning.acquisition.tailor import class_rewards, posterior
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import UNLABELED, UserError

ARMS = ("margin", "entropy", "least_confidence")


def rng(seed=0):
    return np.random.default_rng(seed)


def bought(view, y_by_row, arm_by_row):
    """The view with other labels and buyers."""
    labeled_N = np.zeros(len(view.sample_ids), dtype=bool)
    y, arm_N = np.full(len(labeled_N), UNLABELED), np.full(len(labeled_N), UNLABELED)
    for row, (class_idx, arm) in enumerate(zip(y_by_row, arm_by_row, strict=True)):
        labeled_N[row], y[row], arm_N[row] = True, class_idx, arm
    return replace(view, labeled_N=labeled_N, y=y, arm_N=arm_N)


# --- TAILOR -----------------------------------------------------------------------------------------------------------


def test_a_label_is_worth_one_over_its_count_and_less_than_nothing_where_one_class_holds_most():
    assert_allclose(class_rewards(np.array([0] * 6 + [1] * 2 + [2]), 4), [-1 / 6, 1 / 2, 1, 1])
    assert_allclose(class_rewards(np.array([0, 0, 1, 1]), 2), [0.5, 0.5])  # exactly half is not more than half
    assert_allclose(class_rewards(np.zeros(0, dtype=int), 3), [1, 1, 1])


def test_the_posterior_counts_what_each_arm_turned_up_and_nothing_of_the_start_batch():
    y, arm = np.array([0, 0, 1, 2, 2, 2, 1]), np.array([-1, 0, 0, 1, 1, -1, 1])
    assert posterior(y, arm, 3, 3, 0.5).tolist() == [[1.5, 1.5, 0.5], [0.5, 1.5, 2.5], [0.5, 0.5, 0.5]]


def test_the_drawn_reward_follows_the_dirichlet_posterior_of_the_only_arm():
    y = [0] * 9 + [1] * 3 + [2] * 2
    view = bought(make_view(1014, 0, n_classes=3), y, [0] * 14)
    batch = select_batch("tailor", view, 1000, rng(), {"arms": ["margin"]})
    alpha_C, reward_C = np.array([10.0, 4, 3]), np.array([-1 / 9, 1 / 3, 1 / 2])
    assert_allclose(batch.reasons["expected_reward"], alpha_C @ reward_C / alpha_C.sum())
    direct = dirichlet(alpha_C).rvs(4000, random_state=1) @ reward_C
    assert kstest(batch.utility_Q, direct).pvalue > 0.001
    variance = reward_C @ dirichlet(alpha_C).cov() @ reward_C
    assert batch.utility_Q.var() == pytest.approx(variance, rel=0.15)


def test_each_slot_goes_to_an_arm_as_often_as_its_draw_is_the_best():
    y = [0] * 12 + [1, 0, 1, 0, 1, 0]
    arm = [0] * 6 + [1] * 6 + [2] * 6
    view = bought(make_view(1018, 0, n_classes=2), y, arm)
    batch = select_batch("tailor", view, 1000, rng(), {"arms": ARMS})
    reward_C = class_rewards(np.array(y), 2)
    alpha_AC = [[7, 1], [7, 1], [4, 4]]
    draws_AS = np.array([dirichlet(a).rvs(200_000, random_state=i) @ reward_C for i, a in enumerate(alpha_AC)])
    share_A = np.bincount(draws_AS.argmax(axis=0), minlength=3) / 200_000
    assert share_A[2] > 0.8  # the arm that turned up the rare class
    for a, share in enumerate(share_A):
        count = int((batch.reasons["arm"] == a).sum())
        low, high = binom(1000, share).ppf([0.0005, 0.9995])
        assert low <= count <= high, (a, count, share)


def test_tailor_takes_from_each_arm_its_own_samples_in_its_own_order():
    view = make_view(60, 12, seed=1)
    batch = select_batch("tailor", view, 20, rng(3), {"arms": ARMS})
    order = {a: select_batch(name, view, 48, rng()).sample_ids.tolist() for a, name in enumerate(ARMS)}
    taken = set()
    for sample_id, arm in zip(batch.sample_ids, batch.reasons["arm"], strict=True):
        assert sample_id == next(i for i in order[int(arm)] if i not in taken)
        taken.add(sample_id)
    assert len(set(batch.reasons["arm"])) > 1


def test_tailor_starts_evenly_where_no_arm_has_bought_anything():
    view = replace(make_view(1000, 0), arm_N=np.full(1000, UNLABELED))
    batches = [select_batch("tailor", view, 900, rng(seed), {"arms": ARMS}) for seed in range(4)]
    count = Counter(np.concatenate([batch.reasons["arm"] for batch in batches]))
    assert chisquare([count[a] for a in range(3)]).pvalue > 0.001


def test_arms_that_cannot_be_are_refused():
    view = make_view(20, 6)
    refused = [{"arms": []}, {"arms": "margin"}, {"arms": ["margin", "margin"]}, {"arms": ["tailor", "margin"]}]
    refused += [{"arms": ["no_such_strategy"]}, {"arms": ["margin", "entropy"]}, {"prior": 0.0}]  # arm 2 bought before
    for options in refused:
        with pytest.raises(UserError):
            select_batch("tailor", view, 3, rng(), options)
    with pytest.raises(UserError, match="'typiclust' needs features too"):
        select_batch("tailor", make_view(20, 0), 3, rng(), {"arms": ["margin", "typiclust"]})


# --- GALAXY -----------------------------------------------------------------------------------------------------------


def line_view(share_of_class, y_by_row):
    """Two classes; sample i has the given probability of class 1, labels of some rows."""
    view = make_view(len(share_of_class), 0, n_classes=2)
    p_NC = np.stack([1 - np.array(share_of_class), share_of_class], axis=1)
    view = replace(view, predictions=replace(view.predictions, probabilities_NC=p_NC))
    y = np.array([y_by_row.get(row, UNLABELED) for row in range(len(p_NC))])
    return replace(view, y=y, labeled_N=y != UNLABELED)


def plain_next_place(n_places, known):
    """Every pair of known neighbours looked at; known: place -> is the class."""
    places = sorted(known)
    paths = [(b - a, a) for a, b in pairwise(places) if known[a] != known[b] and b - a > 1]
    if paths:
        length, start = min(paths)
        return start + length // 2, length, BISECTION
    cuts = [(a, b) for a, b in pairwise(places) if known[a] != known[b]]
    beside = [(b - place, 0, i, place) for i, (_, b) in enumerate(cuts) for place in range(b) if place not in known]
    beside += [
        (place - a, 1, i, place) for i, (a, _) in enumerate(cuts) for place in range(a, n_places) if place not in known
    ]
    if not beside:
        return -1, 0, AT_RANDOM
    steps, _, _, place = min(beside)
    return place, steps, BESIDE_A_CUT


def test_the_next_place_is_that_of_looking_at_every_path_and_every_cut():
    generator, found = rng(), Counter()
    for _ in range(1500):
        n_places = int(generator.integers(2, 14))
        places = np.flatnonzero(generator.random(n_places) < generator.random())
        is_class = (places >= generator.integers(n_places)) ^ (generator.random(len(places)) < 0.15)
        known = dict(zip(places.tolist(), is_class.tolist(), strict=True))
        expected = plain_next_place(n_places, known)
        assert next_place(places, is_class, n_places) == expected, (n_places, known)
        found[expected[2]] += 1
    assert min(found[kind] for kind in (BISECTION, BESIDE_A_CUT, AT_RANDOM)) > 100


def test_a_line_runs_from_least_to_most_like_the_class_and_by_confidence_where_it_is_predicted():
    p_NC = np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.1, 0.8, 0.1], [0.45, 0.5, 0.05], [0.5, 0.3, 0.2]])
    assert class_order(p_NC, 0).tolist() == [2, 3, 1, 0, 4]
    assert class_order(p_NC, 1).tolist() == [0, 4, 1, 3, 2]


def test_galaxy_halves_the_path_between_unlike_labels_as_the_model_would_answer():
    share = np.linspace(0.02, 0.98, 17)  # predicted class 1 from row 9; row 8 is a tie, predicted class 0
    batch = select_batch("galaxy", line_view(share, {0: 0, 16: 1}), 7, rng())
    assert batch.sample_ids.tolist()[:4] == ["s000008", "s000012", "s000010", "s000009"]  # 16, 8, 4, 2 edges
    assert batch.reasons["path"].tolist()[:4] == [16, 8, 4, 2]
    assert batch.reasons["found_by"].tolist() == [BISECTION] * 4 + [BESIDE_A_CUT] * 3
    assert batch.sample_ids.tolist()[4:] == ["s000007", "s000006", "s000011"]  # nearest to the cut between 8 and 9
    assert batch.reasons["path"].tolist()[4:] == [2, 3, 3]
    assert_allclose(batch.utility_Q[:4], [1 / 16, 1 / 8, 1 / 4, 1 / 2])


def test_galaxy_goes_where_labels_change_and_not_where_the_model_would_draw_the_line():
    share = np.linspace(0.02, 0.40, 20)  # the model calls everything class 0, the labels say otherwise
    view = line_view(share, {0: 0, 10: 0, 14: 1, 19: 1})
    batch = select_batch("galaxy", view, 1, rng())
    assert batch.sample_ids.tolist() == ["s000012"]
    assert select_batch("margin", view, 1, rng()).sample_ids.tolist() == ["s000018"]


def test_galaxy_gives_every_class_its_turn():
    view = make_view(200, 40, n_classes=5, seed=4)
    turns = select_batch("galaxy", view, 15, rng()).reasons["class"]
    assert sorted(turns[:5]) == [0, 1, 2, 3, 4]
    assert turns.tolist() == turns[:5].tolist() * 3


def test_galaxy_asks_at_random_where_all_labels_are_alike():
    view = line_view(np.linspace(0.1, 0.4, 12), {0: 0, 5: 0})
    firsts = Counter(select_batch("galaxy", view, 1, rng(seed)).sample_ids[0] for seed in range(200))
    assert len(firsts) == 10
    batch = select_batch("galaxy", view, 10, rng())
    assert (batch.reasons["found_by"] == AT_RANDOM).all()
    assert (batch.utility_Q == 0).all()


def test_galaxy_finds_a_rare_class_when_the_model_draws_its_line_deep_inside_the_large_one():
    n, n_rare = 1000, 20
    truth = (np.arange(n) >= n - n_rare).astype(int)
    share = np.linspace(0.001, 0.999, n)  # the model calls the upper half class 1; 20 samples are

    def rare_among(strategy):
        labels = {0: 0, 700: 0, n - 1: 1}
        for _ in range(10):
            batch = select_batch(strategy, line_view(share, labels), 4, rng())
            labels |= {int(i[1:]): int(truth[int(i[1:])]) for i in batch.sample_ids}
        assert len(labels) == 43
        return sum(labels.values()) - 1

    assert rare_among("margin") == 0
    assert rare_among("galaxy") >= 8
