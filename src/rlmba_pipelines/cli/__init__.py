"""``kedro rounds …``, and ``kedro run`` with errors in one sentence; Kedro looks here for ``cli``."""

from rlmba_pipelines.cli import bundle, people, run, schedule, server, upkeep  # noqa: F401 - each adds its commands
from rlmba_pipelines.cli.base import cli

__all__ = ["cli"]
