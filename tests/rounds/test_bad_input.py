"""Every mistake a user can make: one sentence with what, where and what to do, exit code 2, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import Project

Edit = Callable[[pd.DataFrame, Path], pd.DataFrame | None]


def _without(column: str) -> Edit:
    return lambda table, _folder: table.drop(columns=column)


def _with(**columns: str) -> Edit:
    return lambda table, _folder: table.assign(**columns)


def _cell(row: int, column: str, value: str) -> Edit:
    def edit(table: pd.DataFrame, _folder: Path) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return edit


def _cut_short(table: pd.DataFrame, folder: Path) -> None:
    path = folder / table.loc[3, "image"]
    path.write_bytes(path.read_bytes()[:200])


def _not_an_image(table: pd.DataFrame, folder: Path) -> None:
    (folder / table.loc[3, "image"]).write_bytes(b"hello")


CASES: dict[str, tuple[Edit, tuple[str, ...], tuple[str, ...]]] = {
    "missing column": (_without("sample_id"), (), ("manifest.csv", "sample_id")),
    "no modality": (lambda t, _: t.drop(columns=["image", "text"]), (), ("manifest.csv", "image, text, audio, video")),
    "duplicate id": (_cell(5, "sample_id", "s0000"), (), ("manifest.csv", "s0000", "2", "7")),
    "unknown modality": (_with(smell="roses"), (), ("manifest.csv", "smell", "meta_…")),
    "truncated file": (_cut_short, (), ("manifest.csv", "row 5", "3.png", "--max-bad-media")),
    "unreadable file": (_not_an_image, (), ("manifest.csv", "row 5", "3.png", "--max-bad-media")),
    "missing file": (_cell(3, "image", "gone.png"), (), ("manifest.csv", "row 5", "gone.png")),
    "path outside the media root": (
        _cell(3, "image", "../../secret.png"),
        (),
        ("manifest.csv", "row 5", "../../secret.png"),
    ),
    "absolute path": (_cell(3, "image", "/etc/passwd"), (), ("manifest.csv", "row 5", "/etc/passwd")),
    "bad split": (_cell(3, "split", "train"), (), ("manifest.csv", "row 5", "train")),
    "query size over the pool": (_with(), ("--query-size", "37"), ("query_size", "37", "36")),
    "start size over the pool": (_with(), ("--start-size", "500"), ("start_size", "500", "36")),
    "unknown strategy": (_with(), ("--strategy", "margn"), ("margn", "margin")),
    "no CUDA": (_with(), ("--device", "cuda"), ("CUDA", "--device")),
    "unlabeled pool sample under an oracle": (
        _cell(3, "label", ""),
        ("--annotator", "simulated"),
        ("1 of 36", "label"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_told_in_one_sentence_and_leaves_nothing(
    project: Project, media: Callable[..., Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    edit, options, words = CASES[name]
    manifest = media(60)
    table = pd.read_csv(manifest, dtype=str)
    edited = edit(table, manifest.parent)
    (table if edited is None else edited).to_csv(manifest, index=False)
    sentence = project.refused("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *options)
    for word in words:
        assert word in sentence
    left = {p.name for p in (project.path / "data").rglob("*") if p.is_file() and not p.name.startswith("checked-")}
    # each of these is whole, and no commit is among them
    assert left <= {"LOCK", "request.json", "lineage.jsonl", "quarantine.csv"}


def test_a_manifest_that_is_not_there_is_named(project: Project) -> None:
    assert "nowhere.csv" in project.refused("rounds", "run", "--manifest", "nowhere.csv", "--experiment", "a")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("rounds.query_sise=3", ("rounds.query_sise", "query_size", "parameters_rounds.yml")),
        ("fusion.dropout=2", ("fusion.dropout", "2", "less than", "parameters_train_fusion.yml")),
        ("rounds.seed=-1", ("rounds.seed", "-1")),
        ("rounds.strategy=magrin", ("magrin", "margin")),
        ("nonsense=1", ("nonsense",)),
    ],
)
def test_a_wrong_parameter_is_named_with_its_file_before_any_node_runs(
    project: Project, params: str, words: tuple[str, ...]
) -> None:
    for command in (("run",), ("rounds", "run")):
        sentence = project.refused(*command, "--params", params)
        for word in words:
            assert word in sentence


def test_an_unknown_option_of_a_strategy_is_refused_by_name(project: Project) -> None:
    (project.path / "conf/local/parameters_rounds.yml").write_text(
        "rounds: {strategy: margin, strategy_options: {depth: 3}}"
    )
    assert "depth" in project.refused("rounds", "run")


def test_too_many_bad_media_can_be_put_up_with_and_are_listed(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(60)
    (manifest.parent / "3.png").write_bytes(b"hello")
    project.ok(
        "rounds", "run", "--manifest", str(manifest), "--experiment", "a", "--max-bad-media", "2%", "--rounds", "1"
    )
    quarantine = pd.read_csv(project.path / "data/02_intermediate/a/quarantine.csv")
    assert quarantine[["sample_id", "modality", "ref"]].values.tolist() == [["s0003", "image", "3.png"]]


def test_an_experiment_refuses_to_go_on_with_other_parameters(project: Project, media: Callable[..., Path]) -> None:
    manifest = str(media(60))
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "a", "--rounds", "1")
    sentence = project.refused("rounds", "run", "--manifest", manifest, "--experiment", "a", "--strategy", "margin")
    assert "rounds.strategy" in sentence
    assert "--experiment" in sentence


@pytest.mark.parametrize("key", ["tracking.uri", "label_studio.url", "tracking.openlineage"])
def test_an_address_with_a_password_is_refused_before_anything_is_written_or_told(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    address = "http://user:hunter2@host"
    asked = f"--params={key}={f'[{address}]' if key.endswith('lineage') else address}"
    command = ("rounds", "run", asked, "--manifest", str(media(20)), "--experiment", "a")
    monkeypatch.setattr("sys.argv", ["kedro", *command])
    assert key in project.refused(*command)
    assert "hunter2" not in project(*command).output
    files = [path for path in (project.path / "data").rglob("*") if path.is_file()]
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
    assert not (project.path / "data/03_primary/a/request.json").exists()


def test_a_password_that_an_earlier_version_remembered_is_forgotten_by_the_next_run(
    project: Project, media: Callable[..., Path]
) -> None:
    run = ("rounds", "run", "--experiment", "a", "--rounds", "1")
    project.ok(*run, "--manifest", str(media(60)))
    request = project.path / "data/03_primary/a/request.json"
    asked = json.loads(request.read_text())
    asked["runtime_params"] |= {"label_studio": {"url": "http://ann:hunter2@host:80/a?token=hunter2"}}
    request.write_text(json.dumps(asked))
    assert "hunter2" not in project.ok(*run)
    assert json.loads(request.read_text())["runtime_params"]["label_studio"] == {"url": "http://host:80/a"}
