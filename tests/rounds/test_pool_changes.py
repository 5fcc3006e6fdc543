"""The pool changes under a running experiment: samples are withdrawn, and samples are added."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from conftest import SMALL, Project, standing_project, write_media
from rlmba_pipelines.datasets import FeaturesDataset
from rlmba_pipelines.encoders.cache import FeatureCache
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds import rewriting, withdraw
from rlmba_pipelines.rounds.commits import Experiment

RUN = ("--experiment", "a", *SMALL)


class Killed(BaseException):
    """What no code catches, as SIGKILL."""


def _start(project: Project, manifest: Path) -> list[str]:
    project.ok("rounds", "run", "--manifest", str(manifest), "--rounds", "1", *RUN[:2], *SMALL[2:])
    return [s for batch in project.selections("a", 1) for s in batch]


def _everything(project: Project) -> bytes:
    """All bytes of the experiment but its ledger, which keeps the bill."""
    files = [p for p in (project.path / "data").rglob("*") if p.is_file() and "ledger.sqlite" not in p.name]
    return b"\n".join(p.read_bytes() for p in files)


def test_a_withdrawn_sample_is_never_seen_again_and_its_bill_stays(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media()
    table = pd.read_csv(manifest, dtype=str)
    table.assign(text="secret of " + table["sample_id"] + ".").to_csv(manifest, index=False)
    bought = _start(project, manifest)
    table = table.set_index("sample_id")
    gone = [bought[0], next(s for s in table.index[table["split"] == "pool"] if s not in bought),
            next(s for s in table.index[table["split"] == "test"])]  # fmt: skip
    output = project.ok("rounds", "withdraw", *gone, "--reason", "asked to", "--delete-media", "--experiment", "a")
    assert "3 samples withdrawn" in output
    assert "Report and bundles that showed them are removed" in output
    assert not any((manifest.parent / table.loc[s, "image"]).exists() for s in gone)
    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        assert (ledger.rows()["sample_id"] == gone[0]).sum() == 1
        assert ledger.rows()["cost"].sum() == 20
    assert "are as committed" in project.ok("rounds", "verify", "--experiment", "a")
    left = FeaturesDataset(filepath=str(project.path / "data/04_feature/a/features")).load()
    assert not set(gone) & set(left.sample_ids)
    assert f"secret of {bought[1]}.".encode() in _everything(project)
    assert not any(f"secret of {s}.".encode() in _everything(project) for s in gone)
    output = project.ok("rounds", "run", *RUN)
    assert "round_02" in output
    assert not set(gone) & set(project.selections("a", 2)[2])
    labels = project.table("a", "round_02", "labels_next").set_index("sample_id")
    assert labels.loc[gone[0], "label"] == "(withdrawn)"
    assert "0 samples withdrawn; 0 committed files" in project.ok(
        "rounds", "withdraw", gone[0], "--reason", "again", "--experiment", "a"
    )


def test_a_sample_whose_id_begins_like_a_formula_is_forgotten_where_its_id_is_disarmed(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media()
    table = pd.read_csv(manifest, dtype=str)
    table["sample_id"] = [f"{'=+-@'[i % 4]}{s}" for i, s in enumerate(table["sample_id"])]
    table.assign(text="secret of " + table["sample_id"] + ".").to_csv(manifest, index=False)
    first_of = {s[0]: s for s in reversed(_start(project, manifest))}
    assert set(first_of) == set("=+-@")
    project.ok("rounds", "withdraw", "--reason", "asked to", "--experiment", "a", "--", *first_of.values())
    assert not any(f"secret of {s}.".encode() in _everything(project) for s in first_of.values())
    project.ok("rounds", "verify", "--experiment", "a")


def test_a_sample_nobody_knows_is_not_withdrawn(started: Started) -> None:
    assert "has no sample 'nobody'" in started.project.refused(
        "rounds", "withdraw", "nobody", "--reason", "x", "--experiment", "a"
    )


@pytest.fixture(params=[(patched, at) for patched in ("write", "move", "commit") for at in (1, 3, 6)], ids=str)
def killed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Runs something that is killed while it builds a file aside, moves one in, or writes a commit anew."""
    what, at = request.param
    owner, name = {
        "write": (rewriting, "sync"), "move": (rewriting.os, "replace"), "commit": (Experiment, "write_commit"),
    }[what]  # fmt: skip
    true, calls = getattr(owner, name), []

    def killing(*arguments: object) -> object:
        if what != "move" or rewriting.ASIDE in str(arguments[0]):
            calls.append(arguments)
        if len(calls) == at:
            raise Killed
        return true(*arguments)

    def run(command: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killing)
            try:
                command()
            except Killed:
                return
            assert what == "commit", "only commits are fewer than the place to be killed at"

    return run


