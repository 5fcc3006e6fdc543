"""A manifest is read as it is meant, or refused in a sentence that names the row."""

from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import read_manifest


def written(tmp_path, text, name="m.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_everything_is_text_and_missing_columns_get_their_defaults(tmp_path):
    text = 'sample_id,text,image,label,meta_style\n010,"a, b",,NA,flat\n007,,x.png,1,\n'
    table = read_manifest(written(tmp_path, text))
    assert table.to_dict("list") == {
        "sample_id": ["007", "010"],
        "image": ["x.png", ""],
        "text": ["", "a, b"],
        "label": ["1", "NA"],
        "split": ["", ""],
        "group": ["007", "010"],
        "cost": [1.0, 1.0],
        "row": [3, 2],
        "meta_style": ["", "flat"],
    }
    assert table.attrs["name"] == "m.csv"


def test_csv_json_lines_and_parquet_say_the_same(tmp_path):
    csv = written(tmp_path, "sample_id,text,label,cost,split,group\n1,hello,007,2.5,test,g\n2,x,,,,\n")
    lines = '{"sample_id": 1, "text": "hello", "label": "007", "cost": 2.5, "split": "test", "group": "g"}\n'
    jsonl = written(tmp_path, lines + '\n{"sample_id": "2", "text": "x", "label": null}\n', "m.jsonl")
    frame = pd.DataFrame({"sample_id": [1, 2], "text": ["hello", "x"], "label": ["007", None], "cost": [2.5, None],
                          "split": ["test", None], "group": ["g", ""]})
    frame.to_parquet(tmp_path / "m.parquet")
    tables = [read_manifest(p).drop(columns="row") for p in (csv, jsonl, tmp_path / "m.parquet")]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_a_byte_order_mark_windows_line_ends_and_line_breaks_in_cells_are_fine(tmp_path):
    data = b'\xef\xbb\xbfsample_id,text\r\na,"one\r\ntwo"\r\n\r\nb,x\r\n'
    table = read_manifest(written(tmp_path, data))
    assert list(table["text"]) == ["one\r\ntwo", "x"]
    assert list(table["row"]) == [2, 4]


def test_the_order_of_rows_and_columns_in_the_file_does_not_matter(tmp_path):
    one = read_manifest(written(tmp_path, "sample_id,text,image\nb,x,1.png\na,y,2.png\n"))
    two = read_manifest(written(tmp_path, "image,sample_id,text\n2.png,a,y\n1.png,b,x\n", "n.csv"))
    pd.testing.assert_frame_equal(one.drop(columns="row"), two.drop(columns="row"))


def test_only_the_modalities_that_are_asked_for_are_kept(tmp_path):
    path = written(tmp_path, "sample_id,text,image,audio\na,t,i.png,s.wav\n")
    assert list(read_manifest(path, modalities=("audio", "text")).columns[:3]) == ["sample_id", "text", "audio"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "id,image,caption,note\na,x,y,z\n",
            "m.csv: there is no sample_id column, a unique name for every sample, and a manifest has no columns called "
            "'id' (sample_id?), 'caption' (text?), 'note'; rename such a column to what it is, to meta_… to keep it as "
            "a note, or drop it.",
        ),
        ("sample_id,Image\na,x\n", "m.csv: a manifest has no columns called 'Image' (image?); rename"),
        ("sample_id,text,caption\na,x,y\n", "called 'caption'; rename"),
        (f"sample_id,text,{','.join('abcdefghij')}\n", "'g', 'h' and 2 more; rename"),
        ("text\nx\n", "there is no sample_id column"),
        ("sample_id,label\na,x\n", "there is no modality column; add at least one of image, text, audio, video"),
        ("sample_id,text,text\na,x,y\n", "the column 'text' occurs twice"),
        ("sample_id,text\na,x\nb,y\na,z\n", "row 4: the sample_id 'a' was already used in row 2"),
        ("sample_id,text\na,x\n ,y\n", "row 3: the sample_id is empty"),
        ("sample_id,text,image\na,x,\nb,, \n", "row 3: the sample 'b' has no image and no text"),
        ("sample_id,text,split\na,x,train\n", "row 2: the split 'train' is not one of pool, validation, test"),
        ("sample_id,text,cost\na,x,-1\n", "row 2: the cost '-1' is not a nonnegative number"),
        ("sample_id,text,cost\na,x,nan\n", "row 2: the cost 'nan' is not a nonnegative number"),
        ("sample_id,text\na,x\0y\n", "row 2: the cell 'text' holds a NUL byte"),
        ("sample_id,text\n", "the manifest has no rows"),
        ("", "there is no sample_id column"),
        ("sample_id,text\na,x,y\n", "row 2: the row has 3 cells and the header 2"),
        ('sample_id,text\na,"x\n', "row 2: this is not a row of CSV"),
        ("sample_id,text\na,x\nb,\xe9\n".encode("latin-1"), "row 3: the file is not UTF-8"),
    ],
)
def test_a_bad_csv_is_refused_with_the_row(tmp_path, text, sentence):
    with pytest.raises(UserError) as caught:
        read_manifest(written(tmp_path, text))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("m.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"sample_id": "a", "text": "x"}\n{"sample_id": "b"', "row 2: this line is not JSON"),
        ('{"sample_id": "a", "text": ["x"]}', "row 1: 'text' holds a list"),
        ('{"sample_id": "a", "text": {"x": 1}}', "row 1: 'text' holds a list or an object"),
        ('["a"]', "row 1: this line is not a JSON object"),
        ('{"sample_id": "a", "text": "x", "text": "y"}', "row 1: the name 'text' occurs twice"),
        ('{"sample_id": "a", "text": "x\\u0000"}', "row 1: the cell 'text' holds a NUL byte"),
        ('{"sample_id": "a", "text": "x\\ud83d"}', "row 1: a \\u escape is half a character"),
        ('{"sample_id": "a", "meta_\\udead": "x"}', "row 1: a \\u escape is half a character"),
        ("\n", "the manifest has no rows"),
    ],
)
def test_bad_json_lines_are_refused_with_the_row(tmp_path, text, sentence):
    with pytest.raises(UserError, match=r"m\.jsonl") as caught:
        read_manifest(written(tmp_path, text, "m.jsonl"))
    assert sentence in str(caught.value)


