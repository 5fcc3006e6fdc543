"""Datasets that hand out a door instead of the data behind it: a path, the ledger, the answers of an annotator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from rlmba_pipelines.datasets.atomic import AtomicFile
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


class AnswersDataset(AtomicFile):
    """The only door to a label that was not bought yet.

    Saved once by ingest: the labels that the manifest holds for the pool. Loaded as ``Answers``, which gives up
    labels only for the ids asked for: from the manifest (``simulated``) or from what people returned (``files``).
    kedro-viz finds no preview here.

    Args:
        ledger: name of the ledger's file beside ``filepath``, which Kedro makes absolute: a path of its own would be
            looked for wherever the process happens to be.
    """

    def __init__(self, *, filepath: str, ledger: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._ledger = Path(filepath).with_name(ledger)

    def write(self, data: pd.DataFrame, path: Path) -> None:
        data.to_parquet(path)

    def read(self, path: Path) -> pd.DataFrame:
        return pd.read_parquet(path)

    def load(self) -> Answers:
        return Answers(super().load, self._ledger)


class Answers:
    """Where answers come from; holds no label itself.

    Attributes:
        ledger_path: the ledger that people's answers are imported into.
    """

    def __init__(self, read_hidden: Callable[[], pd.DataFrame], ledger_path: Path) -> None:
        self._read_hidden = read_hidden
        self.ledger_path = ledger_path

    def hidden_labels(self, sample_ids: list[str]) -> pd.DataFrame:
        """``sample_id, label`` of exactly these samples, as far as the manifest holds them."""
        frame = self._read_hidden()
        return frame[frame["sample_id"].isin(set(sample_ids))].reset_index(drop=True)

    def of_people(self) -> tuple[pd.DataFrame, frozenset[int]]:
        """What people said so far: every answer in force, and the rounds closed early."""
        with Ledger(self.ledger_path) as ledger:
            return ledger.rows(), ledger.closed()

    def withdrawn(self) -> tuple[str, ...]:
        """The samples that must not be used any more."""
        with Ledger(self.ledger_path) as ledger:
            return ledger.withdrawn()
