"""What the scripts that build a data set share: a lasting random order, media in shards, and their sums."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

SHARD_BYTES = 2 * 1024 * 1024


def digest(*parts: str) -> str:
    """A key that orders things at random, and always the same way."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


class Shards:
    """Stored zip files of at most 2 MiB, whose bytes depend on the entries alone."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind, self._count = folder, kind, 0
        self._start()

    def _start(self) -> None:
        self._bytes = io.BytesIO()
        self._zip, self._size = zipfile.ZipFile(self._bytes, "w", zipfile.ZIP_STORED), 22

    def add(self, name: str, content: bytes) -> str:
        """Store an entry; answer its path, ``<shard>/<name>``."""
        size = len(content) + 76 + 2 * len(name)
        if self._size + size > SHARD_BYTES:
            self.close()
            self._start()
        entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        self._zip.writestr(entry, content)
        self._size += size
        return f"{self._kind}-{self._count:03d}.zip/{name}"

    def close(self) -> None:
        """Write the open shard to disk."""
        self._zip.close()
        (self._folder / f"{self._kind}-{self._count:03d}.zip").write_bytes(self._bytes.getvalue())
        self._count += 1


def write_sums(out: Path) -> None:
    """SHA256SUMS of the shards and the manifest in ``out``."""
    files = [*sorted(out.glob("*.zip")), out / "manifest.csv"]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (out / "SHA256SUMS").write_text(sums)
