"""One seed selects the same samples whatever the order of rows, threads, workers, hash seed, locale and time zone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import SMALL, Project

# what may differ from machine to machine, several at a time: each alone would have to change a pick and another undo it
VARIANTS: dict[str, tuple[dict[str, dict[str, int]], dict[str, str]]] = {
    "as it is": ({}, {}),
    "two threads and two workers": (
        {"rounds": {"threads": 2}, "fusion": {"threads": 2}, "ingest": {"workers": 2}, "encoders": {"workers": 2}},
        {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    ),
    "shuffled rows, another hash seed, locale and time zone": (
        {}, {"PYTHONHASHSEED": "12345", "LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Pacific/Chatham"}
    ),
}


def _selected(tmp_path: Path, manifest: Path, variant: str) -> str:
    """sha256 of what each round of a process of its own chose, in the order of choice."""
    parameters, environment = VARIANTS[variant]
    folder = tmp_path / variant.replace(" ", "-").replace(",", "")
    folder.mkdir()
    project = Project(folder)
    path = folder / "conf/local/parameters.yml"
    settings = yaml.safe_load(path.read_text())
    for block, values in parameters.items():
        settings[block] = {**settings.get(block, {}), **values}
    path.write_text(yaml.safe_dump(settings))
    arguments = ["rounds", "run", "--manifest", str(manifest), "--experiment", "a", *SMALL]
    subprocess.run(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0", **environment},
        check=True,
        capture_output=True,
    )
    return hashlib.sha256(repr(project.selections("a", 2)).encode()).hexdigest()


def test_the_same_samples_are_selected_everywhere(
    tmp_path: Path, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    manifest = media(100)
    shuffled = manifest.with_name("shuffled.csv")
    pd.read_csv(manifest, dtype=str).sample(frac=1, random_state=1).to_csv(shuffled, index=False)
    found = {v: _selected(tmp_path, shuffled if v.startswith("shuffled rows") else manifest, v) for v in VARIANTS}
    assert found == dict.fromkeys(VARIANTS, found["as it is"])
