"""Published data sets of visual questions become one manifest: chain, regions, choices, answers, splits."""

import json

import numpy as np
import pandas as pd
import pytest
import question_trees as trees

from rlmba_pipelines.config import EncodersConfig, IngestConfig, MediaCaps
from rlmba_pipelines.encoders import decoders
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.explanations import fault_of_regions
from rlmba_pipelines.sources import MediaRoot, check_media
from rlmba_pipelines.sources.clevr import FOCAL, RADIUS, looked_at
from rlmba_pipelines.sources.public import READERS, read_samples
from rlmba_pipelines.sources.questions import region_around

NAMES = ("gqa", "clevr", "aokvqa", "scienceqa", "vqav2", "mathvista")
CAPS = MediaCaps()


def read(name, root):
    getattr(trees, name)(root)
    return READERS[name](root).set_index("sample_id")


def told(table, sample_id):
    why = json.loads(table.loc[sample_id, "explanation"])
    return why["chain"], why["regions"]


@pytest.mark.parametrize("name", NAMES)
def test_every_set_is_a_manifest_whose_pictures_can_all_be_read(tmp_path, name):
    getattr(trees, name)(tmp_path)
    table = read_samples(tmp_path, IngestConfig(source=name))
    assert (table[["image", "text", "label"]] != "").all(axis=None)
    assert table.groupby("group")["split"].nunique().max() == 1  # no picture lies in two splits
    readable, quarantine = check_media(
        table, MediaRoot(tmp_path), decoders(EncodersConfig(), CAPS), caps=CAPS, max_bad_share=0, progress=False
    )
    assert quarantine.empty
    assert len(readable) == len(table)


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("gqa", {"pool": 3, "validation": 3, "test": 3}), ("clevr", {"pool": 3, "test": 3}),
        ("aokvqa", {"pool": 3, "test": 3}), ("scienceqa", {"pool": 1, "validation": 1, "test": 1}),
        ("vqav2", {"pool": 3, "test": 3}), ("mathvista", {"": 40}),
    ],
)  # fmt: skip
def test_the_published_parts_are_the_splits(tmp_path, name, splits):
    assert read(name, tmp_path)["split"].value_counts().to_dict() == splits


def test_a_set_of_one_part_is_left_to_be_divided_like_a_manifest_without_splits(tmp_path):
    trees.mathvista(tmp_path)
    assert set(read_samples(tmp_path, IngestConfig(source="mathvista"))["split"]) == {""}


def test_gqa_walks_its_program_over_the_scene_graph(tmp_path):
    table = read("gqa", tmp_path)
    chain, regions = told(table, "00")
    assert chain == ["select water", "relate horse,near,s", "verify color brown", "select dog", "exist", "and"]
    horses = [0.1, 0.4, 0.9, 0.4]  # around both, the part beyond the right edge cut off
    assert regions == [[0.0, 0.0, 1.0, 0.5], horses, horses, None, None, None]
    assert told(table, "20") == (chain, [None] * 6)  # testdev has no scene graphs
    assert table.loc["01", ["image", "label", "group", "meta_kind"]].tolist() == [
        "images/n0.jpg", "yes", "n0", "logical",
    ]


def test_clevr_looks_at_what_its_program_finds(tmp_path):
    table = read("clevr", tmp_path)
    chain, regions = told(table, "CLEVR_train_000000")
    assert chain == ["scene", "filter_color red", "unique", "relate right", "count"]
    red, blue = [65 / 480, 125 / 320, 70 / 480, 70 / 320], [282.5 / 480, 142.5 / 320, 35 / 480, 35 / 320]
    assert FOCAL * RADIUS["large"] / 10.5 == 35  # pixels to each side
    assert regions[0] is None
    np.testing.assert_allclose(regions[1:], [red, red, blue, blue], atol=1e-4)
    assert table.loc["CLEVR_val_000002", ["image", "label", "meta_kind"]].tolist() == [
        "images/val/CLEVR_val_000000.png", "1", "count",
    ]


