"""``kedro rounds …``: run, status, import. And ``kedro run`` with errors in one sentence."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.startup import ProjectMetadata

from rlmba_pipelines.labeling import WaitingForLabels
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.driver import (
    Outcome,
    Request,
    is_closed,
    measured,
    n_training_labels,
    report_path,
    run_rounds,
    stop_reason,
)
from rlmba_pipelines.rounds.parameters import asked_for
from rlmba_pipelines.rounds.people import import_answers, open_batch
from rlmba_pipelines.rounds.unroll import FINAL, stage_name


def one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """A user's mistake ends in one sentence and exit code 2; the traceback only with ``RLMBA_DEBUG=1``."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Exception as error:
            if os.environ.get("RLMBA_DEBUG"):
                raise
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, UserError | WaitingForLabels):
                cause = cause.__cause__ or cause.__context__
            if isinstance(cause, UserError):
                click.secho(f"Error: {cause}", err=True, fg="red")
                raise SystemExit(2) from None
            if isinstance(cause, WaitingForLabels):
                click.echo(f"{cause}; 'kedro rounds status' says how to go on.")
                raise SystemExit(0) from None
            if missing := re.search(r"Failed to find the pipeline named '([^']*)'", str(error)):
                click.secho(f"Error: {_no_pipeline(missing[1])}", err=True, fg="red")
                raise SystemExit(2) from None
            raise

    return wrapped


def _no_pipeline(name: str) -> str:
    stage = re.fullmatch(r"round_(\d+)", name)
    if stage:
        return (
            f"{name} is more rounds than the run has; give --params rounds.rounds={int(stage[1])}, or go on with "
            f"'kedro rounds run --rounds {int(stage[1])}'."
        )
    return f"There is no pipeline {name!r}; 'kedro registry list' shows all."


@click.group(name="rlmba_pipelines")
def cli() -> None:
    """Command line of the project."""


run = copy.copy(kedro_run)
run.callback = one_sentence(kedro_run.callback)  # type: ignore[arg-type]
cli.add_command(run, "run")


@cli.group()
def rounds() -> None:
    """Label round by round: run, status, import."""


def _experiment_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--experiment",
        help="Name of the experiment; its files lie under it. Default: main, or made "
        "from --strategy, --seed and --manifest.",
    )(command)


@rounds.command("run")
@click.option("--rounds", "n_rounds", type=click.IntRange(1), help="Batches to buy after the start batch.")
@click.option("--first", type=click.IntRange(0), help="First round to run (checked against what is done).")
@click.option("--last", type=click.IntRange(0), help="Last round to run.")
@click.option("--strategy", help="What chooses the samples: herding (default), margin, badge, …")
@click.option("--seed", type=click.IntRange(0), help="Root of every random draw.")
@_experiment_option
@click.option("--env", "-e", help="Configuration environment in conf/.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Your samples: CSV, JSON Lines or Parquet.")
@click.option("--media-root", type=click.Path(path_type=Path), help="Folder of the media; default: the manifest's own.")
@click.option("--annotator", type=click.Choice(["auto", "simulated", "files"]), help="Who answers.")
@click.option("--start-size", type=click.IntRange(2), help="Labels bought before the first model.")
@click.option("--query-size", type=click.IntRange(1), help="Labels bought each round.")
@click.option("--budget", type=click.IntRange(1), help="Stop when so many labels are paid for, validation included.")
@click.option("--target-accuracy", type=click.FloatRange(0, 1, min_open=True), help="Stop when validation reaches it.")
@click.option(
    "--max-bad-media",
    callback=lambda _c, _p, value: _share(value),
    help="Share of unreadable samples to put up with, as 0.02 or 2%.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where encoders and learner compute.")
@click.pass_obj
@one_sentence
def run_command(metadata: ProjectMetadata, /, **options: Any) -> None:
    """Run every open round, then measure and write the report. Continues where it was interrupted."""
    request = _request(metadata.project_path, options)
    click.echo(f"experiment {request.runtime_params['experiment']!r}")
    _tell(run_rounds(request, click.echo))


