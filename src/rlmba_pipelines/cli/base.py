"""The groups of commands, and what all commands share: an experiment by name, mistakes told in one sentence."""

from __future__ import annotations

import copy
import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import validate_conf_source
from kedro.framework.startup import ProjectMetadata

from rlmba_pipelines.config import MAIN
from rlmba_pipelines.labeling import WaitingForLabels
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import share_of
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.current import EXPERIMENT_VARIABLE, current, usual_name
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.rewriting import JOURNAL, finish_rewriting

Command = Callable[..., None]
USUALLY = f"${EXPERIMENT_VARIABLE}, or {MAIN}"  # the experiment that is meant where none is named


def _is_no_wait(_record: logging.LogRecord) -> bool:
    return not isinstance(sys.exc_info()[1], WaitingForLabels)


# a wait for people is no error of a node, and Kedro's advice to start in its middle would not help
for _name in ("kedro.pipeline.node", "kedro.runner.sequential_runner"):
    logging.getLogger(_name).addFilter(_is_no_wait)


def one_sentence(command: Command) -> Command:
    """A user's mistake ends in one sentence and exit code 2; the traceback only with ``RLMBA_DEBUG=1``."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Exception as error:
            if os.environ.get("RLMBA_DEBUG"):
                raise
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, UserError | WaitingForLabels | MissingConfigException):
                cause = cause.__cause__ or cause.__context__
            if isinstance(cause, UserError):
                _refuse(str(cause))
            if isinstance(cause, WaitingForLabels):
                click.echo(f"{cause}; 'kedro rounds status{current.experiment.flag()}' says how to go on.")
                raise SystemExit(0) from None
            if isinstance(cause, MissingConfigException):
                _refuse(f"The configuration cannot be read ({cause}); name it with --conf-source.")
            if missing := re.search(r"Failed to find the pipeline named '([^']*)'", str(error)):
                _refuse(_no_pipeline(missing[1]))
            raise

    return wrapped


def _refuse(sentence: str) -> None:
    click.secho(f"Error: {sentence}", err=True, fg="red")
    raise SystemExit(2) from None


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
@click.option(
    "--conf-source",
    envvar="RLMBA_CONF_SOURCE",
    callback=validate_conf_source,
    help="Configuration elsewhere than in conf/: a folder, or the archive that 'kedro package' makes.",
)
def rounds(conf_source: str | None) -> None:
    """Label round by round: run, hand batches to people, look after what was bought."""
    current.conf_source = conf_source


def command(name: str) -> Callable[[Command], click.Command]:
    """``kedro rounds NAME``; the function gets the folder of the project before its options."""

    def decorate(function: Command) -> click.Command:
        def invoked(metadata: ProjectMetadata, /, **options: Any) -> None:
            function(metadata.project_path, **options)

        return rounds.command(name)(click.pass_obj(one_sentence(functools.update_wrapper(invoked, function))))

    return decorate


def command_on_experiment(name: str) -> Callable[[Command], click.Command]:
    """``kedro rounds NAME [--experiment …]``; the function gets the experiment before its options."""

    def decorate(function: Command) -> click.Command:
        def invoked(project_path: Path, /, *, experiment: str, **options: Any) -> None:
            function(experiment_of(project_path, experiment), **options)

        option = click.option(
            "--experiment", default=usual_name, show_default=USUALLY,
            help="Name of the experiment.",
        )
        return command(name)(option(functools.update_wrapper(invoked, function)))

    return decorate


def experiment_of(project_path: Path, name: str) -> Experiment:
    """The experiment; what a killed withdrawal or append had decided is done first."""
    found = Experiment.of(project_path, name)
    if (found.folder / JOURNAL).exists():
        with locked(found.folder):
            finish_rewriting(found)
    return found


def share(text: str | None) -> float | None:
    """The share that an option names, if it was given."""
    if text is None:
        return None
    try:
        return share_of(text)
    except UserError as error:
        raise click.BadParameter(str(error)) from None


def short(path: Path) -> str:
    """As short as it can be typed from here."""
    return os.path.relpath(path)
