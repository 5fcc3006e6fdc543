"""A round as a folder that stands alone: the model in three forms, cards, selections, the bill, and what made them.

Built beside its place and renamed when it is whole; ``MANIFEST.sha256`` is written last.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.datasets import FeaturesDataset, ModelDataset
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.handoff.cards import write_cards
from rlmba_pipelines.handoff.croissant import write_croissant
from rlmba_pipelines.handoff.environment import PACKAGE, installed, refuse_without_extra, write_sbom
from rlmba_pipelines.handoff.facts import FORMAT, NAME, Facts, pinned_encoders
from rlmba_pipelines.handoff.parcel import holds_only, is_address, refuse_damaged, seal, send
from rlmba_pipelines.handoff.scoring import MODEL, REDUCTION
from rlmba_pipelines.labeling.sorting import PEOPLE
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import ADJUDICATOR, WITHDRAWN, Ledger
from rlmba_pipelines.ledger.snapshot import copy_ledger
from rlmba_pipelines.models.export import export_model
from rlmba_pipelines.models.reduce import Reduction
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.records import disarmed
from rlmba_pipelines.rounds.branch import lineage_of
from rlmba_pipelines.rounds.commits import (
    BUNDLE,
    DONE,
    PREPARED,
    Commit,
    Experiment,
    damaged,
    read_object,
    read_table,
)
from rlmba_pipelines.rounds.driver import quiet
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.parameters import asked_for
from rlmba_pipelines.rounds.progress import is_closed, n_training_labels
from rlmba_pipelines.rounds.systems import RL_MBA
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.simulation.tables import GIVEN

PT2, ONNX = "model.pt2", "model.onnx"
REDUCED = "reduction"  # the dataset of the preparation
NAMES_NOBODY = ("simulated", GIVEN, PEOPLE, ADJUDICATOR)  # annotators whose name says what they are, not who


def stage_to_bundle(experiment: Experiment, round_idx: int | None) -> str:
    """The stage whose model is handed on: that of a round, or the closing one, or that of the last round.

    Raises:
        UserError: there is none that is committed.
    """
    if round_idx == 0:
        raise UserError("Round 0 buys the start batch and has no model; bundle a later one.")
    if round_idx is None:
        done = experiment.rounds_done()
        if done < 1:
            raise UserError(f"Experiment {experiment.name!r} has no model yet; run 'kedro rounds run'.")
        return FINAL if is_closed(experiment) else stage_name(done)
    stage = stage_name(round_idx)
    if not experiment.is_done(stage):
        last = experiment.rounds_done()
        raise UserError(f"{stage} of experiment {experiment.name!r} is not done; the last one is  --round {last}")
    return stage


def default_place(experiment: Experiment, stage: str) -> Path:
    """Where a bundle lies that was not told to lie elsewhere."""
    return experiment.report_path.parent / f"{BUNDLE}{stage}"


def build(experiment: Experiment, stage: str, to: str) -> None:
    """Build the bundle of a stage at a folder, or at any address of fsspec.

    A folder that holds a bundle is replaced as a whole; anything else is left alone.

    Raises:
        UserError: something committed is damaged, the place is taken, or a package is missing.
    """
    refuse_without_extra()
    if is_address(to):
        with tempfile.TemporaryDirectory(prefix="rlmba-bundle-") as temporary:
            _fill(experiment, stage, Path(temporary))
            send(temporary, to)
        return
    target = Path(to)
    if target.exists() and not (target.is_dir() and (holds_only(target, NAME) or not any(target.iterdir()))):
        raise UserError(
            f"{target} is there already and is no bundle, or holds other files too; name another place with --to."
        )
    with locked(experiment.folder):  # whoever begins to run sweeps what is half written beside the report
        with replacing(target.resolve()) as temporary_folder:
            temporary_folder.mkdir()
            _fill(experiment, stage, temporary_folder)
        refuse_damaged(to)


def _fill(experiment: Experiment, stage: str, folder: Path) -> None:
    with locked(experiment.folder), quiet():
        found = _Committed(experiment, stage)
        parameters = asked_for(experiment)
        facts = _write_model(found, parameters, folder)
        records = _write_records(found, facts, parameters, folder)
    (folder / NAME).write_text(facts.model_dump_json(indent=1), encoding="utf-8")
    (folder / "constraints.txt").write_text("\n".join(installed()) + "\n", encoding="utf-8")
    write_sbom(folder / "sbom.cdx.json")
    write_croissant(folder, facts)
    write_cards(folder, facts, parameters, records)
    seal(folder)


class _Committed:
    """What a stage and those before it committed; every file is hashed before it is read."""

    def __init__(self, experiment: Experiment, stage: str) -> None:
        self.experiment, self.stage = experiment, stage
        last = experiment.rounds_done() if stage == FINAL else int(stage.removeprefix("round_"))
        self.rounds = [stage_name(k) for k in range(last + 1)]
        self.stages = [PREPARED, *self.rounds, *([FINAL] if stage == FINAL else [])]

    def commit(self, stage: str) -> Commit:
        commit = self.experiment.commit(stage)
        if commit is None or commit.state != DONE:
            raise UserError(f"{stage} of experiment {self.experiment.name!r} is not done; run 'kedro rounds run'.")
        return commit

    def path(self, stage: str, role: str) -> Path:
        path, commit = self.experiment.path_of(stage, role), self.commit(stage)
        if wrong := self.experiment.damage(commit, role if stage == PREPARED else f"{stage}.{role}"):
            raise damaged(path, f"it is {wrong}")
        return path

    def table(self, stage: str, role: str) -> pd.DataFrame:
        return read_table(self.path(stage, role))

    def object(self, stage: str, role: str) -> dict[str, Any]:
        return read_object(self.path(stage, role))


def _write_model(found: _Committed, parameters: Parameters, folder: Path) -> Facts:
    """The model in every form, how its features come about, and the facts about both."""
    if found.experiment.system() != RL_MBA:
        raise UserError(
            f"Experiment {found.experiment.name!r} is one of visual questions; a bundle holds a fusion network. Hand "
            f"on its weights as they are: {found.path(found.stage, 'model')}."
        )
    if REDUCED not in found.commit(PREPARED).files:
        raise UserError(
            f"Experiment {found.experiment.name!r} was prepared by an earlier version, which did not keep how features "
            "are reduced; run it again under another name (--experiment) to bundle it."
        )
    packed, reduced = (
        ModelDataset(filepath=str(found.path(*where))).load() for where in ((found.stage, "model"), (PREPARED, REDUCED))
    )
    state, reduction = FusionState.unpack(packed), Reduction.unpack(reduced)
    encoded, features = (
        FeaturesDataset(filepath=str(found.path(PREPARED, name))).load() for name in ("encoded", "features")
    )
    if dict(state.fingerprints) != dict(features.fingerprints):
        raise UserError(
            f"The model of {found.stage} was fitted before the pool grew, on features that have changed since; run one "
            "more round ('kedro rounds run') and bundle that."
        )
    exported = export_model(state, reduction, encoded, features, parameters.fusion)
    shutil.copyfile(found.path(found.stage, "model"), folder / MODEL)
    shutil.copyfile(found.path(PREPARED, REDUCED), folder / REDUCTION)
    (folder / PT2).write_bytes(exported.pt2)
    (folder / ONNX).write_bytes(exported.onnx)
    fingerprints = {name: str(encoded.fingerprints[name]) for name in state.modalities}
    return Facts(
        format=FORMAT,
        version=version(PACKAGE),
        experiment=found.experiment.name,
        stage=found.stage,
        run_id=found.commit(found.stage).run_id,
        n_labels=n_training_labels(found.experiment, found.stage),
        modalities=state.modalities,
        classes=state.classes,
        encoders=pinned_encoders(parameters.encoders, fingerprints, folder),
        fingerprints=fingerprints,
        caps=parameters.ingest.caps,
        fusion=parameters.fusion,
        differences=dict(exported.differences),
    )


def _write_records(found: _Committed, facts: Facts, parameters: Parameters, folder: Path) -> dict[str, Any]:
    """Selections, bill, metrics, parameters, lineage and commits; gives what the cards tell of them."""
    (folder / "selections").mkdir()
    for stage in found.rounds:
        shutil.copyfile(found.path(stage, "selection"), folder / "selections" / f"{stage}.parquet")
    answers, withdrawn = _bill(found)
    answers.to_parquet(folder / "ledger.parquet", index=False)
    # a line break of any kind within a cell is quoted only where rows end like this
    answers.map(disarmed).to_csv(folder / "ledger.csv", index=False, lineterminator="\r\n")
    metrics = {stage: _metrics(found, stage) for stage in found.stages[2:]}
    _write_json(folder / "metrics.json", metrics)
    _write_json(folder / "parameters.json", portable(parameters, facts))
    lines = lineage_of(found.experiment, set(found.stages))
    (folder / "lineage.jsonl").write_text("".join(lines), encoding="utf-8")
    commits = {stage: found.commit(stage) for stage in found.stages}
    _write_json(
        folder / "commits.json",
        {s: {"run_id": c.run_id, "versions": dict(c.versions), "digests": dict(c.digests)} for s, c in commits.items()},
    )
    quarantine = pd.read_csv(found.path(PREPARED, "quarantine"), dtype=str, keep_default_na=False)
    return {
        "metrics": metrics,
        "setup": found.object(PREPARED, "setup"),
        "samples": found.table(PREPARED, "samples"),
        "answers": answers,
        "n_withdrawn": len(withdrawn),
        "n_quarantined": len(quarantine),
        "rounds": found.rounds,
    }


def _bill(found: _Committed) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Every answer that the ledger held when the stage was committed, superseded ones too; and what was withdrawn.

    The label of a withdrawn sample is not told any more, that it was paid for is; nor is who answered told.
    """
    with tempfile.TemporaryDirectory(prefix="rlmba-ledger-") as temporary:
        copy = Path(temporary) / "ledger.sqlite"
        copy_ledger(found.experiment.ledger_path, copy, found.commit(found.stage).ledger)
        with Ledger(copy) as ledger:
            answers, withdrawn = ledger.history(), ledger.withdrawn()
    answers.loc[answers["sample_id"].isin(withdrawn), ["label", "explanation"]] = [WITHDRAWN, ""]
    return answers.assign(annotator=_numbered(answers["annotator"])), withdrawn


def _numbered(annotators: pd.Series) -> pd.Series:
    """People by number, in the order in which they first answered: a ledger only grows, so each keeps theirs."""
    people = [name for name in annotators.unique() if name not in NAMES_NOBODY]
    numbers = {name: f"annotator {n}" for n, name in enumerate(people, start=1)}
    return annotators.map(lambda name: numbers.get(name, name))


def _metrics(found: _Committed, stage: str) -> dict[str, Any]:
    return {
        "training_labels": n_training_labels(found.experiment, stage),
        "validation": found.object(stage, "validation_metrics"),
        "test": found.object(stage, "test_metrics"),
    }


def portable(parameters: Parameters, facts: Facts) -> dict[str, Any]:
    """The resolved parameters; where data lay on this machine is nobody's business elsewhere, but for the last name."""
    resolved = parameters.model_dump(mode="json")
    resolved["manifest"] = Path(parameters.manifest).name if parameters.manifest else None
    resolved["encoders"] = facts.encoders.model_dump(mode="json")
    resolved["ingest"]["media_root"] = Path(parameters.ingest.media_root).name
    return resolved


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
