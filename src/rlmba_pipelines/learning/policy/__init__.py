"""Policies: they act on a state and learn from transitions, each time as a new value; their state is plain JSON.

One registry serves configuration and saved state: ``start_policy`` makes a new policy by name, ``policy_from_dict``
brings back one that ``to_dict`` described. Nothing is ever unpickled.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rlmba_pipelines.learning.mdp import State, Transition
from rlmba_pipelines.learning.types import Action, UserError


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


def policy_names() -> tuple[str, ...]:
    """Every policy that can be named, in alphabetical order."""
    return tuple(sorted(_policies()))


def policy_from_dict(saved: Mapping[str, object]) -> Policy:
    """The policy that ``to_dict`` described.

    Raises:
        UserError: a name that is not a policy.
    """
    found: Policy = _policy(str(saved.get("name"))).from_dict(saved)
    return found


def start_policy(
    name: str,
    prior: Action,
    rng: np.random.Generator,
    options: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
) -> Policy:
    """A policy that has seen nothing yet and whose home is the θ ``prior``.

    Args:
        rng: for initial weights.
        options: keyword-only arguments of the policy's ``start``.
        classes: names known in advance.

    Raises:
        UserError: unknown policy or option.

    >>> start_policy("fixed", Action(exponent=2.0), np.random.default_rng(0)).to_dict()["name"]
    'fixed'
    """
    check_policy_options(name, options or {})
    started: Policy = _policy(name).start(prior, rng, classes, **(options or {}))
    return started


def check_policy_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what ``start_policy`` would refuse.

    Raises:
        UserError: unknown policy or option.
    """
    parameters = inspect.signature(_policy(name).start).parameters.values()
    known = sorted(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
    for key in options:
        if key not in known:
            raise UserError(
                f"Policy {name!r} has no option {key!r}; "
                + (f"it knows: {', '.join(known)}." if known else "it takes no options.")
            )


def action_from(saved: object) -> Action:
    """An action from its JSON.

    Raises:
        ValueError: not a mapping, or no θ.
    """
    if not isinstance(saved, Mapping):
        raise ValueError(f"a saved action must be a mapping, got {saved!r}")
    return Action.from_dict(saved)


def _policy(name: str) -> Any:
    policies = _policies()
    if name not in policies:
        raise UserError(f"unknown policy {name!r}: choose one of {', '.join(sorted(policies))}")
    return policies[name]


def _policies() -> dict[str, Any]:
    from rlmba_pipelines.learning.policy.bandit import BanditPolicy
    from rlmba_pipelines.learning.policy.fixed import FixedPolicy
    from rlmba_pipelines.learning.policy.pretrained import PretrainedPolicy
    from rlmba_pipelines.learning.policy.published import PublishedPolicy
    from rlmba_pipelines.learning.policy.reinforce import ReinforcePolicy
    from rlmba_pipelines.learning.policy.stage_adaptive import StageAdaptivePolicy
    from rlmba_pipelines.learning.policy.vlm_stages import VlmStagesPolicy

    return {
        "bandit": BanditPolicy,
        "fixed": FixedPolicy,
        "pretrained": PretrainedPolicy,
        "published": PublishedPolicy,
        "reinforce": ReinforcePolicy,
        "stage_adaptive": StageAdaptivePolicy,
        "vlm_stages": VlmStagesPolicy,
    }
