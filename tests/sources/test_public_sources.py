"""Public data sets as they lie on disk become manifests, obey their rules, and make runs by one command."""

import re
from functools import partial

import numpy as np
import pandas as pd
import public_trees as trees
import pytest

from conftest import ROOT
from rlmba_pipelines.config import EncodersConfig, IngestConfig, MediaCaps
from rlmba_pipelines.config_loader import RememberingConfigLoader
from rlmba_pipelines.encoders import MediaDecodeError, decode_audio, decode_video, decoders, find_encoder
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.parameters import checked, merged
from rlmba_pipelines.settings import CONFIG_LOADER_ARGS
from rlmba_pipelines.sources import MediaError, MediaRoot, check_media
from rlmba_pipelines.sources.public import READERS, read_samples

CAPS = MediaCaps()
COLUMNS = {"food101": ["image", "text"], "kinetics_sounds": ["audio", "video"], "vggsound": ["audio", "video"]}
LAYOUTS = {
    "food101 titles": ("food101", trees.food101_titles),
    "food101 split": ("food101", trees.food101_split),
    "food101 tokens": ("food101", trees.food101_tokens),
    "kinetics_sounds frames": ("kinetics_sounds", trees.kinetics_sounds),
    "kinetics_sounds files": ("kinetics_sounds", partial(trees.kinetics_sounds, as_files=True)),
    "vggsound mp4": ("vggsound", trees.vggsound),
    "vggsound frames": ("vggsound", partial(trees.vggsound, form="frames")),
}


