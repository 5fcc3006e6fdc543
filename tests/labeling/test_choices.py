"""A question with choices is answered by a letter, or by the choice itself; anything else is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlmba_pipelines.labeling import Asked, read_answers, sort_answers
from rlmba_pipelines.ledger import ABSTAINED

ASKED = Asked(
    {f"q{i}": (1, "training", 1.0) for i in range(6)}, {}, frozenset({"A", "B", "yes"}), 1,
    choices={f"q{i}": ("a cat", "A  Dog") for i in range(5)},
)  # fmt: skip


def sorted_rows(tmp_path: Path, *rows: tuple[str, str], correct: bool = False, asked: Asked = ASKED):
    path = tmp_path / "answers.csv"
    pd.DataFrame(rows, columns=["sample_id", "label"]).to_csv(path, index=False)
    return sort_answers(read_answers(path), asked, correct=correct)


def test_letters_and_choices_become_the_letter(tmp_path: Path) -> None:
    said = [("q0", "b"), ("q1", "(A)"), ("q2", "a dog"), ("q3", "?"), ("q5", "yes")]
    found = sorted_rows(tmp_path, *said)
    assert not found.rejected
    assert not found.set_aside
    assert [row[:2] for row in found.accepted] == [
        ("q0", "B"), ("q1", "A"), ("q2", "B"), ("q3", ABSTAINED), ("q5", "yes"),
    ]  # fmt: skip


def test_what_is_none_of_the_choices_is_refused_with_them(tmp_path: Path) -> None:
    found = sorted_rows(tmp_path, ("q0", "C"), ("q1", "cow"), ("q2", "A"))
    told = "or several; write one letter of (A) a cat (B) A Dog."
    assert found.rejected == [
        f"answers.csv, row 2: 'C' is none of the choices of 'q0', {told}",
        f"answers.csv, row 3: 'cow' is none of the choices of 'q1', {told}",
    ]
    assert [row[:2] for row in found.accepted] == [("q2", "A")]
    never_asked = Asked({}, {}, None, 1, choices=ASKED.choices)
    assert "was not asked for" in sorted_rows(tmp_path, ("q0", "cow"), asked=never_asked).rejected[0]


def test_the_same_answer_in_two_spellings_is_one_answer(tmp_path: Path) -> None:
    assert sorted_rows(tmp_path, ("q0", "b"), ("q0", "a dog")).n_known == 1
    before = Asked(ASKED.samples, {"q0": {"people": "B"}}, ASKED.classes, 1, choices=ASKED.choices)
    assert sorted_rows(tmp_path, ("q0", "A DOG"), asked=before).n_known == 1
    assert sorted_rows(tmp_path, ("q0", "a cat"), correct=True, asked=before).corrected == [("q0", "people", "A", "")]
