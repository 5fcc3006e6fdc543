"""Measure a model on visual questions: by kind, by test set, and whether its chains are true."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.metrics.answers import (
    ANSWER_TYPES,
    FEWEST_ANSWERS,
    exact_match,
    mathvista_score,
    multiple_choice,
    vqa_score,
)
from rlmba_pipelines.learning.metrics.evaluation import contributions, measure
from rlmba_pipelines.learning.types import Labels, Predictions, UserError
from rlmba_pipelines.learning.vlm.chains import chain_holds, names_absent, split_chain
from rlmba_pipelines.learning.vlm.choices import LETTERS
from rlmba_pipelines.learning.vlm.scenes import COLORS
from rlmba_pipelines.models.vlm.answers import answer_probabilities, answers_of
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing
from rlmba_pipelines.models.vlm.look import attention_in_regions
from rlmba_pipelines.models.vlm.score import chain_of, written
from rlmba_pipelines.simulation.questions import MODALITIES


def measure_questions(
    vlm: Vlm,
    classes: Sequence[str],
    asked: Sequence[VisualQuestion],
    held: Labels,
    facts: pd.DataFrame,
    config: VlmConfig,
    *,
    by_modality: bool,
) -> dict[str, Any]:
    """All that is measured of a model on questions with answers; {} without any of the ordinary test set.

    Args:
        classes: the answers that the model knows. Those of ``held`` begin with them; the model is never right where it
            does not know the answer, and pays in ``nll`` what a class costs that is ruled out.
        asked: in the order of ``held``.
        facts: the rows of these samples: ``meta_kind``, ``meta_test_set``, ``meta_scene``, … where they are known.
        by_modality: whether to ask again with a blank image and with no question, for Shapley values.

    Returns:
        Those of ``learning.metrics.evaluation.measure``, ``constant`` (accuracy of the best constant answer),
        ``n_unknown`` (questions whose answer the model does not know), accuracy by ``kind_*``, of questions of one step
        (``one_step``) and of more (``relational``), each with its ``*_constant`` and how many there are (``n_*``),
        ``chain_valid`` (share of written chains of which every step is true), ``hallucination`` (share of chains that
        speak of an absent object), ``answer_score`` (see ``score_of_answers``), ``attention_in_region`` and
        ``pointing`` (of questions whose chains come with regions, see ``attention_in_regions``). Test sets beside the
        ordinary one count in ``set_*`` alone, of which ``_shifted`` are the questions whose answer hangs on what such a
        set shows in another way.
    """
    sets = _column(facts, "meta_test_set", len(held))
    ordinary_N = np.isin(sets, ["", "ordinary"])
    if not ordinary_N.any():
        return {}
    texts = [one[0] for one in written(vlm, asked, config)]
    answers = answers_of(vlm, classes)

    def probabilities(asked: Sequence[VisualQuestion], texts: Sequence[str]) -> np.ndarray:
        images, prompts, chains = [one.image for one in asked], vlm.prompts(asked), [chain_of(text) for text in texts]
        possible = [answers.possible(one.choices) for one in asked]
        size, found = config.predict_batch_size, []
        with computing(vlm, config):
            for at in range(0, len(asked), size):
                part = slice(at, at + size)
                said = answer_probabilities(vlm, images[part], prompts[part], chains[part], answers, possible[part])
                found.append(said.answers_BC)
        return np.concatenate(found)

    p_NC = probabilities(asked, texts)
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
            by_subset[subset] = probabilities(blank, [one[0] for one in written(vlm, blank, config)])
        return by_subset[subset]

    own = Labels(held.sample_ids[ordinary_N], held.y[ordinary_N], held.classes)
    found: dict[str, Any] = _measured(p_NC[ordinary_N], own, with_only, by_modality)
    found |= {"n_classes": len(classes), "n_unknown": int((own.y >= len(classes)).sum())}
    found |= _by_group(p_NC, held.y, facts, ordinary_N, sets)
    if config.chain_of_thought:
        found |= _of_chains(texts, facts, ordinary_N)
        found |= _of_attention(vlm, [one for one, counts in zip(asked, ordinary_N, strict=True) if counts], config)
    return found | score_of_answers([split_chain(text)[1] for text in texts], held, facts, ordinary_N)


def _of_attention(vlm: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig) -> dict[str, float]:
    try:
        return attention_in_regions(vlm, asked, config)
    except UserError:  # image tokens on no grid that is known: nobody asked for this figure
        return {}


def score_of_answers(
    said: Sequence[str], held: Labels, facts: pd.DataFrame, counts_N: np.ndarray
) -> dict[str, float]:
    """``answer_score``: the mean score of what was written, each question by the rule of its kind.

    A choice or its letter, as in MathVista where ``meta_answer_type`` is told, the VQA score where ``meta_answers``
    holds enough answers of people, otherwise the answer to the letter but for case and spaces.

    Args:
        said: the answers that were written.
        counts_N: bool[N], which questions count.
    """
    columns = [_column(facts, f"meta_{name}", len(said)) for name in ("choices", "answers", "answer_type", "precision")]
    scores = []
    for i, (said_one, choices, answers, kind, digits) in enumerate(zip(said, *columns, strict=True)):
        if counts_N[i]:
            right = held.classes[held.y[i]]
            given, offered = json.loads(answers) if answers else [], json.loads(choices) if choices else []
            if right in LETTERS[: len(offered)]:
                scores.append(multiple_choice(said_one, offered[LETTERS.index(right)], offered))
            elif kind in ANSWER_TYPES:
                n_digits = int(digits) if digits.isdecimal() else None
                scores.append(mathvista_score(said_one, right, choices=(), answer_type=kind, precision=n_digits))
            else:
                enough = len(given) >= FEWEST_ANSWERS
                scores.append(vqa_score(said_one, given) if enough else exact_match(said_one, right))
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
    return found | {
        "constant": _constant(own.y),
        "n": n,
        "n_correct": round(found["accuracy"] * n),
    }


def _by_group(
    p_NC: np.ndarray, y: np.ndarray, facts: pd.DataFrame, ordinary_N: np.ndarray, sets: np.ndarray
) -> dict[str, float]:
    right_N = p_NC.argmax(axis=1) == y
    kinds = _column(facts, "meta_kind", len(y))
    groups = {f"kind_{kind}": ordinary_N & (kinds == kind) for kind in sorted(set(kinds[ordinary_N]) - {""})}
    steps, shifted = (_column(facts, f"meta_{name}", len(y)) for name in ("relational", "shifted"))
    groups |= {"relational": ordinary_N & (steps == "true"), "one_step": ordinary_N & (steps == "false")}
    for name in sorted(set(sets) - {"", "ordinary"}):
        of_set_N = sets == name
        parts = {"": of_set_N, "_relational": of_set_N & (steps == "true"), "_shifted": of_set_N & (shifted == "true")}
        groups |= {f"set_{name}{suffix}": mask_N for suffix, mask_N in parts.items()}
    found: dict[str, float] = {}
    for name, mask_N in groups.items():
        if mask_N.any():
            found |= {
                name: float(right_N[mask_N].mean()),
                f"{name}_constant": _constant(y[mask_N]),
                f"n_{name}": float(mask_N.sum()),
            }
    return found


def _constant(y: np.ndarray) -> float:
    """Accuracy of the best constant answer."""
    return float(np.bincount(y).max() / len(y))


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
