"""Our picks and scores are those on which other libraries and plain loops agree (tests/golden, scripts/golden.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

import rlmba_pipelines

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FILES = {name: json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("k_center", "max_herding", "scores")}
K_CENTER, MAX_HERDING, SCORES = FILES.values()


def picks_of(name, case, dtype):
    return rlmba_pipelines.select(
        name,
        features=np.array(case["points"], dtype=dtype),
        probabilities=np.full((len(case["points"]), 2), 0.5),
        labeled_ids=case["labeled"],
        query_size=len(case["picks"]),
        rng=0,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", K_CENTER["cases"], ids=lambda case: f"{len(case['points'])}_points")
def test_core_set_picks_what_four_implementations_of_greedy_k_center_pick(case, dtype):
    batch, points = picks_of("core_set", case, dtype), np.array(case["points"])
    assert batch.sample_ids.tolist() == case["picks"]
    centers = points[case["labeled"] + case["picks"][:-1]]
    last = np.linalg.norm(points[case["picks"][-1]] - centers, axis=1).min()
    assert batch.reasons["distance"][-1] == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", MAX_HERDING["cases"], ids=lambda case: f"{len(case['points'])}_points")
def test_max_herding_picks_what_scikit_activeml_and_a_plain_loop_pick(case, dtype):
    assert picks_of("max_herding", case, dtype).sample_ids.tolist() == case["picks"]


@pytest.mark.parametrize("name", ["margin", "least_confidence", "entropy", "bald"])
def test_scores_are_those_of_other_libraries_to_nine_digits(name):
    draws = np.array(SCORES["draws"])
    batch = rlmba_pipelines.select(name, features=np.zeros((len(draws), 1)), draws=draws, query_size=len(draws), rng=0)
    wanted = np.array(SCORES[name])
    assert batch.utility_Q == pytest.approx(wanted[batch.sample_ids], abs=SCORES["agree_to"])
    assert batch.sample_ids.tolist() == np.argsort(-wanted, kind="stable").tolist()


def test_golden_files_say_who_agreed_and_who_was_left_out():
    assert len(K_CENTER["agree_pick_for_pick"]) == 4
    assert all(len(sources) >= 2 for sources in SCORES["sources"].values())
    assert all("scikit-activeml Badge" in file["left_out"] for file in FILES.values())
