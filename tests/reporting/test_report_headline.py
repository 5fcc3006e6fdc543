"""The headline: right numbers, honest words."""

from dataclasses import replace

import pandas as pd
import pytest
from demo_report import FACTS, HERDING, RANDOM, curves_of

from rlmba_pipelines.ledger import ABSTAINED
from rlmba_pipelines.pipelines.report.history import curve_of as history_of
from rlmba_pipelines.pipelines.report.history import curve_row
from rlmba_pipelines.reporting.data import BoughtSample, ReportData
from rlmba_pipelines.reporting.headline import caveat, compare, headline
from rlmba_pipelines.reporting.views import batches, duration, round_table, tiles
from rlmba_pipelines.simulation.tables import GIVEN


def test_a_better_strategy_gets_its_saving_in_labels():
    assert headline(curves_of({"herding": HERDING, "random": RANDOM}), FACTS) == (
        "With 1,210 labels the model reaches 57.3 % (95 % 54.8–59.8); random reaches 53.8 % with as many. "
        "Herding was there after 810: 33 % fewer labels."
    )


def test_a_reference_that_went_on_is_asked_when_it_got_there():
    longer = (*RANDOM, 0.5568, 0.5789)
    assert headline(curves_of({"herding": HERDING, "random": longer}), FACTS) == (
        "With 1,210 labels the model reaches 57.3 % (95 % 54.8–59.8); "
        "random needed 1,560 for the same: 22 % fewer labels."
    )


def test_a_reference_that_dipped_is_met_at_its_best():
    dipped = (0.412, 0.45, 0.48, 0.5, 0.538, 0.53)
    assert headline(curves_of({"herding": HERDING, "random": dipped}), FACTS) == (
        "With 1,210 labels the model reaches 57.3 % (95 % 54.8–59.8); random reaches 53.0 % with as many. "
        "The best of random, 53.8 %, took 1,010 labels, and 810 with herding: 20 % fewer labels."
    )


def test_a_worse_strategy_is_called_worse():
    curves = curves_of({"herding": RANDOM, "random": HERDING})
    assert headline(curves, FACTS) == (
        "With 1,210 labels the model reaches 53.8 % (95 % 51.3–56.3); random reaches 57.3 % with as many, "
        "so herding did not pay off in this run."
    )
    assert [tile.value for tile in tiles(curves, FACTS)][2:4] == ["−3.5 points", "49 %"]
    assert tiles(curves, FACTS)[3].name == "Labels lost"


def test_an_equal_strategy_made_no_difference():
    assert headline(curves_of({"herding": HERDING, "random": HERDING}), FACTS).endswith(
        "random reaches the same with as many, so herding made no difference in the end."
    )


def test_a_shorter_reference_is_compared_as_far_as_it_went():
    assert headline(curves_of({"herding": HERDING, "random": RANDOM[:4]}), FACTS).endswith(
        "; at 810 labels, as far as random went, it had 53.8 % and random 50.3 %."
    )


def test_without_a_reference_nothing_is_claimed_against_one():
    facts = replace(FACTS, reference=None)
    curves = curves_of({"herding": HERDING})
    assert headline(curves, facts) == (
        "With 1,210 labels the model reaches 57.3 % (95 % 54.8–59.8), after 41.2 % with the first 210."
    )
    assert "There is no reference to compare with" in caveat(curves, facts)
    assert caveat(curves, replace(facts, annotator="people")).endswith("that it would have bought are not known.")
    assert caveat(curves, replace(facts, annotator="simulated")).endswith("compare with: none was run.")
    assert compare(curves, facts) is None


def test_before_the_first_round_and_before_anything():
    assert headline(curves_of({"herding": HERDING[:1], "random": RANDOM[:1]}), FACTS) == (
        "With 210 labels the model reaches 41.2 % (95 % 38.7–43.7). This is the start batch; no round has been run yet."
    )
    empty = ReportData(FACTS, pd.DataFrame()).curves
    assert headline(empty, FACTS).startswith("Nothing has been measured yet")
    assert caveat(empty, FACTS) == ""


def test_one_seed_is_called_one_seed_and_overlap_is_admitted():
    close = curves_of({"herding": HERDING, "random": RANDOM})
    assert caveat(close, FACTS) == (
        "Measured on the test split (1,500 samples). One run with seed 0, the same start for both; "
        "the 95 % intervals of the two curves overlap at 1,210 labels, so chance is not ruled out."
    )
    apart = curves_of({"herding": HERDING, "random": tuple(a - 0.06 * (k > 0) for k, a in enumerate(RANDOM))})
    assert "do not overlap, but another seed can give another gap" in caveat(apart, FACTS)


