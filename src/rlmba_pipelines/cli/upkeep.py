"""``kedro rounds ledger``, ``verify``, ``branch``, ``prune``, ``append``, ``withdraw``: what was bought, kept whole."""

from __future__ import annotations

from pathlib import Path

import click

from rlmba_pipelines.cli.base import USUALLY, command, command_on_experiment, experiment_of
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.records import disarmed
from rlmba_pipelines.rounds.append import append
from rlmba_pipelines.rounds.batches import media_folder
from rlmba_pipelines.rounds.branch import branch, branching
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.current import usual_name
from rlmba_pipelines.rounds.driver import Request
from rlmba_pipelines.rounds.parameters import asked_for
from rlmba_pipelines.rounds.tidy import prune
from rlmba_pipelines.rounds.verify import verify
from rlmba_pipelines.rounds.withdraw import withdraw


@command_on_experiment("verify")
def verify_command(found: Experiment) -> None:
    """Hash everything again that was committed; exit code 1 and a sentence each where something is damaged."""
    verified = verify(found)
    for problem in verified.problems:
        click.secho(problem, fg="red")
    if verified.problems:
        click.echo(
            f"experiment {found.name!r} is damaged; bring these back from a copy, or go on from the last whole round: "
            f"{branching(found, 'K')}."
        )
        raise SystemExit(1)
    click.echo(f"experiment {found.name!r}: {verified.n_files} files of {verified.n_stages} stages are as committed.")


@command("branch")
@click.option("--from-round", type=click.IntRange(0), required=True, help="First round that is to go another way.")
@click.option("--experiment", required=True, help="Name of the new experiment.")
@click.option("--of", "source", default=usual_name, show_default=USUALLY, help="The experiment to branch from.")
@click.option("--strategy", help="What chooses from then on; default: as before.")
@click.option("--seed", type=click.IntRange(0), help="Root of the random draws from then on; default: as before.")
def branch_command(
    project_path: Path, from_round: int, experiment: str, source: str, strategy: str | None, seed: int | None
) -> None:
    """Try an old round another way: a new experiment that shares all before it and knows nothing after it."""
    made = branch(experiment_of(project_path, source), experiment, from_round, strategy, seed)
    click.echo(
        f"experiment {made.name!r} continues {source!r} from round {from_round}; "
        f"next: kedro rounds run --experiment {made.name}"
    )


@command_on_experiment("prune")
@click.option("--keep-attempts", type=click.IntRange(0), default=1, show_default=True, help="How many to keep of each.")
def prune_command(found: Experiment, keep_attempts: int) -> None:
    """Remove attempts that were never committed, but for the newest of each dataset."""
    asked_for(found)
    pruned = prune(found, keep_attempts)
    for attempt in pruned.attempts:
        click.echo(f"removed {attempt}")
    click.echo(f"experiment {found.name!r}: {len(pruned.attempts)} attempts removed, {pruned.n_bytes:,} bytes freed.")


@command_on_experiment("append")
@click.argument("manifest", type=click.Path(path_type=Path))
def append_command(found: Experiment, manifest: Path) -> None:
    """Let the pool grow: MANIFEST has the rows there were, and new ones."""
    request = Request.again(found, {"experiment": found.name, "manifest": str(manifest.resolve())})
    click.echo(f"{append(request, asked_for(found), click.echo):,} new samples; the next round looks at them too.")


@command_on_experiment("withdraw")
@click.argument("sample_ids", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--delete-media", is_flag=True, help="Delete the media files too.")
def withdraw_command(found: Experiment, sample_ids: tuple[str, ...], reason: str, delete_media: bool) -> None:
    """Never use samples again: labels, features and media references go, tombstone and bill stay."""
    folder = media_folder(found, asked_for(found))
    if delete_media and folder is None:
        raise UserError("Where the media lie is not known for this experiment; delete the files yourself.")
    done = withdraw(found, sample_ids, reason, folder if delete_media else None)
    click.echo(
        f"{done.new} samples withdrawn; {done.files} committed files written anew, {len(done.media)} media deleted. "
        "What was exported before lies with whoever has it."
    )
    if done.files:
        click.echo(f"Report and bundles that showed them are removed; 'kedro rounds run{found.flag()}' reports anew.")
    for name in done.elsewhere:
        click.secho(f"experiment {name!r} holds them too:  add --experiment {name}", fg="yellow")


@command_on_experiment("ledger")
@click.option("--all", "everything", is_flag=True, help="Superseded answers too, with their source files.")
def ledger_command(found: Experiment, everything: bool) -> None:
    """Print every answer that was bought, as CSV, and the bill."""
    asked_for(found)
    with Ledger(found.ledger_path) as ledger:
        history, aside, withdrawn = ledger.history(), ledger.quarantined(), ledger.withdrawn()
        rows, bill = history if everything else ledger.rows(), history["cost"].sum()
    click.echo(rows.map(disarmed).to_csv(index=False), nl=False)
    click.echo(
        f"{len(rows)} answers, cost {bill:g}; {len(aside)} set aside; {len(withdrawn)} samples withdrawn.", err=True
    )
