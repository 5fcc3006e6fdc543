"""From several answers to one label."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.config import LabelingConfig
from rlmba_pipelines.labeling import annotator_table, krippendorff_alpha, resolve
from rlmba_pipelines.ledger import ABSTAINED


def _answers(*votes: tuple[str, str, str], round_idx: int = 1) -> pd.DataFrame:
    frame = pd.DataFrame(votes, columns=["sample_id", "annotator", "label"])
    return frame.assign(purpose="training", round=round_idx, cost=1.0)


def _outcome(labels: list[str], wanted: int = 3, closed: frozenset[int] = frozenset(), **options: object) -> tuple:
    votes = [("s", f"ann{i}", label) for i, label in enumerate(labels)]
    found = resolve(_answers(*votes), LabelingConfig(annotators=wanted, **options), closed=closed)
    return tuple(found.loc[0, ["label", "state", "n_answers", "cost"]])


@pytest.mark.parametrize(
    ("labels", "wanted", "expected"),
    [
        (["x"], 1, ("x", "settled", 1, 1.0)),
        (["x", "x"], 3, ("", "open", 2, 2.0)),
        (["x", "x", "y"], 3, ("x", "settled", 3, 3.0)),
        (["x", "y", "z"], 3, ("", "disputed", 3, 3.0)),
        (["x", "y"], 2, ("", "disputed", 2, 2.0)),
        (["(abstain)", "x", "x"], 3, ("x", "settled", 3, 3.0)),
        (["(abstain)", "x", "y"], 3, ("", "disputed", 3, 3.0)),
        (["(abstain)"] * 3, 3, ("(abstain)", "settled", 3, 3.0)),
        (["(none of these)"] * 2 + ["x"], 3, ("(none of these)", "settled", 3, 3.0)),
    ],
)
def test_majority(labels: list[str], wanted: int, expected: tuple) -> None:
    for order in itertools.permutations(labels):
        assert _outcome(list(order), wanted) == expected


def test_a_closed_round_takes_what_is_there_and_leaves_a_tie_disputed() -> None:
    closed = frozenset({1})
    assert _outcome(["x", "x"], closed=closed)[:2] == ("x", "settled")
    assert _outcome(["x", "y"], closed=closed)[:2] == ("(disputed)", "settled")


def test_the_adjudicator_settles_whatever_others_say() -> None:
    answers = _answers(("s", "a", "x"), ("s", "b", "y"), ("s", "adjudicator", "z"))
    found = resolve(answers, LabelingConfig(annotators=2))
    assert found.loc[0, ["label", "state", "cost"]].tolist() == ["z", "settled", 3.0]


def test_dawid_skene_trusts_the_two_reliable_ones_against_three_who_guess() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=150)
    right = {"good1": 0.95, "good2": 0.95, "guess1": 0.25, "guess2": 0.25, "guess3": 0.25}
    votes = [
        (f"s{i:03d}", who, f"c{y if rng.random() < p else rng.integers(4)}")
        for i, y in enumerate(truth)
        for who, p in right.items()
    ]
    accuracy = {}
    for rule in ("majority", "dawid_skene"):
        found = resolve(_answers(*votes), LabelingConfig(annotators=5, agreement=rule, min_agreement=0.0))
        accuracy[rule] = (found["label"].to_numpy() == np.array([f"c{y}" for y in truth])).mean()
    assert accuracy["dawid_skene"] > 0.9 > accuracy["majority"]
    shuffled = _answers(*[votes[i] for i in rng.permutation(len(votes))])
    config = LabelingConfig(annotators=5, agreement="dawid_skene", min_agreement=0.0)
    pd.testing.assert_frame_equal(resolve(shuffled, config), resolve(_answers(*votes), config))


def _alpha_by_hand(votes: list[tuple[str, str, str]]) -> float:
    """Krippendorff 2004: one minus observed over expected disagreement, counted pair by pair."""
    units: dict[str, list[str]] = {}
    for sample, _, label in votes:
        units.setdefault(sample, []).append(label)
    units = {s: labels for s, labels in units.items() if len(labels) > 1}
    pooled = [label for labels in units.values() for label in labels]
    observed = sum(
        sum(a != b for a, b in itertools.permutations(labels, 2)) / (len(labels) - 1) for labels in units.values()
    ) / len(pooled)
    expected = sum(a != b for a, b in itertools.permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    return 1 - observed / expected


def test_alpha_against_its_definition_with_holes() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        votes = [
            (f"s{i}", f"a{j}", str(rng.integers(3))) for i in range(12) for j in range(4) if rng.random() < 0.7
        ]
        found = krippendorff_alpha(_answers(*votes))
        assert found == pytest.approx(_alpha_by_hand(votes), abs=1e-9)
    assert krippendorff_alpha(_answers(("s", "a", "x"), ("t", "b", "x"))) is None
    assert krippendorff_alpha(_answers(("s", "a", "x"), ("s", "b", "x"))) == 1.0


def test_who_agrees_is_told_by_samples_that_two_people_gave_a_label() -> None:
    config = LabelingConfig(annotators=2)
    alone = [("s", "ann", "red"), ("s", "bob", ABSTAINED)]
    answers = _answers(*alone)
    assert annotator_table(answers, resolve(answers, config)) == [("ann", 1, 0, None), ("bob", 1, 1, None)]
    both = _answers(*alone, ("t", "ann", "red"), ("t", "bob", "red"))
    assert annotator_table(both, resolve(both, config)) == [("ann", 2, 0, 1.0), ("bob", 2, 1, 1.0)]
