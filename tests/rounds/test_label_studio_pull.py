"""What people said on an annotation server: judged as a file is, waited for, and never lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fake_label_studio import LEGACY, PERSONAL, URL, FakeLabelStudio
from label_studio_place import N_START, A, Place, color
from rlmba_pipelines.ledger import ABSTAINED, Ledger
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.pull import pull_answers
from rlmba_pipelines.rounds.push import push_batch


def test_answers_conflicts_skips_and_strangers_are_judged_as_in_a_file(place: Place, tmp_path: Path) -> None:
    other = place.project.copied_to(tmp_path / "by_file")
    push_batch(place.desk)
    first, twice, skipped, double, late, odd, *_ = place.batch()
    say = place.server.say
    say(first, "red", typed=True)
    say(twice, "red", typed=True)
    say(twice, "blue", typed=True)
    say(skipped, None)
    say(double, "red", typed=True)
    say(double, "red", typed=True)
    say(double, "green", who=3, typed=True)
    say(late, "x" * 201, typed=True)
    say(odd, "(disputed)", typed=True)
    place.server.task(first)["data"]["sample_id"] = "s9999"
    output = place.project.ok("rounds", "pull", *A)
    assert "sample 's9999' was not asked for" in output
    assert output.count("is answered in two ways at once") == 2
    assert "2 new answers taken" in output
    (pulled,) = (place.experiment.folder / "answers").glob("*.jsonl")
    by_file = Place(other, place.server)
    assert "2 new answers taken" in other.ok("rounds", "import", str(pulled), *A)
    assert by_file.ledger().equals(place.ledger())
    assert by_file.set_aside() == place.set_aside() == [f"{double!r} has its 1 answers already"]
    rows = place.ledger()
    assert rows[["sample_id", "label", "annotator"]].values.tolist() == sorted(
        [[skipped, ABSTAINED, "ann@example.com"], [double, "red", "ann@example.com"]]
    )
    said = [json.loads(line) for line in pulled.read_text().splitlines()]
    assert {(row["answered_at"], row["seconds"]) for row in said} == {("2019-01-01T00:00:00Z", 3.25)}


def test_pulling_again_changes_nothing_and_keeps_no_further_file(place: Place) -> None:
    push_batch(place.desk)
    for sample_id in place.batch()[:5]:
        place.server.say(sample_id, color(sample_id), typed=True)
    assert pull_answers(place.desk).imported.accepted == 5
    before = place.ledger()
    for _ in range(3):
        assert pull_answers(place.desk).imported.accepted == 0
    assert place.ledger().equals(before)
    assert before["cost"].sum() == 5
    assert len(list((place.experiment.folder / "answers").iterdir())) == 1
    with Ledger(place.experiment.ledger_path) as ledger:
        (source,) = set(ledger.history()["source"])
    (path,) = (place.experiment.folder / "answers").iterdir()
    assert path.stem == f"label_studio-{source[:16]}", "the ledger names the file that it stands on"
    place.server.say(place.batch()[5], "red", typed=True)
    assert pull_answers(place.desk).imported.accepted == 1
    (further,) = set((place.experiment.folder / "answers").iterdir()) - {path}
    assert len(further.read_text().splitlines()) == 1, "only what is new is kept again"


def test_what_was_said_of_a_withdrawn_sample_stays_in_the_ledger_alone(place: Place) -> None:
    push_batch(place.desk)
    gone, kept = place.batch()[:2]
    for sample_id in (gone, kept):
        place.server.say(sample_id, color(sample_id), typed=True)
    pull_answers(place.desk)
    place.project.ok("rounds", "withdraw", gone, "--reason", "asked to", *A)
    (path,) = (place.experiment.folder / "answers").iterdir()
    assert [json.loads(line)["sample_id"] for line in path.read_text().splitlines()] == [kept]
    assert set(place.ledger()["sample_id"]) == {gone, kept}
    assert pull_answers(place.desk).imported.accepted == 0
    place.server.say(gone, "blue", who=3, typed=True)
    third = place.batch()[2]
    place.server.say(third, color(third), typed=True)
    assert pull_answers(place.desk).imported.accepted == 1
    told = "".join(path.read_text() for path in (place.experiment.folder / "answers").iterdir())
    assert third in told
    assert gone not in told


def test_an_edited_answer_waits_until_it_is_let_count(place: Place) -> None:
    push_batch(place.desk)
    edited = place.batch()[0]
    place.server.say(edited, "red", typed=True)
    pull_answers(place.desk)
    place.server.task(edited)["annotations"][0]["result"][0]["value"] = {"text": ["blue"]}
    assert "--correct lets the new answer count" in place.project.ok("rounds", "pull", *A)
    assert place.ledger()["label"].tolist() == ["red"]
    assert "1 corrected" in place.project.ok("rounds", "pull", "--correct", *A)
    assert place.ledger()["label"].tolist() == ["blue"]
    assert place.ledger()["cost"].sum() == 1


def answer_as_asked(server: FakeLabelStudio) -> Callable[..., None]:
    """One more answer whenever somebody looks."""

    def meet(_: int, method: str, path: str) -> None:
        if (method, path) != ("GET", "/api/projects"):
            return
        whole = [p for p in server.projects.values() if "Header" in p["label_config"]]
        for project in whole:
            for task in project["tasks"]:
                if not task["annotations"]:
                    sample_id = task["data"]["sample_id"]
                    server.say(sample_id, color(sample_id), typed="TextArea" in project["label_config"])
                    return

    return meet


def test_a_run_sends_waits_and_goes_on_to_the_report(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    place.server.meet = answer_as_asked(place.server)
    request = json.loads(place.experiment.request_path.read_text())
    options = ("--start-size", "12", "--query-size", "6", "--rounds", "1", "--annotator", "label_studio")
    manifest = Path(request["runtime_params"]["manifest"])
    output = place.project.ok("rounds", "run", "--manifest", str(manifest), *options, "--experiment", "b")
    assert "12 samples of round 0 are in Label Studio (12 new)" in output
    assert "6 samples of round 1 are in Label Studio (6 new)" in output
    for k, n in ((0, 12), (1, 6)):
        told = [int(found) for found in re.findall(rf"round {k}: (\d+)/{n} answered", output)]
        assert len(told) > 1
        assert told == sorted(set(told)), "progress is told when there is some"
    assert "report" in output
    with Ledger(Experiment.of(place.project.path, "b").ledger_path) as ledger:
        rows = ledger.rows()
    assert len(rows) == 18
    assert all(label == color(sample_id) for sample_id, label in zip(rows["sample_id"], rows["label"], strict=True))


def test_waiting_can_be_interrupted_and_outlasts_a_server_that_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_batch(place.desk)
    looks = 0

    def away_then_interrupted(number: int, *_: Any) -> httpx2.Response | None:
        nonlocal looks
        looks += 1
        if looks > 20:
            raise KeyboardInterrupt
        return httpx2.Response(503) if looks <= 15 else None

    place.server.meet = away_then_interrupted
    result = place.project("rounds", "pull", "--wait", *A)
    assert result.exit_code == 130
    assert result.output.count("It is asked again; nothing is lost.") == 1
    assert "the same command goes on" in result.output
    place.server.meet = answer_as_asked(place.server)
    assert "10 samples of round 1 wait for labels" in place.project.ok("rounds", "pull", "--wait", *A)
    assert len(place.ledger()) == N_START


def test_what_was_deleted_on_the_server_is_told_and_sent_again(place: Place) -> None:
    push_batch(place.desk)
    for task in place.server.tasks()[:4]:
        place.server.say(task["data"]["sample_id"], "red", typed=True)
    pull_answers(place.desk)
    gone, kept = place.server.projects
    del place.server.projects[gone]
    n_gone = N_START - len(place.server.projects[kept]["tasks"]) - len(place.ledger())
    assert f"{n_gone} samples that wait for answers are not on {URL}" in place.project.ok("rounds", "pull", *A)
    assert f"{n_gone} samples that wait" in place.project.refused("rounds", "pull", "--wait", *A)
    assert len(place.ledger()) == 4
    assert f"({n_gone} new)" in place.project.ok("rounds", "push", *A)
    assert pull_answers(place.desk).missing == 0


def test_a_label_set_that_was_changed_on_the_server_is_told(place: Place) -> None:
    push_batch(place.desk)
    place.server.say(place.batch()[0], "red", field="colour")
    assert "1 annotations do not answer the field 'label'" in place.project.ok("rounds", "pull", *A)
    assert place.ledger().empty


def test_status_tells_how_far_the_server_is_and_outlives_its_troubles(place: Place) -> None:
    assert "Label Studio" not in place.project.ok("rounds", "status", *A)
    assert place.server.calls == []
    push_batch(place.desk)
    place.server.say(place.batch()[0], "red", typed=True)
    assert f"in Label Studio: 1/{N_START} answered" in place.project.ok("rounds", "status", *A)
    place.server.meet = lambda *_: httpx2.Response(401, json={"detail": f"{LEGACY} is over"})
    output = place.project.ok("rounds", "status", *A)
    assert "does not take the token ((token) is over)" in output
    assert LEGACY not in output
