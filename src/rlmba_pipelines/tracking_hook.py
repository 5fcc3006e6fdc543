"""The Kedro hooks that tell MLflow and OpenLineage of rounds, where ``tracking`` says so; a run never fails for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rlmba_pipelines.config import Parameters, TrackingConfig
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.parameters import checked

if TYPE_CHECKING:
    from rlmba_pipelines.handoff.lineage_events import Reporter

log = logging.getLogger(__name__)


def tell_of_commits(experiment: Experiment, parameters: Parameters) -> None:
    """Bring what is committed, and not there yet, to MLflow, where that is on."""
    if not parameters.tracking.mlflow:
        return
    from rlmba_pipelines.handoff.tracking import track

    try:
        track(experiment, parameters)
    except Exception as error:  # a server has errors of every kind, and none is worth a paid round
        log.warning(
            "MLflow at %s did not take this round (%s); it gets it after the next one, or when you run again",
            parameters.tracking.uri,
            str(error).splitlines()[0][:200],
        )


class TrackingHook:
    """After every pipeline, what it committed is brought to MLflow; before it, ``tracking`` is checked, all of it."""

    def __init__(self) -> None:
        self._parameters = Parameters()

    @hook_impl
    def before_pipeline_run(self, catalog: CatalogProtocol) -> None:
        self._parameters = checked(catalog.load("parameters"))
        if self._parameters.tracking.mlflow:
            from rlmba_pipelines.handoff.tracking import refuse_unready

            refuse_unready()
        # not in LineageHook, which comes after RoundHooks: those lock, and uncommit what is to be prepared anew
        if self._parameters.tracking.openlineage:
            from rlmba_pipelines.handoff import lineage_events

            lineage_events.refuse_unready(self._parameters.tracking.openlineage)

    @hook_impl
    def after_pipeline_run(self) -> None:
        tell_of_commits(current.experiment, self._parameters)


class LineageHook:
    """The start of every pipeline and how it ended, to files and servers that speak OpenLineage."""

    def __init__(self) -> None:
        self._places: tuple[str, ...] = ()
        self._reporter: Reporter | None = None
        self._away: set[str] = set()  # places that were told about already

    @hook_impl(trylast=True)  # a run that is refused has not started
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        self._reporter = None
        self._places = TrackingConfig(**catalog.load("parameters").get("tracking", {})).openlineage
        if self._places:
            from rlmba_pipelines.handoff.lineage_events import Reporter, why

            try:
                self._reporter = Reporter(current.experiment, run_params, pipeline, catalog)
            except Exception as trouble:  # no run fails for it
                log.warning("OpenLineage is not told of this run (%s)", why(trouble))
            self._tell("START")

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._tell("COMPLETE")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        if self._reporter:
            from rlmba_pipelines.handoff.lineage_events import is_waiting

            waiting = is_waiting(error)
            self._tell("COMPLETE" if waiting else "FAIL", None if waiting else error)

    def _tell(self, state: str, error: Exception | None = None) -> None:
        if self._reporter is None:
            return
        from rlmba_pipelines.handoff.lineage_events import transport_to, why

        for place in self._places:
            try:
                transport_to(place, current.project_path).emit(self._reporter.event(state, error))
                self._away.discard(place)
            except Exception as trouble:  # a server has errors of every kind, and none is worth a paid round
                if place not in self._away:
                    self._away.add(place)
                    log.warning(
                        "OpenLineage at %s does not take events now (%s); the rounds go on without it",
                        place,
                        why(trouble),
                    )
