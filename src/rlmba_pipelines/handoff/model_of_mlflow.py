"""A bundle as a model of MLflow: ``mlflow.pyfunc.load_model(...).predict(table)`` scores media by ``scoring.score``.

No pickle: MLflow is told the module that loads, and keeps the bundle as it is.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import pandas as pd

from rlmba_pipelines.handoff.facts import Facts
from rlmba_pipelines.handoff.parcel import opened
from rlmba_pipelines.handoff.scoring import score


class BundleModel:
    """What MLflow calls; paths in the table are relative to the working directory."""

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        """``score`` of a table with ``sample_id`` and modalities, rows in its order; ids come back as text."""
        table = table.fillna("").astype(str)
        with tempfile.TemporaryDirectory(prefix="rlmba-score-") as temporary, opened(self.bundle) as folder:
            manifest = Path(temporary) / "table.jsonl"
            table.to_json(manifest, orient="records", lines=True)
            found = score(folder, manifest, media_root=Path.cwd(), progress=False).table
        return found.set_index("sample_id").loc[table["sample_id"]].reset_index()


def save_model(bundle: Path, facts: Facts, target: Path) -> None:
    """A folder as MLflow wants a model, with the signature of the bundle."""
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model as save
    from mlflow.types.schema import ColSpec, Schema

    given = Schema(
        [ColSpec("string", "sample_id"), *(ColSpec("string", name, required=False) for name in facts.modalities)]
    )
    told = Schema(
        [
            *(ColSpec("string", name) for name in ("sample_id", "label")),
            *(ColSpec("double", name) for name in ("probability", *(f"probability_{c}" for c in facts.classes))),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would like type hints of a class that it never sees
        save(
            str(target),
            loader_module=__name__,
            data_path=str(bundle),
            signature=ModelSignature(given, told),
            pip_requirements=[f"rlmba_pipelines[offline]=={facts.version}"],
        )


def _load_pyfunc(path: str) -> BundleModel:
    """What ``mlflow.pyfunc`` looks for in a loader module."""
    return BundleModel(path)
