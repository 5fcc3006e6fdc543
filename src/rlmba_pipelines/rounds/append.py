"""The pool grows between rounds: a manifest with more rows is prepared aside, compared, and put in place.

Samples that were there keep their split and must be what they were; new ones join the pool, unless the manifest puts
them into another split. What replaces the prepared files is built in a folder of its own and moved in under a journal,
so that a kill leaves the old pool or is finished by the next run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.datasets import FeaturesDataset
from rlmba_pipelines.disk import replacing, sync
from rlmba_pipelines.learning.types import Features, UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.models.reduce import reduce_features
from rlmba_pipelines.rounds.commits import DONE, PREPARED, Experiment, digest_of, read_object, read_table
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.driver import Request, Runner, Say, quiet
from rlmba_pipelines.rounds.journal import ASIDE, JOURNAL, finish_append
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.unroll import PREPARATION, stage_name
from rlmba_pipelines.simulation.tables import GIVEN, TRAINING
from rlmba_pipelines.sources.manifest import MODALITIES, read_manifest


def append(request: Request, parameters: Parameters, say: Say) -> int:
    """Take the new samples of ``request``'s manifest into its experiment; gives how many there are.

    Raises:
        UserError: the experiment has not started, a sample that was there is missing or changed, or the manifest is
            not one.
    """
    experiment = Experiment.of(request.project_path, str(request.runtime_params["experiment"]))
    manifest = request.runtime_params.get("manifest")
    if manifest is None:
        raise UserError("Name the manifest that has the new rows beside the old ones:  kedro rounds append MANIFEST")
    with locked(experiment.folder), quiet():
        finish_append(experiment)
        if not experiment.is_done(PREPARED):
            raise UserError(f"Experiment {experiment.name!r} has no samples yet; start it with 'kedro rounds run'.")
        aside = Experiment.of(request.project_path, f"{experiment.name}-append")
        _remove(aside)
        say("reading and encoding the samples …")
        runtime_params = {**request.runtime_params, "experiment": aside.name}
        current.project_path, current.experiment_name = request.project_path, aside.name
        with locked(aside.folder):
            Runner(replace(request, runtime_params=runtime_params))(*PREPARATION, rounds=1)
        new = _Merged.of(experiment, aside, Path(manifest), parameters)
        _put_in_place(experiment, new, manifest)
        _remove(aside)
    return new.n_new


@dataclass(frozen=True)
class _Merged:
    """The prepared datasets with the new samples in them, by name; ``labels_next`` only where people gave labels."""

    tables: dict[str, pd.DataFrame]
    setup: dict[str, Any]
    encoded: Features
    features: Features
    n_new: int

    @classmethod
    def of(cls, experiment: Experiment, aside: Experiment, manifest: Path, parameters: Parameters) -> _Merged:
        names = ("samples", "validation_labels", "test_labels", "given_labels", "hidden_labels")
        old, new = ({n: read_table(e.folder / f"{n}.parquet") for n in names} for e in (experiment, aside))
        setup, found = read_object(experiment.folder / "setup.json"), read_object(aside.folder / "setup.json")
        if found["modalities"] != setup["modalities"]:
            raise UserError(
                f"{manifest.name} has the modalities {', '.join(found['modalities'])}, the experiment "
                f"{', '.join(setup['modalities'])}; samples with others need an experiment of their own."
            )
        with Ledger(experiment.ledger_path) as ledger:
            withdrawn = set(ledger.withdrawn())
        _check_unchanged(old["samples"], new["samples"], manifest)
        known = set(old["samples"]["sample_id"]) | withdrawn
        added = new["samples"][~new["samples"]["sample_id"].isin(known)]
        asked_split = read_manifest(manifest, modalities=parameters.ingest.modalities).set_index("sample_id")["split"]
        splits = asked_split.reindex(added["sample_id"]).to_numpy()
        added = added.assign(split=np.where(splits == "", "pool", splits))
        samples = pd.concat([old["samples"], added]).sort_values("sample_id", ignore_index=True)
        tables = {"samples": samples}
        labels = pd.concat([new[n][["sample_id", "label"]] for n in names[1:]])
        labels = labels[labels["sample_id"].isin(set(added["sample_id"]))]
        split_of = added.set_index("sample_id")["split"].reindex(labels["sample_id"]).to_numpy()
        simulated = setup["annotator"] == "simulated"
        for name, split in (("validation_labels", "validation"), ("test_labels", "test"), ("hidden_labels", "pool")):
            theirs = labels[split_of == split] if simulated or split != "pool" else labels[:0]
            tables[name] = pd.concat([old[name], theirs]).sort_values("sample_id", ignore_index=True)
        given = labels[split_of == "pool"] if not simulated else labels[:0]
        tables["labels_next"] = given.assign(purpose=TRAINING, annotator=GIVEN, cost=0.0)
        classes = sorted(set(setup["classes"]) | set(found["classes"])) if simulated else setup["classes"]
        encoded = _features(aside, "encoded").take(samples["sample_id"].to_numpy(dtype=str))
        pool_ids = samples.loc[samples["split"] == "pool", "sample_id"].to_numpy(dtype=str)
        fusion = parameters.fusion
        reduced = reduce_features(encoded, 0 if fusion.mode == "finetune" else fusion.reduced_dim, pool_ids)
        counts = {"n_pool": len(pool_ids), "n_validation": len(tables["validation_labels"]),
                  "n_test": len(tables["test_labels"])}  # fmt: skip
        return cls(tables, {**setup, "classes": classes, **counts}, encoded, reduced, len(added))


def _features(experiment: Experiment, name: str) -> Features:
    features: Features = FeaturesDataset(
        filepath=str(experiment.data_path / "04_feature" / experiment.name / name)
    ).load()
    return features


def _check_unchanged(old: pd.DataFrame, new: pd.DataFrame, manifest: Path) -> None:
    columns = [f"{m}_sha256" for m in MODALITIES if f"{m}_sha256" in old]
    now = new.set_index("sample_id")[columns].reindex(old["sample_id"])
    before = old.set_index("sample_id")[columns]
    changed = before.index[(now.to_numpy() != before.to_numpy()).any(axis=1)]
    if len(changed):
        first = changed[0]
        what = "is not in it any more" if first not in set(new["sample_id"]) else "has other media than before"
        raise UserError(
            f"{manifest.name}: the sample {first!r} {what}; rows are only added. To take samples out, use 'kedro "
            "rounds withdraw'; to start over, another --experiment."
        )


def _put_in_place(experiment: Experiment, new: _Merged, manifest: str) -> None:
    """Build everything aside, then the journal that names it; ``finish_append`` moves it in."""
    aside = experiment.folder / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    prepared = experiment.commit(PREPARED)
    assert prepared is not None
    digests, files = dict(prepared.digests), {}
    for role, dataset in (("samples", "samples"), ("validation_labels", "validation_labels"),
                          ("test_labels", "test_labels"), ("answers", "hidden_labels")):  # fmt: skip
        new.tables[dataset].to_parquet(aside / role)
        files[role] = prepared.files[role]
    (aside / "setup").write_text(json.dumps(new.setup))
    files["setup"] = prepared.files["setup"]
    for role, features in (("encoded", new.encoded), ("features", new.features)):
        FeaturesDataset(filepath="").write(features, aside / role)
        files[role] = prepared.files[role]
    digests |= {role: digest_of(aside / role) for role in files}
    recommit: dict[str, dict[str, str]] = {}
    done = experiment.rounds_done()
    if done >= 0 and len(new.tables["labels_next"]):
        stage = stage_name(done)
        path = experiment.path_of(stage, "labels_next")
        before = read_table(path)
        table = pd.concat([before, new.tables["labels_next"].assign(round=done)])
        table.sort_values(["round", "sample_id"], ignore_index=True)[list(before.columns)].to_parquet(aside / "labels")
        files["labels"] = experiment.place_of(path)
        recommit[stage] = {f"{stage}.labels_next": digest_of(aside / "labels")}
    for built in aside.iterdir():
        sync(built)
    commit = {**vars(prepared), "digests": digests, "state": DONE, "ledger": None}
    commit = {k: dict(v) if isinstance(v, dict) else v for k, v in commit.items()}
    with replacing(experiment.folder / JOURNAL) as temporary:
        moves = {"manifest": manifest, "files": files, "commit": commit, "recommit": recommit}
        temporary.write_text(json.dumps(moves, indent=1))
    finish_append(experiment)


def _remove(experiment: Experiment) -> None:
    for layer in experiment.data_path.iterdir():
        shutil.rmtree(layer / experiment.name, ignore_errors=True)
