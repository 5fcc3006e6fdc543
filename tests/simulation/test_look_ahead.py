"""Looking one step ahead: what is tried is what a run would have done, and chance is the only difference."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rlmba_pipelines.config import RoundsConfig
from rlmba_pipelines.learning.pretraining import Trials
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.decide import prior_of
from rlmba_pipelines.simulation.look_ahead import draw_action, episode
from rlmba_pipelines.simulation.toy import toy_task

ROUNDS = RoundsConfig(rounds=3, start_size=12, query_size=8)


def tried(n_drawn: int, seed: int = 1) -> list[Trials]:
    task, answer = toy_task(np.random.default_rng(0), rounds=ROUNDS)
    return list(episode(task, answer, np.random.default_rng(seed), n_drawn=n_drawn, spread=1.0))


def test_with_nothing_but_the_prior_the_episode_is_a_run_and_its_accuracies_are_those_of_the_run():
    task, answer = toy_task(np.random.default_rng(0), rounds=ROUNDS)
    run = [result.validation["accuracy"] for result in simulate(task, answer) if result.validation]
    found = tried(n_drawn=0)
    assert [trials.accuracies for trials in found] == [(after,) for after in run[1:]]
    assert [trials.state.accuracy for trials in found] == run[:-1]


def test_each_round_tries_the_prior_first_and_others_around_it_and_the_same_seed_tries_the_same():
    task, _ = toy_task(np.random.default_rng(0))
    found = tried(n_drawn=3)
    assert [len(trials.actions) for trials in found] == [4, 4, 4]
    assert all(trials.actions[0] == prior_of(task.parameters.policy) for trials in found)
    assert len({trials.actions[1].exponent for trials in found}) == 3
    assert found == tried(n_drawn=3)
    assert found != tried(n_drawn=3, seed=2)


def test_trials_are_the_same_after_a_trip_through_json():
    for trials in tried(n_drawn=1):
        assert Trials.from_dict(json.loads(json.dumps(trials.to_dict()))) == trials


def test_what_is_drawn_spreads_around_the_prior_as_asked():
    task, _ = toy_task(np.random.default_rng(0))
    prior, rng = prior_of(task.parameters.policy), np.random.default_rng(0)
    drawn = [draw_action(prior, ("image", "text"), 0.5, rng) for _ in range(2000)]
    logs = np.log([action.exponent for action in drawn])
    assert logs.mean() == pytest.approx(np.log(prior.exponent), abs=4 * 0.5 / 2000**0.5)
    assert logs.std() == pytest.approx(0.5, rel=0.1)
    assert np.std([action.kernel_tilt["text"] for action in drawn]) == pytest.approx(0.5, rel=0.1)
    assert draw_action(prior, ("image",), 0.0, rng) == replace(
        prior, uncertainty_tilt={"image": 0.0}, kernel_tilt={"image": 0.0}
    )
