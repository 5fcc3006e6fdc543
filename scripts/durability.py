"""``make durability``: stop a run wherever it can be stopped, give the same command again, compare with a whole run.

The run is ``kedro rounds run`` over a small generated pool: image and text, tiny encoders, three rounds. It is stopped
by SIGKILL before and after every node and at every write (a file opened for writing, fsync, rename, commit of the
ledger), and by a full disk at every write. Every run is a process of its own, forked from one that has imported
everything: a stop and its resumption take seconds.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import hashlib
import importlib
import io
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a process with one thread can be forked
os.environ["DO_NOT_TRACK"] = "1"

import numpy as np
import pandas as pd
from click.testing import CliRunner
from kedro.framework.startup import ProjectMetadata, bootstrap_project
from kedro.runner.task import Task
from PIL import Image

from rlmba_pipelines.cli import cli
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.pipelines.report import nodes as report_nodes
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.driver import Request, Runner
from rlmba_pipelines.rounds.verify import verify

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(ROOT / "conf" / "logging.yml"))
NAME = "durable"
COMPARED = ("samples", "selection", "annotation_batch", "labels_next", "round_state_next")
KILL, FULL_DISK = "kill", "full disk"
WARM = {"rlmba_pipelines", "kedro", "kedro_datasets", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn"}
WRONG = (
    "torn files",
    "lost labels",
    "double-billed",
    "differing digests",
    "leftovers",
    "not resumed",
    "not told in a sentence",
)


def bare_project(folder: Path, parameters: str) -> Path:
    """A project with the configuration of this one and some parameters of its own."""
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    (folder / "conf" / "local").mkdir()
    (folder / "conf" / "local" / "parameters.yml").write_text(parameters)
    return folder


def build_project(folder: Path, n_rounds: int, n_samples: int = 80) -> Path:
    """A small project, and a manifest of four classes that both modalities tell."""
    rng = np.random.default_rng(0)
    media = folder / "media"
    media.mkdir(parents=True)
    project = bare_project(
        folder / "project",
        "encoders: {image: tiny, text: tiny, workers: 1}\n"
        "ingest: {workers: 1}\n"
        "fusion: {epochs: 1, min_steps: 10}\n"
        f"rounds: {{rounds: {n_rounds}, start_size: 12, query_size: 8, reference: null}}\n",
    )
    colors, words = ((220, 30, 30), (30, 200, 40), (40, 60, 220), (128, 128, 128)), ("fire", "leaf", "sky", "stone")
    rows = []
    for i in range(n_samples):
        pixels = np.clip(np.array(colors[i % 4]) + rng.normal(0, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(media / f"{i}.png")
        split = ("pool", "pool", "pool", "validation", "test")[i // 4 % 5]
        rows.append((f"s{i:04d}", f"{i}.png", f"{words[i % 4]} {rng.integers(9)}", words[i % 4], split))
    pd.DataFrame(rows, columns=["sample_id", "image", "text", "label", "split"]).to_csv(
        media / "manifest.csv", index=False
    )
    return project


class Stops:
    """Counts the places where a run can be stopped, and stops it at one of them.

    Args:
        data: only writes below this folder count.
        how: ``KILL`` or ``FULL_DISK``.
        at: number of the place, from 1; 0 only counts.
    """

    def __init__(self, data: Path, how: str = KILL, at: int = 0) -> None:
        self._data, self._how, self._at = str(data), how, at
        self.places: list[str] = []

    def pass_by(self, place: str, path: object = "") -> None:
        self.places.append(place)
        if len(self.places) == self._at:
            if self._how == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            if place == "commit of the ledger":
                raise sqlite3.OperationalError("database or disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def arm(self) -> None:
        """Watch this process from now on; for good, since it ends with the run."""
        true_open, true_replace, true_fsync, true_connect = io.open, os.replace, os.fsync, sqlite3.connect
        true_node = Task._run_node_sequential
        stops, writes_only = self, self._how == FULL_DISK

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if set(mode) & set("wax+") and str(file).startswith(stops._data):
                stops.pass_by("open for writing", file)
            return true_open(file, mode, *args, **kwargs)

        def replaced(source: Any, target: Any) -> None:
            stops.pass_by("before a rename", target)
            true_replace(source, target)
            if not writes_only:
                stops.pass_by("after a rename")

        def synced(handle: int) -> None:
            stops.pass_by("fsync", os.readlink(f"/proc/self/fd/{handle}"))
            true_fsync(handle)

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql != "COMMIT":
                    return super().execute(sql, *args)
                stops.pass_by("commit of the ledger")
                done = super().execute(sql)
                if not writes_only:
                    stops.pass_by("after a commit of the ledger")
                return done

        def run_node(task: Task, node: Any, *args: Any, **kwargs: Any) -> Any:
            stops.pass_by("before a node")
            done = true_node(task, node, *args, **kwargs)
            stops.pass_by("after a node")
            return done

        io.open = builtins.open = opened
        os.replace, os.fsync = replaced, synced  # type: ignore[assignment]
        sqlite3.connect = lambda *args, **kwargs: true_connect(*args, **{"factory": Connection, **kwargs})
        if not writes_only:
            Task._run_node_sequential = run_node  # type: ignore[method-assign, assignment]


def in_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run ``work`` in a forked process: its wait status, and what it returned (None where it did not get to that)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            result = json.dumps(work()).encode()
            with os.fdopen(writing, "wb") as stream:
                stream.write(result)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        result = stream.read()
    return os.waitpid(pid, 0)[1], json.loads(result) if result else None


class Sweep:
    """One project whose data are wiped before every run."""

    def __init__(self, folder: Path, n_rounds: int) -> None:
        self.project = build_project(folder, n_rounds)
        self.data = self.project / "data"
        self.manifest = folder / "media" / "manifest.csv"
        self.experiment = Experiment.of(self.project, NAME)
        os.chdir(self.project)
        self._metadata: ProjectMetadata = bootstrap_project(self.project)
        report_nodes.render_report = lambda data: "<html></html>"  # the charts of the page take longer than the rounds

    def wipe(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        for layer in sorted(path.name for path in (ROOT / "data").iterdir()):
            (self.data / layer).mkdir(parents=True)

    def command(self) -> tuple[int, str]:
        """The one command, given as often as it takes: exit code and output."""
        current.project_path, current.experiment_name, current.rounds = self.project, None, None
        arguments = ["rounds", "run", "--manifest", str(self.manifest), "--experiment", NAME]
        result = CliRunner().invoke(cli, arguments, obj=self._metadata)
        if result.exception and not isinstance(result.exception, SystemExit):
            return result.exit_code, "".join(traceback.format_exception(result.exception))
        return result.exit_code, result.output

    def baseline(self, how: str) -> tuple[dict[str, str], list[str], list[str]]:
        """Digests of a whole run, the places where it can be stopped, and the modules it needed."""
        self.wipe()

        def work() -> tuple[dict[str, str], list[str], list[str]]:
            stops = Stops(self.data, how)
            stops.arm()
            code, output = self.command()
            if code:
                raise RuntimeError(output)
            places = list(stops.places)  # before the digests pass by more
            return self.digests(), places, sorted(sys.modules)

        status, found = in_child(work)
        if status:
            raise SystemExit("the uninterrupted run failed")
        return found[0], found[1], found[2]

    def warm(self, modules: list[str]) -> None:
        """Do once what every run does before it computes: import modules, read the configuration."""
        for module in modules:
            if module.split(".")[0] in WARM:
                with suppress(ImportError):
                    importlib.import_module(module)
        Image.init()
        request = self.experiment.request()
        run = Runner(Request(self.project, request["env"], request["runtime_params"]))
        run.parameters()
        run._session.load_context(runtime_params=request["runtime_params"]).config_loader["catalog"]
        if threading.active_count() > 1:
            raise SystemExit("a process with several threads cannot be forked safely")

    def stop(self, how: str, at: int) -> dict[str, Any]:
        """Run, stop at one place, look, give the command again, look again."""
        self.wipe()

        def first() -> tuple[int, str]:
            Stops(self.data, how, at).arm()
            return self.command()

        status, ended = in_child(first)
        found: dict[str, Any] = {"stopped": os.WIFSIGNALED(status) if how == KILL else bool(ended and ended[0])}
        if how == FULL_DISK and found["stopped"]:
            errors = [line for line in ended[1].splitlines() if line.startswith("Error: ")]
            told = ended[0] == 2 and len(errors) == 1 and "could not be written" in errors[0]
            found["untold"] = "" if told and str(self.data) in errors[0] else ended[1][-2000:]

        def second() -> dict[str, Any]:
            torn, before = self.torn(), self.ledger()
            code, output = self.command()
            after = self.ledger()
            return {
                "resumed": code == 0,
                "output": "" if code == 0 else output[-2000:],
                "torn": torn + self.torn(),
                "lost": len([row for row in before if row not in after]),
                "billed twice": len(after) - len({row[0] for row in after}),
                "leftovers": len(list(self.data.glob(f"*/{NAME}/**/.writing-*"))),  # the cache is swept by the hour
                "digests": self.digests() if code == 0 else {},
            }

        status, rest = in_child(second)
        return {**found, **(rest or {"resumed": False, "output": f"wait status {status}"})}

    def torn(self) -> list[str]:
        """What is not as its commit says."""
        return list(verify(self.experiment).problems) if self.experiment.committed_stages() else []

    def ledger(self) -> list[list[Any]]:
        if not self.experiment.ledger_path.exists():
            return []
        with Ledger(self.experiment.ledger_path) as ledger:
            rows: list[list[Any]] = ledger.rows().values.tolist()
            return rows

    def digests(self) -> dict[str, str]:
        """sha256 of the content of what counts: sorted, without clocks, versions and paths."""
        found = {"ledger": hashlib.sha256(json.dumps(self.ledger()).encode()).hexdigest()}
        for commit in self.experiment.commits():
            for name, place in commit.files.items():
                if name.rpartition(".")[2] in COMPARED:
                    found[name] = content_digest(self.data / place)
        return found


def content_digest(path: Path) -> str:
    """sha256 of a JSON file with sorted keys, or of a table with sorted rows, exact to the last bit."""
    if path.suffix == ".json":
        text = json.dumps(json.loads(path.read_text()), sort_keys=True)
    else:
        text = pd.read_parquet(path).sort_values("sample_id").to_csv(index=False, float_format="%.17g")
    return hashlib.sha256(text.encode()).hexdigest()


def spread(n: int, limit: int) -> list[int]:
    """At most ``limit`` of the places 1 … n, evenly, the first and the last among them; 0 is all."""
    if not limit or limit >= n:
        return list(range(1, n + 1))
    return sorted({1 + round(i * (n - 1) / max(1, limit - 1)) for i in range(limit)})


def code_digest() -> str:
    """sha256 of the product: what a sweep found counts for the code that it looked at."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted((ROOT / "src").rglob("*.py")))).hexdigest()


