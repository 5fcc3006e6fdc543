"""One mechanism that makes any file dataset whole or absent: see ``disk.replacing``.

The stock datasets open the target for writing, so a process that dies midway destroys the good old file and leaves a
torn one for which ``exists()`` is true (measured; see docs/decisions/0002-atomic-datasets.md).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import Version, parse_dataset_definition

from rlmba_pipelines.disk import replacing
from rlmba_pipelines.learning.types import UserError


class AtomicFile(AbstractVersionedDataset[Any, Any]):
    """Base of every dataset here: subclasses say how to write and read one path, and nothing about safety."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata
        self._last: tuple[Path, Any] | None = None

    def write(self, data: Any, path: Path) -> None:
        raise DatasetError(f"{type(self).__name__} cannot be written")

    def read(self, path: Path) -> Any:
        raise DatasetError(f"{type(self).__name__} cannot be read")

    def save(self, data: Any) -> None:
        """Whole or not at all. Not yet synced: the commit that names the file waits for that (see ``hooks``)."""
        self._last = None
        with replacing(Path(self._get_save_path()), durable=False) as temporary:
            self.write(data, temporary)

    def load(self) -> Any:
        """What is on disk. Within a run several nodes read the same file: it is read once, and never taken from what
        was saved, so that a run which goes on after a kill sees what this one sees."""
        path = Path(self._get_load_path())
        if self._last is None or self._last[0] != path:
            try:
                self._last = path, self.read(path)
            except Exception as error:
                raise UserError(f"{path} cannot be read ({error}); 'kedro rounds verify' names all damage.") from error
        return self.own(self._last[1])

    def own(self, data: Any) -> Any:
        """``data`` for one node; a type that a node could change in place gives a copy."""
        return data

    def _release(self) -> None:
        self._last = None
        super()._release()

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

    def __repr__(self) -> str:
        # Kedro makes one for its debug log at every load and save, from the constructor's signature
        return f"{type(self).__name__}({self._filepath}, version={self._version})"


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
        self._kind = _dataset_type(self._config["type"])
        if hasattr(self._kind, "preview"):
            self.preview = self._forward_preview(self._kind.preview)

    def _inner(self, path: Path) -> Any:
        return self._kind(filepath=str(path), **{k: v for k, v in self._config.items() if k != "type"})

    def _forward_preview(self, preview: Callable[..., Any]) -> Callable[..., Any]:
        """kedro-viz reads the kind of a preview from its return annotation, so that is forwarded too."""

        def forwarded(*args: Any, **kwargs: Any) -> Any:
            return self._inner(Path(self._get_load_path())).preview(*args, **kwargs)

        parameters = list(inspect.signature(preview).parameters.values())[1:]  # without self
        forwarded.__annotations__ = dict(inspect.get_annotations(preview))
        forwarded.__signature__ = inspect.signature(preview).replace(parameters=parameters)  # type: ignore[attr-defined]
        return forwarded

    def write(self, data: Any, path: Path) -> None:
        self._inner(path).save(data)

    def read(self, path: Path) -> Any:
        return self._inner(path).load()

    def own(self, data: Any) -> Any:
        return copy.deepcopy(data)

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "dataset": self._config["type"]}


@cache
def _dataset_type(name: str) -> Any:
    """The class; Kedro tries several packages for a short name, which is slow enough to be done once."""
    return parse_dataset_definition({"type": name, "filepath": ""})[0]
