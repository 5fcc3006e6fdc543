"""Features that were paid for once: one row for every (sha256 of the medium, fingerprint of the encoder).

A shard is two files, ``<name>.rows.npy`` (float32[n, D], memory-mapped) and ``<name>.keys.npy`` (uint8[n, 32]),
named by the digest of its keys. The keys are written last, so a shard exists when its keys do. Every file is written
under another name, fsynced and renamed: a killed run keeps all of its finished shards and leaves none that is torn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from rlmba_pipelines.disk import STALE_SECONDS, replacing, scratch, sweep


class FeatureCache:
    """The shards of one encoder in one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._shards: list[np.ndarray] = []
        self._place: dict[bytes, tuple[int, int]] = {}  # key -> (shard, row)
        if self.folder.is_dir():
            sweep(self.folder, STALE_SECONDS)
            for keys_path in sorted(self.folder.glob("*.keys.npy")):
                self._open(keys_path)

    def __len__(self) -> int:
        return len(self._place)

    def lacks(self, sha256s: Sequence[str]) -> np.ndarray:
        """bool[n]: which of n hexadecimal digests have no row here."""
        return np.array([bytes.fromhex(s) not in self._place for s in sha256s], dtype=bool)

    def get(self, sha256s: Sequence[str]) -> np.ndarray:
        """float32[n, D], the rows of n hexadecimal digests; zeros where there is none (D is 0 in an empty cache)."""
        nowhere = (-1, 0)
        where = np.array([self._place.get(bytes.fromhex(s), nowhere) for s in sha256s], dtype=np.int64).reshape(-1, 2)
        rows = scratch((len(sha256s), self._shards[0].shape[1] if self._shards else 0), self.folder)
        for shard, block in enumerate(self._shards):
            here = np.flatnonzero(where[:, 0] == shard)
            rows[here] = block[where[here, 1]]
        return rows

    def put(self, sha256s: Sequence[str], rows: np.ndarray) -> None:
        """Write one shard; putting the same keys again changes nothing.

        Args:
            sha256s: n hexadecimal digests, unique.
            rows: float32[n, D], finite.

        Raises:
            ValueError: a row is not finite, or is as wide as no other row here.
        """
        if not len(sha256s):
            return
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise ValueError(f"features of {int(bad.sum())} media are not finite (first: {sha256s[int(bad.argmax())]})")
        if self._shards and rows.shape[1] != self._shards[0].shape[1]:
            raise ValueError(f"features are {rows.shape[1]} wide, those in {self.folder} {self._shards[0].shape[1]}")
        keys = np.frombuffer(bytes.fromhex("".join(sha256s)), dtype=np.uint8).reshape(-1, 32)
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:24]
        self._write(f"{name}.rows.npy", np.asarray(rows, dtype=np.float32))
        self._write(f"{name}.keys.npy", keys)
        self._open(self.folder / f"{name}.keys.npy")

    def forget(self, sha256s: Collection[str]) -> None:
        """Remove rows for good: what else a shard holds is written anew before the old shard goes.

        A shard that cannot be read goes too: nobody can tell whose rows it holds, and none of them is ever used. So do
        rows without keys, which a killed writer left.
        """
        gone = {bytes.fromhex(s) for s in sha256s}
        for keys_path in sorted(self.folder.glob("*.keys.npy")):
            shard = _read_shard(keys_path)
            keys = [] if shard is None else [key.tobytes() for key in shard[0]]
            kept = [i for i, key in enumerate(keys) if key not in gone]
            if shard is None or len(kept) < len(keys):
                if shard is not None:
                    self.put([keys[i].hex() for i in kept], shard[1][kept])
                keys_path.unlink()
                _rows_of(keys_path).unlink(missing_ok=True)
        for rows_path in self.folder.glob("*.rows.npy"):
            if not _keys_of(rows_path).exists():
                rows_path.unlink(missing_ok=True)
        self._place = {key: place for key, place in self._place.items() if key not in gone}

    def _open(self, keys_path: Path) -> None:
        """Index a shard; one that cannot be read counts as never written."""
        shard = _read_shard(keys_path)
        if shard is None:
            return
        keys, rows = shard
        flat = keys.tobytes()
        number = len(self._shards)
        self._shards.append(rows)
        for row in range(len(keys)):
            self._place.setdefault(flat[32 * row : 32 * row + 32], (number, row))

    def _write(self, name: str, array: np.ndarray) -> None:
        with replacing(self.folder / name) as temporary:
            np.save(temporary, array, allow_pickle=False)


def _rows_of(keys_path: Path) -> Path:
    return keys_path.with_name(keys_path.name.replace(".keys.npy", ".rows.npy"))


def _keys_of(rows_path: Path) -> Path:
    return rows_path.with_name(rows_path.name.replace(".rows.npy", ".keys.npy"))


def _read_shard(keys_path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Keys uint8[n, 32] and rows float32[n, D], memory-mapped; None where either cannot be read or is not whole."""
    try:
        keys = np.load(keys_path, allow_pickle=False)
        rows = np.load(_rows_of(keys_path), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == 32 and rows.ndim == 2
    return (keys, rows) if whole and len(keys) == len(rows) and rows.dtype == np.float32 else None
