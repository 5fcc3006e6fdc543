"""How likely each of the known answers is, as if the model could write nothing else.

Concept  the probability of an answer in words, among answers that may begin alike.
Source   constrained decoding over a prefix tree (De Cao et al. 2021, 2010.00904).
Stated   at each place only those words are possible that lead to an answer.
Chosen   one pass tells the first words, a further one every branching on the path of one answer; branches that hold
         less than a hundredth of the probability are not looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rlmba_pipelines.learning.vlm.chains import ANSWER_MARK
from rlmba_pipelines.learning.vlm.choices import LETTERS
from rlmba_pipelines.models.vlm.backbone import Vlm, gone_on

SMALL = 0.01  # of the probability: a branch with less is split evenly among its answers
Paths = tuple[tuple[int, ...], ...]
Subset = tuple[int, ...]


class Branching(NamedTuple):
    """Where some answers part.

    Attributes:
        depth: tokens that they share.
        tokens: int64[G], what they go on with.
        parts: of each the answers that do.
    """

    depth: int
    tokens: np.ndarray
    parts: tuple[Subset, ...]


@dataclass(frozen=True)
class Answers:
    """C answers as the model would write them.

    Attributes:
        names: str[C].
        texts: each with the mark of its end.
        paths: each as tokens, as they follow the mark of an answer.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    paths: Paths
    _seen: dict[tuple[Subset, int], Branching | None] = field(default_factory=dict, repr=False, compare=False)

    def possible(self, choices: Sequence[str]) -> Subset:
        """The answers to a question with these choices: their letters; all, where it has none or no letter is known."""
        letters = set(LETTERS[: len(choices)])
        return tuple(c for c, name in enumerate(self.names) if name in letters) or tuple(range(len(self.names)))

    def branching(self, among: Subset, depth: int) -> Branching | None:
        """:func:`branching` of these answers, looked for once."""
        if (among, depth) not in self._seen:
            self._seen[among, depth] = branching(self.paths, among, depth)
        return self._seen[among, depth]


class Answered(NamedTuple):
    """What a model says to B questions with a chain given.

    Attributes:
        answers_BC: float64, how likely each answer follows; 1 in sum.
        hidden_BTD, logits_BTV, inputs: of the pass that ends with the chain.
    """

    answers_BC: np.ndarray
    hidden_BTD: Tensor
    logits_BTV: Tensor
    inputs: dict[str, Tensor]


def answers_of(vlm: Vlm, names: Iterable[str]) -> Answers:
    """Answers by name, ready to be scored."""
    names, mark, tokenizer = tuple(names), ANSWER_MARK.strip(), vlm.processor.tokenizer
    n_before = len(tokenizer(mark)["input_ids"])
    texts = tuple(f"{name}{tokenizer.eos_token}" for name in names)
    told = tokenizer([f"{mark} {text}" for text in texts])["input_ids"] if names else []
    return Answers(names, texts, tuple(tuple(ids[n_before:]) for ids in told))


def branching(paths: Paths, among: Subset, depth: int) -> Branching | None:
    """Where the answers ``among`` part, which share ``depth`` tokens; None where they never do.

    >>> branching(((5, 7, 1), (5, 8, 1), (5, 7, 2)), (0, 1, 2), 0).parts, branching(((5, 1), (5, 1)), (0, 1), 0)
    (((0, 2), (1,)), None)
    """
    while True:
        by_token: dict[int, list[int]] = {}
        for answer in among:
            if depth < len(paths[answer]):
                by_token.setdefault(paths[answer][depth], []).append(answer)
        if not by_token:
            return None
        if len(by_token) > 1:
            parts = tuple(tuple(part) for part in by_token.values())
            return Branching(depth, np.array(list(by_token)), parts)
        depth += 1


