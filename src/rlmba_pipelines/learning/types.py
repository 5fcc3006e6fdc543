"""The nouns: frozen, checked when built, and free of files, frameworks and time.

Axis suffixes, used everywhere in the project:
N pool, Q query, M modality, C class, K draw (member of the head ensemble), D feature.
Ids (``*_ids``) cross seams, positions (``*_rows``) never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

UNLABELED = -1


class UserError(ValueError):
    """A mistake that a user can make and mend: one sentence with what, where and what to do."""


def _check_ids(sample_ids: np.ndarray, where: str) -> None:
    if sample_ids.ndim != 1:
        raise ValueError(f"{where}: sample_ids must be one-dimensional, got shape {sample_ids.shape}")
    if len(np.unique(sample_ids)) != len(sample_ids):
        raise ValueError(f"{where}: sample_ids must be unique")


def _check_finite(array: np.ndarray, where: str, sample_ids: np.ndarray) -> None:
    """Name the samples whose values are not finite; a NaN is never ranked."""
    if len(array) == 0:  # nothing to split into rows
        return
    bad_N = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad_N.any():
        names = ", ".join(str(s) for s in sample_ids[bad_N][:3])
        raise ValueError(f"{where}: {int(bad_N.sum())} samples have values that are not finite (first: {names})")


def rows_of(sample_ids: np.ndarray, wanted_ids: np.ndarray | Sequence[str]) -> np.ndarray:
    """Positions of ``wanted_ids`` in ``sample_ids``, in the order asked for.

    Raises:
        KeyError: an id is not there.

    >>> rows_of(np.array(["b", "a", "c"]), ["c", "b"])
    array([2, 0])
    """
    position = {sample_id: row for row, sample_id in enumerate(sample_ids)}
    try:
        return np.array([position[s] for s in wanted_ids], dtype=np.int64)
    except KeyError as missing:
        raise KeyError(f"sample id {missing} is not in these {len(sample_ids)} samples") from None


@dataclass(frozen=True)
class Features:
    """What frozen encoders say about every sample; a missing modality is a mask, never zeros to learn from.

    Attributes:
        sample_ids: str[N], unique.
        blocks: modality -> float32[N, D_m]; rows follow ``sample_ids``. Rows of absent modalities are ignored.
        present_NM: bool[N, M], columns in the order of ``blocks``; every sample has at least one modality.
        fingerprints: modality -> name of encoder, weights and preprocessing that made the block.
    """

    sample_ids: np.ndarray
    blocks: Mapping[str, np.ndarray]
    present_NM: np.ndarray
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "Features")
        if not self.blocks:
            raise ValueError("Features: at least one modality is needed")
        if self.present_NM.shape != (len(self.sample_ids), len(self.blocks)):
            raise ValueError(f"Features: present_NM has shape {self.present_NM.shape}, expected "
                             f"{(len(self.sample_ids), len(self.blocks))}")
        for name, block in self.blocks.items():
            if len(block) != len(self.sample_ids):
                raise ValueError(f"Features: block {name!r} has {len(block)} rows for {len(self.sample_ids)} samples")
        if len(self.sample_ids) and not self.present_NM.any(axis=1).all():
            empty = self.sample_ids[~self.present_NM.any(axis=1)][0]
            raise ValueError(f"Features: sample {empty!r} has no modality at all")

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.blocks)

    def take(self, sample_ids: np.ndarray | Sequence[str]) -> Features:
        """The same features for ``sample_ids``, in that order."""
        rows = rows_of(self.sample_ids, sample_ids)
        return replace(
            self,
            sample_ids=self.sample_ids[rows],
            blocks={name: block[rows] for name, block in self.blocks.items()},
            present_NM=self.present_NM[rows],
        )

    def only(self, modalities: Sequence[str]) -> Features:
        """The same samples with every modality outside ``modalities`` masked."""
        keep_M = np.array([name in modalities for name in self.blocks])
        return replace(self, present_NM=self.present_NM & keep_M)


@dataclass(frozen=True)
class Labels:
    """Labels that were bought, and nothing else.

    Attributes:
        sample_ids: str[N], unique.
        y: int64[N], positions in ``classes``.
        classes: the class names, in the order of every C axis.
    """

    sample_ids: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "Labels")
        if len(self.y) != len(self.sample_ids):
            raise ValueError("Labels: y and sample_ids differ in length")
        if len(self.y) and not (self.y.min() >= 0 and self.y.max() < len(self.classes)):
            raise ValueError("Labels: y holds a value outside the classes")

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class Predictions:
    """What a fitted model says about samples.

    Attributes:
        sample_ids: str[N].
        modalities: M names, order of the M axis.
        present_NM: bool[N, M].
        probabilities_NC: float64[N, C], fused prediction, rows sum to 1.
        unimodal_NMC: float64[N, M, C], prediction of each modality's own head; uniform where absent.
        draws_NKC: float64[N, K, C], fused predictions of the K members of the head ensemble.
        unimodal_draws_NMKC: float64[N, M, K, C].
        embedding_ND: float32[N, D], fused representation before the head.
        modality_embedding_NMD: float32[N, M, D], representation of each modality; zeros where absent.
        evidence_NMC: float64[N, M, C], nonnegative, what evidential (EDL) heads state themselves; None for other heads.
    """

    sample_ids: np.ndarray
    modalities: tuple[str, ...]
    present_NM: np.ndarray
    probabilities_NC: np.ndarray
    unimodal_NMC: np.ndarray
    draws_NKC: np.ndarray
    unimodal_draws_NMKC: np.ndarray
    embedding_ND: np.ndarray
    modality_embedding_NMD: np.ndarray
    evidence_NMC: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "Predictions")
        _check_finite(self.probabilities_NC, "Predictions", self.sample_ids)

    def take(self, sample_ids: np.ndarray | Sequence[str]) -> Predictions:
        """The same predictions for ``sample_ids``, in that order."""
        rows = rows_of(self.sample_ids, sample_ids)
        arrays = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)


@dataclass(frozen=True)
class Evidence:
    """Dirichlet evidence of every modality and of their fusion: ``alpha = e + 1``.

    Attributes:
        evidence_NMC: float64[N, M, C], nonnegative, 0 where a modality is absent.
        fused_NC: float64[N, C], nonnegative.
    """

    sample_ids: np.ndarray
    modalities: tuple[str, ...]
    present_NM: np.ndarray
    evidence_NMC: np.ndarray
    fused_NC: np.ndarray

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "Evidence")
        for name in ("evidence_NMC", "fused_NC"):
            array = getattr(self, name)
            _check_finite(array, f"Evidence.{name}", self.sample_ids)
            if len(array) and array.min() < 0:
                raise ValueError(f"Evidence.{name}: evidence is never negative")


@dataclass(frozen=True)
class Terms:
    """Named columns of evidence about every sample; finite, and higher = more worth labeling.

    Attributes:
        sample_ids: str[N].
        columns: name -> float64[N].
    """

    sample_ids: np.ndarray
    columns: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "Terms")
        for name, column in self.columns.items():
            if column.shape != self.sample_ids.shape:
                raise ValueError(f"Terms: column {name!r} has shape {column.shape}")
            _check_finite(column, f"Terms.{name}", self.sample_ids)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def take(self, sample_ids: np.ndarray | Sequence[str]) -> Terms:
        """The same columns for ``sample_ids``, in that order."""
        rows = rows_of(self.sample_ids, sample_ids)
        return Terms(self.sample_ids[rows], {name: column[rows] for name, column in self.columns.items()})


@dataclass(frozen=True)
class Action:
    """θ, how the next labels are to be spent: what a policy decides and herding obeys.

    Attributes:
        fused_uncertainty: share in [0, 1] of the fused margin in the utility; the rest is the
            modality-weighted mean of the unimodal margins.
        fused_kernel, balanced_kernel, raw_kernel: nonnegative shares of the similarity by the fused
            embedding, by the modality embeddings laid side by side, and by the raw features laid side by side.
        exponent: power of the utility; 0 covers the pool whatever the model thinks.
        bandwidth_quantile: quantile in (0, 1] of the nearest-neighbor distances among the labeled samples.
    """

    fused_uncertainty: float = 0.5
    fused_kernel: float = 0.0
    balanced_kernel: float = 0.5
    raw_kernel: float = 0.5
    exponent: float = 1.0
    bandwidth_quantile: float = 0.1

    def __post_init__(self) -> None:
        kernels = (self.fused_kernel, self.balanced_kernel, self.raw_kernel)
        if min(kernels) < 0 or sum(kernels) <= 0:
            raise ValueError(f"Action: kernel shares must be nonnegative and not all 0, got {kernels}")
        if not 0 <= self.fused_uncertainty <= 1:
            raise ValueError(f"Action: fused_uncertainty must be in [0, 1], got {self.fused_uncertainty}")
        if self.exponent < 0 or not 0 < self.bandwidth_quantile <= 1:
            raise ValueError("Action: exponent must be nonnegative and bandwidth_quantile in (0, 1]")


@dataclass(frozen=True)
class PoolView:
    """All that a strategy may look at: the pool (candidates and labeled samples), sorted by id.

    A strategy declares what it ``requires``; everything else in its view is ``None``.
    No label of an unlabeled sample is in here: ``y`` holds ``UNLABELED`` for them.

    Attributes:
        sample_ids: str[N], sorted ascending.
        labeled_N: bool[N]; candidates are the rest.
        modalities, present_NM: names of the M axis and which modalities each sample has.
        features: modality -> float32[N, D_m].
        predictions: of the current model for every row.
        terms: named columns for every row.
        y: int64[N], class of labeled rows, ``UNLABELED`` elsewhere.
        weights_M: float64[M], modality weights (AMCB) on the simplex.
        action: θ of the policy.
    """

    sample_ids: np.ndarray
    labeled_N: np.ndarray
    modalities: tuple[str, ...] = ()
    present_NM: np.ndarray | None = None
    features: Mapping[str, np.ndarray] | None = None
    predictions: Predictions | None = None
    terms: Terms | None = None
    y: np.ndarray | None = None
    weights_M: np.ndarray | None = None
    action: Action | None = None

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "PoolView")
        if len(self.sample_ids) > 1 and not (self.sample_ids[:-1] < self.sample_ids[1:]).all():
            raise ValueError("PoolView: rows must be sorted by sample id, so that input order cannot matter")
        if self.labeled_N.shape != self.sample_ids.shape:
            raise ValueError("PoolView: labeled_N does not follow sample_ids")
        if self.y is not None and (self.y[~self.labeled_N] != UNLABELED).any():
            raise ValueError("PoolView: a label of an unlabeled sample is in the view")

    @property
    def candidate_rows(self) -> np.ndarray:
        return np.flatnonzero(~self.labeled_N)

    @property
    def labeled_rows(self) -> np.ndarray:
        return np.flatnonzero(self.labeled_N)


@dataclass(frozen=True)
class Selection:
    """A batch, in the order of choice, and why.

    Attributes:
        sample_ids: str[Q], unique.
        utility_Q: float64[Q], utility of each sample at the moment it was chosen.
        reasons: column -> float64[Q]: what the strategy looked at (its terms, coverage gain, …).
    """

    sample_ids: np.ndarray
    utility_Q: np.ndarray
    reasons: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids, "Selection")
        for name, column in {"utility": self.utility_Q, **self.reasons}.items():
            if column.shape != self.sample_ids.shape:
                raise ValueError(f"Selection: column {name!r} has shape {column.shape}")
            _check_finite(column, f"Selection.{name}", self.sample_ids)

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class RoundState:
    """All that starts a round, and nothing else.

    Attributes:
        round_idx: 0 is the start batch; the first round with a model is 1.
        weights_M: float64[M], modality weights that enter this round.
        policy: JSON-able state of the policy.
        seed: root of every random draw of the experiment.
        action: θ that the policy decided on last.
        accuracies: validation accuracy of every round so far; what reward and stop rules look back on.
        stopped: why nothing more is bought; None while the run goes on.
    """

    round_idx: int
    weights_M: np.ndarray
    policy: Mapping[str, object]
    seed: int
    action: Action = field(default_factory=Action)
    accuracies: tuple[float, ...] = ()
    stopped: str | None = None

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for every (seed, round, purpose): draws of one never shift another's.

        >>> state = RoundState(1, np.array([1.0]), {}, seed=0)
        >>> bool(state.rng("select").random() == state.rng("select").random())
        True
        """
        return rng_of(self.seed, self.round_idx, purpose)


def rng_of(seed: int, round_idx: int, purpose: str) -> np.random.Generator:
    """The generator that (seed, round, purpose) names, on every machine the same."""
    return np.random.default_rng([seed, round_idx, *purpose.encode()])
