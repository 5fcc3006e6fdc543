"""Answers of people into the ledger: all rows of a call or none, and none twice; classes that they may name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.labeling import AnswerFile, Asked, sort_answers
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import (
    ADJUDICATOR,
    ASIDE,
    NOT_LABELS,
    Ledger,
    canonical_label,
    fault_of_class,
    spellings,
)
from rlmba_pipelines.rounds.batches import answers_in_force, nothing_asked
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_object, read_table
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.systems import SYSTEMS
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.sources.questions import choices_of, letters_of


@dataclass(frozen=True)
class _Given:
    """A file with the way in which its answers are to be taken."""

    file: AnswerFile
    by: str | None = None
    correct: bool = False
    adjudicate: bool = False


@dataclass(frozen=True)
class Imported:
    """What a call of import came to, in rows.

    Attributes:
        rejected, set_aside: one sentence a row.
        new_classes: labels that were met for the first time, and are classes from now on.
    """

    accepted: int
    corrected: int
    rejected: tuple[str, ...]
    set_aside: tuple[str, ...]
    new_classes: tuple[str, ...]


def import_answers(
    experiment: Experiment,
    files: Sequence[AnswerFile],
    parameters: Parameters,
    *,
    by: str | None = None,
    correct: bool = False,
    adjudicate: bool = False,
) -> Imported:
    """Take the answers of ``files`` into the ledger, all of them or none; what is there already changes nothing.

    While nobody has told the classes, the first batch makes them known; later a label that is none of them is set aside
    until ``add_classes``. An answer to an open question may be any, unless ``rounds.classes`` names all.

    Raises:
        UserError: nothing was asked yet.
    """
    return _import(experiment, [_Given(file, by, correct, adjudicate) for file in files], parameters)


def _import(experiment: Experiment, files: Iterable[_Given], parameters: Parameters) -> Imported:
    samples = _asked_samples(experiment)
    choices = choices_of(read_table(experiment.path_of(PREPARED, "samples")))
    accepted = corrected = 0
    rejected: list[str] = []
    aside: list[str] = []
    named: set[str] = set()
    with locked(experiment.folder), Ledger(experiment.ledger_path) as ledger, ledger.transaction():
        known = _told_classes(experiment, parameters, ledger) | _answered_classes(ledger)
        allowed = _allowed_classes(experiment, parameters, ledger)
        for given in files:
            file = given.file
            asked = Asked(
                samples,
                answers_in_force(ledger.rows()),
                allowed,
                parameters.labeling.annotators,
                frozenset(ledger.withdrawn()),
                choices,
                spellings(known | (allowed or set())),
            )
            found = sort_answers(file, asked, by=given.by, correct=given.correct, adjudicate=given.adjudicate)
            accepted += ledger.append(found.ledger_rows(), file.digest)
            corrections = pd.DataFrame(found.corrected, columns=["sample_id", "annotator", "label", "explanation"])
            corrected += ledger.correct(corrections, file.digest)
            ledger.set_aside(pd.DataFrame(found.set_aside, columns=list(ASIDE)), file.digest)
            ledger.record_import(file.digest, file.name, len(found.accepted), len(found.rejected), len(found.set_aside))
            named |= {label for _, label, *_ in found.accepted} | {label for _, _, label, _ in found.corrected}
            rejected += found.rejected
            aside += [reason for *_, reason, _, _ in found.set_aside]
    new_classes = sorted(named - known - set(NOT_LABELS))
    return Imported(accepted, corrected, tuple(rejected), tuple(aside), tuple(new_classes))


def known_classes(experiment: Experiment, parameters: Parameters) -> frozenset[str]:
    """Every class that was told in advance, was made known, or is met in a label that somebody answers for."""
    with Ledger(experiment.ledger_path) as ledger:
        return _told_classes(experiment, parameters, ledger) | _answered_classes(ledger)


def allowed_classes(experiment: Experiment, parameters: Parameters) -> frozenset[str] | None:
    """Labels that may be given now; None while the first batch makes them known, and of open questions."""
    with Ledger(experiment.ledger_path) as ledger:
        return _allowed_classes(experiment, parameters, ledger)


def _allowed_classes(experiment: Experiment, parameters: Parameters, ledger: Ledger) -> frozenset[str] | None:
    samples = read_table(experiment.path_of(PREPARED, "samples"))
    letters = frozenset(letters_of(samples))
    if SYSTEMS[experiment.system()].questions and not parameters.rounds.classes:
        return letters if len(choices_of(samples)) == len(samples) else None  # answers in words are none of a list
    told = _told_classes(experiment, parameters, ledger)
    known = told | _answered_classes(ledger)
    if not told and (experiment.rounds_done() < 0 or not known):
        return None
    return known | letters


def _told_classes(experiment: Experiment, parameters: Parameters, ledger: Ledger) -> frozenset[str]:
    """The classes by anything but the answers: parameters, the command for it, and labels of the manifest."""
    told = set(ledger.classes())
    if parameters.rounds.classes:
        told |= set(read_object(experiment.path_of(PREPARED, "setup"))["classes"])  # as they were spelled then
    for name in ("given_labels", "validation_labels", "test_labels"):
        told |= set(read_table(experiment.path_of(PREPARED, name))["label"])
    return frozenset(told)


def _answered_classes(ledger: Ledger) -> frozenset[str]:
    return frozenset(ledger.rows()["label"]) - set(NOT_LABELS)


def _asked_samples(experiment: Experiment) -> dict[str, tuple[int, str, float]]:
    """Sample -> (round, purpose, price) of everything that was ever asked; of the latest round that asked for it."""
    found: dict[str, tuple[int, str, float]] = {}
    for k in range(experiment.rounds_done() + 2):
        stage = stage_name(k)
        if experiment.commit(stage) is None:
            continue
        batch = read_table(experiment.path_of(stage, "annotation_batch"))
        for sample_id, purpose, cost in batch[["sample_id", "purpose", "cost"]].itertuples(index=False):
            found[sample_id] = (k, purpose, float(cost))
    if not found:
        raise nothing_asked(experiment)
    return found


def add_classes(experiment: Experiment, names: Collection[str], parameters: Parameters) -> Imported:
    """Make classes known, and take the answers that were set aside for want of them.

    Raises:
        UserError: a name is none that people could give as an answer.
    """
    wanted = set(map(canonical_label, names))
    for name in sorted(wanted):
        if fault := fault_of_class(name):
            raise UserError(f"{name!r} cannot be a class, since it {fault}; give the name that stands in the answers.")
    with locked(experiment.folder):
        spelled = spellings(known_classes(experiment, parameters))
        with Ledger(experiment.ledger_path) as ledger:
            ledger.add_classes(spelled.get(name, name) for name in sorted(wanted))
            waiting = ledger.quarantined()
        waiting = waiting[waiting["label"].map(canonical_label).isin(wanted)]
        return _import(experiment, _as_given(waiting), parameters)


def _as_given(waiting: pd.DataFrame) -> Iterator[_Given]:
    """Answers that were set aside, as they came: the last of each annotator to a sample, corrections before others."""
    waiting = waiting.sort_values("corrects", kind="stable").drop_duplicates(["sample_id", "annotator"], keep="last")
    waiting = waiting.assign(row=range(1, len(waiting) + 1), adjudicates=waiting["annotator"] == ADJUDICATOR)
    for (correct, adjudicate), rows in waiting.groupby(["corrects", "adjudicates"]):
        rows = rows[["row", "sample_id", "label", "annotator", "explanation"]]
        file = AnswerFile("set aside", "quarantine", rows)
        yield _Given(file, correct=bool(correct), adjudicate=bool(adjudicate))
