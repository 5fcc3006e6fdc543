"""What a policy gradient makes of a reward: how much better than usual it was, within limits.

Concept  REINFORCE with a baseline.
Source   Williams 1992 (Machine Learning 8).
Stated   a baseline that does not depend on the action leaves the gradient unbiased and lowers its variance.
Chosen   the running mean of the rewards; the advantage is clipped, so that one lucky round cannot turn a policy over.
"""

from __future__ import annotations

import numpy as np


def advantage_of(
    reward: float, baseline: float | None, *, scale: float, clip: float, memory: float
) -> tuple[float, float]:
    """Advantage over the running mean of rewards, in units of ``scale`` and within ±``clip``; and the mean after it.

    Args:
        baseline: the mean so far; None before the first reward, which then is as usual.
        memory: share of the mean that stays, [0, 1).

    Raises:
        ValueError: a reward that is not finite.

    >>> advantage_of(0.75, 0.25, scale=1.0, clip=2.0, memory=0.5)
    (0.5, 0.5)
    """
    if not np.isfinite(reward):
        raise ValueError(f"a policy learns from finite rewards, got {reward}")
    before = reward if baseline is None else baseline
    return float(np.clip((reward - before) / scale, -clip, clip)), memory * before + (1 - memory) * reward
