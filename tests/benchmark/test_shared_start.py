"""Strategies of one seed share what the start batch taught, and nobody's run changes by it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from rlmba_pipelines.benchmark import runs
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.simulation.toy import toy_task

ASKED: dict[str, Any] = {
    "rounds": {"start_strategy": "random", "start_size": 20, "query_size": 10, "rounds": 2, "candidates": 60}
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The round of every model that is trained for a policy to act on."""
    seen: list[int] = []

    def counted(state, task, labels, open_round=runs.open_round):
        seen.append(state.round_idx)
        return open_round(state, task, labels)

    monkeypatch.setattr(runs, "open_round", counted)
    monkeypatch.setattr(runs, "_first", {})
    return seen


def test_a_run_is_the_same_whether_it_shares_its_start_or_not(opened: list[int]) -> None:
    task, answer = toy_task(np.random.default_rng(0))

    def run(changes: dict[str, Any], opening: runs.Opening) -> list[pd.DataFrame]:
        results = runs.in_memory(task, answer, merged(ASKED, changes), opening)
        return [
            pd.concat([result.batch.reset_index(drop=True), pd.DataFrame([{**result.test, **result.validation}])])
            for result in results
        ]

    sharing = partial(runs.opened_once, "toy")
    arms = [{}, {"rounds": {"strategy": "margin"}}, {"rounds": {"strategy": "badge"}}, {"policy": {"name": "bandit"}}]
    shared = [run(arm, sharing) for arm in arms]
    assert opened == [1, 2, 2, 2, 2]  # the first round once, for four
    for arm, theirs in zip(arms, shared, strict=True):
        for one, other in zip(run(arm, runs.open_round), theirs, strict=True):
            assert_frame_equal(one, other, check_exact=True)
    opened.clear()
    for other in ({"fusion": {"width": 16}}, {"rounds": {"seed": 5}}, {"balance": {"enter_fusion": False}}):
        run(other, sharing)
    runs.in_memory(task, answer, ASKED, partial(runs.opened_once, "toy with other labels"))
    assert opened == [1, 2] * 4
    assert len(runs._first) == 1
