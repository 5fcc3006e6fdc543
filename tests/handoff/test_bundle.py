"""A bundle stands alone: whole or absent, the same predictions as the project, and one sentence for every mistake."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.testing import assert_allclose

from conftest import SMALL, Project, standing_project, write_media
from rlmba_pipelines.datasets import FeaturesDataset, ModelDataset, PredictionsDataset
from rlmba_pipelines.handoff import bundle as building
from rlmba_pipelines.handoff import environment
from rlmba_pipelines.handoff.facts import NAME
from rlmba_pipelines.handoff.model_of_mlflow import BundleModel
from rlmba_pipelines.handoff.parcel import MANIFEST, seal
from rlmba_pipelines.ledger import WITHDRAWN, Ledger
from rlmba_pipelines.ledger.snapshot import ledger_state
from rlmba_pipelines.models.export import Exported
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.predict import predict
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.parameters import asked_for

RUN = ("rounds", "run", "--experiment", "a", "--strategy", "random", *SMALL)


class Handed:
    """A project with two rounds and a closing measurement, and its bundle."""

    def __init__(self, project: Project, manifest: Path, bundle: Path) -> None:
        self.project, self.manifest, self.bundle = project, manifest, bundle
        self.experiment = Experiment.of(project.path, "a")

    def copy(self, folder: Path) -> Path:
        """A bundle that a test may harm."""
        return Path(shutil.copytree(self.bundle, folder))

    def expected(self, sample_ids: np.ndarray) -> np.ndarray:
        """What the project itself predicts with the closing model."""
        state = FusionState.unpack(ModelDataset(filepath=str(self.experiment.path_of("final", "model"))).load())
        features = FeaturesDataset(filepath=str(self.experiment.path_of("prepared", "features"))).load()
        fusion = asked_for(self.experiment).fusion
        return predict_fusion(state, features.take(sample_ids), fusion).probabilities_NC


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handed]:
    """Run and bundled once for all tests of this file."""
    folder = tmp_path_factory.mktemp("handed")
    with standing_project(folder) as project:
        manifest = write_media(folder / "media", 100, ("image", "text"))
        rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
        rows.loc[::7, "text"] = ""  # some samples lack a modality
        rows.to_csv(manifest, index=False)
        project.ok(*RUN, "--manifest", str(manifest))
        project.ok("rounds", "bundle", "--experiment", "a", "--to", str(folder / "bundle"))
        yield Handed(project, manifest, folder / "bundle")


def scored(*arguments: str) -> Result:
    return CliRunner().invoke(predict, [*arguments, "--workers", "1"])


def refused(*arguments: str) -> str:
    """The one sentence in which a call ends."""
    result = scored(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    return result.stderr


def media_only(handed: Handed, folder: Path, *columns: str, n: int = 12) -> Path:
    """Some rows of the manifest beside their media, without labels."""
    rows = pd.read_csv(handed.manifest, dtype=str, keep_default_na=False).head(n)
    shutil.copytree(handed.manifest.parent, folder, dirs_exist_ok=True)
    rows[["sample_id", *(columns or ("image", "text"))]].to_csv(folder / "new.csv", index=False)
    return folder / "new.csv"


def test_the_bundle_predicts_from_raw_media_what_the_project_predicts(handed: Handed, tmp_path: Path) -> None:
    result = scored("--bundle", str(handed.bundle), str(handed.manifest))
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(io.StringIO(result.stdout))
    found = table[[name for name in table if name.startswith("probability_")]].to_numpy()
    assert found.shape == (100, 4)
    assert_allclose(found, handed.expected(table["sample_id"].to_numpy(dtype=str)), atol=1e-5, rtol=0)
    assert_allclose(found.max(axis=1), table["probability"], atol=1e-9)
    truth = pd.read_csv(handed.manifest)
    test = table.merge(truth[truth["split"] == "test"], on="sample_id")
    metrics = json.loads((handed.bundle / "metrics.json").read_text())["final"]["test"]
    assert (test["label_x"] == test["label_y"]).mean() == metrics["accuracy"]


def test_it_scores_without_a_project_in_another_process_and_place(handed: Handed, tmp_path: Path) -> None:
    media_only(handed, tmp_path / "new")
    command = [sys.executable, "-m", "rlmba_pipelines.predict", "--bundle", str(handed.bundle), "new/new.csv"]
    made = subprocess.run([*command, "--workers", "1"], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert made.returncode == 0, made.stderr
    table = pd.read_csv(io.StringIO(made.stdout))
    found = table[[name for name in table if name.startswith("probability_")]].to_numpy()
    assert_allclose(found, handed.expected(table["sample_id"].to_numpy(dtype=str)), atol=1e-5, rtol=0)
    assert not list(tmp_path.glob("data"))


def test_a_manifest_without_one_of_the_modalities_is_scored_by_the_others(handed: Handed, tmp_path: Path) -> None:
    result = scored("--bundle", str(handed.bundle), str(media_only(handed, tmp_path, "image")))
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(io.StringIO(result.stdout))
    state = FusionState.unpack(ModelDataset(filepath=str(handed.bundle / "model.safetensors")).load())
    features = FeaturesDataset(filepath=str(handed.experiment.path_of("prepared", "features"))).load()
    taken = features.take(table["sample_id"].to_numpy(dtype=str))
    expected = predict_fusion(state, taken, asked_for(handed.experiment).fusion, only=["image"]).probabilities_NC
    assert_allclose(table[[f"probability_{name}" for name in state.classes]], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 33])
def test_both_graphs_take_rows_of_the_encoders_in_batches_of_any_size(handed: Handed, n: int) -> None:
    import onnxruntime

    encoded = FeaturesDataset(filepath=str(handed.experiment.path_of("prepared", "encoded"))).load()
    taken = encoded.take(encoded.sample_ids[-n:])
    present = torch.from_numpy(taken.present_NM)
    blocks = [torch.from_numpy(np.where(taken.present_NM[:, c, None], block, 7.0).astype(np.float32))
              for c, block in enumerate(taken.blocks.values())]
    by_torch = torch.export.load(handed.bundle / "model.pt2").module()(present, *blocks).detach().numpy()
    session = onnxruntime.InferenceSession(handed.bundle / "model.onnx")
    fed = {"present": taken.present_NM, **{m: b.numpy() for m, b in zip(taken.modalities, blocks, strict=True)}}
    by_onnx = session.run(["probabilities"], fed)[0]
    expected = handed.expected(taken.sample_ids)
    assert_allclose(by_torch, expected, atol=1e-5, rtol=0)
    assert_allclose(by_onnx, expected, atol=1e-5, rtol=0)


def test_an_older_round_predicts_what_it_predicted_then(handed: Handed, monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: Path) -> None:
    quickly(monkeypatch)
    one = tmp_path / "round one"
    told = handed.project.ok("rounds", "bundle", "--experiment", "a", "--round", "1", "--to", str(one))
    _, _, command = told.rpartition("rlmba_pipelines.predict ")
    assert shlex.split(command) == ["--bundle", os.path.relpath(one), "MANIFEST"]  # as a shell reads it
    result = scored("--bundle", str(one), str(handed.manifest))
    table = pd.read_csv(io.StringIO(result.stdout)).set_index("sample_id")
    then = PredictionsDataset(filepath=str(handed.experiment.path_of("round_01", "predictions"))).load()
    found = table.loc[then.sample_ids, [name for name in table if name.startswith("probability_")]]
    assert_allclose(found, then.probabilities_NC, atol=1e-5, rtol=0)
    selections = sorted(path.stem for path in (one / "selections").iterdir())
    assert selections == ["round_00", "round_01"]
    bought = pd.read_csv(one / "ledger.csv")
    assert set(bought["round"]) == {0, 1}  # and not what round 2 bought later


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow, and not in question, is left out."""
    monkeypatch.setattr(building, "export_model", lambda *_: Exported(b"-", b"-", {"pt2": 0.0, "onnx": 0.0}))
    monkeypatch.setattr(building, "write_sbom", lambda path: path.write_text("{}"))


