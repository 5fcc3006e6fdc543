"""A policy by stages: cover the pool first, ask what the model doubts later. It learns nothing.

Concept  the value of coverage falls and that of uncertainty rises as a model gets better.
Source   Hacohen et al. 2022 (arXiv 2202.02794): typical samples at low budgets, uncertain ones at high budgets.
Stated   the two regimes.
Chosen   three stages by progress = the larger of the share of labels spent and accuracy; what each stage does to the
         prior θ stands in ``STAGES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.types import Action, UserError


@dataclass(frozen=True)
class Stage:
    """What a stage makes of the prior θ.

    Attributes:
        exponent, bandwidth: factors of the prior's exponent and of its bandwidth quantile (at most 1).
    """

    name: str
    exponent: float
    bandwidth: float


STAGES = (Stage("cover", 0.0, 2.0), Stage("both", 1.0, 1.0), Stage("doubt", 2.0, 0.5))
UNTIL = (1 / 3, 2 / 3)  # progress at which a stage gives way to the next


@dataclass(frozen=True)
class StageAdaptivePolicy:
    """The prior θ with the exponent of the utility raised, and the kernel narrowed, stage by stage.

    >>> policy = StageAdaptivePolicy(Action(exponent=1.0))
    >>> seen = State(accuracy=0.1, nll=1, ece=0, imbalance=0, spent=0.1, contribution={})
    >>> [policy.act(replace(seen, accuracy=a)).exponent for a in (0.1, 0.5, 0.9)]
    [0.0, 1.0, 2.0]
    """

    prior: Action = field(default_factory=Action)
    until: tuple[float, float] = UNTIL

    def __post_init__(self) -> None:
        if len(self.until) != len(STAGES) - 1 or not 0 <= self.until[0] <= self.until[1] <= 1:
            raise UserError(f"Policy 'stage_adaptive': until must be two rising numbers in [0, 1], got {self.until}.")

    @classmethod
    def start(
        cls, prior: Action, rng: np.random.Generator, classes: Sequence[str], *, until: Sequence[float] = UNTIL
    ) -> StageAdaptivePolicy:
        return cls(prior, tuple(until))  # type: ignore[arg-type]

    def stage(self, state: State) -> Stage:
        """The stage that ``state`` is in."""
        progress = max(state.spent, state.accuracy)
        return STAGES[sum(progress >= limit for limit in self.until)]

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        stage = self.stage(state)
        return replace(
            self.prior,
            exponent=self.prior.exponent * stage.exponent,
            bandwidth_quantile=min(1.0, self.prior.bandwidth_quantile * stage.bandwidth),
        )

    def update(self, transition: Transition) -> StageAdaptivePolicy:
        return self

    def to_dict(self) -> dict[str, object]:
        return {"name": "stage_adaptive", "prior": asdict(self.prior), "until": list(self.until)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> StageAdaptivePolicy:
        return cls(action_from(saved["prior"]), tuple(saved["until"]))  # type: ignore[arg-type]
