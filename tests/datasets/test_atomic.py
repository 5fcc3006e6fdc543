"""A file is whole or absent."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io.core import Version

from rlmba_pipelines.datasets import AtomicDataset, EvidenceDataset, FeaturesDataset, PredictionsDataset
from rlmba_pipelines.disk import replacing, sweep
from rlmba_pipelines.learning.types import Evidence, Features, Predictions

WRITER = """
import sys, pathlib
from rlmba_pipelines.disk import replacing, sweep
target = pathlib.Path(sys.argv[1])
while True:
    for letter in "ab":
        with replacing(target) as temporary:
            with temporary.open("w") as stream:
                for _ in range(2000):
                    stream.write(letter * 100)
        print(letter, flush=True)
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    for n in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(1 + n):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert target.read_text() in {"a" * 200_000, "b" * 200_000}


KILLED = """
import os, pathlib, sys
from rlmba_pipelines import disk
target, left = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        return os._exit(9) if left < 0 else function(*arguments, **options)
    return call
disk.os.replace, disk.shutil.rmtree = counted(os.replace), counted(disk.shutil.rmtree)
with disk.replacing(target) as temporary:
    temporary.mkdir()
    (temporary / "x").write_text("new")
"""


@pytest.mark.parametrize(("steps", "found"), [(0, "old"), (1, "old"), (2, "new")])
def test_of_a_folder_whose_writer_is_killed_one_version_is_whole(tmp_path: Path, steps: int, found: str) -> None:
    target = tmp_path / "folder.d"
    target.mkdir()
    (target / "x").write_text("old")

    def write(steps: int) -> int:
        return subprocess.run([sys.executable, "-c", KILLED, str(target), str(steps)]).returncode

    assert write(steps) == 9
    sweep(tmp_path)
    assert (target / "x").read_text() == found
    assert write(steps) == 9
    assert write(9) == 0  # what a kill has left is in nobody's way
    sweep(tmp_path)
    assert (target / "x").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_save_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("good")

    def fail_midway() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert target.read_text() == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_table_comes_back_as_it_went_with_its_version(tmp_path: Path) -> None:
    table = pd.DataFrame({"sample_id": ["007", "NA"], "x": [0.1 + 0.2, 1e-300]})
    dataset = AtomicDataset(
        filepath=str(tmp_path / "t.parquet"), dataset="pandas.ParquetDataset", version=Version(None, "v1")
    )
    assert not dataset.exists()
    dataset.save(table)
    pd.testing.assert_frame_equal(dataset.load(), table)
    assert dataset.written() == ("v1", tmp_path / "t.parquet" / "v1" / "t.parquet")


@pytest.mark.parametrize(
    ("kind", "preview"),
    [
        ("pandas.CSVDataset", "TablePreview"),
        ("pandas.ParquetDataset", "TablePreview"),
        ("json.JSONDataset", "JSONPreview"),
        ("matplotlib.MatplotlibDataset", "ImagePreview"),
    ],
)
def test_kedro_viz_finds_the_kind_of_preview_behind_the_wrapper(tmp_path: Path, kind: str, preview: str) -> None:
    dataset = AtomicDataset(filepath=str(tmp_path / "x"), dataset=kind)
    assert preview in str(inspect.signature(dataset.preview).return_annotation)


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = np.array(["a", "bb", "ccc"])
    present_NM = np.array([[True, False], [True, True], [False, True]])
    features = Features(
        ids,
        {"image": rng.random((3, 4), np.float32), "text": rng.random((3, 2), np.float32)},
        present_NM,
        {"image": "e"},
    )
    predictions = Predictions(
        ids,
        ("image", "text"),
        present_NM,
        rng.random((3, 5)),
        rng.random((3, 2, 5)),
        rng.random((3, 2, 5)),
        rng.random((3, 2, 0, 5)),
        rng.random((3, 6), np.float32),
        rng.random((3, 2, 6), np.float32),
    )
    evidence = Evidence(ids, ("image", "text"), present_NM, rng.random((3, 2, 5)), rng.random((3, 5)))
    for kind, data in ((FeaturesDataset, features), (PredictionsDataset, predictions), (EvidenceDataset, evidence)):
        dataset = kind(filepath=str(tmp_path / kind.__name__))
        dataset.save(data)
        dataset.save(data)  # and again over itself
        back = dataset.load()
        for name, value in vars(data).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(back, name), value)
                assert getattr(back, name).dtype == value.dtype
    loaded = FeaturesDataset(filepath=str(tmp_path / "FeaturesDataset")).load()
    assert isinstance(loaded.blocks["image"].base, np.memmap)
