"""Media are decoded whole, under caps, or refused with a reason that a person can act on."""

import io
import itertools
import re
import struct
import tarfile
import zlib

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image
from sample_media import CAPS, image_bytes, picture, sound_bytes, tone, video_bytes

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.encoders import MediaDecodeError, decode_audio, decode_image, decode_text, decode_video, poster

FORMATS = {
    "jpeg": image_bytes(picture(), "JPEG"),
    "progressive jpeg": image_bytes(picture(), "JPEG", progressive=True),
    "png": image_bytes(picture(), "PNG"),
    "webp": image_bytes(picture(), "WEBP"),
    "lossless webp": image_bytes(picture(), "WEBP", lossless=True),
    "gif": image_bytes(picture(), "GIF"),
}
SOUNDS = {
    "wav": sound_bytes(tone()),
    "flac": sound_bytes(tone(), kind="FLAC"),
    "opus": sound_bytes(tone(), kind="OGG", subtype="OPUS"),
    "vorbis": sound_bytes(tone(), kind="OGG", subtype="VORBIS"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_images_of_every_format_come_out_as_they_went_in(name):
    image = decode_image(FORMATS[name], CAPS)
    assert (image.mode, image.size) == ("RGB", (40, 30))
    difference = np.asarray(image, dtype=float) - np.asarray(picture(), dtype=float)
    assert np.abs(difference).mean() < (0.1 if name in ("png", "lossless webp") else 8)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.98))
def test_an_image_that_is_cut_short_anywhere_is_found(name, share):
    data = FORMATS[name]
    with pytest.raises(MediaDecodeError):
        decode_image(data[: int(share * len(data))], CAPS)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:60] for data in (*FORMATS.values(), *SOUNDS.values()))]))
def test_no_bytes_whatever_make_a_decoder_fail_without_a_reason(junk, start):
    for decode in (decode_image, decode_audio):
        with pytest.raises(MediaDecodeError, match=r"^(is|has|lasts|holds|does) "):
            decode(start + junk, CAPS)


def test_pixels_over_the_cap_are_refused_with_both_numbers():
    with pytest.raises(MediaDecodeError, match="has 1,200 pixels, more than the 1,199 allowed"):
        decode_image(FORMATS["png"], MediaCaps(max_pixels=1199))
    assert decode_image(FORMATS["png"], MediaCaps(max_pixels=1200)).size == (40, 30)


def test_a_small_file_that_unpacks_to_a_huge_image_is_refused_before_it_does():
    header = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    png = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    end = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
    with pytest.raises(MediaDecodeError, match="has 10,000,000,000 pixels"):
        decode_image(png + end, CAPS)


def test_transparency_is_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode_image(image_bytes(clear, "PNG"), CAPS).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("LA", (4, 4), (0, 128))
    assert decode_image(image_bytes(half, "PNG"), CAPS).getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (4, 4), 0)
    assert decode_image(image_bytes(palette, "PNG", transparency=0), CAPS).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_gray_keeps_its_brightness():
    gray = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert decode_image(image_bytes(gray, "PNG"), CAPS).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(("pixels", "reason"), [
    (np.float32([[0, 1]]), "fractions"), (np.int32([[0, 65_536]]), "outside of 0 to 65,535"),
    (np.int32([[-1, 0]]), "outside of 0 to 65,535"),
])
def test_pixels_of_which_nobody_knows_what_is_white_are_refused(pixels, reason):
    with pytest.raises(MediaDecodeError, match=reason):
        decode_image(image_bytes(Image.fromarray(pixels), "TIFF"), CAPS)


def test_a_photo_that_was_held_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(image_bytes(picture(), "JPEG", exif=exif), CAPS).size == (30, 40)


def test_of_an_animation_the_first_frame_is_taken():
    first, second = Image.new("RGB", (4, 4), "blue"), Image.new("RGB", (4, 4), "red")
    data = image_bytes(first, "GIF", save_all=True, append_images=[second])
    assert decode_image(data, CAPS).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_of_every_format_come_out_as_they_went_in(name):
    wave = decode_audio(SOUNDS[name], CAPS)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 16_000) <= 16
    assert_allclose(wave[4000:12_000], tone()[4000:12_000], atol=1e-4 if name in ("wav", "flac") else 0.1)


@pytest.mark.parametrize("name", SOUNDS)
@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.98))
def test_a_sound_that_is_cut_short_anywhere_is_found(name, share):
    data = SOUNDS[name]
    with pytest.raises(MediaDecodeError):
        decode_audio(data[: int(share * len(data))], CAPS)


