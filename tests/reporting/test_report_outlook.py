"""When to stop, in words: the numbers in the sentences are those that the stop rules go by."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmba_pipelines.config import LabelingConfig, Plateau, RoundsConfig
from rlmba_pipelines.reporting.outlook import Outlook, forecast_words, rule_words
from rlmba_pipelines.simulation.budget import affordable, outlook_of, stopped_because
from rlmba_pipelines.simulation.tables import GIVEN, NOBODY

FOUR = Outlook([100, 200, 400, 800], [0.40, 0.50, 0.55, 0.58], [1000] * 4, 1800, 400)


def test_the_next_batch_is_told_with_what_it_brings_and_how_sure_that_is():
    assert forecast_words(FOUR) == (
        "the next 400 labels are expected to bring +1.5 points (+0.8 to +2.4), so that validation measures 59.7 % "
        "(57.1 to 62.5; 80 % intervals)"
    )


def test_without_a_curve_or_a_batch_there_is_a_reason():
    assert forecast_words(replace(FOUR, labels=[1, 2], accuracies=[0.1, 0.2], n_validation=[9, 9])) == (
        "takes 3 measured rounds with different numbers of labels"
    )
    assert forecast_words(replace(FOUR, next_labels=0)) == "nothing is left to buy"


def test_the_rule_that_comes_first_is_told_first():
    rules = RoundsConfig(budget=5000, target_accuracy=0.6, plateau=Plateau(rounds=2, min_gain=0.05))
    words = rule_words(FOUR, rules)
    assert [re.match(r"the (\w+)", sentence)[1] for sentence in words] == ["plateau", "target", "budget"]
    assert rule_words(FOUR, RoundsConfig()) == []


def test_a_target_is_told_with_the_labels_it_takes_or_where_the_curve_ends():
    (reached,) = rule_words(FOUR, RoundsConfig(target_accuracy=0.6))
    assert reached == ("the target 60.0 % is expected with 1,400 training labels (80 %: 810 to never), 2 more batches")
    (missed,) = rule_words(FOUR, RoundsConfig(target_accuracy=0.9))
    limit = float(
        re.fullmatch(r"the target 90.0 % is not expected to be reached, .* levels off near ([\d.]+) %", missed)[1]
    )
    assert 58 < limit < 75
    early = replace(FOUR, labels=[1], accuracies=[0.1], n_validation=[9])
    assert rule_words(early, RoundsConfig(target_accuracy=0.9)) == ["the target 90.0 %: no forecast yet"]


@given(st.integers(0, 3000), st.integers(1, 700), st.integers(1, 4000))
def test_a_budget_is_spent_after_as_many_batches_as_it_says(spent, batch, budget):
    rules, batches = RoundsConfig(budget=budget), 0
    (words,) = rule_words(replace(FOUR, labels_spent=spent, next_labels=batch), rules)
    while (size := affordable(batch, spent, rules)) > 0:
        spent, batches = spent + size, batches + 1
    assert int(re.search(r"with ([\d,]+) more batch", words)[1].replace(",", "")) == batches


def test_money_is_spent_at_the_mean_price_so_far():
    (words,) = rule_words(replace(FOUR, paid=500.0, price=0.5), RoundsConfig(max_cost=1000))
    assert words == "the 1000 that labels may cost are paid with about 3 more batches"


@pytest.mark.parametrize("free", [GIVEN, NOBODY])
def test_labels_that_cost_nothing_make_no_label_cheaper(free):
    labels = pd.DataFrame({"annotator": [free] * 300 + ["ann"] * 100, "cost": [0.0] * 300 + [1.0] * 100})
    labels["sample_id"] = [f"s{i:04d}" for i in range(400)]
    samples = pd.DataFrame({"sample_id": [f"s{i:04d}" for i in range(1000)], "split": "pool", "cost": 1.0})
    rounds = RoundsConfig(max_cost=300, query_size=50)
    outlook = outlook_of([], labels, samples, {"annotator": "people", "n_validation": 0}, rounds, LabelingConfig())
    assert rule_words(outlook, rounds) == ["the 300 that labels may cost are paid with about 4 more batches"]


@given(
    st.lists(st.integers(300, 700) | st.just(1000), min_size=1, max_size=8),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.005, 0.02]),
    st.integers(300, 700) | st.just(1000),
)
def test_the_plateau_rule_ends_the_run_exactly_below_the_accuracy_it_names(history, n_rounds, min_gain, following):
    accuracies = [share / 1000 for share in history]
    rules = RoundsConfig(plateau=Plateau(rounds=n_rounds, min_gain=min_gain))
    if stopped_because(accuracies, 0, rules):
        return  # it has ended already
    labels = [100 * (k + 1) for k in range(len(accuracies))]
    (words,) = rule_words(Outlook(labels, accuracies, [500] * len(labels), 0, 100), rules)
    ends = stopped_because([*accuracies, following / 1000], 0, rules) is not None
    level = re.search(r"measures less than ([\d.]+) %", words)
    if "whatever" in words:
        assert ends
    elif level is None:
        assert not ends
    elif abs(following / 10 - float(level[1])) > 0.051:  # the sentence is rounded to a tenth of a point
        assert ends == (following / 10 < float(level[1]))


def test_the_plateau_rule_names_no_accuracy_above_one():
    rules = RoundsConfig(plateau=Plateau(rounds=1, min_gain=0.01))
    (words,) = rule_words(replace(FOUR, accuracies=[0.5, 0.6, 0.7, 0.995]), rules)
    assert words == (
        "the plateau rule (1 rounds, +1.0 points) ends the run after the next batch, whatever validation measures then"
    )


@pytest.mark.parametrize("accuracies", [[0.5], [0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
def test_every_run_gets_its_sentences(accuracies):
    labels = [10 * (k + 1) for k in range(len(accuracies))]
    rules = RoundsConfig(budget=100, target_accuracy=1.0, plateau=Plateau(), max_cost=5.0)
    outlook = Outlook(labels, accuracies, [5] * len(labels), 40, 10, 4.0, 0.1)
    for words in (forecast_words(outlook), *rule_words(outlook, rules)):
        assert words.isprintable()
        assert "nan" not in words
        assert "inf" not in words