def checked_media(root, table, share=0.0):
    return check_media(
        table, MediaRoot(root), decoders(EncodersConfig(), CAPS), caps=CAPS, max_bad_share=share, progress=False
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_a_manifest_whose_media_can_all_be_read(tmp_path, layout):
    name, build = LAYOUTS[layout]
    build(tmp_path)
    found = READERS[name](tmp_path)
    assert list(found) == ["sample_id", *COLUMNS[name], "label", "split", "group"]
    assert set(found["split"]) == {"pool", "test"}
    readable, quarantine = checked_media(tmp_path, read_samples(tmp_path, IngestConfig(source=name)))
    assert quarantine.empty
    assert sorted(readable["sample_id"]) == sorted(found["sample_id"])
    assert (readable[COLUMNS[name]] != "").all(axis=None)


def test_the_three_layouts_of_food101_hold_the_same_samples(tmp_path):
    tables = {}
    for layout in ("titles", "split", "tokens"):
        LAYOUTS[f"food101 {layout}"][1](tmp_path / layout)
        tables[layout] = READERS["food101"](tmp_path / layout).sort_values("sample_id", ignore_index=True)
    same = ["sample_id", "image", "label", "split", "group"]
    pd.testing.assert_frame_equal(tables["titles"], tables["split"])
    pd.testing.assert_frame_equal(tables["titles"][same], tables["tokens"][same])
    titles = tables["titles"].set_index("sample_id")
    assert len(titles) == 29
    assert trees.NO_TEXT not in titles.index
    assert titles.loc["pho_9"].tolist() == ["images/test/pho/pho_9.jpg", 'Pho, "the best", recipe 9', "pho", "test", ""]
    tokens = tables["tokens"].set_index("sample_id")
    assert tokens.loc["pho_9", "text"] == 'pho, "the best", recipe 9'


def test_a_validation_part_that_is_published_is_kept(tmp_path):
    trees.food101_split(tmp_path, validation=("pho_0", "sushi_3"))
    table = read_samples(tmp_path, IngestConfig(source="food101", validation_share=0.5)).set_index("sample_id")
    assert table.index[table["split"] == "validation"].tolist() == ["pho_0", "sushi_3"]
    assert table.loc["pho_0", "image"] == "images/train/pho/pho_0.jpg"


def test_validation_is_drawn_from_training_alone_and_whole_groups_at_once(tmp_path):
    root = tmp_path / "ks"
    for number in range(400):
        for second in (0, 10):
            trees.put(root / f"train/audio/laughing/id{number:09d}_{second:06d}_{second + 10:06d}.wav", b"x")
    for number in range(400, 450):
        trees.put(root / f"test/audio/laughing/id{number:09d}_000000_000010.wav", b"x")
    ingest = IngestConfig(source="kinetics_sounds", validation_share=0.2)
    table = read_samples(root, ingest)
    parts = table.groupby("group")["split"].unique()
    assert (parts.map(len) == 1).all()
    counts = table["split"].value_counts()
    assert counts["test"] == 50
    assert counts["validation"] == pytest.approx(160, abs=50)  # four standard deviations of pairs
    trees.put(root / "train/audio/laughing/zz000000000_000000_000010.wav", b"x")
    again = read_samples(root, ingest).set_index("sample_id")["split"]
    assert again.reindex(table["sample_id"]).tolist() == table["split"].tolist()
    other = read_samples(root, ingest.model_copy(update={"split_seed": 1})).set_index("sample_id")["split"]
    assert other.reindex(table["sample_id"]).tolist() != table["split"].tolist()


def test_a_title_that_looks_like_a_file_stays_a_title(tmp_path):
    trees.put_rows(tmp_path / "texts/train_titles.csv", [("pho_0.jpg", "  Pho\n menu.TXT ", "pho")])
    trees.put_rows(tmp_path / "texts/test_titles.csv", [("pho_1.jpg", "Pho", "pho")])
    assert READERS["food101"](tmp_path)["text"].tolist() == ["Pho menu.TXT.", "Pho"]


def test_vggsound_keeps_commas_in_labels_and_takes_the_sound_of_its_videos(tmp_path):
    trees.vggsound(tmp_path, n=3)
    table = READERS["vggsound"](tmp_path)
    assert table["label"].tolist() == list(trees.CLIPS)
    assert table["video"].tolist() == table["audio"].tolist() == [
        f"video/-_{number:09d}_{10 * number:06d}.mp4" for number in range(3)
    ]
    assert table["group"].tolist() == [f"-_{number:09d}" for number in range(3)]
    sound = decode_audio((tmp_path / table["audio"][1]).read_bytes(), CAPS)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.fft.rfftfreq(len(sound), 1 / trees.RATE)[spectrum.argmax()] == pytest.approx(700, abs=10)


def test_vggsound_of_sound_alone_has_no_video_column(tmp_path):
    trees.vggsound(tmp_path, n=4, form="wav")
    (tmp_path / "audio/-_000000002_000020.wav").unlink()
    table = READERS["vggsound"](tmp_path)
    assert "video" not in table
    assert table["audio"][2] == "-_000000002_000020.wav"


@pytest.mark.parametrize("name", ["id_00000001_000030", "id_00000001_30", "id_00000001_000030_000040",
                                  "id_00000001_30_40", "id_00000001"])
def test_clips_of_vggsound_are_found_by_every_name_in_use(tmp_path, name):
    trees.put_rows(tmp_path / "vggsound.csv", [("id_00000001", 30, "raining", "train")])
    trees.put(tmp_path / f"deep/er/{name}.webm", b"x")
    trees.put(tmp_path / "deep/er/id_00000001_000031.webm", b"x")
    assert READERS["vggsound"](tmp_path)["video"].tolist() == [f"deep/er/{name}.webm"]


def test_what_is_missing_is_set_aside_by_the_rules_of_manifests(tmp_path):
    trees.vggsound(tmp_path / "v", n=10)
    (tmp_path / "v/video/-_000000003_000030.mp4").unlink()
    table = read_samples(tmp_path / "v", IngestConfig(source="vggsound"))
    with pytest.raises(UserError, match=r"^v, row 4: the file -_000000003_000030.mp4 is missing in .*/v. 1 of 10"):
        checked_media(tmp_path / "v", table, share=0.05)
    readable, quarantine = checked_media(tmp_path / "v", table, share=0.1)
    assert len(readable) == 9
    assert set(zip(quarantine["modality"], quarantine["reason"], quarantine["dropped"], strict=True)) == {
        ("audio", "is missing", True), ("video", "is missing", True),
    }
    trees.food101_titles(tmp_path / "f")
    (tmp_path / "f/images/train/pho/pho_0.jpg").unlink()
    table = read_samples(tmp_path / "f", IngestConfig(source="food101"))
    readable, quarantine = checked_media(tmp_path / "f", table, share=0.1)
    assert quarantine[["sample_id", "dropped"]].to_numpy().tolist() == [["pho_0", False]]
    assert readable.set_index("sample_id").loc["pho_0", ["image", "text"]].tolist() == ["", 'Pho, "the best", recipe 0']
    trees.kinetics_sounds(tmp_path / "k", n=10)
    (tmp_path / "k/train/audio/people marching/-_000000000_000000_000010.wav").unlink()
    clips = READERS["kinetics_sounds"](tmp_path / "k").set_index("sample_id")
    assert clips.loc["-_000000000_000000_000010", ["audio", "video"]].tolist() == [
        "", "train/video/people marching/-_000000000_000000_000010/",
    ]


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("food101", "Food-101 that is known; looked for train.json and test.json, or text.json, split.json and "
         "class_idx.json, or texts/train_titles.csv and texts/test_titles.csv."),
        ("kinetics_sounds", "Kinetics-Sounds that is known; looked for the folders train/video, train/audio,"),
        ("vggsound", "VGGSound that is known; looked for vggsound.csv and, below the same folder, <id>_<start>.mp4"),
    ],
)
def test_a_folder_without_a_known_layout_says_what_was_looked_for(project, tmp_path, name, looked_for):
    folder = tmp_path / "something"
    trees.put(folder / "readme.md", "no data")
    assert f"{folder} holds no layout of {looked_for}" in project.refused(
        "rounds", "run", "--env", name, "--manifest", str(folder)
    )


