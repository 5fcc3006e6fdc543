"""Which experiment and how many rounds the pipeline registry unrolls; Kedro gives ``register_pipelines`` no parameters.

Set by the driver and by ``after_context_created``; the environment variables ``RLMBA_EXPERIMENT`` and ``RLMBA_ROUNDS``
do the same for ``kedro viz`` and ``kedro registry``; the first also names the experiment of ``kedro rounds``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rlmba_pipelines.config import MAIN
from rlmba_pipelines.rounds.commits import Experiment

DEFAULT_ROUNDS = 5
EXPERIMENT_VARIABLE = "RLMBA_EXPERIMENT"


def usual_name() -> str:
    """The experiment that is meant where nobody names one."""
    return os.environ.get(EXPERIMENT_VARIABLE) or MAIN


@dataclass
class Current:
    """Mutable on purpose: the one place where the registry looks."""

    project_path: Path = Path()
    experiment_name: str | None = None
    rounds: int | None = None
    system: str | None = None
    aside: Experiment | None = None  # of the append that is at work
    conf_source: str | None = None  # a folder or an archive; None: conf/ of the project

    @property
    def experiment(self) -> Experiment:
        name = self.experiment_name or usual_name()
        if self.aside is not None and name == self.aside.name:
            return self.aside
        return Experiment.of(self.project_path, name)

    def registered_system(self) -> str:
        """The one asked for; else the one that the experiment was started with."""
        return self.system or self.experiment.system()

    def registered_rounds(self) -> int:
        """As many as asked for, or as are committed, whichever is more."""
        asked = self.rounds or int(os.environ.get("RLMBA_ROUNDS", DEFAULT_ROUNDS))
        return max(asked, self.experiment.rounds_done())

    def open_round(self) -> int:
        """The round that the steps by name act on: the first that is not committed, as far as rounds are registered."""
        return min(max(1, self.experiment.rounds_done() + 1), self.registered_rounds())


current = Current()
