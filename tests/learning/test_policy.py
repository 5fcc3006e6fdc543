"""Policies: plain JSON, and updates that leave the old policy alone."""

from __future__ import annotations

import json

import pytest

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import Policy, policy_from_dict
from rlmba_pipelines.learning.policy.fixed import FixedPolicy
from rlmba_pipelines.learning.types import Action

STATE = State(accuracy=0.5, nll=0.4, ece=0.1, imbalance=0.3, spent=0.2, contribution={"image": 0.3, "text": 0.1})


def test_a_fixed_policy_does_the_same_whatever_it_is_taught():
    policy: Policy = FixedPolicy(Action(exponent=2.0))
    taught = policy.update(Transition(STATE, Action(), reward=-1.0, next_state=STATE))
    assert taught.act(STATE) == policy.act(STATE) == Action(exponent=2.0)


def test_a_policy_is_the_same_after_a_trip_through_json():
    policy = FixedPolicy(Action(fused_kernel=1.0, bandwidth_quantile=0.05))
    assert policy_from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


def test_an_unknown_policy_and_an_impossible_action_are_refused():
    with pytest.raises(ValueError, match="unknown policy 'oracle': choose one of bandit, fixed"):
        policy_from_dict({"name": "oracle"})
    with pytest.raises(ValueError, match="fused_uncertainty"):
        FixedPolicy.from_dict({"name": "fixed", "action": {"fused_uncertainty": 2.0}})
