"""A simulated round and a Kedro round are the same round."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from conftest import SMALL, Project
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.tables import looked_at_ids


@pytest.mark.parametrize("strategy", ["herding", "badge", "random"])
def test_memory_and_kedro_choose_the_same_samples_and_measure_the_same(
    project: Project, media: Callable[..., Path], strategy: str
) -> None:
    manifest = media(100, ("image", "text", "audio"))
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", "--strategy", strategy, *SMALL)
    task, oracle = task_of(Experiment.of(project.path, "a"))
    results = list(simulate(task, oracle.label))
    assert [r.batch["sample_id"].tolist() for r in results[:-1]] == project.selections("a", 2)
    experiment = Experiment.of(project.path, "a")
    for stage, result in zip(("round_01", "round_02", "final"), results[1:], strict=True):
        written = json.loads(experiment.path_of(stage, "test_metrics").read_text())
        assert written == result.test
    state = json.loads(experiment.path_of("round_02", "round_state_next").read_text())
    np.testing.assert_array_equal(state["weights_M"], results[2].state.weights_M)


def test_of_a_large_pool_a_round_looks_at_some_and_both_at_the_same(
    project: Project, media: Callable[..., Path]
) -> None:
    local = project.path / "conf" / "local" / "parameters.yml"
    local.write_text(local.read_text() + "rounds: {candidates: 25}\n")
    manifest = media(100, ("image", "text"))
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *SMALL)
    experiment = Experiment.of(project.path, "a")
    task, oracle = task_of(experiment)
    results = list(simulate(task, oracle.label))
    assert [r.batch["sample_id"].tolist() for r in results[:-1]] == project.selections("a", 2)
    looked_at = [set(project.table("a", f"round_0{k}", "terms")["sample_id"]) for k in (1, 2)]
    bought = [set(r.labels["sample_id"]) for r in results[1:3]]
    for k in (0, 1):
        assert len(looked_at[k]) == 25 + len(bought[k])
        assert bought[k] <= looked_at[k]
        assert set(results[k + 1].batch["sample_id"]) <= looked_at[k]
    assert looked_at[1] - looked_at[0]  # drawn anew each round


def test_every_sample_of_a_large_pool_is_as_likely_to_be_looked_at() -> None:
    pool_ids = np.array([f"s{i:02d}" for i in range(40)])
    bought = pd.DataFrame({"sample_id": ["s03", "s17"]})
    seen = Counter[str]()
    for draw in range(3000):
        seen.update(looked_at_ids(pool_ids, bought, 10, np.random.default_rng(draw)).tolist())
    assert seen.pop("s03") == seen.pop("s17") == 3000
    assert chisquare(list(seen.values())).pvalue > 1e-3
    assert len(seen) == 38
    assert looked_at_ids(pool_ids, bought, 38, np.random.default_rng(0)).tolist() == pool_ids.tolist()