def sweep(n_rounds: int, limits: dict[str, int], memory: Path | None, say: Callable[[str], None]) -> Counter[str]:
    """Stop at the places that ``limits`` allow (0: at every one) and count what came of it."""
    counts: Counter[str] = Counter()
    code, known = f"{n_rounds} rounds {code_digest()}", {}
    if memory and memory.exists():
        lines = [json.loads(line) for line in memory.read_text().splitlines()]
        known = {(line["how"], line["at"]): line["found"] for line in lines if line["code"] == code}
    with tempfile.TemporaryDirectory() as folder:
        stopper = Sweep(Path(folder), n_rounds)
        expected: dict[str, str] = {}
        for how, limit in limits.items():
            digests, places, modules = stopper.baseline(how)
            if not expected:
                expected = digests
                stopper.warm(modules)
            counts["differing digests"] += digests != expected
            chosen = spread(len(places), limit)
            say(f"{how}: {len(chosen)} of {len(places)} places {dict(Counter(places))}")
            for at in chosen:
                found = known.get((how, at)) or stopper.stop(how, at)
                if memory and (how, at) not in known:
                    memory.parent.mkdir(exist_ok=True)
                    with memory.open("a") as stream:
                        stream.write(json.dumps({"how": how, "at": at, "code": code, "found": found}) + "\n")
                problems = _count(counts, how, found, expected)
                if problems:
                    say(f"{how} {at} ({places[at - 1]}): {'; '.join(problems)}")
    return counts


