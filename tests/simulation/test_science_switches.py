"""Every idea of AMCB and EFDA is switched by a parameter, changes what it says it changes, and runs under Kedro."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from conftest import SMALL, Project
from rlmba_pipelines.config import BalanceConfig, DifficultyConfig, EvidenceConfig, Parameters
from rlmba_pipelines.learning.evidence import SOURCES, fuse
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.parameters import checked
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.simulation import simulate, steps
from rlmba_pipelines.simulation.appraisal import appraise
from rlmba_pipelines.simulation.measurement import accuracy_alone
from rlmba_pipelines.simulation.round import RoundResult, Task, open_round
from rlmba_pipelines.simulation.tables import TRAINING, Answer, labels_for
from rlmba_pipelines.simulation.toy import toy_task

LEARNED = {"enabled": True, "folds": 3, "min_labels": 16, "min_errors": 2}


def task_with(**blocks: Any) -> tuple[Task, Answer]:
    task, answer = toy_task(np.random.default_rng(0))
    return replace(task, parameters=task.parameters.model_copy(update=blocks)), answer


def run(**blocks: Any) -> list[RoundResult]:
    return list(simulate(*task_with(**blocks)))


def bought(results: list[RoundResult]) -> list[list[str]]:
    return [r.batch["sample_id"].tolist() for r in results[:-1]]


def second_round(**blocks: Any) -> tuple[Task, pd.DataFrame, Any]:
    """A task, what was bought by the end of its first round, and the state that starts the next with uneven weights."""
    task, answer = task_with(**blocks)
    results = simulate(task, answer)
    next(results)
    first = next(results)
    return task, first.labels_next, replace(first.state, weights_M=np.array([0.9, 0.1]))


@pytest.mark.parametrize(
    "balance",
    [{"enter_fusion": False}, {"enter_evidence": False}, {"enter_utility": False}, {"enter_kernel": False}],
    ids=lambda flags: next(iter(flags)),
)
def test_where_weights_do_not_enter_equal_weights_and_uneven_ones_come_to_the_same(balance):
    everywhere = {f"enter_{place}": False for place in ("fusion", "evidence", "utility", "kernel")}

    def outcome(weights_M: np.ndarray, flags: dict[str, bool]) -> tuple[Any, ...]:
        task, labels, state = second_round(balance=BalanceConfig(**flags, ema=1.0))
        state = replace(state, weights_M=weights_M)
        opened = open_round(state, task, labels)
        batch = steps.choose_batch(
            task.features, opened.predictions, opened.terms, task.pool_ids, labels, len(task.validation), task.classes,
            state, task.parameters.rounds, task.parameters.balance,
        )
        return opened.predictions.probabilities_NC, opened.terms["vacuity"], batch["utility"].to_numpy(), batch

    even, uneven = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    off_even, off_uneven = (outcome(w, everywhere) for w in (even, uneven))
    for one, other in zip(off_even[:3], off_uneven[:3], strict=True):
        assert_array_equal(one, other)
    entered = outcome(uneven, everywhere | {name: not value for name, value in balance.items()})
    place = next(iter(balance))
    changed = [not np.array_equal(one, other) for one, other in zip(entered[:3], off_uneven[:3], strict=True)]
    assert changed[0] == (place == "enter_fusion")
    if place == "enter_evidence":
        assert changed == [False, True, False]
    if place == "enter_utility":
        assert changed == [False, False, True]
    if place == "enter_kernel":  # what is worth the same is covered otherwise
        assert changed[:2] == [False, False]
        assert entered[3]["coverage_gain"].tolist() != off_uneven[3]["coverage_gain"].tolist()


def test_difficulty_is_off_by_default_and_changes_nothing_until_herding_asks_for_it():
    policy = Parameters().policy.model_copy(update={"exponent": 1.0})  # asks for what is doubtful, hence for errors
    plain, learned = run(policy=policy), run(difficulty=DifficultyConfig(**LEARNED), policy=policy)
    assert bought(plain) == bought(learned)
    assert all(r.difficulty == {} for r in plain)
    for quality in (r.difficulty for r in learned[1:-1]):
        enough = quality["labels"] >= 16 and 2 <= quality["errors"] <= quality["labels"] - 2
        assert quality["fitted"] == enough
    assert quality["fitted"] == 1
    asking = run(difficulty=DifficultyConfig(**LEARNED), policy=policy.model_copy(update={"difficulty": 1.0}))
    last = asking[-2].batch
    np.testing.assert_allclose(last["utility"], last["difficulty"] * last["rarity"] ** policy.rarity)


def test_out_of_fold_errors_are_those_of_models_that_did_not_see_the_label():
    task, labels, state = second_round(difficulty=DifficultyConfig(**LEARNED))
    noisy = labels.copy()
    rng = np.random.default_rng(1)
    noisy["label"] = rng.permutation(noisy["label"].to_numpy())
    opened = open_round(state, task, noisy)
    n, errors = opened.difficulty["labels"], opened.difficulty["errors"]
    assert errors / n > 0.4  # labels by lot cannot be foretold, though the model that is trained on them knows many


def test_asked_to_herd_by_a_difficulty_that_is_not_learned_the_run_does_not_start():
    with pytest.raises(UserError, match=r"difficulty\.enabled"):
        checked({"policy": {"difficulty": 0.5}})


def test_under_use_is_what_a_model_alone_has_over_its_head_inside_and_can_be_the_weights():
    task, labels, state = second_round(balance=BalanceConfig(prior="under_use", ema=0.0, floor=0.0))
    opened = open_round(state, task, labels)
    found = opened.validation
    for name in task.features.modalities:
        assert found[f"under_use_{name}"] == pytest.approx(found[f"alone_{name}"] - found[f"accuracy_{name}"])
    assert found["under_use"] == max(found["under_use_image"], found["under_use_text"])
    plain_task, _ = task_with()
    plain = open_round(state, plain_task, labels).validation
    assert {name: found[name] for name in plain} == plain
    weights_M = steps.adapt(
        state, found, opened.observation, task.features.modalities, 0, task.parameters.balance, task.parameters.rounds,
        task.parameters.policy,
    ).weights_M
    positive_M = np.maximum([found["under_use_image"], found["under_use_text"]], 0)
    expected_M = positive_M / positive_M.sum() if positive_M.any() else np.full(2, 0.5)
    np.testing.assert_allclose(weights_M, expected_M)


def test_a_modality_that_no_label_has_is_left_out_of_what_is_fitted_alone():
    task, labels, _ = second_round()
    present_NM = task.features.present_NM.copy()
    training = labels_for(labels, task.classes, TRAINING)
    present_NM[np.isin(task.features.sample_ids, training.sample_ids), 1] = False
    features = replace(task.features, present_NM=present_NM)
    held = labels_for(task.validation.assign(purpose=TRAINING), task.classes, TRAINING)
    assert set(accuracy_alone(features, training, held, task.parameters.fusion, seed=0)) == {"image"}


def test_a_residual_that_the_policy_has_learned_moves_the_weights():
    assert_array_equal(steps.residual_of({"name": "fixed"}, ("image", "text")), [0, 0])
    assert_array_equal(steps.residual_of({"weight_residual": {"text": 0.5}}, ("image", "text")), [0, 0.5])
    task, labels, state = second_round(balance=BalanceConfig(prior="uniform", ema=0.0, floor=0.0))
    opened = open_round(state, task, labels)
    learned = replace(state, policy={**state.policy, "weight_residual": {"text": float(np.log(3))}})
    weights_M = steps.adapt(
        learned, opened.validation, opened.observation, ("image", "text"), 0, task.parameters.balance,
        task.parameters.rounds, task.parameters.policy,
    ).weights_M
    np.testing.assert_allclose(weights_M, [0.25, 0.75])


@pytest.mark.parametrize("rule", ["discounted", "true_mean", "dempster"])
@pytest.mark.parametrize("source", [s for s in SOURCES if s != "edl"])
def test_every_source_and_rule_of_evidence_serves_a_round(source, rule):
    task, labels, state = second_round(evidence=EvidenceConfig(source=source, rule=rule))
    seen = appraise(
        open_round(state, task, labels).model, task.features, task.pool_ids, labels, task.validation, state,
        task.parameters.fusion, task.parameters.evidence, task.parameters.difficulty, task.parameters.balance,
    )
    expected_NC = fuse(seen.evidence.evidence_NMC, seen.evidence.present_NM, rule=rule, weights_M=state.weights_M)
    assert_array_equal(seen.evidence.fused_NC, expected_NC)
    assert (seen.evidence.fused_NC.sum(axis=1) > 0).all()


def test_terms_of_each_modality_are_those_that_were_asked_for():
    evidence = EvidenceConfig(modality_terms=("dissonance",))
    task, labels, state = second_round(evidence=evidence)
    columns = set(open_round(state, task, labels).terms.columns)
    assert {"dissonance_image", "dissonance_text", "vacuity_image"} <= columns
    assert "expected_entropy_image" not in columns


def test_with_every_switch_turned_memory_and_kedro_are_still_the_same_round(
    project: Project, media: Callable[..., Path]
) -> None:
    (project.path / "conf/local/parameters_science.yml").write_text(
        "difficulty: {enabled: true, folds: 2, min_labels: 12, min_errors: 2}\n"
        "policy: {difficulty: 0.5}\n"
        "balance: {standalone: true, enter_fusion: false, enter_evidence: false, enter_kernel: false}\n"
        "evidence: {source: temperature, rule: discounted, modality_terms: [dissonance]}\n"
        "fusion: {self_training: 40}\n"
    )
    manifest = media(100, ("image", "text"))
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *SMALL)
    experiment = Experiment.of(project.path, "a")
    results = list(simulate(*_replayed(experiment)))
    assert [r.batch["sample_id"].tolist() for r in results[:-1]] == project.selections("a", 2)
    for stage, result in zip(("round_01", "round_02"), results[1:3], strict=True):
        validation = json.loads(experiment.path_of(stage, "validation_metrics").read_text())
        quality = json.loads(experiment.path_of(stage, "difficulty_quality").read_text())
        assert validation == result.validation
        assert quality == dict(result.difficulty)
        assert quality["labels"] >= 12
        assert "under_use_image" in validation


def _replayed(experiment: Experiment) -> tuple[Task, Answer]:
    task, oracle = task_of(experiment)
    return task, oracle.label
