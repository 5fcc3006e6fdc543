"""What was committed can be proved, branched from and tidied, and nothing is ever built on what is damaged."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import ROOT, SMALL, Project, standing_project, write_media
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.branch import branch
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.progress import is_closed
from rlmba_pipelines.rounds.tidy import prune
from rlmba_pipelines.rounds.verify import verify

CONTROL = "data/03_primary/a"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with two rounds of experiment ``a``, run once for all tests of this file."""
    folder = tmp_path_factory.mktemp("finished")
    with standing_project(folder) as project:
        manifest = write_media(folder / "media", 120, ("image", "text"))
        project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", "--strategy", "random", *SMALL)
        yield project


@pytest.fixture
def project(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it, to be damaged."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("KEDRO_LOGGING_CONFIG", str(ROOT / "conf" / "logging.yml"))
    copied = finished.copied_to(tmp_path / "copy")
    monkeypatch.chdir(copied.path)
    return copied


def _committed(project: Project, name: str) -> Path:
    commit = json.loads((project.path / CONTROL / "commits" / f"{name.partition('.')[0]}.json").read_text())
    return project.path / "data" / commit["files"][name]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _forget_labels(project: Project) -> None:
    with sqlite3.connect(project.path / CONTROL / "ledger.sqlite") as db:
        db.execute("DROP TRIGGER no_delete")
        db.execute("DELETE FROM labels WHERE round = 1")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES: dict[str, tuple[Callable[[Project], Any], tuple[str, ...]]] = {
    "one bit of a selection": (
        lambda p: _flip(_committed(p, "round_01.selection")),
        ("round_01: round_01.selection is damaged",),
    ),
    "labels are gone": (
        lambda p: _committed(p, "round_02.labels_next").unlink(),
        ("round_02: round_02.labels_next is missing",),
    ),
    "features are cut short": (
        lambda p: _cut(p.path / "data/04_feature/a/features/0.npy"),
        ("prepared: features is damaged",),
    ),
    "the answers behind the door": (
        lambda p: _flip(p.path / CONTROL / "hidden_labels.parquet"),
        ("prepared: answers is damaged",),
    ),
    "a torn commit": (lambda p: _cut(p.path / CONTROL / "commits/round_01.json"), ("round_01: ", "round_01.json")),
    "a commit of nothing": (
        lambda p: (p.path / CONTROL / "commits/round_01.json").write_text("{}"),
        ("round_01: ", "round_01.json"),
    ),
    "a commit is gone": (
        lambda p: (p.path / CONTROL / "commits/round_01.json").unlink(),
        ("round_01: the commit is missing",),
    ),
    "a torn list of parameters": (lambda p: _cut(p.path / CONTROL / "parameters.json"), ("parameters.json",)),
    "an empty list of parameters": (
        lambda p: (p.path / CONTROL / "parameters.json").write_text(""),
        ("parameters.json is damaged",),
    ),
    "a parameter that nobody knows": (
        lambda p: _change(p.path / CONTROL / "parameters.json", rounds={"smell": "roses"}),
        ("parameters.json is damaged (rounds.smell",),
    ),
    "a request for nothing": (
        lambda p: (p.path / CONTROL / "request.json").write_text("{}"),
        ("request.json is damaged (it does not say env and runtime_params)",),
    ),
    "labels deleted from the ledger": (
        _forget_labels,
        ("round_01: the ledger does not hold", "round_02: the ledger does not hold"),
    ),
    "the ledger is cut short": (
        lambda p: _cut(p.path / CONTROL / "ledger.sqlite"),
        ("round_00: the ledger is damaged",),
    ),
    "the ledger is gone": (
        lambda p: (p.path / CONTROL / "ledger.sqlite").unlink(),
        ("round_00: the ledger is missing",),
    ),
}


def test_what_was_not_touched_is_as_committed(project: Project) -> None:
    assert "files of 5 stages are as committed" in project.ok("rounds", "verify", "--experiment", "a")
    assert "has committed nothing yet" in project.refused("rounds", "verify", "--experiment", "b")


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_with_its_stage(project: Project, name: str) -> None:
    damage, sentences = DAMAGES[name]
    damage(project)
    result = project("rounds", "verify", "--experiment", "a")
    assert result.exit_code == 1, result.output
    for sentence in sentences:
        assert sentence in result.output
    damaged = [line for line in result.output.splitlines() if ": " in line][: -1 or None]
    assert {line.partition(":")[0] for line in damaged} >= {s.partition(":")[0] for s in sentences if ": " in s}
    if name == "one bit of a selection":
        assert len(result.output.splitlines()) == 2, "nothing else is accused"


def test_a_torn_commit_is_told_in_a_sentence_by_every_command(project: Project) -> None:
    _cut(project.path / CONTROL / "commits/round_02.json")
    for command in (
        ("rounds", "status", "--experiment", "a"),
        ("rounds", "run", "--experiment", "a", "--rounds", "3"),
        ("rounds", "prune", "--experiment", "a"),
        ("rounds", "branch", "--of", "a", "--from-round", "3", "--experiment", "b"),
        ("run", "--pipelines=round_03", "--params", "experiment=a,rounds.rounds=3"),
    ):
        sentence = project.refused(*command)
        assert "round_02.json is damaged" in sentence
        assert "kedro rounds verify" in sentence


@pytest.mark.parametrize("name", [name for name in DAMAGES if "parameter" in name or "request" in name])
def test_a_damaged_control_file_is_told_in_a_sentence_by_every_command(project: Project, name: str) -> None:
    damage, (sentence,) = DAMAGES[name]
    damage(project)
    for command in ("status", "ledger", "close", "export ."):
        assert sentence in project.refused("rounds", *command.split(), "--experiment", "a")
    project.refused("rounds", "run", "--experiment", "a")


@pytest.mark.parametrize("harm", [_cut, lambda path: path.write_text("[]")])
def test_the_report_of_a_plain_run_does_without_a_damaged_request(
    project: Project, harm: Callable[[Path], Any]
) -> None:
    request = project.path / CONTROL / "request.json"
    manifest = json.loads(request.read_text())["runtime_params"]["manifest"]
    harm(request)
    asked = f"experiment=a,manifest={manifest},rounds.strategy=random,rounds.rounds=2,rounds.start_size=12"
    project.ok("run", "--pipelines=report", "--params", asked)


def test_a_clock_that_was_set_back_makes_no_old_measurement_current(project: Project) -> None:
    experiment, final = Experiment.of(project.path, "a"), project.path / CONTROL / "commits/final.json"
    _change(final, run_id="1999-01-01T00.00.00.000Z")
    assert is_closed(experiment)
    _change(final, run_id="2999-01-01T00.00.00.000Z")
    project.ok("rounds", "run", "--experiment", "a", "--rounds", "3", "--scheduled")
    assert not is_closed(experiment)


@pytest.mark.parametrize("name", ["round_02.labels_next", "round_02.round_state_next", "features"])
def test_no_round_is_built_on_a_file_that_is_not_what_was_committed(project: Project, name: str) -> None:
    path = project.path / "data/04_feature/a/features/0.npy" if name == "features" else _committed(project, name)
    _flip(path)
    assert "damaged" in project.refused("rounds", "run", "--experiment", "a", "--rounds", "3")
    assert not (project.path / CONTROL / "commits/round_03.json").exists()


def test_damage_stays_damage_when_samples_are_withdrawn(project: Project) -> None:
    path = _committed(project, "round_02.labels_next")
    table = pd.read_parquet(path)
    table.loc[5, "label"] = "red" if table.loc[5, "label"] != "red" else "gray"
    table.to_parquet(path)
    withdrawn = project.selections("a", 1)[1][0]
    project.ok("rounds", "withdraw", withdrawn, "--reason", "asked to", "--experiment", "a")
    for _ in range(2):
        result = project("rounds", "verify", "--experiment", "a")
        assert [line.partition(" is damaged")[0] for line in result.output.splitlines()][:-1] == [
            "round_02: round_02.labels_next"
        ]
        assert "labels_next.parquet is damaged" in project.refused(
            "rounds", "run", "--experiment", "a", "--rounds", "3"
        )
    assert pd.read_parquet(path).set_index("sample_id").loc[withdrawn, "label"] == "(withdrawn)"


def test_a_committed_round_is_refused_and_the_way_to_branch_is_shown(project: Project) -> None:
    for command in (
        ("rounds", "run", "--experiment", "a", "--first", "1"),
        ("run", "--pipelines=round_01", "--params", "experiment=a,rounds.rounds=2"),
    ):
        assert "kedro rounds branch --of a --from-round 1 --experiment NEW" in project.refused(*command)


def test_a_branch_goes_on_as_the_original_did_and_otherwise_with_another_seed_or_strategy(project: Project) -> None:
    branching = ("rounds", "branch", "--of", "a", "--from-round", "2", "--experiment")
    project.ok(*branching, "same")
    project.ok(*branching, "seed", "--seed", "7")
    project.ok(*branching, "margin", "--strategy", "margin")
    original = project.selections("a", 2)
    for name in ("same", "seed", "margin"):
        with Ledger(project.path / f"data/03_primary/{name}/ledger.sqlite") as ledger:
            assert sorted(ledger.rows()["sample_id"]) == sorted(original[0] + original[1])
            assert ledger.rows()["round"].max() == 1
        later = [p for p in (project.path / "data").glob(f"*/{name}/*") if p.name in {"round_02", "final"}]
        assert later == []
        project.ok("rounds", "run", "--experiment", name)
        assert "as committed" in project.ok("rounds", "verify", "--experiment", name)
        assert project.selections(name, 1) == original[:2]
        assert (project.selections(name, 2) == original) == (name == "same")
    assert "as committed" in project.ok("rounds", "verify", "--experiment", "a")


def test_what_was_withdrawn_is_withdrawn_in_every_branch_whenever_that_was(project: Project) -> None:
    first = project.selections("a", 0)[0][0]
    with Ledger(project.path / CONTROL / "ledger.sqlite") as ledger:
        ledger.withdraw([first], "asked to")
    for from_round, answers in ((0, 0), (1, 12), (3, 28)):
        made = branch(Experiment.of(project.path, "a"), f"b{from_round}", from_round)
        with Ledger(made.ledger_path) as ledger:
            assert ledger.withdrawn() == (first,)
            assert len(ledger.rows()) == answers


def test_a_branch_is_refused_where_it_cannot_be_what_it_promises(project: Project) -> None:
    branching = ("rounds", "branch", "--of", "a", "--experiment", "b", "--from-round")
    assert "the last one is --from-round 3" in project.refused(*branching, "4")
    assert "margin" in project.refused(*branching, "1", "--strategy", "margn")
    assert "'a' already" in project.refused(*branching, "1", "--experiment", "a")
    _flip(_committed(project, "round_01.selection"))
    assert "selection.parquet is damaged" in project.refused(*branching, "2")
    assert list((project.path / "data").glob("*/b")) == []
    assert list((project.path / "data").rglob(".writing-*")) == []
    project.ok(*branching, "1")  # the damage lies behind it


def test_nobody_runs_an_experiment_while_it_is_branched_and_what_came_in_meanwhile_stays(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = Experiment.of(project.path, "a"), Experiment.of(project.path, "b")
    true_link = os.link

    def taken(*arguments: Any) -> None:
        with (target.folder / "LOCK").open("a") as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        true_link(*arguments)

    def used(*arguments: Any) -> None:
        target.ledger_path.write_text("answers")
        true_link(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", used)
        with pytest.raises(UserError, match="There is an experiment 'b' already"):
            branch(source, "b", 1)
        assert target.ledger_path.read_text() == "answers"
        target.ledger_path.unlink()
        patch.setattr(os, "link", taken)
        branch(source, "b", 1)
    with locked(target.folder), pytest.raises(UserError, match="'b' already"):
        branch(source, "b", 1)
    assert verify(target).problems == ()


def test_a_branching_that_is_killed_leaves_nothing_that_looks_like_an_experiment(project: Project) -> None:
    source, target = Experiment.of(project.path, "a"), Experiment.of(project.path, "b")

    def killed_at(n: int) -> bool:
        pid = os.fork()
        if pid == 0:
            calls = 0

            def counted(true: Callable[..., Any]) -> Callable[..., Any]:
                def call(*arguments: Any) -> Any:
                    nonlocal calls
                    calls += 1
                    if calls == n:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return true(*arguments)

                return call

            os.replace, os.link, os.fsync = counted(os.replace), counted(os.link), counted(os.fsync)
            branch(source, "b", 2)
            os._exit(0)
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

    n, n_nothing = 1, 0
    while killed_at(n) and target.committed_stages() == []:
        n, n_nothing = n + 13, n_nothing + 1
    assert n_nothing > 10
    # the first one that got as far as its name got all
    assert verify(target).problems == ()
    assert [c.stage for c in target.commits()] == ["prepared", "round_00", "round_01"]


def test_status_tells_how_far_an_interrupted_run_came(project: Project) -> None:
    def status() -> str:
        return project.ok("rounds", "status", "--experiment", "a")

    commits = project.path / CONTROL / "commits"
    assert "open: " not in status()
    (commits / "final.json").unlink()
    assert "open: the measurement after the last round and the report ('kedro rounds run --experiment a')" in status()
    (commits / "round_02.json").unlink()
    assert "1 rounds done" in status()
    assert "next: round 2 ('kedro rounds run --rounds 2 --experiment a' or more)" in status()
    for stage in ("round_01", "round_00"):
        (commits / f"{stage}.json").unlink()
    assert "the samples are prepared; go on with 'kedro rounds run --experiment a'" in status()
    (commits / "prepared.json").unlink()
    assert "nothing is done yet" in status()


def test_temporaries_of_killed_runs_are_swept_when_a_run_begins_and_only_its_own(project: Project) -> None:
    folders = [project.path / "data/07_model_output" / name / "round_01" for name in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writing-1.parquet").write_bytes(b"half")
        (folder / ".writing-2").mkdir()
        (folder / ".writing-2" / "0.npy").write_bytes(b"half")
    project.ok("rounds", "run", "--experiment", "a")
    assert [len(list(folder.rglob(".writing-*"))) for folder in folders] == [0, 2]


def test_pruning_removes_what_was_never_committed_but_for_the_newest_and_says_how_much(project: Project) -> None:
    selection = _committed(project, "round_01.selection")
    for year in (2001, 2002, 2003):
        attempt = selection.parents[1] / f"{year}-01-01T00.00.00.000Z" / selection.name
        attempt.parent.mkdir()
        attempt.write_bytes(b"x" * (year - 2000))
    before = {p for p in (project.path / "data").rglob("*") if p.is_file()}
    pruned = prune(Experiment.of(project.path, "a"), keep=1)
    assert pruned.attempts == tuple(f"round_01.selection {year}-01-01T00.00.00.000Z" for year in (2001, 2002))
    assert pruned.n_bytes == 1 + 2
    gone = before - {p for p in (project.path / "data").rglob("*") if p.is_file()}
    assert sorted(p.parent.name[:4] for p in gone) == ["2001", "2002"]
    output = project.ok("rounds", "prune", "--keep-attempts", "0", "--experiment", "a")
    assert "1 attempts removed, 3 bytes freed" in output
    assert verify(Experiment.of(project.path, "a")).problems == ()


def test_nothing_is_pruned_of_an_experiment_that_is_not_there(project: Project) -> None:
    assert "no experiment 'typo'" in project.refused("rounds", "prune", "--experiment", "typo")
    assert not (project.path / "data/03_primary/typo").exists()


def test_nothing_is_pruned_while_the_experiment_is_run(project: Project) -> None:
    with (project.path / CONTROL / "LOCK").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "is being run by" in project.refused("rounds", "prune", "--experiment", "a")
    project.ok("rounds", "prune", "--experiment", "a")
