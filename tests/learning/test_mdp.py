"""Reward and stopping."""

from __future__ import annotations

from rlmba_pipelines.learning.mdp import reward, stop_reason


def test_reward_rises_with_accuracy_and_with_balance_and_is_zero_when_nothing_changes():
    assert reward(0.5, 0.5, 0.3, 0.3, balance_weight=1.0) == 0
    assert reward(0.5, 0.6, 0.3, 0.3) > 0 > reward(0.5, 0.4, 0.3, 0.3)
    assert reward(0.5, 0.5, 0.3, 0.2, balance_weight=1.0) > 0 > reward(0.5, 0.5, 0.2, 0.3, balance_weight=1.0)


def test_rewards_of_rounds_add_up_to_the_reward_of_the_run():
    accuracy, imbalance = [0.2, 0.5, 0.45, 0.7], [0.6, 0.3, 0.4, 0.1]
    steps = [reward(accuracy[i], accuracy[i + 1], imbalance[i], imbalance[i + 1], balance_weight=0.2) for i in range(3)]
    whole = reward(accuracy[0], accuracy[3], imbalance[0], imbalance[3], balance_weight=0.2)
    assert abs(sum(steps) - whole) < 1e-12


def test_balance_counts_for_nothing_unless_it_is_given_a_weight():
    assert reward(0.25, 0.5, 0.0, 1.0) == 0.25


def test_a_run_goes_on_until_something_says_stop():
    assert stop_reason([0.1, 0.2], labels_spent=10**9) is None
    assert stop_reason([], labels_spent=0, target_accuracy=0.5) is None


def test_the_budget_stops_a_run_when_it_is_spent_and_not_a_label_earlier():
    assert stop_reason([0.5], labels_spent=499, budget=500) is None
    assert stop_reason([0.5], labels_spent=500, budget=500) == "the budget of 500 labels is spent"


def test_a_plateau_looks_at_the_last_rounds_together():
    creeping = [0.5, 0.504, 0.508, 0.512]
    assert stop_reason(creeping, labels_spent=0, plateau_rounds=1, plateau_gain=0.01) is not None
    assert stop_reason(creeping, labels_spent=0, plateau_rounds=3, plateau_gain=0.01) is None
    assert stop_reason([0.5, 0.5], labels_spent=0, plateau_rounds=2, plateau_gain=0.01) is None