def test_a_wav_whose_header_promises_more_is_told_with_both_numbers():
    data = SOUNDS["wav"]
    with pytest.raises(MediaDecodeError, match=re.escape(f"is cut short (expected {len(data):,} bytes, found 17,002)")):
        decode_audio(data[:17_002], CAPS)


def test_what_follows_the_sound_of_a_wav_is_no_part_of_it():
    wav = sound_bytes(tone()[:8001], subtype="PCM_U8")
    unpadded = wav[: 44 + 8001] + b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + bytes(18)
    for data in (wav + b"ID3\x03" + bytes(60), wav + b"\n\ntrailing text", unpadded):
        assert len(decode_audio(data, CAPS)) == 8001


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_of_a_streaming_writer_that_did_not_know_its_size_is_whole(size):
    wav = SOUNDS["wav"]
    streamed = wav[:4] + struct.pack("<I", size) + wav[8:40] + struct.pack("<I", size) + wav[44:]
    assert len(decode_audio(streamed, CAPS)) == 16_000


def test_stereo_at_44_kilohertz_becomes_one_channel_at_16():
    stereo = np.stack([tone(rate=44_100), np.zeros(44_100, dtype=np.float32)], axis=1)
    wave = decode_audio(sound_bytes(stereo, 44_100), CAPS)
    assert len(wave) == 16_000
    assert_allclose(wave[1000:-1000], 0.5 * tone()[1000:-1000], atol=2e-3)


def test_only_the_first_seconds_are_kept_where_asked():
    assert len(decode_audio(SOUNDS["flac"], CAPS, seconds=0.25)) == 4000
    assert len(decode_audio(video_bytes(sound_seconds=1.0), CAPS, seconds=0.25)) == 4000


def test_a_sound_over_the_cap_is_refused():
    with pytest.raises(MediaDecodeError, match="lasts 1 seconds, more than the 0 allowed"):
        decode_audio(SOUNDS["opus"], MediaCaps(max_seconds=0.4))


def test_a_sound_without_samples_or_with_nan_is_refused():
    with pytest.raises(MediaDecodeError, match="has no sound in it"):
        decode_audio(sound_bytes(np.zeros(0, dtype=np.float32)), CAPS)
    out = io.BytesIO()
    soundfile.write(out, np.array([0, np.nan], dtype=np.float32), 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaDecodeError, match="not finite"):
        decode_audio(out.getvalue(), CAPS)


def test_the_sound_of_a_video_is_a_sound():
    wave = decode_audio(video_bytes(sound_seconds=1.0), CAPS)
    assert abs(len(wave) - 16_000) < 1500  # AAC adds up to a frame and a half
    assert 0.3 < np.sqrt((wave[4000:12_000] ** 2).mean()) < 0.4  # a sine of amplitude 0.5


def test_frames_are_spread_evenly_over_a_video():
    frames, sound = decode_video(video_bytes(30), CAPS, 5)
    assert sound is None
    assert [round(np.asarray(f).mean() / 8) for f in frames] == [3, 9, 15, 21, 27]


def turned(video, a, b, c, d):
    """The same mp4 with another display matrix, which takes a point (x, y) to (a x + c y, b x + d y)."""
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = video.index(plain, video.index(b"tkhd"))
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return video[:start] + matrix + video[start + len(plain):]


@pytest.mark.parametrize(("a", "b", "c", "d"), [
    turn for turn in itertools.product((-1, 0, 1), repeat=4) if turn[0] == turn[3] == 0 != turn[1] * turn[2]
    or turn[1] == turn[2] == 0 != turn[0] * turn[3]
])
def test_a_video_is_seen_as_players_show_it_turned_and_mirrored(a, b, c, d):
    frame = np.asarray(decode_video(turned(video_bytes(3, corner=255), a, b, c, d), CAPS, 1)[0][0])
    assert frame.shape[:2] == ((48, 64) if a else (64, 48))
    x, y = -(a + c), -(b + d)  # where the corner up left, (-1, -1), comes to lie
    bright = np.argwhere(frame.mean(axis=2) > 128).mean(axis=0) / frame.shape[:2] - 0.5
    assert_allclose(bright, np.array([y, x]) / 4, atol=0.03)


def test_a_display_matrix_that_is_no_turn_leaves_the_pictures():
    for matrix in ((0, 0, 0, 0), (1, 1, -1, 1)):
        assert decode_video(turned(video_bytes(3), *matrix), CAPS, 1)[0][0].size == (64, 48)