@pytest.fixture
def own(handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project of the bundle for a test to change, in the working directory; it bundles quickly."""
    quickly(monkeypatch)
    monkeypatch.chdir((project := handed.project.copied_to(tmp_path / "project")).path)
    return project


def test_sha256sum_agrees_and_the_manifest_names_everything(handed: Handed) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=handed.bundle, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    named = {line.split("  ", 1)[1] for line in (handed.bundle / MANIFEST).read_text().splitlines()}
    files = {str(p.relative_to(handed.bundle)) for p in handed.bundle.rglob("*") if p.is_file()}
    assert named == files - {MANIFEST}
    assert {"model.safetensors", "model.pt2", "model.onnx", "MODEL_CARD.md", "DATA_CARD.md", "croissant.json",
            "selections/round_02.parquet", "ledger.csv", "metrics.json", "parameters.json", "constraints.txt",
            "sbom.cdx.json", "lineage.jsonl"} <= named  # fmt: skip
    assert "is whole" in handed.project.ok("rounds", "bundle", "--verify", str(handed.bundle))


def test_verify_names_what_is_damaged_missing_and_extra(handed: Handed, tmp_path: Path) -> None:
    copy = handed.copy(tmp_path / "copy")
    model = copy / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    (copy / "metrics.json").unlink()
    (copy / "note.txt").write_text("hello")
    result = handed.project("rounds", "bundle", "--verify", str(copy))
    assert result.exit_code == 1
    assert result.output.splitlines()[:3] == [
        "metrics.json is missing",
        "model.onnx is damaged",
        "note.txt is not in the manifest",
    ]
    said = refused("--bundle", str(copy), str(handed.manifest))
    assert "metrics.json is missing; model.onnx is damaged; note.txt is not in the manifest" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is no bundle, or one that was never finished"),
        ("", "MANIFEST.sha256 is damaged"),
        ("not a digest  model.pt2\n", "MANIFEST.sha256 is damaged"),
        (f"{'0' * 64}  ../../etc/passwd\n", "MANIFEST.sha256 is damaged"),
        (f"{'0' * 64}  /etc/passwd\n", "MANIFEST.sha256 is damaged"),
    ],
)
def test_a_folder_that_is_no_bundle_is_refused(handed: Handed, tmp_path: Path, content: str | None, said: str) -> None:
    copy = handed.copy(tmp_path / "copy")
    (copy / MANIFEST).unlink()
    if content is not None:
        (copy / MANIFEST).write_text(content)
    assert said in refused("--bundle", str(copy), str(handed.manifest))


def test_a_bundle_of_another_format_says_which_version_to_install(handed: Handed, tmp_path: Path) -> None:
    copy = handed.copy(tmp_path / "copy")
    facts = json.loads((copy / NAME).read_text())
    for changed, said in (
        ({**facts, "format": 2, "version": "9.9"}, "install  rlmba_pipelines==9.9"),
        ({**facts, "unheard_of": 1}, "install the version of rlmba_pipelines that wrote the bundle"),
        ([], "install the version of rlmba_pipelines that wrote the bundle"),
    ):
        (copy / NAME).write_text(json.dumps(changed))
        (copy / MANIFEST).unlink()
        seal(copy)
        assert said in refused("--bundle", str(copy), str(handed.manifest))


def test_another_encoder_than_the_model_learned_from_is_refused(handed: Handed, tmp_path: Path) -> None:
    copy = handed.copy(tmp_path / "copy")
    facts = json.loads((copy / NAME).read_text())
    facts["fingerprints"]["image"] = "tiny-image-v0"
    (copy / NAME).write_text(json.dumps(facts))
    (copy / MANIFEST).unlink()
    seal(copy)
    assert "The model learned image from tiny-image-v0, and the encoder here is" in refused(
        "--bundle", str(copy), str(handed.manifest)
    )


def test_mistakes_in_what_is_to_be_scored_are_told_in_one_sentence(handed: Handed, tmp_path: Path) -> None:
    new = media_only(handed, tmp_path / "new")
    (tmp_path / "new" / "3.png").unlink()
    said = refused("--bundle", str(handed.bundle), str(new))
    assert re.search(r"new\.csv, row 5: the file 3\.png is missing", said)
    result = scored("--bundle", str(handed.bundle), str(new), "--max-bad-media", "10%")
    assert result.exit_code == 0
    assert len(pd.read_csv(io.StringIO(result.stdout))) == 12  # its text is left
    assert "set aside: image of s0003 is missing" in result.stderr
    rows = pd.read_csv(new, dtype=str, keep_default_na=False)
    rows.assign(video="a.mp4").to_csv(new, index=False)
    assert "the model has never seen 'video', it knows image, text" in refused("--bundle", str(handed.bundle), str(new))
    assert "there is no such file" in refused("--bundle", str(handed.bundle), str(tmp_path / "none.csv"))
    assert "is not a share" in refused("--bundle", str(handed.bundle), str(new), "--max-bad-media", "many")
    assert "cannot be reached" in refused("--bundle", "nowhere://a/b", str(new))
    assert "holds no MANIFEST.sha256" in refused("--bundle", str(tmp_path / "nowhere"), str(new))


def test_a_cell_that_a_spreadsheet_would_run_is_disarmed(handed: Handed, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("sample_id,text\n=1+1,a red fire\n")
    result = scored("--bundle", str(handed.bundle), str(tmp_path / "m.csv"))
    assert result.stdout.splitlines()[1].startswith("'=1+1,")


def test_the_model_of_mlflow_takes_and_gives_back_ids_of_any_kind(handed: Handed) -> None:
    texts = ["a red\rfire", "=1+1", 'sky, "sea"']
    model = BundleModel(str(handed.bundle))
    for ids in (["=1+1", "-dQw4w9", "'@me"], [3, 1, 2]):
        found = model.predict(pd.DataFrame({"sample_id": ids, "text": texts}))
        assert found["sample_id"].tolist() == [str(name) for name in ids]
    assert found["probability"].nunique() == 3, "every row has the scores of its own text"


def test_what_a_table_says_of_samples_beside_their_media_is_not_looked_at(handed: Handed, tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text("sample_id,text\nx,a red fire\ny,the sea\n")
    (tmp_path / "odd.csv").write_text(
        "sample_id,text,label,split,cost,group,explanation\n"
        "x,a red fire,(abstain),train,free,,\0\ny,the sea,?, ,-1,=1,why\n"
    )
    bare, odd = (scored("--bundle", str(handed.bundle), str(tmp_path / f"{name}.csv")) for name in ("bare", "odd"))
    assert odd.exit_code == 0, odd.stderr
    assert odd.stdout == bare.stdout


def test_a_bundle_travels_to_an_address_and_is_scored_from_there(handed: Handed, tmp_path: Path) -> None:
    import fsspec

    address = f"memory://{uuid.uuid4().hex}/final"
    copy = ("rounds", "bundle", "--copy", str(handed.bundle), "--to", address)
    assert "copied" in handed.project.ok(*copy)
    assert "already" in handed.project.ok(*copy)
    assert "is whole" in handed.project.ok("rounds", "bundle", "--verify", address)
    new = str(media_only(handed, tmp_path / "new"))
    assert scored("--bundle", address, new).stdout == scored("--bundle", str(handed.bundle), new).stdout
    files, root = fsspec.core.url_to_fs(address)
    files.rm(f"{root}/{MANIFEST}")
    files.rm(f"{root}/model.onnx")
    files.pipe_file(f"{root}/model.pt2", b"half")  # as a copy that was cut short leaves it
    assert "copied" in handed.project.ok(*copy)
    files.pipe_file(f"{root}/model.pt2", b"other")
    assert "model.pt2 is damaged" in handed.project.refused(*copy)
    other = f"memory://{uuid.uuid4().hex}/taken"
    fsspec.filesystem("memory").pipe_file(other.removeprefix("memory://") + "/thesis.tex", b"mine")
    taken = handed.project.refused("rounds", "bundle", "--copy", str(handed.bundle), "--to", other)
    assert "holds something else already" in taken


def test_a_copy_that_cannot_be_made_says_whose_fault_it_is_and_no_password(handed: Handed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    copy = ("rounds", "bundle", "--copy", str(handed.bundle), "--to")
    said = handed.project.refused(*copy, str(tmp_path / "file"))
    assert f"{tmp_path / 'file'} could not be written" in said
    assert str(handed.bundle) not in said
    torn = handed.copy(tmp_path / "torn") / MANIFEST
    torn.write_bytes(torn.read_bytes()[:500])  # the last file of a copy, cut short
    assert "copied" in handed.project.ok(*copy, str(torn.parent))
    torn.write_bytes(b"0" + torn.read_bytes())
    assert "another bundle" in handed.project.refused(*copy, str(torn.parent))
    for protocol in ("ftp", "sftp", "nowhere"):
        address = f"{protocol}://ann:secret@127.0.0.1:1/b"
        said = refused("--bundle", address, str(handed.manifest)) + handed.project.refused(*copy, address)
        assert said.count(f"{protocol}://ann@127.0.0.1:1/b") == 2
        assert "secret" not in said


def test_what_is_no_bundle_is_left_alone_and_a_failed_build_leaves_the_old_one(
    handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    said = handed.project.refused("rounds", "bundle", "--experiment", "a", "--to", str(mine))
    assert "is there already and is no bundle" in said
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]
    seal(mine)
    extended = handed.copy(tmp_path / "extended")
    (extended / "notes.txt").write_text("mine")
    for folder in (mine, extended):
        assert "is no bundle" in handed.project.refused("rounds", "bundle", "--experiment", "a", "--to", str(folder))
    assert (mine / "thesis.tex").read_text() == (extended / "notes.txt").read_text() == "mine"
    shutil.rmtree(extended)
    copy = handed.copy(tmp_path / "copy")
    before = (copy / MANIFEST).read_bytes()

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_cards", fail)
        assert isinstance(
            handed.project("rounds", "bundle", "--experiment", "a", "--to", str(copy)).exception, RuntimeError
        )
    assert (copy / MANIFEST).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "mine"]  # no temporary is left
    handed.project.ok("rounds", "bundle", "--experiment", "a", "--to", str(copy))  # a bundle is replaced as a whole
    assert (copy / MANIFEST).read_bytes() != before


def test_no_run_begins_while_a_bundle_is_written_beside_the_report(
    own: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_seal, lock = building.seal, own.path / "data/03_primary/a/LOCK"

    def contested(folder: Path) -> None:
        with lock.open("a") as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        true_seal(folder)

    monkeypatch.setattr(building, "seal", contested)
    own.ok("rounds", "bundle", "--experiment", "a")


def test_the_records_are_those_of_the_experiment(handed: Handed) -> None:
    import mlcroissant
    from huggingface_hub import DatasetCard, ModelCard

    answers = pd.read_csv(handed.bundle / "ledger.csv")
    with Ledger(handed.experiment.ledger_path) as ledger:
        assert answers["sample_id"].tolist() == ledger.history()["sample_id"].tolist()
    data = mlcroissant.Dataset(jsonld=str(handed.bundle / "croissant.json"))
    assert [r["ledger/sample_id"].decode() for r in data.records("ledger")] == answers["sample_id"].tolist()
    chosen = pd.read_parquet(handed.experiment.path_of("round_02", "selection"))
    assert [(r["selection_round_02/sample_id"].decode(), r["selection_round_02/rank"])
            for r in data.records("selection_round_02")] == list(zip(chosen["sample_id"], chosen["rank"], strict=True))
    metrics = json.loads((handed.bundle / "metrics.json").read_text())
    assert metrics["final"]["test"] == json.loads(handed.experiment.path_of("final", "test_metrics").read_text())
    results = {
        (r.dataset_split, r.metric_type): r.metric_value
        for r in ModelCard.load(handed.bundle / "MODEL_CARD.md").data.eval_results
    }
    assert results["test", "accuracy"] == round(metrics["final"]["test"]["accuracy"], 6)
    card = DatasetCard.load(handed.bundle / "DATA_CARD.md")
    assert card.data.size_categories == "n<1K"
    assert f"{len(answers)} answers were bought" in card.text
    bom = json.loads((handed.bundle / "sbom.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    versions = {c["name"].lower(): c["version"] for c in bom["components"]}
    assert versions["torch"] == version("torch")
    assert f"torch=={versions['torch']}" in (handed.bundle / "constraints.txt").read_text().splitlines()


def test_a_bundle_does_not_tell_where_it_was_built(handed: Handed) -> None:
    for path in sorted(handed.bundle.rglob("*")):
        if path.suffix in (".md", ".json", ".jsonl", ".txt", ".csv"):
            text = path.read_text()
            assert str(handed.manifest.parents[1]) not in text, path.name
            assert "file:/" not in text, path.name


def test_of_withdrawn_samples_stays_what_the_data_card_says(handed: Handed, own: Project) -> None:
    answers = pd.read_csv(handed.bundle / "ledger.csv")
    gone = answers["sample_id"][0]
    own.ok("rounds", "bundle", "--experiment", "a")
    assert (own.path / "data/08_reporting/a/bundle_final" / MANIFEST).is_file()
    own.ok("rounds", "withdraw", gone, "--reason", "asked", "--experiment", "a")
    assert not (own.path / "data/08_reporting/a/bundle_final").exists()
    experiment = Experiment.of(own.path, "a")
    with Ledger(experiment.ledger_path) as ledger:
        ledger.correct(answers.iloc[[1]].assign(label="=1+1", explanation=""))
    final = experiment.commit("final")
    assert final is not None
    experiment.write_commit(replace(final, ledger=ledger_state(experiment.ledger_path)))
    own.ok("rounds", "bundle", "--experiment", "a", "--to", "b")
    found = pd.read_csv(own.path / "b" / "ledger.csv")
    assert found["label"].tolist()[-1] == "'=1+1"  # which no spreadsheet runs
    assert found.loc[found["sample_id"] == gone, "label"].tolist() == [WITHDRAWN]
    assert found["cost"].sum() == answers["cost"].sum()
    assert found["annotator"].eq("simulated").all()
    card = (own.path / "b" / "DATA_CARD.md").read_text()
    assert "1 samples withdrawn" in card
    chosen = pd.read_parquet(own.path / "b" / "selections" / "round_00.parquet")
    assert gone in chosen["sample_id"].tolist(), "an erasure leaves how it was chosen"
    assert "and their rows in `selections/`: rank, and the figures that they were chosen by" in card


def test_the_bill_holds_answers_as_people_gave_them_and_not_who_gave_them(own: Project) -> None:
    import mlcroissant

    experiment, people = Experiment.of(own.path, "a"), ["bob@example.com", "ann@example.com", "bob@example.com"]
    with Ledger(experiment.ledger_path) as ledger:
        rows = ledger.history()[-3:].assign(annotator=people, label="01", explanation="it is round\rso it is red")
        ledger.append(rows)
    final = experiment.commit("final")
    assert final is not None
    experiment.write_commit(replace(final, ledger=ledger_state(experiment.ledger_path)))
    own.ok("rounds", "bundle", "--experiment", "a", "--to", "b")
    found = pd.read_csv("b/ledger.csv", dtype=str, keep_default_na=False)[-3:]
    assert found["explanation"].tolist() == ["it is round\rso it is red"] * 3
    assert found["annotator"].tolist() == ["annotator 1", "annotator 2", "annotator 1"]
    assert not [path for path in Path("b").rglob("*") if path.is_file() and b"example.com" in path.read_bytes()]
    told = list(mlcroissant.Dataset(jsonld="b/croissant.json").records("ledger"))
    assert [row["ledger/label"] for row in told[-3:]] == [b"01"] * 3


def test_a_model_of_features_that_are_no_more_is_not_handed_on(handed: Handed, own: Project) -> None:
    rows = pd.read_csv(handed.manifest, dtype=str, keep_default_na=False)
    like = {"image": "", "label": "red", "split": "pool"}
    new = [{"sample_id": f"new{i}", "text": f"ember {i}", **like} for i in range(9)]
    grown = handed.manifest.with_name("grown.csv")
    pd.concat([rows, pd.DataFrame(new)]).to_csv(grown, index=False)
    own.ok("rounds", "append", str(grown), "--experiment", "a")
    for which in ((), ("--round", "1")):
        said = own.refused("rounds", "bundle", "--experiment", "a", "--to", "b", *which)
        assert "was fitted before the pool grew" in said
    own.ok("rounds", "run", "--rounds", "3", "--experiment", "a")
    own.ok("rounds", "bundle", "--experiment", "a", "--to", "b")


def test_what_cannot_be_bundled_says_why(handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused_by = handed.project.refused
    assert "has no model yet" in refused_by("rounds", "bundle", "--experiment", "none")
    assert "Round 0 buys the start batch" in refused_by("rounds", "bundle", "--experiment", "a", "--round", "0")
    assert "the last one is  --round 2" in refused_by("rounds", "bundle", "--experiment", "a", "--round", "7")
    assert "Say where the copy is to lie" in refused_by("rounds", "bundle", "--copy", str(handed.bundle))
    monkeypatch.setattr(environment, "EXTRA", {"no_such_module": "such-a-package"})
    said = refused_by("rounds", "bundle", "--experiment", "a", "--to", str(tmp_path / "b"))
    assert "needs the package such-a-package" in said
    assert "pip install 'rlmba_pipelines[mlops]'" in said
    assert not (tmp_path / "b").exists()
