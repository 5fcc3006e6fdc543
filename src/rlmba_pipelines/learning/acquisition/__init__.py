"""Acquisition strategies, one file each: a scorer composed with a selector. Importing them here registers them."""

from rlmba_pipelines.learning.acquisition import (  # noqa: F401
    badge,
    core_set,
    coverage,
    entropy,
    herding,
    margin,
    random,
)
from rlmba_pipelines.learning.acquisition.registry import (
    Strategy,
    check_options,
    get_strategy,
    register,
    select_batch,
    strategy_names,
)

__all__ = ["Strategy", "check_options", "get_strategy", "register", "select_batch", "strategy_names"]
