"""Thompson sampling over a stated set of θ: play what may be best, as often as it may be.

Concept  a bandit over mixtures of kernels and uncertainties.
Source   Thompson 1933; Russo et al. 2018 (arXiv 1707.02038), the Gaussian case with known noise.
Stated   draw a mean for every arm from its posterior, play the arm of the highest draw.
Chosen   the arms in ``ARMS``; a prior carried from other problems counts as at most ``carry_limit`` rewards an arm;
         an arm other than the prior θ is played only if it is better with probability ``caution`` (fallback).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.types import Action, UserError

ARMS: Mapping[str, Mapping[str, float]] = {
    "prior": {},
    "fused": {"fused_kernel": 1.0, "balanced_kernel": 0.0, "raw_kernel": 0.0},
    "balanced": {"fused_kernel": 0.0, "balanced_kernel": 1.0, "raw_kernel": 0.0},
    "raw": {"fused_kernel": 0.0, "balanced_kernel": 0.0, "raw_kernel": 1.0},
    "coverage": {"exponent": 0.0},
    "doubt": {"exponent": 2.0},
}
"""Arm -> what it changes in the prior θ; the first is the prior θ itself. From the measurements in the design notes:
each of these mixtures was the best one on some data set."""

NOISE, SPREAD = 0.02, 0.02  # of a reward, and of the arms' means: two points of validation accuracy


@dataclass(frozen=True)
class BanditPolicy:
    """Gaussian Thompson sampling; arm k's mean has the posterior N(m_k, v_k) with 1/v_k = 1/spread² + n_k/noise².

    Attributes:
        prior: the θ that arms change.
        arms: names of ``ARMS``, the first one is the fallback.
        count: rewards of each arm, carried ones included (those may be a fraction).
        mean: mean reward of each arm; 0 where there is none.
        noise: standard deviation of a reward, in accuracy.
        spread: standard deviation of the arms' means before anything is seen; their prior mean is 0, which is to be
            as good as the learning curve forecast.
        caution: least probability of being better than the fallback for an arm to be played, [0, 1]; 0 is plain
            Thompson sampling.

    >>> bandit = BanditPolicy(Action(), ("prior", "raw"), (2.0, 2.0), (-0.02, 0.02))
    >>> bandit.posterior[0].round(4).tolist(), round(bandit.better(1), 3)   # +-.0133; sd of the difference .0163
    ([-0.0133, 0.0133], 0.949)
    """

    prior: Action = field(default_factory=Action)
    arms: tuple[str, ...] = tuple(ARMS)
    count: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    noise: float = NOISE
    spread: float = SPREAD
    caution: float = 0.75

    def __post_init__(self) -> None:
        unknown = [name for name in self.arms if name not in ARMS]
        if unknown or not self.arms or len(set(self.arms)) < len(self.arms):
            raise UserError(f"Policy 'bandit': arms must be different ones of {', '.join(ARMS)}, got {self.arms}.")
        if not (self.noise > 0 and self.spread > 0 and 0 <= self.caution <= 1):
            raise UserError("Policy 'bandit': noise and spread must be positive and caution in [0, 1].")
        if not self.count:
            object.__setattr__(self, "count", (0.0,) * len(self.arms))
            object.__setattr__(self, "mean", (0.0,) * len(self.arms))
        if not len(self.count) == len(self.mean) == len(self.arms):
            raise ValueError("BanditPolicy: count and mean must follow the arms")

    @classmethod
    def start(
        cls,
        prior: Action,
        rng: np.random.Generator,
        classes: Sequence[str],
        *,
        arms: Sequence[str] = tuple(ARMS),
        noise: float = NOISE,
        spread: float = SPREAD,
        caution: float = 0.75,
        carried: Mapping[str, Sequence[float]] | None = None,
        carry_limit: float = 8.0,
    ) -> BanditPolicy:
        """A bandit that has played nothing; ``carried``: arm -> (rewards, their mean) from other problems."""
        bandit = cls(prior, tuple(arms), noise=noise, spread=spread, caution=caution)
        known = {name: (float(n), float(m)) for name, (n, m) in (carried or {}).items() if name in bandit.arms}
        return replace(
            bandit,
            count=tuple(min(known.get(name, (0.0, 0.0))[0], carry_limit) for name in bandit.arms),
            mean=tuple(known.get(name, (0.0, 0.0))[1] for name in bandit.arms),
        )

    def action_of(self, arm: str) -> Action:
        """The θ of an arm."""
        changes: dict[str, Any] = dict(ARMS[arm])
        return replace(self.prior, **changes)

    @property
    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """float64[K] each: mean and variance of what each arm is worth."""
        count_K, mean_K = np.array(self.count), np.array(self.mean)
        variance_K = 1 / (1 / self.spread**2 + count_K / self.noise**2)
        return variance_K * count_K / self.noise**2 * mean_K, variance_K

    def better(self, arm_idx: int) -> float:
        """Probability that this arm is better than the fallback; 1/2 where nothing tells them apart."""
        mean_K, variance_K = self.posterior
        return float(ndtr((mean_K[arm_idx] - mean_K[0]) / np.sqrt(variance_K[arm_idx] + variance_K[0])))

    def choose(self, rng: np.random.Generator) -> int:
        """The arm to play: that of the highest draw, or the fallback where it is not better surely enough."""
        mean_K, variance_K = self.posterior
        best = int((mean_K + np.sqrt(variance_K) * rng.standard_normal(len(mean_K))).argmax())
        return best if best == 0 or self.better(best) >= self.caution else 0

    def rewarded(self, arm_idx: int, reward: float) -> BanditPolicy:
        """The bandit after one more reward of an arm.

        Raises:
            ValueError: the reward is not finite.
        """
        if not np.isfinite(reward):
            raise ValueError(f"BanditPolicy: a reward must be finite, got {reward}")
        count, mean = list(self.count), list(self.mean)
        count[arm_idx] += 1
        mean[arm_idx] += (reward - mean[arm_idx]) / count[arm_idx]
        return replace(self, count=tuple(count), mean=tuple(mean))

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        if rng is None:
            raise ValueError("BanditPolicy.act draws, so it needs an rng")
        return self.action_of(self.arms[self.choose(rng)])

    def update(self, transition: Transition) -> BanditPolicy:
        """One more reward of the arm that was played; an action that is none of the arms teaches nothing."""
        played = [i for i, name in enumerate(self.arms) if self.action_of(name) == transition.action]
        return self.rewarded(played[0], transition.reward) if played else self

    def to_dict(self) -> dict[str, object]:
        return {"name": "bandit", **asdict(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> BanditPolicy:
        rest: dict[str, Any] = {key: value for key, value in saved.items() if key not in ("name", "prior")}
        rest |= {key: tuple(rest[key]) for key in ("arms", "count", "mean")}
        return cls(action_from(saved["prior"]), **rest)


def carried_from(bandits: Sequence[BanditPolicy]) -> dict[str, list[float]]:
    """What other problems taught: arm -> [rewards, their mean], for the option ``carried`` of a new bandit.

    >>> a = BanditPolicy(Action(), ("prior", "raw"), (1.0, 1.0), (0.0, 0.1))
    >>> b = BanditPolicy(Action(), ("prior", "raw"), (0.0, 3.0), (0.0, 0.3))
    >>> carried_from([a, b])
    {'prior': [1.0, 0.0], 'raw': [4.0, 0.25]}
    """
    total: dict[str, list[float]] = {}
    for bandit in bandits:
        for name, n, mean in zip(bandit.arms, bandit.count, bandit.mean, strict=True):
            before = total.get(name, [0.0, 0.0])
            count = before[0] + n
            total[name] = [count, round((before[0] * before[1] + n * mean) / count, 12) if count else 0.0]
    return total