def _share(text: str | None) -> float | None:
    """``2%`` and ``0.02`` as 0.02."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise click.BadParameter(f"{text!r} is not a share; write 0.02 or 2%.")
    return value


def _request(project_path: Path, options: dict[str, Any]) -> Request:
    overrides: dict[str, Any] = {}

    def put(block: str, key: str, value: Any) -> None:
        if value is not None:
            overrides.setdefault(block, {})[key] = value

    for key in ("strategy", "seed", "annotator", "start_size", "query_size", "budget", "target_accuracy"):
        put("rounds", key, options[key])
    put("rounds", "rounds", options["n_rounds"])
    put("ingest", "max_bad_media", options["max_bad_media"])
    for block in ("encoders", "fusion"):
        put(block, "device", options["device"])
    if options["media_root"] is not None:
        put("ingest", "media_root", str(options["media_root"].resolve()))
    if options["manifest"] is not None:
        overrides["manifest"] = str(options["manifest"].resolve())
    overrides["experiment"] = options["experiment"] or _name_of(options)
    before = Experiment.of(project_path, overrides["experiment"]).request()
    runtime_params = _merged(before["runtime_params"], overrides)  # going on needs nothing but the experiment's name
    return Request(project_path, options["env"] or before["env"], runtime_params, options["first"], options["last"])


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(old[key], new[key]) for key in old.keys() & new.keys() if isinstance(new[key], dict)}
    return {**old, **new, **both}


def _name_of(options: dict[str, Any]) -> str:
    """``main``, or a name that tells what differs: ``photos-margin-seed3``."""
    parts = [options["manifest"].stem if options["manifest"] else None, options["strategy"], options["env"]]
    if options["seed"] is not None:
        parts.append(f"seed{options['seed']}")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(p for p in parts if p)).strip("-.") or "main"


def _tell(outcome: Outcome) -> None:
    name = outcome.experiment.name
    flag = "" if name == "main" else f" --experiment {name}"
    opened = open_batch(outcome.experiment) if outcome.waiting else None
    if opened:
        click.echo(
            f"\n{len(opened.batch)} samples of round {opened.round_idx} wait for labels"
            f" ({opened.n_answered} answered).\n"
            f"  fill in the column 'label' of   {_short(opened.csv)}\n"
            f"  or the field of                 {_short(opened.jsonl)}\n"
            f"  then                            kedro rounds import FILE{flag}"
        )
        return
    if outcome.report:
        click.echo(
            f"\nreport   {_short(outcome.report)}\nlineage  make viz\nmore     kedro rounds run --rounds N{flag}"
            f"   (N = rounds in all; {outcome.experiment.rounds_done()} are done)"
        )


def _short(path: Path) -> str:
    return os.path.relpath(path)


@rounds.command("status")
@_experiment_option
@click.pass_obj
@one_sentence
def status_command(metadata: ProjectMetadata, /, experiment: str | None) -> None:
    """What is done, what is open, and what happens next."""
    found = Experiment.of(metadata.project_path, experiment or "main")
    done = found.rounds_done()
    if done < 0 and open_batch(found) is None:
        click.echo(f"experiment {found.name!r}: nothing is done yet; start with 'kedro rounds run'.")
        return
    flag = "" if found.name == "main" else f" --experiment {found.name}"
    click.echo(f"experiment {found.name!r}: {max(done, 0)} rounds done after the start batch")
    stages = [stage_name(k) for k in range(1, done + 1)]
    for stage in [*stages, FINAL] if is_closed(found) else stages:
        metrics = measured(found, stage)
        if metrics:
            click.echo(
                f"  {stage}: {n_training_labels(found, stage):>6,} training labels, "
                f"accuracy {100 * metrics['accuracy']:.1f} %"
            )
    opened = open_batch(found)
    if opened:
        click.echo(
            f"next: round {opened.round_idx} waits for labels ({opened.n_answered}/{len(opened.batch)} answered); "
            f"fill in {_short(opened.csv)}, then 'kedro rounds import FILE{flag}'."
        )
    elif reason := stop_reason(found, asked_for(found).rounds):
        click.echo(f"stopped: {reason}")
    else:
        click.echo(f"next: round {done + 1} ('kedro rounds run --rounds {done + 1}{flag}' or more)")
    if report_path(found).exists():
        click.echo(f"report: {_short(report_path(found))}")


@rounds.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_experiment_option
@click.pass_obj
@one_sentence
def import_command(metadata: ProjectMetadata, /, files: tuple[Path, ...], experiment: str | None) -> None:
    """Take the answers of people, and go on when a batch is complete."""
    found = Experiment.of(metadata.project_path, experiment or "main")
    new, rejected = import_answers(found, files, asked_for(found).rounds.classes)
    for line in rejected:
        click.secho(f"not taken: {line}", fg="yellow")
    opened = open_batch(found)
    n_open = len(opened.batch) - opened.n_answered if opened else 0
    click.echo(f"{new} new answers taken, {len(rejected)} rows not taken, {n_open} samples still open.")
    if n_open:
        return
    request = found.request()
    _tell(run_rounds(Request(metadata.project_path, request["env"], request["runtime_params"]), click.echo))
