"""The loop as a user runs it: five commands, one project."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import ROOT, SMALL, Project
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.commits import Experiment


def test_a_run_buys_every_batch_once_and_writes_the_report(project: Project, media: Callable[..., Path]) -> None:
    project.drawn = True
    output = project.ok("rounds", "run", "--manifest", str(media()), "--experiment", "a", *SMALL)
    assert "report" in output
    picks = project.selections("a", 2)
    assert [len(p) for p in picks] == [12, 8, 8]
    assert len({s for p in picks for s in p}) == 28
    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        rows = ledger.rows()
    assert sorted(rows["sample_id"]) == sorted(s for p in picks for s in p)
    assert rows["cost"].sum() == 28
    page = (project.path / "data/08_reporting/report.html").read_text()
    assert page == (project.path / "data/08_reporting/a/report.html").read_text()
    assert picks[1][0] in page
    assert page.count("<svg") >= 8  # curve, two of modalities and calibration, each wide and narrow


def test_the_same_seed_buys_the_same_samples_and_another_seed_others(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = str(media())
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        project.ok(
            "rounds",
            "run",
            "--manifest",
            manifest,
            "--experiment",
            name,
            "--seed",
            seed,
            "--strategy",
            "random",
            *SMALL,
        )
    assert project.selections("a", 2) == project.selections("b", 2)
    assert project.selections("a", 2)[1:] != project.selections("c", 2)[1:]


def test_shuffled_rows_of_the_manifest_change_no_selection(project: Project, media: Callable[..., Path]) -> None:
    manifest = media()
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *SMALL)
    pd.read_csv(manifest, dtype=str).sample(frac=1, random_state=1).to_csv(manifest, index=False)
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "b", *SMALL)
    assert project.selections("a", 2) == project.selections("b", 2)


def test_a_finished_run_goes_on_where_it_was_and_adds_only_what_is_new(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = str(media())
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "a", *SMALL)
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "b", "--rounds", "1", *SMALL[2:])
    assert "round_01:" in project.ok("rounds", "status", "--experiment", "b")
    output = project.ok("rounds", "run", "--manifest", manifest, "--experiment", "b", *SMALL)
    assert "round_01" not in output
    assert "round_02" in output
    assert project.selections("a", 2) == project.selections("b", 2)
    assert "all 2 rounds are done already" in project.ok(
        "rounds", "run", "--manifest", manifest, "--experiment", "b", *SMALL
    )


def test_kedro_run_does_the_whole_experiment_and_buys_what_the_driver_buys(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = str(media())
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "a", *SMALL)
    project.ok(
        "run", "--params", f"experiment=b,manifest={manifest},rounds.rounds=2,rounds.start_size=12,rounds.query_size=8"
    )
    assert project.selections("a", 2) == project.selections("b", 2)
    sentence = project.refused("run", "--params", f"experiment=b,manifest={manifest},rounds.rounds=2")
    assert "kedro rounds run" in sentence


def test_one_round_and_the_six_names_run_alone_on_the_open_round(project: Project, media: Callable[..., Path]) -> None:
    manifest = str(media())
    params = ("--params", f"experiment=a,manifest={manifest},rounds.rounds=2,rounds.start_size=12,rounds.query_size=8")
    for name in ("ingest", "feature_extraction", "round_00", "round_01"):
        project.ok("run", f"--pipelines={name}", *params)
    for name in ("train_fusion", "evidential_scoring", "evaluate", "policy_selection"):
        project.ok("run", f"--pipelines={name}", *params)
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "b", *SMALL)
    assert project.selections("a", 2) == project.selections("b", 2)


def test_a_round_reads_the_committed_attempt_and_never_the_leftovers_of_a_killed_one(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = str(media())
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "a", "--rounds", "1", *SMALL[2:])
    labels = next((project.path / "data/03_primary/a/round_01/labels_next.parquet").glob("*/labels_next.parquet"))
    torn = labels.parents[1] / "9999-12-31T23.59.59.999Z" / labels.name
    torn.parent.mkdir()
    pd.read_parquet(labels).head(3).to_parquet(torn)
    assert "final:" in project.ok("rounds", "status", "--experiment", "a")
    params = f"experiment=a,manifest={manifest},rounds.rounds=2,rounds.start_size=12,rounds.query_size=8"
    project.ok("run", "--pipelines=round_02", "--params", params)
    assert len(project.table("a", "round_02", "labels_next")) == 28
    status = project.ok("rounds", "status", "--experiment", "a")
    assert "round_02:" in status
    assert "final:" not in status, "the closing measurement is older than the last round"


def test_a_round_that_was_never_finished_is_not_built_upon(project: Project, media: Callable[..., Path]) -> None:
    params = f"experiment=a,manifest={media()},rounds.start_size=12,rounds.query_size=8"
    project.ok("run", "--pipelines=ingest", "--params", params)
    project.ok("run", "--pipelines=feature_extraction", "--params", params)
    assert "round_01 of experiment 'a' is not finished" in project.refused(
        "run", "--pipelines=round_02", "--params", params
    )


def test_a_round_or_name_that_is_not_there_says_what_to_do(project: Project, media: Callable[..., Path]) -> None:
    params = ("--params", f"experiment=a,manifest={media()}")
    assert "rounds.rounds=9" in project.refused("run", "--pipelines=round_09", *params)
    assert "kedro registry list" in project.refused("run", "--pipelines=scoring", *params)


def test_no_experiment_takes_a_name_that_the_project_uses_in_a_layer(project: Project) -> None:
    catalog = "".join(path.read_text() for path in ROOT.glob("conf/*/catalog*.yml"))
    taken = set(re.findall(r"data/0[2-8]_\w+/([\w.]+)", catalog))
    assert {"cache", "vlm_base", "benchmark"} <= taken
    for name in (*taken, "Cache"):
        for command in (("run",), ("branch", "--from-round", "1")):
            said = project.refused("rounds", *command, "--experiment", name)
            assert f"The name {name!r} is one that the project uses itself" in said
    assert not any(path.is_file() for path in (project.path / "data").rglob("*"))


def test_lineage_names_the_version_of_everything_that_went_in_and_came_out(
    project: Project, media: Callable[..., Path]
) -> None:
    project.ok("rounds", "run", "--manifest", str(media()), "--experiment", "a", *SMALL)
    lines = [json.loads(line) for line in (project.path / "data/03_primary/a/lineage.jsonl").read_text().splitlines()]
    by_node = {line["node"]: line for line in lines}
    assert (
        by_node["round_02.train_fusion"]["inputs"]["round_01.labels_next"]
        == (by_node["round_01.buy_labels"]["outputs"]["round_01.labels_next"])
    )


@pytest.mark.parametrize(
    ("option", "value", "bought", "reason"),
    [("--budget", "46", 30, "budget"), ("--target-accuracy", "0.3", 12, "target")],
)
def test_a_stop_rule_ends_buying_and_says_so(
    project: Project, media: Callable[..., Path], option: str, value: str, bought: int, reason: str
) -> None:
    # 24 of the 120 samples are the validation split, and count: a budget of 46 pays for 22 more after the start
    output = project.ok(
        "rounds", "run", "--manifest", str(media()), "--experiment", "a", "--rounds", "4", *SMALL[2:], option, value
    )
    assert reason in output
    assert reason in project.ok("rounds", "status", "--experiment", "a")
    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        assert len(ledger.rows()) == (22 if option == "--budget" else bought)


def test_the_command_that_a_run_prints_for_more_rounds_needs_the_name_alone(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = str(media())
    project.ok("rounds", "run", "--manifest", manifest, "--experiment", "a", "--strategy", "margin", *SMALL)
    output = project.ok("rounds", "run", "--rounds", "3", "--experiment", "a")
    assert "round_03" in output
    assert [len(p) for p in project.selections("a", 3)] == [12, 8, 8, 8]


def test_a_run_that_a_budget_stopped_goes_on_when_the_budget_is_raised(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = str(media())
    stopped = project.ok("rounds", "run", "--manifest", manifest, "--experiment", "a", *SMALL, "--budget", "44")
    assert "the budget of 44 labels is spent" in stopped
    project.ok("rounds", "run", "--experiment", "a", "--budget", "60")
    assert [len(p) for p in project.selections("a", 2)] == [12, 8, 8]


RULES = {
    "budget": "rounds.budget=44",
    "max_cost": "rounds.max_cost=20",
    "target_accuracy": "rounds.target_accuracy=0.01",
    "plateau": "rounds.plateau.rounds=1,rounds.plateau.min_gain=1",  # of accuracy: no two rounds bring that
}


@pytest.mark.parametrize("rule", RULES)
def test_a_run_that_a_rule_stopped_says_what_lets_it_go_on_and_that_does(
    project: Project, media: Callable[..., Path], rule: str
) -> None:
    asked = ("--manifest", str(media()), "--experiment", "a", *SMALL[2:])
    output = project.ok("rounds", "run", *asked, "--rounds", "3", "--params", RULES[rule])
    assert Experiment.of(project.path, "a").rounds_done() < 3
    more = f"kedro rounds run --rounds N --experiment a --params rounds.{rule}=null"
    assert f"more     {more}   (N" in output
    assert f"; more with '{more}'" in project.ok("rounds", "status", "--experiment", "a")
    output = project.ok(*more.replace("N", "3", 1).split()[1:])
    assert Experiment.of(project.path, "a").rounds_done() == 3
    assert "more     kedro rounds run --rounds N --experiment a   (N" in output


def test_the_number_of_rounds_in_the_configuration_is_obeyed(project: Project, media: Callable[..., Path]) -> None:
    (project.path / "conf/local/parameters_rounds.yml").write_text("rounds: {rounds: 1, start_size: 12, query_size: 8}")
    project.ok("rounds", "run", "--manifest", str(media()), "--experiment", "a")
    assert not (project.path / "data/03_primary/a/commits/round_02.json").exists()
    assert (project.path / "data/03_primary/a/commits/round_01.json").exists()


def test_the_environment_names_the_experiment_where_no_option_does(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.ok("rounds", "run", "--manifest", str(media()), "--experiment", "mine", *SMALL)
    assert "mine" not in project.ok("rounds", "status")
    monkeypatch.setenv("RLMBA_EXPERIMENT", "mine")
    assert "experiment 'mine'" in project.ok("rounds", "run", "--rounds", "3")
    told = project.ok("rounds", "status", "--json")
    assert json.loads(told) == json.loads(project.ok("rounds", "status", "--json", "--experiment", "mine"))
    assert json.loads(told) != json.loads(project.ok("rounds", "status", "--json", "--experiment", "main"))
    assert len(project.selections("mine", 3)) == 4


def test_a_second_runner_is_told_who_holds_the_experiment(project: Project, media: Callable[..., Path]) -> None:
    import subprocess
    import sys

    folder = project.path / "data/03_primary/a"
    code = (
        "import sys, time, pathlib; from rlmba_pipelines.rounds.lock import locked\n"
        f"with locked(pathlib.Path({str(folder)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        sentence = project.refused("rounds", "run", "--manifest", str(media()), "--experiment", "a", *SMALL)
        assert str(holder.pid) in sentence
    finally:
        holder.kill()
        holder.wait()
    project.ok("rounds", "run", "--manifest", str(media()), "--experiment", "a", *SMALL)
