"""Cold start: nobody knows a label yet, and people answer through files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import Project
from rlmba_pipelines.labeling import krippendorff_alpha
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.progress import n_training_labels

A = ("--experiment", "a")
OPTIONS = ("--start-size", "20", "--query-size", "10", "--rounds", "2", "--experiment", "a")


def _truth(manifest: Path) -> dict[str, str]:
    """Labels that people would give; they stand in no file that the run can read."""
    colors = ("red", "green", "blue", "gray")
    return {s: colors[i % 4] for i, s in enumerate(pd.read_csv(manifest, dtype=str)["sample_id"])}


def _sheet(project: Project, stage: str) -> Path:
    return next(
        (project.path / "data/07_model_output/a" / stage / "annotation_sheet.csv").glob("*/annotation_sheet.csv")
    )


def _ledger(project: Project) -> pd.DataFrame:
    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        return ledger.rows()


def _fill(project: Project, stage: str, truth: dict[str, str], rows: slice = slice(None)) -> Path:
    sheet = pd.read_csv(_sheet(project, stage), dtype=str, keep_default_na=False)
    sheet["label"] = sheet["sample_id"].map(truth)
    path = project.path / f"{stage}.csv"
    sheet[rows].to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n")
    return path


def test_an_unlabeled_pool_is_labeled_round_by_round_through_files(
    project: Project, media: Callable[..., Path]
) -> None:
    project.drawn = True
    manifest = media(100, labeled=False, split=False)
    truth = _truth(manifest)
    output = project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    assert "20 samples of round 0 wait for labels" in output
    assert "kedro rounds import FILE --experiment a" in output
    assert "(0/20 answered)" in project.ok("rounds", "status", "--experiment", "a")

    half = _fill(project, "round_00", truth, slice(0, 9))
    assert "9 new answers taken, 0 rows not taken, 11 samples still open" in project.ok(
        "rounds", "import", str(half), "--experiment", "a"
    )
    assert "0 new answers taken" in project.ok("rounds", "import", str(half), "--experiment", "a")
    assert "(9/20 answered)" in project.ok("rounds", "status", "--experiment", "a")

    output = project.ok("rounds", "import", str(_fill(project, "round_00", truth)), "--experiment", "a")
    assert "10 samples of round 1 wait for labels" in output
    output = project.ok("rounds", "import", str(_fill(project, "round_01", truth)), "--experiment", "a")
    assert "10 samples of round 2 wait for labels" in output
    output = project.ok("rounds", "import", str(_fill(project, "round_02", truth)), "--experiment", "a")
    assert "report" in output
    assert re.search(r"after the last round: 34 training labels, accuracy [\d.]+ % \(of 6\)\n", output)
    assert re.search(r"round_01: +16 training labels, accuracy [\d.]+ % \(of 4\)\n", project.ok("rounds", "status", *A))

    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        rows = ledger.rows()
    assert len(rows) == 40
    assert rows.groupby("round")["purpose"].value_counts().to_dict() == {
        (0, "training"): 16,
        (0, "validation"): 4,
        (1, "training"): 8,
        (1, "validation"): 2,
        (2, "training"): 10,
    }
    assert all(truth[s] == label for s, label in zip(rows["sample_id"], rows["label"], strict=True))
    page = (project.path / "data/08_reporting/a/report.html").read_text()
    assert "random validation slice (6 samples)" in page


def test_a_plain_kedro_run_that_waits_for_people_names_the_experiment_and_logs_no_error(
    project: Project, media: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = media(40, labeled=False, split=False)
    output = project.ok("run", f"--params=experiment=a,manifest={manifest},rounds.start_size=12,rounds.rounds=1")
    assert "round 0: 0 of 12 samples are labeled; 'kedro rounds status --experiment a' says how to go on." in output
    of_nodes = ("kedro.pipeline", "kedro.runner")
    assert not [r.message for r in caplog.records if r.name.startswith(of_nodes) and r.levelname != "INFO"]


def test_the_choice_stands_once_it_was_sent_whatever_runs_later(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(100, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    before = _sheet(project, "round_00").read_bytes()
    assert "20 samples of round 0 wait" in project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    assert _sheet(project, "round_00").read_bytes() == before


def test_labels_that_a_manifest_already_has_are_the_start_and_cost_nothing(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=True, split=False)
    table = pd.read_csv(manifest, dtype=str)
    table.loc[30:, "label"] = ""
    table.to_csv(manifest, index=False)
    output = project.ok("rounds", "run", "--manifest", str(manifest), "--start-size", "40", *OPTIONS[2:])
    assert "10 samples of round 0 wait for labels" in output  # 30 of the 40 are there
    truth = _truth(manifest)
    project.ok("rounds", "import", str(_fill(project, "round_00", truth)), "--experiment", "a")
    labels = project.table("a", "round_00", "labels_next")
    assert len(labels) == 40
    assert labels.loc[labels["annotator"] == "manifest", "cost"].sum() == 0


def test_enough_given_labels_still_leave_a_fair_sample_to_be_labeled(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=True, split=False)
    table = pd.read_csv(manifest, dtype=str)
    table.loc[60:, "label"] = ""
    table.to_csv(manifest, index=False)
    told = project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    assert "0/4 answered; 60 labels of the manifest count to the start batch" in told
    sheet = pd.read_csv(_sheet(project, "round_00"), dtype=str)
    assert sheet["purpose"].tolist() == ["validation"] * 4  # a fifth of a start batch of 20


def test_answers_come_back_as_json_lines_and_what_was_not_asked_is_not_taken(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    truth = _truth(manifest)
    tasks = next(
        (project.path / "data/07_model_output/a/round_00").glob("annotation_tasks.jsonl/*/annotation_tasks.jsonl")
    )
    asked = [json.loads(line)["sample_id"] for line in tasks.read_text().splitlines()]
    other = next(s for s in truth if s not in asked)
    answers = project.path / "answers.jsonl"
    lines = [{"sample_id": s, "label": truth[s]} for s in asked[:5]]
    lines += [
        {"sample_id": other, "label": "red"},
        {"sample_id": asked[6], "label": "red"},
        {"sample_id": asked[6], "label": "blue"},
    ]
    answers.write_text("\n".join(json.dumps(line) for line in lines))
    output = project.ok("rounds", "import", str(answers), "--experiment", "a")
    assert f"answers.jsonl, row 6: sample {other!r} was not asked for" in output
    for row in (7, 8):
        assert f"answers.jsonl, row {row}: {asked[6]!r} is answered in two ways at once" in output
    assert "5 new answers taken, 3 rows not taken, 15 samples still open" in output


def test_an_answer_file_that_is_none_is_refused_in_one_sentence(project: Project, media: Callable[..., Path]) -> None:
    project.ok("rounds", "run", "--manifest", str(media(100, labeled=False, split=False)), *OPTIONS)
    broken = project.path / "broken.csv"
    broken.write_bytes(b"\xff\xfe\x00junk")
    for file, word in ((broken, "broken.csv"), (project.path / "none.csv", "none.csv")):
        assert word in project.refused("rounds", "import", str(file), "--experiment", "a")
    assert "no experiment 'b'" in project.refused("rounds", "import", str(broken), "--experiment", "b")


def test_a_start_batch_of_one_class_goes_on(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(80, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    same = dict.fromkeys(_truth(manifest), "red")
    output = project.ok("rounds", "import", str(_fill(project, "round_00", same)), "--experiment", "a")
    assert "10 samples of round 1 wait for labels" in output
    output = project.ok("rounds", "import", str(_fill(project, "round_01", _truth(manifest))), "--experiment", "a")
    assert "is not one of the 1 classes" in output
    assert "kedro rounds classes NAME --experiment a" in output
    output = project.ok("rounds", "classes", "green", "blue", "gray", "--experiment", "a")
    assert "10 samples of round 2 wait for labels" in output
    assert project.ok("rounds", "classes", "--experiment", "a").split() == ["blue", "gray", "green", "red"]


def _start(project: Project, media: Callable[..., Path], labeling: str = "") -> tuple[dict[str, str], list[str]]:
    """An experiment that waits for its start batch: what people would say, and what was asked."""
    if labeling:
        (project.path / "conf/local/parameters_labeling.yml").write_text(f"labeling: {labeling}\n")
    manifest = media(100, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    return _truth(manifest), pd.read_csv(_sheet(project, "round_00"), dtype=str)["sample_id"].tolist()


def _answers(project: Project, answers: dict[str, str], name: str = "answers.csv", annotator: str = "") -> str:
    rows = pd.DataFrame({"sample_id": list(answers), "label": list(answers.values())})
    (rows.assign(annotator=annotator) if annotator else rows).to_csv(project.path / name, index=False)
    return str(project.path / name)


def test_the_batch_goes_out_with_reasons_and_paths_and_again_as_the_same_files(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    folder = project.path / "out"
    output = project.ok("rounds", "export", str(folder), "--experiment", "a")
    assert "20 samples" in output
    csv, jsonl = folder / "a-round_00.csv", folder / "a-round_00.jsonl"
    sheet = pd.read_csv(csv, dtype=str, keep_default_na=False)
    assert sheet["sample_id"].tolist() == asked
    assert sheet["rank"].tolist() == [str(k) for k in range(1, 21)]
    assert all(Path(path).is_file() for path in sheet["image"])
    assert sheet["why"].str.endswith(".").all()
    assert [json.loads(line)["sample_id"] for line in jsonl.read_text().splitlines()] == asked
    before = csv.read_bytes(), jsonl.read_bytes()
    project.ok("rounds", "export", str(folder), "--experiment", "a")
    assert (csv.read_bytes(), jsonl.read_bytes()) == before
    project.ok("rounds", "import", _answers(project, {s: truth[s] for s in asked[:8]}), "--experiment", "a")
    assert "12 samples" in project.ok("rounds", "export", str(folder), "--experiment", "a")


def test_an_exported_file_that_somebody_has_filled_in_is_not_written_over(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    folder = project.path / "out"
    export = ("rounds", "export", str(folder), "--experiment", "a")
    project.ok(*export)
    csv, jsonl = folder / "a-round_00.csv", folder / "a-round_00.jsonl"
    empty = csv.read_text(), jsonl.read_text()
    one_cell = empty[0].replace(f"{asked[0]},", f"{asked[0]},{truth[asked[0]]}", 1)
    one_label = empty[1].replace('"label":""', f'"label":"{truth[asked[0]]}"', 1)
    for path, filled in ((csv, one_cell), (jsonl, one_label), (csv, "no columns that are known")):
        path.write_text(filled)
        assert f"{path.name} was filled in since it was exported" in project.refused(*export)
        assert path.read_text() == filled
        csv.write_text(empty[0])
        jsonl.write_text(empty[1])
    project.ok(*export)


def test_a_round_is_closed_with_half_of_its_answers_and_the_rest_goes_back_into_the_pool(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    assert "fewer than two training labels" in project.refused("rounds", "close", "--experiment", "a")
    answers = {s: truth[s] for s in asked[4:14]}
    assert "10 samples still open" in project.ok("rounds", "import", _answers(project, answers), "--experiment", "a")
    output = project.ok("rounds", "close", "--experiment", "a")
    assert "10 samples without an answer go back into the pool" in output
    assert "10 samples of round 1 wait for labels" in output
    labels = project.table("a", "round_00", "labels_next")
    assert dict(zip(labels["sample_id"], labels["label"], strict=True)) == answers
    chosen = set(project.table("a", "round_01", "annotation_batch")["sample_id"])
    assert not chosen & set(answers)

    late = next(s for s in asked if s not in answers and s not in chosen)
    assert "1 new answers taken" in project.ok(
        "rounds", "import", _answers(project, {late: truth[late]}), "--experiment", "a"
    )
    project.ok("rounds", "import", str(_fill(project, "round_01", truth)), "--experiment", "a")
    labels = project.table("a", "round_01", "labels_next")
    assert len(labels) == 21
    assert labels.set_index("sample_id").loc[late, "round"] == 0


def test_an_answer_that_differs_is_set_aside_until_it_is_called_a_correction(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    project.ok("rounds", "import", _answers(project, {s: truth[s] for s in asked[:10]}), "--experiment", "a")
    other = {asked[0]: next(c for c in ("red", "green") if c != truth[asked[0]])}
    output = project.ok("rounds", "import", _answers(project, other), "--experiment", "a")
    assert "--correct lets the new answer count" in output
    assert "0 new answers taken, 1 set aside" in output
    bill = _ledger(project)["cost"].sum()
    output = project.ok("rounds", "import", _answers(project, other), "--correct", "--experiment", "a")
    assert "1 corrected" in output
    rows = _ledger(project)
    assert rows.set_index("sample_id").loc[asked[0], "label"] == other[asked[0]]
    assert rows["cost"].sum() == bill == 10
    assert "0 new answers taken, 0 rows not taken" in project.ok(
        "rounds", "import", _answers(project, other), "--correct", "--experiment", "a"
    )
    printed = project.ok("rounds", "ledger", "--all", "--experiment", "a")
    assert len([line for line in printed.splitlines() if f",{asked[0]}," in line]) == 2


def test_the_sheet_of_long_texts_and_odd_ids_comes_back_and_the_ledger_runs_in_no_spreadsheet(
    project: Project,
) -> None:
    ids = ["=1+1", "'-5", *(f"s{i}" for i in range(38))]
    texts = ["x" * 140_000, "one\rtwo", *(f"fire number {i}" for i in range(38))]
    manifest = project.path / "m.jsonl"
    pairs = zip(ids, texts, strict=True)
    manifest.write_text("\n".join(json.dumps({"sample_id": i, "text": text}) for i, text in pairs))
    sizes = ("--start-size", "40", "--query-size", "2", "--rounds", "1", "--experiment", "a")
    project.ok("rounds", "run", "--manifest", str(manifest), *sizes)
    assert "0 new answers taken, 0 rows not taken" in project.ok(
        "rounds", "import", str(_sheet(project, "round_00")), "--experiment", "a"
    )
    project.ok("rounds", "export", str(project.path), "--experiment", "a")
    sheet = pd.read_csv(project.path / "a-round_00.csv", dtype=str, keep_default_na=False)
    assert set(sheet["sample_id"]) == {"'=1+1", "''-5", *ids[2:]}
    sheet.assign(label="=red").to_csv(project.path / "filled.csv", index=False, lineterminator="\r\n")
    project.ok("rounds", "import", str(project.path / "filled.csv"), "--experiment", "a")
    assert set(_ledger(project)["sample_id"]) == set(ids)
    printed = project.ok("rounds", "ledger", "--experiment", "a").splitlines()[1:41]
    assert {line.split(",")[0] for line in printed} == set(sheet["sample_id"])
    assert {line.split(",")[1] for line in printed} == {"'=red"}


def test_what_was_set_aside_is_taken_as_it_was_given_once_its_class_is_known(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media, "{annotators: 2}")
    project.ok("rounds", "classes", "red", "green", "blue", "gray", "--experiment", "a")
    for who in ("ann", "bob"):
        said = {s: truth[s] for s in asked[1:]} | {asked[0]: "red" if who == "ann" else "blue"}
        project.ok("rounds", "import", _answers(project, said, annotator=who), "--experiment", "a")
    assert "1 set aside" in _aside(project, {asked[0]: "yak"}, "--adjudicate")
    assert "1 set aside" in _aside(project, {asked[1]: "yak"}, "--by", "ann", "--correct")
    assert "1 set aside" in _aside(project, {asked[2]: "emu"}, "--by", "bob", "--correct")
    assert "1 set aside" in _aside(project, {asked[2]: "yak"}, "--by", "bob", "--correct")
    output = project.ok("rounds", "classes", "yak", "emu", "--experiment", "a")
    assert "1 new answers taken, 2 corrected, 0 rows not taken" in output
    rows = _ledger(project).set_index(["sample_id", "annotator"])
    for sample, who in ((asked[0], "adjudicator"), (asked[1], "ann"), (asked[2], "bob")):
        assert rows.loc[(sample, who), ["label", "explanation"]].tolist() == ["yak", "it has horns"]
    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        assert ledger.quarantined()["label"].tolist() == ["emu"]


def _aside(project: Project, answers: dict[str, str], *flags: str) -> str:
    """What import tells of answers of no known class that are explained."""
    path = project.path / "aside.csv"
    table = pd.DataFrame({"sample_id": list(answers), "label": list(answers.values()), "explanation": "it has horns"})
    table.to_csv(path, index=False)
    return project.ok("rounds", "import", str(path), *flags, "--experiment", "a")


def test_a_correction_of_an_earlier_round_reaches_the_next_model(project: Project, media: Callable[..., Path]) -> None:
    truth, asked = _start(project, media)
    project.ok("rounds", "import", _answers(project, {s: truth[s] for s in asked}), "--experiment", "a")
    other = next(c for c in ("red", "green") if c != truth[asked[0]])
    project.ok("rounds", "import", _answers(project, {asked[0]: other}), "--correct", "--experiment", "a")
    project.ok("rounds", "import", str(_fill(project, "round_01", truth)), "--experiment", "a")
    before, after = (
        project.table("a", stage, "labels_next").set_index("sample_id")["label"]
        for stage in ("round_00", "round_01")
    )
    assert (before[asked[0]], after[asked[0]]) == (truth[asked[0]], other)


def test_who_abstains_and_what_belongs_to_no_class_is_paid_for_and_never_asked_again(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    answers = {s: truth[s] for s in asked} | {asked[0]: "?", asked[1]: "(none of these)"}
    output = project.ok("rounds", "import", _answers(project, answers), "--experiment", "a")
    assert "20 new answers taken" in output
    labels = project.table("a", "round_00", "labels_next").set_index("sample_id")
    assert labels.loc[asked[0], "label"] == "(abstain)"
    assert labels["cost"].sum() == 20
    for stage in ("round_01", "round_02"):
        project.ok("rounds", "import", str(_fill(project, stage, truth)), "--experiment", "a")
        batch = project.table("a", stage, "annotation_batch")
        assert not {asked[0], asked[1]} & set(batch["sample_id"])
    assert set(project.ok("rounds", "classes", "--experiment", "a").split()) == set(truth.values())


def test_report_status_and_reward_count_the_labels_that_the_model_learned_from(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    purpose = project.table("a", "round_00", "annotation_batch").set_index("sample_id")["purpose"]
    mute = [s for s in asked if purpose[s] == "training"][:3]
    answers = {s: truth[s] for s in asked} | dict.fromkeys(mute[:2], "?") | {mute[2]: "(none of these)"}
    project.ok("rounds", "import", _answers(project, answers), "--experiment", "a")
    for stage in ("round_01", "round_02"):
        project.ok("rounds", "import", str(_fill(project, stage, truth)), "--experiment", "a")
    experiment = Experiment.of(project.path, "a")
    reward = json.loads(experiment.path_of("round_02", "round_state_next").read_text())["label_counts"]
    assert reward[0] == (purpose == "training").sum() - 3
    history = pd.read_csv(project.path / "data/08_reporting/a/history.csv")["labels"].tolist()
    status = [n_training_labels(experiment, stage) for stage in ("round_01", "round_02", "final")]
    assert [*reward, status[-1]] == history == status


def test_three_annotators_settle_by_majority_and_an_adjudicator_decides_the_rest(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media, "{annotators: 3}")
    right = {s: truth[s] for s in asked}
    wrong = {s: "red" if truth[s] != "red" else "blue" for s in asked}
    assert "--by NAME" in project.refused("rounds", "import", _answers(project, right), "--experiment", "a")
    project.ok("rounds", "import", _answers(project, right), "--by", "ann", "--experiment", "a")
    assert "(0/20 answered)" in project.ok("rounds", "status", "--experiment", "a")
    bob = right | {s: wrong[s] for s in asked[:5]}
    project.ok("rounds", "import", _answers(project, bob, annotator="bob"), "--experiment", "a")
    third = next(c for c in ("red", "green", "blue", "gray") if c not in (truth[asked[0]], wrong[asked[0]]))
    cem = right | {asked[0]: third}
    output = project.ok("rounds", "import", _answers(project, cem, annotator="cem"), "--experiment", "a")
    assert "1 of these are disputed" in output
    assert "19/20 answered, 1 disputed" in project.ok("rounds", "status", "--experiment", "a")
    assert "1 samples" in project.ok("rounds", "export", str(project.path), "--disputed", "--experiment", "a")
    sheet = pd.read_csv(project.path / "a-round_00-disputed.csv", dtype=str)
    assert json.loads(sheet.loc[0, "answers"]) == {"ann": truth[asked[0]], "bob": wrong[asked[0]], "cem": third}
    output = project.ok("rounds", "import", _answers(project, {asked[0]: third}), "--adjudicate", "--experiment", "a")
    assert "10 samples of round 1 wait for labels" in output
    labels = project.table("a", "round_00", "labels_next").set_index("sample_id")
    assert labels.loc[asked[0], "label"] == third
    assert (labels.loc[asked[1:], "label"] == pd.Series(right)[asked[1:]]).all()
    assert labels["cost"].sum() == 61

    for stage in ("round_01", "round_02"):
        for who in ("ann", "bob", "cem"):
            answers = str(_fill(project, stage, truth))
            project.ok("rounds", "import", answers, "--by", who, "--experiment", "a")
    page = (project.path / "data/08_reporting/a/report.html").read_text()
    assert "Who answered" in page
    assert f"Krippendorff’s alpha {krippendorff_alpha(_ledger(project)):.2f}" in page
    assert "<td>88\u00a0%</td>" in page  # bob: 5 of 40 answers did not become the label, one of them adjudicated
    assert "All labels together cost 121." in page


def test_answers_count_wherever_the_command_is_given(
    project: Project, media: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = media(100, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    answers = _fill(project, "round_00", _truth(manifest))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    output = project.ok("rounds", "import", str(answers), "--experiment", "a")
    assert "10 samples of round 1 wait for labels" in output
    assert not list(elsewhere.iterdir())


def test_spellings_that_differ_by_capitals_are_told_and_corrections_after_the_last_model_say_when_they_count(
    project: Project, media: Callable[..., Path]
) -> None:
    truth, asked = _start(project, media)
    assert "No class is known yet" in project.ok("rounds", "classes", "--experiment", "a")
    typed = {s: truth[s].upper() if s == asked[0] else truth[s] for s in asked}
    output = project.ok("rounds", "import", _answers(project, typed, annotator="ann"), "--experiment", "a")
    assert f"{truth[asked[0]].upper()}, {truth[asked[0]]} differ by capitals alone" in output
    for k in (1, 2):
        opened = pd.read_csv(_sheet(project, f"round_{k:02d}"), dtype=str)["sample_id"].tolist()
        answered = opened if k == 1 else opened[:4]
        late = _answers(project, {s: truth[s] for s in answered}, annotator="ann")
        output = project.ok("rounds", "import", late, "--experiment", "a")
    output = project.ok("rounds", "close", "--experiment", "a")
    assert "; 4 more bought" in output
    right = _answers(project, {asked[0]: truth[asked[0]]}, annotator="ann")
    output = project.ok("rounds", "import", right, "--correct", "--experiment", "a")
    assert "1 corrected" in output
    assert "does not know them yet; those after the next batch do:  kedro rounds run --rounds 3" in output


def test_more_labels_taken_back_than_a_batch_brings_leave_status_and_report(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=False, split=False)
    sizes = ("--start-size", "24", "--query-size", "4", "--rounds", "3")
    project.ok("rounds", "run", "--manifest", str(manifest), *sizes, "--experiment", "a")
    truth, sheet = _truth(manifest), pd.read_csv(_sheet(project, "round_00"), dtype=str)
    project.ok("rounds", "import", str(_fill(project, "round_00", truth)), "--experiment", "a")
    wrong = sheet.loc[sheet["purpose"] == "training", "sample_id"][:8]
    doubts = _answers(project, dict.fromkeys(wrong, "?"), "doubts.csv")
    project.ok("rounds", "import", doubts, "--correct", "--experiment", "a")
    for stage in ("round_01", "round_02", "round_03"):
        told = project.ok("rounds", "import", str(_fill(project, stage, truth)), "--experiment", "a")
    assert "report" in told
    assert "the next 4 labels are expected to bring" in project.ok("rounds", "status", "--experiment", "a")
