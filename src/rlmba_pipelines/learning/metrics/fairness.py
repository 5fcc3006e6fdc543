"""Whether one modality, or one class, is left behind; reported beside accuracy. ``imbalance``: lower is fairer.

Concept  fairness to modalities: the aim of AMCB (RL-MBA, arXiv 2603.25107).
Source   the abstract names it; no measure was readable.
Stated   balanced contributions of the modalities.
Chosen   spread of the Shapley values; accuracy of the weakest modality's head; recall of the worst tenth of classes.
         The under-use gap (``learning/balance.py``) is reported with them.
"""

from __future__ import annotations

import numpy as np


def imbalance(contribution_M: np.ndarray) -> float:
    """How unevenly modalities contribute, [0, 1]; 0 is even, 1 is one modality alone.

    Two modalities: ``|phi_1 - phi_2| / (|phi_1| + |phi_2|)``. Else ``1 - H(share) / ln M`` with shares of the positive
    parts. 0/0 (nobody contributes, or there is one modality) is 0.

    >>> imbalance(np.array([0.75, 0.25]))
    0.5
    >>> round(imbalance(np.array([0.5, 0.5, 0.0])), 4)  # 1 - ln 2 / ln 3
    0.3691
    """
    phi_M = np.asarray(contribution_M, dtype=np.float64)
    if len(phi_M) == 2:
        total = np.abs(phi_M).sum()
        return float(np.abs(phi_M[0] - phi_M[1]) / total) if total > 0 else 0.0
    positive_M = np.maximum(phi_M, 0.0)
    if len(phi_M) < 2 or positive_M.sum() <= 0:
        return 0.0
    share_M = positive_M[positive_M > 0] / positive_M.sum()
    return float(np.clip(1 + (share_M * np.log(share_M)).sum() / np.log(len(phi_M)), 0.0, 1.0))


def worst_modality(accuracy_M: np.ndarray) -> float:
    """Accuracy of the weakest modality's own head, [0, 1]; higher is better.

    >>> worst_modality(np.array([0.7, 0.4]))
    0.4
    """
    return float(np.min(accuracy_M))


def worst_decile(accuracy_C: np.ndarray) -> float:
    """Mean accuracy of the worst tenth of classes (rounded up, so at least one), [0, 1]; higher is better.

    >>> worst_decile(np.array([0.9] * 18 + [0.2, 0.4]))
    0.3
    """
    accuracy_C = np.sort(accuracy_C)
    return float(accuracy_C[: -(-len(accuracy_C) // 10)].mean().round(12))
