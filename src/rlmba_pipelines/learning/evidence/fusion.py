"""Fusion of opinions: four rules, for any number of modalities, each with a presence mask.

Concept  EFDA: evidence of the modalities becomes one opinion about a sample (RL-MBA, arXiv 2603.25107).
Source   Dempster's rule: Han et al. 2021 (arXiv 2102.02051), definition 4. Discounting: Jøsang 2016, section 14.3.
         Average: Xu et al. 2024 (RCML, arXiv 2402.16897), definition 3.
Stated   the published rule is alpha = 1 + sum_m w_m (alpha_m - 1) (second-hand); Dempster's is a sum over C x C pairs;
         RCML averages two opinions and repeats that, so that the result hangs on the order of three.
Chosen   Dempster in closed form, without the pairs; the true mean over what is present; trust in a modality is its
         weight over that of the weightiest modality present. With nothing present there is no evidence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def fuse(
    evidence_NMC: np.ndarray, present_NM: np.ndarray, *, rule: str, weights_M: np.ndarray | None = None
) -> np.ndarray:
    """Fused evidence float64[N, C], nonnegative, by one of ``RULES``; a sample with nothing present has 0.

    Args:
        evidence_NMC: float64[N, M, C], nonnegative; whatever lies where a modality is absent does not matter.
        present_NM: bool[N, M].
        weights_M: float64[M] on the simplex, None is uniform. ``dempster`` and ``true_mean`` look at no weights.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule of fusion {rule!r}: choose one of {', '.join(RULES)}")
    return RULES[rule](np.where(present_NM[..., None], evidence_NMC, 0.0), present_NM, weights_M)


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


def true_mean(evidence_NMC: np.ndarray, present_NM: np.ndarray) -> np.ndarray:
    """Fuse by the mean evidence over what is present, for any number of modalities in any order.

    For two it is RCML's average of opinions, ``b = (b_1 u_2 + b_2 u_1) / (u_1 + u_2)`` and
    ``u = 2 u_1 u_2 / (u_1 + u_2)``: evidence is ``C b / u``, and that is ``(e_1 + e_2) / 2``.

    >>> true_mean(np.array([[[6.0, 0], [0, 3], [0, 0]]]), np.ones((1, 3), dtype=bool))
    array([[2., 1.]])
    """
    return weighted_average(evidence_NMC, present_NM)


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


def discounted(evidence_NMC: np.ndarray, present_NM: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Discount each opinion by the trust ``eta_m`` in its modality, then fuse by Dempster's rule.

    Discounting keeps ``eta b`` of the belief and gives the rest to ignorance, ``u' = 1 - eta + eta u``; in evidence
    ``e' = C eta b / (1 - eta + eta u)``. Trust 1 is Dempster's rule, trust 0 drops the modality.

    Args:
        trust: float64[M] or float64[N, M], in [0, 1].

    Raises:
        ValueError: trust outside [0, 1].

    >>> opinions = np.array([[[2.0, 0], [2, 0]]])  # belief and vacuity of both are 1/2
    >>> discounted(opinions, np.array([[True, True]]), np.array([1.0, 0.0]))
    array([[2., 0.]])
    >>> discounted(opinions, np.array([[True, False]]), np.array([0.5, 1.0])).round(4)  # 2 * .25 / (1 - .5 + .25)
    array([[0.6667, 0.    ]])
    """
    trust_NM = np.broadcast_to(np.asarray(trust, dtype=np.float64), present_NM.shape)
    if not ((trust_NM >= 0) & (trust_NM <= 1)).all():
        raise ValueError("discounted: trust must lie in [0, 1]")
    n_classes = evidence_NMC.shape[-1]
    strength_NM = evidence_NMC.sum(axis=-1) + n_classes
    doubt_NM = (1 - trust_NM) * strength_NM + trust_NM * n_classes  # S (1 - eta + eta u)
    return dempster(n_classes * (trust_NM / doubt_NM)[..., None] * evidence_NMC, present_NM)


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


def trust_of(present_NM: np.ndarray, weights_M: np.ndarray | None) -> np.ndarray:
    """Trust in each modality, float64[N, M] in [0, 1]: its weight over that of the weightiest one the sample has.

    >>> trust_of(np.array([[True, True], [False, True]]), np.array([0.75, 0.25])).round(4)
    array([[1.    , 0.3333],
           [0.    , 1.    ]])
    """
    share_NM = share_of_present(present_NM, weights_M)
    return share_NM / np.maximum(share_NM.max(axis=1, keepdims=True, initial=0.0), np.finfo(float).tiny)


RULES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]] = {
    "weighted_average": weighted_average,
    "dempster": lambda evidence_NMC, present_NM, _: dempster(evidence_NMC, present_NM),
    "discounted": lambda evidence_NMC, present_NM, weights_M: discounted(
        evidence_NMC, present_NM, trust_of(present_NM, weights_M)
    ),
    "true_mean": lambda evidence_NMC, present_NM, _: true_mean(evidence_NMC, present_NM),
}
"""Name -> rule(evidence_NMC, present_NM, weights_M)."""