@pytest.mark.parametrize(
    ("name", "path", "content", "sentence"),
    [
        ("food101", "texts/train_titles.csv", 'a.jpg,"a pie",pie\nb.jpg,pie\n', "row 2: the row has 2 cells and not 3"),
        ("food101", "texts/train_titles.csv", 'a.jpg,"a pie\n', "row 1: this is not a row of CSV"),
        ("food101", "texts/train_titles.csv", b"a.jpg,\xff,pie\n", "is not UTF-8 text"),
        ("food101", "texts/train_titles.csv", "a.jpg,a pie,pie\n", r"test_titles.csv: the file cannot be read"),
        ("food101", "train.json", "[", "not JSON with a list"),
        ("food101", "train.json", '[{"label": "pho", "img_path": "images/a.jpg"}]', "entry 1: it has no img_path"),
        ("food101", "train.json", '[{"label": "p", "img_path": 3, "text_tokens": ["a"]}]', "entry 1: it has no img_p"),
        ("food101", "split.json", '{"train": ["pho_1.jpg"], "test": []}', "the class of 'pho_1.jpg' is not in"),
        ("food101", "split.json", '{"dessert": []}', "'dessert' is not a list named train, val or test"),
        ("vggsound", "vggsound.csv", "abc,30,raining,train,x\n", "row 1: the row has 5 cells and not 4"),
        ("vggsound", "vggsound.csv", "abc,thirty,raining,train\n", "row 1: not a YouTube id, a second"),
        ("vggsound", "vggsound.csv", "abc,30,raining,pool\n", "row 1: not a YouTube id, a second"),
    ],
)
def test_a_damaged_list_is_told_with_its_row(tmp_path, name, path, content, sentence):
    if path == "train.json":
        trees.put(tmp_path / "test.json", "[]")
    if path == "split.json":
        trees.put(tmp_path / "text.json", '{"pho_1.jpg": ["Pho"]}')
        trees.put(tmp_path / "class_idx.json", '{"sushi": 0}')
    trees.put(tmp_path / "x.mp4", b"x")
    trees.put(tmp_path / path, content)
    with pytest.raises(UserError, match=sentence):
        READERS[name](tmp_path)


