"""MLflow is told of every committed round once, and a run never fails for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from conftest import ROOT, SMALL, Project
from rlmba_pipelines.handoff import bundle
from rlmba_pipelines.models.export import Exported
from rlmba_pipelines.rounds.commits import Experiment

ON = "tracking: {{mlflow: true, uri: '{uri}', register_model: {register}}}"


def switch_on(project: Project, uri: str, register: bool = False) -> None:
    text = ON.format(uri=uri, register=str(register).lower())
    (project.path / "conf/local/parameters_tracking.yml").write_text(text)


def runs_of(uri: str, experiment: str) -> dict[str, list]:
    """The runs by their names."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name(f"rlmba_pipelines/{experiment}")
    assert place is not None
    found: dict[str, list] = {}
    for run in client.search_runs([place.experiment_id]):
        found.setdefault(run.info.run_name, []).append(run)
    return found


def test_every_round_is_one_run_with_its_figures_and_none_is_told_twice(
    project: Project, media: Callable[..., Path]
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{project.path / 'mlflow.db'}"
    switch_on(project, uri)
    run = ("rounds", "run", "--experiment", "a", "--strategy", "random")
    project.ok(*run, "--manifest", str(media(60)), *SMALL)
    experiment, found = Experiment.of(project.path, "a"), runs_of(uri, "a")
    assert {name: len(runs) for name, runs in found.items()} == {"round_01": 1, "round_02": 1, "final": 1}
    for stage, (told,) in found.items():
        metrics = json.loads(experiment.path_of(stage, "test_metrics").read_text())
        assert told.data.metrics["test.accuracy"] == metrics["accuracy"]
        assert told.data.params["rounds.strategy"] == "random"
        assert told.info.status == "FINISHED"
    second = found["round_02"][0]
    before = experiment.commit("round_01")
    assert before is not None
    digests = {i.dataset.name: i.dataset.digest for i in second.inputs.dataset_inputs}
    assert before.digests["round_01.labels_next"].startswith(digests["labels_next"])
    assert second.data.metrics["training_labels"] == 20
    client = MlflowClient(tracking_uri=uri)
    steps = client.get_metric_history(second.info.run_id, "train_loss")
    log = json.loads(experiment.path_of("round_02", "training_log").read_text())
    assert [m.value for m in sorted(steps, key=lambda m: m.step)] == log["train_loss"]
    report = {a.path for a in client.list_artifacts(found["final"][0].info.run_id, "report")}
    assert {"report/report.html", "report/learning_curve.png"} <= report
    torn = client.create_run(second.info.experiment_id, tags=second.data.tags)  # of a killed process
    client.delete_run(second.info.run_id)
    project.ok(*run, "--rounds", "3")
    after = {name: len(runs) for name, runs in runs_of(uri, "a").items()}
    assert after == {"round_01": 1, "round_02": 1, "round_03": 1, "final": 2}
    assert client.get_run(torn.info.run_id).info.lifecycle_stage == "deleted"


def test_a_server_that_is_away_costs_a_warning_and_gets_everything_later(
    project: Project, media: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        switch_on(project, f"http://127.0.0.1:{taken.getsockname()[1]}")
        with caplog.at_level(logging.WARNING, "rlmba_pipelines"), pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            project.ok("rounds", "run", "--experiment", "a", "--manifest", str(media(60)), *SMALL, "--rounds", "1")
    told = [r.getMessage() for r in caplog.records if "did not take this round" in r.getMessage()]
    assert told
    assert project.selections("a", 1)[1]
    uri = f"sqlite:///{project.path / 'mlflow.db'}"
    switch_on(project, uri)
    project.ok("rounds", "run", "--experiment", "a", "--rounds", "2")
    assert {"round_01", "round_02", "final"} == set(runs_of(uri, "a"))


def test_a_connection_that_is_cut_leaves_one_model_and_the_next_call_ends_its_run(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(bundle, "export_model", lambda *_: Exported(b"-", b"-", {"pt2": 0.0, "onnx": 0.0}))
    monkeypatch.setattr(bundle, "write_sbom", lambda path: path.write_text("{}"))
    uri = f"sqlite:///{project.path / 'mlflow.db'}"
    switch_on(project, uri, register=True)
    run, client = ("rounds", "run", "--experiment", "a", "--strategy", "random"), MlflowClient(tracking_uri=uri)

    def cut(self: MlflowClient, run_id: str) -> None:
        raise ConnectionError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", cut)
        project.ok(*run, "--manifest", str(media(60)), *SMALL)
    assert "all 2 rounds are done already" in project.ok(*run)
    (final,) = runs_of(uri, "a")["final"]
    assert final.info.status == "FINISHED"
    (version,) = client.search_model_versions("name = 'rlmba_pipelines-a'")
    assert version.run_id == final.info.run_id
    assert client.get_model_version_by_alias("rlmba_pipelines-a", "newest").version == version.version


def test_off_needs_no_mlflow_and_on_says_what_is_missing(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    run = ("rounds", "run", "--experiment", "a", "--manifest", str(media(60)), *SMALL, "--rounds", "1")
    switch_on(project, "sqlite:///x.db")
    assert "pip install 'rlmba_pipelines[mlops]'" in project.refused(*run)
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    sys.modules["mlflow"].__spec__ = ModuleSpec("mlflow", None)
    for address in ("https://me:secret@mlflow.example", "https://mlflow.example?api_key=secret"):
        switch_on(project, address)
        said = project.refused(*run)
        assert "MLFLOW_TRACKING_PASSWORD" in said
        assert "secret" not in said
    monkeypatch.setitem(sys.modules, "mlflow", None)
    (project.path / "conf/local/parameters_tracking.yml").unlink()
    project.ok(*run)


def test_nothing_that_a_node_imports_knows_of_mlflow() -> None:
    package = ROOT / "src" / "rlmba_pipelines"
    knowing = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if "mlflow" in path.read_text(encoding="utf-8")
    }
    assert knowing == {
        "config/__init__.py", "handoff/model_of_mlflow.py", "handoff/tracking.py", "tracking_hook.py",
    }  # fmt: skip


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A real MLflow server on loopback, from an environment of its own."""
    executable = Path(os.environ.get("RLMBA_MLFLOW", ROOT / ".venv-mlflow" / "bin" / "mlflow"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "server.log").open("w") as log:
        command = [str(executable), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/store"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            for _ in range(240):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                    break
                time.sleep(0.5)
            else:
                raise AssertionError((folder / "server.log").read_text())
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(20)


@pytest.mark.mlflow
def test_a_real_server_gets_runs_report_and_a_model_that_predicts(
    project: Project, media: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow import MlflowClient

    from rlmba_pipelines.handoff.scoring import score

    manifest = media(60)
    with server(tmp_path) as uri:
        switch_on(project, uri, register=True)
        project.ok("rounds", "run", "--experiment", "a", "--manifest", str(manifest), *SMALL)
        assert {"round_01", "round_02", "final"} == set(runs_of(uri, "a"))
        client = MlflowClient(tracking_uri=uri)
        version = client.get_model_version_by_alias("rlmba_pipelines-a", "newest")
        assert version.run_id == runs_of(uri, "a")["final"][0].info.run_id
        monkeypatch.chdir(manifest.parent)
        mlflow.set_tracking_uri(uri)
        model = mlflow.pyfunc.load_model("models:/rlmba_pipelines-a@newest")
        assert [c.name for c in model.metadata.signature.inputs] == ["sample_id", "image", "text"]
        rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)[["sample_id", "image", "text"]].head(9)
        found = model.predict(rows.iloc[::-1])
        project.ok("rounds", "bundle", "--experiment", "a", "--to", str(tmp_path / "bundle"))
        rows.to_csv("nine.csv", index=False)
        expected = score(tmp_path / "bundle", Path("nine.csv"), progress=False).table
        pd.testing.assert_frame_equal(found.iloc[::-1].reset_index(drop=True), expected)
