"""Terms: what is not known about a sample, read off the evidence; higher = more worth labeling.

Concept  EFDA, evidential fusion for difficulty-aware adjustment (RL-MBA, arXiv 2603.25107).
Source   dissonance: Jøsang, Cho and Chen 2018; conflict: Xu et al. 2024 (arXiv 2402.16897); mutual information of a
         Dirichlet: Malinin and Gales 2018 (arXiv 1802.10501).
Stated   the published uncertainty is U = (1/C) sum_c Var(p_c) of the fused Dirichlet (second-hand).
Chosen   columns of a modality that a sample lacks are 0, the least value; 0/0 in a balance or a pair mean is 0;
         conflict is the mean over pairs. Dissonance sorts the beliefs first, so that each pair is met once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import digamma

from rlmba_pipelines.learning.types import Evidence, Predictions, Terms

CHUNK_ENTRIES = 131_072  # floats of a block whose pairs meet while it is in cache; decides time, and rounding at most
CACHE_ENTRIES = 100_000  # floats of a block that is scored while it is in cache; decides time, never the result
MANY_CLASSES = 48

SINGLE_TERMS = ("margin", "entropy", "uncertainty", "vacuity", "dissonance", "mutual_information", "expected_entropy")
FUSED_TERMS = (*SINGLE_TERMS, "conflict")
MODALITY_TERMS = SINGLE_TERMS[:4]  # always; the others take a few hundredths of a second a modality


def expected_probabilities(evidence: np.ndarray) -> np.ndarray:
    """Mean ``alpha / S`` of the Dirichlet, same shape; rows sum to 1.

    >>> expected_probabilities(np.array([2.0, 0, 0]))
    array([0.6, 0.2, 0.2])
    """
    alpha = evidence + 1
    return alpha / alpha.sum(axis=-1, keepdims=True)


def vacuity(evidence: np.ndarray) -> np.ndarray:
    """Mass that an opinion leaves to ignorance, ``C / S``, in (0, 1]; 1 is no evidence at all.

    >>> vacuity(np.array([[0.0, 0, 0, 0], [4, 0, 0, 0]]))
    array([1. , 0.5])
    """
    n_classes = evidence.shape[-1]
    return n_classes / (evidence.sum(axis=-1) + n_classes)


def uncertainty(evidence: np.ndarray) -> np.ndarray:
    """The published U: mean variance of a class probability, ``(1 - sum_c p_c^2) / (C (S + 1))``, in [0, 1/4).

    >>> float(uncertainty(np.array([0.0, 0.0])))  # Beta(1, 1) has variance 1/12
    0.08333333333333333
    """
    p = expected_probabilities(evidence)
    n_classes = evidence.shape[-1]
    return (1 - (p**2).sum(axis=-1)) / (n_classes * (evidence.sum(axis=-1) + n_classes + 1))


def dissonance(evidence: np.ndarray) -> np.ndarray:
    """Strong evidence for several classes at once, float64[...] in [0, 1] (Jøsang, Cho and Chen 2018).

    ``sum_k b_k sum_{j != k} b_j Bal(j, k) / sum_{j != k} b_j`` with ``Bal = 1 - |b_j - b_k| / (b_j + b_k)``, which is
    ``2 min(b_j, b_k) / (b_j + b_k)``. In ascending order the minimum of a pair is the earlier one, and a pair counts
    once for both its sides: ``sum_k 2 b_k^2 sum_{j > k} b_j / (b_j + b_k) (1/rest_j + 1/rest_k)``. O(C^2) a row, in
    blocks that stay in cache. 0 with one class.

    >>> dissonance(np.array([[98.0, 0], [49, 49]]))
    array([0.  , 0.98])
    """
    n_classes = evidence.shape[-1]
    belief_NC = (evidence / (evidence.sum(axis=-1, keepdims=True) + n_classes)).reshape(-1, n_classes)
    rows = max(1, CHUNK_ENTRIES // n_classes)
    chunks = [_dissonance(belief_NC[start : start + rows]) for start in range(0, max(1, len(belief_NC)), rows)]
    return np.concatenate(chunks).reshape(evidence.shape[:-1])[()]


def _dissonance(belief_BC: np.ndarray) -> np.ndarray:
    b_CB = np.ascontiguousarray(np.sort(belief_BC, axis=1).T)
    rest_CB = np.zeros_like(b_CB)  # not sum(b) - b, which would leave rounding where there is nothing else
    rest_CB[1:] += np.cumsum(b_CB[:-1], axis=0)
    rest_CB[:-1] += np.cumsum(b_CB[:0:-1], axis=0)[::-1]
    per_rest_CB = 1 / np.where(rest_CB > 0, rest_CB, np.inf)
    total_B, buffer_CB = np.zeros(b_CB.shape[1]), np.empty_like(b_CB)
    for k in range(len(b_CB) - 1):
        larger, share = b_CB[k + 1 :], buffer_CB[k + 1 :]
        np.divide(larger, np.add(larger, b_CB[k] + np.finfo(float).tiny, out=share), out=share)  # 0/0 is 0
        both_B = np.einsum("cb,cb->b", share, per_rest_CB[k + 1 :]) + per_rest_CB[k] * share.sum(axis=0)
        total_B += 2 * b_CB[k] ** 2 * both_B
    return total_B


def conflict(evidence_NMC: np.ndarray, present_NM: np.ndarray) -> np.ndarray:
    """Committed modalities that disagree, float64[N] in [0, 1): mean over present pairs of
    ``1/2 sum_c |p_i - p_j| (1 - u_i) (1 - u_j)``; 0 with fewer than two modalities.

    >>> evidence = np.array([[[8.0, 0], [0, 8]], [[8, 0], [8, 0]]])
    >>> conflict(evidence, np.ones((2, 2), dtype=bool))  # .8 * .8 * .8 and agreement
    array([0.512, 0.   ])
    """
    p_NMC, sure_NM = expected_probabilities(evidence_NMC), 1 - vacuity(evidence_NMC)
    total_N, pairs_N = np.zeros(len(evidence_NMC)), np.zeros(len(evidence_NMC))
    for i, j in itertools.combinations(range(present_NM.shape[1]), 2):
        both_N = present_NM[:, i] & present_NM[:, j]
        distance_N = 0.5 * np.abs(p_NMC[:, i] - p_NMC[:, j]).sum(axis=1)
        total_N += both_N * distance_N * sure_NM[:, i] * sure_NM[:, j]
        pairs_N += both_N
    return total_N / np.maximum(pairs_N, 1)


def expected_entropy(evidence: np.ndarray) -> np.ndarray:
    """Nats of doubt that would stay if the true p were known, ``-sum_c p_c (psi(alpha_c + 1) - psi(S + 1))``, >= 0.

    >>> float(expected_entropy(np.array([0.0, 0.0])))  # of a uniform Beta
    0.5
    """
    alpha = evidence + 1
    strength = alpha.sum(axis=-1, keepdims=True)
    return -(alpha / strength * (digamma(alpha + 1) - digamma(strength + 1))).sum(axis=-1)


def mutual_information(evidence: np.ndarray) -> np.ndarray:
    """Nats that knowing the true p would tell of the class: ``H[p] + sum_c p_c (psi(alpha_c + 1) - psi(S + 1))``.

    >>> float(mutual_information(np.array([0.0, 0.0])).round(4))  # ln 2 - 1/2
    0.1931
    """
    return np.maximum(entropy(expected_probabilities(evidence)) - expected_entropy(evidence), 0.0)


def entropy(p: np.ndarray) -> np.ndarray:
    """Shannon entropy of the last axis in nats, [0, ln C], in the precision of ``p`` (float32 or float64).

    >>> float(entropy(np.array([0.5, 0.5, 0.0])).round(4))
    0.6931
    """

    def entropy_of(p_BC: np.ndarray) -> np.ndarray:
        log_BC = np.maximum(p_BC, np.finfo(p_BC.dtype).tiny)  # 0 ln 0 = 0; what is smaller than tiny adds nothing
        return 0.0 - np.einsum("bc,bc->b", p_BC, np.log(log_BC, out=log_BC))

    return _row_by_row(entropy_of, p)


def margin(p: np.ndarray) -> np.ndarray:
    """``1 - (p_first - p_second)`` over the last axis, [0, 1]; 1 is a tie of the two likeliest classes.

    >>> margin(np.array([0.5, 0.25, 0.25])).item()
    0.75
    """

    def margin_of(p_BC: np.ndarray) -> np.ndarray:
        if p_BC.shape[1] < MANY_CLASSES:
            top_BC = np.partition(p_BC, -2, axis=1)
            return 1 - (top_BC[:, -1] - top_BC[:, -2])
        likeliest = np.arange(len(p_BC)), p_BC.argmax(axis=1)  # of many classes two passes beat a partition
        others_BC = p_BC.copy()
        others_BC[likeliest] = -np.inf
        return 1 - (p_BC[likeliest] - others_BC.max(axis=1))

    if p.shape[-1] < 2:
        raise ValueError(f"margin: two classes are needed, got shape {p.shape}")
    return _row_by_row(margin_of, p)


def _row_by_row(score: Callable[[np.ndarray], np.ndarray], p: np.ndarray) -> np.ndarray:
    """``score`` of every row of the last axis, in blocks that stay in cache; half precision counts in float32."""
    rows_NC = np.asarray(p, dtype=np.result_type(p, np.float32)).reshape(-1, p.shape[-1])
    size = max(1, CACHE_ENTRIES // rows_NC.shape[1])
    parts = [score(rows_NC[start : start + size]) for start in range(0, max(1, len(rows_NC)), size)]
    return np.concatenate(parts).reshape(p.shape[:-1])[()]


def terms_of(evidence: Evidence, predictions: Predictions, modality_terms: Sequence[str] = ()) -> Terms:
    """Every column that a strategy may rank by; finite, and higher = more worth labeling.

    ``margin`` and ``entropy`` look at the fused head; ``uncertainty`` (U), ``vacuity``, ``dissonance``,
    ``mutual_information`` and ``expected_entropy`` at the fused evidence; ``conflict`` at the modalities.
    ``<term>_<modality>`` looks at one modality and is 0, the least value, where it is absent: what is not there asks
    for no label. A sample with no modality at all has vacuity 1 and conflict 0.

    Args:
        modality_terms: the terms to have for each modality beside ``MODALITY_TERMS``, of ``SINGLE_TERMS``.

    Raises:
        ValueError: evidence and predictions are of different samples, of fewer than two classes, or not finite; or a
            term that one modality cannot have.
    """
    if not np.array_equal(evidence.sample_ids, predictions.sample_ids):
        raise ValueError("terms_of: evidence and predictions are of different samples")
    unknown = sorted(set(modality_terms) - set(SINGLE_TERMS))
    if unknown:
        raise ValueError(f"terms_of: one modality has no {unknown}; choose from {', '.join(SINGLE_TERMS)}")
    present_NM = evidence.present_NM
    columns = _single(SINGLE_TERMS, predictions.probabilities_NC, evidence.fused_NC)
    columns["conflict"] = conflict(evidence.evidence_NMC, present_NM)
    wanted = tuple(dict.fromkeys((*MODALITY_TERMS, *modality_terms)))
    for name, values_NM in _single(wanted, predictions.unimodal_NMC, evidence.evidence_NMC).items():
        present_values_NM = np.where(present_NM, values_NM, 0.0)
        columns |= {f"{name}_{m}": present_values_NM[:, i] for i, m in enumerate(evidence.modalities)}
    return Terms(evidence.sample_ids, columns)


def _single(names: Sequence[str], p: np.ndarray, evidence: np.ndarray) -> dict[str, np.ndarray]:
    """Terms of one opinion, from what its head predicts and from its evidence."""
    of_evidence = {
        "uncertainty": uncertainty,
        "vacuity": vacuity,
        "dissonance": dissonance,
        "mutual_information": mutual_information,
        "expected_entropy": expected_entropy,
    }
    of_head = {"margin": margin, "entropy": entropy}
    return {name: of_head[name](p) if name in of_head else of_evidence[name](evidence) for name in names}
