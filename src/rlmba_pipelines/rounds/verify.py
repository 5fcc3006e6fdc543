"""Is everything still as it was committed? Every file is hashed again, and the ledger with what it held then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger.snapshot import ledger_damage
from rlmba_pipelines.rounds.commits import PREPARED, Commit, Experiment, is_handed_out
from rlmba_pipelines.rounds.parameters import asked_for
from rlmba_pipelines.rounds.unroll import stage_name


@dataclass(frozen=True)
class Verified:
    """What was looked at, and one sentence for everything that is damaged or missing, stage by stage."""

    n_stages: int
    n_files: int
    problems: tuple[str, ...]


def verify(experiment: Experiment) -> Verified:
    """Check all that is committed; changes nothing.

    Raises:
        UserError: there is no such experiment.
    """
    stages = experiment.committed_stages()
    if not stages:
        raise UserError(f"Experiment {experiment.name!r} has committed nothing yet; start it with 'kedro rounds run'.")
    problems: list[str] = []
    commits: list[Commit] = []
    for stage in stages:
        try:
            commits += [commit for commit in [experiment.commit(stage)] if commit]
        except UserError as error:
            problems.append(f"{stage}: {str(error).partition(';')[0]}")
    expected = [PREPARED, *(stage_name(k) for k in range(sum(stage.startswith("round_") for stage in stages)))]
    problems += [f"{stage}: the commit is missing" for stage in expected if stage not in stages]
    for commit in commits:
        problems += (f"{commit.stage}: {what}" for what in _damage(experiment, commit))
    try:
        experiment.request()
        if experiment.parameters_path.exists():
            asked_for(experiment)
    except UserError as error:
        problems.append(str(error).partition(";")[0])
    n_files = sum(not is_handed_out(name) for commit in commits for name in commit.digests)
    return Verified(len(stages), n_files, tuple(problems))


def _damage(experiment: Experiment, commit: Commit) -> Iterator[str]:
    for name in sorted(commit.digests):
        if name not in commit.files:
            yield f"{name} cannot be checked, since the commit does not say where it lies"
            continue
        found = experiment.damage(commit, name)
        if found:
            yield f"{name} is {found} ({experiment.data_path / commit.files[name]})"
    if commit.ledger is not None:
        found = ledger_damage(experiment.ledger_path, commit.ledger)
        if found:
            yield f"the ledger {found} ({experiment.ledger_path})"
