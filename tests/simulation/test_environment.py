"""The gymnasium environment, and that simulated rounds, its steps and Kedro rounds are the same rounds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from conftest import SMALL, Project
from rlmba_pipelines.config import PolicyConfig, RoundsConfig
from rlmba_pipelines.learning.forecast import forecast_accuracy
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.environment import ENVIRONMENT, LabelingRounds
from rlmba_pipelines.simulation.round import Task
from rlmba_pipelines.simulation.tables import state_to_dict
from rlmba_pipelines.simulation.toy import toy_task

LEARNERS = ("stage_adaptive", "bandit", "reinforce", "published")


def task_with(policy: PolicyConfig | None = None, rounds: RoundsConfig | None = None) -> tuple[Task, Callable]:
    task, answer = toy_task(np.random.default_rng(0), rounds=rounds)
    if policy is not None:
        task = replace(task, parameters=task.parameters.model_copy(update={"policy": policy}))
    return task, answer


def test_gymnasiums_own_checker_is_content() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ENVIRONMENT).unwrapped)


def test_an_episode_is_the_simulated_run_and_the_prior_is_action_zero() -> None:
    task, answer = task_with(rounds=RoundsConfig(seed=5, rounds=3, start_size=12, query_size=8))
    env = LabelingRounds(task, answer)
    env.reset(seed=5)
    steps = [env.step(np.zeros(env.action_space.shape, np.float32)) for _ in range(3)]
    results = list(simulate(task, answer))
    assert [s[4]["batch"] for s in steps] == [r.batch["sample_id"].tolist() for r in results[1:4]]
    assert [s[4]["accuracy"] for s in steps] == [r.validation["accuracy"] for r in results[2:]]
    assert [s[1] for s in steps[:2]] == list(results[3].state.rewards)
    assert [s[2:4] for s in steps] == [(False, False), (False, False), (False, True)]
    with pytest.raises(UserError, match="call reset"):
        env.step(np.zeros(env.action_space.shape, np.float32))


def test_theta_decides_and_the_seed_decides_the_rest() -> None:
    env = gymnasium.make(ENVIRONMENT).unwrapped
    doubt, cover = np.zeros((2, *env.action_space.shape), np.float32)
    doubt[4], cover[4] = 1.0, -1.0
    batches = []
    for action in (doubt, doubt, cover):
        env.reset(seed=3)
        batches.append(env.step(action)[4]["batch"])
    assert batches[0] == batches[1] != batches[2]


def test_targets_terminate_and_budgets_truncate() -> None:
    for change, expected in (({"target_accuracy": 0.01}, (True, False)), ({"budget": 50}, (False, True))):
        env = LabelingRounds(*task_with(rounds=RoundsConfig(rounds=5, start_size=12, query_size=8, **change)))
        seen, _ = env.reset(seed=0)
        assert env.observation_space.contains(seen)
        assert env.step(np.zeros(env.action_space.shape, np.float32))[2:4] == expected
    with pytest.raises(UserError, match="answer"):
        LabelingRounds(task_with()[0])


@pytest.mark.parametrize("name", LEARNERS)
def test_a_policy_is_rewarded_exactly_once_a_round_for_what_it_did(name: str) -> None:
    strategy = "rl_mba_published" if name == "published" else "herding"
    rounds = RoundsConfig(strategy=strategy, rounds=4, start_size=12, query_size=8)
    task, answer = task_with(PolicyConfig(name=name), rounds)
    results = list(simulate(task, answer))
    last = results[4].state
    accuracies, counts = last.accuracies, last.label_counts
    assert counts == (12, 20, 28, 36)
    expected = [accuracies[k] - forecast_accuracy(counts[:k], accuracies[:k], counts[k]) for k in range(1, 4)]
    np.testing.assert_allclose(last.rewards, expected, atol=1e-12)
    assert last.policy["name"] == name
    if name == "bandit":
        assert sum(last.policy["count"]) == 3  # type: ignore[arg-type]
    if name == "published":
        assert set(last.score) == {"uncertainty", "distance", "margin"}  # the fourth batch, not yet learned from
        assert any(last.policy["weights"])  # type: ignore[arg-type]


def test_the_published_reward_is_relative_and_its_labels_are_paid_for() -> None:
    asked: set[str] = set()
    rounds = RoundsConfig(strategy="rl_mba_published", rounds=4, start_size=12, query_size=8, budget=30 + 12 + 45)
    task, answer = task_with(PolicyConfig(name="published"), rounds)

    def counting(batch):  # type: ignore[no-untyped-def]
        asked.update(batch["sample_id"])
        return answer(batch)

    results = list(simulate(task, counting, baselines=("badge", "margin")))
    state = results[2].state
    of_baselines = results[1].state.baselines["accuracy"]
    relative = results[2].validation["accuracy"] - np.mean([of_baselines["badge"], of_baselines["margin"]])
    assert abs(state.rewards[0] - relative) < 1e-12
    assert len(asked) + 30 <= 30 + 12 + 45 + 2 * 8  # the last baselines' batches end the run at the latest
    bought = len(results[-1].labels)
    assert bought < 12 + 45  # what only the baselines looked at is missing from the budget
    plain = list(simulate(*task_with(PolicyConfig(name="published"), rounds)))
    assert len(plain[-1].labels) > bought


def test_the_published_configuration_runs_and_learns_the_same_in_memory_and_in_kedro(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, ("image", "text"))
    (project.path / "conf/rl_mba_published/parameters_small.yml").write_text(
        (project.path / "conf/local/parameters.yml").read_text().split("fusion:")[0]
    )
    project.ok("rounds", "run", "--env", "rl_mba_published", "--manifest", str(manifest), "--experiment", "a", *SMALL)
    experiment = Experiment.of(project.path, "a")
    task, oracle = task_of(experiment)
    p = task.parameters
    assert (p.fusion.loss, p.fusion.fusion, p.evidence.source, p.balance.prior) == ("edl", "convex", "edl", "published")
    assert (p.rounds.strategy, p.policy.name) == ("rl_mba_published", "published")
    state = json.loads(experiment.path_of("round_02", "round_state_next").read_text())
    assert state["policy"]["baseline"] is not None
    assert set(state["score"]) == {"uncertainty", "distance", "margin"}
    assert [len(batch) for batch in project.selections("a", 2)] == [12, 8, 8]
    results = list(simulate(task, oracle.label))
    assert [r.batch["sample_id"].tolist() for r in results[:-1]] == project.selections("a", 2)
    memory = results[2].state
    assert len(memory.rewards) == 1
    assert state == json.loads(json.dumps(state_to_dict(memory)))
