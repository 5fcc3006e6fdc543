"""Samples that must not be used any more: tombstones in the ledger, everything else about them removed.

The ledger's tombstone is written first; whatever is killed after it is finished by the next ``withdraw`` or ``run``,
since erasing what is erased already changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.datasets.arrays import EvidenceDataset, FeaturesDataset, PredictionsDataset
from rlmba_pipelines.disk import remove
from rlmba_pipelines.encoders.cache import FeatureCache
from rlmba_pipelines.labeling import sheet_of, texts_of
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import WITHDRAWN, Ledger
from rlmba_pipelines.rounds.commits import (
    BUNDLE,
    HANDED_OUT,
    PREPARED,
    Commit,
    Experiment,
    damaged,
    digest_of,
    read_object,
    read_table,
)
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.rewriting import Rewriting, rewriting
from rlmba_pipelines.simulation.tables import MEDIA
from rlmba_pipelines.sources.manifest import MODALITIES
from rlmba_pipelines.sources.media import MediaRoot, is_reference

Write = Callable[[Path], object]  # writes what a file is to become
Erase = Callable[[Path, set[str]], Write | None]  # committed file, ids -> how it is written without them; None: it is
SHOWN = (*MEDIA, "guess", "proposed_chain", "explanation")  # columns that show a sample


@dataclass(frozen=True)
class Withdrawn:
    """What a withdrawal came to.

    Attributes:
        new: samples that were not withdrawn before.
        files: committed files that were written anew.
        media: media files deleted.
        elsewhere: other experiments that hold one of the samples.
    """

    new: int
    files: int
    media: tuple[Path, ...]
    elsewhere: tuple[str, ...]


def withdraw(
    experiment: Experiment, sample_ids: Collection[str], reason: str, media_folder: Path | None = None
) -> Withdrawn:
    """Withdraw samples from an experiment: no round will look at them again; what was paid for them stays on the bill.

    Args:
        media_folder: where their media files are deleted; None leaves them. A file that another sample shares stays,
            and so does a member of an archive.

    Raises:
        UserError: the experiment does not know one of the samples, or a sheet that shows one holds answers that were
            not imported.
    """
    with locked(experiment.folder):
        samples = read_table(experiment.path_of(PREPARED, "samples"))
        with Ledger(experiment.ledger_path) as ledger:
            known = set(samples["sample_id"]) | set(ledger.withdrawn())
            unknown = sorted(set(sample_ids) - known)
            if unknown:
                raise UserError(f"Experiment {experiment.name!r} has no sample {unknown[0]!r}; nothing was withdrawn.")
            _refuse_unimported(experiment, set(sample_ids), ledger)
            new = ledger.withdraw(sorted(set(sample_ids)), reason)
        theirs = samples["sample_id"].isin(set(sample_ids))
        media = _delete_media(samples, theirs, media_folder) if media_folder else ()
        files = erase_withdrawn(experiment)
    return Withdrawn(new, files, media, _elsewhere(experiment, set(sample_ids)))


def erase_withdrawn(experiment: Experiment) -> int:
    """Remove everything about withdrawn samples but their tombstone and their bill; gives the files written anew."""
    if not experiment.ledger_path.exists():
        return 0
    with Ledger(experiment.ledger_path) as ledger:
        gone = set(ledger.withdrawn())
        if not gone:
            return 0
        _refuse_unimported(experiment, gone, ledger)
    with rewriting(experiment) as new:
        for commit, batch in _batches_without(experiment, gone):
            _hand_out(experiment, commit, batch, new)
        for commit in experiment.commits():
            for name, place in commit.files.items():
                path, erase = experiment.data_path / place, _ERASE.get(name.rpartition(".")[2])
                if erase and path.exists():
                    try:
                        write = erase(path, gone)
                    except Exception as error:
                        raise damaged(path, str(error)) from error
                    if write:
                        new.replace(commit, name, write)
        if new.files:
            _forget_features(experiment, gone)
            for report in (experiment.report_path, experiment.report_path.parents[1] / experiment.report_path.name):
                report.unlink(missing_ok=True)
            for bundle in experiment.report_path.parent.glob(f"{BUNDLE}*"):
                remove(bundle)
    return len(new.files)


def _batches_without(experiment: Experiment, gone: set[str]) -> Iterator[tuple[Commit, pd.DataFrame]]:
    """Every commit whose batch still shows one of the samples, and that batch when it does not."""
    for commit in experiment.commits():
        if f"{commit.stage}.annotation_batch" in commit.files:
            batch = read_table(experiment.path_of(commit.stage, "annotation_batch"))
            if _blanked(batch, gone):
                yield commit, batch


def _refuse_unimported(experiment: Experiment, gone: set[str], ledger: Ledger) -> None:
    """What people filled in where it lies is taken before it is written anew.

    Raises:
        UserError: a sheet that shows one of the samples was changed since, and not imported.
    """
    imported = ledger.imported()
    for commit, _ in _batches_without(experiment, gone):
        for role in HANDED_OUT:
            path = experiment.path_of(commit.stage, role)
            as_written = commit.digests.get(f"{commit.stage}.{role}")
            if path.exists() and digest_of(path) not in {as_written, *imported}:
                raise UserError(
                    f"{path} shows a sample that is to be withdrawn and holds changes that were not imported; take its "
                    f"answers with 'kedro rounds import FILE{experiment.flag()}', or remove it, and give the same "
                    "command again."
                )


def _hand_out(experiment: Experiment, commit: Commit, batch: pd.DataFrame, new: Rewriting) -> None:
    """The files for people anew, from the batch: nobody knows how they were saved since."""
    explained = read_object(experiment.path_of(PREPARED, "setup")).get("explained", False)
    texts = texts_of(sheet_of(batch, explained=explained or "proposed_chain" in batch))
    for role, text in zip(HANDED_OUT, texts, strict=True):
        new.replace(commit, f"{commit.stage}.{role}", partial(Path.write_text, data=text, encoding="utf-8", newline=""))


def _without_rows(path: Path, gone: set[str]) -> Write | None:
    table = read_table(path)
    kept = table[~table["sample_id"].isin(gone)].reset_index(drop=True)
    return kept.to_parquet if len(kept) < len(table) else None


def _without_lines(path: Path, gone: set[str]) -> Write | None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    kept = table[~table["sample_id"].isin(gone)]
    return partial(kept.to_csv, index=False) if len(kept) < len(table) else None


def _relabeled(path: Path, gone: set[str]) -> Write | None:
    table = read_table(path)
    theirs = table["sample_id"].isin(gone)
    changed = theirs & (table["label"] != WITHDRAWN)
    table.loc[theirs, "label"] = WITHDRAWN
    if "explanation" in table:  # experiments of before have none
        changed |= theirs & (table["explanation"] != "")
        table.loc[theirs, "explanation"] = ""
    return table.to_parquet if changed.any() else None


def _blanked(table: pd.DataFrame, gone: set[str]) -> bool:
    """Empty what shows a sample; which it was, and what it cost, stays. Gives whether there was anything."""
    shown = [name for name in SHOWN if name in table]
    theirs = table["sample_id"].isin(gone)
    changed = bool((table.loc[theirs, shown].fillna("") != "").any(axis=None))
    table.loc[theirs, shown] = ""
    return changed


def _blanked_parquet(path: Path, gone: set[str]) -> Write | None:
    table = read_table(path)
    return table.to_parquet if _blanked(table, gone) else None


def _taken(kind: Any) -> Erase:
    """Erases rows of a bundle of arrays over ``sample_ids``."""

    def erase(path: Path, gone: set[str]) -> Write | None:
        dataset = kind(filepath=str(path))
        bundle = dataset.read(path)
        keep = ~np.isin(bundle.sample_ids, sorted(gone))
        arrays = {name: value for name, value in vars(bundle).items() if isinstance(value, np.ndarray)}
        changes: dict[str, Any] = {name: value[keep] for name, value in arrays.items() if len(value) == len(keep)}
        if kind is FeaturesDataset:
            changes["blocks"] = {name: np.asarray(block)[keep] for name, block in bundle.blocks.items()}
        return None if keep.all() else partial(dataset.write, replace(bundle, **changes))

    return erase


# role of a committed dataset -> how it forgets a sample; selections keep ids and utilities: they are the bill's reasons
_ERASE: Mapping[str, Erase] = {
    **dict.fromkeys(("samples", "validation_labels", "test_labels", "given_labels", "answers", "terms"), _without_rows),
    "proposals": _without_rows,
    "quarantine": _without_lines,
    "labels_next": _relabeled,
    "annotation_batch": _blanked_parquet,
    "encoded": _taken(FeaturesDataset),
    "features": _taken(FeaturesDataset),
    "predictions": _taken(PredictionsDataset),
    "evidence": _taken(EvidenceDataset),
}


def _forget_features(experiment: Experiment, gone: set[str]) -> None:
    """Take the media of withdrawn samples out of the cache, unless another sample has the same media."""
    samples = read_table(experiment.path_of(PREPARED, "samples"))
    theirs = samples["sample_id"].isin(gone)
    for modality in [m for m in MODALITIES if f"{m}_sha256" in samples]:
        digests = samples[f"{modality}_sha256"]
        forgotten = set(digests[theirs]) - set(digests[~theirs]) - {""}
        folder = experiment.data_path / "04_feature" / "cache" / modality
        for cache in sorted(folder.iterdir()) if forgotten and folder.is_dir() else []:
            FeatureCache(cache).forget(forgotten)


def _delete_media(samples: pd.DataFrame, theirs: pd.Series, folder: Path) -> tuple[Path, ...]:
    root = MediaRoot(folder)
    deleted = []
    for modality in [m for m in MODALITIES if m in samples]:
        for ref in sorted(set(samples.loc[theirs, modality]) - set(samples.loc[~theirs, modality]) - {""}):
            if is_reference(modality, ref):
                for path in root.files(ref):
                    path.unlink()
                    deleted.append(path)
    return tuple(deleted)


def _elsewhere(experiment: Experiment, gone: set[str]) -> tuple[str, ...]:
    found = []
    for path in sorted(experiment.folder.parent.glob("*/samples.parquet")):
        ids = read_table(path)["sample_id"]
        if path.parent != experiment.folder and ids.isin(gone).any():
            found.append(path.parent.name)
    return tuple(found)
