"""State and reward: what a policy sees does not hang on names, orders or units; what it earns is stated."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmba_pipelines.learning.acquisition.views import make_view
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.forecast import forecast_accuracy
from rlmba_pipelines.learning.mdp import (
    BOUND,
    MODALITY_FIELDS,
    SHARED_FIELDS,
    State,
    published_reward,
    reward,
)
from rlmba_pipelines.learning.policy import policy_names, start_policy
from rlmba_pipelines.learning.summaries import label_entropy, novelty, pool_summary, training_summary
from rlmba_pipelines.learning.theta import action_at, coordinates_of, tilted
from rlmba_pipelines.learning.types import Action, Predictions, Terms

NAMES = ("image", "text", "audio")
CURVE = [100, 200, 400, 800]


def summary(predictions, candidate_N, labeled_N):
    unimodal = {
        f"margin_{name}": np.where(predictions.present_NM[:, m], margin(predictions.unimodal_NMC[:, m]), 0.0)
        for m, name in enumerate(predictions.modalities)
    }
    terms = Terms(predictions.sample_ids, {"margin": margin(predictions.probabilities_NC), **unimodal})
    return pool_summary(predictions, terms, candidate_N, labeled_N)


def permuted(predictions, rows, modality_order, class_order):
    """The same facts: samples, modalities and classes in another order."""
    p, ms, cs = predictions, list(modality_order), list(class_order)
    return Predictions(
        sample_ids=p.sample_ids[rows],
        modalities=tuple(p.modalities[m] for m in ms),
        present_NM=p.present_NM[rows][:, ms],
        probabilities_NC=p.probabilities_NC[rows][:, cs],
        unimodal_NMC=p.unimodal_NMC[rows][:, ms][:, :, cs],
        draws_NKC=p.draws_NKC[rows][:, :, cs],
        unimodal_draws_NMKC=p.unimodal_draws_NMKC[rows][:, ms][..., cs],
        embedding_ND=p.embedding_ND[rows],
        modality_embedding_NMD=p.modality_embedding_NMD[rows][:, ms],
    )


def state_of(found, contribution):
    return State(0.5, 0.4, 0.1, 0.3, 0.2, contribution, **found, **training_summary({"train_loss": [2.0, 1.0]}))


@given(st.permutations(range(24)), st.permutations(range(3)), st.permutations(range(4)))
def test_the_state_ignores_the_order_of_samples_and_classes_and_follows_that_of_modalities(rows, ms, cs):
    view = make_view(24, 6, modalities=NAMES, missing=0.3)
    contribution = {"image": 0.3, "text": 0.1, "audio": 0.0}
    before = state_of(summary(view.predictions, ~view.labeled_N, view.labeled_N), contribution)
    labeled = view.labeled_N[list(rows)]
    other = permuted(view.predictions, np.array(rows), ms, cs)
    after = state_of(summary(other, ~labeled, labeled), {name: contribution[name] for name in other.modalities})
    np.testing.assert_allclose(after.shared_vector, before.shared_vector, atol=1e-7)
    np.testing.assert_allclose(
        after.modality_matrix(other.modalities), before.modality_matrix(NAMES)[list(ms)], atol=1e-12
    )


@pytest.mark.parametrize("name", policy_names())
@given(ms=st.permutations(range(3)))
def test_every_policys_action_permutes_with_the_modalities(name, ms):
    rng = np.random.default_rng(7)
    policy = start_policy(name, Action(), rng)
    if name == "reinforce":
        policy = replace(policy, weights={k: rng.normal(size=np.shape(v)) for k, v in policy.weights.items()})
    share, doubt = {"image": 0.3, "text": 0.1, "audio": 0.0}, {"image": 0.2, "text": 0.9, "audio": 0.4}
    order = [NAMES[m] for m in ms]
    states = [
        State(0.5, 0.4, 0.1, 0.3, 0.2, {n: share[n] for n in names}, modality_doubt={n: doubt[n] for n in names})
        for names in (NAMES, order)
    ]
    one, other = (policy.act(state, np.random.default_rng(0)) for state in states)
    assert one == other
    weights = np.array([0.5, 0.3, 0.2])
    moved = tilted(weights[list(ms)], order, other.kernel_tilt)
    np.testing.assert_allclose(moved, tilted(weights, NAMES, one.kernel_tilt)[list(ms)])


def test_the_shared_scorer_gives_modalities_that_look_the_same_the_same_weights():
    policy = start_policy("reinforce", Action(), np.random.default_rng(0))
    policy = replace(policy, weights={k: np.ones(np.shape(v)) for k, v in policy.weights.items()})
    alike = State(0.5, 0.4, 0.1, 0.3, 0.2, dict.fromkeys(NAMES, 0.2), modality_doubt=dict.fromkeys(NAMES, 0.5))
    tilt = policy.act(alike).uncertainty_tilt
    assert len(set(tilt.values())) == 1
    assert start_policy("reinforce", Action(), np.random.default_rng(0)).act(alike).uncertainty_tilt["text"] == 0


def test_a_state_is_the_same_after_a_trip_through_json_and_its_vector_is_bounded():
    state = State(0.5, 1e9, 0.1, 0.3, 0.2, {"image": 0.3}, doubt=0.5, modality_doubt={"image": -1e9})
    assert State(**json.loads(json.dumps(state.to_dict()))) == state
    vector = state.vector(["image", "text"])
    assert len(vector) == len(SHARED_FIELDS) + 2 * len(MODALITY_FIELDS)
    assert np.abs(vector).max() == BOUND
    assert vector[-2:].tolist() == [0.0, 0.0]


def test_summaries_of_next_to_nothing_are_defined():
    view = make_view(6, 3)
    nobody = np.zeros(6, dtype=bool)
    assert summary(view.predictions, nobody, view.labeled_N)["doubt"] == 0
    assert novelty(np.ones((4, 2)), np.array([1, 1, 0, 0], dtype=bool), np.array([0, 0, 1, 1], dtype=bool)) == 0
    assert novelty(np.ones((4, 2)), nobody[:4], nobody[:4]) == 0
    assert label_entropy([0, 0]) == label_entropy([7]) == label_entropy([]) == 0
    assert abs(label_entropy([3, 3, 3]) - 1) < 1e-12
    assert training_summary({"train_loss": [1.0], "gradient_norm": np.inf}) == {"loss_slope": 0, "gradient_norm": 1}


def test_training_counts_by_its_shape_not_by_the_unit_of_its_loss_or_the_number_of_epochs():
    slope = training_summary({"train_loss": np.linspace(3, 1, 5)})["loss_slope"]
    assert abs(training_summary({"train_loss": 7 * np.linspace(3, 1, 50)})["loss_slope"] - slope) < 1e-12


@given(st.floats(0.05, 0.9), st.floats(0.0, 1.5))
def test_a_run_that_does_what_its_power_law_promised_earns_nothing(error, power):
    accuracy = [1 - error * (n / 100) ** -power for n in CURVE]
    promised = forecast_accuracy(CURVE[:3], accuracy[:3], CURVE[3])
    if accuracy[2] < 1 - 1e-3:  # errors below that count as that
        assert abs(reward(promised, accuracy[3], 0.2, 0.2)) < 1e-9


def test_before_three_points_and_for_labels_that_do_not_rise_the_forecast_is_the_last_accuracy():
    assert forecast_accuracy([10], [0.3], 20) == 0.3
    assert forecast_accuracy([10, 20], [0.3, 0.5], 40) == 0.5
    for n in range(5, 400):  # the mean of equal logarithms is not always that logarithm
        assert forecast_accuracy([n, n, n], [0.3, 0.5, 0.4], n + 50) == 0.4
    with pytest.raises(ValueError, match="0 label counts"):
        forecast_accuracy([], [], 10)


def test_a_forecast_never_expects_labels_to_harm_and_stays_a_share():
    falling = forecast_accuracy([10, 20, 40], [0.6, 0.5, 0.4], 80)
    assert abs(falling - (1 - np.exp(np.log([0.4, 0.5, 0.6]).mean()))) < 1e-9
    assert 0 <= forecast_accuracy([1, 2, 3], [0.0, 0.9, 1.0], 10**9) <= 1


def test_cost_and_balance_are_weighed_against_accuracy():
    assert abs(reward(0.5, 0.6, 0.4, 0.2, balance_weight=0.5, cost=0.05) - 0.15) < 1e-12


def test_the_published_reward_asks_its_baselines_once_and_takes_their_mean():
    asked = []
    assert published_reward(0.5, lambda: asked.append(1) or {"a": 0.25, "b": 0.5}) == 0.125
    assert asked == [1]
    with pytest.raises(ValueError, match="no baseline"):
        published_reward(0.5, dict)


@given(st.lists(st.floats(-2.9, 2.9), min_size=6, max_size=6), st.lists(st.floats(-2.9, 2.9), min_size=4, max_size=4))
def test_theta_and_its_coordinates_are_two_names_of_one_thing(shared, tilts):
    prior = Action()
    shared[1] = max(shared[1], 0.0)  # a kernel that is 0 at the prior grows upward only
    tilts = np.array(tilts).reshape(2, 2)
    found = coordinates_of(prior, action_at(prior, np.array(shared), tilts, NAMES[:2]), NAMES[:2])
    np.testing.assert_allclose(found[0], shared, atol=1e-9)
    np.testing.assert_allclose(found[1], tilts, atol=1e-12)


def test_coordinates_zero_are_the_prior_and_nonsense_is_refused():
    prior = Action(fused_uncertainty=1.0, exponent=0.0, bandwidth_quantile=1.0)
    at_home = action_at(prior, np.zeros(6), np.zeros((1, 2)), ["image"])
    assert replace(at_home, uncertainty_tilt={}, kernel_tilt={}) == prior
    with pytest.raises(ValueError, match="finite"):
        action_at(prior, np.full(6, np.nan), np.zeros((1, 2)), ["image"])
    with pytest.raises(ValueError, match="shapes"):
        action_at(prior, np.zeros(5), np.zeros((1, 2)), ["image"])
    with pytest.raises(ValueError, match="tilts"):
        Action(kernel_tilt={"image": np.inf})
