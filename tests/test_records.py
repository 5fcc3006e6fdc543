"""Tables of people come back as they were written, or are refused in a sentence that names the row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmba_pipelines.labeling import read_answers, sheet_of, texts_of
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import disarmed, read_records, rearmed
from rlmba_pipelines.sources import questions, read_manifest


@given(st.text(alphabet="'=+-@\t\r5a") | st.text())
def test_disarming_is_one_to_one_and_leaves_nothing_to_run(cell: str) -> None:
    safe = str(disarmed(cell))
    assert rearmed(safe) == cell
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("text", ["x" * 200_000, "one\rtwo", "\r", "one\r\ntwo\n", '"', "a;b\tc,d"])
def test_a_sheet_comes_back_whatever_its_texts_are(tmp_path: Path, text: str) -> None:
    batch = pd.DataFrame({"sample_id": ["'-5", "s1"], "rank": [1, 2], "text": [text, "plain"], "image": ["a.png", ""]})
    for name, said in zip(("sheet.csv", "sheet.jsonl"), texts_of(sheet_of(batch)), strict=True):
        path = tmp_path / name
        path.write_text(said, encoding="utf-8", newline="")
        assert read_answers(path).rows["sample_id"].tolist() == ["'-5", "s1"]
        records = [cells for _, cells in read_records(path.read_bytes(), path)[1]]
        assert rearmed(records[0]["text"]) == text


def _manifest(tmp_path: Path, text: str) -> pd.DataFrame:
    path = tmp_path / "m.csv"
    path.write_text(text)
    return read_manifest(path)


def test_empty_cells_that_a_program_leaves_away_at_the_end_of_a_row_are_empty(tmp_path: Path) -> None:
    rows = ("sample_id,text,label,image", "a,one,red,1.png", "b,two,red", "c,three", "", "d,four,,2.png", "e,five,red")
    table = _manifest(tmp_path, "\n".join(rows))
    assert table["label"].tolist() == ["red", "red", "", "", "red"]
    assert table["image"].tolist() == ["1.png", "", "", "2.png", ""]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("sample_id,text,label\na,one\ntwo,red\n", 2),  # a line break without quotes
        ("sample_id,text,label\na,one\n\nthree,red\n", 2),
        ("sample_id,text,label\na,one\ntwo\nthree,red\n", 2),
        ("sample_id,label,text\na,red,one\ntwo\n", 3),
        ("sample_id,text,label\na,one, two,red\n", 2),
    ],
)
def test_a_row_that_was_torn_or_has_too_many_cells_is_refused(tmp_path: Path, text: str, row: int) -> None:
    with pytest.raises(UserError, match=f"m.csv, row {row}: .* commas or line breaks into double quotes"):
        _manifest(tmp_path, text)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_whatever_separates_its_cells(tmp_path: Path, separator: str) -> None:
    table = pd.DataFrame({"sample_id": ["a", "b"], "text": ["x;y", "1,\t2"], "label": ["red", "blue"]})
    path = tmp_path / "m.csv"
    table.to_csv(path, index=False, sep=separator, encoding="utf-8-sig", quoting=1)
    assert read_manifest(path)[["sample_id", "text", "label"]].to_numpy().tolist() == table.to_numpy().tolist()
    assert read_answers(path).rows["label"].tolist() == ["red", "blue"]


def test_what_is_wrong_with_a_header_is_told_by_its_columns_whatever_separates_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no columns called 'id'"):
        _manifest(tmp_path, "id;text;label\na;one;red\n")
    with pytest.raises(UserError, match="semicolons or line breaks into double quotes"):
        _manifest(tmp_path, "sample_id;text\na;one;two\n")


def test_a_file_that_cannot_be_read_or_named_is_told_in_one_sentence(tmp_path: Path) -> None:
    unreadable = tmp_path / "m.jsonl"
    unreadable.symlink_to("/proc/self/mem")  # a file that nobody may read from its start, root neither
    for read in (read_answers, read_manifest, questions.read):
        with pytest.raises(UserError, match="the file cannot be read"):
            read(unreadable)
        with pytest.raises(UserError, match="there is no such file"):
            read(tmp_path / f"{'x' * 300}.jsonl")
