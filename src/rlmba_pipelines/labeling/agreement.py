"""From the answers of several annotators to one label: majority or Dawid–Skene, and who still has to decide.

Source   Dawid & Skene 1979 and Krippendorff's alpha, both of crowd-kit (arXiv 2109.08584).
Chosen   the adjudicator's answer settles everything; what is not settled waits for it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pandas as pd

from rlmba_pipelines.config import LabelingConfig
from rlmba_pipelines.ledger import ABSTAINED, ADJUDICATOR, COLUMNS, DISPUTED

OPEN, SETTLED, DISPUTE = "open", "settled", "disputed"


def resolve(
    answers: pd.DataFrame,
    labeling: LabelingConfig,
    *,
    closed: frozenset[int] = frozenset(),
    open_round: int = 0,
) -> pd.DataFrame:
    """What each sample's answers come to.

    Args:
        answers: rows of the ledger in force, one an answer, of people.
        closed: rounds that nobody waits for any more: there what is missing is done without, and a dispute stands.
        open_round: the round that is waited for; all before it are closed.

    Returns:
        One row a sample, sorted by round and id: ``sample_id, label, purpose, round, annotator`` (who, or how many),
        ``cost`` (of all its answers), ``explanation`` (of the first answer that gives the label),
        ``n_answers, support`` (share of the votes, or posterior, of the label),
        ``state``: ``open`` (too few answers), ``disputed`` (for the adjudicator) or ``settled``. The label is empty
        until it is settled; where all abstained it is ``ABSTAINED``, of a dispute that was closed ``DISPUTED``.
    """
    votes = answers[(answers["annotator"] != ADJUDICATOR) & (answers["label"] != ABSTAINED)]
    support = _support(votes, labeling.agreement)
    by_sample: dict[str, list[Any]] = {}
    for row in answers.itertuples(index=False):
        by_sample.setdefault(str(row.sample_id), []).append(row)
    rows = []
    for sample_id, of_sample in by_sample.items():
        first, judged = of_sample[0], [row.label for row in of_sample if row.annotator == ADJUDICATOR]
        n_answers, given_up = len(of_sample) - len(judged), first.round in closed or first.round < open_round
        label, share, state = "", 0.0, OPEN
        if judged:
            label, share, state = judged[0], 1.0, SETTLED
        elif n_answers >= labeling.annotators or given_up:
            label, share = support.get(sample_id, (ABSTAINED, 1.0))
            clear = n_answers == 1 or label == ABSTAINED or share > labeling.min_agreement
            state = SETTLED if clear or given_up else DISPUTE
            label = label if clear else DISPUTED if given_up else ""
        who = first.annotator if len(of_sample) == 1 else f"{len(of_sample)} answers"
        cost = sum(row.cost for row in of_sample)
        told = next((t for row in of_sample if row.label == label and (t := _explanation(row))), "")
        rows.append((sample_id, label, first.purpose, first.round, who, cost, told, n_answers, share, state))
    columns = [*COLUMNS, "n_answers", "support", "state"]
    found = pd.DataFrame(rows, columns=columns).astype({"round": "int64", "cost": "float64"})
    return found.sort_values(["round", "sample_id"], ignore_index=True)


def _explanation(row: Any) -> str:
    return str(getattr(row, "explanation", ""))


def _support(votes: pd.DataFrame, rule: str) -> dict[str, tuple[str, float]]:
    """Sample -> its likeliest label and how much speaks for it; the first in the alphabet of those that tie."""
    if rule == "dawid_skene" and votes["annotator"].nunique() > 1:
        from crowdkit.aggregation import DawidSkene  # slow to import, and seldom wanted

        named = votes.rename(columns={"sample_id": "task", "annotator": "worker"})[["task", "worker", "label"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about words that crowd-kit still uses
            shares = DawidSkene(n_iter=100).fit_predict_proba(named.sort_values(["task", "worker"]))
        shares = shares[sorted(shares.columns)]
        return dict(zip(shares.index, zip(shares.idxmax(axis=1), shares.max(axis=1), strict=True), strict=True))
    counts: dict[str, Counter[str]] = {}
    for sample_id, label in zip(votes["sample_id"], votes["label"], strict=True):
        counts.setdefault(sample_id, Counter())[label] += 1
    first = {sample_id: min(of.items(), key=lambda pair: (-pair[1], pair[0])) for sample_id, of in counts.items()}
    return {sample_id: (label, n / counts[sample_id].total()) for sample_id, (label, n) in first.items()}


def krippendorff_alpha(answers: pd.DataFrame) -> float | None:
    """Krippendorff's alpha (nominal): 1 = agreement, 0 = chance; None where no sample has two answers.

    Abstentions count as no answer, the adjudicator as no annotator.
    """
    votes = answers[(answers["label"] != ABSTAINED) & (answers["annotator"] != ADJUDICATOR)]
    pairable = votes[votes.groupby("sample_id")["annotator"].transform("size") > 1]
    if pairable.empty:
        return None
    if pairable["label"].nunique() == 1:
        return 1.0
    from crowdkit.metrics.data import alpha_krippendorff  # slow to import, and seldom wanted

    named = pairable.rename(columns={"sample_id": "task", "annotator": "worker"})
    return float(alpha_krippendorff(named[["task", "worker", "label"]]))


def annotator_table(answers: pd.DataFrame, resolved: pd.DataFrame) -> list[tuple[str, int, int, float | None]]:
    """Who answered: name, answers, abstentions, and the share of their answers that became the label, by name.

    Args:
        answers: rows of the ledger in force.
        resolved: what ``resolve`` makes of them. Only samples that somebody else answered too tell who agrees.
    """
    answers = answers[answers["annotator"] != ADJUDICATOR]
    n_votes = answers[answers["label"] != ABSTAINED].groupby("sample_id").size()
    settled = resolved[resolved["state"] == SETTLED].set_index("sample_id")["label"]
    settled = settled[settled.index.isin(n_votes[n_votes > 1].index)]
    rows = []
    for name, said in answers.groupby("annotator"):
        told = said[(said["label"] != ABSTAINED) & said["sample_id"].isin(settled.index)]
        right = told["label"].to_numpy() == settled.reindex(told["sample_id"]).to_numpy()
        abstained = int((said["label"] == ABSTAINED).sum())
        rows.append((str(name), len(said), abstained, float(right.mean()) if len(right) else None))
    return rows
