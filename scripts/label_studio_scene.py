"""What the story of ``make e2e-label-studio`` is played with: an unlabeled project, commands, people, a waiting run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from PIL import Image, ImageDraw

from browser import Browser
from durability import bare_project
from label_studio import LEGACY, ROOT, Person, Server
from rlmba_pipelines.ledger import ABSTAINED, Ledger
from rlmba_pipelines.rounds.commits import Experiment

NAME = "e2e"
START, QUERY, ROUNDS = 14, 10, 2
COLORS = {"fire": (220, 60, 30), "leaf": (40, 170, 60), "sky": (60, 110, 220), "stone": (128, 128, 128)}
WORDS = {"fire": "flame ember", "leaf": "branch grass", "sky": "cloud wind", "stone": "rock gravel"}


def until(true: Any, seconds: float, what: str) -> None:
    """Wait until ``true()`` is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not in {seconds:g} s"
        time.sleep(0.2)


def empty_project(folder: Path, parameters: str) -> Path:
    """A project with the folders of its data and some parameters of its own."""
    project = bare_project(folder, parameters)
    for layer in sorted(path.name for path in (ROOT / "data").iterdir()):
        (project / "data" / layer).mkdir(parents=True)
    return project


def build_project(folder: Path, url: str, n: int = 90) -> dict[str, str]:
    """A project whose pool nobody has labeled: picture and text, most with a sound. Gives what people would say."""
    rng, media = np.random.default_rng(0), folder / "media"
    media.mkdir(parents=True)
    empty_project(
        folder / "project",
        "encoders: {image: tiny, text: tiny, audio: tiny, workers: 1}\n"
        "ingest: {workers: 1}\n"
        "fusion: {epochs: 2, min_steps: 20}\n"
        f"rounds: {{rounds: {ROUNDS}, start_size: {START}, query_size: {QUERY}, reference: null}}\n"
        "labeling: {annotators: 2}\n"
        f"label_studio: {{url: '{url}', poll_seconds: 0.5, max_poll_seconds: 2.0}}\n",
    )
    rows, truth = [], {}
    for i in range(n):
        label = list(COLORS)[i % 4]
        picture = Image.new("RGB", (320, 240), COLORS[label])
        corner = rng.integers(0, 160, 2)
        ImageDraw.Draw(picture).ellipse([*corner, *(corner + 80)], fill=(250, 250, 240))
        picture.save(media / f"{i}.png")
        seconds = np.arange(16000) / 16000
        wave = 0.3 * np.sin(2 * np.pi * (220 + 160 * (i % 4)) * seconds) * np.exp(-2 * seconds)
        soundfile.write(media / f"{i}.wav", (wave + rng.normal(0, 0.02, len(wave))).astype(np.float32), 16000)
        text = f"{rng.choice(WORDS[label].split())}, take {rng.integers(9)}"
        rows.append((f"s{i:04d}", f"{i}.png", text, f"{i}.wav" if i % 5 else ""))
        truth[rows[-1][0]] = label
    table = pd.DataFrame(rows, columns=["sample_id", "image", "text", "audio"])
    table.to_csv(media / "manifest.csv", index=False)
    return truth


def photograph(url: str, cookies: Mapping[str, str], project: int, task: dict[str, Any], picture: Path) -> str:
    """The labeling page of a task, once image, sound, text, heading and guess are on it; gives the guess."""
    guess = str(task["predictions"][0]["result"][0]["value"]["choices"][0])
    with Browser() as browser:
        browser.cookies(url, cookies)
        browser.open(f"{url}/projects/{project}/data?task={task['id']}&labeling=1")
        browser.until("[...document.images].some(i => i.naturalWidth == 320)")
        browser.until("[...document.querySelectorAll('audio')].some(a => a.duration > 0.9)")
        browser.until(f"document.body.innerText.includes({task['data']['text']!r})")
        browser.until(f"document.body.innerText.includes({task['data']['heading']!r})")
        marked = "[...document.querySelectorAll('input:checked')].map(i => i.closest('label').innerText).join()"
        browser.until(f"({marked}).includes({guess!r})")
        time.sleep(2)  # the wave is drawn
        browser.picture(picture)
    return guess


class Commands:
    """``kedro rounds …`` in the project, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.project, self.manifest = folder / "project", folder / "media" / "manifest.csv"
        self.experiment = Experiment.of(self.project, NAME)
        self.token = LEGACY

    def start(self, *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, "LABEL_STUDIO_API_KEY": self.token, "PYTHONUNBUFFERED": "1", "DO_NOT_TRACK": "1"}
        environment |= {"PYTHONPATH": str(ROOT / "src"), "KEDRO_LOGGING_CONFIG": str(ROOT / "conf" / "logging.yml")}
        out: Any = log.open("w") if log else subprocess.PIPE
        command = [sys.executable, "-m", "kedro", "rounds", *arguments, "--experiment", NAME]
        return subprocess.Popen(
            command, cwd=self.project, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True
        )

    def tried(self, *arguments: str) -> tuple[str, int]:
        """What a command prints, and its exit code."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=300)
        assert self.token not in output
        assert "Traceback" not in output, output
        return output, process.returncode

    def __call__(self, *arguments: str) -> str:
        output, code = self.tried(*arguments)
        assert code == 0, f"{arguments}: exit {code}\n{output}"
        return output

    def ledger(self) -> pd.DataFrame:
        with Ledger(self.experiment.ledger_path) as ledger:
            return ledger.rows()


