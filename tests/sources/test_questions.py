"""Questions as JSON Lines: what becomes of a good row, and one sentence with its number for every bad one."""

import json

import pytest

from rlmba_pipelines.config import IngestConfig, MediaCaps
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import MediaRoot, check_media, questions
from rlmba_pipelines.sources.public import read_samples

FULL = {
    "id": "q1", "image": "a.png", "question": "Which  is\nit, a.txt", "choices": ["cat", "dog"], "answer": "dog",
    "answers": ["dog", "dog", "cat", "cat"], "chain": ["look", "think"], "regions": [[0, 0.25, 1, 0.75], None],
    "split": "pool", "group": "g", "cost": 2.5, "meta": {"kind": "animal", "size": 3},
}  # fmt: skip


def written(tmp_path, *records):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records))
    return path


def test_a_full_row_is_kept_whole(tmp_path):
    table = questions.read(written(tmp_path, FULL, {"id": "q2", "image": "a.png", "question": "?"}))
    assert table.iloc[0].to_dict() == {
        "sample_id": "q1", "image": "a.png", "text": "Which is it, a.txt (A) cat (B) dog.", "label": "B",
        "split": "pool", "group": "g", "cost": "2.5",
        "meta_choices": '["cat", "dog"]', "meta_answers": '["dog", "dog", "cat", "cat"]',
        "explanation": '{"chain": ["look", "think"], "regions": [[0, 0.25, 1, 0.75], null]}',
        "meta_kind": "animal", "meta_size": "3",
    }  # fmt: skip
    assert set(table.iloc[1].drop(["sample_id", "image", "text"])) == {""}


def test_without_an_answer_the_most_frequent_one_of_several_counts_and_of_a_tie_the_first_by_alphabet(tmp_path):
    said = [["b", "a", "b"], ["b", "a"], ["c"]]
    records = [{"id": str(i), "image": "a", "question": "?", "answers": one} for i, one in enumerate(said)]
    records.append({**records[0], "id": "3", "choices": ["c", "a", "d"]})  # of those that are choices
    assert questions.read(written(tmp_path, *records))["label"].tolist() == ["b", "a", "c", "B"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("{", "this line is not JSON"),
        ("[" * 100_000, "this line is not JSON"),
        ("[1]", "this line is not a JSON object"),
        ({"chain": ["\ud83d", "think"]}, r"a \\u escape is half a character"),
        ({"image": None}, "the image is missing; name its file"),
        ({"image": "  "}, "the image is missing"),
        ({"id": ""}, "the id is missing; give every question a name of its own"),
        ({"id": 7}, "id is not text; write it in quotes"),
        ({"question": " \n"}, "the question of 'q2' is empty"),
        ({"question": None}, "the question of 'q2' is empty"),
        ({"answer": "cow"}, "the answer 'cow' is not among the choices 'cat', 'dog'"),
        ({"answer": None, "answers": ["cow", "cow"]}, "none of the answers is among the choices 'cat', 'dog'"),
        ({"meta": {"choices": ["cat"]}}, "choices stands in meta; write it beside the question"),
        ({"choices": [*"abcdefghijklmnopqrstuvwxyz", "dog"]}, "there are 27 choices, and 26 letters to name them"),
        ({"choices": "cat"}, "choices is not a list of texts"),
        ({"answers": [1]}, "answers is not a list of texts"),
        ({"colour": "red"}, "'colour' is not known; known are id, image, .* Put it into meta"),
        ({"regions": [None] * 3}, "regions is not a list with at most one entry for each step of the chain"),
        ({"chain": []}, "regions is not a list with at most one entry"),
        ({"regions": [[0, 0, 1]]}, "a region is not \\[x, y, width, height\\]"),
        ({"regions": [[0, 0, True, 1]]}, "a region is not"),
        ({"regions": [["0", 0, 1, 1]]}, "a region is not"),
        ({"regions": [[0.5, 0, 0.6, 1]]}, "the region \\[0.5, 0, 0.6, 1\\] leaves the image"),
        ({"regions": [[-0.1, 0, 0.5, 1]]}, "leaves the image"),
        ({"regions": [[0, 0, 0, 1]]}, "leaves the image"),
        ({"regions": [[0, 0, 12, 30]]}, "leaves the image; x, y, width and height are shares"),
        ({"regions": [[0, 0, float("nan"), 1]]}, "leaves the image"),
        ({"meta": ["note"]}, "meta is not an object"),
        ({"id": "q1"}, "the id 'q1' was already used in row 1; make the ids unique"),
    ],
)  # fmt: skip
def test_a_bad_row_is_told_in_one_sentence_with_its_number(tmp_path, change, complaint):
    second = change if isinstance(change, str) else FULL | {"id": "q2"} | change
    path = written(tmp_path, FULL, "", second)  # a blank line counts
    with pytest.raises(UserError, match=f"^questions.jsonl, row 3: .*{complaint}") as caught:
        questions.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"split": "train"}, "row 1: the split 'train' is not one of pool, validation, test"),
        ({"cost": -1}, "row 1: the cost '-1' is not a nonnegative number"),
    ],
)
def test_what_every_manifest_obeys_questions_obey_too(tmp_path, row, complaint):
    with pytest.raises(UserError, match=complaint):
        read_samples(written(tmp_path, FULL | row), IngestConfig(source="questions"))


def test_no_file_a_folder_an_empty_file_and_another_encoding_are_told_as_such(tmp_path):
    with pytest.raises(UserError, match=r"none.jsonl: there is no such file; give your questions as JSON Lines"):
        questions.read(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"this is a folder; name the JSON Lines file"):
        questions.read(tmp_path)
    with pytest.raises(UserError, match=r"questions.jsonl: there is no question in it"):
        questions.read(written(tmp_path, "", " "))
    (tmp_path / "latin.jsonl").write_bytes(b'{}\n{"id": "\xe9"}\n')
    with pytest.raises(UserError, match=r"latin.jsonl, row 2: the file is not UTF-8 text"):
        questions.read(tmp_path / "latin.jsonl")


def test_questions_without_splits_are_divided_later_and_none_is_lost_for_want_of_an_answer(tmp_path):
    asked = [{"id": str(i), "image": "a.png", "question": "?"} for i in range(50)]
    table = read_samples(written(tmp_path, *asked), IngestConfig(source="questions", validation_share=0.5))
    assert set(table["split"]) == {""}


def test_a_reference_that_leaves_the_folder_is_fatal(tmp_path):
    table = read_samples(written(tmp_path, FULL | {"image": "../a.png"}), IngestConfig(source="questions"))
    with pytest.raises(UserError, match=r"row 1: The reference '../a.png' climbs out"):
        check_media(table, MediaRoot(tmp_path), {"image": bytes, "text": bytes}, caps=MediaCaps(), max_bad_share=1)
