"""The steps of a round of Active-VLM, each one function of data: teach, appraise, measure."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.types import Features, Labels, Predictions, RoundState, Terms
from rlmba_pipelines.learning.vlm.chains import split_chain
from rlmba_pipelines.learning.vlm.choices import lettered
from rlmba_pipelines.learning.vlm.explanations import explained
from rlmba_pipelines.learning.vlm.terms import vlm_terms
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm
from rlmba_pipelines.models.vlm.fit import fit_vlm
from rlmba_pipelines.models.vlm.score import Said, hidden_of, say, written
from rlmba_pipelines.simulation.measurement import classes_with_unknown, held_labels
from rlmba_pipelines.simulation.tables import TRAINING, labels_for

MODALITIES = ("image", "text")
Read = Callable[[str], bytes]


def questions_of(
    samples: pd.DataFrame, sample_ids: Sequence[str] | np.ndarray, read: Read, labels: pd.DataFrame | None = None
) -> list[VisualQuestion]:
    """Questions with their images, in the order of ``sample_ids``; with answers where ``labels`` has them.

    Args:
        read: gives the bytes of an image by its reference.
        labels: ``sample_id, label`` and perhaps ``explanation``.
    """
    rows = samples.set_index("sample_id").loc[list(sample_ids)]
    told = labels.set_index("sample_id") if labels is not None else pd.DataFrame()
    images: dict[str, Image.Image] = {}
    found = []
    choices = rows["meta_choices"] if "meta_choices" in rows else pd.Series("", index=rows.index)
    for sample_id, reference, text, offered in zip(rows.index, rows["image"], rows["text"], choices, strict=True):
        if reference not in images:
            images[reference] = Image.open(io.BytesIO(read(reference))).convert("RGB")
        answer, chain, regions = "", (), ()  # type: tuple[str, tuple[str, ...], tuple[Any, ...]]
        if sample_id in told.index:
            row = told.loc[sample_id]
            answer = str(row["label"])
            why = str(row.get("explanation", "") or "")
            if why:
                chain, regions = explained(why)
        from_which = tuple(json.loads(offered)) if offered else ()
        bare = text.removesuffix(lettered(from_which)).rstrip()
        found.append(VisualQuestion(str(sample_id), images[reference], bare, answer, chain, regions, from_which))
    return found


def teach(
    base: Vlm,
    bought: Sequence[VisualQuestion],
    state: RoundState,
    config: VlmConfig,
    unfinished: Path | None = None,
) -> tuple[Vlm, dict[str, Any]]:
    """The round's model: from the base on everything bought; what it draws hangs on seed and round only.

    ``unfinished``: see ``fit_vlm``.
    """
    seed = int(state.rng("train").integers(2**31))

    def sample(vlm: Vlm, asked: Sequence[VisualQuestion], seed: int) -> list[list[str]]:
        return written(vlm, asked, config, n=config.chains, seed=seed)

    return fit_vlm(base, bought, config, seed=seed, sample=sample, unfinished=unfinished)


@dataclass(frozen=True)
class Appraised:
    """What the model says about the pool; ``proposals``: ``sample_id, chain, answer, votes`` (JSON of all chains)."""

    predictions: Predictions
    terms: Terms
    proposals: pd.DataFrame


def appraise_questions(
    vlm: Vlm, asked: Sequence[VisualQuestion], classes: tuple[str, ...], state: RoundState, config: VlmConfig
) -> Appraised:
    """Predictions, terms and proposed chains for questions sorted by id."""
    said = say(vlm, asked, classes, config, seed=int(state.rng("chains").integers(2**31)))
    predictions = predictions_of(said)
    parsed = [[split_chain(text) for text in texts] for texts in said.texts]
    steps_NK = np.array([[len(steps) for steps, _ in one] for one in parsed])
    columns = vlm_terms(said.chains_NKC, said.visual_N, said.language_N, steps_NK)
    for m, name in enumerate(MODALITIES):
        columns[f"margin_{name}"] = margin(predictions.unimodal_NMC[:, m])
    return Appraised(predictions, Terms(said.sample_ids, columns), _proposals(said, parsed, classes))


def _proposals(said: Said, parsed: list[list[tuple[list[str], str]]], classes: tuple[str, ...]) -> pd.DataFrame:
    """The likeliest answer, and of the chains that reach it the one that is surest; where none was drawn, of all."""
    rows = []
    best_N = said.chains_NKC.mean(axis=1).argmax(axis=1)
    for i, (best, chains) in enumerate(zip(best_N, parsed, strict=True)):
        reaches_K = np.array([answer == classes[best] for _, answer in chains])
        k = int((said.chains_NKC[i, :, best] + 2 * reaches_K).argmax())
        votes = [{"chain": steps, "answer": answer} for steps, answer in chains]
        rows.append((str(said.sample_ids[i]), json.dumps(chains[k][0]), classes[best], json.dumps(votes)))
    return pd.DataFrame(rows, columns=["sample_id", "chain", "answer", "votes"])


def predictions_of(said: Said) -> Predictions:
    """What strategies look at: a modality's own prediction is the mean over changes of that modality."""
    unimodal_NMC = np.stack([said.visual_NJC.mean(axis=1), said.language_NRC.mean(axis=1)], axis=1)
    return Predictions(
        sample_ids=said.sample_ids,
        modalities=MODALITIES,
        present_NM=np.ones((len(said.sample_ids), 2), dtype=bool),
        probabilities_NC=said.chains_NKC.mean(axis=1),
        unimodal_NMC=unimodal_NMC,
        draws_NKC=said.chains_NKC.astype(np.float32),
        unimodal_draws_NMKC=unimodal_NMC[:, :, :0],
        embedding_ND=said.embedding_ND.astype(np.float32),
        modality_embedding_NMD=np.stack([said.image_ND, said.question_ND], axis=1).astype(np.float32),
    )


def encode_questions(base: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig, fingerprint: str) -> Features:
    """What the base model makes of image and question, before anything was learned: what a start batch spreads over."""
    blocks = dict(zip(MODALITIES, hidden_of(base, asked, config), strict=True))
    ids = np.array([one.sample_id for one in asked], dtype=str)
    return Features(ids, blocks, np.ones((len(ids), 2), dtype=bool), dict.fromkeys(MODALITIES, fingerprint))


def training_questions(
    samples: pd.DataFrame, labels: pd.DataFrame, classes: tuple[str, ...], read: Read
) -> list[VisualQuestion]:
    """Everything bought for training, sorted by id."""
    training = labels_for(labels, classes, TRAINING)
    return questions_of(samples, training.sample_ids, read, labels)


def held_questions(
    samples: pd.DataFrame, validation: pd.DataFrame, labels: pd.DataFrame, classes: tuple[str, ...], read: Read
) -> tuple[list[VisualQuestion], Labels, pd.DataFrame]:
    """What is measured on: questions (with chains where they are known), their answers, and the rows of the samples.

    The classes of the answers are those of ``classes_with_unknown``.
    """
    held = held_labels(validation, labels, classes_with_unknown(validation, classes))
    rows = samples.set_index("sample_id").loc[held.sample_ids].reset_index()
    return questions_of(samples, held.sample_ids, read, validation if len(validation) else labels), held, rows
