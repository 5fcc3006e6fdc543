"""One runner an experiment: a file lock that the operating system releases, even after SIGKILL."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import IO

from rlmba_pipelines.disk import writing
from rlmba_pipelines.learning.types import UserError

LOCK = "LOCK"
_held: set[Path] = set()


class Busy(UserError):
    """Another process holds the experiment."""


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the experiment in ``folder``; a second call within the same process is let through.

    Yields:
        Whether it was taken now, and not held before by this process.

    Raises:
        Busy: another process holds it; the message names the holder.
    """
    path = folder / LOCK
    if path in _held:
        yield False
        return
    with _taken(path) as stream:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        words = takewhile(lambda word: not word.startswith("-"), sys.argv[:4])  # options may hold secrets
        command = json.dumps(" ".join(Path(word).name for word in words))
        holder = f"process {os.getpid()} on {socket.gethostname()} since {started} ({command})"
        with writing(path):
            stream.seek(0)
            stream.truncate()
            stream.write(holder)
            stream.flush()
        _held.add(path)
        try:
            yield True
        finally:
            _held.discard(path)


def _taken(path: Path) -> IO[str]:
    """The file, locked."""
    while True:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with stream:
                stream.seek(0)
                holder = stream.read().strip() or "another process"
            raise Busy(
                f"Experiment {path.parent.name!r} is being run by {holder}; wait for it to end, or use another "
                "--experiment."
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samefile(stream.fileno(), path):
                return stream
        stream.close()  # its holder removed it between the two: a lock that nobody else would see
