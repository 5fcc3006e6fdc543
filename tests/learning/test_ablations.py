"""The arms of the ablations are what their names say; the table is read from their figures alone."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.acquisition.herding import utility_of
from rlmba_pipelines.learning.policy import start_policy
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import rng_of
from rlmba_pipelines.simulation import decide

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def ablations(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("ablations")


@pytest.fixture
def view():
    return make_view(60, 9, seed=3)


def test_every_arm_has_parameters_that_exist_and_changes_some(ablations):
    default = Parameters().model_dump()
    arms = [arm for part in ablations.arms().values() for arm in part]
    assert len({arm.name for arm in arms}) == len(arms)
    for arm in arms:
        parameters = Parameters(**ablations.merged(default, arm.changes))
        assert parameters != Parameters()
        start_policy(parameters.policy.name, decide.prior_of(parameters.policy), rng_of(0, 0, "policy"))


def test_the_controls_take_the_highest_utilities_or_draw_among_five_times_as_many(ablations, view):
    utility_N = utility_of(view)[0]
    by_utility = view.sample_ids[sorted(view.candidate_rows, key=lambda row: -utility_N[row])]
    assert set(ablations.top_utility(view, 5, np.random.default_rng(0)).sample_ids) == set(by_utility[:5])
    drawn = [ablations.uniform_candidates(view, 5, np.random.default_rng(seed)).sample_ids for seed in range(60)]
    assert set(np.concatenate(drawn)) == set(by_utility[:25])
    assert all(len(set(batch)) == 5 for batch in drawn)


def runs_with(ablations, gap: float) -> dict:
    """Runs of every arm: the default around 60, every arm higher by ``gap`` give or take a tenth."""
    rng = np.random.default_rng(0)
    final = dict.fromkeys(("accuracy", "imbalance", "worst_modality", "worst_decile"), 0.5)
    found = {}
    for seed in ablations.REPORTED_SEEDS:
        found[ablations.DEFAULT, seed] = ablations.Run(60 + seed, final, (), "x")
        for arm in (arm for part in ablations.arms().values() for arm in part):
            found[arm.name, seed] = ablations.Run(60 + seed + gap + rng.normal(0, 0.1), final, (), "x")
    return found


@pytest.mark.parametrize(("gap", "verdict"), [(0.0, "alike"), (1.0, "higher"), (-1.0, "lower")])
def test_a_difference_is_told_where_ten_seeds_show_one(ablations, gap, verdict):
    page = importlib.import_module("ablations_page")
    rows = ablations.rows_of(runs_with(ablations, gap))
    told = [page.verdict(row) for row in rows if "minus default" in row]
    assert set(told) == {verdict}
    assert rows[1]["minus default"]["mean"] == pytest.approx(gap, abs=0.15)
    assert f"| random | `rounds.strategy: random` | {rows[1]['area']:.2f} |" in page.page(rows, "2")


def test_an_arm_that_is_said_to_change_nothing_is_held_to_it(ablations):
    page = importlib.import_module("ablations_page")
    runs = runs_with(ablations, 0.0)
    runs["rule dempster", 0] = ablations.Run(60.0, runs[ablations.DEFAULT, 0].final, (), "other")
    with pytest.raises(ValueError, match="rule dempster"):
        page.page(ablations.rows_of(runs), "2")
