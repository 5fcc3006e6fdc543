"""Every strategy for people who bring arrays of their own: no project, no Kedro, no files.

``rlmba_pipelines.select`` is this function. It turns arrays into the view that a strategy sees, asks the registry, and
says in one sentence what is wrong with what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlmba_pipelines.learning import inputs
from rlmba_pipelines.learning.acquisition import check_options, select_batch
from rlmba_pipelines.learning.types import UNLABELED, Action, PoolView, Predictions, Selection, Terms, UserError

ONE_MODALITY = "features"  # its name where features are one array

ARGUMENTS = {
    "predictions": "probabilities=… [N, C]",
    "draws": "draws=… [N, K, C] of at least two ensemble members",
    "unimodal": "unimodal_probabilities={modality: [N, C]}",
    "terms": "terms={name: [N]}",
    "y": "labels=… and labeled_ids=…",
}
"""What a strategy may require -> the argument that brings it; the others have defaults."""


def select(
    strategy: str,
    *,
    features: Any,
    query_size: int,
    rng: np.random.Generator | int,
    probabilities: Any = None,
    embeddings: Any = None,
    labels: Any = None,
    labeled_ids: Any = (),
    sample_ids: Any = None,
    classes: Sequence[Any] | None = None,
    draws: Any = None,
    unimodal_probabilities: Mapping[str, Any] | None = None,
    modality_embeddings: Mapping[str, Any] | None = None,
    present: Any = None,
    weights: Any = None,
    terms: Mapping[str, Any] | None = None,
    arms: Any = None,
    action: Action | None = None,
    policy: Mapping[str, object] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Selection:
    """Which of these samples to have labeled next, best first, and why.

    Arrays are NumPy's or PyTorch's (any device, float16 and bfloat16 too). Row i of every array is sample i. Rows are
    sorted by id before anything is drawn, so their order does not matter.

    Args:
        strategy: a name of docs/strategies.md, or ``unimodal:<modality>:<name>`` for one modality only.
        features: [N, D], or modality -> [N, D_m].
        query_size: how many to choose; fewer are chosen only where there are fewer candidates.
        rng: a generator, or a whole number as seed.
        probabilities: [N, C], the model's; their mean where only ``draws`` are given.
        embeddings: [N, D], what the model's last layer sees; by default the features (modalities side by side).
        labels, labeled_ids: what is labeled already: labels follow ``labeled_ids`` and are columns (whole numbers) or
            class names. Every other sample is a candidate.
        sample_ids: N names or whole numbers; by default the row positions.
        classes: names of the C columns; needed where labels are names and some class has no label yet.
        draws: [N, K, C], predictions of K ensemble members or dropout passes.
        unimodal_probabilities: modality -> [N, C], the predictions of each modality's own head.
        modality_embeddings: modality -> [N, D], one D; by default the features, filled up with zeros to one width,
            which changes no distance and no angle.
        present: bool[N, M], which modalities a sample has, columns as in ``features``; by default all.
        weights: modality -> nonnegative weight, or one a modality; by default equal.
        terms: name -> [N], columns for strategies that rank by them; higher = more worth labeling.
        arms: whole numbers that follow ``labeled_ids``: which strategy bought each; -1 = unknown, the default.
        action, policy: θ, and the policy's own state, for strategies that obey one; by default the prior θ and a
            policy that has learned nothing.
        options: options of the strategy, see docs/strategies.md.

    Returns:
        ``sample_ids`` in order of choice (whole numbers where the ids are), ``utility_Q`` and ``reasons``.

    Raises:
        UserError: one sentence on what is wrong and what to pass.

    The most doubtful of three predictions:

    >>> import numpy as np
    >>> features = np.array([[0.0], [1.0], [5.0]])
    >>> probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]])
    >>> batch = select("margin", features=features, probabilities=probabilities, query_size=2, rng=0)
    >>> batch.sample_ids.tolist(), batch.utility_Q.round(2).tolist()
    ([1, 2], [1.0, 0.6])

    Ids of your own, and what is labeled already; the farthest from it comes first:

    >>> batch = select("core_set", features=features, sample_ids=["a", "b", "c"], labeled_ids=["a"],
    ...                query_size=2, rng=0)
    >>> batch.sample_ids.tolist(), batch.reasons["distance"].tolist()
    (['c', 'b'], [5.0, 1.0])

    Several modalities, some missing, and one of them as control; samples that lack it come last:

    >>> both = {"image": features, "text": np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])}
    >>> alone = {"image": probabilities, "text": probabilities[::-1]}
    >>> here = np.array([[True, True], [True, False], [True, True]])
    >>> batch = select("unimodal:text:margin", features=both, probabilities=probabilities, present=here,
    ...                unimodal_probabilities=alone, query_size=3, rng=0)
    >>> batch.sample_ids.tolist()
    [0, 2, 1]
    """
    known = check_options(strategy, options or {})
    generator = inputs.generator_of(rng)
    given = {"predictions": probabilities if draws is None else draws, "draws": draws, "terms": terms, "y": labels}
    several = isinstance(features, Mapping) and len(features) > 1
    given["unimodal"] = unimodal_probabilities if several else "the fusion itself"
    lacking = [ARGUMENTS[part] for part in known.requires if part in given and given[part] is None]
    if lacking:
        raise UserError(f"Strategy {known.name!r} needs {' and '.join(lacking)}.")

    blocks = dict(features) if isinstance(features, Mapping) else {ONE_MODALITY: features}
    if not blocks:
        raise UserError("features: at least one modality is needed.")
    named = {m: f"features[{m!r}]" if isinstance(features, Mapping) else "features" for m in blocks}
    blocks = {m: inputs.numbers(block, named[m], "ND") for m, block in blocks.items()}
    rows = inputs.Rows.of(sample_ids, len(next(iter(blocks.values()))))
    here_NM = _presence_of(present, rows, len(blocks))
    blocks = {m: rows.numbers(block, named[m], "ND", here_NM[:, i]) for i, (m, block) in enumerate(blocks.items())}

    predictions, y, n_classes = None, None, None
    if "embedding" in known.requires and given["predictions"] is None:
        probabilities = np.full((len(rows), 2), 0.5)  # nobody looks at them
    if probabilities is not None or draws is not None:
        predictions = _predictions_of(
            rows, blocks, here_NM, probabilities, draws, embeddings, unimodal_probabilities, modality_embeddings
        )
        n_classes = None if given["predictions"] is None else predictions.probabilities_NC.shape[1]
    labeled_rows = rows.positions(labeled_ids, "labeled_ids")
    if labels is not None:
        y = rows.of_labeled(inputs.classes_of(labels, classes, n_classes), labeled_rows, "labels")
    bought_L = np.full(len(labeled_rows), UNLABELED) if arms is None else inputs.ids_of(arms, "arms")
    columns = {name: rows.numbers(column, f"terms[{name!r}]", "N") for name, column in (terms or {}).items()}
    view = PoolView(
        sample_ids=rows.sample_ids,
        labeled_N=np.isin(np.arange(len(rows)), labeled_rows),
        modalities=tuple(blocks),
        present_NM=here_NM,
        features=blocks,
        predictions=predictions,
        terms=Terms(rows.sample_ids, columns) if terms is not None else None,
        y=y,
        arm_N=rows.of_labeled(bought_L, labeled_rows, "arms"),
        weights_M=_weights_of(weights, tuple(blocks)),
        action=action or Action(),
        policy=policy or {"name": "fixed"},
    )
    return select_batch(strategy, view, query_size, generator, options)


def _presence_of(present: Any, rows: inputs.Rows, n_modalities: int) -> np.ndarray:
    if present is None:
        return np.ones((len(rows), n_modalities), dtype=bool)
    here_NM = np.asarray(inputs.plain(present)[0]).astype(bool)
    if here_NM.shape != (len(rows), n_modalities):
        raise UserError(f"present: a mask of shape {(len(rows), n_modalities)} is needed, got {here_NM.shape}.")
    here_NM = rows.sort(here_NM)
    empty = rows.sample_ids[~here_NM.any(axis=1)]
    if len(empty):
        raise UserError(f"present: sample {empty[0].item()!r} has no modality at all.")
    return here_NM


def _predictions_of(
    rows: inputs.Rows,
    blocks: Mapping[str, np.ndarray],
    here_NM: np.ndarray,
    probabilities: Any,
    draws: Any,
    embeddings: Any,
    unimodal_probabilities: Mapping[str, Any] | None,
    modality_embeddings: Mapping[str, Any] | None,
) -> Predictions:
    """What the model says: without an ensemble it is its own only member, and one modality alone is the fusion.

    Where the predictions of several modalities are not known their axis is empty, which the registry takes for absent.
    """
    draws_NKC = None if draws is None else rows.distributions(draws, "draws", "NKC")
    if probabilities is None:
        assert draws_NKC is not None
        probabilities_NC = draws_NKC.mean(axis=1, dtype=np.float64)
    else:
        probabilities_NC = rows.distributions(probabilities, "probabilities", "NC").astype(np.float64, copy=False)
    if draws_NKC is None:
        draws_NKC = probabilities_NC[:, None]
    n_classes = probabilities_NC.shape[1]
    if draws_NKC.shape[2] != n_classes:
        raise UserError(f"draws: {draws_NKC.shape[2]} classes, probabilities have {n_classes}.")
    embedding_ND = _side_by_side(blocks) if embeddings is None else rows.numbers(embeddings, "embeddings", "ND")

    heads_NMC, heads_NMKC = probabilities_NC[:, None], draws_NKC[:, None]
    embedding_NMD = embedding_ND[:, None]
    if unimodal_probabilities is not None:
        heads = inputs.by_modality(unimodal_probabilities, "unimodal_probabilities", blocks)
        stack = [
            rows.distributions(head, f"unimodal_probabilities[{modality!r}]", "NC", here_NM[:, m])
            for m, (modality, head) in enumerate(heads.items())
        ]
        wrong = [modality for modality, head in zip(heads, stack, strict=True) if head.shape[1] != n_classes]
        if wrong:
            raise UserError(f"unimodal_probabilities[{wrong[0]!r}]: probabilities have {n_classes} classes.")
        heads_NMC = np.stack(stack, axis=1).astype(np.float64, copy=False)
        heads_NMKC = heads_NMC[:, :, None]
    elif len(blocks) > 1:
        heads_NMC, heads_NMKC = heads_NMC[:, :0], heads_NMKC[:, :0]
    if modality_embeddings is not None:
        parts = inputs.by_modality(modality_embeddings, "modality_embeddings", blocks)
        embedding_NMD = _stacked(
            [
                rows.numbers(part, f"modality_embeddings[{modality!r}]", "ND", here_NM[:, m])
                for m, (modality, part) in enumerate(parts.items())
            ]
        )
    elif len(blocks) > 1:
        embedding_NMD = _stacked(list(blocks.values())) if heads_NMC.shape[1] else embedding_NMD[:, :0]
    return Predictions(
        sample_ids=rows.sample_ids,
        modalities=tuple(blocks),
        present_NM=here_NM,
        probabilities_NC=probabilities_NC,
        unimodal_NMC=heads_NMC,
        draws_NKC=draws_NKC,
        unimodal_draws_NMKC=heads_NMKC,
        embedding_ND=embedding_ND,
        modality_embedding_NMD=embedding_NMD,
    )


def _side_by_side(blocks: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = list(blocks.values())
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[N, M, D] at the width of the widest, filled up with zeros: no distance and no angle changes by them.

    >>> _stacked([np.array([[1.0]]), np.array([[2.0, 3.0]])]).tolist()
    [[[1.0, 0.0], [2.0, 3.0]]]
    """
    width = max(part.shape[1] for part in parts)
    out_NMD = np.zeros((len(parts[0]), len(parts), width), dtype=np.result_type(*parts))
    for m, part in enumerate(parts):
        out_NMD[:, m, : part.shape[1]] = part
    return out_NMD


def _weights_of(weights: Any, modalities: tuple[str, ...]) -> np.ndarray:
    """float64[M] on the simplex."""
    if weights is None:
        return np.full(len(modalities), 1 / len(modalities))
    if isinstance(weights, Mapping):
        weights = list(inputs.by_modality(weights, "weights", modalities).values())
    weights_M = inputs.numbers(weights, "weights", "M").astype(np.float64)
    if weights_M.shape != (len(modalities),) or not (weights_M >= 0).all() or not 0 < weights_M.sum() < np.inf:
        raise UserError(f"weights: one nonnegative number for each of {', '.join(modalities)} is needed, not all 0.")
    return weights_M / weights_M.sum()
