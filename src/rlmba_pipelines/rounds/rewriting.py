"""Committed files written anew, all of them or none: built aside, then moved in, by this command or the next.

The exception to what is committed for ever: samples are withdrawn, and the pool grows. Everything new is built in a
folder of its own; a journal that names it makes it true, and whoever finds a journal moves in what it names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rlmba_pipelines.disk import remove, replacing, sync, writing
from rlmba_pipelines.rounds.commits import Commit, Experiment, digest_of, read_object

JOURNAL, ASIDE = "rewriting.json", ".rewriting"  # in the folder of the experiment: what to move, and what is moved


class Rewriting:
    """The files that are to take the place of committed ones."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self.files: dict[str, str] = {}  # name aside -> place under data/
        self.digests: dict[str, dict[str, str]] = {}  # stage -> dataset -> sha256

    def replace(self, commit: Commit, name: str, write: Callable[[Path], object]) -> None:
        """Let dataset ``name`` of a commit become what ``write`` writes to the path that it is given.

        A file that is not what was committed stays so in the eyes of its commit: it is replaced, its sha256 is not.
        """
        built = self._experiment.folder / ASIDE / str(len(self.files))
        with writing(built):
            built.parent.mkdir(exist_ok=True)
            write(built)
            sync(built)
        self.files[built.name] = commit.files[name]
        if self._experiment.damage(commit, name) is None:
            self.digests.setdefault(commit.stage, {})[name] = digest_of(built)


@contextmanager
def rewriting(experiment: Experiment, manifest: str | None = None) -> Iterator[Rewriting]:
    """Everything that the block replaces, moved in when it ends well; the caller holds the lock.

    Args:
        manifest: what the experiment is continued with from then on; None: as before.
    """
    finish_rewriting(experiment)
    new = Rewriting(experiment)
    yield new
    if new.files:
        with replacing(experiment.folder / JOURNAL) as temporary:
            moves = {"files": new.files, "digests": new.digests, "manifest": manifest}
            temporary.write_text(json.dumps(moves, indent=1))
    finish_rewriting(experiment)


def finish_rewriting(experiment: Experiment) -> None:
    """Move in what a journal names, and remove what was built without one; the caller holds the lock."""
    journal, aside = experiment.folder / JOURNAL, experiment.folder / ASIDE
    if journal.exists():
        moves = read_object(journal)
        for name, place in moves["files"].items():
            source, target = aside / name, experiment.data_path / place
            if source.exists():
                if target.is_dir():
                    remove(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
                sync(target)
        for commit in experiment.commits():
            if commit.stage in moves["digests"]:
                digests = {**commit.digests, **moves["digests"][commit.stage]}
                experiment.write_commit(replace(commit, digests=digests))
        if moves["manifest"]:
            _continue_with(experiment, moves["manifest"])
        journal.unlink()
    remove(aside)


def _continue_with(experiment: Experiment, manifest: str) -> None:
    parameters, request = read_object(experiment.parameters_path), experiment.request()
    before = request["runtime_params"].get("manifest")
    if before not in (None, manifest):
        request["earlier_manifests"] = [*request.get("earlier_manifests", []), before]
    parameters["manifest"] = request["runtime_params"]["manifest"] = manifest
    for path, content in ((experiment.parameters_path, parameters), (experiment.request_path, request)):
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, sort_keys=True))
