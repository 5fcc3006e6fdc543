"""``kedro rounds push`` and ``pull``: a batch to an annotation server, and what people said there."""

from __future__ import annotations

import click

from rlmba_pipelines.cli.base import command_on_experiment
from rlmba_pipelines.cli.people import settle
from rlmba_pipelines.cli.run import go_on
from rlmba_pipelines.cli.telling import push, tell_pulled, wait
from rlmba_pipelines.labeling.label_studio import Unreachable
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.desk import desk_of
from rlmba_pipelines.rounds.lock import Busy
from rlmba_pipelines.rounds.pull import gone, pull_answers

LATER = 75  # EX_TEMPFAIL of sysexits.h


@command_on_experiment("push")
def push_command(found: Experiment) -> None:
    """Send the open batch to Label Studio: media, guesses, ranks, reasons; sending it again adds what is missing."""
    push(desk_of(found))


@command_on_experiment("pull")
@click.option("--wait", "waits", is_flag=True, help="Look again until the batch is answered.")
@click.option("--correct", is_flag=True, help="Let an answer that differs supersede what its annotator said before.")
@click.option(
    "--scheduled", is_flag=True, help=f"Take answers only; a scheduler runs the next round. Exit code {LATER}: not now."
)
def pull_command(found: Experiment, waits: bool, correct: bool, scheduled: bool) -> None:
    """Take what people said in Label Studio, and go on when a batch is complete."""
    desk = desk_of(found)
    if waits:
        if wait(desk) and not scheduled:
            go_on(found)
        return
    try:
        pulled = pull_answers(desk, correct=correct)
    except (Unreachable, Busy) as error:
        if not scheduled:
            raise
        click.secho(f"{error} Nothing is lost.", err=True, fg="yellow")
        raise SystemExit(LATER) from None
    tell_pulled(found, pulled, set())
    if pulled.missing and not scheduled:
        click.secho(gone(desk, pulled.missing), fg="yellow")
    settle(found, pulled.imported, scheduled=scheduled)
    if pulled.missing and scheduled:  # nobody reads what a scheduler's command tells while it succeeds
        raise UserError(gone(desk, pulled.missing))
