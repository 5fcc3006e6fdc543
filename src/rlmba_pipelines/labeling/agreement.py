"""From the answers of several annotators to one label: majority or Dawid–Skene, and who still has to decide.

Source   Dawid & Skene 1979 and Krippendorff's alpha, both of crowd-kit (arXiv 2109.08584).
Chosen   the adjudicator's answer settles everything; what is not settled waits for it.
"""

from __future__ import annotations

import warnings

import pandas as pd

from rlmba_pipelines.config import LabelingConfig
from rlmba_pipelines.ledger import ABSTAINED, ADJUDICATOR, DISPUTED

OPEN, SETTLED, DISPUTE = "open", "settled", "disputed"


def resolve(answers: pd.DataFrame, labeling: LabelingConfig, *, closed: frozenset[int] = frozenset()) -> pd.DataFrame:
    """What each sample's answers come to.

    Args:
        answers: rows of the ledger in force, one an answer, of people.
        closed: rounds that nobody waits for any more: there what is missing is done without, and a dispute stands.

    Returns:
        One row a sample, sorted by round and id: ``sample_id, label, purpose, round, annotator`` (who, or how many),
        ``cost`` (of all its answers), ``n_answers, support`` (share of the votes, or posterior, of the label),
        ``state``: ``open`` (too few answers), ``disputed`` (for the adjudicator) or ``settled``. The label is empty
        until it is settled; where all abstained it is ``ABSTAINED``, of a dispute that was closed ``DISPUTED``.
    """
    votes = answers[answers["annotator"] != ADJUDICATOR]
    support = _support(votes[votes["label"] != ABSTAINED], labeling.agreement)
    rows = []
    for sample_id, of_sample in answers.groupby("sample_id", sort=False):
        said = of_sample[of_sample["annotator"] != ADJUDICATOR]
        judged = of_sample[of_sample["annotator"] == ADJUDICATOR]
        first = of_sample.iloc[0]
        given_up = int(first["round"]) in closed
        label, share, state = "", 0.0, OPEN
        if len(judged):
            label, share, state = str(judged["label"].iloc[0]), 1.0, SETTLED
        elif len(said) >= labeling.annotators or given_up:
            label, share = support.get(str(sample_id), (ABSTAINED, 1.0))
            clear = len(said) == 1 or label == ABSTAINED or share > labeling.min_agreement
            state = SETTLED if clear or given_up else DISPUTE
            label = label if clear else DISPUTED if given_up else ""
        rows.append(
            {
                "sample_id": sample_id,
                "label": label,
                "purpose": first["purpose"],
                "round": int(first["round"]),
                "annotator": str(first["annotator"]) if len(of_sample) == 1 else f"{len(of_sample)} answers",
                "cost": float(of_sample["cost"].sum()),
                "n_answers": len(said),
                "support": share,
                "state": state,
            }
        )
    columns = ["sample_id", "label", "purpose", "round", "annotator", "cost", "n_answers", "support", "state"]
    return pd.DataFrame(rows, columns=columns).sort_values(["round", "sample_id"], ignore_index=True)


def _support(votes: pd.DataFrame, rule: str) -> dict[str, tuple[str, float]]:
    """Sample -> its likeliest label and how much speaks for it; a tie of votes has no clear first."""
    if votes.empty:
        return {}
    if rule == "dawid_skene" and votes["annotator"].nunique() > 1:
        from crowdkit.aggregation import DawidSkene  # slow to import, and seldom wanted

        named = votes.rename(columns={"sample_id": "task", "annotator": "worker"})[["task", "worker", "label"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about words that crowd-kit still uses
            shares = DawidSkene(n_iter=100).fit_predict_proba(named.sort_values(["task", "worker"]))
        shares = shares[sorted(shares.columns)]
    else:
        shares = pd.crosstab(votes["sample_id"], votes["label"], normalize="index")
    first = shares.idxmax(axis=1)
    return {str(s): (str(first[s]), float(shares.loc[s, first[s]])) for s in shares.index}


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
    settled = resolved[(resolved["state"] == SETTLED) & (resolved["n_answers"] > 1)].set_index("sample_id")["label"]
    rows = []
    for name, said in answers[answers["annotator"] != ADJUDICATOR].groupby("annotator"):
        told = said[(said["label"] != ABSTAINED) & said["sample_id"].isin(settled.index)]
        right = told["label"].to_numpy() == settled.reindex(told["sample_id"]).to_numpy()
        abstained = int((said["label"] == ABSTAINED).sum())
        rows.append((str(name), len(said), abstained, float(right.mean()) if len(right) else None))
    return rows
