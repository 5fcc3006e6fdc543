"""What is true: a stage of an experiment exists only when its commit manifest, written last, says so.

A commit names version, place and sha256 of everything the stage wrote, and what the ledger held. It is ``asked`` once
a batch is on its way to annotators (from then on the choice stands, whatever happens) and ``done`` once the answers
are in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.config import MAIN, Parameters
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger.snapshot import LedgerState
from rlmba_pipelines.rounds.addresses import without_secrets

ASKED, DONE = "asked", "done"
PREPARED = "prepared"
HANDED_OUT = ("annotation_sheet", "annotation_tasks")  # a batch as people fill it in, where it lies: theirs to change
BUNDLE = "bundle_"  # how folders beside the report begin that hold a stage for others
RAW = "01_raw"  # the layer that belongs to people
MONEY = "rounds.max_cost"  # remembered, and may be another later: what was bought stays as it is
# what the project itself keeps in layers, beside the folders of experiments
RESERVED = ("benchmark", "benchmark_vqa", "cache", "pretraining", "report.html", "vlm_base")


@dataclass(frozen=True)
class Commit:
    """One stage, whole.

    Attributes:
        versions, digests, files: version, sha256 and place under ``data/`` by dataset name.
        ledger: what the ledger held; None where there was none yet.
    """

    stage: str
    state: str
    run_id: str
    versions: Mapping[str, str]
    digests: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    ledger: LedgerState | None = None


@dataclass(frozen=True)
class Experiment:
    """The control files of one experiment: commits, parameters it was started with, ledger, lineage, lock."""

    name: str
    folder: Path

    @classmethod
    def of(cls, project_path: Path, name: str) -> Experiment:
        """The experiment ``name`` of a project.

        Raises:
            UserError: the name is not one that can be a folder, or the project uses it itself.
        """
        if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
            raise UserError(f"The experiment name {name!r} is used as a folder; use letters, digits, '-', '_' and '.'.")
        if name.lower() in RESERVED:  # some disks do not tell upper case from lower
            raise UserError(f"The name {name!r} is one that the project uses itself; choose another --experiment NAME.")
        return cls(name, project_path / "data" / "03_primary" / name)

    @property
    def aside(self) -> Experiment:
        """Where an ``append`` prepares the grown pool: under a name that no user can give."""
        return Experiment(f".append-{self.name}", self.folder.with_name(f".append-{self.name}"))

    def flag(self, option: str = "--experiment") -> str:
        """What a command line needs to mean this experiment, with a space before; nothing for the usual one."""
        return "" if self.name == MAIN else f" {option} {self.name}"

    @property
    def project_path(self) -> Path:
        return self.data_path.parent

    @property
    def data_path(self) -> Path:
        """The folder of all layers, ``data/``."""
        return self.folder.parents[1]

    @property
    def layer_folders(self) -> list[Path]:
        """Where the experiment has, or may have, a folder in each layer but the raw one."""
        layers = sorted(path for path in self.data_path.iterdir() if path.is_dir() and path.name != RAW)
        return [layer / self.name for layer in layers]

    @property
    def lineage_path(self) -> Path:
        return self.folder / "lineage.jsonl"

    @property
    def ledger_path(self) -> Path:
        return self.folder / "ledger.sqlite"

    @property
    def report_path(self) -> Path:
        return self.data_path / "08_reporting" / self.name / "report.html"

    def path_of(self, stage: str, role: str) -> Path:
        """Where a committed stage keeps a dataset; datasets of the preparation have no stage in their names.

        Raises:
            UserError: the stage has none that is committed.
        """
        commit = self.commit(stage)
        place = commit.files.get(role if stage == PREPARED else f"{stage}.{role}") if commit else None
        if place is None:
            raise UserError(f"{stage} of experiment {self.name!r} has no {role} yet; run 'kedro rounds run'.")
        return self.data_path / place

    def damage(self, commit: Commit, name: str) -> str | None:
        """Whether a dataset is ``missing`` or ``damaged``, its file hashed again; None where it is as committed, and
        for what is handed out."""
        path = self.data_path / commit.files[name]
        if is_handed_out(name):
            return None
        if not path.exists():
            return "missing"
        return None if digest_of(path) == commit.digests[name] else "damaged"

    def place_of(self, path: Path) -> str:
        """A path as commits name it: under ``data/``, so that a project can be moved."""
        return str(path.relative_to(self.data_path) if path.is_relative_to(self.data_path) else path)

    def commit_path(self, stage: str) -> Path:
        return self.folder / "commits" / f"{stage}.json"

    def commit(self, stage: str) -> Commit | None:
        """The commit of a stage, or None while there is none.

        Raises:
            UserError: there is one, but it is damaged.
        """
        path = self.commit_path(stage)
        if not path.exists():
            return None
        found = read_object(path)
        try:
            return Commit(**{**found, "ledger": LedgerState(**found["ledger"]) if found.get("ledger") else None})
        except TypeError:
            raise damaged(path, "its entries are not those of a commit") from None

    def commits(self) -> list[Commit]:
        """All there are, in the order in which stages follow each other.

        Raises:
            UserError: one is damaged.
        """
        return [commit for stage in self.committed_stages() if (commit := self.commit(stage))]

    def committed_stages(self) -> list[str]:
        """The stages that have a commit, damaged or not, in the order in which they follow each other."""
        stages = [path.stem for path in self.commit_path("").parent.glob("[!.]*.json")]
        return sorted(stages, key=lambda stage: (stage != PREPARED, not stage.startswith("round_"), len(stage), stage))

    def write_commit(self, commit: Commit) -> None:
        """Make a stage true, in one rename."""
        with replacing(self.commit_path(commit.stage)) as temporary:
            temporary.write_text(json.dumps(asdict(commit), indent=1, sort_keys=True))

    def uncommit(self, stage: str) -> None:
        """Make a stage untrue, before its files are written anew."""
        self.commit_path(stage).unlink(missing_ok=True)

    def is_done(self, stage: str) -> bool:
        """Whether a stage is committed whole."""
        commit = self.commit(stage)
        return commit is not None and commit.state == DONE

    def rounds_done(self) -> int:
        """Rounds that are committed whole, round 0 not counted; -1 before round 0 is."""
        k = 0
        while self.is_done(f"round_{k:02d}"):
            k += 1
        return k - 1

    @property
    def request_path(self) -> Path:
        return self.folder / "request.json"

    @property
    def parameters_path(self) -> Path:
        return self.folder / "parameters.json"

    def request(self) -> dict[str, Any]:
        """What was asked for last: ``env`` and ``runtime_params``; just the name where only Kedro itself was asked.

        ``earlier_manifests``, where the pool has grown: those that the one in ``runtime_params`` took the place of.

        Raises:
            UserError: it is damaged.
        """
        if not self.request_path.exists():
            return {"env": None, "runtime_params": {"experiment": self.name}}
        found = read_object(self.request_path)
        if "env" not in found or not isinstance(found.get("runtime_params"), dict):
            raise damaged(self.request_path, "it does not say env and runtime_params")
        return {**found, "runtime_params": without_secrets(found["runtime_params"])}

    def system(self) -> str:
        """The system that the experiment was started with."""
        if not self.parameters_path.exists():
            return Parameters().system
        return str(read_object(self.parameters_path).get("system", Parameters().system))

    def remember_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Keep what the experiment was started with; done with the first commit: a failed start binds nobody."""
        if not self.parameters_path.exists():
            with replacing(self.parameters_path) as temporary:
                temporary.write_text(json.dumps(parameters, indent=1, sort_keys=True))

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Refuse to go on with something else than the experiment was started with.

        Raises:
            UserError: a parameter that shapes the data of rounds differs from the start; the first is named.
        """
        if not self.parameters_path.exists():
            return
        started, now = _flat(read_object(self.parameters_path)), _flat(parameters)
        # a parameter that is younger than the experiment counts as its default
        before = {**_flat(Parameters().model_dump(mode="json")), **started}
        keys = sorted((started.keys() | now.keys()) - {MONEY})
        changed = [key for key in keys if before.get(key) != now.get(key)]
        if changed:
            key = changed[0]
            raise UserError(
                f"Experiment {self.name!r} was started with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                f"start another one with --experiment NAME, or take the change back."
            )


def is_handed_out(name: str) -> bool:
    """Whether people may change the file of a dataset: nothing is built on it, so no change of it is damage."""
    return name.rpartition(".")[2] in HANDED_OUT


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a control file or a committed one.

    Raises:
        UserError: it is damaged.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(found, dict):
        raise damaged(path, "it is no JSON object")
    return found


def read_table(path: Path) -> pd.DataFrame:
    """A committed Parquet table.

    Raises:
        UserError: it is damaged.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, reason: str) -> UserError:
    """What a user is told of a file that a stage stands on and that cannot be read."""
    return UserError(
        f"{path} is damaged ({reason}); 'kedro rounds verify' names all that is. Bring it back from a copy, or go on "
        "from the last whole round with 'kedro rounds branch --from-round K --experiment NEW'."
    )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}


def digest_of(path: Path) -> str:
    """sha256 of a file, or of the files of a folder in the order of their names."""
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                found.update(chunk)
    return found.hexdigest()
