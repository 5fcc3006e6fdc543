"""The score of what a model writes: each question by the rule of its kind."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.learning.types import Labels
from rlmba_pipelines.simulation import question_measures
from rlmba_pipelines.simulation.question_measures import score_of_answers

NAMES = ("red", "1.2", "A", "B")
# answers of people, choices, kind of answer, digits, the right answer, what was written, its score
QUESTIONS = [
    (["red"] * 8 + ["pink"] * 2, [], "", "", "red", "red", 1),
    (["red"] * 2 + ["pink"] * 8, [], "", "", "red", "red", 0.6),
    (["red"] * 3, [], "", "", "red", " Red", 1),  # too few people: to the letter
    ([], [], "", "", "red", "pink", 0),
    (["dog"] * 10, ["dog", "cat"], "", "", "A", "(a)", 1),  # the choice, whatever people said
    ([], ["dog", "cat"], "", "", "A", "a dog", 1),
    ([], ["dog", "cat"], "", "", "A", "B", 0),
    ([], ["B", "A"], "", "", "A", "A", 1),  # a letter, though a choice is called so
    ([], ["B", "A"], "", "", "A", "B", 0),
    ([], ["5 cm", "7 cm"], "text", "", "B", "7 cm", 1),
    ([], [], "float", "1", "1.2", "1.249", 1),
    ([], [], "float", "2", "1.2", "1.249", 0),
]


def test_every_question_is_scored_by_the_rule_of_its_kind() -> None:
    answers, choices, kinds, digits, right, said, expected = zip(*QUESTIONS, strict=True)
    facts = pd.DataFrame({
        "meta_answers": [json.dumps(one) if one else "" for one in answers],
        "meta_choices": [json.dumps(one) if one else "" for one in choices],
        "meta_answer_type": kinds, "meta_precision": digits,
    })  # fmt: skip
    ids = np.array([f"q{i}" for i in range(len(right))])
    held = Labels(ids, np.array([NAMES.index(one) for one in right]), NAMES)
    for i, score in enumerate(expected):
        found = score_of_answers(said, held, facts, np.arange(len(said)) == i)
        assert found == {"answer_score": pytest.approx(score)}, QUESTIONS[i]
    everything = score_of_answers(said, held, facts, np.ones(len(said), dtype=bool))
    assert everything == {"answer_score": pytest.approx(np.mean(expected))}
    assert score_of_answers(said, held, facts, np.zeros(len(said), dtype=bool)) == {}
    plain = score_of_answers(said, held, facts.iloc[:, :0], np.ones(len(said), dtype=bool))
    named = [one.strip().lower() == wanted.lower() for one, wanted in zip(said, right, strict=True)]
    assert plain == {"answer_score": pytest.approx(np.mean(named))}


def test_the_share_of_a_group_comes_with_the_number_of_its_questions():
    facts = pd.DataFrame({"meta_kind": ["color", "color", "shape", "shape"], "meta_test_set": ["", "", "", "night"]})
    sets = facts["meta_test_set"].to_numpy(dtype=str)
    found = question_measures._by_group(np.eye(2)[[0, 1, 1, 1]], np.array([0, 0, 1, 1]), facts, sets == "", sets)
    assert {name: n for name, n in found.items() if name.startswith("n_")} == {
        "n_kind_color": 2, "n_kind_shape": 1, "n_set_night": 1,
    }
    assert (found["kind_color"], found["kind_color_constant"]) == (0.5, 1.0)
