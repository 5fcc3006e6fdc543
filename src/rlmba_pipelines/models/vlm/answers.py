"""How likely each of the known answers is, as if the model could write nothing else.

Concept  the probability of an answer in words, among answers that may begin alike.
Source   constrained decoding over a prefix tree (De Cao et al. 2021, 2010.00904).
Stated   at each node only those tokens are possible that lead to an answer.
Chosen   one pass settles the root, a further one every node on the path of one answer, the likeliest first, until
         little of the probability is left; that is split evenly among the answers below each node.
"""

from __future__ import annotations

import inspect
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

LITTLE = 0.02  # of the probability may stay below nodes that are not settled
MOST_PASSES = 16  # beside the first one; a question that is all in doubt would need one for every node
Paths = tuple[tuple[int, ...], ...]
Leaves = tuple[int, ...]  # places of answers


class Node(NamedTuple):
    """Where the paths of some answers part.

    Attributes:
        depth: tokens that they share.
        tokens: int64[G], what they go on with.
        alone_A, only_A: int64[A], those of the tokens that one answer goes on with, and that answer.
        shared: the others, each with its answers.
    """

    depth: int
    tokens: np.ndarray
    alone_A: np.ndarray
    only_A: np.ndarray
    shared: tuple[tuple[int, Leaves], ...]


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
    _nodes: dict[tuple[Leaves, int], Node | None] = field(default_factory=dict, repr=False, compare=False)

    def possible(self, choices: Sequence[str]) -> Leaves:
        """The answers to a question with these choices: their letters; all, where it has none or no letter is known."""
        letters = set(LETTERS[: len(choices)])
        return tuple(c for c, name in enumerate(self.names) if name in letters) or tuple(range(len(self.names)))

    def node(self, leaves: Leaves, depth: int) -> Node | None:
        """:func:`node_of` these answers, looked for once."""
        if (leaves, depth) not in self._nodes:
            self._nodes[leaves, depth] = node_of(self.paths, leaves, depth)
        return self._nodes[leaves, depth]


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
    told = tokenizer([f"{mark} {text}" for text in texts])["input_ids"]
    return Answers(names, texts, tuple(tuple(ids[n_before:]) for ids in told))


def node_of(paths: Paths, leaves: Leaves, depth: int) -> Node | None:
    """Where the answers ``leaves`` part, which share ``depth`` tokens; None where they never do.

    >>> node = node_of(((5, 7, 1), (5, 8, 1), (5, 7, 2)), (0, 1, 2), 0)
    >>> node.depth, node.tokens.tolist(), node.only_A.tolist(), node.shared
    (1, [7, 8], [1], ((0, (0, 2)),))
    >>> node_of(((5, 1), (5, 1)), (0, 1), 0)
    """
    while True:
        by_token: dict[int, list[int]] = {}
        for leaf in leaves:
            if depth < len(paths[leaf]):
                by_token.setdefault(paths[leaf][depth], []).append(leaf)
        if not by_token:
            return None
        if len(by_token) > 1:
            below = list(by_token.values())
            alone = [g for g, some in enumerate(below) if len(some) == 1]
            shared = tuple((g, tuple(some)) for g, some in enumerate(below) if len(some) > 1)
            only = np.array([below[g][0] for g in alone], dtype=np.int64)
            return Node(depth, np.array(list(by_token)), np.array(alone, dtype=np.int64), only, shared)
        depth += 1


@torch.no_grad()
def answer_probabilities(
    vlm: Vlm,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    chains: Sequence[str],
    answers: Answers,
    possible: Sequence[Leaves] | None = None,
) -> Answered:
    """How likely each answer follows the chain.

    Args:
        possible: of each question the answers that it may have; None: all of them.
    """
    texts = [gone_on(prompt, chain) for prompt, chain in zip(prompts, chains, strict=True)]
    inputs = vlm.batch(images, texts)
    out = vlm.model(**inputs, output_hidden_states=True, use_cache=False)
    hidden_BTD, logits_BTV = out.hidden_states[-1], out.logits
    del out  # the hidden states of all other layers
    everything = tuple(range(len(answers.paths)))
    walks = [_Walk(answers, leaves) for leaves in possible or [everything] * len(texts)]
    _settle_roots(walks, torch.log_softmax(logits_BTV[:, -1].float(), -1))
    for _ in range(MOST_PASSES):
        going = [(row, leaf) for row, walk in enumerate(walks) if (leaf := walk.next_leaf()) is not None]
        if not going:
            break
        longer = [f"{texts[row]} {answers.texts[leaf]}" for row, leaf in going]
        n_last = 1 + max(len(answers.paths[leaf]) for _, leaf in going)
        log_p_RTV = _last_words(vlm, [images[row] for row, _ in going], longer, n_last)
        for (row, leaf), log_p_TV in zip(going, log_p_RTV, strict=True):
            walks[row].follow(leaf, log_p_TV[-len(answers.paths[leaf]) - 1 :])
    answers_BC = np.stack([walk.probabilities() for walk in walks])
    return Answered(answers_BC, hidden_BTD, logits_BTV, inputs)


