"""Opinions: Dirichlet evidence of every modality, from three sources.

Concept  EFDA, evidential fusion for difficulty-aware adjustment (RL-MBA, arXiv 2603.25107).
Source   Subjective logic, Jøsang 2016; evidential heads: Sensoy et al. 2018 (arXiv 1806.01768).
Stated   heads state their evidence themselves.
Chosen   evidence of a modality is the precision on which its head ensemble agrees, times the mean prediction, since
         learned evidence does not vanish with data (arXiv 2402.06160). Evidential heads and temperature-calibrated
         cross-entropy are options.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.evidence.fusion import fuse
from rlmba_pipelines.learning.evidence.terms import entropy
from rlmba_pipelines.learning.types import Evidence, Predictions, UserError

MOST_EVIDENCE = 1e4  # precision of an ensemble whose members agree to the last bit
SOURCES = ("ensemble", "edl", "temperature")


def evidence_of(
    predictions: Predictions,
    *,
    source: str = "ensemble",
    rule: str = "weighted_average",
    weights_M: np.ndarray | None = None,
    temperature: float | np.ndarray = 1.0,
) -> Evidence:
    """Dirichlet evidence of every modality and of their fusion; 0 where a modality is absent.

    Args:
        source: ``ensemble`` matches the moments of the unimodal draws; ``edl`` takes what evidential heads state;
            ``temperature`` reads the evidence off the calibrated mean prediction of a modality, with one head too.
        rule: ``weighted_average``, ``dempster``, ``discounted`` or ``true_mean``.
        weights_M: float64[M] on the simplex, renormalized over what is present; None is uniform. ``dempster`` and
            ``true_mean`` ignore it.
        temperature: positive, one number or float64[M], of the source ``temperature``; the others ignore it.

    Raises:
        UserError: the model cannot serve the source (one head only, or no evidential heads).
        ValueError: an unknown source or rule, fewer than two classes, or opinions that are not finite.
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
    elif source == "temperature":
        heat = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (len(predictions.modalities),))
        evidence_NMC = calibrated_evidence(predictions.unimodal_NMC, heat[:, None])
    else:
        raise ValueError(f"unknown source of evidence {source!r}: choose one of {', '.join(SOURCES)}")
    evidence_NMC = np.where(present_NM[..., None], evidence_NMC, 0.0)
    fused_NC = fuse(evidence_NMC, present_NM, rule=rule, weights_M=weights_M)
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


def calibrated_evidence(p: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """Evidence of one calibrated prediction: precision times mean, where the precision makes vacuity its entropy.

    A single prediction has no scatter whose moments could be matched. So ignorance is read off the prediction itself,
    ``u = H[p_T] / ln C`` with ``p_T ~ p^(1/T)``, and the precision is ``C (1/u - 1)``, at most 1e4: a calibrated head
    that is uniform has no evidence, one that is certain has the most. It says nothing that the entropy does not.

    Args:
        p: float64[..., C], rows sum to 1, C >= 2. Those of a softmax to the power 1/T are the softmax of logits / T.
        temperature: positive; a number or an array that broadcasts against ``p``.

    Raises:
        ValueError: one class only, or a temperature that is not positive.

    >>> calibrated_evidence(np.array([0.5, 0.5]))
    array([0., 0.])
    >>> calibrated_evidence(np.array([0.8, 0.2])).round(3)  # u = .7219
    array([0.616, 0.154])
    >>> bool(calibrated_evidence(np.array([0.8, 0.2]), 2.0).sum() < 0.77)
    True
    """
    n_classes, heat = p.shape[-1], np.asarray(temperature, dtype=np.float64)
    if n_classes < 2:
        raise ValueError(f"calibrated_evidence: two classes are needed, got shape {p.shape}")
    if not (heat > 0).all():
        raise ValueError(f"calibrated_evidence: a temperature must be positive, got {temperature}")
    cooled = np.maximum(p, np.finfo(np.float64).tiny) ** (1 / heat)
    cooled /= cooled.sum(axis=-1, keepdims=True)
    ignorance = np.maximum(entropy(cooled) / np.log(n_classes), n_classes / (n_classes + MOST_EVIDENCE))
    precision = np.maximum(n_classes * (1 / ignorance - 1), 0.0)  # a rounded uniform may have more than ln C
    return precision[..., None] * cooled
