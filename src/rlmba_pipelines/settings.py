"""Kedro settings. See https://docs.kedro.org/en/stable/configure/configuration_basics/."""

from rlmba_pipelines.hooks import ParameterHooks, RoundHooks

HOOKS = (ParameterHooks(), RoundHooks())

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"parameters": ["parameters*", "parameters*/**", "**/parameters*"]},
}
