"""Features of every sample: looked up where they were computed before, computed once where not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from rlmba_pipelines.config import EncodersConfig, MediaCaps
from rlmba_pipelines.encoders.base import Encoder, Found
from rlmba_pipelines.encoders.cache import FeatureCache
from rlmba_pipelines.encoders.containers import MediaDecodeError
from rlmba_pipelines.encoders.door import find_encoder, load_encoder
from rlmba_pipelines.encoders.media import decode_audio, decode_image, decode_text
from rlmba_pipelines.encoders.video import decode_video
from rlmba_pipelines.learning.types import Features, UserError

SHARD_SIZE = {"image": 512, "text": 512, "audio": 512, "video": 64}  # what a killed run loses at most, a worker
DECODED = {"video": "upright"}  # what decoding came to do after features were cached; they are looked for elsewhere
READING_AHEAD = 16  # small sets are cut finer, so that every worker gets some

Read = Callable[[str, str], bytes]


class Medium(NamedTuple):
    """One medium to encode: its digest and the manifest cell that names it."""

    sha256: str
    cell: str


class Shard(NamedTuple):
    """Media of one modality that a worker encodes in one go."""

    modality: str
    media: tuple[Medium, ...]


def decoders(config: EncodersConfig, caps: MediaCaps) -> dict[str, Callable[[bytes], Any]]:
    """For every modality the function that decodes a medium fully: what ingest checks files with."""
    return {
        "image": partial(decode_image, caps=caps),
        "text": decode_text,
        "audio": partial(decode_audio, caps=caps),
        "video": partial(decode_video, caps=caps, n_frames=config.video_frames),
    }


def extract_features(
    manifest: pd.DataFrame,
    read: Read,
    config: EncodersConfig,
    cache_folder: str | Path,
    caps: MediaCaps,
    modalities: Sequence[str],
    *,
    map_shards: Callable[..., Generator[np.ndarray]] | None = None,
    progress: bool = True,
) -> Features:
    """Encode what is not in the cache yet, and return all.

    Args:
        manifest: columns ``sample_id``, every modality (empty = missing) and ``<modality>_sha256``.
        read: (modality, cell) -> bytes; picklable when ``config.workers > 1``.
        config: which encoder for which modality, and how many workers.
        cache_folder: one folder a modality and fingerprint is kept in it; may be shared by experiments.
        caps: limits of the decoders.
        modalities: the M axis, in this order.
        map_shards: of ``engines``; without one everything runs in this process.
        progress: show a bar a modality.

    Returns:
        Rows sorted by sample id, zeros where a modality is absent.

    Raises:
        UserError: an encoder cannot be had or gives numbers that are not finite, or a medium has changed or become
            unreadable since ingest.
    """
    manifest = manifest.sort_values("sample_id", ignore_index=True)
    found = {m: find_encoder(getattr(config, m), m, config) for m in modalities}
    caches = {m: FeatureCache(Path(cache_folder) / m / _folder_name(found[m])) for m in modalities}
    shards = [s for m in modalities for s in _shards(m, _missing(manifest, m, caches[m]), config.workers)]
    work = partial(_encode_shard, read, config, caps)
    if shards and map_shards is not None:
        results = map_shards(work, shards, workers=min(config.workers, len(shards)))
    else:
        results = (work(shard) for shard in shards)
    with closing(results):
        for modality in modalities:
            _fill(caches[modality], [s for s in shards if s.modality == modality], results, modality, progress)
        next(results, None)  # lets the engine see that nothing follows, and close its workers in peace
    _in_memory.clear()

    blocks, present = {}, []
    for modality in modalities:
        digests = manifest[f"{modality}_sha256"].where(manifest[modality] != "", "")
        has_N = (digests != "").to_numpy()
        lost = caches[modality].lacks(list(digests[has_N]))
        if lost.any():
            raise RuntimeError(f"{int(lost.sum())} rows of {modality} features vanished from {caches[modality].folder}")
        block = caches[modality].get(list(digests))
        blocks[modality] = block if block.shape[1] else np.zeros((len(manifest), 1), dtype=np.float32)
        present.append(has_N)
    return Features(
        sample_ids=manifest["sample_id"].to_numpy(dtype=str),
        blocks=blocks,
        present_NM=np.stack(present, axis=1),
        fingerprints={m: found[m].fingerprint for m in modalities},
    )


def _fill(
    cache: FeatureCache, shards: Sequence[Shard], results: Iterator[np.ndarray], modality: str, progress: bool
) -> None:
    """Put the next results, which belong to ``shards``, into the cache."""
    total = sum(len(shard.media) for shard in shards)
    with tqdm(total=total, desc=modality, unit=" items", disable=not (progress and shards)) as bar:
        for shard in shards:
            cache.put([medium.sha256 for medium in shard.media], next(results))
            bar.update(len(shard.media))


def _folder_name(found: Found) -> str:
    """Where the cache of a modality keeps what this encoder makes of media as they are decoded now."""
    return hashlib.sha256((found.fingerprint + DECODED.get(found.modality, "")).encode()).hexdigest()[:16]


def _missing(manifest: pd.DataFrame, modality: str, cache: FeatureCache) -> list[Medium]:
    """Media to encode, each once, in the order of the sample ids."""
    cells, digests = manifest[modality], manifest[f"{modality}_sha256"]
    first: dict[str, str] = {}
    for cell, digest in zip(cells, digests, strict=True):
        if cell:
            first.setdefault(digest, cell)
    unknown = cache.lacks(list(first))
    return [Medium(digest, cell) for (digest, cell), new in zip(first.items(), unknown, strict=True) if new]


def _shards(modality: str, media: Sequence[Medium], workers: int) -> list[Shard]:
    size = min(SHARD_SIZE[modality], max(READING_AHEAD, -(-len(media) // (2 * workers))))
    return [Shard(modality, tuple(media[start : start + size])) for start in range(0, len(media), size)]


def _encode_shard(read: Read, config: EncodersConfig, caps: MediaCaps, shard: Shard) -> np.ndarray:
    """float32[n, D] for the media of a shard: read, compare with the manifest's sha256, decode, encode."""
    encoder = _loaded(getattr(config, shard.modality), shard.modality, config)
    rows = encoder.encode(_decoded(read, config, caps, shard, getattr(encoder, "n_frames", config.video_frames)))
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise UserError(
            f"The encoder {encoder.fingerprint} gives numbers that are not finite for {len(bad)} of {len(rows)} "
            f"{shard.modality} media (first: {shard.media[bad[0]].cell[:60]!r}); choose another one, or drop them."
        )
    return rows


