"""Statistics of the comparison, against numbers worked out by hand and by other means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare, ttest_rel, wilcoxon

from rlmba_pipelines.benchmark import tables
from rlmba_pipelines.benchmark.protocol import ALL_LABELS, MAIN


def runs_of(accuracy: dict[str, list[list[float]]], set_name: str = "s", condition: str = MAIN) -> pd.DataFrame:
    """Strategy -> one curve a seed, at 10, 20, 30 labels."""
    rows = [
        (set_name, condition, name, seed, k, 10 * k, value)
        for name, curves in accuracy.items()
        for seed, curve in enumerate(curves)
        for k, value in enumerate(curve, 1)
    ]
    return pd.DataFrame(rows, columns=[*tables.CELL, "round", "labels", "accuracy"])


CURVES = {
    "random": [[0.2, 0.4, 0.6], [0.3, 0.4, 0.5], [0.2, 0.3, 0.5]],
    "good": [[0.2, 0.6, 0.8], [0.3, 0.6, 0.6], [0.2, 0.5, 0.7]],
    ALL_LABELS: [[0.8], [0.8], [0.8]],
}


def test_area_is_the_mean_accuracy_of_a_run_in_points_and_leaves_out_the_run_on_all_labels() -> None:
    values = tables.areas(runs_of(CURVES)).set_index(["strategy", "seed"])["area"]
    assert values["random", 0] == pytest.approx(40.0)  # (.3 + .5) / 2
    assert values["good", 1] == pytest.approx(100 * (0.45 + 0.6) / 2)
    assert ALL_LABELS not in values.index.get_level_values("strategy")


def test_differences_are_paired_over_seeds_and_adjusted_within_a_set_and_condition() -> None:
    other = {"random": CURVES["random"], "bad": [[0.1, 0.2, 0.3]] * 3}
    runs = pd.concat([runs_of(CURVES), runs_of(other, condition="noise")])
    table = tables.comparison(tables.areas(runs), "random").set_index(["condition", "strategy"])
    values = tables.areas(runs_of(CURVES)).pivot(index="seed", columns="strategy", values="area")
    gap = table.loc[(MAIN, "good")]
    assert gap["difference"] == pytest.approx((values["good"] - values["random"]).mean())
    assert gap["p"] == pytest.approx(ttest_rel(values["good"], values["random"]).pvalue)
    assert gap["low"] < gap["difference"] < gap["high"]
    assert gap["p_holm"] == gap["p"]  # one comparison in its family, whatever other conditions hold
    assert np.isnan(table.loc[(MAIN, "random"), "difference"])
    assert table.loc[("noise", "bad"), "difference"] < 0


def test_p_is_adjusted_for_all_strategies_of_a_set_or_of_a_family_of_sets() -> None:
    fair = [[0.2, 0.5, 0.7], [0.3, 0.3, 0.6], [0.2, 0.5, 0.5]]
    runs = pd.concat([runs_of({**CURVES, "fair": fair}), runs_of({**CURVES, "fair": fair[::-1]}, "t")])
    values = tables.areas(runs)
    table = tables.comparison(values, "random").dropna(subset=["p"])
    for _, family in table.groupby("set"):
        assert len(family) == 2
        low, high = sorted(family["p"])
        assert sorted(family["p_holm"]) == pytest.approx(sorted([min(2 * low, 1), max(min(2 * low, 1), high)]))
        for row in family.to_dict("records"):
            both = values[values["set"] == row["set"]].pivot(index="seed", columns="strategy", values="area")
            assert row["p_wilcoxon"] == pytest.approx(wilcoxon(both[row["strategy"]], both["random"]).pvalue)
    whole = tables.one_family(values, "random").sort_values("p")
    steps = np.maximum.accumulate(whole["p"].to_numpy() * [4, 3, 2, 1])
    assert whole["p_holm"].to_numpy() == pytest.approx(np.minimum(steps, 1))


def test_a_seed_that_one_of_a_pair_lacks_counts_for_neither() -> None:
    runs = runs_of({"random": CURVES["random"], "good": CURVES["good"][:2]})
    row = tables.comparison(tables.areas(runs), "random").set_index("strategy").loc["good"]
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx(100 * ((0.55 - 0.4) + (0.525 - 0.4)) / 2)


def test_labels_to_a_share_of_the_accuracy_with_all_labels_are_read_off_the_mean_curve() -> None:
    runs = runs_of({**CURVES, ALL_LABELS: [[0.6]] * 3})
    needed = tables.labels_needed(runs, "random").set_index(["strategy", "target"])
    # mean curves: random .2333, .3667, .5333; good .2333, .5667, .7; 90 % of .6 is .54
    assert np.isnan(needed.loc[("random", 0.9), "labels"])
    assert needed.loc[("good", 0.9), "labels"] == pytest.approx(10 + 10 * (0.54 - 0.7 / 3) / (1.7 / 3 - 0.7 / 3))
    assert np.isnan(needed.loc[("good", 0.9), "share"])


def test_a_point_of_the_penalty_matrix_is_a_significant_budget_over_all_budgets_of_its_set() -> None:
    steady = {
        "a": [[0.2, 0.50, 0.60], [0.2, 0.52, 0.61], [0.2, 0.51, 0.62]],
        "b": [[0.2, 0.40, 0.61], [0.2, 0.42, 0.60], [0.2, 0.41, 0.62]],
    }
    matrix = tables.penalty_matrix(runs_of(steady), ["a", "b"])
    assert matrix.loc["a", "b"] == pytest.approx(1 / 3)  # told apart at 20 labels only
    assert matrix.loc["b", "a"] == 0
    equal = {"a": steady["b"], "b": steady["b"]}
    alone = {"a": steady["a"], "c": steady["b"]}
    three = pd.concat([runs_of(steady), runs_of(equal, "t"), runs_of(alone, "u")])
    found = tables.penalty_matrix(three, ["a", "b", "c"])
    assert found.loc["a", ["b", "c"]].tolist() == pytest.approx([1 / 6, 1 / 3])  # mean over the sets of both
    assert found.loc[["b", "c"]].to_numpy().max() == 0


def test_ranks_and_critical_difference_are_those_of_demsar() -> None:
    """Demsar 2006, table 5 and section 3.2.2: four classifiers on 14 data sets, CD 1.25 at 5 %."""
    rng = np.random.default_rng(0)
    values = pd.DataFrame(
        [
            {"set": "s", "condition": MAIN, "seed": seed, "strategy": name, "area": place + rng.normal(0, 0.01)}
            for seed in range(14)
            for place, name in enumerate("dcba")
        ]
    )
    mean_rank, critical, p = tables.ranks(values)
    assert mean_rank.to_dict() == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert critical == pytest.approx(1.25, abs=0.005)
    assert p < 1e-6
    other = values.assign(area=rng.normal(0, 1, len(values)))
    columns = other.pivot(index="seed", columns="strategy", values="area")
    assert tables.ranks(other)[2] == pytest.approx(friedmanchisquare(*columns.to_numpy().T).pvalue)


def test_the_mean_over_sets_is_paired_over_seeds() -> None:
    other = {**CURVES, "good": [[0.2, 0.5, 0.9], [0.3, 0.3, 0.3], [0.2, 0.4, 0.4]]}
    values = tables.areas(pd.concat([runs_of(CURVES), runs_of(other, "t")]))
    gaps = values.pivot(index="seed", columns=["set", "strategy"], values="area")
    per_seed = sum((gaps[one]["good"] - gaps[one]["random"]) / 2 for one in ("s", "t"))
    expected = ttest_rel(per_seed, 0 * per_seed)
    interval = expected.confidence_interval(0.95)
    found = tables.mean_over_sets(values, "good", "random")
    assert found == pytest.approx((per_seed.mean(), interval.low, interval.high, expected.pvalue))


def test_sets_and_seeds_that_only_one_of_two_has_do_not_enter_their_mean_over_sets() -> None:
    beside = runs_of({"random": [[0.9, 0.9, 0.9]] * 3}, "t")  # random alone
    longer = runs_of({**CURVES, "random": [*CURVES["random"], [0.9, 0.9, 0.9]]})  # a seed of random alone
    found = tables.mean_over_sets(tables.areas(pd.concat([longer, beside])), "good", "random")
    assert found == pytest.approx(tables.mean_over_sets(tables.areas(runs_of(CURVES)), "good", "random"))
    assert np.isnan(tables.mean_over_sets(tables.areas(beside.assign(strategy="good")), "good", "random")[0])


def test_what_is_compared_at_equal_accuracy_is_read_off_both_curves() -> None:
    runs = runs_of({"random": [[0.2, 0.4, 0.6]] * 2, "good": [[0.3, 0.5, 0.9]] * 2, ALL_LABELS: [[0.8]] * 2})
    runs["worst"] = runs["accuracy"] * 0.5
    runs.loc[runs["strategy"] == "good", "worst"] -= 0.03
    runs.loc[(runs["strategy"] == "good") & (runs["accuracy"] == 0.9), "worst"] -= 0.04
    [row] = tables.at_equal_accuracy(runs, "worst", "random").to_dict("records")
    # from 0.3 to 0.6; beyond 0.5 the loss grows by 0.01 in 0.1, on a third of the way
    at = np.linspace(0.3, 0.6, tables.GRID)
    assert row["difference"] == pytest.approx(-100 * (0.03 + np.maximum(at - 0.5, 0) * 0.1).mean())
    assert (row["set"], row["strategy"], row["seeds"]) == ("s", "good", 2)
    apart = runs_of({"random": [[0.1, 0.2]] * 2, "good": [[0.3, 0.5]] * 2}).assign(worst=0.0)
    assert tables.at_equal_accuracy(apart, "worst", "random").empty
