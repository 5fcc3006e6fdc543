"""What the runs come to: areas, paired differences, labels to a target, ranks, penalties. Pure functions of tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range, wilcoxon

from rlmba_pipelines.benchmark.protocol import ALL_LABELS, MAIN
from rlmba_pipelines.learning.metrics.learning_curve import area_under_curve, labels_to_reach
from rlmba_pipelines.learning.metrics.statistics import holm, paired_difference

CELL = ["set", "condition", "strategy", "seed"]
ALPHA = 0.05
GRID = 21
TARGETS = (0.90, 0.95, 0.99)  # of the accuracy with all labels


def areas(runs: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """One row a run: ``set, condition, strategy, seed, area``, the latter in points; without the runs on all labels."""
    of_curves = runs[runs["strategy"] != ALL_LABELS].sort_values("labels")
    rows = []
    for cell, run in of_curves.groupby(CELL, sort=True):
        area = area_under_curve(run["labels"].to_numpy(), run[metric].to_numpy())
        rows.append({**dict(zip(CELL, cell, strict=True)), "area": 100 * area})
    return pd.DataFrame(rows)


def comparison(values: pd.DataFrame, against: str) -> pd.DataFrame:
    """Every strategy minus ``against`` on each set and condition, paired over the seeds that both have.

    Args:
        values: of ``areas``.

    Returns:
        ``set, condition, strategy, area, seeds, difference, low, high, p, p_wilcoxon, p_holm``; differences in points,
        the interval and p those of the paired t-test, Holm over all strategies of a set and condition.
    """
    rows = []
    for (set_name, condition), group in values.groupby(["set", "condition"], sort=False):
        table = group.pivot(index="seed", columns="strategy", values="area")
        if against not in table:
            continue
        compared: list[dict[str, Any]] = []
        for strategy in table.columns:
            both = table[[strategy, against]].dropna() if strategy != against else table[[against]].dropna()
            row: dict[str, Any] = {"set": set_name, "condition": condition, "strategy": strategy, "seeds": len(both)}
            row["area"] = float(both[strategy].mean())
            if strategy != against and len(both) > 1:
                gap = paired_difference(both[strategy].to_numpy(), both[against].to_numpy())
                differs = (both[strategy] != both[against]).any()
                p = float(wilcoxon(both[strategy], both[against]).pvalue) if differs else 1.0
                row |= {"difference": gap.mean, "low": gap.low, "high": gap.high, "p": gap.p, "p_wilcoxon": p}
                compared.append(row)
            rows.append(row)
        for row, p in zip(compared, holm(np.array([row["p"] for row in compared])).tolist(), strict=True):
            row["p_holm"] = p
    return pd.DataFrame(rows)


def one_family(values: pd.DataFrame, against: str) -> pd.DataFrame:
    """The comparisons of ``comparison``, ``p_holm`` adjusted for all of them at once."""
    found = comparison(values, against) if len(values) else values
    if "p" not in found:
        return found.iloc[:0]
    table = found.dropna(subset=["p"])
    return table.assign(p_holm=holm(table["p"].to_numpy()))


def mean_over_sets(values: pd.DataFrame, a: str, b: str, condition: str = MAIN) -> tuple[float, float, float, float]:
    """Mean over sets of ``a - b`` under one condition, its 95 % interval and p, paired over seeds.

    Sets and seeds that one of the two lacks count for neither; NaN where fewer than two seeds are left.
    """
    areas_SD = values[values["condition"] == condition].pivot(index="seed", columns=["set", "strategy"], values="area")
    both = [one for one in areas_SD.columns.unique("set") if {a, b} <= set(areas_SD[one].columns)]
    gap_SD = pd.DataFrame({one: areas_SD[one][a] - areas_SD[one][b] for one in both}).dropna()
    if not both or len(gap_SD) < 2:
        return np.nan, np.nan, np.nan, np.nan
    gap = paired_difference(gap_SD.mean(axis=1).to_numpy(), np.zeros(len(gap_SD)))
    return gap.mean, gap.low, gap.high, gap.p


def at_equal_accuracy(runs: pd.DataFrame, metric: str, against: str) -> pd.DataFrame:
    """``metric`` of every strategy minus that of ``against`` at equal accuracy, main condition, in points.

    A better strategy needs fewer labels for an accuracy; compared at equal labels it would be compared with a worse
    model. Of each pair of runs both curves, straight between rounds, are read at ``GRID`` accuracies that both reach.

    Returns:
        ``set, strategy, seeds, difference, low, high, p``, paired over seeds; pairs without a common accuracy are out.
    """
    rows = []
    for set_name, of_set in runs[(runs["condition"] == MAIN) & (runs["strategy"] != ALL_LABELS)].groupby("set"):
        curves = {
            key: run.sort_values("accuracy")[["accuracy", metric]].to_numpy()
            for key, run in of_set.groupby(["strategy", "seed"])
        }
        for strategy in dict.fromkeys(name for name, _ in curves if name != against):
            gaps = []
            for seed in (seed for name, seed in curves if name == strategy and (against, seed) in curves):
                ours, theirs = curves[strategy, seed], curves[against, seed]
                low, high = max(ours[0, 0], theirs[0, 0]), min(ours[-1, 0], theirs[-1, 0])
                if low < high:
                    at = np.linspace(low, high, GRID)
                    gaps.append(100 * float((np.interp(at, *ours.T) - np.interp(at, *theirs.T)).mean()))
            if len(gaps) > 1:
                gap = paired_difference(np.array(gaps), np.zeros(len(gaps)))
                row = {"set": set_name, "strategy": strategy, "seeds": len(gaps), "difference": gap.mean}
                rows.append({**row, "low": gap.low, "high": gap.high, "p": gap.p})
    return pd.DataFrame(rows, columns=["set", "strategy", "seeds", "difference", "low", "high", "p"])


def labels_needed(runs: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Labels that the mean curve of each strategy needs for a share of the accuracy with all labels.

    Returns:
        ``set, strategy, target, labels, share``: NaN where it is not reached; ``share`` of what ``reference`` needs.
    """
    main = runs[runs["condition"] == MAIN]
    rows = []
    for set_name, of_set in main.groupby("set", sort=False):
        whole = of_set[of_set["strategy"] == ALL_LABELS]["accuracy"].mean()
        curves = of_set[of_set["strategy"] != ALL_LABELS].groupby(["strategy", "labels"])["accuracy"].mean()
        for target in TARGETS:
            needed = {}
            for name, curve in curves.groupby(level="strategy"):
                labels = curve.index.get_level_values("labels").to_numpy()
                needed[str(name)] = labels_to_reach(labels, curve.to_numpy(), target * whole)
            base = needed.get(reference)
            for name, n in needed.items():
                share = n / base if n is not None and base is not None else np.nan
                row = {"set": set_name, "strategy": name, "target": target}
                rows.append({**row, "labels": np.nan if n is None else n, "share": share})
    return pd.DataFrame(rows)


