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
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.reporting.outlook import forecast_words, rule_words
from rlmba_pipelines.rounds.append import append
from rlmba_pipelines.rounds.branch import branch, branching
from rlmba_pipelines.rounds.commits import PREPARED, Experiment
from rlmba_pipelines.rounds.driver import (
    Outcome,
    Request,
    is_closed,
    is_reported,
    measured,
    n_training_labels,
    run_rounds,
    stop_reason,
)
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.outlook import outlook
from rlmba_pipelines.rounds.parameters import asked_for
from rlmba_pipelines.rounds.people import (
    Imported,
    add_classes,
    close_round,
    export_batch,
    import_answers,
    known_classes,
    media_folder,
    open_batch,
)
from rlmba_pipelines.rounds.rewriting import JOURNAL, finish_rewriting
from rlmba_pipelines.rounds.tidy import prune
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.rounds.verify import verify
from rlmba_pipelines.rounds.withdraw import withdraw


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


def _experiment(project_path: Path, name: str) -> Experiment:
    """The experiment; what a killed withdrawal or append had decided is done first."""
    found = Experiment.of(project_path, name)
    if (found.folder / JOURNAL).exists():
        with locked(found.folder):
            finish_rewriting(found)
    return found


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
    before = _experiment(project_path, overrides["experiment"]).request()
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
    opened = open_batch(outcome.experiment, asked_for(outcome.experiment).labeling) if outcome.waiting else None
    if opened:
        click.echo(
            f"\n{len(opened.batch)} samples of round {opened.round_idx} wait for labels"
            f" ({opened.progress()}).\n"
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
    found = _experiment(metadata.project_path, experiment or "main")
    done = found.rounds_done()
    flag = "" if found.name == "main" else f" --experiment {found.name}"
    if done < 0 and open_batch(found) is None:
        far = "the samples are prepared; go on" if found.is_done(PREPARED) else "nothing is done yet; start"
        click.echo(f"experiment {found.name!r}: {far} with 'kedro rounds run{flag}'.")
        return
    click.echo(f"experiment {found.name!r}: {max(done, 0)} rounds done after the start batch")
    stages = [stage_name(k) for k in range(1, done + 1)]
    for stage in [*stages, FINAL] if is_closed(found) else stages:
        metrics = measured(found, stage)
        if metrics:
            click.echo(
                f"  {stage}: {n_training_labels(found, stage):>6,} training labels, "
                f"accuracy {100 * metrics['accuracy']:.1f} %"
            )
    opened = open_batch(found, asked_for(found).labeling)
    if opened:
        click.echo(
            f"next: round {opened.round_idx} waits for labels ({opened.progress()}); "
            f"fill in {_short(opened.csv)}, then 'kedro rounds import FILE{flag}'."
        )
    elif reason := stop_reason(found, asked_for(found).rounds, asked_for(found).labeling):
        click.echo(f"stopped: {reason}")
    else:
        click.echo(f"next: round {done + 1} ('kedro rounds run --rounds {done + 1}{flag}' or more)")
    if done >= max(1, asked_for(found).rounds.rounds) and not is_reported(found):
        click.echo(f"open: the measurement after the last round and the report ('kedro rounds run{flag}')")
    if done > 0:
        _tell_outlook(found)
    if found.report_path.exists():
        click.echo(f"report: {_short(found.report_path)}")


def _tell_outlook(experiment: Experiment) -> None:
    parameters = asked_for(experiment)
    found = outlook(experiment, parameters)
    click.echo(f"forecast: {forecast_words(found)}")
    for words in rule_words(found, parameters.rounds):
        click.echo(f"  {words}")


@rounds.command("verify")
@_experiment_option
@click.pass_obj
@one_sentence
def verify_command(metadata: ProjectMetadata, /, experiment: str | None) -> None:
    """Hash everything again that was committed; exit code 1 and a sentence each where something is damaged."""
    found = _experiment(metadata.project_path, experiment or "main")
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


@rounds.command("branch")
@click.option("--from-round", type=click.IntRange(0), required=True, help="First round that is to go another way.")
@click.option("--experiment", required=True, help="Name of the new experiment.")
@click.option("--of", "source", default="main", show_default=True, help="The experiment to branch from.")
@click.option("--strategy", help="What chooses from then on; default: as before.")
@click.option("--seed", type=click.IntRange(0), help="Root of the random draws from then on; default: as before.")
@click.pass_obj
@one_sentence
def branch_command(
    metadata: ProjectMetadata, /, from_round: int, experiment: str, source: str, strategy: str | None, seed: int | None
) -> None:
    """Try an old round another way: a new experiment that shares all before it and knows nothing after it."""
    made = branch(_experiment(metadata.project_path, source), experiment, from_round, strategy, seed)
    click.echo(
        f"experiment {made.name!r} continues {source!r} from round {from_round}; "
        f"next: kedro rounds run --experiment {made.name}"
    )


@rounds.command("prune")
@click.option("--keep-attempts", type=click.IntRange(0), default=1, show_default=True, help="How many to keep of each.")
@_experiment_option
@click.pass_obj
@one_sentence
def prune_command(metadata: ProjectMetadata, /, keep_attempts: int, experiment: str | None) -> None:
    """Remove attempts that were never committed, but for the newest of each dataset."""
    found = _experiment(metadata.project_path, experiment or "main")
    pruned = prune(found, keep_attempts)
    for attempt in pruned.attempts:
        click.echo(f"removed {attempt}")
    click.echo(f"experiment {found.name!r}: {len(pruned.attempts)} attempts removed, {pruned.n_bytes:,} bytes freed.")


@rounds.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--by", help="Who answered, where the file has no column 'annotator'.")
@click.option("--correct", is_flag=True, help="Let an answer that differs supersede what its annotator said before.")
@click.option("--adjudicate", is_flag=True, help="These answers settle disputes.")
@_experiment_option
@click.pass_obj
@one_sentence
def import_command(
    metadata: ProjectMetadata,
    /,
    files: tuple[Path, ...],
    by: str | None,
    correct: bool,
    adjudicate: bool,
    experiment: str | None,
) -> None:
    """Take the answers of people, and go on when a batch is complete."""
    found = _experiment(metadata.project_path, experiment or "main")
    parameters = asked_for(found)
    _go_on(
        metadata,
        found,
        import_answers(found, files, parameters, by=by, correct=correct, adjudicate=adjudicate),
    )


def _go_on(metadata: ProjectMetadata, found: Experiment, imported: Imported) -> None:
    """Tell what was taken, and run the next round when nobody is waited for any more."""
    flag = "" if found.name == "main" else f" --experiment {found.name}"
    for line in imported.rejected:
        click.secho(f"not taken: {line}", fg="yellow")
    for line in imported.set_aside:
        click.secho(f"set aside: {line}", fg="yellow")
    if imported.new_classes:
        click.echo(f"classes met for the first time: {', '.join(imported.new_classes)}")
    if any("is not one of" in line for line in imported.set_aside):
        click.echo(f"A class that is right but new:  kedro rounds classes NAME{flag}")
    opened = open_batch(found, asked_for(found).labeling)
    n_open = len(opened.batch) - opened.n_answered if opened else 0
    corrected = f"{imported.corrected} corrected, " if imported.corrected else ""
    aside = f"{len(imported.set_aside)} set aside, " if imported.set_aside else ""
    click.echo(
        f"{imported.accepted} new answers taken, {corrected}{aside}{len(imported.rejected)} rows not taken, "
        f"{n_open} samples still open."
    )
    if opened and len(opened.disputed):
        click.echo(
            f"{len(opened.disputed)} of these are disputed:  kedro rounds export FOLDER --disputed{flag}, then "
            f"kedro rounds import FILE --adjudicate{flag}"
        )
    if opened is None or n_open:
        return
    request = found.request()
    _tell(run_rounds(Request(metadata.project_path, request["env"], request["runtime_params"]), click.echo))


@rounds.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--disputed", is_flag=True, help="Only what annotators do not agree on, with their answers.")
@_experiment_option
@click.pass_obj
@one_sentence
def export_command(metadata: ProjectMetadata, /, folder: Path, disputed: bool, experiment: str | None) -> None:
    """Write the open batch for annotators: CSV and JSON Lines with ranks, guesses, reasons and media paths."""
    found = _experiment(metadata.project_path, experiment or "main")
    csv, jsonl, n = export_batch(found, asked_for(found), folder, disputed=disputed)
    click.echo(f"{n} samples:\n  {_short(csv)}\n  {_short(jsonl)}")


@rounds.command("close")
@_experiment_option
@click.pass_obj
@one_sentence
def close_command(metadata: ProjectMetadata, /, experiment: str | None) -> None:
    """Go on with the answers there are; samples that nobody answered go back into the pool."""
    found = _experiment(metadata.project_path, experiment or "main")
    n_back = close_round(found, asked_for(found).labeling)
    click.echo(f"{n_back} samples without an answer go back into the pool.")
    request = found.request()
    _tell(run_rounds(Request(metadata.project_path, request["env"], request["runtime_params"]), click.echo))


@rounds.command("classes")
@click.argument("names", nargs=-1)
@_experiment_option
@click.pass_obj
@one_sentence
def classes_command(metadata: ProjectMetadata, /, names: tuple[str, ...], experiment: str | None) -> None:
    """List the classes, or make NAMES known: the only way in which a new one appears after the first batch."""
    found = _experiment(metadata.project_path, experiment or "main")
    parameters = asked_for(found)
    if names:
        _go_on(metadata, found, add_classes(found, names, parameters))
        return
    with Ledger(found.ledger_path) as ledger:
        for name in sorted(known_classes(found, parameters, ledger)):
            click.echo(name)


@rounds.command("append")
@click.argument("manifest", type=click.Path(path_type=Path))
@_experiment_option
@click.pass_obj
@one_sentence
def append_command(metadata: ProjectMetadata, /, manifest: Path, experiment: str | None) -> None:
    """Let the pool grow: MANIFEST has the rows there were, and new ones."""
    found = _experiment(metadata.project_path, experiment or "main")
    parameters, before = asked_for(found), found.request()
    runtime_params = {**before["runtime_params"], "experiment": found.name, "manifest": str(manifest.resolve())}
    request = Request(metadata.project_path, before["env"], runtime_params)
    click.echo(f"{append(request, parameters, click.echo):,} new samples; the next round looks at them too.")


@rounds.command("withdraw")
@click.argument("sample_ids", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--delete-media", is_flag=True, help="Delete the media files too.")
@_experiment_option
@click.pass_obj
@one_sentence
def withdraw_command(
    metadata: ProjectMetadata,
    /,
    sample_ids: tuple[str, ...],
    reason: str,
    delete_media: bool,
    experiment: str | None,
) -> None:
    """Never use samples again: labels, features and media references go, tombstone and bill stay."""
    found = _experiment(metadata.project_path, experiment or "main")
    folder = media_folder(found, asked_for(found))
    if delete_media and folder is None:
        raise UserError("Where the media lie is not known for this experiment; delete the files yourself.")
    done = withdraw(found, sample_ids, reason, folder if delete_media else None)
    click.echo(
        f"{done.new} samples withdrawn; {done.files} committed files written anew, {len(done.media)} media deleted. "
        "What was exported before lies with whoever has it."
    )
    for name in done.elsewhere:
        click.secho(f"experiment {name!r} holds them too:  add --experiment {name}", fg="yellow")


@rounds.command("ledger")
@_experiment_option
@click.option("--all", "everything", is_flag=True, help="Superseded answers too, with their source files.")
@click.pass_obj
@one_sentence
def ledger_command(metadata: ProjectMetadata, /, experiment: str | None, everything: bool) -> None:
    """Print every answer that was bought, as CSV, and the bill."""
    found = _experiment(metadata.project_path, experiment or "main")
    asked_for(found)
    with Ledger(found.ledger_path) as ledger:
        history, aside, withdrawn = ledger.history(), ledger.quarantined(), ledger.withdrawn()
        rows, bill = history if everything else ledger.rows(), history["cost"].sum()
    click.echo(rows.to_csv(index=False), nl=False)
    click.echo(
        f"{len(rows)} answers, cost {bill:g}; {len(aside)} set aside; {len(withdrawn)} samples withdrawn.", err=True
    )
