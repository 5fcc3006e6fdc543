"""Evidence: opinions of modalities, their fusion, and the terms that say which sample is worth a label.

Concept  EFDA, evidential fusion for difficulty-aware adjustment (RL-MBA, arXiv 2603.25107).
Source   Subjective logic, Jøsang 2016; Han et al. 2021 (arXiv 2102.02051); conflict: Xu et al. 2024 (arXiv 2402.16897).
Stated   evidence of modalities is fused and its uncertainty U = (1/C) sum_c Var(p_c) drives selection (second-hand).
Chosen   evidence of a modality is the precision on which its head ensemble agrees, times the mean prediction, since
         learned evidence does not vanish with data (arXiv 2402.06160); Dempster's rule in closed form; masks for absent
         modalities, whose own columns are 0, the least value; 0/0 in a balance or a pair mean is 0.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import digamma

from rlmba_pipelines.learning.types import Evidence, Predictions, Terms, UserError

MOST_EVIDENCE = 1e4  # precision of an ensemble whose members agree to the last bit
CHUNK_ENTRIES = 2_000_000  # floats that a pairwise term may hold at once; decides memory, never the result


def evidence_of(
    predictions: Predictions,
    *,
    source: str = "ensemble",
    rule: str = "weighted_average",
    weights_M: np.ndarray | None = None,
) -> Evidence:
    """Dirichlet evidence of every modality and of their fusion.

    Args:
        source: ``ensemble`` matches the moments of the unimodal draws; ``edl`` takes what evidential heads state.
        rule: ``weighted_average`` or ``dempster``.
        weights_M: float64[M] on the simplex, renormalized over what is present; None is uniform. Dempster ignores it.

    Raises:
        UserError: the model cannot serve the source (one head only, or no evidential heads).
        ValueError: an unknown source or rule.
    """
    present_NM = predictions.present_NM
    if source == "ensemble":
        if predictions.draws_NKC.shape[1] < 2:
            raise UserError("evidence.source 'ensemble' needs at least two heads; raise fusion.n_heads to 2 or more.")
        evidence_NMC = match_moments(predictions.unimodal_draws_NMKC)
    elif source == "edl":
        if predictions.evidence_NMC is None:
            raise UserError("evidence.source 'edl' needs a model trained with fusion.loss 'edl'; set both or neither.")
        evidence_NMC = predictions.evidence_NMC
    else:
        raise ValueError(f"unknown source of evidence {source!r}: choose 'ensemble' or 'edl'")
    evidence_NMC = np.where(present_NM[..., None], evidence_NMC, 0.0)
    if rule == "weighted_average":
        fused_NC = weighted_average(evidence_NMC, present_NM, weights_M)
    elif rule == "dempster":
        fused_NC = dempster(evidence_NMC, present_NM)
    else:
        raise ValueError(f"unknown rule of fusion {rule!r}: choose 'weighted_average' or 'dempster'")
    return Evidence(predictions.sample_ids, predictions.modalities, present_NM, evidence_NMC, fused_NC)


def match_moments(draws: np.ndarray) -> np.ndarray:
    """Evidence ``S mean_c`` of K draws, where a Dirichlet of precision S would scatter as the draws do.

    ``Var(p_c) = m_c (1 - m_c) / (S + 1)`` for a Dirichlet of mean m, hence, summed over classes,
    ``S = sum_c m_c (1 - m_c) / sum_c Var(p_c) - 1``, clipped to [0, 1e4]. The matched precision counts as evidence
    seen, on top of the uniform Dirichlet(1): so evidence is nonnegative, and vacuity ``C / (S + C)`` never saturates.

    Args:
        draws: float64[..., K, C], rows sum to 1, K >= 2. The variance is the unbiased one.

    Returns:
        float64[..., C], nonnegative.

    >>> match_moments(np.array([[0.6, 0.4], [0.4, 0.6]]))  # mean 1/2, variance .02 each: S = .5 / .04 - 1
    array([5.75, 5.75])
    >>> match_moments(np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([0., 0.])
    """
    mean = draws.mean(axis=-2)
    scatter = draws.var(axis=-2, ddof=1).sum(axis=-1)
    spread = (mean * (1 - mean)).sum(axis=-1)
    agreed = scatter * (MOST_EVIDENCE + 1) <= spread
    precision = np.where(agreed, MOST_EVIDENCE, spread / np.where(agreed, 1.0, scatter) - 1)
    return np.clip(precision, 0.0, MOST_EVIDENCE)[..., None] * mean


def weighted_average(
    evidence_NMC: np.ndarray, present_NM: np.ndarray, weights_M: np.ndarray | None = None
) -> np.ndarray:
    """Fuse by the published ``alpha = 1 + sum_m w_m (alpha_m - 1)``, ``w`` renormalized over what is present.

    A sample whose present modalities all have weight 0 averages them evenly; one with nothing present has no evidence.

    >>> weighted_average(np.array([[[4.0, 0], [0, 2]]]), np.array([[True, True]]), np.array([0.75, 0.25]))
    array([[3. , 0.5]])
    >>> weighted_average(np.array([[[4.0, 0], [0, 2]]]), np.array([[False, True]]), np.array([0.75, 0.25]))
    array([[0., 2.]])
    """
    return np.einsum("nm,nmc->nc", share_of_present(present_NM, weights_M), evidence_NMC)


def share_of_present(present_NM: np.ndarray, weights_M: np.ndarray | None) -> np.ndarray:
    """``weights_M`` renormalized over what each sample has, float64[N, M]; rows sum to 1 (0 with nothing present).

    >>> share_of_present(np.array([[True, True, False]]), np.array([0.2, 0.6, 0.2]))
    array([[0.25, 0.75, 0.  ]])
    """
    weights_M = np.ones(present_NM.shape[1]) if weights_M is None else np.asarray(weights_M, dtype=np.float64)
    weight_NM = present_NM * weights_M
    weightless_N = weight_NM.sum(axis=1) <= 0
    weight_NM[weightless_N] = present_NM[weightless_N]
    return weight_NM / np.maximum(weight_NM.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def dempster(evidence_NMC: np.ndarray, present_NM: np.ndarray) -> np.ndarray:
    """Fuse by Dempster's rule, which in evidence is ``1 + e/C = prod_m (1 + e_m/C)``.

    The order of modalities does not matter, and an absent modality changes nothing.

    >>> both = np.array([[[4.0, 0], [4, 0]]])
    >>> dempster(both, np.array([[True, True]]))
    array([[16.,  0.]])
    >>> dempster(both, np.array([[True, False]]))
    array([[4., 0.]])
    """
    n_classes = evidence_NMC.shape[-1]
    factor_NMC = np.where(present_NM[..., None], 1 + evidence_NMC / n_classes, 1.0)
    return n_classes * (factor_NMC.prod(axis=1) - 1)


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


def dissonance(evidence_NC: np.ndarray) -> np.ndarray:
    """Strong evidence for several classes at once, float64[N] in [0, 1] (Jøsang, Cho and Chen 2018).

    ``sum_k b_k sum_{j != k} b_j Bal(j, k) / sum_{j != k} b_j`` with ``Bal = 1 - |b_j - b_k| / (b_j + b_k)``.
    O(N C^2) time, in chunks of bounded memory.

    >>> dissonance(np.array([[98.0, 0], [49, 49]]))
    array([0.  , 0.98])
    """
    n_classes = evidence_NC.shape[1]
    belief_NC = evidence_NC / (evidence_NC.sum(axis=1, keepdims=True) + n_classes)
    rows = max(1, CHUNK_ENTRIES // n_classes**2)
    chunks = [_dissonance(belief_NC[start : start + rows]) for start in range(0, len(belief_NC), rows)]
    return np.concatenate(chunks) if chunks else np.zeros(0)


def _dissonance(b: np.ndarray) -> np.ndarray:
    others_CC = 1 - np.eye(b.shape[1])
    total = b[:, :, None] + b[:, None, :]
    balance = 2 * np.minimum(b[:, :, None], b[:, None, :]) / np.where(total > 0, total, 1.0) * others_CC
    mass = b @ others_CC  # not sum(b) - b, which would leave rounding where there is nothing else
    share = np.einsum("nkj,nj->nk", balance, b) / np.where(mass > 0, mass, 1.0)
    return (b * share).sum(axis=1)


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


def mutual_information(evidence: np.ndarray) -> np.ndarray:
    """Nats that knowing the true p would tell of the class: ``H[p] + sum_c p_c (psi(alpha_c + 1) - psi(S + 1))``.

    >>> float(mutual_information(np.array([0.0, 0.0])).round(4))  # ln 2 - 1/2
    0.1931
    """
    alpha = evidence + 1
    strength = alpha.sum(axis=-1, keepdims=True)
    p = alpha / strength
    expected = (p * (digamma(alpha + 1) - digamma(strength + 1))).sum(axis=-1)
    return np.maximum(entropy(p) + expected, 0.0)


def entropy(p: np.ndarray) -> np.ndarray:
    """Shannon entropy of the last axis in nats, [0, ln C].

    >>> float(entropy(np.array([0.5, 0.5, 0.0])).round(4))
    0.6931
    """
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1) + 0.0


def margin(p: np.ndarray) -> np.ndarray:
    """``1 - (p_first - p_second)`` over the last axis, [0, 1]; 1 is a tie of the two likeliest classes.

    >>> margin(np.array([0.5, 0.25, 0.25])).item()
    0.75
    """
    top = np.partition(p, -2, axis=-1)
    return 1 - (top[..., -1] - top[..., -2])


def terms_of(evidence: Evidence, predictions: Predictions) -> Terms:
    """Every column that a strategy may rank by; finite, and higher = more worth labeling.

    ``margin`` and ``entropy`` look at the fused head; ``uncertainty`` (U), ``vacuity``, ``dissonance`` and
    ``mutual_information`` at the fused evidence; ``conflict`` at the modalities. ``margin_<modality>``,
    ``entropy_<modality>`` and ``vacuity_<modality>`` look at one modality and are 0, the least value, where it is
    absent: what is not there asks for no label.

    Raises:
        ValueError: evidence and predictions are of different samples.
    """
    if not np.array_equal(evidence.sample_ids, predictions.sample_ids):
        raise ValueError("terms_of: evidence and predictions are of different samples")
    fused_NC, present_NM = evidence.fused_NC, evidence.present_NM
    columns = {
        "margin": margin(predictions.probabilities_NC),
        "entropy": entropy(predictions.probabilities_NC),
        "uncertainty": uncertainty(fused_NC),
        "vacuity": vacuity(fused_NC),
        "dissonance": dissonance(fused_NC),
        "conflict": conflict(evidence.evidence_NMC, present_NM),
        "mutual_information": mutual_information(fused_NC),
    }
    for name, values_NM in (
        ("margin", margin(predictions.unimodal_NMC)),
        ("entropy", entropy(predictions.unimodal_NMC)),
        ("vacuity", vacuity(evidence.evidence_NMC)),
    ):
        present_values_NM = np.where(present_NM, values_NM, 0.0)
        columns |= {f"{name}_{m}": present_values_NM[:, i] for i, m in enumerate(evidence.modalities)}
    return Terms(evidence.sample_ids, columns)
