"""What a round decides with and hands on: action, view of the pool, selection, state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rlmba_pipelines.learning.types.ids import check_finite, check_ids
from rlmba_pipelines.learning.types.samples import Predictions, Terms

UNLABELED = -1


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
        rarity: power with which what looks like a class that the pool has little of counts more; 0: every sample
            counts alike, 1: every class does.
        difficulty: share in [0, 1] of the learned difficulty in the utility; the margins have the rest.
        weigh_utility, weigh_kernel: whether the modality weights (AMCB) enter the utility and the balanced kernel;
            otherwise all modalities weigh alike there.
        uncertainty_tilt, kernel_tilt: modality -> logarithm of the factor by which its weight is raised in the utility
            and in the balanced kernel; what is not named keeps its weight.
        focus: term in [0, 1] -> power in [0, 1] with which it multiplies the utility: what a stage looks for besides
            doubt. Only strategies that say so obey it.
    """

    fused_uncertainty: float = 0.5
    fused_kernel: float = 0.2
    balanced_kernel: float = 0.4
    raw_kernel: float = 0.4
    exponent: float = 0.5
    bandwidth_quantile: float = 0.2
    rarity: float = 0.25
    difficulty: float = 0.0
    weigh_utility: bool = True
    weigh_kernel: bool = True
    uncertainty_tilt: Mapping[str, float] = field(default_factory=dict)
    kernel_tilt: Mapping[str, float] = field(default_factory=dict)
    focus: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Action:
        """θ from its JSON; what was saved before there was rarity had none."""
        return cls(**{"rarity": 0.0, **saved})

    def __post_init__(self) -> None:
        kernels = (self.fused_kernel, self.balanced_kernel, self.raw_kernel)
        if min(kernels) < 0 or sum(kernels) <= 0:
            raise ValueError(f"Action: kernel shares must be nonnegative and not all 0, got {kernels}")
        if not 0 <= self.fused_uncertainty <= 1:
            raise ValueError(f"Action: fused_uncertainty must be in [0, 1], got {self.fused_uncertainty}")
        if not 0 <= self.difficulty <= 1:
            raise ValueError(f"Action: difficulty must be in [0, 1], got {self.difficulty}")
        if self.exponent < 0 or self.rarity < 0 or not 0 < self.bandwidth_quantile <= 1:
            raise ValueError("Action: exponent and rarity must be nonnegative and bandwidth_quantile in (0, 1]")
        if not np.isfinite([*self.uncertainty_tilt.values(), *self.kernel_tilt.values()]).all():
            raise ValueError("Action: tilts of modalities must be finite")


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
        arm_N: int64[N], which of several strategies bought a labeled row (the reason ``arm`` it was chosen with);
            ``UNLABELED`` for rows of which that is not known.
        weights_M: float64[M], modality weights (AMCB) on the simplex.
        action: θ of the policy.
        policy: JSON of the policy itself, for strategies in which the policy draws the batch.
        price_N: float64[N] > 0, what a label of each sample costs; None where all cost the same.
    """

    sample_ids: np.ndarray
    labeled_N: np.ndarray
    modalities: tuple[str, ...] = ()
    present_NM: np.ndarray | None = None
    features: Mapping[str, np.ndarray] | None = None
    predictions: Predictions | None = None
    terms: Terms | None = None
    y: np.ndarray | None = None
    arm_N: np.ndarray | None = None
    weights_M: np.ndarray | None = None
    action: Action | None = None
    policy: Mapping[str, object] | None = None
    price_N: np.ndarray | None = None

    def __post_init__(self) -> None:
        ascending = self.sample_ids.ndim == 1 and (self.sample_ids[:-1] < self.sample_ids[1:]).all()
        if not ascending:  # else no id is there twice
            check_ids(self.sample_ids, "PoolView")
            raise ValueError("PoolView: rows must be sorted by sample id, so that input order cannot matter")
        for name in ("labeled_N", "y", "arm_N", "price_N"):
            column_N = getattr(self, name)
            if column_N is not None and column_N.shape != self.sample_ids.shape:
                raise ValueError(f"PoolView: {name} does not follow sample_ids")
        if self.price_N is not None and not (np.isfinite(self.price_N) & (self.price_N > 0)).all():
            raise ValueError("PoolView: a price is not above 0")
        if self.arm_N is not None and (self.arm_N[~self.labeled_N] != UNLABELED).any():
            raise ValueError("PoolView: an unlabeled sample was bought by nobody, yet the view names its arm")
        if self.y is not None and (self.y[~self.labeled_N] != UNLABELED).any():
            raise ValueError("PoolView: a label of an unlabeled sample is in the view")

    def are_candidates(self, sample_ids: np.ndarray) -> np.ndarray:
        """bool[len]: which of these ids are unlabeled samples of the pool."""
        if not len(self.sample_ids):
            return np.zeros(len(sample_ids), dtype=bool)
        rows = np.minimum(np.searchsorted(self.sample_ids, sample_ids), len(self.sample_ids) - 1)
        found: np.ndarray = (self.sample_ids[rows] == sample_ids) & ~self.labeled_N[rows]
        return found

    def without(self, sample_ids: np.ndarray) -> PoolView:
        """The same pool without some of its samples."""
        if not len(sample_ids):
            return self
        keep_N = ~np.isin(self.sample_ids, sample_ids)
        kept_ids = self.sample_ids[keep_N]

        def kept(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[keep_N]

        return replace(
            self,
            sample_ids=kept_ids,
            features=None if self.features is None else {name: block[keep_N] for name, block in self.features.items()},
            predictions=None if self.predictions is None else self.predictions.take(kept_ids),
            terms=None if self.terms is None else self.terms.take(kept_ids),
            labeled_N=self.labeled_N[keep_N],
            present_NM=kept(self.present_NM),
            y=kept(self.y),
            arm_N=kept(self.arm_N),
            price_N=kept(self.price_N),
        )

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
        check_ids(self.sample_ids, "Selection")
        for name, column in {"utility": self.utility_Q, **self.reasons}.items():
            if column.shape != self.sample_ids.shape:
                raise ValueError(f"Selection: column {name!r} has shape {column.shape}")
            check_finite(column, f"Selection.{name}", self.sample_ids)

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
        label_counts: training labels behind each of the ``accuracies``.
        rewards: what each action so far was rewarded with; one fewer than ``accuracies``.
        observed: JSON of the ``mdp.State`` that ``action`` answered to; None before the first.
        score: gradient of the last batch's log-probability by the policy's parameters; empty where it was not drawn.
        baselines: what the published reward was told of the last batch, and the ids it had to look at; in simulation.
    """

    round_idx: int
    weights_M: np.ndarray
    policy: Mapping[str, object]
    seed: int
    action: Action = field(default_factory=Action)
    accuracies: tuple[float, ...] = ()
    stopped: str | None = None
    label_counts: tuple[int, ...] = ()
    rewards: tuple[float, ...] = ()
    observed: Mapping[str, object] | None = None
    score: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, Any] = field(default_factory=dict)

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
