"""A reference stays under the media root or is refused; a zip on the way is a folder."""

import os
import pickle
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import MediaError, MediaRoot, read_medium


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret.txt").write_bytes(b"secret")
    folder = tmp_path / "media"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "1.jpg").write_bytes(b"one")
    with zipfile.ZipFile(folder / "shard.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.webp", b"stored")
    with zipfile.ZipFile(folder / "photos" / "deep.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/b.webp", b"deflated" * 100)
    return MediaRoot(folder)


def test_files_and_members_of_archives_are_read(root):
    assert root.read("photos/1.jpg", 10) == b"one"
    assert root.read("shard.zip/a.webp", 10) == b"stored"
    assert root.read("photos/deep.zip/in/b.webp", 800) == b"deflated" * 100


def test_hidden_files_are_no_frames_but_go_with_them(root):
    (root.root / "photos" / "._1.jpg").write_bytes(b"junk of macOS")
    assert {path.name for path in root.files("photos/")} == {"1.jpg", "._1.jpg"}
    assert b"junk" not in root.read("photos/", 10)


def test_a_copy_in_another_process_reads_the_same(root):
    root.read("shard.zip/a.webp", 10)
    assert pickle.loads(pickle.dumps(root)).read("shard.zip/a.webp", 10) == b"stored"


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("../secret.txt", "climbs out"),
        ("photos/../../secret.txt", "climbs out"),
        ("photos\\..\\..\\secret.txt", "climbs out"),
        ("shard.zip/../../secret.txt", "climbs out"),
        ("/etc/passwd", "absolute"),
        ("C:\\windows\\x.jpg", "absolute"),
        ("\\\\server\\share\\x.jpg", "absolute"),
        ("http://example.org/x.jpg", "address"),
        ("file:x.jpg", "address"),
        ("s3://bucket/x.jpg", "address"),
        ("photos/1.jpg\0.png", "NUL"),
    ],
)
def test_a_reference_that_leaves_the_root_is_refused(root, ref, why):
    with pytest.raises(UserError, match=why):
        root.check(ref)
    with pytest.raises(UserError, match=why):
        root.read(ref, 100)


def test_a_symbolic_link_may_point_inside_the_root_and_not_outside(root):
    os.symlink(root.root / "photos" / "1.jpg", root.root / "inside.jpg")
    os.symlink(root.root.parent / "secret.txt", root.root / "outside.jpg")
    os.symlink(root.root.parent, root.root / "up")
    assert root.read("inside.jpg", 10) == b"one"
    for ref in ("outside.jpg", "up/secret.txt"):
        with pytest.raises(UserError, match="symbolic link"):
            root.read(ref, 100)


@settings(max_examples=60)
@given(st.text(alphabet="./\\s~: \0z", max_size=12) | st.text(max_size=20))
def test_no_text_whatever_reads_a_file_outside_the_root(tmp_path_factory, ref):
    folder = tmp_path_factory.mktemp("fuzz") / "media"
    folder.mkdir()
    (folder.parent / "s").write_bytes(b"secret")
    try:
        data = MediaRoot(folder).read(ref, 100)
    except (UserError, MediaError):
        return
    assert data != b"secret"


@pytest.mark.parametrize(
    ("ref", "max_bytes", "reason"),
    [
        ("photos/2.jpg", 10, "is missing"),
        ("photos/1.jpg/x", 10, "is missing"),
        ("shard.zip/b.webp", 10, "is missing from its archive"),
        ("photos", 10, "is not a file"),
        ("x" * 300 + ".zip/a.webp", 10, "cannot be read (File name too long)"),
        ("half\ud83d.png", 10, "is missing"),
        ("half\ud83d.zip/a.webp", 10, "is missing"),
        ("photos/1.jpg", 2, "has 3 bytes, more than the 2 allowed"),
        ("photos/deep.zip/in/b.webp", 799, "has 800 bytes, more than the 799 allowed"),
    ],
)
def test_a_medium_that_cannot_be_had_is_a_bad_sample_and_not_a_fatal_error(root, ref, max_bytes, reason):
    with pytest.raises(MediaError) as caught:
        root.read(ref, max_bytes)
    assert (caught.value.ref, caught.value.reason) == (ref, reason)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.ref, again.reason) == (ref, reason)


def test_a_damaged_archive_is_a_bad_sample(root):
    path = root.root / "shard.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"stored")] ^= 0xFF
    path.write_bytes(bytes(data))
    (root.root / "junk.zip").write_bytes(b"junk")
    for ref in ("shard.zip/a.webp", "junk.zip/a.webp"):
        with pytest.raises(MediaError, match="damaged archive"):
            root.read(ref, 100)


def test_a_text_cell_is_the_text_unless_it_ends_in_txt(root):
    (root.root / "note.txt").write_bytes(b"from the file")
    assert read_medium(root, 100, "text", "grüße") == "grüße".encode()
    assert read_medium(root, 100, "text", "note.txt") == b"from the file"
    with pytest.raises(MediaError, match="more than the 3 allowed"):
        read_medium(root, 3, "text", "long")
