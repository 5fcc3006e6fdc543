"""Measure a model on visual questions: by kind, by test set, and whether its chains are true."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.metrics.answers import FEWEST_ANSWERS, vqa_score
from rlmba_pipelines.learning.metrics.evaluation import contributions, measure
from rlmba_pipelines.learning.types import Labels, Predictions, UserError
from rlmba_pipelines.learning.vlm.chains import chain_holds, names_absent, split_chain
from rlmba_pipelines.learning.vlm.scenes import COLORS
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing
from rlmba_pipelines.models.vlm.look import attention_in_regions
from rlmba_pipelines.models.vlm.score import answer_probabilities, chain_of, written
from rlmba_pipelines.simulation.questions import MODALITIES


def measure_questions(
    vlm: Vlm,
    asked: Sequence[VisualQuestion],
    held: Labels,
    facts: pd.DataFrame,
    config: VlmConfig,
    *,
    by_modality: bool,
) -> dict[str, Any]:
    """All that is measured of a model on questions with answers; {} without any of the ordinary test set.

    Args:
        asked: in the order of ``held``.
        facts: the rows of these samples: ``meta_kind``, ``meta_test_set``, ``meta_scene``, … where they are known.
        by_modality: whether to ask again with a blank image and with no question, for Shapley values.

    Returns:
        Those of ``learning.metrics.evaluation.measure``, ``constant`` (accuracy of the best constant answer), accuracy
        by ``kind_*``, of questions of two steps or more (``relational``), ``chain_valid`` (share of written chains of
        which every step is true), ``hallucination`` (share of chains that speak of an absent object), ``answer_score``
        (the VQA score, of questions that several people answered), ``attention_in_region`` and ``pointing`` (of
        questions whose chains come with regions, see ``attention_in_regions``). Test sets beside the ordinary one
        count in ``set_*`` alone.
    """
    sets = _column(facts, "meta_test_set", len(held))
    ordinary_N = np.isin(sets, ["", "ordinary"])
    if not ordinary_N.any():
        return {}
    texts = [one[0] for one in written(vlm, asked, config)]
    images, prompts, chains = [one.image for one in asked], vlm.prompts(asked), [chain_of(text) for text in texts]

    def probabilities(images: Sequence[Image.Image], prompts: Sequence[str], chains: Sequence[str]) -> np.ndarray:
        size = config.predict_batch_size
        with computing(vlm, config):
            return np.concatenate(
                [
                    answer_probabilities(
                        vlm, images[at : at + size], prompts[at : at + size], chains[at : at + size], held.classes
                    ).answers_BC
                    for at in range(0, len(prompts), size)
                ]
            )

    p_NC = probabilities(images, prompts, chains)
    by_subset: dict[frozenset[str], np.ndarray] = {}

    def with_only(subset: frozenset[str]) -> np.ndarray:
        if subset == frozenset(MODALITIES) or not by_modality:
            return p_NC[ordinary_N]
        if subset not in by_subset:
            blank = [
                VisualQuestion(
                    one.sample_id,
                    one.image if "image" in subset else Image.new("RGB", one.image.size),
                    one.question if "text" in subset else "?",
                    choices=one.choices,
                )
                for one, counts in zip(asked, ordinary_N, strict=True)
                if counts
            ]
            said = [chain_of(text[0]) for text in written(vlm, blank, config)]
            by_subset[subset] = probabilities([one.image for one in blank], vlm.prompts(blank), said)
        return by_subset[subset]

    own = Labels(held.sample_ids[ordinary_N], held.y[ordinary_N], held.classes)
    found: dict[str, Any] = _measured(p_NC[ordinary_N], own, with_only, by_modality)
    found |= _by_group(p_NC, held.y, facts, ordinary_N, sets)
    if config.chain_of_thought:
        found |= _of_chains(texts, facts, ordinary_N)
        found |= _of_attention(vlm, [one for one, counts in zip(asked, ordinary_N, strict=True) if counts], config)
    best = [held.classes[k] for k in p_NC.argmax(axis=1)]
    return found | score_of_answers(best, facts, ordinary_N)


def _of_attention(vlm: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig) -> dict[str, float]:
    try:
        return attention_in_regions(vlm, asked, config)
    except UserError:  # image tokens on no grid that is known: nobody asked for this figure
        return {}


def score_of_answers(said: Sequence[str], facts: pd.DataFrame, counts_N: np.ndarray) -> dict[str, float]:
    """``answer_score``, the mean VQA score of what was said where ``meta_answers`` holds enough answers; {} if nowhere.

    Args:
        counts_N: bool[N], which questions count.
    """
    scores = []
    for answer, given, counts in zip(said, _column(facts, "meta_answers", len(said)), counts_N, strict=True):
        answers = json.loads(given) if given and counts else []
        if len(answers) >= FEWEST_ANSWERS:
            scores.append(vqa_score(answer, answers))
    return {"answer_score": float(np.mean(scores))} if scores else {}


def _measured(
    p_NC: np.ndarray, own: Labels, with_only: Callable[[frozenset[str]], np.ndarray], by_modality: bool
) -> dict[str, Any]:
    alone = np.stack([with_only(frozenset({name})) for name in MODALITIES], axis=1) if by_modality else np.stack(
        [p_NC, p_NC], axis=1
    )
    n = len(own)
    empty = np.zeros((n, 0))
    said = Predictions(
        own.sample_ids, MODALITIES, np.ones((n, 2), dtype=bool), p_NC, alone, p_NC[:, None], alone[:, :, None], empty,
        np.zeros((n, 2, 0)),
    )
    found: dict[str, Any] = measure(said, own)
    if by_modality:
        found |= contributions(with_only, own, MODALITIES)
    else:
        for name in MODALITIES:
            found.pop(f"accuracy_{name}")
        found.pop("worst_modality")
    counts = np.bincount(own.y, minlength=len(own.classes))
    return found | {
        "constant": float(counts.max() / n),
        "n_classes": len(own.classes),
        "n": n,
        "n_correct": round(found["accuracy"] * n),
    }


def _by_group(
    p_NC: np.ndarray, y: np.ndarray, facts: pd.DataFrame, ordinary_N: np.ndarray, sets: np.ndarray
) -> dict[str, float]:
    right_N = p_NC.argmax(axis=1) == y
    kinds, found = _column(facts, "meta_kind", len(y)), {}
    for kind in sorted(set(kinds[ordinary_N]) - {""}):
        found[f"kind_{kind}"] = float(right_N[ordinary_N & (kinds == kind)].mean())
    steps = _column(facts, "meta_relational", len(y))
    for name, mask_N in (("relational", steps == "true"), ("one_step", steps == "false")):
        if (ordinary_N & mask_N).any():
            found[name] = float(right_N[ordinary_N & mask_N].mean())
            counts = np.bincount(y[ordinary_N & mask_N])
            found[f"{name}_constant"] = float(counts.max() / counts.sum())
    for name in sorted(set(sets) - {"", "ordinary"}):
        found[f"set_{name}"] = float(right_N[sets == name].mean())
        if (relational := (sets == name) & (steps == "true")).any():
            found[f"set_{name}_relational"] = float(right_N[relational].mean())
    return found


def _of_chains(texts: Sequence[str], facts: pd.DataFrame, ordinary_N: np.ndarray) -> dict[str, float]:
    scenes = _column(facts, "meta_scene", len(texts))
    valid, absent = [], []
    for text, scene, counts in zip(texts, scenes, ordinary_N, strict=True):
        if scene and counts:
            things: Sequence[Mapping[str, Any]] = json.loads(scene)
            steps, _ = split_chain(text)
            valid.append(chain_holds(steps, things))
            absent.append(names_absent(steps, things, tuple(COLORS)))
    return {"chain_valid": float(np.mean(valid)), "hallucination": float(np.mean(absent))} if valid else {}


def _column(facts: pd.DataFrame, name: str, n: int) -> np.ndarray:
    return facts[name].to_numpy(dtype=str) if name in facts else np.full(n, "")
