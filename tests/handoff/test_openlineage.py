"""OpenLineage hears of every pipeline run, by the published schema, and no run fails for it."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from referencing import Registry, Resource

from conftest import ROOT, SMALL, Project
from rlmba_pipelines.handoff import lineage_events
from rlmba_pipelines.rounds.addresses import holds_secret
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.tracking_hook import LineageHook

SPEC = {  # of github.com/OpenLineage/OpenLineage, Apache License 2.0
    schema["$id"]: schema
    for path in (Path(__file__).parent / "openlineage_spec").glob("*.json")
    for schema in [json.loads(path.read_text())]
}
REGISTRY: Registry = Registry().with_resources((at, Resource.from_contents(found)) for at, found in SPEC.items())
TOKEN = "a-token-that-nobody-may-see"


def check(schema: str, value: Any) -> None:
    Draft202012Validator({"$ref": schema}, registry=REGISTRY, format_checker=FormatChecker()).validate(value)


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """An event that is what its schema and those of its facets say."""
    assert event["schemaURL"].partition("#")[0] in SPEC
    check(event["schemaURL"], event)
    assert re.fullmatch(r"urn:[a-z][a-z0-9-]{1,31}:[a-z-]+", event["producer"]), "RFC 8141"
    for owner in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for name, facet in owner.get("facets", {}).items():
            base = facet["_schemaURL"].partition("#")[0]
            check(base, {name: facet})
            check(facet["_schemaURL"], facet)
    return event


def switch_on(project: Project, *places: str) -> None:
    text = json.dumps({"tracking": {"openlineage": places}})
    (project.path / "conf/local/parameters_tracking.yml").write_text(text)


class Server(HTTPServer):
    """Takes events and remembers what came."""

    def __init__(self, status: int = 201) -> None:
        self.status, self.came = status, list[tuple[str, str, dict[str, Any]]]()
        super().__init__(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answering(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_rounds_are_told_to_a_file_and_a_server_by_the_schema(
    project: Project, media: Callable[..., Path], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", TOKEN)
    switch_on(project, "build/lineage/events.jsonl", server.url)
    manifest = media(60)
    run = ("rounds", "run", "--experiment", "a", "--strategy", "random", "--manifest", str(manifest), *SMALL)
    project.ok(*run, "--rounds", "1")
    file = project.path / "build/lineage/events.jsonl"
    events = [checked(json.loads(line)) for line in file.read_text().splitlines()]
    assert [(path, bearer) for path, bearer, _ in server.came] == [("/api/v1/lineage", f"Bearer {TOKEN}")] * len(events)
    sent = [event for _, _, event in server.came]
    untimed = [{**event, "eventTime": ""} for event in events]
    assert untimed == [{**event, "eventTime": ""} for event in sent]

    jobs = ["a.ingest+feature_extraction", "a.round_00", "a.round_01", "a.final", "a.report"]
    told = [(event["job"]["name"], event["eventType"]) for event in events]
    assert told == [(job, state) for job in jobs for state in ("START", "COMPLETE")]
    ids = [event["run"]["runId"] for event in events]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == len(jobs)
    parents = {json.dumps(event["run"]["facets"]["parent"], sort_keys=True) for event in events}
    assert len(parents) == 1, "one parent ties the rounds of an experiment"
    assert json.loads(parents.pop())["job"] == {"namespace": "rlmba_pipelines", "name": "a", "facets": {}}

    experiment = Experiment.of(project.path, "a")
    first, second = experiment.commit("round_00"), experiment.commit("round_01")
    assert first is not None
    assert second is not None
    ended = events[5]
    outputs = {d["name"]: d["facets"]["version"]["datasetVersion"] for d in ended["outputs"]}
    assert outputs == {f"a.{name}": f"sha256:{digest}" for name, digest in second.digests.items()}
    inputs = {d["name"]: d.get("facets", {}) for d in ended["inputs"]}
    carried = inputs["a.round_00.labels_next"]["version"]["datasetVersion"]
    assert carried == f"sha256:{first.digests['round_00.labels_next']}"
    assert {"namespace": "file", "name": str(manifest)} in [
        {"namespace": d["namespace"], "name": d["name"]} for d in events[0]["inputs"]
    ]
    assert "a.report" in {d["name"] for d in events[-1]["outputs"]}
    assert not any(event["outputs"] for event in events if event["eventType"] == "START")


def test_a_failed_attempt_and_the_next_are_two_runs_of_one_job_and_waiting_is_no_failure(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlmba_pipelines.pipelines.policy_selection import nodes

    def torn(*_: object, **__: object) -> None:
        raise OSError("disk gone")

    switch_on(project, "events.jsonl")
    manifest = media(60, labeled=False, split=False)
    run = ("rounds", "run", "--experiment", "a", "--manifest", str(manifest), *SMALL, "--annotator", "files")
    project.ok(*run)
    with monkeypatch.context() as patch:
        patch.setattr(nodes, "resolve", torn)
        patch.setattr(socket, "gethostname", lambda: "another-worker")
        assert project("rounds", "run", "--experiment", "a").exit_code != 0
    project.ok("rounds", "run", "--experiment", "a")
    events = [checked(json.loads(line)) for line in (project.path / "events.jsonl").read_text().splitlines()]
    bought = [event for event in events if event["job"]["name"] == "a.round_00"]
    assert [event["eventType"] for event in bought] == ["START", "COMPLETE", "START", "FAIL", "START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in bought}) == 3
    assert len({event["run"]["facets"]["parent"]["run"]["runId"] for event in events}) == 1, "whoever runs the rounds"
    assert "a.round_00.annotation_batch" in {d["name"] for d in bought[1]["outputs"]}
    assert "disk gone" in bought[3]["run"]["facets"]["errorMessage"]["message"]
    assert bought[3]["outputs"] == []


def test_a_server_that_takes_nothing_costs_one_warning_and_no_round(
    project: Project,
    media: Callable[..., Path],
    server: Server,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", TOKEN)
    run = ("rounds", "run", "--experiment", "a", "--manifest", str(media(60)), *SMALL)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        server.status, away = 401, f"http://127.0.0.1:{taken.getsockname()[1]}"
        switch_on(project, server.url, away)
        with caplog.at_level(logging.DEBUG):
            project.ok(*run, "--last", "0", "--scheduled")
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and "OpenLineage" in r.getMessage()]
    assert len(server.came) == 4, "two runs, each start and end"
    assert [(server.url in line, "HTTP 401" in line) for line in told] == [(True, True), (False, False)]
    assert away in told[1]
    assert "ConnectionError" in told[1]
    assert TOKEN not in caplog.text
    assert Experiment.of(project.path, "a").rounds_done() == 0
    held = (path for path in project.path.rglob("*") if path.is_file())
    assert not any(TOKEN.encode() in path.read_bytes() for path in held)


def test_off_needs_no_library_and_on_says_what_is_wrong(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("rounds", "run", "--experiment", "a", "--manifest", str(media(60)), *SMALL, "--last", "0", "--scheduled")
    for address in ("kafka://me:secret@lineage.example", "https://lineage.example?api_key=secret"):
        switch_on(project, address)
        said = project.refused(*run)
        assert "OPENLINEAGE_API_KEY" in said
        assert "secret" not in said
    switch_on(project, "s3://bucket/events")
    assert "neither an http(s) address nor a path" in project.refused(*run)
    monkeypatch.setitem(sys.modules, "openlineage", None)
    assert "pip install 'rlmba_pipelines[mlops]'" in project.refused(*run)
    switch_on(project)
    project.ok(*run)


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("https://lineage.example:5000/api/v1", False),
        ("https://secret@lineage.example", True),
        ("https://me:se/cret@lineage.example", True),
        ("https://lineage.example/#secret", True),
        ("postgresql:///runs?password=secret", True),
        ("sqlite:////home/me@work/c#/mlflow.db", False),
        ("data/me@work/events#1.jsonl", False),
    ],
)
def test_an_address_that_may_be_told_has_no_place_for_a_secret(address: str, holds: bool) -> None:
    assert holds_secret(address) is holds


def test_no_run_fails_for_an_event_that_cannot_be_made(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(*_: object) -> None:
        raise OSError("a-token-that-nobody-may-see")

    monkeypatch.setattr(lineage_events, "Reporter", torn)
    monkeypatch.setattr(current, "experiment_name", "a")
    hook = LineageHook()
    catalog = DataCatalog({"parameters": MemoryDataset({"tracking": {"openlineage": ["events.jsonl"]}})})
    hook.before_pipeline_run({}, Pipeline([]), catalog)
    hook.after_pipeline_run()
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert told == ["OpenLineage is not told of this run (OSError)"]


def test_nothing_that_a_node_imports_knows_of_openlineage() -> None:
    package = ROOT / "src" / "rlmba_pipelines"
    texts = {path: path.read_text(encoding="utf-8").lower() for path in package.rglob("*.py")}
    knowing = {str(path.relative_to(package)) for path, text in texts.items() if "openlineage" in text}
    assert knowing == {"config/__init__.py", "handoff/lineage_events.py", "rounds/addresses.py", "tracking_hook.py"}
