"""Policies: plain JSON, and updates that leave the old policy alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import Policy, policy_from_dict, start_policy
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


@pytest.mark.parametrize(
    "name", ["fixed", "stage_adaptive", "bandit", "reinforce", "pretrained", "published", "vlm_stages"]
)
@pytest.mark.parametrize(("saved", "kept"), [(None, 0.0), (0.7, 0.7)])
def test_a_policy_that_was_saved_before_there_was_rarity_goes_on_without(name, saved, kept):
    policy = json.loads(json.dumps(start_policy(name, Action(), np.random.default_rng(0)).to_dict()))
    prior = policy["action" if name == "fixed" else "prior"]
    del prior["rarity"]
    prior.update({} if saved is None else {"rarity": saved})
    assert policy_from_dict(policy).act(STATE, np.random.default_rng(0)).rarity == kept


def test_an_unknown_policy_and_an_impossible_action_are_refused():
    with pytest.raises(ValueError, match="unknown policy 'oracle': choose one of bandit, fixed"):
        policy_from_dict({"name": "oracle"})
    with pytest.raises(ValueError, match="fused_uncertainty"):
        FixedPolicy.from_dict({"name": "fixed", "action": {"fused_uncertainty": 2.0}})
