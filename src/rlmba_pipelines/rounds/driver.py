"""The driver: one Kedro session, one ``run`` a round, a commit after each; stop rules are read between rounds."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroServiceSession

from rlmba_pipelines.config import MAIN, Parameters
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.labeling import WaitingForLabels
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.branch import branching
from rlmba_pipelines.rounds.commits import ASKED, PREPARED, Experiment, read_table
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.parameters import checked, shaping
from rlmba_pipelines.rounds.progress import accuracy_words, is_reported, measured, n_training_labels, stop_reason
from rlmba_pipelines.rounds.reopen import reopen_start
from rlmba_pipelines.rounds.systems import SYSTEMS
from rlmba_pipelines.rounds.unroll import FINAL, REPORT, START, stage_name
from rlmba_pipelines.rounds.withdraw import finish_what_was_killed
from rlmba_pipelines.simulation.tables import GIVEN

Say = Callable[[str], None]
RUN_STATUS = "pipeline-run-hook"


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        runtime_params: overrides of parameters, nested as in the YAML files; ``experiment`` and ``manifest`` included.
        first, last: first and last round to run; None = the first open one, and ``rounds.rounds``.
        scheduled: the closing measurement and the report are left to a later call.
    """

    project_path: Path
    env: str | None
    runtime_params: Mapping[str, Any]
    first: int | None = None
    last: int | None = None
    scheduled: bool = False

    @classmethod
    def again(cls, experiment: Experiment, changes: Mapping[str, Any] | None = None) -> Request:
        """What an experiment was asked for last, with some runtime parameters replaced."""
        asked = experiment.request()
        return cls(experiment.project_path, asked["env"], {**asked["runtime_params"], **(changes or {})})


@dataclass(frozen=True)
class Outcome:
    """How a call of the driver ended: the report, or the sheet that people have to fill in; and what it went by.

    Attributes:
        idle: all was there before, report included.
    """

    experiment: Experiment
    report: Path | None
    waiting: WaitingForLabels | None
    parameters: Parameters
    idle: bool = False


