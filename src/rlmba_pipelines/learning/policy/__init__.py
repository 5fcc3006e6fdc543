"""Policies: they act on a state and learn from transitions, each time as a new value; their state is plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.types import Action


class Policy(Protocol):
    """Decides how the next labels are spent."""

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        """The action for ``state``; a policy that draws needs ``rng``."""
        ...

    def update(self, transition: Transition) -> Policy:
        """A new policy that has learned from ``transition``; this one stays as it is."""
        ...

    def to_dict(self) -> dict[str, object]:
        """All of the policy as JSON, with its ``name``."""
        ...


def policy_from_dict(saved: Mapping[str, object]) -> Policy:
    """The policy that ``to_dict`` described.

    Raises:
        ValueError: a name that is not a policy.
    """
    from rlmba_pipelines.learning.policy.fixed import FixedPolicy

    policies = {"fixed": FixedPolicy}
    name = str(saved.get("name"))
    if name not in policies:
        raise ValueError(f"unknown policy {name!r}: choose one of {', '.join(sorted(policies))}")
    return policies[name].from_dict(saved)