def test_files_that_are_no_manifests_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"a manifest is a \.csv, .jsonl or .parquet file"):
        read_manifest(written(tmp_path, "x", "m.xlsx"))
    with pytest.raises(UserError, match="not a Parquet file"):
        read_manifest(written(tmp_path, "x", "m.parquet"))
    with pytest.raises(UserError, match="'video' was asked for, but the manifest has only text"):
        read_manifest(written(tmp_path, "sample_id,text\na,x\n"), modalities=("video",))


def test_a_parquet_list_column_is_refused(tmp_path):
    pd.DataFrame({"sample_id": ["a"], "text": [["x", "y"]]}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(UserError, match="the column 'text' holds list"):
        read_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"sample_id": ["a"], "text": [b"x"]}, "the column 'text' holds binary values"),
        ({"sample_id": ["a"], "text": ["x"], "meta_t": [timedelta(1)]}, "the column 'meta_t' holds duration"),
        ([("sample_id", ["a"]), ("text", ["x"]), ("text", ["y"])], "the column 'text' occurs twice"),
    ],
)
def test_a_parquet_column_that_is_no_text_or_there_twice_is_refused(tmp_path, columns, sentence):
    pairs = columns.items() if isinstance(columns, dict) else columns
    names, cells = zip(*pairs, strict=True)
    pq.write_table(pa.table([pa.array(c) for c in cells], names=names), tmp_path / "m.parquet")
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path / "m.parquet")
    assert sentence in str(caught.value)


def test_a_long_cell_is_told_short(tmp_path):
    with pytest.raises(UserError) as caught:
        read_manifest(written(tmp_path, f"sample_id,text,split\na,x,{'y' * 1000}\n"))
    assert len(str(caught.value)) < 200
