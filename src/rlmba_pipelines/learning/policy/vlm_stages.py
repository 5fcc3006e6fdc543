"""The stages of Active-VLM: align image and words, widen the boundary, refine the reasoning. It learns nothing.

Concept  what a vision-language model has to learn changes as it gets better, and what to ask with it.
Source   Active-VLM, a forum post without formulas.
Stated   early basic alignment, then boundary expansion, late reasoning refinement.
Chosen   stages by held-out accuracy; each has its weights (vision, language, reasoning), how far doubt outweighs
         coverage, and what it looks for besides: typical samples early (a small exponent), questions on which half of
         the sampled chains disagree. Chains of two steps or more are found by the reasoning doubt: looking for them
         besides made nine of ten questions of a batch such ones, and one-step questions were forgotten (docs/vqa.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.types import Action, UserError


@dataclass(frozen=True)
class VlmStage:
    """What a stage makes of the prior θ.

    Attributes:
        weights: of vision, language and reasoning.
        exponent: factor of the prior's exponent.
        focus: term -> power, see ``Action``.
    """

    name: str
    weights: tuple[float, float, float]
    exponent: float
    focus: Mapping[str, float] = field(default_factory=dict)


STAGES = (
    VlmStage("alignment", (0.6, 0.3, 0.1), 0.5),
    VlmStage("boundary", (0.3, 0.3, 0.4), 1.0, {"boundary": 0.5}),
    VlmStage("refinement", (0.1, 0.2, 0.7), 1.0),
)
UNTIL = (0.5, 0.75)  # held-out accuracy at which a stage gives way to the next


@dataclass(frozen=True)
class VlmStagesPolicy:
    """The prior θ with the weights of the three doubts set stage by stage.

    >>> policy = VlmStagesPolicy(Action())
    >>> seen = State(accuracy=0.1, nll=1, ece=0, imbalance=0, spent=0.1, contribution={"image": 0.1, "text": 0.1})
    >>> [round(policy.act(replace(seen, accuracy=a)).fused_uncertainty, 2) for a in (0.1, 0.6, 0.9)]
    [0.1, 0.4, 0.7]
    """

    prior: Action = field(default_factory=Action)
    until: tuple[float, float] = UNTIL
    by_budget: bool = False
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.weights and (len(self.weights) != 3 or min(self.weights) < 0 or sum(self.weights) <= 0):
            raise UserError(
                "Policy 'vlm_stages': weights must be three nonnegative numbers, of vision, language and reasoning, "
                f"got {self.weights}."
            )
        if len(self.until) != len(STAGES) - 1 or not 0 <= self.until[0] <= self.until[1] <= 1:
            raise UserError(f"Policy 'vlm_stages': until must be two rising numbers in [0, 1], got {self.until}.")

    @classmethod
    def start(
        cls,
        prior: Action,
        rng: np.random.Generator,
        classes: Sequence[str],
        *,
        until: Sequence[float] = UNTIL,
        by_budget: bool = False,
        weights: Sequence[float] = (),
    ) -> VlmStagesPolicy:
        """``until``: accuracy (with ``by_budget`` share of the budget) at which a stage ends; ``weights``: of vision,
        language and reasoning, the same in every stage, and nothing else that a stage looks for."""
        return cls(prior, tuple(until), by_budget, tuple(weights))  # type: ignore[arg-type]

    def stage(self, state: State) -> VlmStage:
        """The stage that ``state`` is in, by accuracy or by the share of the budget that is spent."""
        if self.weights:
            vision, language, reasoning = (weight / sum(self.weights) for weight in self.weights)
            return VlmStage("all", (vision, language, reasoning), 1.0)
        progress = state.spent if self.by_budget else state.accuracy
        return STAGES[sum(progress >= limit for limit in self.until)]

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        stage = self.stage(state)
        vision, language, reasoning = stage.weights
        return replace(
            self.prior,
            fused_uncertainty=reasoning,
            uncertainty_tilt={"image": _log(vision), "text": _log(language)},
            exponent=self.prior.exponent * stage.exponent,
            focus=stage.focus,
        )

    def update(self, transition: Transition) -> VlmStagesPolicy:
        return self

    def to_dict(self) -> dict[str, object]:
        return {
            "name": "vlm_stages", "prior": asdict(self.prior), "until": list(self.until), "by_budget": self.by_budget,
            "weights": list(self.weights),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> VlmStagesPolicy:
        until: Any = saved["until"]
        weights: Any = saved["weights"]
        return cls(action_from(saved["prior"]), tuple(until), bool(saved["by_budget"]), tuple(weights))


def _log(weight: float) -> float:
    """Logarithm of a weight; that of 0 is as good as nothing, and finite."""
    return float(np.log(max(weight, 1e-9)))
