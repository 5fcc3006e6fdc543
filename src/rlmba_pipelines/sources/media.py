"""Media under one root: a reference resolves under it or is refused; nothing is ever fetched.

A path component that is a ``.zip`` file continues inside the archive: ``image-000.zip/abc.webp`` is its member
``abc.webp``. A reference that ends in ``/`` is a folder of pictures, the frames of a video: it reads as a plain tar of
them, the same bytes on every machine.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import quoted

MAX_OPEN_ARCHIVES = 32
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MISSING = "is missing"
_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://|(data|file|http|https|ftp|s3|gs):)", re.IGNORECASE)


class MediaError(Exception):
    """A medium that cannot be had: a bad sample to be set aside, not a mistake that stops the run.

    >>> print(MediaError("photos/1.jpg", "is missing"))
    the file photos/1.jpg is missing
    """

    def __init__(self, ref: str, reason: str) -> None:
        super().__init__(ref, reason)
        self.ref = ref
        self.reason = reason

    def __str__(self) -> str:
        return f"the file {self.ref} {self.reason}"


class MediaRoot:
    """The folder that all references of a manifest stay in.

    Archives are opened once and kept open for reading; a copy sent to another process opens its own.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self._archives: OrderedDict[Path, zipfile.ZipFile] = OrderedDict()

    def __reduce__(self) -> tuple[type[MediaRoot], tuple[Path]]:
        return MediaRoot, (self.root,)

    def check(self, ref: str) -> None:
        """Refuse a reference that is not a plain path under the root; whether it exists is not asked.

        Raises:
            UserError: absolute, with ``..``, through a symbolic link that leaves the root, with a NUL byte, or a URL.
        """
        self._locate(ref)

    def read(self, ref: str, max_bytes: int) -> bytes:
        """The bytes of a medium.

        Raises:
            UserError: the reference is refused (see ``check``).
            MediaError: the file is missing, unreadable or larger than ``max_bytes``.
        """
        path, member = self._locate(ref)
        if member:
            return self._read_member(ref, path, member, max_bytes)
        if ref.endswith("/"):
            return self._read_frames(ref, path, max_bytes)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise MediaError(ref, "is not a file")
            _check_size(ref, status.st_size, max_bytes)
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that cannot be encoded
            raise MediaError(ref, MISSING) from None
        except OSError as error:
            raise MediaError(ref, f"cannot be read ({error.strerror})") from error
        _check_size(ref, len(data), max_bytes)
        return data

    def files(self, ref: str) -> list[Path]:
        """The files on disk that a reference stands for alone: none for a member of an archive, or what is missing.

        Of a folder of frames also the hidden pictures, which may show the same.

        Raises:
            UserError: the reference is refused (see ``check``).
        """
        path, member = self._locate(ref)
        if ref.endswith("/"):
            return [self._locate(f"{ref}{name}")[0] for name in _pictures(path)]
        return [path] if not member and path.is_file() else []

    def _frames(self, ref: str, path: Path) -> list[str]:
        """References of the frames in a folder; a hidden ``._frame_0.jpg``, which macOS leaves, is none."""
        return [f"{ref}{name}" for name in _pictures(path) if not name.startswith(".")]

    def _read_frames(self, ref: str, path: Path, max_bytes: int) -> bytes:
        packed, n_bytes = io.BytesIO(), 0
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for number, frame in enumerate(self._frames(ref, path)):
                data = self.read(frame, max_bytes)
                n_bytes += len(data)
                _check_size(ref, n_bytes, max_bytes)
                info = tarfile.TarInfo(f"{number:06d}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        if not n_bytes:
            raise MediaError(ref, "is a folder without pictures" if os.path.isdir(path) else MISSING)
        return packed.getvalue()

    def _locate(self, ref: str) -> tuple[Path, str]:
        """The file that holds ``ref``, and the member inside it when that file is an archive."""
        if "\0" in ref:
            raise UserError(f"The reference {quoted(ref)} holds a NUL byte; remove it from the manifest.")
        if _ADDRESS.match(ref):
            raise UserError(f"The reference {quoted(ref)} is an address; download the file and give its path instead.")
        if PurePosixPath(ref).is_absolute() or PureWindowsPath(ref).anchor:
            raise UserError(f"The reference {quoted(ref)} is absolute; give the path relative to the media root.")
        if ".." in re.split(r"[/\\]", ref):
            raise UserError(f"The reference {quoted(ref)} climbs out with '..'; give a path inside the media root.")
        parts = PurePosixPath(ref).parts
        path, member = self.root, ""
        for position, part in enumerate(parts):
            path = path / part
            if part.lower().endswith(".zip") and position + 1 < len(parts) and os.path.isfile(path):
                member = "/".join(parts[position + 1 :])
                break
        try:
            inside = path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long or not to be encoded: no file
            inside = True
        if not inside:
            raise UserError(
                f"The reference {quoted(ref)} leaves the media root by a symbolic link; copy the file into it."
            )
        return path, member

    def _read_member(self, ref: str, path: Path, member: str, max_bytes: int) -> bytes:
        try:
            archive = self._archive(path)
            info = archive.getinfo(member)
            if info.flag_bits & 0x1:
                raise MediaError(ref, "is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise MediaError(ref, "is packed in a way that is not read here (stored and deflated are)")
            _check_size(ref, info.file_size, max_bytes)
            return archive.read(info)
        except KeyError:
            raise MediaError(ref, "is missing from its archive") from None
        except MediaError:
            raise
        except PermissionError as error:
            raise MediaError(ref, f"cannot be read ({error.strerror})") from error
        except Exception as error:  # zipfile meets hostile bytes with errors of every type
            raise MediaError(ref, "lies in a damaged archive") from error

    def _archive(self, path: Path) -> zipfile.ZipFile:
        if path not in self._archives:
            self._archives[path] = zipfile.ZipFile(path)
            if len(self._archives) > MAX_OPEN_ARCHIVES:
                self._archives.popitem(last=False)[1].close()
        self._archives.move_to_end(path)
        return self._archives[path]


def _pictures(path: Path) -> list[str]:
    """Names of the pictures in a folder, ``frame_9`` before ``frame_10``; none where it is no folder."""
    try:
        names = [name for name in os.listdir(path) if name.lower().endswith(FRAME_SUFFIXES)]
    except (OSError, ValueError):
        return []
    return sorted(names, key=lambda name: (_natural(name), name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that orders numbers in names by their value.

    >>> sorted(["f10.jpg", "f9.jpg"], key=_natural)
    ['f9.jpg', 'f10.jpg']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _check_size(ref: str, n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise MediaError(ref, f"has {n_bytes:,} bytes, more than the {max_bytes:,} allowed")


def folder_of_media(manifest: Path, media_root: str) -> Path:
    """Where media lie: the folder that was named, else the manifest's own, which a public data set is itself."""
    if media_root:
        return Path(media_root)
    return manifest if manifest.is_dir() else manifest.parent


def is_reference(modality: str, cell: str) -> bool:
    """Whether a cell names a file: always, except for text that does not end in ``.txt``.

    >>> is_reference("image", "a.jpg"), is_reference("text", "a.txt"), is_reference("text", "a red car")
    (True, True, False)
    """
    return modality != "text" or cell.lower().endswith(".txt")


def read_medium(root: MediaRoot, max_bytes: int, modality: str, cell: str) -> bytes:
    """The bytes behind a manifest cell: of the file it names, or of the text itself in UTF-8.

    ``functools.partial(read_medium, root, max_bytes)`` is the reader that feature extraction takes.

    Raises:
        UserError, MediaError: see ``MediaRoot.read``.
    """
    if is_reference(modality, cell):
        return root.read(cell, max_bytes)
    data = cell.encode("utf-8", errors="surrogatepass")
    _check_size("of text in the manifest", len(data), max_bytes)
    return data