def test_every_function_of_clevr_looks_where_plain_comparison_does():
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = int(rng.integers(2, 8))
        things = [{"color": str(rng.choice(["red", "blue"])), "shape": str(rng.choice(["cube", "sphere"]))}
                  for _ in range(n)]
        x = rng.permutation(n)
        scene = {"objects": things, "relationships": {"left": [[j for j in range(n) if x[j] < x[i]] for i in range(n)]}}
        program = [
            trees.step("scene"), trees.step("filter_color", 0, values=["red"]),
            trees.step("filter_shape", 0, values=["cube"]), trees.step("union", 1, 2), trees.step("intersect", 1, 2),
            trees.step("same_color", 4), trees.step("relate", 4, values=["left"]), trees.step("query_shape", 4),
            trees.step("equal_integer", 1, 2),
        ]
        red = {i for i in range(n) if things[i]["color"] == "red"}
        cubes = {i for i in range(n) if things[i]["shape"] == "cube"}
        assert looked_at(program, scene) == [
            set(), red, cubes, red | cubes, red & cubes, red - cubes if red & cubes else set(),
            {j for i in red & cubes for j in range(n) if x[j] < x[i]}, red & cubes, red | cubes,
        ]


def test_a_region_around_boxes_holds_what_the_image_shows_of_them_and_is_always_one_that_is_taken():
    rng = np.random.default_rng(0)
    n_empty = 0
    for _ in range(3000):
        width, height = rng.integers(1, 800, size=2).tolist()
        corners = rng.uniform(-0.3, 1.3, size=(rng.integers(1, 4), 2)) * (width, height)
        sizes = rng.exponential(60, size=corners.shape)
        boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, sizes, strict=True)]
        region = region_around(boxes, width, height)
        shown = np.array([np.clip(box, 0, [width, height] * 2) / ([width, height] * 2) for box in boxes])
        around = np.concatenate([shown[:, :2].min(axis=0), shown[:, 2:].max(axis=0)])
        if region is None:
            n_empty += 1
            assert (around[2:] - around[:2]).min() <= 1e-4
        else:
            assert fault_of_regions([region], 1) is None
            np.testing.assert_allclose([*region[:2], region[0] + region[2], region[1] + region[3]], around, atol=6e-5)
    assert 0 < n_empty < 1500
    assert region_around([], 10, 10) is None


def test_aokvqa_has_a_rationale_choices_and_ten_answers(tmp_path):
    row = read("aokvqa", tmp_path).loc["val1"]
    assert json.loads(row["explanation"]) == {"chain": ["There are bags", "So a cab comes"], "regions": []}
    assert json.loads(row["meta_choices"]) == ["train", "bus", "cab"]
    assert json.loads(row["meta_answers"]) == ["cab"] * 7 + ["taxi"] * 3
    assert row[["image", "label"]].tolist() == ["val2017/000000299208.jpg", "C"]
    assert row["text"].endswith("? (A) train (B) bus (C) cab.")


def test_scienceqa_leaves_out_what_has_no_picture_and_explains_by_lecture_and_solution(tmp_path):
    table = read("scienceqa", tmp_path)
    assert table.index.tolist() == ["0", "1", "2"]
    assert told(table, "1")[0] == ["Matter has states", "A solid keeps its shape", "Ice keeps its shape"]
    assert table.loc["1", ["image", "text", "label"]].tolist() == [
        "images/val/1/image.png", "Look at it. Which is solid? (A) ice (B) steam.", "A",
    ]


def test_vqav2_joins_questions_and_answers_by_their_id(tmp_path):
    row = read("vqav2", tmp_path).loc["1002"]
    assert row[["image", "label", "group", "explanation"]].tolist() == [
        "val2014/COCO_val2014_000000000010.jpg", "red", "10", "",
    ]
    assert json.loads(row["meta_answers"]) == ["red"] * 8 + ["pink"] * 2


def test_mathvista_keeps_what_its_scoring_needs(tmp_path):
    table = read("mathvista", tmp_path)
    notes = ["label", "meta_choices", "meta_answer_type", "meta_precision"]
    assert table.loc["1", notes].tolist() == ["1.2", "", "float", "1"]
    assert table.loc["2", notes].tolist() == ["B", '["5 cm", "7 cm"]', "text", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_the_set_says_what_was_looked_for(tmp_path, name):
    with pytest.raises(UserError, match=r"holds no layout of [\w -]+ that is known; looked for \S+\.json") as caught:
        read_samples(tmp_path, IngestConfig(source=name))
    assert "\n" not in str(caught.value)


def test_one_environment_reads_them_all(project, tmp_path):
    trees.put(tmp_path / "set/readme.md", "no data")
    assert f"{tmp_path}/set holds no layout of GQA that is known; looked for train_balanced_qu" in project.refused(
        "rounds", "run", "--env", "vqa", "--manifest", str(tmp_path / "set"), "--params", "ingest.source=gqa"
    )


def test_a_file_is_not_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"testmini.json is not a folder; name the folder of mathvista"):
        read_samples(tmp_path / "testmini.json", IngestConfig(source="mathvista"))


