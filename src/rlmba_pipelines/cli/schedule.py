"""``kedro rounds airflow``: the rounds of an experiment as a DAG."""

from __future__ import annotations

from pathlib import Path

import click

from rlmba_pipelines.cli.base import command, experiment_of, short
from rlmba_pipelines.cli.run import request_of, run_command
from rlmba_pipelines.handoff.airflow import Dag
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import PREPARED, read_object
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.driver import Runner, quiet
from rlmba_pipelines.rounds.parameters import shaping


@command("airflow")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), default="build/airflow", show_default=True)
@click.option("--schedule", help="Cron, or a preset as @daily; Airflow checks it. Default: started by hand.")
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED)
def airflow_command(project_path: Path, to: Path, schedule: str | None, run_options: tuple[str, ...]) -> None:
    """Write a DAG for Airflow: one task a round, and a sensor after each where people answer.

    RUN_OPTIONS, after '--', are those of 'kedro rounds run', as in:  kedro rounds airflow -- --manifest my.csv
    """
    options = run_command.make_context("run", list(run_options), parent=click.get_current_context()).params
    if options["first"] is not None or options["last"] is not None:
        raise UserError("Leave --first and --last away: each task has a round of its own; --rounds says how many.")
    request = request_of(project_path, options)
    name = str(request.runtime_params["experiment"])
    with quiet():
        parameters = Runner(request).parameters()
    found = experiment_of(project_path, name)
    found.check_parameters(shaping(parameters))
    annotator = parameters.rounds.annotator
    if annotator == "auto" and found.is_done(PREPARED):
        annotator = read_object(found.path_of(PREPARED, "setup"))["annotator"]
    named = run_options if options["experiment"] else (*run_options, "--experiment", name)
    people = annotator != "simulated"  # of auto nobody knows before the manifest is read: the sensors pass at once
    dag = Dag(name, named, parameters.rounds.rounds, people, annotator == "label_studio", schedule, current.conf_source)
    path = dag.write(to)
    click.echo(f"{dag.dag_id}: {parameters.rounds.rounds + 1} rounds{', answers' * people}, report\n  {short(path)}")
    click.echo("Copy it into the folder of DAGs of an Airflow on this machine, or one that sees this folder.")
