"""What a commit names outlives a kill and a power cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import SMALL, Project
from rlmba_pipelines import disk
from rlmba_pipelines.rounds.commits import Commit, Experiment


def test_a_commit_is_written_after_everything_it_names_is_on_the_disk(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    true_sync, true_commit = disk._sync, Experiment.write_commit
    missing: list[str] = []
    n_named = 0

    def record(path: Path) -> None:
        true_sync(path)
        synced.add(Path(path).absolute())

    def check(self: Experiment, commit: Commit) -> None:
        nonlocal n_named
        for name, place in commit.files.items():
            n_named += 1
            if not {self.data_path / place, (self.data_path / place).parent} <= synced:
                missing.append(name)
        assert commit.files.keys() == commit.versions.keys() == commit.digests.keys()
        true_commit(self, commit)

    monkeypatch.setattr(disk, "_sync", record)
    monkeypatch.setattr(Experiment, "write_commit", check)
    project.ok("rounds", "run", "--manifest", str(media()), "--experiment", "a", *SMALL)
    assert missing == []
    assert n_named > 40