_in_memory: dict[tuple[str, str, EncodersConfig], Encoder] = {}


def _loaded(key: str, modality: str, config: EncodersConfig) -> Encoder:
    """The encoder, loaded once a process; only one is kept, since modalities come one after the other."""
    wanted = (key, modality, config)
    if wanted not in _in_memory:
        _in_memory.clear()
        _in_memory[wanted] = load_encoder(key, modality, config)
    return _in_memory[wanted]


def _decoded(read: Read, config: EncodersConfig, caps: MediaCaps, shard: Shard, n_frames: int) -> Iterator[Any]:
    decode: dict[str, Callable[[bytes], Any]] = {
        "image": partial(decode_image, caps=caps),
        "text": decode_text,
        "audio": partial(decode_audio, caps=caps, seconds=config.audio_seconds),
        "video": partial(decode_video, caps=caps, n_frames=n_frames, sound=False),
    }
    for medium in shard.media:
        data = read(shard.modality, medium.cell)
        if hashlib.sha256(data).hexdigest() != medium.sha256:
            raise UserError(
                f"The {shard.modality} {medium.cell} has changed since ingest (its sha256 is another); "
                f"put the old file back, or run ingest again."
            )
        try:
            yield decode[shard.modality](data)
        except MediaDecodeError as error:
            raise UserError(f"The {shard.modality} {medium.cell} {error}; run ingest again to set it aside.") from error
