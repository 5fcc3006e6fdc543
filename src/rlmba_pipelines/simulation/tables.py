"""Tables that travel between rounds and people (pandas), and their way into the nouns of ``learning`` and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.config import LabelingConfig
from rlmba_pipelines.learning.evidence import share_of_present
from rlmba_pipelines.learning.types import (
    UNLABELED,
    Action,
    Features,
    Labels,
    Predictions,
    RoundState,
    Selection,
    Terms,
)
from rlmba_pipelines.ledger import NOT_LABELS, WITHDRAWN

TRAINING, VALIDATION = "training", "validation"
GIVEN = "manifest"  # the annotator of labels that were there before the run and cost nothing
NOBODY = "nobody"  # the annotator of a sample that was withdrawn before anybody was asked
OTHER = "(another class)"
KNOWN = "known_"  # starts columns of a selection that hold what was known of a sample when it was chosen
LEAST_LABELS = 2  # to train on, of the start batch
MEDIA = ("image", "text", "audio", "video")

Answer = Callable[[pd.DataFrame], pd.DataFrame]


def pool_ids(samples: pd.DataFrame) -> np.ndarray:
    """str[N], the samples that may be bought, sorted."""
    return np.sort(samples.loc[samples["split"] == "pool", "sample_id"].to_numpy(dtype=str))


def looked_at_ids(
    pool_ids: np.ndarray, labels: pd.DataFrame, candidates: int | None, rng: np.random.Generator
) -> np.ndarray:
    """What of the pool a round looks at, sorted: all that was bought, and of the rest at most ``candidates``, drawn.

    It bounds the memory of a round, whatever the size of the pool.

    >>> bought = pd.DataFrame({"sample_id": ["b"]})
    >>> looked_at_ids(np.array(["a", "b", "c"]), bought, 1, np.random.default_rng(0)).tolist()
    ['b', 'c']
    """
    bought_N = np.isin(pool_ids, labels["sample_id"].to_numpy(dtype=str))
    rest = np.flatnonzero(~bought_N)
    if candidates is None or len(rest) <= candidates:
        return np.sort(pool_ids)
    drawn = rng.choice(rest, candidates, replace=False, shuffle=False)
    return np.sort(pool_ids[np.union1d(np.flatnonzero(bought_N), drawn)])


def pool_prices(samples: pd.DataFrame, answers: int = 1) -> pd.Series:
    """float64, what a label costs with ``answers`` people asked, by id of the samples that may be bought, sorted."""
    pool = samples[samples["split"] == "pool"]
    return pool.set_index(pool["sample_id"].astype(str))["cost"].sort_index() * answers


def answers_wanted(setup: Mapping[str, Any], labeling: LabelingConfig) -> int:
    """Answers paid for each label: the simulated annotator answers once."""
    return 1 if setup["annotator"] == "simulated" else labeling.annotators


def empty_labels() -> pd.DataFrame:
    """The label table before anything is bought."""
    columns = {
        "sample_id": "object",
        "label": "object",
        "purpose": "object",
        "round": "int64",
        "annotator": "object",
        "cost": "float64",
        "explanation": "object",
    }
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def known_classes(classes: Sequence[str], labels: pd.DataFrame) -> tuple[str, ...]:
    """The class names: those told in advance, then those only bought so far, sorted.

    While everything bought has one name, ``OTHER`` stands for what was not met yet: a classifier needs an alternative,
    and the next batch may bring it.
    """
    bought = set(labels["label"].unique()) - set(classes) - set(NOT_LABELS)
    found = (*classes, *sorted(bought))
    return (*found, OTHER) if len(found) == 1 else found


def labels_for(labels: pd.DataFrame, classes: tuple[str, ...], purpose: str) -> Labels:
    """The rows of a label table that serve ``purpose``; a class nobody has told of can be neither learned nor met."""
    rows = labels[(labels["purpose"] == purpose) & labels["label"].isin(classes)].sort_values("sample_id")
    position = {name: i for i, name in enumerate(classes)}
    y = np.array([position[name] for name in rows["label"]], dtype=np.int64)
    return Labels(rows["sample_id"].to_numpy(dtype=str), y, classes)


def n_training(labels: pd.DataFrame) -> int:
    """How many labels a model learns from: what was bought for training and has a label."""
    return int(((labels["purpose"] == TRAINING) & ~labels["label"].isin(NOT_LABELS)).sum())


def arms_of(labels: pd.DataFrame, sample_ids: np.ndarray) -> np.ndarray:
    """int64[N], the arm that bought each sample; ``UNLABELED`` where none is on record."""
    if "arm" not in labels:
        return np.full(len(sample_ids), UNLABELED, dtype=np.int64)
    arm = labels.set_index("sample_id")["arm"].reindex(sample_ids)
    return arm.fillna(UNLABELED).to_numpy(dtype=np.int64)


def n_bought(labels: pd.DataFrame) -> int:
    """How many rows of a label table were paid for, whether they have a label or not."""
    return int((~labels["annotator"].isin((GIVEN, NOBODY))).sum())


def spent(labels: pd.DataFrame, n_validation: int) -> int:
    """Labels paid for: everything bought, and the given validation split (its labels are used, so they count)."""
    return n_bought(labels) + n_validation


def spoiled_ids(labels: pd.DataFrame) -> np.ndarray:
    """str[*], samples that were asked for and can have no label: never to be asked again."""
    return labels.loc[labels["label"].isin(NOT_LABELS), "sample_id"].to_numpy(dtype=str)


def add_answers(labels: pd.DataFrame, batch: pd.DataFrame, answer: Answer) -> pd.DataFrame:
    """The label table with the answers to ``batch``, in the order of rounds and ids."""
    if batch.empty:
        return labels
    bought, labels = answer(batch), _explained(labels)
    if "arm" in batch:  # which of several strategies asked: what a strategy of strategies learns from
        bought = bought.merge(batch[["sample_id", "arm"]], on="sample_id", how="left")
    both = pd.concat([labels, bought], ignore_index=True) if len(labels) else bought
    return both.sort_values(["round", "sample_id"], ignore_index=True)


def with_corrections(labels: pd.DataFrame, resolved: pd.DataFrame, withdrawn: Sequence[str]) -> pd.DataFrame:
    """The label table as people's answers stand now: corrected, with late answers, without what was withdrawn.

    Args:
        labels: everything bought, the open batch included.
        resolved: what all answers come to, settled samples only.
    """
    columns = ["label", "purpose", "round", "annotator", "cost", "explanation"]
    now, labels = resolved.set_index("sample_id")[columns], _explained(labels)
    kept = labels.set_index("sample_id")
    of_people = kept.index.intersection(now.index)
    kept.loc[of_people, columns] = now.loc[of_people]
    late = now.drop(index=of_people)
    never_asked = pd.DataFrame(
        {"label": WITHDRAWN, "purpose": TRAINING, "round": 0, "annotator": NOBODY, "cost": 0.0, "explanation": ""},
        index=pd.Index(sorted(set(withdrawn) - set(kept.index) - set(late.index)), name="sample_id"),
    )
    parts = [part for part in (kept, late, never_asked) if len(part)]
    table = pd.concat(parts).rename_axis("sample_id").reset_index() if parts else labels
    table.loc[table["sample_id"].isin(set(withdrawn)), ["label", "explanation"]] = [WITHDRAWN, ""]
    return table.sort_values(["round", "sample_id"], ignore_index=True)[list(labels.columns)]


def _explained(labels: pd.DataFrame) -> pd.DataFrame:
    """The label table of an experiment that was started before answers came with explanations, with empty ones."""
    return labels if "explanation" in labels else labels.assign(explanation="")


def batch_of(selection: Selection, purpose: str, round_idx: int) -> pd.DataFrame:
    """A selection as a table, one row a sample in the order of choice."""
    frame = pd.DataFrame(
        {
            "sample_id": selection.sample_ids.astype(object),
            "rank": np.arange(1, len(selection) + 1),
            "round": round_idx,
            "purpose": purpose,
            "utility": selection.utility_Q,
            **selection.reasons,
        }
    )
    return frame.astype({"sample_id": "object", "rank": "int64", "round": "int64"})


def with_known(batch: pd.DataFrame, terms: Terms, features: Features, weights_M: np.ndarray) -> pd.DataFrame:
    """A batch with all that was known of its samples when they were chosen, whether the strategy looked at it or not:
    ``known_<term>``, and ``known_weight_<modality>`` among the modalities that a sample has."""
    ids = batch["sample_id"].to_numpy(dtype=str)
    weight_QM = share_of_present(features.take(ids).present_NM, weights_M)
    known = {
        **terms.take(ids).columns,
        **{f"weight_{name}": weight_QM[:, column] for column, name in enumerate(features.modalities)},
    }
    return batch.assign(**{f"{KNOWN}{name}": column for name, column in known.items()})


def empty_batch(round_idx: int) -> pd.DataFrame:
    """The batch of a round that buys nothing."""
    return batch_of(Selection(np.array([], dtype=str), np.array([])), TRAINING, round_idx)


def annotation_batch(
    selection: pd.DataFrame, samples: pd.DataFrame, predictions: Predictions | None, classes: tuple[str, ...]
) -> pd.DataFrame:
    """What an annotator needs: the sample, its price, where its media are, and the model's guess."""
    media = [name for name in MEDIA if name in samples]
    looked_at = selection[[name for name in selection.columns if not str(name).startswith(KNOWN)]]
    batch = looked_at.merge(samples[["sample_id", "cost", *media]], on="sample_id", how="left", validate="one_to_one")
    if predictions is not None and len(batch):
        asked = predictions.take(batch["sample_id"].to_numpy(dtype=str)).probabilities_NC
        batch["guess"] = [classes[c] for c in asked.argmax(axis=1)]
        batch["guess_probability"] = asked.max(axis=1)
    return batch


