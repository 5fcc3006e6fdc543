"""Samples that must not be used any more: tombstones in the ledger, everything else about them removed.

The ledger's tombstone is written first; whatever is killed after it is finished by the next ``withdraw`` or ``run``,
since erasing what is erased already changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.datasets.arrays import EvidenceDataset, FeaturesDataset, PredictionsDataset
from rlmba_pipelines.disk import remove, replacing
from rlmba_pipelines.encoders.cache import FeatureCache
from rlmba_pipelines.labeling import sheet_of, texts_of
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import WITHDRAWN, Ledger
from rlmba_pipelines.records import rearmed
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
from rlmba_pipelines.rounds.rewriting import Rewriting, finish_rewriting, rewriting
from rlmba_pipelines.rounds.tidy import remove_attempts, sweep
from rlmba_pipelines.rounds.withdrawn_media import delete_media, remember_media
from rlmba_pipelines.simulation.tables import MEDIA
from rlmba_pipelines.sources.manifest import MODALITIES

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
        media_folder: where their media files are deleted, now or by a later call; None leaves them. A file that
            another sample shares stays, and so does a member of an archive.

    Raises:
        UserError: the experiment does not know one of the samples, the folder is not there, or a sheet that shows one
            holds answers that were not imported.
    """
    if media_folder and not media_folder.is_dir():
        raise UserError(f"There is no folder {media_folder} with the media; bring it there, or leave --delete-media.")
    with locked(experiment.folder):
        sweep(experiment)  # an append or a write that was killed may have left what is withdrawn now
        samples = read_table(experiment.path_of(PREPARED, "samples"))
        with Ledger(experiment.ledger_path) as ledger:
            known = set(samples["sample_id"]) | set(ledger.withdrawn())
            unknown = sorted(set(sample_ids) - known)
            if unknown:
                raise UserError(f"Experiment {experiment.name!r} has no sample {unknown[0]!r}; nothing was withdrawn.")
            _refuse_unimported(experiment, _batches_without(experiment, set(sample_ids)), ledger)
            theirs = samples["sample_id"].isin(set(sample_ids))
            remember_media(experiment, samples[theirs])
            new = ledger.withdraw(sorted(set(sample_ids)), reason)
        media = delete_media(experiment, set(sample_ids), samples[~theirs], media_folder) if media_folder else ()
        files = erase_withdrawn(experiment)
    return Withdrawn(new, files, media, _elsewhere(experiment, set(sample_ids)))


def finish_what_was_killed(experiment: Experiment) -> None:
    """What every run does first: temporaries go, files that were to be moved in are, what is withdrawn is erased.

    The caller holds the lock.
    """
    sweep(experiment)
    finish_rewriting(experiment)
    erase_withdrawn(experiment)


def erase_withdrawn(experiment: Experiment) -> int:
    """Remove everything about withdrawn samples but their tombstone and their bill; gives the files written anew."""
    if not experiment.ledger_path.exists():
        return 0
    with Ledger(experiment.ledger_path) as ledger:
        gone = set(ledger.withdrawn())
        if not gone:
            return 0
        batches = list(_batches_without(experiment, gone))
        _refuse_unimported(experiment, batches, ledger)
    with rewriting(experiment) as new:
        for commit, batch in batches:
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
            forget_features(experiment.data_path, read_table(experiment.path_of(PREPARED, "samples")), gone)
            remove_attempts(experiment, keep=0)  # what was killed before its commit shows them too
            for report in (experiment.report_path, experiment.report_path.parents[1] / experiment.report_path.name):
                report.unlink(missing_ok=True)
            for bundle in experiment.report_path.parent.glob(f"{BUNDLE}*"):
                remove(bundle)
    _forget_answers(experiment, gone)
    return len(new.files)


def _batches_without(experiment: Experiment, gone: set[str]) -> Iterator[tuple[Commit, pd.DataFrame]]:
    """Every commit whose batch still shows one of the samples, and that batch when it does not."""
    for commit in experiment.commits():
        if f"{commit.stage}.annotation_batch" in commit.files:
            batch = read_table(experiment.path_of(commit.stage, "annotation_batch"))
            if _blanked(batch, gone):
                yield commit, batch


def _refuse_unimported(experiment: Experiment, batches: Iterable[tuple[Commit, pd.DataFrame]], ledger: Ledger) -> None:
    """What people filled in where it lies is taken before it is written anew.

    Args:
        batches: of ``_batches_without``.

    Raises:
        UserError: a sheet of one of these was changed since, and not imported.
    """
    imported = ledger.imported()
    for commit, _ in batches:
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
    kept = table[~table["sample_id"].map(rearmed).isin(gone)]
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


def forget_features(data_path: Path, samples: pd.DataFrame, gone: set[str]) -> None:
    """Take the media of withdrawn samples out of the cache, unless another one of ``samples`` has the same media."""
    theirs = samples["sample_id"].isin(gone)
    for modality in [m for m in MODALITIES if f"{m}_sha256" in samples]:
        digests = samples[f"{modality}_sha256"]
        forgotten = set(digests[theirs]) - set(digests[~theirs]) - {""}
        folder = data_path / "04_feature" / "cache" / modality
        for cache in sorted(folder.iterdir()) if forgotten and folder.is_dir() else []:
            FeatureCache(cache).forget(forgotten)


def _forget_answers(experiment: Experiment, gone: set[str]) -> None:
    """Take what annotation servers said of withdrawn samples out of the answer files; the ledger keeps the bill."""
    for path in experiment.folder.glob("answers/*.jsonl"):
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]  # a text may hold U+2028
        kept = [line for line in lines if rearmed(json.loads(line)["sample_id"]) not in gone]
        if len(kept) < len(lines):
            with replacing(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _elsewhere(experiment: Experiment, gone: set[str]) -> tuple[str, ...]:
    found = []
    for path in sorted(experiment.folder.parent.glob("[!.]*/samples.parquet")):
        ids = read_table(path)["sample_id"]
        if path.parent != experiment.folder and ids.isin(gone).any():
            found.append(path.parent.name)
    return tuple(found)
