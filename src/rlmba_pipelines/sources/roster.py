"""The roster of a run: what it may know of a manifest, kept apart from the labels that must stay hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlmba_pipelines.config import RoundsConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import canonical_label, fault_of_class
from rlmba_pipelines.records import quoted
from rlmba_pipelines.sources.manifest import MODALITIES
from rlmba_pipelines.sources.questions import choices_of, letters_of

SECRET = ("meta_scene", "meta_answers")  # notes on a question that tell its answer: of the pool they are kept from all


@dataclass(frozen=True)
class Roster:
    """A divided manifest.

    Attributes:
        samples: every sample without its label: id, split, group, cost, media and their digests, notes (of the pool
            without those that tell an answer).
        validation_labels, test_labels: ``sample_id, label`` (and ``explanation`` where there is one) of the given
            splits; may be empty.
        hidden_labels: the same of the pool where an oracle answers from the manifest; else empty.
        given_labels: ledger rows of pool samples that were labeled before the run; they cost nothing.
        setup: ``annotator``, ``classes`` (empty = from the labels), ``modalities``, whether answers come
            ``explained``, and counts.
    """

    samples: pd.DataFrame
    validation_labels: pd.DataFrame
    test_labels: pd.DataFrame
    hidden_labels: pd.DataFrame
    given_labels: pd.DataFrame
    setup: dict[str, Any]


def divide(manifest: pd.DataFrame, rounds: RoundsConfig) -> Roster:
    """Divide a checked manifest.

    ``annotator: auto`` simulates where every sample of the pool has a label, and asks people otherwise; labels that
    some samples of the pool already have are then the start.

    Raises:
        UserError: an oracle is asked for but labels are missing, the pool is empty or smaller than a batch, or there
            would be nothing to measure accuracy on.
    """
    in_pool = manifest["split"] == "pool"
    pool, has_label = manifest[in_pool], manifest["label"] != ""
    if pool.empty:
        raise UserError(
            "The manifest has no sample in the split 'pool', so there is nothing to choose from; "
            "mark some rows as pool or leave their split empty."
        )
    n_unlabeled = int((pool["label"] == "").sum())
    annotator = rounds.annotator
    if annotator == "auto":
        annotator = "files" if n_unlabeled else "simulated"
    if annotator == "simulated" and n_unlabeled:
        raise UserError(
            f"The simulated annotator answers from the manifest, but {n_unlabeled} of {len(pool)} pool "
            "samples have no label; give them labels or use --annotator files or label_studio."
        )
    for name in ("start_size", "query_size"):
        size = getattr(rounds, name)
        if size is not None and size > len(pool):
            raise UserError(
                f"rounds.{name} is {size}, but the pool has only {len(pool)} samples; "
                f"lower it (--{name.replace('_', '-')}) or add samples."
            )
    columns = ["sample_id", "label", *(["explanation"] if "explanation" in manifest else [])]
    validation, test = (
        manifest[(manifest["split"] == split) & has_label][columns].reset_index(drop=True)
        for split in ("validation", "test")
    )
    if validation.empty and test.empty and rounds.validation_share == 0:
        raise UserError(
            "There is nothing to measure accuracy on: add rows with split 'validation' to the manifest or "
            "set rounds.validation_share above 0, so that a random slice is labeled for it."
        )
    told = _told(rounds.classes)
    unknown = sorted(set(manifest.loc[has_label, "label"]) - set(told)) if told else []
    if unknown:
        raise UserError(
            f"The manifest has the label {unknown[0]!r}, which is not one of rounds.classes; add it or drop its rows."
        )
    if rounds.budget is not None and rounds.budget < len(validation) + 2:
        raise UserError(
            f"rounds.budget is {rounds.budget}, but the {len(validation)} given validation labels count as paid for, "
            "so nothing is left to buy; raise it (--budget)."
        )
    labeled = pool[pool["label"] != ""][columns].reset_index(drop=True)
    simulated = annotator == "simulated"
    choices, letters = choices_of(manifest), letters_of(manifest)
    known = {*manifest.loc[has_label, "label"], *letters} if simulated else set[str]()
    if len(choices) == len(manifest):  # nothing but letters can be said, also where nobody has said them yet
        known |= set(letters)
    classes = told or tuple(sorted(known))
    if simulated and len(classes) < 2:
        raise UserError("All labels of the manifest are the same; two classes are the least that can be learned.")
    given = labeled.iloc[0:0] if simulated else labeled
    modalities = [name for name in MODALITIES if name in manifest]
    samples = manifest.drop(columns=columns[1:])
    samples.loc[in_pool, [name for name in SECRET if name in samples]] = ""
    return Roster(
        samples=samples.reset_index(drop=True),
        validation_labels=validation,
        test_labels=test,
        hidden_labels=labeled if simulated else labeled.iloc[0:0],
        given_labels=given.assign(
            purpose="training",
            round=0,
            annotator="manifest",
            cost=0.0,
            explanation=given.get("explanation", ""),
        ),
        setup={
            "annotator": annotator,
            "classes": list(classes),
            "modalities": modalities,
            "explained": "explanation" in manifest,
            "n_pool": len(pool),
            "n_validation": len(validation),
            "n_test": len(test),
        },
    )


def _told(names: Sequence[str]) -> tuple[str, ...]:
    """``rounds.classes``, each once and as it is spelled in answers."""
    found = tuple(dict.fromkeys(map(canonical_label, names)))
    for name in found:
        if fault := fault_of_class(name):
            raise UserError(f"rounds.classes has the name {quoted(name)}, which {fault}; rename the class.")
    return found
