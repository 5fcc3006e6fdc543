"""An old round tried another way: a new experiment that shares everything before it and knows nothing after it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rlmba_pipelines.disk import replacing
from rlmba_pipelines.learning.acquisition import check_options
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger.snapshot import copy_ledger
from rlmba_pipelines.rounds.commits import (
    DONE,
    PREPARED,
    Commit,
    Experiment,
    damaged,
    digest_of,
    is_handed_out,
    read_object,
    read_table,
)
from rlmba_pipelines.rounds.lock import LOCK, locked
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.rounds.unroll import prepare, stage_name
from rlmba_pipelines.simulation.tables import with_given


def branching(source: Experiment, from_round: int | str) -> str:
    """The command that tries a round another way."""
    return f"'kedro rounds branch{source.flag('--of')} --from-round {from_round} --experiment NEW'"


def branch(
    source: Experiment, name: str, from_round: int, strategy: str | None = None, seed: int | None = None
) -> Experiment:
    """Make the experiment ``name``, which continues ``source`` with ``from_round``.

    It gets the commits and the committed files of all stages before that round (hard links where the disk has them:
    committed files are replaced, never changed), and of the ledger what it held when the round before was committed.
    All is built under other names, while nobody else can run ``name``; the folder that makes it an experiment gets its
    own last, and replaces nothing.

    Args:
        strategy, seed: what the new experiment does otherwise from ``from_round`` on.

    Raises:
        UserError: there is such an experiment already, the rounds before are not done or damaged, or one of both runs.
    """
    target = Experiment.of(source.project_path, name)
    with locked(source.folder), ExitStack() as open_folders:
        commits = _before(source, from_round)
        asked = {key: value for key, value in (("strategy", strategy), ("seed", seed)) if value is not None}
        changes = {"experiment": name, **({"rounds": asked} if asked else {})}
        parameters = merged(read_object(source.parameters_path), changes)
        check_options(parameters["rounds"]["strategy"], parameters["rounds"]["strategy_options"])
        layers = {Path(place).parts[0] for commit in commits for place in commit.files.values()}
        control = source.folder.parent.name
        folders = {control: open_folders.enter_context(_claimed(target))}  # left in reverse: the control folder last
        for layer in sorted(layers - {control}):
            folders[layer] = open_folders.enter_context(replacing(source.data_path / layer / name))
            folders[layer].mkdir()
        commits = [_share(source, commit, name, folders) for commit in commits]
        if from_round > 0:
            commits[-1] = _with_given(source, commits[-1], folders)
            if seed is not None:
                commits[-1] = _reseed(commits[-1], folders, seed)
        new = Experiment(name, folders[control])
        if source.ledger_path.exists():
            copy_ledger(source.ledger_path, new.ledger_path, commits[-1].ledger)
        request = source.request()
        runtime_params = merged(request["runtime_params"], changes)
        new.request_path.write_text(json.dumps({**request, "runtime_params": runtime_params}, indent=1))
        new.parameters_path.write_text(json.dumps(parameters, indent=1, sort_keys=True))
        new.lineage_path.write_text("".join(lineage_of(source, {commit.stage for commit in commits})))
        for commit in commits:
            new.write_commit(commit)
    return target


@contextmanager
def _claimed(target: Experiment) -> Iterator[Path]:
    """A folder that becomes that of an experiment which is not there yet; its lock is held, and moves with it."""
    with locked(target.folder):
        _refuse_taken(target)
        try:
            with replacing(target.folder, new=True) as folder:
                folder.mkdir()
                try:
                    yield folder
                    _refuse_taken(target)
                finally:
                    os.replace(target.folder / LOCK, folder / LOCK)
        finally:
            with suppress(OSError):  # where it came to be, it is not empty
                target.folder.rmdir()


def _refuse_taken(target: Experiment) -> None:
    if any(path.name != LOCK for path in target.folder.iterdir()):
        raise UserError(f"There is an experiment {target.name!r} already; give --experiment another name.")


def _before(source: Experiment, from_round: int) -> list[Commit]:
    stages = [PREPARED, *(stage_name(k) for k in range(from_round))]
    commits = [commit for stage in stages if (commit := source.commit(stage)) and commit.state == DONE]
    if len(commits) < len(stages):
        done = source.rounds_done()
        hint = f"the last one is --from-round {done + 1}" if done >= 0 else "run it first with 'kedro rounds run'"
        raise UserError(
            f"Experiment {source.name!r} cannot be continued from round {from_round}, since not all before it is "
            f"done; {hint}."
        )
    return commits


def _share(source: Experiment, commit: Commit, name: str, folders: dict[str, Path]) -> Commit:
    """Bring the files of a commit into ``folders``; gives the commit that names them there."""
    files = {}
    for dataset, place in commit.files.items():
        path, parts = source.data_path / place, Path(place).parts
        if len(parts) < 3 or parts[1] != source.name:
            raise UserError(f"{place} lies outside the folders of experiment {source.name!r}; it cannot be branched.")
        if source.damage(commit, dataset):
            raise damaged(path, f"it is not what {commit.stage} was committed with")
        target = folders[parts[0]].joinpath(*parts[2:])
        if not is_handed_out(dataset):
            _link(path, target)
        elif path.exists():
            _copy(path, target)
        files[dataset] = str(Path(parts[0], name, *parts[2:]))
    return replace(commit, files=files)


def _link(path: Path, target: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            _link(inner, target / inner.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # a disk without hard links
        _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _with_given(source: Experiment, commit: Commit, folders: dict[str, Path]) -> Commit:
    """Labels that the manifest gives to samples which came after that round: its purchase could not hold them."""
    name = f"{commit.stage}.labels_next"
    if name not in commit.files:
        return commit
    labels = read_table(source.path_of(commit.stage, "labels_next"))
    given = read_table(source.path_of(PREPARED, "given_labels"))
    since = given[~given["sample_id"].isin(labels["sample_id"])]
    if since.empty:
        return commit
    table = with_given(labels, since, int(commit.stage.removeprefix("round_")))
    return _rewritten(commit, name, folders, table.to_parquet)


def _reseed(commit: Commit, folders: dict[str, Path], seed: int) -> Commit:
    """The seed travels in the state that a round hands to the next."""
    name = f"{commit.stage}.round_state_next"
    state = {**read_object(_place(commit, name, folders)), "seed": seed}
    return _rewritten(commit, name, folders, lambda path: path.write_text(json.dumps(state)))


def _rewritten(
    commit: Commit, name: str, folders: dict[str, Path], write: Callable[[Path], object]
) -> Commit:
    path = _place(commit, name, folders)
    path.unlink()  # a link: the old experiment keeps its own
    write(path)
    return replace(commit, digests={**commit.digests, name: digest_of(path)})


def _place(commit: Commit, name: str, folders: dict[str, Path]) -> Path:
    layer, _, *rest = Path(commit.files[name]).parts
    return folders[layer].joinpath(*rest)


def lineage_of(source: Experiment, stages: set[str]) -> list[str]:
    """The lines about nodes of ``stages``."""
    of_preparation = {node.name for node in prepare(source.system()).nodes}
    found = []
    for line in source.lineage_path.read_text().splitlines() if source.lineage_path.exists() else []:
        try:
            node = json.loads(line)["node"]
        except (ValueError, LookupError):  # a line that a power cut tore
            continue
        if node in of_preparation or node.split(".")[0] in stages:
            found.append(line + "\n")
    return found
