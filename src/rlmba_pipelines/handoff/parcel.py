"""A folder that says itself whether it is whole: ``MANIFEST.sha256``, written last, names every file in it.

The manifest is what ``sha256sum --check`` reads. A parcel may lie wherever fsspec reaches: in a folder, ``s3://``,
``gs://``, ``abfs://``, ``sftp://``.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from rlmba_pipelines.disk import writing
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.addresses import without_passwords

MANIFEST = "MANIFEST.sha256"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def seal(folder: Path) -> None:
    """Write the manifest of all files in ``folder``; from then on it is a parcel."""
    files = sorted(str(PurePosixPath(p.relative_to(folder))) for p in folder.rglob("*") if p.is_file())
    place = _Place(str(folder))
    lines = (f"{place.sha256(name)}  {name}\n" for name in files)
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def damage(where: str) -> list[str]:
    """What is wrong with a parcel, one line a file: ``damaged``, ``missing`` or ``not in the manifest``.

    Raises:
        UserError: there is no parcel, or its manifest is none.
    """
    place = _Place(where)
    expected = _manifest(place)
    found = place.files()
    both = sorted(expected.keys() & found)
    return [
        *(f"{name} is missing" for name in sorted(expected.keys() - found)),
        *(f"{name} is damaged" for name in both if place.sha256(name) != expected[name]),
        *(f"{name} is not in the manifest" for name in sorted(found - expected.keys() - {MANIFEST})),
    ]


def holds_only(folder: Path, name: str) -> bool:
    """Whether a folder holds what its manifest names, the file ``name`` included, and nothing else."""
    place = _Place(str(folder))
    try:
        expected, found = _manifest(place), place.files()
    except UserError:
        return False
    return name in expected and name in found and found <= {*expected, MANIFEST}


def refuse_damaged(where: str) -> None:
    """
    Raises:
        UserError: the parcel is not as it was sealed; everything wrong is named.
    """
    problems = damage(where)
    if problems:
        wrong = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        shown = without_passwords(where)
        raise UserError(f"The bundle {shown} is not as it was built ({wrong}); get it again from where it came from.")


def send(source: str, to: str) -> bool:
    """Copy a parcel, its manifest last, and hash the copy; False where the same one was there already.

    A copy that was cut short is continued by the same call.

    Raises:
        UserError: the source is damaged, something else lies at ``to``, or it cannot be written.
    """
    refuse_damaged(source)
    here, there = _Place(source), _Place(to)
    names, present = here.files(), there.files()
    sealed, found = here.read(MANIFEST), there.read(MANIFEST) if MANIFEST in present else b""
    if found == sealed:
        refuse_damaged(to)
        return False
    is_other = not sealed.startswith(found)  # a copy that was cut short at its end has a part of the manifest
    if is_other or present - names:
        what = "another bundle" if is_other else "something else"
        raise UserError(f"{there.shown} holds {what} already; name a place that is empty.")
    for name in (*sorted(names - {MANIFEST}), MANIFEST):
        there.write(name, here.chunks(name))
    refuse_damaged(to)
    return True


@contextmanager
def opened(where: str) -> Iterator[Path]:
    """The folder of a parcel, hashed; one that lies elsewhere is fetched for as long as the block runs.

    Raises:
        UserError: it is damaged, or there is none.
    """
    refuse_damaged(where)
    place = _Place(where)
    if place.is_local:
        yield Path(place.root)
        return
    with tempfile.TemporaryDirectory(prefix="rlmba-bundle-") as temporary:
        send(where, temporary)
        yield Path(temporary)


def is_address(where: str) -> bool:
    """Whether a place is named as ``protocol://…`` and not as a folder."""
    return "://" in where


def _manifest(place: _Place) -> dict[str, str]:
    """File -> sha256, as a parcel says."""
    if MANIFEST not in place.files():
        raise UserError(
            f"{place.shown} is no bundle, or one that was never finished: it holds no {MANIFEST}; build one with "
            "'kedro rounds bundle'."
        )
    try:
        lines = place.read(MANIFEST).decode("utf-8").splitlines()
        matches = [_LINE.fullmatch(line) for line in lines]
        expected = {match[2]: match[1] for match in matches if match}
    except UnicodeDecodeError:
        expected = {}
    outside = [name for name in expected if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if not expected or len(expected) < len(lines) or outside:
        raise UserError(f"{place.shown}: {MANIFEST} is damaged; get the bundle again from where it came from.")
    return expected


class _Place:
    """A folder of some file system of fsspec."""

    def __init__(self, where: str) -> None:
        self.shown = without_passwords(where)
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(where)
        except Exception as error:  # every store has errors of its own
            raise UserError(without_passwords(f"{where} cannot be reached: {str(error).rstrip('.')}.")) from None
        self._files, self.root = found[0], found[1].rstrip("/")
        self.is_local = not is_address(where) or where.startswith(("file://", "local://"))

    def files(self) -> set[str]:
        """Names of all files below the folder; none where there is no such folder."""
        try:
            self._files.invalidate_cache()
            paths = self._files.find(self.root) if self._files.isdir(self.root) else []
        except Exception as error:
            raise UserError(without_passwords(f"{self.shown} cannot be read ({error}).")) from error
        return {path[len(self.root) + 1 :] for path in paths}

    def chunks(self, name: str) -> Iterator[bytes]:
        """What a file holds, part by part; what becomes of the parts is not its fault."""
        try:
            with self._files.open(f"{self.root}/{name}", "rb") as stream:
                while chunk := stream.read(1 << 20):
                    yield chunk
        except OSError as error:
            raise UserError(without_passwords(f"{self.shown}/{name} cannot be read ({error}).")) from error

    def read(self, name: str) -> bytes:
        return b"".join(self.chunks(name))

    def sha256(self, name: str) -> str:
        found = hashlib.sha256()
        for chunk in self.chunks(name):
            found.update(chunk)
        return found.hexdigest()

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        path = f"{self.root}/{name}"
        with writing(self.shown):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._files.open(path, "wb") as target:
                for chunk in chunks:
                    target.write(chunk)
