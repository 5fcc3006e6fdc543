"""Acquisition strategies, one file each: a scorer composed with a selector. Importing this registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

from rlmba_pipelines.learning.acquisition.registry import (
    Strategy,
    check_options,
    get_strategy,
    register,
    select_batch,
    strategy_names,
)

__all__ = ["Strategy", "check_options", "get_strategy", "register", "select_batch", "strategy_names"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
