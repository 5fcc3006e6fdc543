"""Datasets that hand out a door instead of the data behind it: a path, the ledger, the answers of an annotator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from rlmba_pipelines.datasets.atomic import AtomicDataset
from rlmba_pipelines.disk import writing
from rlmba_pipelines.ledger import Ledger


class PathDataset(AbstractDataset[None, Path]):
    """Where something lies, so that lineage shows it and a node can open it: the manifest, the feature cache."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        return self._path

    def save(self, data: None) -> None:
        raise DatasetError("A path is read, never written")

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class PurchasesDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """The label ledger: saving appends what is new and bills nothing twice, loading reads all rows."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def save(self, data: pd.DataFrame) -> None:
        with writing(self._path), Ledger(self._path) as ledger:
            ledger.append(data)

    def load(self) -> pd.DataFrame:
        with Ledger(self._path) as ledger:
            return ledger.rows()

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class AnswersDataset(AbstractDataset[pd.DataFrame, "Answers"]):
    """The only door to a label that was not bought yet.

    Saved once by ingest: the labels that the manifest holds for the pool. Loaded as ``Answers``, which gives up
    labels only for the ids asked for: from the manifest (``simulated``) or from what people returned (``files``).
    """

    def __init__(self, *, filepath: str, ledger: str, metadata: dict[str, Any] | None = None) -> None:
        self._hidden = AtomicDataset(filepath=filepath, dataset="pandas.ParquetDataset")
        self._path = Path(filepath)
        self._ledger = Path(ledger)
        self.metadata = metadata

    def save(self, data: pd.DataFrame) -> None:
        self._hidden.save(data)

    def written(self) -> tuple[str, Path]:
        """Version (none) and path of the labels behind the door."""
        return self._hidden.written()

    def load(self) -> Answers:
        return Answers(self._hidden, self._ledger)

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class Answers:
    """Where answers come from; holds no label itself.

    Attributes:
        ledger_path: the ledger that people's answers are imported into.
    """

    def __init__(self, hidden: AtomicDataset, ledger_path: Path) -> None:
        self._hidden = hidden
        self.ledger_path = ledger_path

    def hidden_labels(self, sample_ids: list[str]) -> pd.DataFrame:
        """``sample_id, label`` of exactly these samples, as far as the manifest holds them."""
        frame: pd.DataFrame = self._hidden.load()
        return frame[frame["sample_id"].isin(set(sample_ids))].reset_index(drop=True)

    def of_people(self) -> tuple[pd.DataFrame, tuple[str, ...], frozenset[int]]:
        """What people said so far: every answer in force, the samples withdrawn, the rounds closed early."""
        with Ledger(self.ledger_path) as ledger:
            rows = ledger.rows()
            closed = frozenset(int(k) for k in rows["round"].unique() if ledger.is_closed(int(k)))
            return rows, ledger.withdrawn(), closed