def test_a_video_shorter_than_the_frames_asked_for_repeats_pictures():
    frames, _ = decode_video(video_bytes(2), CAPS, 4)
    assert [round(np.asarray(f).mean() / 8) for f in frames] == [0, 0, 1, 1]


def test_a_video_brings_its_sound():
    _, sound = decode_video(video_bytes(30, sound_seconds=1.0), CAPS, 2)
    assert sound.dtype == np.float32
    assert abs(len(sound) - 16_000) < 1500  # AAC adds up to a frame and a half


@pytest.mark.parametrize(("kind", "codec", "options"), [
    ("mp4", "mpeg4", {}), ("mp4", "mpeg4", {"movflags": "faststart"}), ("avi", "mpeg4", {}), ("webm", "libvpx", {}),
])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.9])
def test_a_video_that_is_cut_short_is_found(kind, codec, options, share):
    data = video_bytes(30, kind=kind, codec=codec, options=options)
    assert len(decode_video(data, CAPS, 3)[0]) == 3
    with pytest.raises(MediaDecodeError):
        decode_video(data[: int(share * len(data))], CAPS, 3)


def tar_of(*members, kind=tarfile.REGTYPE):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number, data in enumerate(members):
            info = tarfile.TarInfo(f"{number:06d}")
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


FRAMES = tar_of(*FORMATS.values())


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 0.999), st.binary(max_size=2000))
def test_a_tar_of_frames_that_is_cut_or_made_of_junk_is_refused(share, junk):
    assert [frame.size for frame in decode_video(FRAMES, CAPS, 2)[0]] == [(40, 30)] * 2
    whole = FRAMES.rstrip(b"\0")
    for data in (whole[: int(share * len(whole))], FRAMES[:512] + junk, FRAMES[:512] + junk + bytes(1024)):
        with pytest.raises(MediaDecodeError, match=r"^(is|has) "):
            decode_video(data, CAPS, 2)


def test_a_tar_holds_pictures_and_nothing_else():
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.FIFOTYPE):
        with pytest.raises(MediaDecodeError, match=r"is not a (plain tar of pictures|tar that can be read)"):
            decode_video(tar_of(FORMATS["png"], kind=kind), CAPS, 1)
    with pytest.raises(MediaDecodeError, match="is not a tar that can be read"):
        decode_video(b"x".ljust(257, b"\0") + b"ustar" + bytes(10_000), CAPS, 1)
    with pytest.raises(MediaDecodeError, match="is not an image that can be read"):
        decode_video(tar_of(FORMATS["png"], SOUNDS["wav"]), CAPS, 1)
    with pytest.raises(MediaDecodeError, match="has 1,200 pixels, more than the 1,199 allowed"):
        decode_video(FRAMES, MediaCaps(max_pixels=1199), 1)


def test_a_video_over_a_cap_is_refused():
    with pytest.raises(MediaDecodeError, match="has 3,072 pixels, more than the 3,071 allowed"):
        decode_video(video_bytes(), MediaCaps(max_pixels=3071), 2)
    with pytest.raises(MediaDecodeError, match="lasts 1 seconds"):
        decode_video(video_bytes(30), MediaCaps(max_seconds=0.5), 2)
    with pytest.raises(MediaDecodeError, match="has no video in it"):
        decode_video(SOUNDS["wav"], CAPS, 2)


@pytest.mark.parametrize("playlist", [
    "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{path}\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{path}'\n",
])
def test_a_playlist_that_calls_itself_a_video_reaches_no_other_file(tmp_path, playlist):
    (tmp_path / "other.mp4").write_bytes(video_bytes(sound_seconds=1.0))
    data = playlist.format(path=tmp_path / "other.mp4").encode()
    with pytest.raises(MediaDecodeError):
        decode_video(data, CAPS, 2)
    with pytest.raises(MediaDecodeError):
        decode_audio(data, CAPS)


def test_a_poster_is_a_small_picture_of_the_middle():
    with Image.open(io.BytesIO(poster(video_bytes(31, size=(320, 160)), CAPS, pixels=128))) as image:
        assert (image.format, image.size) == ("WEBP", (128, 64))
        assert abs(np.asarray(image).mean() - 8 * 15) < 4


@pytest.mark.parametrize(("data", "reason"), [(b"\xff\xfe", "is not UTF-8"), (b" \n", "is empty"), (b"a\0", "NUL")])
def test_text_that_is_no_text_is_refused(data, reason):
    with pytest.raises(MediaDecodeError, match=reason):
        decode_text(data)
    assert decode_text("\ufeffé".encode()) == "é"
