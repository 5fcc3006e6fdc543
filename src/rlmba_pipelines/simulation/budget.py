"""What labels may cost: how many the next batch buys, which samples the money pays for, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rlmba_pipelines.config import LabelingConfig, RoundsConfig
from rlmba_pipelines.learning.mdp import stop_reason
from rlmba_pipelines.learning.types import PoolView
from rlmba_pipelines.reporting.outlook import Outlook
from rlmba_pipelines.simulation.tables import answers_wanted, n_bought, pool_prices, spent

MONEY_ROUNDING = 1e-9  # sums of prices are not exact


class Money(NamedTuple):
    """What is left of ``rounds.max_cost``, and what a label costs, by sample id."""

    left: float
    prices: pd.Series


def batch_size(asked: int | None, n_pool: int) -> int:
    """The size of a batch: as asked, or 5 % of the pool within 10 and 200.

    >>> batch_size(None, 4000), batch_size(None, 60), batch_size(25, 60)
    (200, 10, 25)
    """
    return asked if asked is not None else min(max(10, n_pool // 20), 200, n_pool)


def affordable(size: int, labels_spent: int, rounds: RoundsConfig) -> int:
    """How many labels the budget still pays for, at most ``size``."""
    return size if rounds.budget is None else max(0, min(size, rounds.budget - labels_spent))


def priced(
    view: PoolView, prices: pd.Series | None, labels: pd.DataFrame, rounds: RoundsConfig
) -> tuple[PoolView, Money | None]:
    """The view with the prices that a strategy divides by, without what the money left does not pay for; and the money.

    Strategies see prices only where these differ, are above 0, and ``rounds.gain_per_cost`` wants them to count.
    """
    if prices is None:
        return view, None
    price_N = prices.reindex(view.sample_ids).to_numpy(dtype=np.float64)
    if rounds.gain_per_cost and (price_N > 0).all() and len(np.unique(price_N)) > 1:
        view = replace(view, price_N=price_N)
    if rounds.max_cost is None:
        return view, None
    left = rounds.max_cost - float(labels["cost"].sum())
    too_dear = view.sample_ids[(price_N > left + MONEY_ROUNDING) & ~view.labeled_N]
    return view.without(too_dear), Money(left, prices)


def within(batch: pd.DataFrame, money: Money) -> pd.DataFrame:
    """The samples of a batch that the money pays for, in the order of choice; one that is too dear is passed over."""
    left, kept = money.left, []
    for price in money.prices.reindex(batch["sample_id"]):
        kept.append(price <= left + MONEY_ROUNDING)
        left -= price if kept[-1] else 0.0
    return batch[kept].reset_index(drop=True)


def unbought(prices: pd.Series, labels: pd.DataFrame) -> pd.Series:
    """The prices of what can still be bought."""
    return prices[~prices.index.isin(labels["sample_id"])]


def nothing_to_buy(prices: pd.Series, labels: pd.DataFrame, rounds: RoundsConfig) -> str | None:
    """Why no further sample can be bought, one clause, or None.

    Args:
        prices: what a label costs, by id of every sample of the pool.
    """
    left = unbought(prices, labels)
    if left.empty:
        return "every sample of the pool is labeled"
    paid = float(labels["cost"].sum())
    if rounds.max_cost is not None and left.min() > rounds.max_cost - paid + MONEY_ROUNDING:
        return f"of the {rounds.max_cost:g} that labels may cost {paid:g} are paid, and the rest pays for no sample"
    return None


def stopped_because(accuracies: Sequence[float], labels_spent: int, rounds: RoundsConfig) -> str | None:
    """Why nothing more is bought under ``rounds``, or None. A rule that held once holds until it is changed."""
    plateau = rounds.plateau
    reasons = (
        stop_reason(
            accuracies[:k],
            labels_spent=labels_spent,
            budget=rounds.budget,
            target_accuracy=rounds.target_accuracy,
            plateau_rounds=plateau.rounds if plateau else None,
            plateau_gain=plateau.min_gain if plateau else 0.0,
        )
        for k in range(len(accuracies) + 1)
    )
    return next((reason for reason in reasons if reason), None)


def why_stop(
    accuracies: Sequence[float],
    labels: pd.DataFrame,
    samples: pd.DataFrame,
    setup: Mapping[str, Any],
    rounds: RoundsConfig,
    labeling: LabelingConfig,
) -> str | None:
    """Why nothing more is to be bought, one clause, or None while the run goes on.

    Args:
        accuracies: on validation, of every round so far.
        labels: everything bought.
    """
    prices = pool_prices(samples, answers_wanted(setup, labeling))
    labels_spent = spent(labels, setup["n_validation"])
    return nothing_to_buy(prices, labels, rounds) or stopped_because(accuracies, labels_spent, rounds)


def outlook_of(
    measured: Sequence[tuple[int, float, int]],
    labels: pd.DataFrame,
    samples: pd.DataFrame,
    setup: Mapping[str, Any],
    rounds: RoundsConfig,
    labeling: LabelingConfig,
) -> Outlook:
    """Where a run stands when it could buy on.

    Args:
        measured: training labels, validation accuracy and samples behind it, of every measurement so far.
        labels: everything bought.
    """
    prices = pool_prices(samples, answers_wanted(setup, labeling))
    labels_spent, paid = spent(labels, setup["n_validation"]), float(labels["cost"].sum())
    size = affordable(batch_size(rounds.query_size, len(prices)), labels_spent, rounds)
    return Outlook(
        labels=[n for n, _, _ in measured],
        accuracies=[accuracy for _, accuracy, _ in measured],
        n_validation=[n for _, _, n in measured],
        labels_spent=labels_spent,
        next_labels=min(size, len(unbought(prices, labels))),
        paid=paid,
        price=paid / max(1, n_bought(labels)),
    )