def test_a_source_and_what_it_is_given_must_go_together(project, tmp_path):
    trees.food101_titles(tmp_path / "food")
    trees.put(tmp_path / "m.csv", "sample_id,text\na,b\n")
    assert "m.csv is not a folder; name the folder of vggsound with --manifest." in project.refused(
        "rounds", "run", "--env", "vggsound", "--manifest", str(tmp_path / "m.csv")
    )
    assert "read it as a public data set: --env food101, kinetics_sounds or vggsound." in project.refused(
        "rounds", "run", "--manifest", str(tmp_path / "food")
    )


def test_a_folder_of_frames_is_a_video_in_the_order_of_its_numbers(tmp_path):
    for number in range(12):
        file = tmp_path / f"clip/frame_{number}.png"
        trees.put(file, b"")
        trees.Image.new("RGB", (8, 6), (20 * number,) * 3).save(file)
    (tmp_path / "clip/notes.txt").write_text("no frame")
    data = MediaRoot(tmp_path).read("clip/", CAPS.max_bytes)
    frames, sound = decode_video(data, CAPS, 6)
    assert sound is None
    assert [frame.getpixel((0, 0))[0] for frame in frames] == [20, 60, 100, 140, 180, 220]
    assert MediaRoot(tmp_path).read("clip/", CAPS.max_bytes) == data
    (tmp_path / "copy").mkdir()
    for file in sorted((tmp_path / "clip").iterdir(), reverse=True):
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    assert MediaRoot(tmp_path).read("copy/", CAPS.max_bytes) == data
    trees.Image.new("RGB", (8, 6), (1, 0, 0)).save(tmp_path / "copy/frame_0.png")
    assert MediaRoot(tmp_path).read("copy/", CAPS.max_bytes) != data
    assert [path.name for path in MediaRoot(tmp_path).files("clip/")] == [f"frame_{number}.png" for number in range(12)]


