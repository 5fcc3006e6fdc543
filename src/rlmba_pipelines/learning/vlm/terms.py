"""Three doubts about a visual question, in one unit, and what they are worth together.

Concept  what a model does not know of an image, of a question, and of the reasoning between them.
Source   Active-VLM (a forum post, no formula); mutual information as doubt that labels can resolve: BALD, Houlsby et
         al. 2011 (1112.5745); one modality disturbed at a time: 2606.31407; collective outliers: 2107.02331.
Stated   uncertainties of vision, language and reasoning, integrated into an information value.
Chosen   visual and language: H(mean_j p_j) − mean_j H(p_j), with p_j what the model would write next while image or
         question change, mean over a written chain and its answer. The answer alone would hardly move: the chain holds
         it. Reasoning: mean_k H(p(answer | chain k)), what stays open once the steps are written. All in nats; their
         shares of the value are ranks over the pool. Chosen by whether a doubt finds its cause (docs/vqa.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlmba_pipelines.learning.evidence import entropy, margin
from rlmba_pipelines.learning.metrics.ranks import mean_ranks


def vote_entropy(p_NKC: np.ndarray) -> np.ndarray:
    """float64[N] in [0, 1], entropy of the K answers that the chains vote for, by ln K.

    >>> vote_entropy(np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.6, 0.4]]]))
    array([1., 0.])
    """
    return _votes_spread(p_NKC) / np.log(max(p_NKC.shape[1], 2))


def boundary(p_NKC: np.ndarray) -> np.ndarray:
    """float64[N] in [0, 1]: 1 where two answers share the votes, 0 where all agree, or where four or more share them.

    >>> no, yes = [0.9, 0.1], [0.1, 0.9]
    >>> boundary(np.array([[no, yes], [no, no]])).tolist(), boundary(np.array([[no, no, no, yes, yes, yes]])).tolist()
    ([1.0, 0.0], [1.0])
    """
    bits_N = _votes_spread(p_NKC) / np.log(2)
    return 1 - np.abs(np.minimum(bits_N, 2) - 1)


def _votes_spread(p_NKC: np.ndarray) -> np.ndarray:
    """float64[N] nats, entropy of the votes."""
    return entropy((p_NKC.argmax(axis=2)[..., None] == np.arange(p_NKC.shape[2])).mean(axis=1))


def vlm_terms(
    chains_NKC: np.ndarray,
    visual_N: np.ndarray,
    language_N: np.ndarray,
    steps_NK: np.ndarray,
) -> dict[str, np.ndarray]:
    """Every named column of evidence about visual questions, float64[N] each.

    Args:
        chains_NKC: answer after each sampled chain.
        visual_N, language_N: nats by which image, and question, move what is written (``models.vlm.score``).
        steps_NK: steps of each sampled chain.

    Returns:
        ``visual``, ``language``, ``reasoning`` [nats], ``vote_entropy`` [0, 1], ``boundary`` [0, 1] (1 where two
        answers share the votes), ``steps`` (mean of the chains), ``depth`` (1 where chains have two steps or more,
        mostly), and of the mean answer ``margin``, ``entropy``.
    """
    p_NC = chains_NKC.mean(axis=1)
    return {
        "visual": visual_N,
        "language": language_N,
        "reasoning": entropy(chains_NKC).mean(axis=1),
        "vote_entropy": vote_entropy(chains_NKC),
        "boundary": boundary(chains_NKC),
        "steps": steps_NK.mean(axis=1),
        "depth": (steps_NK >= 2).mean(axis=1),
        "margin": margin(p_NC),
        "entropy": entropy(p_NC),
    }


def ranked(column_N: np.ndarray) -> np.ndarray:
    """float64[N] in (0, 1], mean ranks: what makes columns of different spread add.

    >>> ranked(np.array([0.2, 5.0, 0.2])).round(2).tolist()
    [0.5, 1.0, 0.5]
    """
    return mean_ranks(column_N) / max(len(column_N), 1)


def information_value(columns: Sequence[np.ndarray], weights: Sequence[float | np.ndarray]) -> np.ndarray:
    """V = Σ_d w_d · rank(U_d), float64[N] in [0, 1]; weights, of all or of each sample, are taken as shares.

    >>> information_value([np.array([0.0, 1.0]), np.array([3.0, 1.0])], [1, 3]).tolist()
    [0.875, 0.625]
    """
    weights_DN = np.stack([np.broadcast_to(weight, len(columns[0])) for weight in weights])
    ranks_DN = np.stack([ranked(column) for column in columns])
    value_N: np.ndarray = (weights_DN * ranks_DN).sum(axis=0) / weights_DN.sum(axis=0)
    return value_N


def outliers(alone_N: np.ndarray, share: float) -> np.ndarray:
    """bool[N], the ``share`` of samples that is doubtful in every way at once.

    The idea is that a label seldom helps where image, question and reasoning are all in doubt (2107.02331); of the
    generated questions no doubt tells which cannot be learned (docs/vqa.md). ``alone_N`` says how doubtful a sample is
    in its surest way.

    >>> outliers(np.array([0.1, 0.9, 0.2]), 0.4).tolist()
    [False, True, False]
    """
    found_N = np.zeros(len(alone_N), dtype=bool)
    found_N[np.argsort(-alone_N, kind="stable")[: int(share * len(alone_N))]] = True
    return found_N
