"""Ingest reads every medium once; what is bad is set aside with its reason, and too much of it stops the run."""

import hashlib
import multiprocessing
import os
import resource
import signal
import time

import pandas as pd
import pytest

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.engines import map_shards
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import MediaRoot, check, check_media, read_manifest


def decode(data):
    if data.startswith(b"BAD"):
        raise ValueError("is cut short")
    return data


DECODERS = {"image": decode, "text": decode}


@pytest.fixture
def project(tmp_path):
    """Ten samples of image and text; image 3 is damaged, image 7 is missing and is all that its sample has."""
    lines = ["sample_id,image,text"]
    for i in range(10):
        (tmp_path / f"{i}.png").write_bytes(b"BAD" if i == 3 else b"image %d" % i)
        lines.append(f"s{i},{i}.png,{'' if i == 7 else f'text {i}'}")
    (tmp_path / "7.png").unlink()
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    return read_manifest(tmp_path / "manifest.csv"), MediaRoot(tmp_path)


def checked(project, share=0.2, **options):
    manifest, root = project
    options = {"caps": MediaCaps(), "max_bad_share": share, "progress": False, **options}
    return check_media(manifest, root, DECODERS, **options)


def test_bad_media_are_masked_and_samples_with_nothing_left_are_dropped(project):
    manifest, quarantine = checked(project)
    assert list(manifest["sample_id"]) == [f"s{i}" for i in range(10) if i != 7]
    damaged = manifest.set_index("sample_id").loc["s3"]
    assert (damaged["image"], damaged["image_sha256"], damaged["text"]) == ("", "", "text 3")
    assert quarantine.to_dict("records") == [
        {"sample_id": "s3", "row": 5, "modality": "image", "ref": "3.png", "reason": "is cut short", "dropped": False},
        {"sample_id": "s7", "row": 9, "modality": "image", "ref": "7.png", "reason": "is missing", "dropped": True},
    ]


def test_the_sha256_of_every_medium_is_recorded(project):
    manifest, _ = checked(project)
    first = manifest.iloc[0]
    assert first["image_sha256"] == hashlib.sha256(b"image 0").hexdigest()
    assert first["text_sha256"] == hashlib.sha256(b"text 0").hexdigest()


def test_too_many_bad_media_stop_the_run_with_the_first_of_them_and_the_count(project):
    with pytest.raises(UserError) as caught:
        checked(project, share=0.01)
    assert str(caught.value) == (
        "manifest.csv, row 5: the file 3.png is cut short. 2 of 10 samples have such media (20.0%, allowed are 1.0%). "
        "Copy them again, or let such rows be set aside with  --max-bad-media 20%."
    )


def test_a_missing_file_is_told_with_the_folder_it_was_looked_for_in(project):
    (project[1].root / "0.png").unlink()
    with pytest.raises(UserError) as caught:
        checked(project, share=0.01)
    assert f"row 2: the file 0.png is missing in {project[1].root}. 3 of 10 samples" in str(caught.value)
    assert str(caught.value).endswith("--max-bad-media 30%.")


def test_where_hardly_a_file_is_there_the_folder_is_asked_for_and_nothing_is_offered_to_be_dropped(project, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError) as caught:
        checked((project[0], MediaRoot(tmp_path / "other")))
    assert str(caught.value) == (
        f"manifest.csv, row 2: the file 0.png is missing in {tmp_path / 'other'}. 10 of 10 samples have such media "
        "(100.0%, allowed are 20.0%). Is --media-root right?"
    )


def test_two_workers_find_what_one_finds(project):
    alone, together = checked(project), checked(project, workers=2, map_shards=map_shards)
    pd.testing.assert_frame_equal(alone[0], together[0])
    pd.testing.assert_frame_equal(alone[1], together[1])


def test_a_reference_that_leaves_the_root_is_fatal_whatever_the_share(project):
    manifest, root = project
    manifest.loc[2, "image"] = "../2.png"
    with pytest.raises(UserError, match=r"manifest.csv, row 4: The reference '../2.png' climbs out"):
        checked((manifest, root), share=1.0)