class Runner:
    """Runs pipelines of one experiment, each with the number of rounds that the registry is to unroll."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._session = KedroServiceSession.create(
            project_path=request.project_path, env=request.env, conf_source=current.conf_source
        )
        # kedro-viz's run status is meant for one whole run: it would take each round for one, and grow with all of them
        hooks = self._session._hook_manager
        if hooks.has_plugin(RUN_STATUS):
            hooks.unregister(name=RUN_STATUS)

    def parameters(self) -> Parameters:
        """What this request comes to, checked."""
        return checked(dict(self.context().config_loader["parameters"]))

    def context(self) -> KedroContext:
        """The configuration that this request runs with."""
        return self._session.load_context(runtime_params=dict(self._request.runtime_params))

    def __call__(self, *names: str, rounds: int, nodes: list[str] | None = None) -> None:
        current.rounds = rounds
        pipelines.configure("rlmba_pipelines.pipeline_registry")
        self._session.run(
            pipeline_names=list(names), node_names=nodes, runtime_params=dict(self._request.runtime_params)
        )


def run_rounds(request: Request, say: Say) -> Outcome:
    """Run every open round of an experiment up to the last one asked for, then measure once more and report.

    Raises:
        UserError: anything that a user can mend.
    """
    current.project_path = request.project_path
    current.experiment_name = str(request.runtime_params.get("experiment", MAIN))
    experiment = current.experiment
    with locked(experiment.folder) as fresh, quiet():
        if fresh:
            finish_what_was_killed(experiment)
        run = Runner(request)
        parameters = run.parameters()
        current.system = parameters.system
        experiment.check_parameters(shaping(parameters))
        remember_request(experiment, request)
        rounds = request.last if request.last is not None else parameters.rounds.rounds
        if not experiment.is_done(PREPARED):
            say(f"reading and encoding the samples of {parameters.manifest or 'the set that comes with the project'} …")
            run(*SYSTEMS[parameters.system].preparation, rounds=rounds)
            say_set_aside(len(read_quarantine(experiment)), experiment, say)
        try:
            _run_open_rounds(request, experiment, run, rounds, parameters, say)
        except WaitingForLabels as waiting:
            return Outcome(experiment, None, waiting, parameters)
        done = experiment.rounds_done()
        if done < 1 or request.scheduled:
            return Outcome(experiment, None, None, parameters)
        idle = is_reported(experiment)
        if idle:
            say(f"all {done} rounds are done already")
        else:
            run(FINAL, rounds=done)
            say(_measured(experiment, FINAL, "after the last round"))
            say("writing the report …")
            run(REPORT, rounds=done)
    return Outcome(experiment, experiment.report_path, None, parameters, idle)


def read_quarantine(experiment: Experiment) -> pd.DataFrame:
    """The media that could not be read: ``sample_id, row, …, reason``, as people see them."""
    return pd.read_csv(experiment.path_of(PREPARED, "quarantine"), dtype=str, keep_default_na=False)


def say_set_aside(n_media: int, experiment: Experiment, say: Say) -> None:
    """Say how many media could not be read, if any, and where it is told why."""
    if n_media:
        say(f"{n_media:,} media cannot be read and are set aside: {experiment.path_of(PREPARED, 'quarantine')}")


def remember_request(experiment: Experiment, request: Request) -> None:
    """Keep what was asked for, so that ``kedro rounds import`` goes on with the same."""
    with replacing(experiment.request_path) as temporary:
        asked = {**experiment.request(), "env": request.env, "runtime_params": request.runtime_params}
        temporary.write_text(json.dumps(asked, indent=1))


def _run_open_rounds(
    request: Request, experiment: Experiment, run: Runner, rounds: int, parameters: Parameters, say: Say
) -> None:
    reopen_start(experiment)
    first = experiment.rounds_done() + 1
    if request.first is not None and request.first < first:
        raise UserError(
            f"Round {request.first} of experiment {experiment.name!r} is done, and what came after stands on it; try "
            f"it another way: {branching(experiment, request.first)}."
        )
    if request.first is not None and request.first > first:
        raise UserError(
            f"Round {request.first} cannot run now: experiment {experiment.name!r} continues with round "
            f"{first}; leave --first away, or give --first {first}."
        )
    for k in range(first, rounds + 1):
        reason = stop_reason(experiment, parameters.rounds, parameters.labeling)
        if reason:
            say(f"stopped before round {k}: {reason}")
            return
        stage, started = stage_name(k), time.perf_counter()
        commit = experiment.commit(stage)
        waiting = commit is not None and commit.state == ASKED
        run(stage, rounds=rounds, nodes=[f"{stage}.buy_labels", f"{stage}.close_round"] if waiting else None)
        say(_summary(experiment, k, time.perf_counter() - started))


def _measured(experiment: Experiment, stage: str, name: str) -> str:
    found = measured(experiment, stage)
    if not found:
        return f"{name}: nothing to measure on"
    return f"{name}: {n_training_labels(experiment, stage):,} training labels, {accuracy_words(found)}"


def _summary(experiment: Experiment, k: int, seconds: float) -> str:
    labels = read_table(experiment.path_of(stage_name(k), "labels_next"))
    bought = int(((labels["round"] == k) & (labels["annotator"] != GIVEN)).sum())  # some may have gone back unanswered
    if k == 0:
        return f"{START}: start batch of {bought:,} labels bought, {seconds:.1f} s"
    return f"{_measured(experiment, stage_name(k), stage_name(k))}; {bought:,} more bought, {seconds:.1f} s"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Kedro tells every load and save; the driver tells rounds, and why one ended. Other warnings and errors pass."""
    loggers = {
        "kedro": logging.WARNING,
        "kedro.pipeline.node": logging.CRITICAL,  # the error itself goes on to the caller
        "kedro.runner": logging.ERROR,  # advice on a part of the run, where ours is to give the same command again
        "kedro_viz": logging.ERROR,
        "rlmba_pipelines": logging.WARNING,
    }
    before = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name, level in loggers.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
