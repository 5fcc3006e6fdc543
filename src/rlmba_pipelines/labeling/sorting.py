"""What a returned file comes to: every row is taken, a correction, set aside, still open, or not taken and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from rlmba_pipelines.labeling.files import AnswerFile
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.choices import letter_meant, lettered
from rlmba_pipelines.learning.vlm.explanations import fault_of
from rlmba_pipelines.ledger import (
    ABSTAINED,
    ABSTAINING,
    ADJUDICATOR,
    COLUMNS,
    DISPUTED,
    NONE_OF_THESE,
    WITHDRAWN,
    canonical_label,
    is_writable,
)

PEOPLE = "people"  # the annotator where nobody is named and one answer is all that is wanted
MAX_LABEL = 200
_SPELLINGS = {ABSTAINING: ABSTAINED, ABSTAINED: ABSTAINED, NONE_OF_THESE: NONE_OF_THESE}


def label_meant(text: str, choices: tuple[str, ...]) -> str | None:
    """The label that somebody meant who wrote ``text`` to a question with these choices, if any; None: none of them."""
    label = canonical_label(text)
    label = _SPELLINGS.get(label.lower(), label)
    if not choices or label in (ABSTAINED, NONE_OF_THESE):
        return label
    return letter_meant(label, tuple(map(canonical_label, choices)))


@dataclass
class Asked:
    """What answers are judged by.

    Attributes:
        samples: sample -> (round, purpose, price of one answer) of everything that was ever asked.
        answers: sample -> annotator -> label, of what the ledger holds in force.
        classes: labels that may be given; None while the first batch makes them known.
        wanted: answers wanted of each sample.
        withdrawn: samples that must not be used any more.
        choices: sample -> what its question lets choose from; the label is then a letter.
        spellings: canonical label -> as the experiment has it.
    """

    samples: Mapping[str, tuple[int, str, float]]
    answers: Mapping[str, Mapping[str, str]]
    classes: frozenset[str] | None
    wanted: int
    withdrawn: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)

    def label_of(self, sample_id: str, text: str) -> str | None:
        """:func:`label_meant` for one of these samples."""
        label = label_meant(text, self.choices.get(sample_id, ()))
        return None if label is None else self.spellings.get(label, label)


@dataclass
class Sorted:
    """The rows of one file by what became of them; ``accepted`` are rows of the ledger."""

    accepted: list[tuple[str, str, str, int, str, float, str]] = field(default_factory=list)
    corrected: list[tuple[str, str, str, str]] = field(default_factory=list)  # sample, annotator, label, explanation
    set_aside: list[tuple[str, str, str, int, str, str, bool]] = field(default_factory=list)  # rows of ``ASIDE``
    rejected: list[str] = field(default_factory=list)
    n_known: int = 0  # said before, and by the same annotator

    def ledger_rows(self) -> pd.DataFrame:
        """The accepted rows as the ledger takes them."""
        return pd.DataFrame(self.accepted, columns=list(COLUMNS))


def sort_answers(
    file: AnswerFile, asked: Asked, *, by: str | None = None, correct: bool = False, adjudicate: bool = False
) -> Sorted:
    """Sort the rows of ``file``.

    Args:
        by: who answered, where the file does not say so.
        correct: an answer that differs from what its annotator said before, or is explained in another way, supersedes
            that.
        adjudicate: the answers settle disputes; whoever gave them counts as the adjudicator.

    Raises:
        UserError: several answers a sample are wanted, and nobody says who answered.
    """
    found = Sorted()
    said: dict[tuple[str, str], str] = {}
    n_answers: dict[str, int] = defaultdict(int)
    for sample_id, answers in asked.answers.items():
        n_answers[sample_id] = len(answers.keys() - {ADJUDICATOR})
    contradicted = _contradicted(file, asked, by)
    explanations = file.rows["explanation"] if "explanation" in file.rows else [""] * len(file.rows)
    said_rows = file.rows[["row", "sample_id", "label", "annotator"]].itertuples(index=False, name=None)
    for (row, sample_id, text, named), explanation in zip(said_rows, explanations, strict=True):
        where = f"{file.name}, row {row}"
        if not text:
            continue
        label = asked.label_of(sample_id, text)
        annotator = ADJUDICATOR if adjudicate else named or by or (PEOPLE if asked.wanted == 1 else "")
        if not annotator:
            raise UserError(
                f"{where}: {asked.wanted} answers a sample are wanted, so it matters whose they are; "
                "add a column 'annotator' or give --by NAME."
            )
        reason = _refused(sample_id, label or text, annotator, asked, adjudicate)
        if not reason and label is None:
            offered = lettered(asked.choices[sample_id])
            reason = f"{text!r} is none of the choices of {sample_id!r}, or several; write one letter of {offered}"
        if not reason and (sample_id, named or by or "") in contradicted:
            reason = f"{sample_id!r} is answered in two ways at once"
        fault = fault_of(explanation)
        if not reason and fault:
            reason = f"in the explanation of {sample_id!r} {fault}"
        if reason or label is None:
            found.rejected.append(f"{where}: {reason}")
            continue
        round_idx, purpose, cost = asked.samples[sample_id]
        before = said.get((sample_id, annotator), asked.answers.get(sample_id, {}).get(annotator))
        aside = _not_yet(sample_id, label, before, n_answers[sample_id], asked, correct, annotator)
        if before == label and correct and explanation:  # the ledger knows whether that is another explanation
            found.corrected.append((sample_id, annotator, label, explanation))
        elif before == label:
            found.n_known += 1
        elif aside:
            reason = f"{where}: {aside}"
            found.set_aside.append((sample_id, label, annotator, round_idx, reason, explanation, correct))
        elif before is not None:
            found.corrected.append((sample_id, annotator, label, explanation))
            said[sample_id, annotator] = label
        else:
            found.accepted.append((sample_id, label, purpose, round_idx, annotator, cost, explanation))
            said[sample_id, annotator] = label
            n_answers[sample_id] += annotator != ADJUDICATOR
    return found


def _contradicted(file: AnswerFile, asked: Asked, by: str | None) -> set[tuple[str, str]]:
    """Sample and annotator wherever the file itself says two things."""
    said: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    said_rows = file.rows[["sample_id", "label", "annotator"]]
    for sample_id, text, named in said_rows.itertuples(index=False, name=None):
        if text:
            said[sample_id, named or by or ""].add(asked.label_of(sample_id, text))
    return {key for key, labels in said.items() if len(labels) > 1}


def _refused(sample_id: str, label: str, annotator: str, asked: Asked, adjudicate: bool) -> str | None:
    """Why a row can never be taken."""
    if sample_id not in asked.samples:
        return f"sample {sample_id!r} was not asked for"
    if sample_id in asked.withdrawn:
        return f"sample {sample_id!r} was withdrawn"
    if label in (DISPUTED, WITHDRAWN):
        return f"{label!r} is no answer"
    if len(label) > MAX_LABEL or not is_writable(label):
        return f"the label of {sample_id!r} is over {MAX_LABEL} characters long or holds a control character"
    if annotator == ADJUDICATOR and not adjudicate:
        return "the adjudicator's answers are imported with --adjudicate"
    return None


def _not_yet(
    sample_id: str, label: str, before: str | None, n_answers: int, asked: Asked, correct: bool, annotator: str
) -> str | None:
    """Why a row is kept but does not count for now."""
    if asked.classes is not None and label not in asked.classes and label not in (ABSTAINED, NONE_OF_THESE):
        return f"{label!r} is not one of the {len(asked.classes)} classes"
    if before is not None and before != label and not correct:
        return f"{sample_id!r} was answered {before!r} before and is {label!r} now; --correct lets the new answer count"
    if before is None and annotator != ADJUDICATOR and n_answers >= asked.wanted:
        return f"{sample_id!r} has its {asked.wanted} answers already"
    return None