@torch.no_grad()
def answer_probabilities(
    vlm: Vlm,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    chains: Sequence[str],
    answers: Answers,
    possible: Sequence[Subset] | None = None,
) -> Answered:
    """How likely each answer follows the chain.

    Args:
        possible: of each question the answers that it may have; None: all of them.
    """
    texts = [gone_on(prompt, chain) for prompt, chain in zip(prompts, chains, strict=True)]
    inputs = vlm.batch(images, texts)
    out = vlm.model(**inputs, output_hidden_states=True, use_cache=False)
    everything = tuple(range(len(answers.paths)))
    walks = [_Walk(answers, among) for among in possible or [everything] * len(texts)]
    _first_words(walks, torch.log_softmax(out.logits[:, -1].float(), -1))
    while going := [(row, next_one) for row, walk in enumerate(walks) if (next_one := walk.next()) is not None]:
        longer = [f"{texts[row]} {answers.texts[answer]}" for row, answer in going]
        further = vlm.batch([images[row] for row, _ in going], longer)
        logits_RTV = vlm.model(**further, use_cache=False).logits
        for (row, answer), logits_TV in zip(going, logits_RTV, strict=True):
            n = len(answers.paths[answer])
            walks[row].follow(answer, torch.log_softmax(logits_TV[-n - 1 : -1].float(), -1))
        del logits_RTV
    answers_BC = np.stack([walk.probabilities() for walk in walks])
    return Answered(answers_BC, out.hidden_states[-1], out.logits, inputs)


class _Walk:
    """The probabilities of one question's answers as far as they are known, and the branches still open."""

    def __init__(self, answers: Answers, among: Subset) -> None:
        self.answers = answers
        self.settled_C = np.zeros(len(answers.paths))
        self.open: list[tuple[float, Subset, Branching]] = []
        self.enter(1.0, among, 0)

    def enter(self, mass: float, among: Subset, depth: int) -> None:
        """``among`` share ``depth`` tokens and hold ``mass`` together."""
        parting = self.answers.branching(among, depth) if len(among) > 1 else None
        if parting is None:
            self.settled_C[list(among)] += mass / len(among)
        else:
            self.open.append((mass, among, parting))

    def part(self, place: int, p_G: np.ndarray) -> None:
        """Settle an open branching by how likely its tokens are."""
        mass, _, parting = self.open.pop(place)
        for p, part in zip(p_G.tolist(), parting.parts, strict=True):
            self.enter(mass * p, part, parting.depth + 1)

    def next(self) -> int | None:
        """The answer whose path is to be looked at next; None where what is open is small."""
        if not self.open:
            return None
        mass, among, _ = max(self.open, key=lambda one: one[0])
        return among[0] if mass >= SMALL else None

    def follow(self, answer: int, log_p_TV: Tensor) -> None:
        """Settle every branching on the path of ``answer``; ``log_p_TV`` stands before each of its tokens."""
        while True:
            on_path = [place for place, (_, among, _) in enumerate(self.open) if answer in among]
            if not on_path:
                return
            parting = self.open[on_path[0]][2]
            tokens = torch.from_numpy(parting.tokens).to(log_p_TV.device)
            self.part(on_path[0], torch.softmax(log_p_TV[parting.depth][tokens], 0).double().cpu().numpy())

    def probabilities(self) -> np.ndarray:
        """float64[C], what is still open split evenly."""
        for mass, among, _ in self.open:
            self.settled_C[list(among)] += mass / len(among)
        self.open = []
        return self.settled_C


def _first_words(walks: Sequence[_Walk], log_p_BV: Tensor) -> None:
    """Settle what the first word decides, all questions with the same possible answers at once."""
    rows_of: dict[Subset, list[int]] = {}
    for row, walk in enumerate(walks):
        for _, among, parting in walk.open:
            if parting.depth == 0:
                rows_of.setdefault(among, []).append(row)
    for rows in rows_of.values():
        tokens_G = torch.from_numpy(walks[rows[0]].open[0][2].tokens).to(log_p_BV.device)
        rows_R = torch.tensor(rows, device=log_p_BV.device)
        p_RG = torch.softmax(log_p_BV[rows_R[:, None], tokens_G], 1).double().cpu().numpy()
        for row, p_G in zip(rows, p_RG, strict=True):
            walks[row].part(0, p_G)
