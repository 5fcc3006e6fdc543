"""Kedro settings. See https://docs.kedro.org/en/stable/configure/configuration_basics/."""

import sys
import warnings
from importlib.util import find_spec

from rlmba_pipelines.config_loader import RememberingConfigLoader
from rlmba_pipelines.hooks import ParameterHooks, RoundHooks
from rlmba_pipelines.tracking_hook import LineageHook, TrackingHook

# Kedro's own: names in a namespace hold a dot by design, and its resolvers await a newer omegaconf
warnings.filterwarnings("ignore", message="One or more dataset names contain '.'")
warnings.filterwarnings("ignore", message="register_new_resolver")
warnings.filterwarnings("ignore", message="Accessing the 'model_fields' attribute on the instance", module="kedro")

# Kedro looks for ibis with every parameter of every run; a module that is None is known to be missing
if find_spec("ibis") is None:
    sys.modules.setdefault("ibis", None)  # type: ignore[arg-type]

DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
HOOKS = (ParameterHooks(), RoundHooks(), TrackingHook(), LineageHook())

CONFIG_LOADER_CLASS = RememberingConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},  # an environment states what differs, and nothing else
    "config_patterns": {"parameters": ["parameters*", "parameters*/**", "**/parameters*"]},
}