def test_a_folder_of_frames_obeys_the_rules_of_files(tmp_path):
    root = tmp_path / "root"
    rng = np.random.default_rng(0)
    trees.put_frames(root / "clip", 0, rng, n=3)
    size = sum(file.stat().st_size for file in (root / "clip").iterdir())
    assert len(MediaRoot(root).read("clip/", size)) > size
    (root / "empty").mkdir()
    for ref, limit, reason in (
        ("clip/", size - 1, f"more than the {size - 1:,} allowed"), ("none/", size, "is missing"),
        ("empty/", size, "is a folder without pictures"), ("clip", size, "is not a file"),
    ):
        with pytest.raises(MediaError, match=reason):
            MediaRoot(root).read(ref, limit)
    cut = (root / "clip/frame_1.jpg").read_bytes()[:-20]
    (root / "clip/frame_1.jpg").write_bytes(cut)
    with pytest.raises(MediaDecodeError, match="is cut short"):
        decode_video(MediaRoot(root).read("clip/", size), CAPS, 1)
    trees.put(tmp_path / "secret.jpg", trees.jpg((0, 0, 0), rng))
    (root / "clip/frame_2.jpg").unlink()
    (root / "clip/frame_2.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(UserError, match="leaves the media root by a symbolic link"):
        MediaRoot(root).read("clip/", size)


@pytest.mark.parametrize("name", COLUMNS)
def test_an_environment_gives_the_published_protocol_by_one_command(name):
    loader = RememberingConfigLoader(conf_source=str(ROOT / "conf"), env=name, **CONFIG_LOADER_ARGS)
    parameters = checked(merged(dict(loader["parameters"]), {"encoders": {"device": "cpu"}}))
    size = 2000 if name == "vggsound" else 1000
    assert (parameters.rounds.start_size, parameters.rounds.query_size) == (size, size)
    assert (parameters.rounds.start_strategy, parameters.ingest.source) == ("random", name)
    assert parameters.fusion.epochs == (15 if name == "food101" else 45)
    assert (parameters.fusion.learning_rate, parameters.fusion.train_batch_size) == (0.001, 32)
    found = {
        modality: find_encoder(getattr(parameters.encoders, modality), modality, parameters.encoders).fingerprint
        for modality in COLUMNS[name] if modality != "text"  # BERT is on the hub
    }
    assert {modality: re.sub("-[0-9a-f]{8}-", " ", text) for modality, text in found.items()} == {
        "food101": {"image": "resnet101 px224-float32"},
        "kinetics_sounds": {"audio": "resnet18 stft-s5-float32", "video": "resnet18 px224-f5-float32"},
        "vggsound": {"audio": "resnet18 stft-s5-float32", "video": "r2plus1d_18 px112-f5-float32"},
    }[name]
    assert parameters.encoders.text == ("hub:google-bert/bert-base-uncased" if name == "food101" else "auto")


@pytest.mark.parametrize("layout", ["food101 split", "kinetics_sounds frames", "vggsound mp4"])
def test_two_rounds_of_a_public_data_set(project, tmp_path, layout):
    project.drawn = True
    name, build = LAYOUTS[layout]
    folder = tmp_path / "data set"
    build(folder, n=20 if name == "food101" else 60)
    (project.path / f"conf/{name}/parameters_feature_extraction.yml").write_text(
        "encoders: {image: tiny, text: tiny, audio: tiny, video: tiny, workers: 1}\n"
    )
    (project.path / f"conf/{name}/parameters_train_fusion.yml").write_text("fusion: {epochs: 4, min_steps: 20}\n")
    project.ok("rounds", "run", "--env", name, "--manifest", str(folder), "--experiment", "a", "--rounds", "2",
               "--start-size", "9", "--query-size", "6")
    picks = project.selections("a", 2)
    assert [len(batch) for batch in picks] == [9, 6, 6]
    samples = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet").set_index("sample_id")
    assert pd.read_csv(project.path / "data/02_intermediate/a/quarantine.csv").empty
    bought = {sample_id for batch in picks for sample_id in batch}
    assert set(samples.loc[sorted(bought), "split"]) == {"pool"}
    published = READERS[name](folder).set_index("sample_id")
    assert set(samples.index[samples["split"] == "test"]) == set(published.index[published["split"] == "test"])
    page = (project.path / "data/08_reporting/a/report.html").read_text()
    assert "data:image/jpeg;base64," in page  # a picture, or the poster of a video


def test_a_public_data_set_grows_and_shrinks_as_a_manifest_does(project, tmp_path):
    root = tmp_path / "ks"
    trees.kinetics_sounds(root, n=40)
    for block in ("feature_extraction", "train_fusion"):
        (project.path / f"conf/kinetics_sounds/parameters_{block}.yml").unlink()
    (project.path / "conf/kinetics_sounds/parameters_small.yml").write_text(
        "encoders: {video: tiny, audio: tiny, workers: 1}\nfusion: {epochs: 4, min_steps: 20}\n"
    )
    project.ok("rounds", "run", "--env", "kinetics_sounds", "--manifest", str(root), "--experiment", "a",
               "--rounds", "1", "--start-size", "9", "--query-size", "6")
    gone = project.selections("a", 1)[1][0]
    row = READERS["kinetics_sounds"](root).set_index("sample_id").loc[gone]
    assert "11 media deleted" in project.ok(
        "rounds", "withdraw", "--reason", "asked to", "--delete-media", "--experiment", "a", "--", gone
    )
    assert not (root / row["audio"]).exists()
    assert list((root / row["video"]).iterdir()) == []
    rng = np.random.default_rng(1)
    trees.put_frames(root / "train/video/playing bongo/zz000000000_000000_000010", 1, rng)
    assert re.search(r"\b1 new samples", project.ok("rounds", "append", str(root), "--experiment", "a"))
    samples = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet").set_index("sample_id")
    assert len(samples) == 40
    assert samples.loc["zz000000000_000000_000010", "audio"] == ""
