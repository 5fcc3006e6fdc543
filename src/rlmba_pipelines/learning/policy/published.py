"""The published policy: REINFORCE over the ordered batch that a Plackett-Luce law drew.

Concept  the policy draws the batch itself; its action is the ordered batch (RL-MBA, arXiv 2603.25107).
Source   a third-party note on the paper; Williams 1992 for REINFORCE.
Stated   stepwise softmax without replacement over the candidates, trained by policy gradient on the round's reward.
Chosen   logits linear in a few features of a sample beside q (``FEATURES``), so that their gradient can travel with the
         batch; weights start at 0, where the logits are q / temperature; baseline = running mean of rewards; clipping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.policy.advantage import advantage_of
from rlmba_pipelines.learning.types import Action, UserError

FEATURES = ("uncertainty", "distance", "margin")
SCORE = "score_"  # prefix of the reasons of a batch that hold the gradient of its log-probability


@dataclass(frozen=True)
class PublishedPolicy:
    """Weights of the features of a sample in the logits of ``rl_mba_published``.

    Attributes:
        prior: θ, handed on untouched: this policy acts through the batch it draws.
        weights: of ``FEATURES``.
        baseline: running mean of the rewards; None before the first.
        learning_rate: step along the clipped gradient, times the clipped advantage.
        clip: largest length of the gradient and largest size of the advantage in units of ``reward_scale``.
        reward_scale: accuracy that counts as 1.

    >>> policy = PublishedPolicy(learning_rate=1.0, reward_scale=0.1, baseline=0.0)
    >>> seen = State(0.5, 0.5, 0.1, 0.1, 0.1, {})
    >>> policy.update(Transition(seen, Action(), 0.05, seen, {"distance": 0.5})).weights
    (0.0, 0.25, 0.0)
    """

    prior: Action = field(default_factory=Action)
    weights: tuple[float, ...] = (0.0,) * len(FEATURES)
    baseline: float | None = None
    learning_rate: float = 0.5
    clip: float = 2.0
    reward_scale: float = 0.02
    memory: float = 0.7

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES) or not np.isfinite(self.weights).all():
            raise ValueError(f"PublishedPolicy: one finite weight for each of {FEATURES}, got {self.weights}")
        if not (self.learning_rate >= 0 and self.clip > 0 and self.reward_scale > 0 and 0 <= self.memory < 1):
            raise UserError("Policy 'published': learning_rate >= 0, clip and reward_scale > 0, memory in [0, 1).")

    @classmethod
    def start(
        cls,
        prior: Action,
        rng: np.random.Generator,
        classes: Sequence[str],
        *,
        learning_rate: float = 0.5,
        clip: float = 2.0,
        reward_scale: float = 0.02,
        memory: float = 0.7,
    ) -> PublishedPolicy:
        return cls(prior, learning_rate=learning_rate, clip=clip, reward_scale=reward_scale, memory=memory)

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        return self.prior

    def update(self, transition: Transition) -> PublishedPolicy:
        """One step of REINFORCE; a batch that was not drawn by this law moves the baseline only.

        Raises:
            ValueError: a reward that is not finite.
        """
        advantage, baseline = advantage_of(
            transition.reward, self.baseline, scale=self.reward_scale, clip=self.clip, memory=self.memory
        )
        score = np.array([transition.score.get(name, 0.0) for name in FEATURES])
        score *= min(1.0, self.clip / max(float(np.linalg.norm(score)), 1e-12))
        moved = np.array(self.weights) + self.learning_rate * advantage * score
        return replace(
            self,
            weights=tuple(moved.tolist()),
            baseline=baseline,
        )

    def to_dict(self) -> dict[str, object]:
        return {"name": "published", **asdict(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> PublishedPolicy:
        rest = {key: value for key, value in saved.items() if key not in ("name", "prior", "weights")}
        return cls(action_from(saved["prior"]), tuple(saved["weights"]), **rest)  # type: ignore[arg-type]
