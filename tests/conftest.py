"""Fixtures: small real media, and a Kedro project of its own for every test that runs one."""

from __future__ import annotations

import copy
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from traceback import walk_stack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import dynaconf.loaders.py_loader as settings_loader
import dynaconf.utils.files as settings_files
import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from markupsafe import Markup
from PIL import Image

if TYPE_CHECKING:
    from label_studio_place import Place

ROOT = Path(__file__).resolve().parents[1]
COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "gray": (128, 128, 128)}
WORDS = {"red": "fire rose", "green": "grass leaf", "blue": "sky sea", "gray": "stone fog"}


def pytest_configure() -> None:
    """What makes tests faster and changes nothing that they test.

    They write to memory where there is room: every commit is synced, which on a slow disk is half of their time. And
    Kedro's settings ask for the files of the call stack, and get lines of source too: 0.2 s a project under pytest.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
    for module in (settings_files, settings_loader):
        module.inspect = SimpleNamespace(stack=_files_of_the_stack)


def _files_of_the_stack() -> list[SimpleNamespace]:
    return [SimpleNamespace(filename=frame.f_code.co_filename) for frame, _ in walk_stack(None)]


@contextmanager
def standing_project(folder: Path) -> Iterator[Project]:
    """A project in the working directory ``folder``, for all tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("KEDRO_LOGGING_CONFIG", str(ROOT / "conf" / "logging.yml"))
        (folder / "project").mkdir()
        yield Project(folder / "project")


@contextmanager
def waiting_project(folder: Path, n: int, *sizes: str) -> Iterator[Project]:
    """A standing project whose experiment ``a``, over ``n`` samples without labels, waits for its start batch."""
    with standing_project(folder) as project:
        manifest = write_media(folder / "media", n, ("image", "text"), labeled=False, split=False)
        project.ok("rounds", "run", "--manifest", str(manifest), *sizes, "--rounds", "1", "--experiment", "a")
        yield project


def write_media(
    folder: Path, n: int, modalities: Sequence[str], *, labeled: bool = True, split: bool = True, seed: int = 0
) -> Path:
    """``n`` samples of four classes that every modality tells, noisily; returns the manifest."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        label = list(COLORS)[i % 4]
        row: dict[str, Any] = {"sample_id": f"s{i:04d}"}
        if "image" in modalities:
            pixels = np.clip(np.array(COLORS[label]) + rng.normal(0, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            row["image"] = f"{i}.png"
        if "text" in modalities:
            row["text"] = (
                f"{rng.choice(WORDS[label].split())} {rng.choice(['a', 'the', 'some', 'one'])} {rng.integers(9)}"
            )
        if "audio" in modalities:
            time = np.arange(4000) / 16000
            wave = np.sin(2 * np.pi * (200 + 300 * (i % 4)) * time) + rng.normal(0, 0.3, 4000)
            soundfile.write(folder / f"{i}.wav", (0.3 * wave).astype(np.float32), 16000)
            row["audio"] = f"{i}.wav"
        if "video" in modalities:
            (folder / f"{i}.mp4").write_bytes(video_of(COLORS[label], rng))
            row["video"] = f"{i}.mp4"
        if labeled:
            row["label"] = label
        if split:
            row["split"] = ("pool", "pool", "pool", "validation", "test")[(i // 4) % 5]
        rows.append(row)
    manifest = folder / "manifest.csv"
    pd.DataFrame(rows).to_csv(manifest, index=False)
    return manifest


def video_of(color: tuple[int, int, int], rng: np.random.Generator, frames: int = 6) -> bytes:
    """A short mp4 of one noisy color."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            pixels = np.clip(np.array(color) + rng.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def _frame(name: str, title: str, words: str, *_: Any) -> Any:
    from rlmba_pipelines.reporting.report import Picture

    return Picture(name, title, words, Markup(""), Markup(""))


class Project:
    """A copy of the project's configuration with data of its own.

    The encoders are tiny, no reference is simulated beside a run, and the report has frames without pictures in them,
    which take longer than the rounds of a test; who tests pictures asks for them (``drawn``).
    """

    drawn = False

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("conf", "pyproject.toml", ".telemetry"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, path / name)
        (path / "src").mkdir()
        for layer in sorted((ROOT / "data").iterdir()):
            (path / "data" / layer.name).mkdir(parents=True)
        encoders = path / "conf" / "local" / "parameters.yml"
        encoders.parent.mkdir(exist_ok=True)
        encoders.write_text(
            "encoders: {image: tiny, text: tiny, audio: tiny, video: tiny, workers: 1}\n"
            "ingest: {workers: 1}\n"
            "fusion: {epochs: 4, min_steps: 20}\n"
        )
        rounds = path / "conf" / "base" / "parameters_rounds.yml"  # not conf/local, where a test puts its own
        rounds.write_text(rounds.read_text().replace("reference: random", "reference: null  "))
        self.metadata = bootstrap_project(path)

    def copied_to(self, path: Path) -> Project:
        """The same project with all its data at another place; what happens there changes nothing here."""
        shutil.copytree(self.path, path)
        copied = copy.copy(self)
        copied.path, copied.metadata = path, bootstrap_project(path)
        return copied

    def __call__(self, *arguments: str) -> Result:
        """``kedro …`` in this project, as a user types it."""
        from rlmba_pipelines.cli import cli
        from rlmba_pipelines.rounds.current import current

        current.project_path, current.experiment_name = self.path, None
        current.rounds = current.system = None
        with nullcontext() if self.drawn else patch("rlmba_pipelines.reporting.report._picture", _frame):
            return CliRunner().invoke(cli, list(arguments), obj=self.metadata)

    def ok(self, *arguments: str) -> str:
        """The same, which has to succeed; gives what was printed."""
        result = self(*arguments)
        if result.exit_code != 0:
            raise AssertionError(f"{arguments}: exit {result.exit_code}\n{result.output}") from result.exception
        return result.output

    def refused(self, *arguments: str) -> str:
        """The same, which has to end in one sentence and exit code 2; gives the sentence."""
        result = self(*arguments)
        assert result.exit_code == 2, f"{arguments}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
        assert "Traceback" not in result.output
        return result.output.splitlines()[-1]

    def table(self, experiment: str, stage: str, role: str) -> pd.DataFrame:
        """A committed Parquet table."""
        from rlmba_pipelines.rounds.commits import Experiment

        return pd.read_parquet(Experiment.of(self.path, experiment).path_of(stage, role))

    def selections(self, experiment: str, rounds: int) -> list[list[str]]:
        """What each round bought, in the order of choice."""
        stages = [f"round_{k:02d}" for k in range(rounds + 1)]
        return [
            self.table(experiment, stage, "selection")["sample_id"].tolist()
            for stage in stages
        ]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without data; the working directory is its root."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("KEDRO_LOGGING_CONFIG", str(ROOT / "conf" / "logging.yml"))
    return Project(folder)


@pytest.fixture
def media(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples beside the project; see ``write_media``."""

    def write(n: int = 120, modalities: Sequence[str] = ("image", "text"), **options: Any) -> Path:
        return write_media(tmp_path / "media", n, modalities, **options)

    return write


@pytest.fixture(scope="session")
def asked_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose start batch waits for people; not to be changed."""
    from label_studio_place import asked

    return asked(tmp_path_factory.mktemp("asked"))


@pytest.fixture
def place(asked_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The same, of the test's own, beside an annotation server."""
    from label_studio_place import place_of

    return place_of(asked_project, tmp_path / "project", monkeypatch)


SMALL = ("--rounds", "2", "--start-size", "12", "--query-size", "8")
