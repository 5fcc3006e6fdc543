"""OpenLineage: what a pipeline run read and made, as events for a catalog of lineage. Nothing here is seen by a node.

A run of a pipeline (a round) is a run of the job ``<experiment>.<pipeline>``, below the one run of the job
``<experiment>`` that there is in a namespace, whichever machine runs the round. What a dataset is, its commit says: the
version of each is its sha256.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rlmba_pipelines.datasets import PathDataset
from rlmba_pipelines.labeling import WaitingForLabels
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import PREPARED, Commit, Experiment

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent
    from openlineage.client.transport.transport import Transport

PRODUCER = "urn:rlmba-pipelines:kedro-hook"
SERVERS = ("http://", "https://")
TOKEN = "OPENLINEAGE_API_KEY"


def refuse_unready(places: Iterable[str]) -> None:
    """
    Raises:
        UserError: openlineage-python is not installed, or an address is of another kind.
    """
    places = tuple(places)
    if places and (find_spec("openlineage") is None or find_spec("openlineage.client") is None):
        raise UserError(
            "tracking.openlineage is on, but openlineage-python is not installed; run  pip install "
            "'rlmba_pipelines[mlops]'  or turn it off (conf/base/parameters_tracking.yml)."
        )
    for place in places:
        if "://" in place and not place.startswith(SERVERS):
            raise UserError(f"tracking.openlineage: {place!r} is neither an http(s) address nor a path of a file.")


class Reporter:
    """Events of one pipeline run to files and servers."""

    def __init__(
        self, experiment: Experiment, run: Mapping[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """
        Args:
            run: what Kedro's hooks get as ``run_params``.
        """
        self._experiment, self._pipeline, self._catalog = experiment, pipeline, catalog
        names = "+".join(run.get("pipeline_names") or ["__default__"])
        self._namespace = os.environ.get("OPENLINEAGE_NAMESPACE", "rlmba_pipelines")
        self._job = f"{experiment.name}.{names}"
        tied = uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER} {self._namespace} {experiment.name}")
        self._experiment_id = str(tied)  # the same on every machine that runs rounds of it
        attempt = f"{socket.gethostname()} {experiment.folder.resolve()} {run.get('run_id') or run.get('session_id')}"
        self._run_id = str(uuid.uuid5(tied, f"{attempt} {names}"))
        self._commits: dict[str, Commit | None] = {}

    def event(self, state: str, error: Exception | None = None) -> RunEvent:
        """What there is to tell: inputs always, outputs of a run that is complete, the error of one that failed.

        What a failed run had committed before the error stays, and the next run tells it as its input. A round that
        now waits for people is complete: that it asks is committed, and to go on is another run.
        """
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run

        self._commits.clear()
        parent = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=self._experiment_id),
            job=parent_run.Job(namespace=self._namespace, name=self._experiment.name),
        )
        facets: dict[str, Any] = {"parent": parent}
        if error is not None:
            words = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(words, "PYTHON")
        kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="KEDRO", jobType="PIPELINE")
        return RunEvent(
            eventType=RunState[state],
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(self._run_id, facets=facets),
            job=Job(self._namespace, self._job, facets={"jobType": kind}),
            producer=PRODUCER,
            inputs=self._inputs(),
            outputs=self._outputs() if state == "COMPLETE" else [],
        )

    def _inputs(self) -> list[InputDataset]:
        from openlineage.client.event_v2 import InputDataset

        names = [n for n in self._pipeline.inputs() if n != "parameters" and not n.startswith("params:")]
        return [InputDataset(*self._named(name), facets=self._facets(name)) for name in sorted(names)]

    def _outputs(self) -> list[OutputDataset]:
        """What is committed; of stages that have no commit, the report, what is there."""
        from openlineage.client.event_v2 import OutputDataset

        made = []
        for name in sorted(self._pipeline.all_outputs()):
            commit = self._commit_of(name)
            if name in commit.digests if commit else name in self._catalog and self._catalog.exists(name):
                made.append(OutputDataset(*self._named(name), facets=self._facets(name)))
        return made

    def _named(self, name: str) -> tuple[str, str]:
        """Namespace and name: what people brought is a file, what a round made is of its experiment."""
        dataset = self._catalog[name]
        if isinstance(dataset, PathDataset):
            return "file", dataset.load().resolve().as_posix()
        return self._namespace, f"{self._experiment.name}.{name}"

    def _facets(self, name: str) -> dict[str, Any]:
        from openlineage.client.facet_v2 import dataset_version_dataset

        commit = self._commit_of(name)
        if commit is None or name not in commit.digests:
            return {}
        return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(f"sha256:{commit.digests[name]}")}

    def _commit_of(self, name: str) -> Commit | None:
        stage = name.partition(".")[0] if "." in name else PREPARED
        if stage not in self._commits:
            self._commits[stage] = self._experiment.commit(stage)
        commit = self._commits[stage]
        return commit if stage != PREPARED or (commit and name in commit.digests) else None


def transport_to(place: str, project_path: Path) -> Transport:
    """The way to a server (a token comes from the environment), or to a file of JSON Lines.

    A server is asked once: a round does not wait for one that is away.
    """
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

    if place.startswith(SERVERS):
        token = os.environ.get(TOKEN)
        auth = ApiKeyTokenProvider({"api_key": token}) if token else TokenProvider({})
        return HttpTransport(HttpConfig(url=place, timeout=5.0, auth=auth, retry={"total": 0}))
    path = project_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileTransport(FileConfig(log_file_path=str(path), append=True))


def why(error: Exception) -> str:
    """In a few words, and never what was sent, why an event was not taken."""
    answer = getattr(error, "response", None)
    return f"HTTP {answer.status_code}" if answer is not None else type(error.__cause__ or error).__name__


def is_waiting(error: BaseException | None) -> bool:
    """Whether a run ended only because people are asked."""
    while error is not None and not isinstance(error, WaitingForLabels):
        error = error.__cause__ or error.__context__
    return error is not None
