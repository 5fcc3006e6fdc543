"""Money: what is chosen when prices differ, and what a budget pays for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.learning.acquisition import registry
from rlmba_pipelines.learning.selection.herding import herding
from rlmba_pipelines.learning.selection.kernels import Kernel
from rlmba_pipelines.learning.types import PoolView
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.toy import toy_task


def _view(n: int, rng: np.random.Generator) -> tuple[PoolView, np.ndarray]:
    points = rng.normal(size=(n, 3)).astype(np.float32)
    view = PoolView(
        np.array([f"s{i:03d}" for i in range(n)]), np.arange(n) < 2, price_N=rng.choice([1.0, 2.0, 5.0], size=n)
    )
    return view, points


def _plain_greedy(view: PoolView, utility_N: np.ndarray, points: np.ndarray, h: float, q: int) -> list[int]:
    """Every gain anew for every pick, divided by its price."""
    rows = view.candidate_rows
    kernel = np.exp(-((points[rows, None] - points[None]) ** 2).sum(axis=2) / h**2)
    covered = kernel[:, view.labeled_rows].max(axis=1)
    worth = utility_N[rows] / utility_N[rows].sum()
    picks: list[int] = []
    for _ in range(q):
        gain = (np.maximum(kernel[:, rows] - covered[:, None], 0) * worth[:, None]).sum(axis=0) / view.price_N[rows]
        gain[[list(rows).index(p) for p in picks]] = -1
        picks.append(int(rows[gain.argmax()]))
        covered = np.maximum(covered, kernel[:, picks[-1]])
    return picks


@pytest.mark.parametrize("seed", range(20))
def test_herding_takes_the_best_gain_for_its_price_as_plain_greedy_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    view, points = _view(40, rng)
    utility_N = rng.random(40)
    batch = herding(view, utility_N, [Kernel(1.0, points, 1.5)], 8)
    assert batch.sample_ids.tolist() == view.sample_ids[_plain_greedy(view, utility_N, points, 1.5, 8)].tolist()
    assert (batch.reasons["coverage_gain"] > 0).all()
    assert batch.reasons["coverage_gain"].sum() <= 1


@pytest.mark.parametrize("strategy", ["herding", "max_herding", "uncertainty_herding", "margin", "entropy"])
def test_the_unit_of_prices_changes_nothing_and_prices_themselves_do(strategy: str) -> None:
    task, oracle = toy_task(np.random.default_rng(1))
    rounds = task.parameters.rounds.model_copy(update={"strategy": strategy, "rounds": 1, "query_size": 12})
    prices = np.random.default_rng(0).choice([1.0, 4.0], size=len(task.samples))
    bought = {}
    for name, cost in {"one": 1.0, "same": 3.0, "differ": prices, "in cents": 100 * prices}.items():
        parameters = task.parameters.model_copy(update={"rounds": rounds})
        priced = replace(task, samples=task.samples.assign(cost=cost), parameters=parameters)
        bought[name] = list(simulate(priced, oracle))[1].batch["sample_id"].tolist()
    assert bought["one"] == bought["same"]
    assert bought["differ"] == bought["in cents"]
    assert bought["differ"] != bought["one"]


@pytest.mark.parametrize("strategy", ["herding", "random", "badge"])
@pytest.mark.parametrize("max_cost", [25.0, 61.5, 1e6])
def test_money_is_never_overspent_and_no_affordable_sample_is_left_out_by_a_dear_one(
    strategy: str, max_cost: float
) -> None:
    task, oracle = toy_task(np.random.default_rng(2))
    cost = np.random.default_rng(3).choice([0.5, 2.0, 7.0], size=len(task.samples))
    rounds = task.parameters.rounds.model_copy(
        update={"strategy": strategy, "rounds": 4, "start_size": 12, "query_size": 12, "max_cost": max_cost}
    )
    parameters = task.parameters.model_copy(update={"rounds": rounds})
    priced = replace(task, samples=task.samples.assign(cost=cost), parameters=parameters)
    results = list(simulate(priced, oracle))
    labels = results[-1].labels
    paid = pd.Series(cost, index=priced.samples["sample_id"])[labels["sample_id"]].sum()
    assert paid == pytest.approx(labels["cost"].sum())
    assert paid <= max_cost + 1e-9
    bought = [len(r.batch) for r in results[:-1]]
    left = pd.Series(cost, index=task.samples["sample_id"])[task.pool_ids].drop(labels["sample_id"])
    if max_cost < 100:
        assert left.min() > max_cost - paid
        assert all(bought)
    else:
        assert bought == [12] * 5


def test_a_strategy_that_does_not_ask_for_prices_does_not_see_them() -> None:
    view, _ = _view(10, np.random.default_rng(0))
    assert registry._only_required(registry.get_strategy("random"), view).price_N is None