def _count(counts: Counter[str], how: str, found: dict[str, Any], expected: dict[str, str]) -> list[str]:
    """Add one stop to ``counts``; gives what is wrong with it."""
    counts[f"{how}s"] += found["stopped"]
    if not found["resumed"]:
        counts["not resumed"] += 1
        return [f"not resumed: {found['output']}"]
    wrong = {
        "torn files": len(found["torn"]),
        "lost labels": found["lost"],
        "double-billed": found["billed twice"],
        "leftovers": found["leftovers"],
        "differing digests": sum(found["digests"].get(name) != digest for name, digest in expected.items()),
        "not told in a sentence": bool(found.get("untold")),
    }
    counts.update(wrong)
    details = [*found["torn"], *filter(None, [found.get("untold")])]
    return [f"{name} {n}" for name, n in wrong.items() if n] + details


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--limit", type=int, default=0, help="kills, evenly spread; 0: at every place")
    parser.add_argument("--full-disks", type=int, default=0, help="full disks, evenly spread; 0: at every write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=Path, help="file to keep results in: a sweep that was interrupted goes on")
    options = parser.parse_args()
    memory = options.memory.resolve() if options.memory else None
    limits = {KILL: options.limit, FULL_DISK: options.full_disks}
    counts = sweep(options.rounds, limits, memory, lambda text: print(text, flush=True))
    print(", ".join(f"{name} {counts[name]}" for name in (f"{KILL}s", f"{FULL_DISK}s", *WRONG)))
    raise SystemExit(any(counts[name] for name in WRONG) or not counts[f"{KILL}s"])


if __name__ == "__main__":
    main()
