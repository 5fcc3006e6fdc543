"""A policy that never changes its mind: the prior theta, and the yardstick of every policy that learns.

Concept  the action θ of RL-MBA (arXiv 2603.25107), held at its prior.
Source   this project's.
Stated   nothing: the paper's policy always learns.
Chosen   the prior whatever is seen; what a learning policy falls back to, and the first row of every ablation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.types import Action


@dataclass(frozen=True)
class FixedPolicy:
    """Always ``action``.

    >>> policy = FixedPolicy(Action(exponent=2.0))
    >>> FixedPolicy.from_dict(policy.to_dict()) == policy
    True
    """

    action: Action = field(default_factory=Action)

    @classmethod
    def start(cls, prior: Action, rng: np.random.Generator, classes: Sequence[str]) -> FixedPolicy:
        return cls(prior)

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        return self.action

    def update(self, transition: Transition) -> FixedPolicy:
        return self

    def to_dict(self) -> dict[str, object]:
        return {"name": "fixed", "action": asdict(self.action)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> FixedPolicy:
        return cls(action_from(saved["action"]))
