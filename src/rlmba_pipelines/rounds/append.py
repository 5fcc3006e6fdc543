"""The pool grows between rounds: a manifest with more rows is prepared aside, compared, and put in place.

Samples that were there keep their split and must be what they were; new ones join the split of their group, a new group
the pool, unless the manifest puts them into another split.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.datasets import FeaturesDataset, ModelDataset
from rlmba_pipelines.learning.types import Features, UserError
from rlmba_pipelines.ledger import Ledger, spellings
from rlmba_pipelines.models.state import PackedModel
from rlmba_pipelines.pipelines.feature_extraction.nodes import reduce_samples
from rlmba_pipelines.records import rearmed
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, damaged, read_object, read_table
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.driver import Request, Runner, Say, quiet, read_quarantine, say_set_aside
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.rewriting import finish_rewriting, rewriting
from rlmba_pipelines.rounds.systems import RL_MBA, SYSTEMS
from rlmba_pipelines.rounds.tidy import remove_aside, sweep
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.rounds.withdraw import forget_features
from rlmba_pipelines.simulation.tables import GIVEN, TRAINING, pool_ids, with_given
from rlmba_pipelines.sources.manifest import MODALITIES
from rlmba_pipelines.sources.public import read_samples
from rlmba_pipelines.sources.splits import later_splits


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
    if experiment.system() != RL_MBA:
        raise UserError("A pool of visual questions cannot grow yet; start another experiment with --experiment NAME.")
    with locked(experiment.folder), quiet():
        finish_rewriting(experiment)
        if not experiment.is_done(PREPARED):
            raise UserError(f"Experiment {experiment.name!r} has no samples yet; start it with 'kedro rounds run'.")
        sweep(experiment)
        aside = experiment.aside
        say(f"reading and encoding the samples of {manifest} …")
        runtime_params = {**request.runtime_params, "experiment": aside.name}
        current.project_path, current.experiment_name, current.aside = request.project_path, aside.name, aside
        with locked(aside.folder):
            Runner(replace(request, runtime_params=runtime_params))(*SYSTEMS[experiment.system()].preparation, rounds=1)
        new = _Merged.of(experiment, aside, Path(manifest), parameters)
        _put_in_place(experiment, new, manifest)
        forget_features(experiment.data_path, read_table(_place(aside, "samples")), new.withdrawn)
        remove_aside(experiment)
        say_set_aside(new.n_set_aside, experiment, say)
    return new.n_new


@dataclass(frozen=True)
class _Merged:
    """The prepared datasets with the new samples in them, tables by name; ``given`` where the manifest labels some."""

    tables: dict[str, pd.DataFrame]
    given: pd.DataFrame
    setup: dict[str, Any]
    encoded: Features
    features: Features
    reduction: PackedModel
    n_new: int
    quarantine: pd.DataFrame
    n_set_aside: int
    withdrawn: set[str]

    @classmethod
    def of(cls, experiment: Experiment, aside: Experiment, manifest: Path, parameters: Parameters) -> _Merged:
        names = ("samples", "validation_labels", "test_labels", "given_labels", "answers")
        old, new = ({n: read_table(_place(e, n)) for n in names} for e in (experiment, aside))
        setup, found = read_object(_place(experiment, "setup")), read_object(_place(aside, "setup"))
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
        asked_split = read_samples(manifest, parameters.ingest).set_index("sample_id")["split"]
        added = added.assign(split=asked_split.reindex(added["sample_id"]).to_numpy())
        added = added.assign(split=later_splits(added, old["samples"]))
        samples = pd.concat([old["samples"], added]).sort_values("sample_id", ignore_index=True)
        tables = {"samples": samples}
        labels = pd.concat([new[n][["sample_id", "label"]] for n in names[1:]])
        labels = labels[labels["sample_id"].isin(set(added["sample_id"]))]
        spelled = spellings({*setup["classes"], *(label for n in names[1:] for label in old[n]["label"])})
        labels = labels.assign(label=[spelled.get(label, label) for label in labels["label"]])
        split_of = added.set_index("sample_id")["split"].reindex(labels["sample_id"]).to_numpy()
        simulated = setup["annotator"] == "simulated"
        for name, split in (("validation_labels", "validation"), ("test_labels", "test"), ("answers", "pool")):
            theirs = labels[split_of == split] if simulated or split != "pool" else labels[:0]
            tables[name] = pd.concat([old[name], theirs]).sort_values("sample_id", ignore_index=True)
        given = labels[split_of == "pool"] if not simulated else labels[:0]
        given = given.assign(purpose=TRAINING, annotator=GIVEN, cost=0.0, explanation="")
        tables["given_labels"] = with_given(old["given_labels"], given, 0)
        new_classes = {spelled.get(name, name) for name in found["classes"]}
        classes = sorted(set(setup["classes"]) | new_classes) if simulated else setup["classes"]
        encoded = FeaturesDataset(filepath=str(_place(aside, "encoded"))).load()
        encoded = encoded.take(samples["sample_id"].to_numpy(dtype=str))
        counts = {"n_pool": len(pool_ids(samples)), "n_validation": len(tables["validation_labels"]),
                  "n_test": len(tables["test_labels"])}  # fmt: skip
        setup = {**setup, "classes": classes, **counts}
        features, reduction = reduce_samples(encoded, samples, parameters.fusion)
        before, now = read_quarantine(experiment), read_quarantine(aside)
        late = now[~now["sample_id"].map(rearmed).isin(known | set(before["sample_id"].map(rearmed)))]
        quarantine = pd.concat([before, late], ignore_index=True)
        return cls(tables, given, setup, encoded, features, reduction, len(added), quarantine, len(late), withdrawn)


def _place(experiment: Experiment, name: str) -> Path:
    """Where the preparation of an experiment keeps a dataset.

    Raises:
        UserError: it is not what was committed.
    """
    path, commit = experiment.path_of(PREPARED, name), experiment.commit(PREPARED)
    assert commit is not None
    found = experiment.damage(commit, name)
    if found:
        raise damaged(path, f"it is {found}")
    return path


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
    prepared = experiment.commit(PREPARED)
    assert prepared is not None
    with rewriting(experiment, manifest) as files:
        for role, table in new.tables.items():
            files.replace(prepared, role, table.to_parquet)
        files.replace(prepared, "quarantine", partial(new.quarantine.to_csv, index=False))
        files.replace(prepared, "setup", lambda path: path.write_text(json.dumps(new.setup)))
        for role, features in (("encoded", new.encoded), ("features", new.features)):
            files.replace(prepared, role, partial(FeaturesDataset(filepath="").write, features))
        if "reduction" in prepared.files:  # an earlier version did not keep it
            files.replace(prepared, "reduction", partial(ModelDataset(filepath="").write, new.reduction))
        done = experiment.rounds_done()
        last = experiment.commit(stage_name(done)) if done >= 0 else None
        if last is not None and len(new.given):
            table = with_given(read_table(experiment.path_of(last.stage, "labels_next")), new.given, done)
            files.replace(last, f"{last.stage}.labels_next", table.to_parquet)