def test_intervals_are_compared_at_the_labels_that_both_curves_have():
    same_so_far = curves_of({"herding": (0.412, 0.449, 0.478, 0.503, 0.542, 0.590), "random": (0.412, 0.449, 0.478)})
    assert "overlap at 610 labels, so chance is not ruled out" in caveat(same_so_far, FACTS)
    apart_so_far = curves_of({"herding": (0.4, 0.5, 0.6, 0.5), "random": (0.4, 0.4, 0.49)})
    assert "intervals at 610 labels do not overlap" in caveat(apart_so_far, FACTS)
    ended_between = apart_so_far["labels"] - 100 * (apart_so_far["strategy"].eq("random") & apart_so_far["stage"].eq(2))
    assert "intervals at 510 labels do not overlap" in caveat(apart_so_far.assign(labels=ended_between), FACTS)


def test_the_mean_difference_is_the_area_between_the_curves():
    found = compare(curves_of({"herding": (0.4, 0.5, 0.6), "random": (0.4, 0.4, 0.5)}), FACTS)
    assert found is not None
    assert found.mean_difference == pytest.approx(0.075)  # (0 + 0.1) / 2 and 0.1, over two equal spans
    assert found.share_saved == pytest.approx(1 - 410 / 610)


def test_a_round_that_bought_nothing_changes_no_comparison():
    curves = curves_of({"herding": HERDING, "random": RANDOM})
    idle = curves[curves["stage"] == 5].assign(stage=6)
    assert compare(pd.concat([curves, idle]), FACTS) == compare(curves, FACTS)


def test_the_table_of_rounds_compares_at_equal_labels():
    head, rows = round_table(curves_of({"herding": HERDING, "random": RANDOM}), FACTS)
    assert head[:6] == ["Round", "Labels", "with validation", "Accuracy", "95 % interval", "Against random"]
    assert rows[0][:6] == ["Start", "210", "1,012", "41.2 %", "38.7–43.7", "±0.0"]
    assert rows[5][:6] == ["5", "1,210", "2,012", "57.3 %", "54.8–59.8", "+3.5"]


def test_what_was_not_measured_is_a_dash():
    curves = curves_of({"herding": HERDING}).assign(seconds_select=float("nan"), labels_total=lambda c: c["labels"])
    head, rows = round_table(curves, replace(FACTS, reference=None))
    assert "with validation" not in head
    assert rows[0][-1] == "–"


METRICS = {"accuracy": 0.5, "n": 200, "n_correct": 100, "macro_f1": 0.5, "nll": 1.0, "ece": 0.1, "imbalance": 0.1}


def measured_after(*rounds: dict[tuple[str, str, str], int]) -> ReportData:
    """A report where each round added so many rows by annotator, label and purpose and shows all that it asked."""
    asked = [[row for row, n in batch.items() for _ in range(n)] for batch in rounds]
    tables = [pd.DataFrame(batch, columns=["annotator", "label", "purpose"]) for batch in asked]
    labels = [pd.concat(tables[: k + 1]) for k in range(len(tables))]
    curves = history_of([curve_row("herding", k, bought, 0, {}, METRICS, {}, {}) for k, bought in enumerate(labels)])
    gallery = [
        BoughtSample(k, rank, f"s{k}-{rank}", label)
        for k, batch in enumerate(asked)
        for rank, (annotator, label, _) in enumerate(batch)
        if annotator != GIVEN
    ]
    return ReportData(replace(FACTS, reference=None, pool_size=1000), curves, tuple(gallery))


def labels_in_words(data: ReportData) -> list[str]:
    tile = tiles(data.curves, data.facts)[1]
    return [f"{tile.name} {tile.value}", tile.note, *(batch.summary for batch in batches(data))]


def test_curves_of_before_that_tell_of_no_given_labels_are_read_as_all_bought():
    tile = tiles(curves_of({"herding": HERDING}), FACTS)[1]
    assert (tile.value, tile.note) == ("1,210", "30.2 % of the pool; 2,012 with those for validation")


def test_labels_that_were_given_are_learned_from_and_not_called_bought():
    bought = {("ann", "a", "training"): 50}
    data = measured_after({(GIVEN, "a", "training"): 300, **bought}, bought)
    assert labels_in_words(data) == [
        "Labels bought 100",
        "10.0 % of the pool; 300 more were given",
        "50 labels bought, before there was a model.",
        "50 labels bought.",
    ]
    head, rows = round_table(data.curves, data.facts)
    assert [row[:2] for row in [head, *rows]] == [["Round", "Labels"], ["Start", "350"], ["1", "400"]]
    assert "with validation" not in head


def test_what_was_paid_for_and_gave_no_label_is_no_label_for_validation():
    start = {("ann", "a", "training"): 30, ("ann", ABSTAINED, "training"): 10, ("ann", "a", "validation"): 10}
    data = measured_after(start, {("ann", ABSTAINED, "training"): 50})
    assert labels_in_words(data) == [
        "Labels bought 30",
        "3.0 % of the pool; 40 with those for validation; 60 paid for without a label",
        "40 labels bought, none from 10 more, before there was a model.",
        "0 labels bought, none from 50 more.",
    ]
    assert [row[1:3] for row in round_table(data.curves, data.facts)[1]] == [["30", "40"], ["30", "40"]]


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min")])
def test_durations_carry_over(seconds, words):
    assert duration(seconds) == words
