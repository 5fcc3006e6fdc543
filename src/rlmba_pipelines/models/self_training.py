"""A student that learns from the labels, and from what its teacher says of samples that nobody has labeled.

Concept  the pool has no labels, but it is there: samples that look alike mostly are of one class, and under noise that
         its teacher does not see (dropout, hidden modalities) a student has to find what they have in common.
Source   Xie et al. 2020 (arXiv 1911.04252), noisy student; soft targets: Hinton et al. 2015 (arXiv 1503.02531).
Stated   teacher on labels, hard or soft pseudo-labels, a noised student on both, the student becomes the teacher.
Chosen   one turn, soft targets, no threshold, a pool sample counts as much as a labeled one: hard targets, targets
         above one half only, a half or a quarter of each batch for the labels were no better (docs/decisions/0013).
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels, UserError
from rlmba_pipelines.models.fit import Taught, fit_fusion
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.models.state import FusionState


def fit_student(
    features: Features,
    labels: Labels,
    unlabeled_ids: np.ndarray,
    config: FusionConfig,
    *,
    seed: int,
    weights_M: np.ndarray | None = None,
    validation: Labels | None = None,
) -> FusionState:
    """``fit_fusion`` twice: a teacher on ``labels``, a student of the same seed on these and on the teacher's opinion.

    Args:
        unlabeled_ids: str[U], without a label; none: the teacher is the answer.

    Raises:
        UserError: a loss or a balancing of gradients that knows hard labels only; else those of ``fit_fusion``.
    """
    if config.loss != "cross_entropy" or config.gradient != "none":
        raise UserError(
            "fusion.self_training learns from probabilities, which fusion.loss edl and fusion.gradient ogm_ge or "
            "mmpareto cannot; set loss to cross_entropy and gradient to none, or self_training to 0."
        )
    teacher = fit_fusion(features, labels, config, seed=seed, weights_M=weights_M, validation=validation)
    if not len(unlabeled_ids):
        return teacher
    seen = features.take(np.sort(unlabeled_ids))
    taught = Taught(seen.sample_ids, predict_fusion(teacher, seen, config).probabilities_NC)
    return fit_fusion(
        features, labels, config, seed=seed, weights_M=weights_M, validation=validation, taught=taught
    )
