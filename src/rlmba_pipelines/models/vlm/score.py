"""What a vision-language model says of questions: sampled chains, and its answer under small changes of either side.

Every batch holds the same questions whatever is asked beside them (a fixed grid over sorted ids), and draws of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.vlm.chains import ANSWER_MARK, parted
from rlmba_pipelines.learning.vlm.perturb import IMAGE_CHANGES, QUESTION_CHANGES
from rlmba_pipelines.models.vlm.answers import Answers, Leaves, answer_probabilities, answers_of
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing, gone_on, is_reduced

RESOLUTION = 1e-6  # nats; less is rounding in float32
# What published checkpoints bring along would make four draws one (a small top_p), or another answer the likeliest
PLAIN = {"repetition_penalty": 1.0, "num_beams": 1}
AS_IT_IS = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
REDUCED_RESOLUTION = 1e-3  # the same in bfloat16, by the size of its steps; not measured yet


@dataclass(frozen=True)
class Said:
    """What a model says of N questions.

    Attributes:
        sample_ids: str[N].
        texts: of each question the K sampled texts, chain and answer.
        chains_NKC: float64[N, K, C], answer after each sampled chain.
        visual_NJC, language_NRC: float64, answer to the changed image, and to the changed question.
        visual_N, language_N: float64, nats by which these changes move the first chain and its answer.
        embedding_ND, image_ND, question_ND: float32, last hidden state where the answer begins, and its mean over the
            image and over the text: question, first chain and the mark before the answer.
    """

    sample_ids: np.ndarray
    texts: tuple[tuple[str, ...], ...]
    chains_NKC: np.ndarray
    visual_NJC: np.ndarray
    language_NRC: np.ndarray
    visual_N: np.ndarray
    language_N: np.ndarray
    embedding_ND: np.ndarray
    image_ND: np.ndarray
    question_ND: np.ndarray


def in_batches(n: int, size: int, title: str) -> Iterator[range]:
    """Ranges of at most ``size``, under a progress bar where there are many."""
    starts = range(0, n, size)
    for start in tqdm(starts, desc=title, unit=" batches", disable=len(starts) < 20):
        yield range(start, min(start + size, n))


@torch.no_grad()
def written(
    vlm: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig, *, n: int = 0, seed: int = 0
) -> list[list[str]]:
    """Chain and answer that the model writes to each question: its best guess with ``n`` = 0, else ``n`` draws."""
    tokenizer, found = vlm.processor.tokenizer, []
    drawn = {**AS_IT_IS, "do_sample": True, "temperature": config.temperature, "num_return_sequences": n}
    how = drawn if n else {"do_sample": False}
    with computing(vlm, config), torch.random.fork_rng(devices=vlm.cuda_devices):
        for rows in in_batches(len(asked), config.predict_batch_size, "write chains"):
            part = [asked[row] for row in rows]
            torch.manual_seed(seed + rows.start)
            inputs = vlm.batch([one.image for one in part], vlm.prompts(part))
            ids = vlm.model.generate(
                **inputs, **PLAIN, **how, max_new_tokens=config.max_tokens, pad_token_id=tokenizer.pad_token_id
            )
            texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            texts = [text.strip() for text in texts]
            found += [texts[i * max(n, 1) : (i + 1) * max(n, 1)] for i in range(len(part))]
    return found


def chain_of(text: str) -> str:
    """What stands before the answer, its mark included: what an answer is asked after."""
    chain, _, _ = parted(text)
    return f"{chain} {ANSWER_MARK.strip()}".strip()


def say(
    vlm: Vlm, asked: Sequence[VisualQuestion], answers: Sequence[str], config: VlmConfig, *, seed: int
) -> Said:
    """Sampled chains with the answer after each, and the answer under changes of image and of question.

    Under a change the first sampled chain of the unchanged question is given: what the change does to each of its words
    and to the answer is seen, and nothing of the luck of drawing another chain.

    Args:
        asked: sorted by id.
        answers: C names.
    """
    texts = written(vlm, asked, config, n=config.chains, seed=seed)
    ready = answers_of(vlm, answers)
    resolution = REDUCED_RESOLUTION if is_reduced(vlm, config) else RESOLUTION
    names = ("chains", "seen", "read", "visual", "language", "whole", "image", "question")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with computing(vlm, config):
        for rows in in_batches(len(asked), config.predict_batch_size, "score questions"):
            part = [asked[row] for row in rows]
            images, prompts = [one.image for one in part], vlm.prompts(part)
            possible = [ready.possible(one.choices) for one in part]
            draw = np.random.default_rng([seed, rows.start])
            by_chain = []
            first = [chain_of(texts[row][0]) for row in rows]
            n_written_B = _n_written(vlm, prompts, first)
            for k in range(config.chains):
                chains = [chain_of(texts[row][k]) for row in rows]
                found = answer_probabilities(vlm, images, prompts, chains, ready, possible)
                by_chain.append(found.answers_BC)
                if k == 0:
                    unchanged_BLV = _next_words(found.logits_BTV, n_written_B)
                    parts["whole"].append(found.hidden_BTD[:, -1].float().cpu().numpy())
                    means = hidden_means(vlm, found.hidden_BTD, found.inputs)
                    for name, mean_BD in zip(("image", "question"), means, strict=True):
                        parts[name].append(mean_BD)
            del found  # with a vocabulary of 150,000 words every pass is gigabytes
            parts["chains"].append(np.stack(by_chain, axis=1))

            looked = [([_changed(image, change, draw) for image in images], prompts) for change in IMAGE_CHANGES]
            reworded = (
                [replace(one, question=change(one.question, draw)) for one in part] for change in QUESTION_CHANGES
            )
            reread = [(images, vlm.prompts(asked_so)) for asked_so in reworded]
            # a part of an image may be missed or not, so the whole one counts; readings stand beside each other
            for doubt, answer, changed, others in (
                ("visual", "seen", looked, [unchanged_BLV]), ("language", "read", reread, [])
            ):
                answered: list[np.ndarray] = []
                words = chain(others, _words_under(vlm, changed, first, ready, possible, n_written_B, answered))
                parts[doubt].append(movement(words, n_written_B, resolution))
                parts[answer].append(np.stack(answered, axis=1))
    joined = {name: np.concatenate(found) for name, found in parts.items()}
    return Said(
        np.array([one.sample_id for one in asked], dtype=str), tuple(map(tuple, texts)), joined["chains"],
        joined["seen"], joined["read"], joined["visual"], joined["language"], joined["whole"], joined["image"],
        joined["question"],
    )


def _n_written(vlm: Vlm, prompts: Sequence[str], chains: Sequence[str]) -> np.ndarray:
    """int64[B], tokens of each chain."""
    texts = [gone_on(prompt, chain) for prompt, chain in zip(prompts, chains, strict=True)]
    ends = zip(prompts, vlm.token_ends(texts), strict=True)
    return np.array([len(ends_T) - int(np.argmax(ends_T > len(prompt))) for prompt, ends_T in ends])


def _next_words(logits_BTV: Tensor, n_written_B: np.ndarray) -> Tensor:
    """float32[B, L, V], the probability of every word at each place of the chain and where the answer begins."""
    return torch.softmax(logits_BTV[:, -(int(n_written_B.max()) + 1) :].float(), -1)


def _words_under(
    vlm: Vlm,
    changed: Sequence[tuple[Sequence[Image.Image], Sequence[str]]],
    chains: Sequence[str],
    answers: Answers,
    possible: Sequence[Leaves],
    n_written_B: np.ndarray,
    answered: list[np.ndarray],
) -> Iterator[Tensor]:
    """:func:`_next_words` under one change after the other; ``answered`` gets the answers."""
    for images, prompts in changed:
        told = answer_probabilities(vlm, images, prompts, chains, answers, possible)
        answered.append(told.answers_BC)
        yield _next_words(told.logits_BTV, n_written_B)


def movement(p_JBLV: Iterable[Tensor], n_written_B: np.ndarray, resolution: float = RESOLUTION) -> np.ndarray:
    """float64[B], H(mean_j p) − mean_j H(p) in nats, mean over the last ``n_written + 1`` of L places.

    Less than ``resolution`` counts as nothing; of the J predictions one is held at a time.

    >>> sure, other = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> movement([sure, other], np.array([1])).round(4).tolist()
    [0.3466]
    """
    sum_BLV, entropies_BL, n = torch.zeros(()), torch.zeros(()), 0
    for p_BLV in p_JBLV:
        sum_BLV = p_BLV + sum_BLV.to(p_BLV)
        entropies_BL = torch.special.entr(p_BLV).sum(-1) + entropies_BL.to(p_BLV)
        n += 1
    moved_BL = torch.special.entr(sum_BLV / n).sum(-1) - entropies_BL / n
    places_BL = torch.where(moved_BL < resolution, 0.0, moved_BL).double().cpu().numpy()
    counted_BL = np.arange(places_BL.shape[1])[::-1] <= n_written_B[:, None]
    mean_B: np.ndarray = (places_BL * counted_BL).sum(axis=1) / (n_written_B + 1)
    return mean_B


def _changed(
    image: Image.Image, change: Callable[[np.ndarray, np.random.Generator], np.ndarray], draw: np.random.Generator
) -> Image.Image:
    return Image.fromarray(change(np.asarray(image.convert("RGB")), draw))


def hidden_means(vlm: Vlm, hidden_BTD: Tensor, inputs: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """float32[B, D] each: the mean hidden state over the image, and over the text."""
    image_BT, real_BT = vlm.image_positions(inputs), inputs["attention_mask"].bool()

    def mean_over(mask_BT: Tensor) -> np.ndarray:
        weight = mask_BT.float()[..., None]
        mean_BD: np.ndarray = ((hidden_BTD.float() * weight).sum(1) / weight.sum(1).clamp(min=1)).cpu().numpy()
        return mean_BD

    return mean_over(image_BT), mean_over(real_BT & ~image_BT)


@torch.no_grad()
def hidden_of(vlm: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig) -> tuple[np.ndarray, np.ndarray]:
    """float32[N, D] each, see :func:`hidden_means`: of the questions as they are put, before anything is written."""
    found = []
    with computing(vlm, config):
        for rows in in_batches(len(asked), config.predict_batch_size, "encode questions"):
            part = [asked[row] for row in rows]
            inputs = vlm.batch([one.image for one in part], vlm.prompts(part))
            hidden = vlm.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states[-1]
            found.append(hidden_means(vlm, hidden, inputs))
    images, texts = zip(*found, strict=True)
    return np.concatenate(images), np.concatenate(texts)
