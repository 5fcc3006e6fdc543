"""Two processes want one experiment at the same moment, a hundred times."""

from __future__ import annotations

import fcntl
import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import IO, Any

import pytest

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds import lock
from rlmba_pipelines.rounds.lock import locked

N_RACES = 100


def _race(folder: Path, together: Barrier, results: Any) -> None:
    for n in range(N_RACES):
        together.wait(60)
        try:
            with locked(folder / str(n)):
                together.wait(60)  # held until the other has tried
                results.put((n, "won"))
        except UserError as error:
            together.wait(60)
            results.put((n, str(error)))


def test_of_two_runners_one_wins_every_time_and_the_other_is_told_who(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(2), context.Queue()
    runners = [context.Process(target=_race, args=(tmp_path, together, results)) for _ in range(2)]
    for runner in runners:
        runner.start()
    found: dict[int, list[str]] = {}
    for _ in range(2 * N_RACES):
        n, outcome = results.get(timeout=120)
        found.setdefault(n, []).append(outcome)
    for runner in runners:
        runner.join(60)
        assert runner.exitcode == 0
    assert [sum(outcome == "won" for outcome in pair) for pair in found.values()] == [1] * N_RACES
    told = [outcome for pair in found.values() for outcome in pair if outcome != "won"]
    assert all("is being run by" in sentence for sentence in told)


def test_a_lock_that_is_removed_when_it_is_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a refused branching does while another command waits to hold the same name."""
    true_flock, path = fcntl.flock, tmp_path / "b" / lock.LOCK

    def removed_once(stream: IO[str], how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", true_flock)
        path.unlink()
        true_flock(stream, how)

    monkeypatch.setattr(fcntl, "flock", removed_once)
    with locked(path.parent), path.open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
