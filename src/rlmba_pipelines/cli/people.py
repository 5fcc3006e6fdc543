"""``kedro rounds export``, ``import``, ``close``, ``classes``: a batch to people, and their answers back."""

from __future__ import annotations

from pathlib import Path

import click

from rlmba_pipelines.cli.base import command_on_experiment, short
from rlmba_pipelines.cli.run import go_on
from rlmba_pipelines.cli.telling import tell_disputes, tell_rows
from rlmba_pipelines.labeling import read_answers
from rlmba_pipelines.rounds.answers import Imported, add_classes, import_answers, known_classes
from rlmba_pipelines.rounds.batches import close_round, export_batch, open_batch
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.parameters import asked_for


@command_on_experiment("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--by", help="Who answered, where the file has no column 'annotator'.")
@click.option("--correct", is_flag=True, help="Let an answer that differs supersede what its annotator said before.")
@click.option("--adjudicate", is_flag=True, help="These answers settle disputes.")
@click.option("--scheduled", is_flag=True, help="Take answers only; a scheduler runs the next round.")
def import_command(
    found: Experiment, files: tuple[Path, ...], by: str | None, correct: bool, adjudicate: bool, scheduled: bool
) -> None:
    """Take the answers of people, and go on when a batch is complete."""
    parameters = asked_for(found)
    answers = [read_answers(path) for path in files]
    imported = import_answers(found, answers, parameters, by=by, correct=correct, adjudicate=adjudicate)
    _taken(found, imported, scheduled=scheduled)


def _taken(found: Experiment, imported: Imported, *, scheduled: bool = False) -> None:
    """Tell what was taken, and run the next round when nobody is waited for any more."""
    tell_rows(found, imported, set())
    settle(found, imported, scheduled=scheduled)


def settle(found: Experiment, imported: Imported, *, scheduled: bool = False) -> None:
    """Tell how far the batch is, and run the next round when nobody is waited for any more, unless a scheduler does."""
    opened = open_batch(found, asked_for(found).labeling)
    n_open = len(opened.batch) - opened.n_answered if opened else 0
    corrected = f"{imported.corrected} corrected, " if imported.corrected else ""
    aside = f"{len(imported.set_aside)} set aside, " if imported.set_aside else ""
    click.echo(
        f"{imported.accepted} new answers taken, {corrected}{aside}{len(imported.rejected)} rows not taken, "
        f"{n_open} samples still open."
    )
    if opened and len(opened.disputed):
        tell_disputes(found, len(opened.disputed))
    if opened is None and imported.accepted + imported.corrected and (done := found.rounds_done()) > 0:
        click.echo(
            "The model that is there does not know them yet; those after the next batch do:  "
            f"kedro rounds run --rounds {done + 1}{found.flag()}"
        )
    if opened and not n_open and not scheduled:
        go_on(found)


@command_on_experiment("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--disputed", is_flag=True, help="Only what annotators do not agree on, with their answers.")
def export_command(found: Experiment, folder: Path, disputed: bool) -> None:
    """Write the open batch for annotators: CSV and JSON Lines with ranks, guesses, reasons and media paths."""
    csv, jsonl, n = export_batch(found, asked_for(found), folder, disputed=disputed)
    click.echo(f"{n} samples:\n  {short(csv)}\n  {short(jsonl)}")


@command_on_experiment("close")
def close_command(found: Experiment) -> None:
    """Go on with the answers there are; samples that nobody answered go back into the pool."""
    n_back = close_round(found, asked_for(found).labeling)
    click.echo(f"{n_back} samples without an answer go back into the pool.")
    go_on(found)


@command_on_experiment("classes")
@click.argument("names", nargs=-1)
def classes_command(found: Experiment, names: tuple[str, ...]) -> None:
    """List the classes, or make NAMES known: the only way in which a new one appears after the first batch."""
    parameters = asked_for(found)
    if names:
        _taken(found, add_classes(found, names, parameters))
        return
    known = sorted(known_classes(found, parameters))
    for name in known:
        click.echo(name)
    if not known:
        click.echo("No class is known yet; the first answers make them known, or 'classes NAME…'.", err=True)
