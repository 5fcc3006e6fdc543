"""MLflow: one run a committed round, in an MLflow experiment of the experiment's name. Nothing here is seen by a node.

What is tracked is read from commits, so it does not matter when: a round that the server missed is tracked after the
next one, and none twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.handoff.bundle import build
from rlmba_pipelines.handoff.facts import Facts
from rlmba_pipelines.handoff.model_of_mlflow import save_model
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import PREPARED, Commit, Experiment
from rlmba_pipelines.rounds.progress import n_training_labels, read_json
from rlmba_pipelines.rounds.systems import RL_MBA
from rlmba_pipelines.rounds.unroll import FINAL, stage_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "newest"
COMMIT_TAG, REPORT_TAG = "rlmba.commit", "rlmba.report"
FIGURES = ("learning_curve.png", "modality_accuracy.png", "modality_weights.png", "report.html")


def refuse_unready() -> None:
    """
    Raises:
        UserError: MLflow is not installed.
    """
    if find_spec("mlflow") is None:
        raise UserError(
            "tracking.mlflow is on, but MLflow is not installed; run  pip install 'rlmba_pipelines[mlops]'  or turn it "
            "off (conf/base/parameters_tracking.yml)."
        )


def track(experiment: Experiment, parameters: Parameters) -> list[str]:
    """Bring every committed round that MLflow does not know yet there; gives their stages.

    Raises:
        Exception: whatever MLflow says, of a server that is away for example.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a run does not wait minutes for a server
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    tracker = _Tracker(MlflowClient(tracking_uri=parameters.tracking.uri), experiment, parameters)
    rounds = [stage_name(k) for k in range(1, experiment.rounds_done() + 1)]
    stages = [*rounds, *([FINAL] if experiment.is_done(FINAL) else [])]
    return [stage for step, stage in enumerate(stages, start=1) if tracker.bring(stage, step)]


@dataclass
class _Tracker:
    client: MlflowClient
    experiment: Experiment
    parameters: Parameters

    def __post_init__(self) -> None:
        name = f"rlmba_pipelines/{self.experiment.name}"
        found = self.client.get_experiment_by_name(name)
        self.place = found.experiment_id if found else self.client.create_experiment(name)

    def bring(self, stage: str, step: int) -> bool:
        """Track a stage, or the report that came after it; False where all is there."""
        commit = self.experiment.commit(stage)
        assert commit is not None
        run_id = self._known(commit)
        if run_id is None:
            run_id = self._log(stage, step, commit)
        elif not self._report_is_new(stage, run_id):
            return False
        if stage == FINAL:
            self._log_report(run_id)
        return True

    def _known(self, commit: Commit) -> str | None:
        """The whole run of a commit; what a killed process left of one is deleted, the model it registered too."""
        runs = self.client.search_runs([self.place], f"tags.`{COMMIT_TAG}` = '{_name_of(commit)}'")
        for run in runs:
            if run.info.status == "FINISHED":
                return str(run.info.run_id)
            for model in self.client.search_model_versions(f"run_id = '{run.info.run_id}'"):
                self.client.delete_model_version(model.name, model.version)
            self.client.delete_run(run.info.run_id)
        return None

    def _log(self, stage: str, step: int, commit: Commit) -> str:
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        tags = {COMMIT_TAG: _name_of(commit), "rlmba.stage": stage}
        run_id = str(self.client.create_run(self.place, run_name=stage, tags=tags).info.run_id)
        numbers = [Metric(name, value, 0, at) for name, value, at in self._numbers(stage, step)]
        settings = [Param(name, value) for name, value in _flat(self.parameters.model_dump(mode="json"))]
        self.client.log_batch(run_id, metrics=numbers, params=settings)
        inputs = [
            DatasetInput(Dataset(name, digest[:36], "local", json.dumps({"sha256": digest})))
            for name, digest in self._datasets(stage)
        ]
        self.client.log_inputs(run_id, inputs)
        self.client.log_artifact(run_id, str(self.experiment.commit_path(stage)))
        if stage == FINAL and self.parameters.tracking.register_model and self.experiment.system() == RL_MBA:
            self._register(run_id, stage)
        self.client.set_terminated(run_id)
        return run_id

    def _numbers(self, stage: str, step: int) -> Iterator[tuple[str, float, int]]:
        yield "training_labels", float(n_training_labels(self.experiment, stage)), step
        for split in ("validation", "test"):
            for name, value in (read_json(self.experiment, stage, f"{split}_metrics") or {}).items():
                yield f"{split}.{name}", float(value), step
        log = read_json(self.experiment, stage, "training_log") or {}
        for epoch, loss in enumerate(log.get("train_loss", ())):
            yield "train_loss", float(loss), epoch

    def _datasets(self, stage: str) -> Iterator[tuple[str, str]]:
        """Name and sha256 of what the stage learned from."""
        before = self.experiment.rounds_done() if stage == FINAL else int(stage.removeprefix("round_")) - 1
        for owner, roles in ((PREPARED, ("samples", "features")), (stage_name(before), ("labels_next",))):
            commit = self.experiment.commit(owner)
            for role in roles if commit else ():
                assert commit is not None
                yield role, commit.digests[role if owner == PREPARED else f"{owner}.{role}"]

    def _register(self, run_id: str, stage: str) -> None:
        """The bundle as a model with a signature, a new version of the model of the experiment's name."""
        name = f"rlmba_pipelines-{self.experiment.name}"
        with tempfile.TemporaryDirectory(prefix="rlmba-mlflow-") as temporary:
            folder = Path(temporary)
            build(self.experiment, stage, str(folder / "bundle"))
            facts = Facts(**json.loads((folder / "bundle" / "bundle.json").read_text(encoding="utf-8")))
            save_model(folder / "bundle", facts, folder / "model")
            self.client.log_artifacts(run_id, str(folder / "model"), "model")
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        source = f"{self.client.get_run(run_id).info.artifact_uri}/model"
        version = self.client.create_model_version(name, source, run_id)
        self.client.set_registered_model_alias(name, ALIAS, version.version)

    def _report_is_new(self, stage: str, run_id: str) -> bool:
        if stage != FINAL or not self.experiment.report_path.exists():
            return False
        return bool(self.client.get_run(run_id).data.tags.get(REPORT_TAG) != self._report_digest())

    def _report_digest(self) -> str:
        return hashlib.sha256(self.experiment.report_path.read_bytes()).hexdigest()

    def _log_report(self, run_id: str) -> None:
        folder = self.experiment.report_path.parent
        if not self.experiment.report_path.exists():
            return
        for name in FIGURES:
            if (folder / name).exists():
                self.client.log_artifact(run_id, str(folder / name), "report")
        self.client.set_tag(run_id, REPORT_TAG, self._report_digest())


def _name_of(commit: Commit) -> str:
    return f"{commit.stage} {commit.run_id}"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as dotted names, as far as a run is shaped by them; MLflow takes 6,000 characters."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            if prefix or name not in ("report", "benchmark", "tracking"):
                yield from _flat(part, f"{prefix}{name}.")
    else:
        yield prefix.rstrip("."), str(value)[:6000]
