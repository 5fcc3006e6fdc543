"""A batch on its way to an annotation server: there once, whole, and with what people need to answer."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from fake_label_studio import LEGACY, URL, FakeLabelStudio
from label_studio_place import N_START, A, Place, color
from rlmba_pipelines.labeling.label_studio import board
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds import push as pushing
from rlmba_pipelines.rounds.batches import opened_batch
from rlmba_pipelines.rounds.push import push_batch


def test_a_batch_is_sent_once_however_often(place: Place) -> None:
    output = place.project.ok("rounds", "push", *A)
    assert f"{N_START} samples of round 0 are in Label Studio ({N_START} new)" in output
    assert f"{N_START} samples of round 0 are in Label Studio (0 new)" in place.project.ok("rounds", "push", *A)
    tasks = place.server.tasks()
    assert sorted(task["data"]["sample_id"] for task in tasks) == sorted(place.batch())
    assert len({task["data"]["key"] for task in tasks}) == N_START
    shown = {project["title"]: project for project in place.server.projects.values()}
    assert set(shown) == {"a round 0 image+audio+text", "a round 0 image+text"}
    for title, project in shown.items():
        ranks = [task["data"]["rank"] for task in project["tasks"]]
        assert ranks == sorted(ranks), "the best come first"
        for task in project["tasks"]:
            media = {name for name in ("image", "audio", "text", "video") if task["data"].get(name)}
            assert "+".join(name for name in ("image", "audio", "text") if name in media) == title.split()[-1]
            assert task["data"]["why"]
            assert task["data"]["image"].startswith(f"/data/upload/{project['id']}/1a2b3c4d-")
            assert task["data"]["image"].rpartition("-")[2] in place.server.files[project["id"]]


@pytest.mark.parametrize("how", ["cut before", "cut after"])
def test_a_push_that_is_cut_off_at_any_call_and_repeated_leaves_what_one_push_leaves(place: Place, how: str) -> None:
    desk = place.desk
    push_batch(desk)
    expected = [(task["data"]["key"], task["data"]["heading"]) for task in place.server.tasks()]
    n_calls = len(place.server.calls)
    assert n_calls > 15
    for number in range(n_calls):
        server = FakeLabelStudio()

        def meet(at: int, *_: Any, number: int = number) -> None:
            if at == number and how == "cut before":
                raise httpx2.ReadError("Connection reset by peer")

        server.meet, server.cut_after = meet, number if how == "cut after" else None
        desk.client._http = httpx2.Client(transport=server.transport)
        push_batch(desk)
        found = [(task["data"]["key"], task["data"]["heading"]) for task in server.tasks()]
        assert found == expected, f"call {number}: {server.calls[number]}"
        assert len(server.projects) == 2
        assert all("Header" in project["label_config"] for project in server.projects.values())


def test_the_ledger_knows_of_a_batch_before_the_server_does(place: Place) -> None:
    known: list[bool] = []

    def look(*_: Any) -> None:
        with Ledger(place.experiment.ledger_path) as ledger:
            known.append((0, f"label_studio {URL}") in ledger.outbox())

    place.server.meet = look
    push_batch(place.desk)
    assert len(known) > 10
    assert all(known)


def test_people_see_nothing_before_a_project_is_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PART_SAMPLES", 3)
    seen: dict[int, int] = {}

    def note_what_people_see(*_: Any) -> None:
        for number, project in place.server.projects.items():
            if "Header" in project["label_config"]:
                seen.setdefault(number, len(project["tasks"]))

    place.server.meet = note_what_people_see
    push_batch(place.desk)
    assert seen == {number: len(project["tasks"]) for number, project in place.server.projects.items()}
    assert min(seen.values()) > 3, "several parts each"


def test_guesses_are_shown_but_not_on_what_accuracy_is_measured_by(place: Place) -> None:
    push_batch(place.desk)
    assert not any(task["predictions"] for task in place.server.tasks())  # no model yet
    for sample_id in place.batch():
        place.server.say(sample_id, color(sample_id), typed=True)
    assert "10 samples of round 1 wait for labels" in place.project.ok("rounds", "pull", *A)
    push_batch(place.desk)
    batch = place.project.table("a", "round_01", "annotation_batch").set_index("sample_id")
    tasks = [task for task in place.server.tasks() if task["data"]["round"] == 1]
    assert len(tasks) == len(batch) == 10
    assert set(batch["purpose"]) == {"training", "validation"}
    for task in tasks:
        row = batch.loc[task["data"]["sample_id"]]
        assert bool(task["predictions"]) == (row["purpose"] == "training")
        for guess in task["predictions"]:
            assert guess["score"] == pytest.approx(row["guess_probability"])
            assert guess["result"][0]["value"]["choices"] == [row["guess"]]
    offered = {p["label_config"] for p in place.server.projects.values() if " round 1 " in p["title"]}
    assert all(f'value="{name}"' in config for config in offered for name in ("red", "green", "blue", "gray"))


def test_what_hinders_a_push_or_pull_is_told_in_one_sentence(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "was not sent to" in place.project.refused("rounds", "pull", *A)
    assert "no experiment 'c'" in place.project.refused("rounds", "push", "--experiment", "c")
    for token in ("0" * 40, "two words", "gänsefüßchen"):
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
        sentence = place.project.refused("rounds", "push", *A)
        assert "token" in sentence
        assert token not in sentence
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    assert "There is no token for" in place.project.refused("rounds", "push", *A)
    credentials = place.project.path / "conf" / "local" / "credentials.yml"
    credentials.write_text(f"label_studio: {{token: '{LEGACY}'}}\n")
    assert f"({N_START} new)" in place.project.ok("rounds", "push", *A)


def test_a_run_that_will_ask_a_server_misses_its_token_before_it_reads_a_sample(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    manifest = str(place.experiment.request()["runtime_params"]["manifest"])
    run = ("rounds", "run", "--manifest", manifest, "--annotator", "label_studio", "--experiment", "new")
    assert "There is no token for" in place.project.refused(*run)
    assert not (place.project.path / "data/02_intermediate/new").exists()
    assert not (place.project.path / "data/03_primary/new").exists()


def test_a_medium_that_is_gone_is_named_before_its_task_is_made(place: Place) -> None:
    table = place.project.table("a", "round_00", "annotation_batch")
    root = place.desk.media.root
    missing = table["image"].iloc[-1]
    kept = (root / missing).read_bytes()
    (root / missing).unlink()
    try:
        sentence = place.project.refused("rounds", "push", *A)
    finally:
        (root / missing).write_bytes(kept)
    assert f"the file {missing} is missing" in sentence
    assert f"{N_START} samples of round 0 are in Label Studio" in place.project.ok("rounds", "push", *A)
    assert len(place.server.tasks()) == N_START


def test_what_browsers_cannot_show_is_named_on_the_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = place.desk
    opened = opened_batch(place.experiment, desk.parameters.labeling)
    batch, root = opened.batch.copy(), desk.media.root
    for name, data in (("B.PNG", b"a picture"), ("words.txt", "größer".encode())):
        (root / name).write_bytes(data)
    batch.loc[0, ["image", "audio"]] = "scan.tiff", ""
    batch.loc[1, ["image", "text", "audio"]] = "B.PNG", "words.txt", ""
    monkeypatch.setattr(pushing, "opened_batch", lambda *_: replace(opened, batch=batch))
    push_batch(desk)
    hidden, shown = (place.server.task(sample_id)["data"] for sample_id in batch["sample_id"][:2])
    assert "image" not in hidden
    assert hidden["heading"].endswith("(Not shown here: image scan.tiff.)")
    assert shown["text"] == "größer"
    assert shown["image"].endswith(f"-{hashlib.sha256(b'a picture').hexdigest()[:32]}.png")
    sets = {project["title"].split()[-1] for project in place.server.projects.values()}
    assert sets == {"image+audio+text", "image+text", "text"}
    batch.loc[0, "text"] = ""
    with pytest.raises(UserError, match=r"has nothing that Label Studio can show \(scan.tiff\)"):
        push_batch(desk)


def test_media_go_up_in_parts_that_fit_the_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PART_BYTES", 2500)
    monkeypatch.setattr(board, "UPLOAD_BYTES", 2500)
    push_batch(place.desk)
    n_parts = sum(call[0] == "POST" and call[1].endswith("/import") for call in place.server.calls)
    assert n_parts > 2 * N_START, "a part with a sound is over the limit alone"
    assert len(place.server.tasks()) == N_START
    ranks = [task["data"]["rank"] for project in place.server.projects.values() for task in project["tasks"]]
    assert sorted(ranks) == list(range(1, N_START + 1))
