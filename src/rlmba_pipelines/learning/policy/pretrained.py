"""The policy that comes with the package: a linear map from the state to θ, trained on other people's labels.

Concept  a policy that transfers: learned where all labels are known, used where each one costs (RL-MBA,
         arXiv 2603.25107, learns within a run; a handful of rounds teaches almost nothing).
Source   this project's; learning to choose across data sets: Konyushkova et al. 2017 (arXiv 1703.03365).
Stated   nothing for this action.
Chosen   coordinates of θ (``learning.theta``) linear in a standardized, clipped state: few enough numbers to be read as
         a table. Tilts of a modality follow how its contribution and doubt differ from the mean, the same map for each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from rlmba_pipelines.learning.mdp import MODALITY_FIELDS, SHARED_FIELDS, State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.theta import MODALITY_COORDINATES, SHARED_COORDINATES, action_at
from rlmba_pipelines.learning.types import Action, UserError

ALL = "all"  # the fold that leaves no family out
FARTHEST = 2.0  # standard deviations of the training states; what lies beyond acts like it
STEP = 1.5  # no coordinate moves θ further from the prior
SHAPES = {
    "shared": (len(SHARED_COORDINATES), 1 + len(SHARED_FIELDS)),
    "modality": (len(MODALITY_COORDINATES), len(MODALITY_FIELDS)),
    "center": (len(SHARED_FIELDS),),
    "scale": (len(SHARED_FIELDS),),
}

Weights = Mapping[str, np.ndarray]


def inputs_of(weights: Weights, state: State) -> np.ndarray:
    """float64[13]: 1, then the shared fields in standard deviations of the training states, within ±2."""
    z = (state.shared_vector - weights["center"]) / weights["scale"]
    return np.concatenate([[1.0], np.clip(z, -FARTHEST, FARTHEST)])


def coordinates(weights: Weights, state: State, modalities: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """float64[6] shared and float64[M, 2] of the modalities, whose order they follow; each within ±1.5."""
    own_MF = state.modality_matrix(modalities)
    shared_G = weights["shared"] @ inputs_of(weights, state)
    modality_MT = (own_MF - own_MF.mean(axis=0)) @ weights["modality"].T
    return np.clip(shared_G, -STEP, STEP), np.clip(modality_MT, -STEP, STEP)


@dataclass(frozen=True)
class PretrainedPolicy:
    """θ by ``weights``, around ``prior``; learns nothing within a run.

    Attributes:
        fold: which weights: ``all``, or ``without_<family>``, which never saw the data sets of that family.
    """

    prior: Action
    fold: str
    weights: Weights

    def __post_init__(self) -> None:
        for name, shape in SHAPES.items():
            found = self.weights.get(name, np.empty(0))
            if found.shape != shape or not np.isfinite(found).all():
                raise ValueError(f"PretrainedPolicy: {name} must be {shape} finite numbers")

    @classmethod
    def start(
        cls, prior: Action, rng: np.random.Generator, classes: Sequence[str], *, fold: str | None = None
    ) -> PretrainedPolicy:
        """The weights of a fold; without one, those that never saw data with these classes."""
        chosen = fold or fold_for(classes)
        return cls(prior, chosen, read_weights(chosen))

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        names = sorted(state.contribution)
        return action_at(self.prior, *coordinates(self.weights, state, names), names)

    def update(self, transition: Transition) -> PretrainedPolicy:
        return self

    def to_dict(self) -> dict[str, object]:
        weights = {name: np.asarray(value).tolist() for name, value in self.weights.items()}
        return {"name": "pretrained", "prior": asdict(self.prior), "fold": self.fold, "weights": weights}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> PretrainedPolicy:
        weights = {name: np.array(value, dtype=np.float64) for name, value in saved["weights"].items()}
        return cls(action_from(saved["prior"]), str(saved["fold"]), weights)


@lru_cache(1)
def provenance() -> dict[str, Any]:
    """Where the weights come from: sets, their families, seeds, code, and the sha256 of every fold."""
    found: dict[str, Any] = json.loads((_folder() / "provenance.json").read_text(encoding="utf-8"))
    return found


def read_weights(fold: str) -> dict[str, np.ndarray]:
    """The weights of a fold, float64.

    Raises:
        UserError: there is no such fold, or its file is not what was shipped.
    """
    folds = provenance()["folds"]
    if fold not in folds:
        raise UserError(f"Policy 'pretrained' has no fold {fold!r}; it has: {', '.join(sorted(folds))}.")
    content = (_folder() / f"{fold}.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != folds[fold]["sha256"]:
        raise UserError(
            f"The weights of the policy's fold {fold!r} are not those that were shipped: install rlmba_pipelines "
            "again, or set policy.name to fixed."
        )
    try:
        return {name: value.astype(np.float64) for name, value in load(content).items()}
    except SafetensorError as error:
        raise UserError(f"The weights of the policy's fold {fold!r} cannot be read ({error}).") from error


def fold_for(classes: Sequence[str]) -> str:
    """The fold for a run with these classes: one that never saw its family, where most of the classes are of one.

    >>> fold_for(["cat", "dog", "own defect"])
    'all'
    """
    for family, known in provenance()["families"].items():
        if classes and 2 * len(set(classes) & set(known)) > len(set(classes)):
            return f"without_{family}"
    return ALL


def _folder() -> Any:
    return files("rlmba_pipelines.learning.policy") / "weights"
