"""Features of a manifest: each medium is paid for once, whatever the workers, the order of rows and the kills."""

import hashlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sample_media import CAPS, image_bytes, picture, sound_bytes, tone, video_bytes

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders import decoders, extract, extract_features, load_encoder
from rlmba_pipelines.engines import map_shards
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import MediaRoot, check_media, read_manifest, read_medium

TINY = EncodersConfig(image="tiny", text="tiny", audio="tiny", video="tiny", device="cpu", workers=1, video_frames=3)
MODALITIES = ("image", "text", "audio", "video")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Forty samples of four modalities: every tenth image is cut short, every fifth sample has text alone."""
    folder = tmp_path_factory.mktemp("project")
    rows = []
    for i in range(40):
        data = image_bytes(picture(i), "WEBP")
        (folder / f"{i}.webp").write_bytes(data[:-40] if i % 10 == 3 else data)
        (folder / f"{i}.opus").write_bytes(sound_bytes(tone(0.3, 200 + 50 * i), kind="OGG", subtype="OPUS"))
        (folder / f"{i}.mp4").write_bytes(video_bytes(4 + i % 3))
        text = ("a red car", "a dog", "rain")[i % 3]
        media = (f"{i}.webp", f"{i}.opus", f"{i}.mp4") if i % 5 else ("", "", "")
        rows.append((f"s{i:02d}", media[0], text, media[1], media[2]))
    table = pd.DataFrame(rows, columns=["sample_id", "image", "text", "audio", "video"])
    table.sample(frac=1, random_state=0).to_csv(folder / "manifest.csv", index=False)
    return folder


def checked(folder):
    root = MediaRoot(folder)
    manifest, quarantine = check_media(
        read_manifest(folder / "manifest.csv"), root, decoders(TINY, CAPS), caps=CAPS, max_bad_share=0.2, progress=False
    )
    return manifest, quarantine, partial(read_medium, root, CAPS.max_bytes)


def extracted(folder, cache, config=TINY, **options):
    manifest, _, read = checked(folder)
    return extract_features(manifest, read, config, cache, CAPS, MODALITIES, progress=False, **options)


def test_a_manifest_becomes_features_with_a_mask_for_what_is_missing(project, tmp_path):
    features = extracted(project, tmp_path)
    assert list(features.sample_ids) == [f"s{i:02d}" for i in range(40)]
    numbers = np.arange(40)
    assert_array_equal(features.present_NM[:, 0], (numbers % 5 > 0) & (numbers % 10 != 3))
    assert features.present_NM[:, 1].all()
    assert_array_equal(features.present_NM[:, 2], numbers % 5 > 0)
    assert not features.blocks["image"][~features.present_NM[:, 0]].any()
    image = decoders(TINY, CAPS)["image"]((project / "1.webp").read_bytes())
    expected = load_encoder("tiny", "image", TINY).encode([image])
    assert_array_equal(features.blocks["image"][1], expected[0])
    assert [block.shape[1] for block in features.blocks.values()] == [288, 512, 160, 576]
    assert features.fingerprints["audio"] == "tiny-audio-v1-mel40-s2.5"


def test_truncated_images_are_in_quarantine_with_their_sizes(project):
    _, quarantine, _ = checked(project)
    assert list(quarantine["sample_id"]) == ["s03", "s13", "s23", "s33"]
    assert quarantine["reason"].str.startswith("is cut short (expected").all()


def test_two_workers_give_the_very_bits_of_one(project, tmp_path):
    alone = extracted(project, tmp_path / "1")
    together = extracted(
        project, tmp_path / "2", TINY.model_copy(update={"workers": 2}), map_shards=map_shards
    )
    for modality in MODALITIES:
        assert_array_equal(alone.blocks[modality], together.blocks[modality])


def test_a_second_run_encodes_nothing_and_a_new_sample_only_itself(project, tmp_path, monkeypatch):
    first = extracted(project, tmp_path)
    monkeypatch.setattr(extract, "load_encoder", None)  # would raise if it were called
    again = extracted(project, tmp_path)
    assert_array_equal(first.blocks["video"], again.blocks["video"])


def test_features_of_videos_that_were_decoded_lying_are_not_found_any_more(project, tmp_path):
    features = extracted(project, tmp_path)
    for modality in MODALITIES:
        before = hashlib.sha256(features.fingerprints[modality].encode()).hexdigest()[:16]
        assert (tmp_path / modality / before).exists() == (modality != "video")


def test_equal_media_are_encoded_once(project, tmp_path):
    manifest, _, read = checked(project)
    asked = []

    def counting(modality, cell):
        asked.append(cell)
        return read(modality, cell)

    extract_features(manifest, counting, TINY, tmp_path, CAPS, ("text",), progress=False)
    assert sorted(asked) == ["a dog", "a red car", "rain"]


def test_a_killed_run_keeps_its_finished_shards(project, tmp_path, monkeypatch):
    manifest, _, read = checked(project)
    monkeypatch.setitem(extract.SHARD_SIZE, "audio", 8)
    monkeypatch.setattr(extract, "READING_AHEAD", 8)
    served = []

    def failing(modality, cell):
        if len(served) == 20:
            raise KeyboardInterrupt
        served.append(cell)
        return read(modality, cell)

    with pytest.raises(KeyboardInterrupt):
        extract_features(manifest, failing, TINY, tmp_path, CAPS, ("audio",), progress=False)
    served.clear()
    serving = partial(_remember, served, read)
    features = extract_features(manifest, serving, TINY, tmp_path, CAPS, ("text", "audio"), progress=False)
    assert len([cell for cell in served if cell.endswith(".opus")]) == 32 - 16
    assert features.present_NM[:, 1].sum() == 32


def _remember(served, read, modality, cell):
    served.append(cell)
    return read(modality, cell)


def test_a_medium_that_changed_since_ingest_stops_the_run_by_name(project, tmp_path):
    manifest, _, read = checked(project)

    def changed(modality, cell):
        return read(modality, cell) + (b"x" if cell == "7.opus" else b"")

    with pytest.raises(UserError, match=r"The audio 7\.opus has changed since ingest"):
        extract_features(manifest, changed, TINY, tmp_path, CAPS, ("audio", "text"), progress=False)


def test_an_encoder_that_gives_nan_is_refused_with_the_medium_and_nothing_of_it_is_kept(project, tmp_path, monkeypatch):
    manifest, _, read = checked(project)
    encoder = load_encoder("tiny", "text", TINY)
    monkeypatch.setattr(extract, "load_encoder", lambda *_: SpoiledBy("a dog", encoder))
    with pytest.raises(UserError, match=r"tiny-text.* not finite for 1 of 3 text media \(first: 'a dog'\)"):
        extract_features(manifest, read, TINY, tmp_path, CAPS, ("text",), progress=False)
    assert list(tmp_path.rglob("*.npy")) == []


class SpoiledBy:
    """An encoder whose row of one text is NaN."""

    def __init__(self, text, encoder):
        self.text, self.encoder, self.fingerprint = text, encoder, encoder.fingerprint

    def encode(self, items):
        texts = list(items)
        rows = self.encoder.encode(texts)
        rows[[text == self.text for text in texts]] = np.nan
        return rows


def test_importing_the_room_loads_neither_torch_nor_a_media_library():
    import subprocess
    import sys

    heavy = ("torch", "transformers", "torchvision", "torchaudio", "timm", "av", "soundfile", "ctranslate2")
    code = f"import sys, rlmba_pipelines.encoders; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
