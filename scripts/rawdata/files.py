"""Archives, manifests and sums whose bytes depend on what is in them alone, and which are whole or absent."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

COLUMNS = ("sample_id", "image", "text", "audio", "label", "split", "group", "meta_style", "meta_language")


def pack(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A stored zip file of (name, content)."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def write(path: Path, content: bytes) -> None:
    """Put a file in its place whole, so that one that exists was finished."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_manifest(path: Path, rows: Iterable[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> None:
    """Rows with the fields ``columns``; a manifest without styles or languages leaves these empty."""
    text = io.StringIO(newline="")
    manifest = csv.DictWriter(text, columns, lineterminator="\n")
    manifest.writeheader()
    manifest.writerows(rows)
    write(path, text.getvalue().encode())


def write_sums(folder: Path, paths: Iterable[Path]) -> None:
    """``SHA256SUMS``, as sha256sum writes it."""
    sums = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)
    write(folder / "SHA256SUMS", "".join(sums).encode())


def check(path: Path, sha256: str) -> None:
    """Leave, in one sentence, when a fetched file is not the pinned one."""
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        sys.exit(f"{path.name} has sha256 {found}, not the pinned: delete it and run this again.")


class Shards:
    """Archives of at most ``max_bytes`` each, filled one after the other."""

    def __init__(self, folder: Path, kind: str, max_bytes: int) -> None:
        self._folder, self._kind, self._max_bytes, self._count = folder, kind, max_bytes, 0
        self._files: list[tuple[str, bytes]] = []
        self._size = 22

    def add(self, name: str, content: bytes) -> str:
        """Store a file; answer its path, ``<shard>/<name>``."""
        size = len(content) + 76 + 2 * len(name)
        if self._size + size > self._max_bytes:
            self.close()
        self._files.append((name, content))
        self._size += size
        return f"{self._kind}-{self._count:03d}.zip/{name}"

    def close(self) -> None:
        """Write the open shard to disk."""
        write(self._folder / f"{self._kind}-{self._count:03d}.zip", pack(self._files))
        self._count += 1
        self._files, self._size = [], 22