class Started(NamedTuple):
    """A project that bought a round of ``before``; ``after`` has the samples ``late`` too."""

    project: Project
    after: Path
    late: list[str]
    bought: list[str]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("started")
    with standing_project(folder) as project:
        before, after, late = _grown(write_media(folder / "media", 120, ("image", "text")), 10)
        yield Started(project, after, late, _start(project, before))


@pytest.fixture
def started(standing: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """A copy of its own for each test."""
    copied = standing.project.copied_to(tmp_path / "project")
    monkeypatch.chdir(copied.path)
    return standing._replace(project=copied)


def test_a_withdrawal_that_was_killed_is_finished_by_the_next_run(
    started: Started, killed: Callable[[Callable[[], object]], None]
) -> None:
    project, bought = started.project, started.bought
    killed(lambda: withdraw.withdraw(Experiment.of(project.path, "a"), [bought[0]], "asked to"))
    project.ok("rounds", "run", *RUN)
    project.ok("rounds", "verify", "--experiment", "a")
    labels = project.table("a", "round_00", "labels_next").set_index("sample_id")
    assert labels.loc[bought[0], "label"] == "(withdrawn)"


@pytest.fixture
def with_files(started: Started, tmp_path: Path) -> tuple[Experiment, Path]:
    """Samples s0000 to s0005 refer to the files of a folder, by several names."""
    experiment, folder = Experiment.of(started.project.path, "a"), tmp_path / "files"
    (folder / "clip").mkdir(parents=True)
    for name in ("1.png", "2.png", "clip/a.png", "clip/b.png"):
        (folder / name).touch()
    (folder / "link.png").symlink_to("2.png")
    path = experiment.path_of("prepared", "samples")
    table = pd.read_parquet(path)[lambda t: t["sample_id"] < "s0006"].assign(video="")
    table["image"] = ["./1.png", "1.png", "link.png", "", "clip/a.png", ""]
    table.loc[table["sample_id"] == "s0003", "video"] = "clip/"
    table.to_parquet(path)
    return experiment, folder


def _left(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def test_a_file_that_another_sample_reads_by_another_name_stays(with_files: tuple[Experiment, Path]) -> None:
    experiment, folder = with_files
    withdraw.withdraw(experiment, ["s0000", "s0002", "s0003"], "asked to", folder)
    assert _left(folder) == ["1.png", "clip/a.png"]
    withdraw.withdraw(experiment, ["s0001", "s0004"], "asked to", folder)
    assert _left(folder) == []


def test_media_that_a_withdrawal_left_can_be_deleted_later(
    with_files: tuple[Experiment, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, folder = with_files
    assert withdraw.withdraw(experiment, ["s0002"], "asked to").media == ()

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(withdraw, "delete_media", kill)
        with pytest.raises(Killed):
            withdraw.withdraw(experiment, ["s0000", "s0001"], "asked to", folder)
    withdraw.erase_withdrawn(experiment)
    assert len(_left(folder)) == 5
    done = withdraw.withdraw(experiment, ["s0000", "s0001", "s0002"], "asked to", folder)
    assert [path.name for path in done.media] == ["1.png", "2.png"]
    assert done.new == done.files == 0
    assert _left(folder) == ["clip/a.png", "clip/b.png"]


def test_attempts_that_were_never_committed_go_with_a_withdrawn_sample(started: Started) -> None:
    project = started.project
    committed = Experiment.of(project.path, "a").path_of("round_01", "annotation_sheet")
    loose = committed.parents[1] / "2000-01-01T00.00.00.000Z"
    shutil.copytree(committed.parent, loose)
    withdraw.withdraw(Experiment.of(project.path, "a"), [started.bought[-1]], "asked to")
    assert not loose.exists()
    project.ok("rounds", "verify", "--experiment", "a")


def test_a_plain_kedro_run_finishes_a_withdrawal_that_was_killed_while_files_were_moved(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, bought, moves, true = started.project, started.bought, [], rewriting.os.replace

    def killing(source: Path, target: Path) -> None:
        moves.append(source)
        if len([path for path in moves if rewriting.ASIDE in str(path)]) == 3:
            raise Killed
        true(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(rewriting.os, "replace", killing)
        with pytest.raises(Killed):
            withdraw.withdraw(Experiment.of(project.path, "a"), [bought[0]], "asked to")
    manifest = started.after.with_name("before.csv")
    project.ok("run", "--pipelines", "final", "--params", f"experiment=a,manifest={manifest},rounds.rounds=1,"
               "rounds.start_size=12,rounds.query_size=8")  # fmt: skip
    project.ok("rounds", "verify", "--experiment", "a")


def _grown(manifest: Path, n: int) -> tuple[Path, Path, list[str]]:
    """The manifest without its last ``n`` pool rows, the whole one, and the ids between them."""
    table = pd.read_csv(manifest, dtype=str)
    late = table.index[table["split"] == "pool"][-n:]
    before = manifest.with_name("before.csv")
    table.drop(index=late).to_csv(before, index=False)
    return before, manifest, table.loc[late, "sample_id"].tolist()


def _grown_with_labels(manifest: Path, labels: list[str]) -> tuple[Path, Path, list[str]]:
    """The same with 8 new samples, which alone have labels, these in turn."""
    before, after, late = _grown(manifest, 8)
    table = pd.read_csv(after, dtype=str, keep_default_na=False)
    table["label"] = np.where(table["sample_id"].isin(late), np.resize(labels, len(table)), "")
    table["split"] = ""
    table.to_csv(after, index=False)
    table[~table["sample_id"].isin(late)].to_csv(before, index=False)
    return before, after, late


def test_new_samples_join_the_pool_and_old_ones_stay_what_they_were(
    project: Project, media: Callable[..., Path]
) -> None:
    before, after, late = _grown(media(), 30)
    bought = _start(project, before)
    old = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet")
    assert "30 new samples" in project.ok("rounds", "append", str(after), "--experiment", "a")
    new = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet")
    pd.testing.assert_frame_equal(
        new[new["sample_id"].isin(set(old["sample_id"]))].drop(columns="row").reset_index(drop=True),
        old.drop(columns="row"),
    )
    assert set(new["sample_id"]) - set(old["sample_id"]) == set(late)
    assert "0 new samples" in project.ok("rounds", "append", str(after), "--experiment", "a")
    project.ok("rounds", "verify", "--experiment", "a")
    project.ok("rounds", "run", "--rounds", "4", "--experiment", "a", "--strategy", "herding")
    picks = project.selections("a", 4)
    assert [s for batch in picks[:2] for s in batch] == bought
    assert set(late) & {s for batch in picks[2:] for s in batch}
    assert not list((project.path / "data").glob("*/.append-a"))


def test_the_command_that_started_a_run_goes_on_after_its_pool_has_grown(started: Started) -> None:
    project, before = started.project, started.after.with_name("before.csv")
    project.ok("rounds", "append", str(started.after), "--experiment", "a")
    for _ in range(2):  # the request of the first is kept for the second
        project.ok("rounds", "run", "--manifest", str(before), "--rounds", "2", *RUN)
    samples = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet")
    assert set(started.late) <= set(samples["sample_id"])


def test_an_append_forgets_the_features_of_what_is_withdrawn_and_tells_of_media_that_cannot_be_read(
    started: Started,
) -> None:
    project, gone, bad = started.project, started.bought[0], started.late[0]
    caches = list((project.path / "data/04_feature/cache/image").iterdir())
    before = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet").set_index("sample_id")
    digest = before.loc[gone, "image_sha256"]
    assert not any(FeatureCache(cache).lacks([digest])[0] for cache in caches)
    project.ok("rounds", "withdraw", gone, "--reason", "x", "--experiment", "a")
    samples = pd.read_csv(started.after, dtype=str).set_index("sample_id")
    (started.after.parent / samples.loc[bad, "image"]).write_bytes(b"no picture")
    output = project.ok("rounds", "append", str(started.after), "--experiment", "a")
    assert "1 media cannot be read and are set aside" in output
    quarantine = pd.read_csv(project.path / "data/02_intermediate/a/quarantine.csv", dtype=str)
    assert quarantine["sample_id"].tolist() == [bad]
    project.ok("rounds", "verify", "--experiment", "a")
    assert all(FeatureCache(cache).lacks([digest])[0] for cache in caches)


def test_new_samples_of_a_group_join_its_split(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(80, split=False)
    table = pd.read_csv(manifest, dtype=str)
    table["group"] = [f"g{i // 4}" for i in table.index]
    table.to_csv(manifest, index=False)
    before = manifest.with_name("before.csv")
    table[table.index % 4 != 3].to_csv(before, index=False)
    _start(project, before)
    assert "20 new samples" in project.ok("rounds", "append", str(manifest), "--experiment", "a")
    samples = pd.read_parquet(project.path / "data/03_primary/a/samples.parquet")
    assert set(samples["split"]) == {"pool", "validation", "test"}
    assert samples.groupby("group")["split"].nunique().max() == 1
    for split in ("validation", "test"):
        held = pd.read_parquet(project.path / f"data/03_primary/a/{split}_labels.parquet")
        assert set(held["sample_id"]) == set(samples.loc[samples["split"] == split, "sample_id"])


@pytest.mark.parametrize("when", ["before the start batch is answered", "after"])
def test_labels_of_new_samples_are_learned_from_and_their_classes_may_be_named(
    project: Project, media: Callable[..., Path], when: str
) -> None:
    before, after, late = _grown_with_labels(media(100, split=True), ["red", "violet"])

    def answer(stage: str, label: str) -> str:
        asked = project.table("a", stage, "annotation_batch")[["sample_id"]]
        asked.assign(label=["red", label] * (len(asked) // 2)).to_csv("answers.csv", index=False)
        return project.ok("rounds", "import", "answers.csv", "--experiment", "a")

    project.ok("rounds", "run", "--manifest", str(before), "--experiment", "a", *SMALL)
    if when == "after":
        assert "12 new answers" in answer("round_00", "green")
    assert "8 new samples" in project.ok("rounds", "append", str(after), "--experiment", "a")
    if when != "after":
        assert "12 new answers" in answer("round_00", "violet")
    assert "8 new answers taken, 0 rows not taken" in answer("round_01", "violet")
    labels = project.table("a", "round_01", "labels_next").set_index("sample_id").loc[late]
    assert set(labels["label"]) == {"red", "violet"}
    assert set(labels["annotator"]) == {"manifest"}
    assert labels["cost"].sum() == 0


def test_a_branch_from_before_an_append_keeps_the_labels_that_the_manifest_gave_to_new_samples(
    project: Project, media: Callable[..., Path]
) -> None:
    before, after, late = _grown_with_labels(media(100, split=True), ["red", "green"])
    project.ok("rounds", "run", "--manifest", str(before), "--experiment", "a", *SMALL)
    for stage in ("round_00", "round_01"):
        asked = project.table("a", stage, "annotation_batch")[["sample_id"]]
        asked.assign(label=["red", "green"] * (len(asked) // 2)).to_csv("answers.csv", index=False)
        project.ok("rounds", "import", "answers.csv", "--experiment", "a")
    project.ok("rounds", "append", str(after), "--experiment", "a")
    original = project.table("a", "round_00", "labels_next")
    project.ok("rounds", "branch", "--of", "a", "--from-round", "1", "--experiment", "b", "--seed", "7")
    labels = project.table("b", "round_00", "labels_next")
    assert set(labels["sample_id"]) == {*original["sample_id"], *late}
    assert len(project.table("a", "round_00", "labels_next")) == len(original)
    assert "as committed" in project.ok("rounds", "verify", "--experiment", "b")
    project.ok("rounds", "run", "--experiment", "b")


def test_an_append_touches_no_other_experiment_and_no_raw_media(started: Started) -> None:
    project = started.project
    raw = project.path / "data/01_raw/.append-a"
    shutil.copytree(started.after.parent, raw)
    neighbor = project.path / "data/03_primary/a-append"
    shutil.copytree(project.path / "data/03_primary/a", neighbor)
    before = {path: path.read_bytes() for folder in (raw, neighbor) for path in folder.rglob("*") if path.is_file()}
    assert "10 new samples" in project.ok("rounds", "append", str(raw / "manifest.csv"), "--experiment", "a")
    assert {path: path.read_bytes() for path in before} == before
    assert not list((project.path / "data").glob("0[2-8]*/.append-a"))


def test_a_withdrawal_forgets_what_a_killed_append_had_prepared(started: Started) -> None:
    project = started.project
    left = project.path / "data/02_intermediate/.append-a/quarantine.csv"
    left.parent.mkdir()
    left.write_text(started.bought[0])
    project.ok("rounds", "withdraw", started.bought[0], "--reason", "x", "--experiment", "a")
    assert not left.parent.exists()


def test_an_append_that_changes_or_loses_a_sample_is_refused(started: Started) -> None:
    project, after, bought = started.project, started.after, started.bought
    table = pd.read_csv(after, dtype=str)
    lost, changed = after.with_name("lost.csv"), after.with_name("changed.csv")
    table[table["sample_id"] != bought[0]].to_csv(lost, index=False)
    table.assign(text=np.where(table["sample_id"] == bought[0], "another text", table["text"])).to_csv(
        changed, index=False
    )
    assert f"the sample {bought[0]!r} is not in it any more" in project.refused(
        "rounds", "append", str(lost), "--experiment", "a"
    )
    assert f"the sample {bought[0]!r} has other media than before" in project.refused(
        "rounds", "append", str(changed), "--experiment", "a"
    )
    project.ok("rounds", "verify", "--experiment", "a")


def test_an_append_that_was_killed_leaves_the_old_pool_or_is_finished_by_the_next_run(
    started: Started, killed: Callable[[Callable[[], object]], None]
) -> None:
    project, after, late = started.project, started.after, started.late
    samples = project.path / "data/03_primary/a/samples.parquet"
    old = set(pd.read_parquet(samples)["sample_id"])
    killed(lambda: project("rounds", "append", str(after), "--experiment", "a"))
    project.ok("rounds", "run", *RUN)
    project.ok("rounds", "verify", "--experiment", "a")
    assert set(pd.read_parquet(samples)["sample_id"]) in (old, old | set(late))
    project.ok("rounds", "append", str(after), "--experiment", "a")
    assert set(late) <= set(pd.read_parquet(samples)["sample_id"])
