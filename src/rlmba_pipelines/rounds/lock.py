"""One runner an experiment: a file lock that the operating system releases, even after SIGKILL."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from rlmba_pipelines.disk import writing
from rlmba_pipelines.learning.types import UserError

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
    path = folder / "LOCK"
    if path in _held:
        yield False
        return
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise Busy(
                f"Experiment {folder.name!r} is being run by {holder}; wait for it to end, or use another --experiment."
            ) from None
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