@pytest.mark.parametrize(
    ("name", "file", "damage", "sentence"),
    [
        ("gqa", "val_balanced_questions.json", lambda d: d["11"].pop("imageId"), "entry 2: it has no imageId, quest"),
        ("gqa", "train_balanced_questions.json", lambda d: d["00"]["semantic"][2].update(dependencies=[9]),
         "entry 1: it has no .* semantic"),
        ("gqa", "train_sceneGraphs.json", lambda d: d["n0"].pop("width"), "entry 1: it has no"),
        ("gqa", "train_sceneGraphs.json", lambda d: d["n0"].update(height=0), "entry 1: it has no"),
        ("gqa", "train_balanced_questions.json", lambda d: d["02"].update(question=" "), "row 3: the question of '02'"),
        ("clevr", "scenes/CLEVR_train_scenes.json", lambda d: d["scenes"].clear(), "with a scene of that name; fetch"),
        ("clevr", "questions/CLEVR_val_questions.json", lambda d: d["questions"][1].pop("program"), "entry 2: it has"),
        ("aokvqa", "aokvqa_v1p0_train.json", lambda d: d[2].update(correct_choice_idx=3), "entry 3: it has no"),
        ("aokvqa", "aokvqa_v1p0_train.json", lambda d: d[1].update(question_id="train0"), "was already used in row 1"),
        ("scienceqa", "problems.json", lambda d: d["1"].update(split="dessert"), "entry 2: it has no question, hint"),
        ("vqav2", "v2_mscoco_val2014_annotations.json", lambda d: d["annotations"].pop(0),
         "entry 3: it has no .*annotation in v2_mscoco_val2014_annotations.json"),
        ("mathvista", "testmini.json", lambda d: d["2"].update(answer="9 cm"), "row 2: the answer '9 cm' is not among"),
        ("mathvista", "testmini.json", lambda d: d["2"].update(precision="some"), "entry 2: it has no question, image"),
    ],
)  # fmt: skip
def test_a_damaged_entry_is_told_with_its_number(tmp_path, name, file, damage, sentence):
    getattr(trees, name)(tmp_path)
    found = json.loads((tmp_path / file).read_text())
    damage(found)
    trees.put_json(tmp_path / file, found)
    with pytest.raises(UserError, match=sentence) as caught:
        READERS[name](tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [("gqa", "train_sceneGraphs.json"), ("clevr", "scenes/CLEVR_val_scenes.json"), ("aokvqa", "aokvqa_v1p0_val.json"),
     ("scienceqa", "problems.json"), ("vqav2", "v2_mscoco_val2014_annotations.json"), ("mathvista", "testmini.json")],
)  # fmt: skip
def test_a_file_cut_short_is_no_json(tmp_path, name, file):
    getattr(trees, name)(tmp_path)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=f"{file}: this is not JSON with "):
        READERS[name](tmp_path)


def test_a_missing_and_a_cut_picture_are_set_aside_and_too_many_of_them_stop_the_run(tmp_path):
    trees.mathvista(tmp_path)
    (tmp_path / "images/3.jpg").unlink()
    cut = (tmp_path / "images/4.jpg").read_bytes()[:-40]
    (tmp_path / "images/4.jpg").write_bytes(cut)
    table = read_samples(tmp_path, IngestConfig(source="mathvista"))

    def checked(share):
        return check_media(
            table, MediaRoot(tmp_path), decoders(EncodersConfig(), CAPS), caps=CAPS, max_bad_share=share, progress=False
        )

    with pytest.raises(UserError, match=r"row 3: the file images/3.jpg is missing in .*. 2 of 40 samples"):
        checked(0.04)
    _, quarantine = checked(0.05)
    by_id = quarantine.set_index("sample_id")
    assert by_id["modality"].to_dict() == {"3": "image", "4": "image"}
    assert by_id.loc["3", "reason"] == "is missing"
    assert "cut short" in by_id.loc["4", "reason"]
    pd.testing.assert_series_equal(by_id["ref"], pd.Series({"3": "images/3.jpg", "4": "images/4.jpg"}, name="ref"),
                                   check_names=False)
