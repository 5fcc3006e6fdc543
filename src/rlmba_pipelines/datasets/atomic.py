"""One mechanism that makes any file dataset whole or absent: temporary file, fsync, rename, fsync of the folder.

The stock datasets open the target for writing, so a process that dies midway destroys the good old file and leaves a
torn one for which ``exists()`` is true (measured; see docs/decisions/0002-atomic-datasets.md).
"""

from __future__ import annotations

import inspect
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import Version, parse_dataset_definition

TEMPORARY_PREFIX = ".writing-"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that becomes ``target`` when the block ends well, and vanishes otherwise.

    Works for a file and for a folder; a folder that is already there is only replaced as a whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{target.suffix}")
    try:
        yield temporary
        for written in [*temporary.rglob("*"), temporary] if temporary.is_dir() else [temporary]:
            _sync(written)
        if temporary.is_dir() and target.exists():
            old = target.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old)
        else:
            os.replace(temporary, target)
        _sync(target.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


class AtomicFile(AbstractVersionedDataset[Any, Any]):
    """Base of every dataset here: subclasses say how to write and read one path, and nothing about safety."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def write(self, data: Any, path: Path) -> None:
        raise DatasetError(f"{type(self).__name__} cannot be written")

    def read(self, path: Path) -> Any:
        raise DatasetError(f"{type(self).__name__} cannot be read")

    def save(self, data: Any) -> None:
        with replacing(Path(self._get_save_path())) as temporary:
            self.write(data, temporary)

    def load(self) -> Any:
        return self.read(Path(self._get_load_path()))

    def written(self) -> tuple[str, Path]:
        """Version (empty if unversioned) and path of what this run saved, or else of the latest there is."""
        if not self._version:
            return "", Path(self._filepath)
        mine = self.resolve_save_version() or ""
        path = Path(self._get_versioned_path(mine))
        return (mine, path) if path.exists() else (self._fetch_latest_load_version(), Path(self._get_load_path()))

    def _exists(self) -> bool:
        try:
            return Path(self._get_load_path()).exists()
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


class AtomicDataset(AtomicFile):
    """Any file dataset of kedro-datasets, written atomically.

    YAML:
        terms:
          type: rlmba_pipelines.datasets.AtomicDataset
          dataset: pandas.ParquetDataset
          filepath: data/05_model_input/terms.parquet
          versioned: true
    """

    def __init__(
        self,
        *,
        filepath: str,
        dataset: str | dict[str, Any],
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._config = {"type": dataset} if isinstance(dataset, str) else dict(dataset)
        inner = self._inner(Path(filepath))
        if hasattr(inner, "preview"):
            self.preview = self._forward_preview(inner.preview)

    def _inner(self, path: Path) -> Any:
        kind: Any
        kind, config = parse_dataset_definition(dict(self._config))
        return kind(filepath=str(path), **config)

    def _forward_preview(self, preview: Callable[..., Any]) -> Callable[..., Any]:
        """kedro-viz reads the kind of a preview from its return annotation, so that is forwarded too."""

        def forwarded(*args: Any, **kwargs: Any) -> Any:
            return self._inner(Path(self._get_load_path())).preview(*args, **kwargs)

        forwarded.__annotations__ = dict(inspect.get_annotations(preview))
        forwarded.__signature__ = inspect.signature(preview)  # type: ignore[attr-defined]
        return forwarded

    def write(self, data: Any, path: Path) -> None:
        self._inner(path).save(data)

    def read(self, path: Path) -> Any:
        return self._inner(path).load()

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "dataset": self._config["type"]}
