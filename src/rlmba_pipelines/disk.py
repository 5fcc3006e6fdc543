"""Files that are whole or absent: temporary file, fsync, rename. And trouble with the disk, told.

Also arrays that are too large for memory.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from rlmba_pipelines.learning.types import UserError

TEMPORARY_PREFIX = ".writing-"
REPLACED_PREFIX = ".replaced-"  # before the name of a folder, while a new one takes its place
SCRATCH_BYTES = 16_000_000
STALE_SECONDS = 3600  # where several processes may write, a temporary is nobody's after this time


@contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Name ``target`` when it cannot be written: disk full, no right to write, file limit.

    Raises:
        UserError: the operating system, or SQLite on its behalf, refused; whatever else goes wrong passes unchanged.
    """
    try:
        yield
    except Exception as error:
        refusal: BaseException | None = error
        while refusal is not None and not isinstance(refusal, UserError | OSError | sqlite3.OperationalError):
            refusal = refusal.__cause__ or refusal.__context__
        if refusal is None or isinstance(refusal, UserError):
            raise
        reason = getattr(refusal, "strerror", None) or refusal
        raise UserError(
            f"{target} could not be written ({reason}); mend that and give the same command again: it goes on where it "
            "stopped, and nothing finished is lost."
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(target: Path) -> None:
    """Bring a file, or a folder with all its files, and its name to the disk, so that it outlives a power cut."""
    for written in [*target.rglob("*"), target] if target.is_dir() else [target]:
        _sync(written)
    _sync(target.parent)


@contextmanager
def replacing(target: Path, durable: bool = True, *, new: bool = False) -> Iterator[Path]:
    """A temporary path beside ``target`` that becomes ``target`` when the block ends well, and vanishes otherwise.

    Works for a file and for a folder; a folder that is already there is only replaced as a whole: the old one lies
    aside for a moment, from where :func:`sweep` brings it back if a kill has left none. With ``durable`` the content
    is on the disk before the name is; without, the caller does :func:`sync` before anything counts on it. With ``new``
    a folder takes no other place than that of an empty one.

    Raises:
        UserError: the disk is full, or the like; with ``new``, something is there.
    """
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{target.suffix}")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if durable:
                sync(temporary)
            if temporary.is_dir() and target.exists() and not new:
                old = target.with_name(f"{REPLACED_PREFIX}{target.name}")
                remove(old)
                os.replace(target, old)
                os.replace(temporary, target)
                shutil.rmtree(old)
            else:
                os.replace(temporary, target)
            if durable:
                _sync(target.parent)
    finally:
        remove(temporary)


def scratch(shape: tuple[int, ...], folder: Path | None = None) -> np.ndarray:
    """float32 zeros; a large array lies in a file that nobody sees and that goes with it, not in memory.

    Args:
        folder: where the file is to lie; None: where the system keeps temporaries (``TMPDIR``).
    """
    if np.prod(shape, dtype=np.int64) * 4 < SCRATCH_BYTES:
        return np.zeros(shape, dtype=np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.asarray(np.memmap(file, np.float32, "w+", shape=shape))


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_stale(path: Path, seconds: float) -> None:
    """Remove what nobody has touched for so long."""
    with suppress(FileNotFoundError):  # another process was faster
        if time.time() - path.stat().st_mtime >= seconds:
            remove(path)


def sweep(folder: Path, stale_seconds: float = 0.0) -> None:
    """Remove the temporaries in and below ``folder`` that killed processes left, as far as they are old enough.

    A folder that was to be replaced comes back where no new one took its place.
    """
    for old in list(folder.rglob(f"{REPLACED_PREFIX}*")):
        target = old.with_name(old.name.removeprefix(REPLACED_PREFIX))
        if target.exists():
            remove_stale(old, stale_seconds)
        elif not stale_seconds:  # where others write, one may be about to put the new one there
            os.replace(old, target)
    for path in list(folder.rglob(f"{TEMPORARY_PREFIX}*")):
        remove_stale(path, stale_seconds)