def terms_to_frame(terms: Terms) -> pd.DataFrame:
    """One row a sample."""
    return pd.DataFrame({"sample_id": terms.sample_ids.astype(object), **terms.columns})


def terms_from_frame(frame: pd.DataFrame) -> Terms:
    """The terms from their table."""
    columns = {str(name): frame[name].to_numpy() for name in frame.columns if name != "sample_id"}
    return Terms(frame["sample_id"].to_numpy(dtype=str), columns)


_TUPLES = ("accuracies", "label_counts", "rewards")


def state_to_dict(state: RoundState) -> dict[str, Any]:
    """The state as JSON."""
    lists = {name: list(getattr(state, name)) for name in _TUPLES}
    return {**asdict(state), "weights_M": state.weights_M.tolist(), **lists}


def state_from_dict(data: Mapping[str, Any]) -> RoundState:
    """The state from its JSON."""
    return RoundState(
        **{
            **data,
            "weights_M": np.array(data["weights_M"]),
            "action": Action.from_dict(data["action"]),
            **{name: tuple(data[name]) for name in _TUPLES if name in data},
        }
    )


def with_given(labels: pd.DataFrame, given: pd.DataFrame, round_idx: int) -> pd.DataFrame:
    """The label table of a round with those that the manifest gives to new samples."""
    if given.empty:
        return labels
    added = given.assign(round=round_idx)
    table = pd.concat([labels, added]) if len(labels) else added
    return table.sort_values(["round", "sample_id"], ignore_index=True).reindex(columns=labels.columns)
