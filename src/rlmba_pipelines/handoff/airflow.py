"""An Airflow DAG of an experiment: a file that imports Airflow and the standard library, one task a round."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from rlmba_pipelines.disk import replacing
from rlmba_pipelines.learning.types import UserError


@dataclass(frozen=True)
class Dag:
    """What the file says.

    Attributes:
        options: of ``kedro rounds run``, the experiment included.
        rounds: batches after the start batch.
        people: a sensor waits for answers after each round; not needed where annotators are simulated.
        server: the sensor asks the annotation server for them.
        schedule: cron or a preset of Airflow's, who checks it; None: started by hand.
    """

    experiment: str
    options: Sequence[str]
    rounds: int
    people: bool
    server: bool
    schedule: str | None = None
    conf_source: str | None = None

    @property
    def dag_id(self) -> str:
        return f"rlmba_{self.experiment}"

    def write(self, folder: Path) -> Path:
        """Write ``<dag_id>_dag.py`` into the folder; commands are those of this Python, given from where we are.

        Raises:
            UserError: Airflow does not take the experiment's name, or nothing can be written.
        """
        if not self.experiment.isascii():
            raise UserError(f"Airflow takes ASCII names only; call the experiment other than {self.experiment!r}.")
        templates = Environment(
            loader=PackageLoader("rlmba_pipelines.handoff"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        templates.filters["literal"] = repr
        command = [sys.executable, "-m", "rlmba_pipelines", "rounds"]
        text = templates.get_template("airflow_dag.py.j2").render(
            **{**asdict(self), "options": list(self.options)},
            dag_id=self.dag_id,
            folder=str(Path.cwd()),
            command=[*command, *(("--conf-source", self.conf_source) if self.conf_source else ())],
            environment={"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", **_settings()},
        )
        path = folder / f"{self.dag_id}_dag.py"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); name another folder with --to.") from None
        return path


def _settings() -> dict[str, str]:
    """What this process was told, and the tasks have to be told as well."""
    names = ("KEDRO_ENV", "KEDRO_LOGGING_CONFIG", "OMP_NUM_THREADS")
    return {name: os.environ[name] for name in names if name in os.environ}