def test_a_medium_that_takes_for_ever_is_set_aside(project, monkeypatch):
    monkeypatch.setattr(check, "DECODE_SECONDS", 0.05)
    monkeypatch.setitem(DECODERS, "text", lambda data: time.sleep(5) if data == b"text 1" else data)
    _, quarantine = checked(project, share=1.0)
    assert quarantine.set_index("sample_id").loc["s1", "reason"] == "takes more than 0.05 seconds to decode"


def hostile(data):
    if data == b"image 1":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"image 4":
        sum(range(10**15))  # native code that hears no alarm
    if data == b"image 5":
        bytearray(2 * check.WORKER_BYTES)
    return decode(data)


def test_media_that_crash_hang_or_flood_their_decoder_are_set_aside_and_the_others_are_read(project, monkeypatch):
    monkeypatch.setattr(check, "DECODE_SECONDS", 1.0)
    manifest, root = project
    decoders = {"image": hostile, "text": decode}
    good, quarantine = check_media(
        manifest, root, decoders, caps=MediaCaps(), max_bad_share=0.5, progress=False, workers=2, map_shards=map_shards
    )
    assert quarantine.set_index("sample_id")["reason"].to_dict() == {
        "s1": "makes its decoder crash, or never end",
        "s3": "is cut short",
        "s4": "makes its decoder crash, or never end",
        "s5": "needs more memory to decode than is allowed",
        "s7": "is missing",
    }
    assert (good.set_index("sample_id")["image"] == "").sum() == 4  # s7 has nothing else and is gone


def test_a_file_over_the_byte_cap_is_set_aside_unread(project):
    _, quarantine = checked(project, share=1.0, caps=MediaCaps(max_bytes=6))
    assert "has 7 bytes, more than the 6 allowed" in set(quarantine["reason"])


def test_the_quarantine_holds_no_cell_that_a_spreadsheet_would_run(tmp_path):
    (tmp_path / "m.csv").write_text('sample_id,image,text\n=1+1,"=cmd|x!A1.png",a\n')
    _, quarantine = checked((read_manifest(tmp_path / "m.csv"), MediaRoot(tmp_path)), share=1.0)
    assert quarantine[["sample_id", "ref"]].values.tolist() == [["'=1+1", "'=cmd|x!A1.png"]]


def test_nothing_readable_at_all_is_said_plainly(tmp_path):
    (tmp_path / "m.csv").write_text("sample_id,image\na,a.png\n")
    with pytest.raises(UserError, match="no sample has a medium that can be read"):
        checked((read_manifest(tmp_path / "m.csv"), MediaRoot(tmp_path)), share=1.0)


def test_a_medium_that_decoded_well_before_is_hashed_and_not_decoded_again_until_its_bytes_or_the_checks_change(
    tmp_path, monkeypatch
):
    decoded = []

    def decode(data: bytes) -> None:
        decoded.append(data)
        if data == b"bad":
            raise ValueError("cannot be read")

    for name, data in (("a.png", b"good"), ("b.png", b"fine"), ("c.png", b"bad")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "m.csv").write_text("sample_id,image\n1,a.png\n2,b.png\n3,c.png\n")

    def run() -> list[list[str]]:
        manifest = read_manifest(tmp_path / "m.csv")
        ok, quarantine = check_media(
            manifest, MediaRoot(tmp_path), {"image": decode}, caps=MediaCaps(), max_bad_share=1.0, progress=False,
            remember=tmp_path / "remembered",
        )
        return [ok["image_sha256"].tolist(), quarantine["sample_id"].tolist()]

    first = run()
    assert decoded == [b"good", b"fine", b"bad"]
    decoded.clear()
    assert run() == first
    assert decoded == [b"bad"]
    decoded.clear()
    (tmp_path / "a.png").write_bytes(b"new")
    run()
    assert decoded == [b"new", b"bad"]
    decoded.clear()
    monkeypatch.setattr(check, "CHECKS", check.CHECKS + 1)
    run()
    assert decoded == [b"new", b"fine", b"bad"]


def test_a_worker_keeps_a_limit_of_memory_that_is_lower_than_its_own():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lower = check.WORKER_BYTES - 2**30
        assert pool.apply(limited_below, (lower,)) == (lower, lower)


def limited_below(hard):
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    check.limit_memory()
    return resource.getrlimit(resource.RLIMIT_AS)
