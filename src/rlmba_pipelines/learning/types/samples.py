"""What is known about samples: features, labels that were bought, predictions, evidence, terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rlmba_pipelines.learning.types.ids import check_finite, check_ids, rows_of


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
        check_ids(self.sample_ids, "Features")
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
        check_ids(self.sample_ids, "Labels")
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
        draws_NKC: float64[N, K, C], fused predictions of the K members of the head ensemble; what a round keeps of them
            is float32.
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
        check_ids(self.sample_ids, "Predictions")
        check_finite(self.probabilities_NC, "Predictions", self.sample_ids)

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
        check_ids(self.sample_ids, "Evidence")
        for name in ("evidence_NMC", "fused_NC"):
            array = getattr(self, name)
            check_finite(array, f"Evidence.{name}", self.sample_ids)
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
        check_ids(self.sample_ids, "Terms")
        for name, column in self.columns.items():
            if column.shape != self.sample_ids.shape:
                raise ValueError(f"Terms: column {name!r} has shape {column.shape}")
            check_finite(column, f"Terms.{name}", self.sample_ids)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def take(self, sample_ids: np.ndarray | Sequence[str]) -> Terms:
        """The same columns for ``sample_ids``, in that order."""
        rows = rows_of(self.sample_ids, sample_ids)
        return Terms(self.sample_ids[rows], {name: column[rows] for name, column in self.columns.items()})
