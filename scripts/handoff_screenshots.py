"""``make handoff-screenshots``: the pictures of docs/handoff.md, taken of real servers on loopback.

kedro-viz and MLflow show an experiment on the committed emoji, Label Studio a batch of ``label_studio_scene``.
Everything lies in a temporary folder, and what is started here is stopped by its process id.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from browser import NO_BROWSER, Browser, saved
from label_studio import OWNER, ROOT, Server, install, owner, session
from label_studio_scene import Commands, build_project, empty_project, photograph

MLFLOW = ROOT / ".venv-mlflow" / "bin" / "mlflow"
ROUNDS = 3


def without(browser: Browser, selector: str) -> None:
    """Hide what only covers the page."""
    style = f"<style>{selector} {{ display: none !important }}</style>"
    browser.value(f"document.head.insertAdjacentHTML('beforeend', {json.dumps(style)})")


@contextmanager
def serving(command: Sequence[str], port: int, folder: Path, **variables: str) -> Iterator[str]:
    """A server while it runs, with some environment variables of its own; gives its address."""
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT / "src"), **variables}
    if str(MLFLOW) in command:  # an environment of its own has its own packages
        del environment["PYTHONPATH"]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        for _ in range(240):
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} did not start:\n{log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise SystemExit(f"{command[0]} did not answer at {url} in two minutes:\n{log.read_text()}")
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """Below 49152: kedro-viz takes no other."""
    for port in range(18100, 19100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise SystemExit("There is no free port from 18100 to 19099.")


def kedro(project: Path, *arguments: str) -> None:
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT / "src")}
    environment["KEDRO_LOGGING_CONFIG"] = str(ROOT / "conf" / "logging.yml")
    subprocess.run([sys.executable, "-m", "kedro", *arguments], cwd=project, env=environment, check=True)


def take_mlflow_and_viz(folder: Path) -> None:
    if not MLFLOW.exists():
        raise SystemExit(f"{MLFLOW.relative_to(ROOT)} is missing; 'make e2e-mlflow' installs it.")
    project = empty_project(folder / "project", f"rounds: {{rounds: {ROUNDS}, reference: null}}\n")
    port = free_port()
    store = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    server = [str(MLFLOW), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store]
    with serving(server, port, folder) as url:
        tracking = f"tracking.mlflow=true,tracking.uri={url}"
        manifest = str(ROOT / "data" / "01_raw" / "emoji" / "manifest.csv")
        kedro(project, "rounds", "run", "--experiment", "main", "--manifest", manifest, "--params", tracking)
        take_mlflow(url, folder)
    take_viz(project, folder)


def take_mlflow(url: str, folder: Path) -> None:
    with Browser(1600, 900) as browser:
        browser.open(f"{url}/#/experiments/1/runs?compareRunsMode=CHART")
        browser.until("document.body.innerText.includes('round_01') && document.body.innerText.includes('final')")
        browser.value("document.querySelector('[aria-label=Close]')?.click()")  # the assistant
        without(browser, ".modebar-container")
        browser.until("document.querySelectorAll('.js-plotly-plot').length > 4")
        time.sleep(3)
        browser.picture(folder / "mlflow.png")
    saved(folder / "mlflow.png", "handoff_mlflow")


def take_viz(project: Path, folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "kedro", "viz", "run", "--host", "127.0.0.1", "--port", str(port), "--no-browser"]
    with serving(command, port, project, RLMBA_ROUNDS=str(ROUNDS)) as url, Browser(1600, 1100) as browser:
        browser.open(f"{url}/?pid=__default__&types=nodes")
        browser.until("document.querySelectorAll('.pipeline-node').length > 5", 120)
        browser.value("document.querySelector('[aria-label*=\"light theme\"]')?.click()")
        without(browser, "[class*=feature-hints], [class*=update-reminder]")
        time.sleep(5)
        browser.picture(folder / "viz.png")
    saved(folder / "viz.png", "handoff_kedro_viz")


def take_label_studio(folder: Path) -> None:
    install()
    with Server(folder / "server") as server:
        truth = build_project(folder, server.url)
        commands = Commands(folder)
        commands("run", "--annotator", "files", "--manifest", str(commands.manifest))
        batch = pd.read_parquet(commands.experiment.path_of("round_00", "annotation_batch"))
        answers = pd.DataFrame({"sample_id": batch["sample_id"], "label": batch["sample_id"].map(truth)})
        answers.to_csv(folder / "answers.csv", index=False)
        for name in ("ann", "bob"):
            commands("import", str(folder / "answers.csv"), "--by", name)
        commands("push")
        with owner(server.url) as client:
            projects = client.get("/api/projects", params={"page_size": 100}).raise_for_status().json()["results"]
            project = next(p["id"] for p in projects if "image+audio+text" in p["title"])
            query: dict[str, str | int] = {"project": project, "fields": "all"}
            tasks = client.get("/api/tasks", params=query).raise_for_status().json()["tasks"]
        task = next(t for t in tasks if t["predictions"])
        person = session(server.url, OWNER)
        photograph(server.url, dict(person.cookies), project, task, folder / "label_studio.png")
    saved(folder / "label_studio.png", "handoff_label_studio")


def main() -> None:
    if not Browser.program():
        raise SystemExit(NO_BROWSER)
    with tempfile.TemporaryDirectory() as temporary:
        for take in (take_mlflow_and_viz, take_label_studio):
            folder = Path(temporary).resolve() / take.__name__
            folder.mkdir()
            take(folder)


if __name__ == "__main__":
    main()
