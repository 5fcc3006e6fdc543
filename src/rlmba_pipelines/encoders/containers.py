"""What a file's own headers promise, compared with what is there: the cheap and sure way to find a cut file."""

from __future__ import annotations

import struct

SAMPLE_RATE = 16_000  # of all sound that is handed on
_UNKNOWN_SIZE = 0x7FFF_F000  # streaming writers put this or more where a size was not known


class MediaDecodeError(ValueError):
    """A medium cannot be decoded; the text is the reason, and continues "the file x …"."""


def check_whole(data: bytes) -> None:
    """Refuse bytes that end before their container does; unknown containers pass.

    Raises:
        MediaDecodeError: empty or cut short.

    >>> check_whole(b"RIFF" + bytes([92, 0, 0, 0]) + b"WEBP")
    Traceback (most recent call last):
    rlmba_pipelines.encoders.containers.MediaDecodeError: is cut short (expected 100 bytes, found 12)
    """
    if not data:
        raise MediaDecodeError("is empty")
    if data[:4] == b"RIFF" and len(data) >= 12:
        _check_riff(data)
    elif data[:4] == b"OggS":
        _check_ogg(data)
    elif data[:4] == b"\x1aE\xdf\xa3":
        _check_segment(data)
    elif data[4:8] == b"ftyp":
        _check_boxes(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data.startswith(b"\xff\xd8\xff") and b"\xff\xd9" not in data:  # trailing bytes after the end are allowed
        raise MediaDecodeError("is cut short")


def _cut(expected: int, found: int) -> MediaDecodeError:
    return MediaDecodeError(f"is cut short (expected {expected:,} bytes, found {found:,})")


def _check_riff(data: bytes) -> None:
    """Wav, webp and avi; what follows the ``data`` of a wav is no sound, and often no chunk either."""
    size = struct.unpack_from("<I", data, 4)[0]
    if len(data) + 1 < size + 8 and size < _UNKNOWN_SIZE:  # some writers count a byte of padding that they leave out
        raise _cut(size + 8, len(data))
    position, kind = 12, b""
    while data[8:12] == b"WAVE" and kind != b"data" and position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        if len(data) < position + 8 + size and size < _UNKNOWN_SIZE:
            raise _cut(position + 8 + size, len(data))
        position += 8 + size + size % 2


def _check_ogg(data: bytes) -> None:
    """The last page must be whole."""
    last = data.rfind(b"OggS")
    if last + 27 > len(data):
        raise MediaDecodeError("is cut short")
    table = data[last + 27 : last + 27 + data[last + 26]]
    expected = last + 27 + data[last + 26] + sum(table)
    if expected > len(data):
        raise _cut(expected, len(data))


def _check_segment(data: bytes) -> None:
    """Matroska and webm: the segment must be as long as it says; all ones stand for a length that was not known."""
    start = data.find(b"\x18\x53\x80\x67", 0, 256) + 4
    if start < 4 or start >= len(data):
        raise MediaDecodeError("is cut short")
    n_bytes = 9 - data[start].bit_length()  # leading zeros of the first byte say how many follow
    size = int.from_bytes(data[start : start + n_bytes], "big") & ((1 << 7 * n_bytes) - 1)
    expected = start + n_bytes + size
    if size != (1 << 7 * n_bytes) - 1 and expected > len(data):
        raise _cut(expected, len(data))


def _check_boxes(data: bytes) -> None:
    """Mp4, mov, m4a and avif: every top-level box must be whole."""
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # the last box, to the end of the file
            return
        if size < 8:
            raise MediaDecodeError("is damaged")
        position += size
    if position > len(data):
        raise _cut(position, len(data))


def _check_png(data: bytes) -> None:
    """The chunks must run up to and with IEND."""
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise MediaDecodeError("is cut short")
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        position += 12 + size
    if position > len(data):
        raise _cut(position, len(data))