class Scene:
    """The people, what the server acknowledged of what they said, and the run that waits for them."""

    def __init__(self, folder: Path, server: Server, truth: dict[str, str]) -> None:
        self.folder, self.server, self._truth = folder, server, truth
        self.commands = Commands(folder)
        self.people = {name: Person(server.url, f"{name}@example.com") for name in ("ann", "bob", "cat")}
        self.said: dict[tuple[str, str], str] = {}  # sample, person -> what the ledger has to hold in the end
        self._runs: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> None:
        """Start the run that sends, waits and goes on."""
        run = self.commands.start("run", "--annotator", "label_studio", *options, log=self._log(len(self._runs)))
        self._runs.append(run)

    def close(self) -> None:
        """Stop the run, if one is there."""
        for run in self._runs:
            if run.poll() is None:
                run.kill()
                run.wait()

    def _log(self, number: int | None = None) -> Path:
        return self.folder / f"run-{len(self._runs) - 1 if number is None else number}.log"

    def stop(self, how: signal.Signals) -> int:
        self._runs[-1].send_signal(how)
        return self._runs[-1].wait(60)

    def ended(self, code: int = 0) -> str:
        """Wait for the run; what it printed."""
        found = self._runs[-1].wait(300)
        assert found == code, f"exit {found}\n{self._log().read_text()}"
        return self._log().read_text()

    def gave_up(self) -> bool:
        """Whether the run ended because the server was away for too long; False once it has sent the batch."""
        run, log = self._runs[-1], self._log()
        until(lambda: run.poll() is not None or "waiting for answers" in log.read_text(), 120, "the batch sent")
        if self._runs[-1].poll() is None:
            return False
        assert "give the same command again" in self.ended(2) or "cannot be asked now" in self.ended(2)
        return True

    def printed(self, words: str) -> None:
        """Wait until the run has told something."""
        log = self._log()
        until(lambda: words in log.read_text() or self._runs[-1].poll() is not None, 120, f"{words!r} in {log}")
        assert words in log.read_text(), f"{words!r} was never told\n{log.read_text()}"

    def patiently(self, *arguments: str) -> str:
        """A command beside the run, again while that holds the experiment."""
        for _ in range(5):
            output, code = self.commands.tried(*arguments)
            if code != 2 or "is being run by" not in output:
                break
        assert code == 0, output
        return output

    def projects(self, k: int) -> list[dict[str, Any]]:
        """The projects of a round, whole or not."""
        return self.people["ann"].projects(f"{NAME} round {k} ")

    def tasks(self, k: int) -> list[dict[str, Any]]:
        """The tasks of a round that people can answer, best first."""
        whole = [project["id"] for project in self.projects(k) if "$heading" in project["label_config"]]
        found = [task for project in whole for task in self.people["ann"].tasks(project)]
        return sorted(found, key=lambda task: int(task["data"]["rank"]))

    def batch(self, k: int, n: int) -> list[dict[str, Any]]:
        """The tasks of a round, once all ``n`` are there."""
        until(lambda: len(self.tasks(k)) >= n, 180, f"{n} tasks of round {k}")
        tasks = self.tasks(k)
        assert len({task["data"]["key"] for task in tasks}) == len(tasks) == n
        return tasks

    def says(
        self, name: str, task: dict[str, Any], label: str | None, *, typed: bool = False, counts: bool = True
    ) -> int:
        """Somebody answers, or skips (None)."""
        status = self.people[name].answer(task, label, typed=typed)
        if counts:
            self.said[task["data"]["sample_id"], self.people[name].email] = label or ABSTAINED
        return status

    def both_say(self, task: dict[str, Any], label: str, *, typed: bool = False) -> None:
        for name in ("ann", "bob"):
            self.says(name, task, label, typed=typed)

    def label_stream(self, name: str, k: int, skips: int = 0) -> list[list[int]]:
        """Somebody answers what the server shows next until it shows nothing more, and skips the first ones.

        Returns:
            The ranks of the tasks in the order shown, by project.
        """
        shown: list[list[int]] = []
        for project in self.projects(k):
            shown.append([])
            by_id = {task["id"]: task for task in self.people[name].tasks(project["id"])}
            while (number := self.people[name].next_task(project["id"])) is not None:
                assert len(shown[-1]) < len(by_id), f"{name} is shown a task twice"
                task = by_id[number]
                self.says(name, task, None if skips > 0 else self.right(task))
                skips -= 1
                shown[-1].append(int(task["data"]["rank"]))
        return shown

    def person_changes(self, name: str, k: int, task: dict[str, Any], before: str, label: str) -> None:
        """Somebody edits an answer."""
        self.people[name].change(self._annotation(k, task, before), task, label)
        self.said[task["data"]["sample_id"], self.people[name].email] = label

    def person_takes_back(self, name: str, k: int, task: dict[str, Any], label: str) -> None:
        self.people[name].take_back(self._annotation(k, task, label))

    def _annotation(self, k: int, task: dict[str, Any], label: str) -> int:
        now = next(t for t in self.tasks(k) if t["id"] == task["id"])
        return next(int(said["id"]) for said in now["annotations"] if label in str(said["result"]))

    def right(self, task: dict[str, Any]) -> str:
        return self._truth[task["data"]["sample_id"]]

    def wrong(self, task: dict[str, Any]) -> str:
        return next(label for label in COLORS if label != self.right(task))