def _last_words(vlm: Vlm, images: Sequence[Image.Image], texts: Sequence[str], n_last: int) -> Tensor:
    """float32[B, n_last, V], log-probability of what follows each of the last tokens."""
    kept = {"logits_to_keep": n_last} if "logits_to_keep" in inspect.signature(vlm.model.forward).parameters else {}
    logits_BTV = vlm.model(**vlm.batch(images, texts), use_cache=False, **kept).logits
    return torch.log_softmax(logits_BTV[:, -n_last:].float(), -1)


class _Walk:
    """The probabilities of one question's answers as far as they are settled, and the nodes that are not."""

    def __init__(self, answers: Answers, leaves: Leaves) -> None:
        self.answers = answers
        self.settled_C = np.zeros(len(answers.paths))
        self.open: dict[int, tuple[float, Leaves, Node]] = {}  # by the first leaf below
        self.enter(1.0, leaves, 0)

    def enter(self, mass: float, leaves: Leaves, depth: int) -> None:
        """``leaves`` share ``depth`` tokens and hold ``mass`` together."""
        node = self.answers.node(leaves, depth) if len(leaves) > 1 else None
        if node is None:
            self.settled_C[list(leaves)] += mass / len(leaves)
        else:
            self.open[leaves[0]] = (mass, leaves, node)

    def settle(self, first_leaf: int, p_G: np.ndarray) -> None:
        """Give what a node holds to its tokens, ``p_G`` of them each."""
        mass, _, node = self.open.pop(first_leaf)
        self.settled_C[node.only_A] += mass * p_G[node.alone_A]
        for g, leaves in node.shared:
            self.enter(mass * float(p_G[g]), leaves, node.depth + 1)

    def next_leaf(self) -> int | None:
        """The answer whose path is to be looked at next; None where little is open."""
        masses = {leaf: mass for leaf, (mass, *_) in self.open.items()}
        return max(masses, key=lambda leaf: masses[leaf]) if sum(masses.values()) > LITTLE else None

    def follow(self, leaf: int, log_p_TV: Tensor) -> None:
        """Settle every node on the path of ``leaf``, whose tokens ``log_p_TV`` foretells."""
        while leaf in self.open:
            node = self.open[leaf][2]
            tokens_G = torch.from_numpy(node.tokens).to(log_p_TV.device)
            self.settle(leaf, torch.softmax(log_p_TV[node.depth][tokens_G], 0).double().cpu().numpy())

    def probabilities(self) -> np.ndarray:
        """float64[C], what is still open split evenly."""
        p_C = self.settled_C.copy()
        for mass, leaves, _ in self.open.values():
            p_C[list(leaves)] += mass / len(leaves)
        return p_C


def _settle_roots(walks: Sequence[_Walk], log_p_BV: Tensor) -> None:
    """What the first word decides, all questions with the same possible answers at once."""
    rows_of: dict[Leaves, list[int]] = {}
    for row, walk in enumerate(walks):
        for _, leaves, node in walk.open.values():
            if node.depth == 0:
                rows_of.setdefault(leaves, []).append(row)
    for leaves, rows in rows_of.items():
        tokens_G = torch.from_numpy(walks[rows[0]].open[leaves[0]][2].tokens).to(log_p_BV.device)
        rows_R = torch.tensor(rows, device=log_p_BV.device)
        p_RG = torch.softmax(log_p_BV[rows_R[:, None], tokens_G], 1).double().cpu().numpy()
        for row, p_G in zip(rows, p_RG, strict=True):
            walks[row].settle(leaves[0], p_G)
