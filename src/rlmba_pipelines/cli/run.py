"""``kedro rounds run`` and ``status``: go on, and what comes next."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import _split_params

from rlmba_pipelines.cli.base import command, command_on_experiment, experiment_of, share, short
from rlmba_pipelines.cli.telling import push, tell_server, wait
from rlmba_pipelines.config import MAIN, Parameters
from rlmba_pipelines.reporting.outlook import forecast_words, rule_words
from rlmba_pipelines.rounds.batches import open_batch
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_table
from rlmba_pipelines.rounds.current import DEFAULT_ROUNDS, EXPERIMENT_VARIABLE, usual_name
from rlmba_pipelines.rounds.desk import SERVER, check_server, desk_of
from rlmba_pipelines.rounds.driver import Outcome, Request, run_rounds
from rlmba_pipelines.rounds.outlook import outlook
from rlmba_pipelines.rounds.parameters import asked_for, merged
from rlmba_pipelines.rounds.progress import (
    accuracy_words,
    is_closed,
    is_reported,
    measured,
    n_training_labels,
    rules_in_the_way,
    stop_reason,
)
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.tracking_hook import tell_of_commits


@command("run")
@click.option("--rounds", "n_rounds", type=click.IntRange(1), help="Batches to buy after the start batch.")
@click.option("--first", type=click.IntRange(0), help="First round to run (checked against what is done).")
@click.option("--last", type=click.IntRange(0), help="Last round to run.")
@click.option("--strategy", help="What chooses the samples: herding (default), margin, badge, …")
@click.option("--seed", type=click.IntRange(0), help="Root of every random draw.")
@click.option("--env", "-e", help="Configuration environment in conf/.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Your samples: CSV, JSON Lines or Parquet; or the folder of a public data set (--env food101, …).",
)
@click.option("--media-root", type=click.Path(path_type=Path), help="Folder of the media; default: the manifest's own.")
@click.option("--annotator", type=click.Choice(["auto", "simulated", "files", "label_studio"]), help="Who answers.")
@click.option("--start-size", type=click.IntRange(2), help="Labels bought before the first model.")
@click.option("--query-size", type=click.IntRange(1), help="Labels bought each round.")
@click.option("--budget", type=click.IntRange(1), help="Stop when so many labels are paid for, validation included.")
@click.option("--target-accuracy", type=click.FloatRange(0, 1, min_open=True), help="Stop when validation reaches it.")
@click.option(
    "--max-bad-media",
    callback=lambda _c, _p, value: share(value),
    help="Share of unreadable samples to put up with, as 0.02 or 2%.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where encoders and learner compute.")
@click.option(
    "--params", default="", callback=_split_params, help="Any other parameter, as of 'kedro run': vlm.chains=3,…"
)
@click.option(
    "--scheduled", is_flag=True, help="A step of a schedule: wait for nobody, leave the report to a call without this."
)
@click.option(
    "--experiment",
    help=f"Name of the experiment. Default: one made from --strategy, --seed and --manifest; without these "
    f"${EXPERIMENT_VARIABLE}, or main.",
)
def run_command(project_path: Path, **options: Any) -> None:
    """Run every open round, then measure and write the report. Continues where it was interrupted."""
    request = request_of(project_path, options)
    name = str(request.runtime_params["experiment"])
    click.echo(f"experiment {name!r}")
    if not experiment_of(project_path, name).is_done(PREPARED):
        check_server(request)
    outcome = run_rounds(request, click.echo)
    while outcome.waiting and asked_for(outcome.experiment).rounds.annotator == SERVER:
        desk = desk_of(outcome.experiment)
        push(desk)
        if request.scheduled or not wait(desk):
            return
        outcome = run_rounds(replace(request, first=None), click.echo)
    if outcome.idle:  # no pipeline ran, after which a tracking server would have got what it missed
        tell_of_commits(outcome.experiment, outcome.parameters)
    _tell(outcome)


def request_of(project_path: Path, options: dict[str, Any]) -> Request:
    """What the options of ``kedro rounds run`` ask for."""
    overrides: dict[str, Any] = {}

    def put(block: str, key: str, value: Any) -> None:
        if value is not None:
            overrides.setdefault(block, {})[key] = value

    for key in ("strategy", "seed", "annotator", "start_size", "query_size", "budget", "target_accuracy"):
        put("rounds", key, options[key])
    put("rounds", "rounds", options["n_rounds"])
    put("ingest", "max_bad_media", options["max_bad_media"])
    for block in ("encoders", "fusion", "vlm"):
        put(block, "device", options["device"])
    if options["media_root"] is not None:
        put("ingest", "media_root", str(options["media_root"].resolve()))
    overrides["experiment"] = options["experiment"] or _name_of(options)
    before = experiment_of(project_path, overrides["experiment"]).request()
    manifest = str(options["manifest"].resolve()) if options["manifest"] is not None else None
    if manifest and manifest not in before.get("earlier_manifests", ()):  # the pool has grown out of those
        overrides["manifest"] = manifest
    asked = merged(options["params"], overrides)
    runtime_params = merged(before["runtime_params"], asked)  # going on needs nothing but the experiment's name
    env = options["env"] or before["env"]
    return Request(project_path, env, runtime_params, options["first"], options["last"], options["scheduled"])


def _name_of(options: dict[str, Any]) -> str:
    """A name that tells what differs, ``photos-margin-seed3``; the usual one where nothing does."""
    parts = [options["manifest"].stem if options["manifest"] else None, options["strategy"], options["env"]]
    if options["seed"] is not None:
        parts.append(f"seed{options['seed']}")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(p for p in parts if p)).strip("-.") or usual_name()


def go_on(experiment: Experiment) -> None:
    """Run what is open, as it was asked for last."""
    _tell(run_rounds(Request.again(experiment), click.echo))


def _tell(outcome: Outcome) -> None:
    found = outcome.experiment
    opened = open_batch(found, asked_for(found).labeling) if outcome.waiting else None
    if opened:
        n_given = 0 if opened.round_idx else len(read_table(found.path_of(PREPARED, "given_labels")))
        counted = f"; {n_given:,} labels of the manifest count to the start batch" if n_given else ""
        click.echo(
            f"\n{len(opened.batch)} samples of round {opened.round_idx} wait for labels"
            f" ({opened.progress()}{counted}).\n"
            f"  fill in the column 'label' of   {short(opened.csv)}\n"
            f"  or the field of                 {short(opened.jsonl)}\n"
            f"  then                            kedro rounds import FILE{found.flag()}\n"
            f"  or, with Label Studio           kedro rounds push{found.flag()}, then kedro rounds pull{found.flag()}"
        )
        return
    if outcome.report:
        click.echo(f"\nreport   {short(outcome.report)}\nlineage  {_viz_of(found)}")
        if more := _more(found, outcome.parameters):
            click.echo(f"more     {more}   (N = rounds in all; {found.rounds_done()} are done)")


def _more(found: Experiment, parameters: Parameters) -> str:
    """What to type for further rounds, stop rules that hold taken back; empty where nothing is left to buy."""
    rules = rules_in_the_way(found, parameters.rounds, parameters.labeling)
    if rules is None:
        return ""
    lifted = f" --params {','.join(f'rounds.{name}=null' for name in rules)}" if rules else ""
    return f"kedro rounds run --rounds N{found.flag()}{lifted}"


def _viz_of(found: Experiment) -> str:
    """What to type to see the lineage of an experiment."""
    env = found.request()["env"]
    told = [f"KEDRO_ENV={env}"] if env else []
    told += [f"{EXPERIMENT_VARIABLE}={found.name}"] if found.name != MAIN else []
    told += [f"RLMBA_ROUNDS={found.rounds_done()}"] if found.rounds_done() < DEFAULT_ROUNDS else []
    return " ".join([*told, "make viz"])


def _facts(found: Experiment) -> dict[str, Any]:
    """How far an experiment is: ``rounds_done`` is null before the start batch is bought, ``open`` while nobody is
    asked."""
    if not found.parameters_path.exists():
        return {"experiment": found.name, "rounds_done": None, "open": None, "stopped": None, "reported": False}
    done, parameters = found.rounds_done(), asked_for(found)
    opened = open_batch(found, parameters.labeling)
    return {
        "experiment": found.name,
        "rounds_done": done if done >= 0 else None,
        "open": opened
        and {
            "round": opened.round_idx,
            "samples": len(opened.batch),
            "answered": opened.n_answered,
            "disputed": len(opened.disputed),
        },
        "stopped": stop_reason(found, parameters.rounds, parameters.labeling),
        "reported": done > 0 and is_reported(found),
    }


@command_on_experiment("status")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for schedulers.")
def status_command(found: Experiment, as_json: bool) -> None:
    """What is done, what is open, and what happens next."""
    if as_json:
        click.echo(json.dumps(_facts(found)))
        return
    done = found.rounds_done()
    if done < 0 and found.commit(stage_name(0)) is None:
        far = "the samples are prepared; go on" if found.is_done(PREPARED) else "nothing is done yet; start"
        click.echo(f"experiment {found.name!r}: {far} with 'kedro rounds run{found.flag()}'.")
        return
    parameters = asked_for(found)
    click.echo(f"experiment {found.name!r}: {max(done, 0)} rounds done after the start batch")
    stages = [stage_name(k) for k in range(1, done + 1)]
    for stage in [*stages, FINAL] if is_closed(found) else stages:
        metrics = measured(found, stage)
        if metrics:
            click.echo(
                f"  {stage}: {n_training_labels(found, stage):>6,} training labels, {accuracy_words(metrics)}"
            )
    opened = open_batch(found, parameters.labeling)
    if opened:
        click.echo(
            f"next: round {opened.round_idx} waits for labels ({opened.progress()}); "
            f"fill in {short(opened.csv)}, then 'kedro rounds import FILE{found.flag()}'."
        )
        tell_server(found, opened.round_idx)
    elif reason := stop_reason(found, parameters.rounds, parameters.labeling):
        more = _more(found, parameters)
        click.echo(f"stopped: {reason}" + (f"; more with '{more}'" if more else ""))
    else:
        click.echo(f"next: round {done + 1} ('kedro rounds run --rounds {done + 1}{found.flag()}' or more)")
    if done >= max(1, parameters.rounds.rounds) and not is_reported(found):
        click.echo(f"open: the measurement after the last round and the report ('kedro rounds run{found.flag()}')")
    if done > 0:
        expected = outlook(found, parameters)
        click.echo(f"forecast: {forecast_words(expected)}")
        for words in rule_words(expected, parameters.rounds):
            click.echo(f"  {words}")
    if found.report_path.exists():
        click.echo(f"report: {short(found.report_path)}")
