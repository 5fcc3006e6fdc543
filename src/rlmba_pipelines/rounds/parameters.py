"""Parameters as a run gets them: checked before anything happens, and told apart by what they shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from pydantic import ValidationError

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.acquisition import check_options
from rlmba_pipelines.learning.policy import start_policy
from rlmba_pipelines.learning.types import UserError, rng_of
from rlmba_pipelines.rounds.addresses import refuse_secrets
from rlmba_pipelines.rounds.commits import Experiment, damaged, read_object
from rlmba_pipelines.simulation.decide import prior_of

# block -> <name> of conf/base/parameters_<name>.yml
BLOCK_FILES = {
    "rounds": "rounds",
    "ingest": "ingest",
    "encoders": "feature_extraction",
    "fusion": "train_fusion",
    "vlm": "vlm",
    "evidence": "evidential_scoring",
    "difficulty": "evidential_scoring",
    "balance": "policy_selection",
    "policy": "policy_selection",
    "labeling": "labeling",
    "label_studio": "labeling",
    "report": "report",
    "benchmark": "benchmark",
    "tracking": "tracking",
}

# what may change from one call to the next without changing what a committed round holds
FREE_PARAMETERS: dict[str, set[str] | None] = {
    "rounds": {"rounds", "query_size", "budget", "target_accuracy", "plateau", "reference"},
    "ingest": {"workers"},
    "encoders": {"workers", "device"},
    "fusion": {"device"},
    "vlm": {"device", "offline", "threads", "max_tokens", "accumulate", "predict_batch_size"},
    "label_studio": None,
    "report": None,
    "benchmark": None,
    "tracking": None,
}


def checked(raw: dict[str, Any]) -> Parameters:
    """All parameters, typed.

    Raises:
        UserError: names the key, what is wrong and the file to look into.
    """
    try:
        parameters = Parameters(**raw)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        key = ".".join(path)
        file = f"conf/base/parameters_{BLOCK_FILES[path[0]]}.yml" if len(path) > 1 else "conf/base"
        if first["type"] == "extra_forbidden":
            near = get_close_matches(path[-1], _known_keys(path[:-1]), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_known_keys(path[:-1]))}."
            raise UserError(f"{key} is not a parameter; {hint} ({file})") from None
        raise UserError(f"{key} = {first['input']!r}: {first['msg']} ({file})") from None
    refuse_secrets(parameters)
    check_options(parameters.rounds.strategy, parameters.rounds.strategy_options)
    if parameters.rounds.reference and parameters.system == "active_vlm":
        raise UserError(
            "rounds.reference: beside visual questions nothing is simulated, it would take as long again; leave it "
            "empty, and run the other strategy as an experiment of its own (--strategy random)."
        )
    if parameters.rounds.reference:
        check_options(parameters.rounds.reference, {})
    policy = parameters.policy
    start_policy(policy.name, prior_of(policy), rng_of(parameters.rounds.seed, 0, "policy"), policy.options)
    if parameters.policy.difficulty > 0 and not parameters.difficulty.enabled:
        raise UserError(
            "policy.difficulty is above 0, but none is learned; set difficulty.enabled to true "
            "(conf/base/parameters_evidential_scoring.yml)."
        )
    for block in ("encoders", "fusion", "vlm"):
        if getattr(parameters, block).device == "cuda" and not torch.cuda.is_available():
            raise UserError(f"{block}.device is 'cuda', but no CUDA device can be used here; use --device auto or cpu.")
    return parameters


def _known_keys(path: Iterable[str]) -> list[str]:
    model: Any = Parameters
    for part in path:
        field = model.model_fields.get(part)
        model = getattr(field, "annotation", None)
        if not hasattr(model, "model_fields"):
            return []
    return list(model.model_fields)


def shaping(parameters: Parameters) -> dict[str, Any]:
    """The parameters that shape the data of a round, as JSON."""
    found = parameters.model_dump(mode="json")
    for block, keys in FREE_PARAMETERS.items():
        if keys is None:
            found.pop(block)
        else:
            found[block] = {key: value for key, value in found[block].items() if key not in keys}
    return found


def asked_for(experiment: Experiment) -> Parameters:
    """What the experiment was started with, and asked for last.

    Raises:
        UserError: there is no such experiment, or what it was started with is damaged.
    """
    if not experiment.parameters_path.exists():
        raise UserError(f"There is no experiment {experiment.name!r} yet; start it with 'kedro rounds run'.")
    shaped = read_object(experiment.parameters_path)
    asked = experiment.request()["runtime_params"].get("rounds", {})
    try:
        return Parameters(**merged(shaped, {"rounds": asked}))
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise damaged(experiment.parameters_path, f"{key}: {error.errors()[0]['msg']}") from None


def merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested parameters with some of them replaced.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    found = dict(before)
    for key, value in changes.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return found
