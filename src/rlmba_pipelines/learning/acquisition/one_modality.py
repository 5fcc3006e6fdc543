"""A view of one modality alone: what the controls ``unimodal:<modality>:<strategy>`` are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rlmba_pipelines.learning.types import PoolView, Predictions, UserError


def one_modality(view: PoolView, modality: str) -> PoolView:
    """The samples that have ``modality``, and nothing of any other: its features, its head, its embedding.

    Raises:
        UserError: the view has no such modality.
    """
    if modality not in view.modalities:
        raise UserError(f"There is no modality {modality!r} here; this data has {', '.join(view.modalities)}.")
    m = view.modalities.index(modality)
    rows = np.arange(len(view.sample_ids)) if view.present_NM is None else np.flatnonzero(view.present_NM[:, m])
    ids, here_NM = view.sample_ids[rows], np.ones((len(rows), 1), dtype=bool)
    predictions = view.predictions
    if predictions is not None:
        alone = slice(m, m + 1)
        predictions = Predictions(
            sample_ids=ids,
            modalities=(modality,),
            present_NM=here_NM,
            probabilities_NC=predictions.unimodal_NMC[rows, m],
            unimodal_NMC=predictions.unimodal_NMC[rows, alone],
            draws_NKC=predictions.unimodal_draws_NMKC[rows, m],
            unimodal_draws_NMKC=predictions.unimodal_draws_NMKC[rows, alone],
            embedding_ND=predictions.modality_embedding_NMD[rows, m],
            modality_embedding_NMD=predictions.modality_embedding_NMD[rows, alone],
            evidence_NMC=None if predictions.evidence_NMC is None else predictions.evidence_NMC[rows, alone],
        )
    return replace(
        view,
        sample_ids=ids,
        labeled_N=view.labeled_N[rows],
        modalities=(modality,),
        present_NM=here_NM,
        features=None if view.features is None else {modality: view.features[modality][rows]},
        predictions=predictions,
        terms=None if view.terms is None else view.terms.take(ids),
        y=None if view.y is None else view.y[rows],
        arm_N=None if view.arm_N is None else view.arm_N[rows],
        weights_M=None if view.weights_M is None else np.ones(1),
        price_N=None if view.price_N is None else view.price_N[rows],
    )