def penalty_matrix(runs: pd.DataFrame, strategies: Sequence[str]) -> pd.DataFrame:
    """Row beats column: how often, over sets and budgets of the main condition (Ash et al. 2020, arXiv 1906.03671).

    The share of the numbers of labels of a set at which the paired t-test at 5 % says that it is better, mean over the
    sets that both ran on: the paper's sum, divided by these, since not everybody ran on all of them.
    """
    main = runs[(runs["condition"] == MAIN) & runs["strategy"].isin(strategies)]
    points_SS, sets_SS = np.zeros((2, len(strategies), len(strategies)))
    for _, of_set in main.groupby("set"):
        here_S = np.isin(strategies, of_set["strategy"].unique())
        sets_SS += np.outer(here_S, here_S)
        budgets = sorted(of_set["round"].unique())
        for budget in budgets:
            at = of_set[of_set["round"] == budget].pivot(index="seed", columns="strategy", values="accuracy")
            for (i, a), (j, b) in permutations([(i, s) for i, s in enumerate(strategies) if s in at], 2):
                both = at[[a, b]].dropna()
                gap = paired_difference(both[a].to_numpy(), both[b].to_numpy()) if len(both) > 1 else None
                if gap and gap.p < ALPHA and gap.mean > 0:
                    points_SS[i, j] += 1 / len(budgets)
    return pd.DataFrame(points_SS / np.maximum(sets_SS, 1), index=list(strategies), columns=list(strategies))


def ranks(values: pd.DataFrame) -> tuple[pd.Series, float, float]:
    """Mean rank of every strategy over sets and seeds (1 is best), the critical difference, and Friedman's p.

    Nemenyi's critical difference at 5 % (Demsar 2006): mean ranks that lie nearer are not told apart. Strategies that
    miss a run are left out. With fewer than three strategies or two runs the last two are NaN.
    """
    main = values[values["condition"] == MAIN]
    table = main.pivot(index=["set", "seed"], columns="strategy", values="area").dropna(axis=1)
    mean_rank = table.rank(axis=1, ascending=False).mean().sort_values()
    n, k = table.shape
    if k < 3 or n < 2:
        return mean_rank, np.nan, np.nan
    q = float(studentized_range.ppf(1 - ALPHA, k, np.inf)) / np.sqrt(2)
    tied = (table.nunique(axis=1) == 1).all()
    p = 1.0 if tied else float(friedmanchisquare(*(table[name] for name in table)).pvalue)
    return mean_rank, q * float(np.sqrt(k * (k + 1) / (6 * n))), p
