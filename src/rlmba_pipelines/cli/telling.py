"""What commands do and tell alike about answers: rows that were not taken, disputes, the annotation server."""

from __future__ import annotations

from collections import Counter

import click

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.answers import Imported
from rlmba_pipelines.rounds.batches import open_batch
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.desk import SERVER, Desk, desk_of
from rlmba_pipelines.rounds.pull import Pulled, progress, wait_for_answers
from rlmba_pipelines.rounds.push import push_batch


def push(desk: Desk) -> None:
    """Send the open batch to the annotation server, and tell where people find it."""
    pushed = push_batch(desk)
    n = pushed.n_new + pushed.n_there
    click.echo(f"{n} samples of round {pushed.round_idx} are in Label Studio ({pushed.n_new} new):")
    for project in pushed.projects:
        click.echo(f"  {project.url}   {project.shown}")


def wait(desk: Desk) -> bool:
    """Wait for the answers, telling how far they are; False where only disputes are left, which an adjudicator has
    to decide."""
    told: set[str] = set()
    click.echo("waiting for answers; Ctrl-C ends the waiting, and nothing is lost …")
    try:
        wait_for_answers(desk, click.echo, lambda pulled: tell_pulled(desk.experiment, pulled, told))
    except KeyboardInterrupt:
        click.echo("\nstopped waiting; the same command goes on.")
        raise SystemExit(130) from None
    opened = open_batch(desk.experiment, desk.parameters.labeling)
    if opened and len(opened.disputed):
        tell_disputes(desk.experiment, len(opened.disputed))
    return not opened or not len(opened.disputed)


def tell_pulled(found: Experiment, pulled: Pulled, told: set[str]) -> None:
    """Tell what a look at the server brought, each thing once."""
    tell_rows(found, pulled.imported, told)
    if pulled.changed and (line := f"{pulled.changed} annotations do not answer the field 'label'") not in told:
        told.add(line)
        click.secho(f"{line}: the labeling interface was changed in Label Studio; name it so again.", fg="yellow")


def tell_rows(found: Experiment, imported: Imported, told: set[str]) -> None:
    """Tell which answers were not taken and why, each once; ``told`` remembers."""
    lines = [f"not taken: {line}" for line in imported.rejected] + [f"set aside: {line}" for line in imported.set_aside]
    reasons = [line.split(": ", 2)[-1] for line in lines]  # the row is another in every answer file of a server
    new = [line for line, reason in zip(lines, reasons, strict=True) if reason not in told]
    for line in new:
        click.secho(line, fg="yellow")
    if any("answers already" in line for line in new):
        click.echo("To correct what somebody said before, say who:  --correct --by NAME, or a column 'annotator'.")
    if any("is not one of" in line for line in new):
        click.echo(f"A class that is right but new:  kedro rounds classes NAME{found.flag()}")
    told.update(reasons)
    if imported.new_classes:
        click.echo(f"classes met for the first time: {', '.join(imported.new_classes)}")
        alike = Counter(name.casefold() for name in imported.new_classes)
        twins = [name for name in imported.new_classes if alike[name.casefold()] > 1]
        if twins:
            click.secho(
                f"{', '.join(twins)} differ by capitals alone; 'import --correct' mends what is a mistake.", fg="yellow"
            )


def tell_server(found: Experiment, round_idx: int) -> None:
    """Tell how far a round is on the annotation server, where it was sent there; its troubles end no command."""
    with Ledger(found.ledger_path) as ledger:
        targets = {target for k, target in ledger.outbox() if k == round_idx}
    if not any(target.startswith(SERVER) for target in targets):
        return
    try:
        desk = desk_of(found)
        if desk.target in targets:
            n_answered, n_asked, projects = progress(desk, round_idx)
            click.echo(f"  in Label Studio: {n_answered}/{n_asked} answered ('kedro rounds pull{found.flag()}')")
            for project in projects:
                click.echo(f"    {project.url}   {project.shown}")
    except UserError as error:
        click.secho(f"  in Label Studio: {error}", fg="yellow")


def tell_disputes(found: Experiment, n: int) -> None:
    """Tell how disputes are settled."""
    click.echo(
        f"{n} of these are disputed:  kedro rounds export FOLDER --disputed{found.flag()}, then "
        f"kedro rounds import FILE --adjudicate{found.flag()}"
    )
