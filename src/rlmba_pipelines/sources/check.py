"""Ingest: read every medium once, take its sha256, decode it fully, and set aside what is bad, with the reason."""

from __future__ import annotations

import faulthandler
import hashlib
import math
import multiprocessing
import resource
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.disk import STALE_SECONDS, replacing, sweep
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import disarmed, quoted
from rlmba_pipelines.sources.manifest import MODALITIES
from rlmba_pipelines.sources.media import MISSING, MediaError, MediaRoot, is_reference, read_medium

SHARD_SIZE = 64
DECODE_SECONDS = 60.0  # one medium; far above what the caps allow on any machine
GRACE = 1.5  # times the seconds, after which a worker that native code does not let go of is ended
ELSEWHERE = 0.9  # share of the files that are missing, from which on it is the folder that is wrong
WORKER_BYTES = 6 * 2**30  # address space of a worker, so that a hostile file ends in an error and not in swapping

CHECKS = 2  # goes up when decoding comes to refuse what it took before: then all media are looked at once more

Decoder = Callable[[bytes], object]


class Medium(NamedTuple):
    """One cell of the manifest: its position in the table, and what it names."""

    position: int
    modality: str
    cell: str


def check_media(
    manifest: pd.DataFrame,
    root: MediaRoot,
    decoders: Mapping[str, Decoder],
    *,
    caps: MediaCaps,
    max_bad_share: float,
    progress: bool = True,
    workers: int = 1,
    map_shards: Callable[..., Iterable[Any]] | None = None,
    whole: bool = False,
    remember: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest without its bad media, and the list of these.

    Args:
        manifest: of ``read_manifest``.
        root: where the media are.
        decoders: modality -> function that decodes the bytes fully, or raises ``ValueError`` with a reason that
            continues "the file x …"; picklable when ``workers > 1``.
        caps: bytes over ``max_bytes`` are not read.
        max_bad_share: share of the samples, in [0, 1], that may have a bad medium.
        progress: show a bar.
        workers: handed to ``map_shards``.
        map_shards: of ``engines``; without one everything runs in this process.
        whole: a sample with a bad medium goes whole; otherwise it stays while it has another.
        remember: folder that keeps the digests of media which decoded well under these caps; a medium with such a
            digest is hashed and not decoded again. None forgets.

    Returns:
        The manifest with a column ``<modality>_sha256`` (of the file's bytes, of the UTF-8 text) for every modality,
        bad media emptied and samples that have nothing left dropped; and the quarantine: ``sample_id``, ``row``,
        ``modality``, ``ref``, ``reason``, ``dropped`` (whether the whole sample went).

    Raises:
        UserError: a reference leaves the root, or more than ``max_bad_share`` of the samples have a bad medium.
    """
    name = str(manifest.attrs.get("name", "manifest"))
    modalities = [m for m in MODALITIES if m in manifest.columns]
    media = [Medium(i, m, cell) for m in modalities for i, cell in enumerate(manifest[m]) if cell]
    for medium in media:
        if is_reference(medium.modality, medium.cell):
            try:
                root.check(medium.cell)
            except UserError as error:
                raise UserError(f"{name}, row {manifest['row'].iloc[medium.position]}: {error}") from None

    known = _read_known(remember, caps)
    resolved = {i: d for i, m in enumerate(media) if known and (d := _known_digest(root, caps, m, known))}
    unknown = [i for i in range(len(media)) if i not in resolved]
    check = partial(_check_shard, root, dict(decoders), caps.max_bytes, DECODE_SECONDS)
    shards = [[media[i] for i in unknown[start : start + SHARD_SIZE]] for start in range(0, len(unknown), SHARD_SIZE)]
    if map_shards is None:
        results: Iterable[list[tuple[str, str]]] = map(check, shards)
    else:
        results = _survived(partial(map_shards, check, setup=limit_memory, workers=workers), shards)
    checked_now: list[tuple[str, str]] = []
    with tqdm(total=len(media), initial=len(resolved), desc="check media", unit=" files", disable=not progress) as bar:
        for result in results:
            checked_now.extend(result)
            bar.update(len(result))
    found = {**{i: (digest, "") for i, digest in resolved.items()}, **dict(zip(unknown, checked_now, strict=True))}
    outcomes = [found[i] for i in range(len(media))]
    good = {f"{m.modality} {digest}" for m, (digest, reason) in zip(media, outcomes, strict=True) if not reason}
    _write_known(remember, caps, known | good, known)

    columns = {m: list(manifest[m]) for m in modalities}
    digests = {m: [""] * len(manifest) for m in modalities}
    bad: list[tuple[Medium, str]] = []
    for medium, (digest, reason) in zip(media, outcomes, strict=True):
        if reason:
            bad.append((medium, reason))
            columns[medium.modality][medium.position] = ""
        else:
            digests[medium.modality][medium.position] = digest
    _stop_if_too_many(bad, media, manifest, name, root.root, max_bad_share)

    checked = manifest.assign(**columns, **{f"{m}_sha256": digests[m] for m in modalities})
    keep = (checked[modalities] != "").any(axis=1)
    if whole:
        keep &= ~checked.index.isin([checked.index[medium.position] for medium, _ in bad])
    quarantine = pd.DataFrame(
        [
            (disarmed(manifest["sample_id"].iloc[m.position]), int(manifest["row"].iloc[m.position]), m.modality,
             disarmed(m.cell) if is_reference(m.modality, m.cell) else "", reason, not keep.iloc[m.position])
            for m, reason in sorted(bad, key=lambda item: item[0].position)
        ],
        columns=["sample_id", "row", "modality", "ref", "reason", "dropped"],
    )
    if not keep.any():
        raise UserError(f"{name}: no sample has a medium that can be read; is --media-root right ({root.root})?")
    return checked[keep].reset_index(drop=True), quarantine


def _known_file(folder: Path, caps: MediaCaps) -> Path:
    """Where digests are kept of media that decoded well under these caps, by the checks of this version."""
    return folder / f"checked-{CHECKS}-{hashlib.sha256(caps.model_dump_json().encode()).hexdigest()[:16]}.txt"


def _read_known(folder: Path | None, caps: MediaCaps) -> set[str]:
    """``<modality> <sha256>`` of every medium that decoded well before."""
    if folder is None or not _known_file(folder, caps).exists():
        return set()
    sweep(folder, STALE_SECONDS)
    return set(_known_file(folder, caps).read_text().splitlines())


def _write_known(folder: Path | None, caps: MediaCaps, known: set[str], before: set[str]) -> None:
    if folder is None or known == before:
        return
    with replacing(_known_file(folder, caps), durable=False) as temporary:
        temporary.write_text("\n".join(sorted(known)))


def _known_digest(root: MediaRoot, caps: MediaCaps, medium: Medium, known: set[str]) -> str:
    """The digest of a medium that decoded well before; empty for any other, which a worker then looks at."""
    try:
        digest = hashlib.sha256(read_medium(root, caps.max_bytes, medium.modality, medium.cell)).hexdigest()
    except MediaError:
        return ""
    return digest if f"{medium.modality} {digest}" in known else ""


def _stop_if_too_many(
    bad: list[tuple[Medium, str]],
    media: list[Medium],
    manifest: pd.DataFrame,
    name: str,
    root: Path,
    max_bad_share: float,
) -> None:
    n_bad = len({medium.position for medium, _ in bad})
    share = n_bad / len(manifest)
    if share <= max_bad_share:
        return
    medium, reason = min(bad, key=lambda item: manifest["row"].iloc[item[0].position])
    row = manifest["row"].iloc[medium.position]
    what = f"the file {quoted(medium.cell)[1:-1]}" if is_reference(medium.modality, medium.cell) else "the text"
    advice = f"Copy them again, or let such rows be set aside with  --max-bad-media {math.ceil(share * 100)}%."
    n_files = sum(is_reference(medium.modality, medium.cell) for medium in media)
    if sum(reason == MISSING for _, reason in bad) >= ELSEWHERE * max(1, n_files):
        advice = "Is --media-root right?"
    where = f" in {root}" if reason == MISSING else ""
    raise UserError(
        f"{name}, row {row}: {what} {reason}{where}. {n_bad:,} of {len(manifest):,} samples have such media "
        f"({share:.1%}, allowed are {max_bad_share:.1%}). {advice}"
    )


def _survived(
    run: Callable[[list[list[Medium]]], Iterable[list[tuple[str, str]]]], shards: list[list[Medium]]
) -> Iterator[list[tuple[str, str]]]:
    """The results of all shards, though a hostile medium takes the worker down that decodes it.

    Nobody can tell which of the media in flight it was, so the shard that was waited for is run again medium by medium,
    and each of those alone where that fails too.
    """
    done = 0
    while done < len(shards):
        try:
            for result in run(shards[done:]):
                done += 1
                yield result
        except UserError as died:
            if not isinstance(died.__cause__, BrokenProcessPool):
                raise
            alone = [[medium] for medium in shards[done]]
            if len(shards) == len(alone) == 1:
                yield [("", "makes its decoder crash, or never end")]
            else:
                yield [outcome for result in _survived(run, alone) for outcome in result]
            done += 1


def _check_shard(
    root: MediaRoot, decoders: Mapping[str, Decoder], max_bytes: int, seconds: float, shard: list[Medium]
) -> list[tuple[str, str]]:
    """For every medium its sha256 and "", or "" and the reason why it is bad."""
    return [_check_medium(root, decoders[medium.modality], max_bytes, seconds, medium) for medium in shard]


def _check_medium(
    root: MediaRoot, decode: Decoder, max_bytes: int, seconds: float, medium: Medium
) -> tuple[str, str]:
    try:
        data = read_medium(root, max_bytes, medium.modality, medium.cell)
        with _time_limit(seconds):
            decode(data)
    except UserError:
        raise
    except MediaError as error:
        return "", error.reason
    except TimeoutError:
        return "", f"takes more than {seconds:g} seconds to decode"
    except MemoryError:
        return "", "needs more memory to decode than is allowed"
    except ValueError as error:
        return "", str(error)
    return hashlib.sha256(data).hexdigest(), ""


def limit_memory() -> None:
    """Cap the address space of a worker process; the parent's own is left alone."""
    if multiprocessing.parent_process() is not None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        unlimited = hard == resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES if unlimited else min(WORKER_BYTES, hard), hard))


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in the block after ``seconds``; outside a main thread there is no such limit.

    Python hears the alarm only when native code returns; a worker process whose code does not is ended a little later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    in_worker = multiprocessing.parent_process() is not None
    if in_worker:
        faulthandler.dump_traceback_later(GRACE * seconds, exit=True)
    try:
        yield
    finally:
        if in_worker:
            faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
