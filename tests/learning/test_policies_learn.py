"""Policies: what each does before it has learned anything, what it learns from, and that it can be saved."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import check_policy_options, policy_from_dict, policy_names, start_policy
from rlmba_pipelines.learning.policy.bandit import ARMS, BanditPolicy, carried_from
from rlmba_pipelines.learning.policy.published import PublishedPolicy
from rlmba_pipelines.learning.policy.reinforce import (
    ReinforcePolicy,
    gradient_of_log_density,
    initial_weights,
    log_density,
    mean_of,
)
from rlmba_pipelines.learning.policy.stage_adaptive import StageAdaptivePolicy
from rlmba_pipelines.learning.types import Action, UserError

NAMES = ("image", "text")
DOUBT = {"image": 0.4, "text": 0.7}
SEEN = State(0.5, 0.4, 0.1, 0.3, 0.2, {"image": 0.3, "text": 0.1}, doubt=0.6, modality_doubt=DOUBT)
K = len(ARMS)


def started(name):
    return start_policy(name, Action(), np.random.default_rng(0))


@pytest.mark.parametrize("name", policy_names())
def test_a_policy_that_learned_goes_on_the_same_after_a_trip_through_json(name):
    policy = started(name)
    action = policy.act(SEEN, np.random.default_rng(1))
    score = {"uncertainty": 0.4, "distance": -0.2, "margin": 0.1}
    for earned in (0.02, -0.01, 0.03):
        policy = policy.update(Transition(SEEN, action, earned, SEEN, score))
    again = policy_from_dict(json.loads(json.dumps(policy.to_dict())))
    assert again.to_dict() == policy.to_dict()
    assert again.act(SEEN, np.random.default_rng(2)) == policy.act(SEEN, np.random.default_rng(2))


@pytest.mark.parametrize("name", policy_names())
def test_an_update_leaves_the_old_policy_as_it_was(name):
    policy = started(name)
    before = json.dumps(policy.to_dict())
    policy.update(Transition(SEEN, Action(), 0.5, SEEN, {"margin": 1.0}))
    assert json.dumps(policy.to_dict()) == before


@pytest.mark.parametrize("name", ["fixed", "reinforce", "published"])
def test_without_chance_a_policy_that_learned_nothing_acts_by_the_prior(name):
    action = started(name).act(SEEN)
    assert replace(action, uncertainty_tilt={}, kernel_tilt={}) == Action()
    assert not any([*action.uncertainty_tilt.values(), *action.kernel_tilt.values()])


def test_what_a_policy_does_not_know_is_refused_in_one_sentence():
    with pytest.raises(UserError, match="has no option 'arm'; it knows: arms, carried"):
        check_policy_options("bandit", {"arm": 1})
    with pytest.raises(UserError, match="fixed' has no option 'x'; it takes no options"):
        check_policy_options("fixed", {"x": 1})
    for name, wrong in (
        ("bandit", {"arms": ["raw", "smell"]}),
        ("bandit", {"noise": 0}),
        ("stage_adaptive", {"until": [0.9, 0.1]}),
        ("reinforce", {"spread": 0}),
        ("published", {"clip": -1}),
    ):
        with pytest.raises(UserError, match=f"Policy '{name}'"):
            start_policy(name, Action(), np.random.default_rng(0), wrong)


@pytest.mark.parametrize("name", ["bandit", "reinforce", "published"])
def test_a_reward_that_is_no_number_is_refused(name):
    policy = started(name)
    with pytest.raises(ValueError, match="finite"):
        policy.update(Transition(SEEN, policy.act(SEEN, np.random.default_rng(0)), np.nan, SEEN))


def test_coverage_comes_first_and_doubt_later_by_labels_or_by_accuracy():
    policy = StageAdaptivePolicy(Action(exponent=1.5, bandwidth_quantile=0.2))
    early = policy.act(replace(SEEN, accuracy=0.1, spent=0.1))
    late = policy.act(replace(SEEN, accuracy=0.1, spent=0.9))
    assert (early.exponent, early.bandwidth_quantile) == (0.0, 0.4)
    assert (late.exponent, late.bandwidth_quantile) == (3.0, 0.1)
    assert policy.act(replace(SEEN, accuracy=0.9, spent=0.1)) == late


# --- bandit -----------------------------------------------------------------------------------------------------------


def test_the_bandits_posterior_is_that_of_the_conjugate_gaussian():
    bandit = BanditPolicy(Action(), noise=0.1, spread=0.2)
    for earned in (0.3, 0.1):
        bandit = bandit.rewarded(3, earned)
    mean, variance = bandit.posterior
    assert abs(variance[3] - 1 / (1 / 0.04 + 2 / 0.01)) < 1e-15
    assert abs(mean[3] - variance[3] * (0.4 / 0.01)) < 1e-15
    assert (mean[0], round(variance[0], 12)) == (0.0, 0.04)


def test_without_evidence_the_bandit_stays_at_home_and_leaves_when_home_disappoints():
    bandit = started("bandit")
    assert {bandit.choose(np.random.default_rng(seed)) for seed in range(200)} == {0}
    for _ in range(6):
        bandit = bandit.rewarded(0, -0.03)
    assert {bandit.choose(np.random.default_rng(seed)) for seed in range(200)} > {1, 2}


def test_the_bandit_learns_from_its_own_arms_and_from_nothing_else():
    bandit = started("bandit")
    taught = bandit.update(Transition(SEEN, bandit.action_of("raw"), 0.1, SEEN))
    assert taught.count == (0, 0, 0, 1, 0, 0)
    assert bandit.update(Transition(SEEN, Action(exponent=7.0), 0.1, SEEN)) is bandit


def test_a_carried_prior_counts_but_no_more_than_its_limit():
    taught = BanditPolicy(Action(), count=(40.0,) * K, mean=(0.0, 0.05, *(0.0,) * (K - 2)))
    fresh = start_policy("bandit", Action(), np.random.default_rng(0), {"carried": carried_from([taught, taught])})
    assert fresh.count == (8.0,) * K
    assert abs(fresh.mean[1] - 0.05) < 1e-12
    choices = [fresh.choose(np.random.default_rng(seed)) for seed in range(100)]
    assert choices.count(1) > 90


# --- statistical targets (make test-statistical) ----------------------------------------------------------------------

NOISE, ROUNDS, PROBLEMS, SEEDS = 0.02, 6, 40, 100


def plays(policy, worth, rng, rounds=ROUNDS):
    """Six rounds: which arms were played, and the bandit after them. ``policy`` None plays uniformly."""
    arms, bandit = [], policy or BanditPolicy(Action(), noise=NOISE, spread=NOISE)
    for _ in range(rounds):
        arm = bandit.choose(rng) if policy else int(rng.integers(K))
        arms.append(arm)
        bandit = bandit.rewarded(arm, worth[arm] + NOISE * rng.standard_normal())
    return arms, bandit


def carried_bandit(worth, rng, caution):
    """A bandit with the prior of other problems, each of them six rounds of uniform play."""
    others = [plays(None, worth, rng)[1] for _ in range(PROBLEMS)]
    return BanditPolicy.start(
        Action(), rng, (), noise=NOISE, spread=NOISE, caution=caution, carried=carried_from(others)
    )


@pytest.mark.statistical
@pytest.mark.parametrize("caution", [0.0, 0.75], ids=["plain Thompson", "with fallback"])
@pytest.mark.parametrize("better", [0, 3], ids=["home is better", "another arm is better"])
def test_with_a_carried_prior_the_bandit_beats_uniform_choice_in_95_of_100_seeds(better, caution):
    worth = np.where(np.arange(K) == better, NOISE, 0.0)
    wins, share = 0, []
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, better])
        arms, _ = plays(carried_bandit(worth, rng, caution), worth, rng)
        uniform, _ = plays(None, worth, rng)
        wins += worth[arms].sum() > worth[uniform].sum()
        share.append(np.mean(np.array(arms) == better))
    print(f"\nbetter arm {better}, caution {caution}: won {wins} of {SEEDS}, better arm in {np.mean(share):.0%}")
    assert wins >= 95


@pytest.mark.statistical
def test_with_no_better_arm_the_bandits_choices_are_uniform():
    worth, runs = np.zeros(K), []
    for seed in range(6 * SEEDS):
        rng = np.random.default_rng([seed, 99])
        runs.append(plays(carried_bandit(worth, rng, caution=0.0), worth, rng)[0])
    # choices of one run hang together, which inflates the statistic of the first count; the second is independent
    for name, choices in ((f"all of {SEEDS} runs", runs[:SEEDS]), ("the last of 600 runs", np.array(runs)[:, -1])):
        counts = np.bincount(np.ravel(choices), minlength=K)
        p = chisquare(counts).pvalue
        print(f"\nno better arm, choices: {name} {counts.tolist()}, chi-square p = {p:.3f}")
        assert p > 0.01


# --- policy gradients -------------------------------------------------------------------------------------------------


def test_the_gradient_of_the_shared_scorer_agrees_with_finite_differences():
    rng = np.random.default_rng(3)
    weights = {name: rng.normal(size=value.shape) for name, value in initial_weights(rng).items()}
    drawn = rng.normal(size=6), rng.normal(size=(2, 2))
    found = gradient_of_log_density(weights, 0.4, SEEN, *drawn, NAMES)
    step = 1e-6
    for name, value in weights.items():
        numeric = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[at] += sign * step
                ends.append(log_density({**weights, name: moved}, 0.4, SEEN, *drawn, NAMES))
            numeric[at] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(found[name], numeric, atol=1e-5, err_msg=name)


def test_draws_have_the_stated_spread_around_the_mean():
    policy = ReinforcePolicy(Action(exponent=1.0), initial_weights(np.random.default_rng(0)), spread=0.3)
    rng, n = np.random.default_rng(1), 2000
    z = np.log([policy.act(SEEN, rng).exponent for _ in range(n)])
    assert abs(z.mean()) < 4 * 0.3 / np.sqrt(n)
    assert abs(z.std() - 0.3) < 4 * 0.3 / np.sqrt(2 * n)


def test_over_many_episodes_reinforce_moves_theta_to_where_the_reward_is():
    prior = Action(exponent=1.0)
    policy = ReinforcePolicy(prior, initial_weights(np.random.default_rng(0)), learning_rate=0.05, reward_scale=0.5)
    rng = np.random.default_rng(1)
    for _ in range(600):
        action = policy.act(SEEN, rng)
        earned = -((np.log(action.exponent) - 0.8) ** 2) - (action.kernel_tilt["text"] + 0.6) ** 2
        policy = policy.update(Transition(SEEN, action, float(earned), SEEN))
    shared, tilts = mean_of(policy.weights, SEEN, NAMES)
    assert abs(shared[4] - 0.8) < 0.3
    assert abs(tilts[1, 1] + 0.6) < 0.3


def test_clipping_bounds_what_one_round_can_do():
    policy = ReinforcePolicy(Action(), initial_weights(np.random.default_rng(0)), baseline=0.0)
    taught = policy.update(Transition(SEEN, Action(exponent=20.0), 1e6, SEEN))
    moved = np.sqrt(sum(np.square(taught.weights[k] - policy.weights[k]).sum() for k in policy.weights))
    assert moved <= policy.learning_rate * policy.clip**2 + 1e-12
    published = PublishedPolicy(baseline=0.0)
    taught = published.update(Transition(SEEN, Action(), 1e6, SEEN, {"margin": 1e9}))
    assert np.linalg.norm(taught.weights) <= published.learning_rate * published.clip**2 + 1e-12


def test_the_published_policy_steps_along_the_score_of_a_batch_that_earned_more_than_usual():
    policy, score = PublishedPolicy(baseline=0.01), {"uncertainty": 0.5, "distance": -0.5, "margin": 0.0}
    better = policy.update(Transition(SEEN, Action(), 0.02, SEEN, score)).weights
    worse = policy.update(Transition(SEEN, Action(), 0.0, SEEN, score)).weights
    assert better == (0.125, -0.125, 0.0)
    assert worse == (-0.125, 0.125, 0.0)
    assert policy.update(Transition(SEEN, Action(), 0.02, SEEN)).weights == (0.0, 0.0, 0.0)  # no batch was drawn
