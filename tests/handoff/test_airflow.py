"""The DAG of an experiment: one task a round, a sensor where people answer, commands that the project takes."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pandas as pd
import pytest

from conftest import ROOT, SMALL, Project
from label_studio_place import A, Place, color
from rlmba_pipelines.handoff.airflow import Dag
from rlmba_pipelines.rounds.commits import Experiment


class Operator:
    """As much of Airflow's operators as a DAG of ours needs."""

    def __init__(self, *, task_id: str, **options: Any) -> None:
        self.task_id, self.options, self.after = task_id, options, []
        FakeDag.open[-1].tasks.append(self)

    def __rshift__(self, later: Operator) -> None:
        later.after.append(self.task_id)

    def __rrshift__(self, earlier: list[Operator]) -> None:
        self.after += [task.task_id for task in earlier]


class FakeDag:
    open: list[FakeDag] = []  # noqa: RUF012 - those whose 'with' is running

    def __init__(self, **options: Any) -> None:
        self.options, self.tasks = options, []

    def __enter__(self) -> FakeDag:
        self.open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.open.pop()


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, Any]]:
    """Runs a DAG file beside a small 'airflow', and gives what it defines."""
    sdk = ModuleType("airflow.sdk")
    sdk.DAG, sdk.BaseOperator, sdk.BaseSensorOperator = FakeDag, Operator, Operator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)

    def namespace_of(path: Path) -> dict[str, Any]:
        namespace: dict[str, Any] = {}
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
        return namespace

    return namespace_of


@pytest.fixture
def load(executed: Any) -> Callable[[Path, Project], tuple[dict[str, Any], list[list[str]]]]:
    """The same; its commands are given to the real command line of the project."""

    def loaded(path: Path, at: Project) -> tuple[dict[str, Any], list[list[str]]]:
        namespace = executed(path)
        given: list[list[str]] = []

        def rounds(*arguments: str) -> str:
            given.append(list(arguments))
            result = at("rounds", *arguments)
            if result.exit_code:
                raise (namespace["Later"] if result.exit_code == 75 else RuntimeError)(result.output)
            return result.output

        namespace["rounds"] = rounds
        return namespace, given

    return loaded


def file_of(project: Project, *arguments: str) -> Path:
    project.ok("rounds", "airflow", *arguments)
    (path,) = Path("build/airflow").glob("*_dag.py")
    return path


def test_simulated_rounds_are_a_chain_of_tasks_that_end_where_one_run_ends(
    project: Project, media: Callable[..., Path], load: Any
) -> None:
    options = ("--manifest", str(media(60)), "--annotator", "simulated", *SMALL, "--rounds", "1")
    path = file_of(project, "--schedule", "0 6 * * 1", "--", *options, *A)
    assert path.name == "rlmba_a_dag.py"
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")])
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported - set(sys.stdlib_module_names) == {"airflow"}
    namespace, given = load(path, project)
    dag = namespace["dag"]
    assert [(t.task_id, t.after) for t in dag.tasks] == [
        ("round_00", []), ("round_01", ["round_00"]), ("report", ["round_01"]),
    ]  # fmt: skip
    assert dag.options["max_active_runs"] == 1
    assert (dag.options["schedule"], dag.options["catchup"]) == ("0 6 * * 1", False)
    assert namespace["COMMAND"] == [sys.executable, "-m", "rlmba_pipelines", "rounds"]
    assert namespace["FOLDER"] == str(project.path)
    experiment = Experiment.of(project.path, "a")
    for k, task in enumerate(dag.tasks[:-1]):
        task.execute({})
        assert experiment.rounds_done() == k
        assert not experiment.report_path.exists()
    dag.tasks[-1].execute({})
    assert experiment.report_path.exists()
    bought = project.selections("a", 1)
    project.ok("rounds", "run", *options, "--experiment", "b")
    assert bought == project.selections("b", 1)
    n_given = len(given)
    for task in dag.tasks[1:]:
        task.execute({})  # a retry, or the next run of the DAG
    assert project.selections("a", 1) == bought
    assert [arguments[0] for arguments in given[n_given:]] == ["run", "status", "run", "status"]
    namespace["OPTIONS"] += ["--rounds", "2"]  # as where rounds.rounds was raised since
    dag.tasks[-1].execute({})
    assert experiment.rounds_done() == 1, "rounds that the DAG does not have are not its own"


def test_a_command_that_fails_fails_its_task_and_one_that_is_cleared_or_late_is_ended(
    tmp_path: Path, executed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEDRO_ENV", "food101")
    namespace = executed(Dag("a", ["--manifest", "my.csv"], 1, people=False, server=False).write(tmp_path))
    assert namespace["ENVIRONMENT"]["KEDRO_ENV"] == "food101"
    task, running = namespace["dag"].tasks[0], namespace["RUNNING"]
    namespace["COMMAND"] = [sys.executable, "-c", "print('no', flush=True); raise SystemExit(2)"]
    with pytest.raises(RuntimeError, match=r"run --manifest my\.csv --last 0 --scheduled: exit code 2"):
        task.execute({})

    def late(*_: object, **__: object) -> None:
        ended.extend(running)
        raise TimeoutError

    ended: list[subprocess.Popen[str]] = []
    namespace["COMMAND"] = [sys.executable, "-c", "import time; print('at it', flush=True); time.sleep(60)"]
    namespace["print"] = lambda *_, **__: task.on_kill()  # Airflow's signal comes while the command runs
    with pytest.raises(RuntimeError, match=f"exit code -{signal.SIGTERM}"):
        task.execute({})
    namespace["print"] = late
    with pytest.raises(TimeoutError):
        task.execute({})
    assert [process.returncode for process in ended] == [-signal.SIGTERM]
    assert running == []
    task.on_kill()


def test_a_sensor_waits_for_the_answers_of_people_and_takes_them_from_the_server(place: Place, load: Any) -> None:
    path = file_of(place.project, "--", *A)  # begun with files: nobody pulls
    namespace, given = load(path, place.project)
    dag = namespace["dag"]
    names = [t.task_id for t in dag.tasks]
    assert names == ["round_00", "answers_00", "round_01", "answers_01", "report"]
    assert [t.after for t in dag.tasks] == [[], *([name] for name in names[:-1])]
    assert {t.options["mode"] for t in dag.tasks if t.task_id.startswith("answers")} == {"reschedule"}
    first, sensor, second, _, report = dag.tasks
    first.execute({})
    assert not sensor.poke({})
    with pytest.raises(RuntimeError, match="waits for answers"):
        report.execute({})
    assert given[-1][0] == "status", "a run would wait with the people, on a worker"
    sheet = pd.DataFrame({"sample_id": place.batch()})
    sheet.assign(label=sheet["sample_id"].map(color)).to_csv("answers.csv", index=False)
    place.project.ok("rounds", "import", "answers.csv", "--by", "ann", "--scheduled", *A)
    assert place.experiment.rounds_done() == -1, "the next round is the scheduler's"
    assert sensor.poke({})
    second.execute({})
    assert place.experiment.rounds_done() == 0
    assert sensor.poke({}), "a sensor that is asked again is not held up by a later round"
    status = json.loads(place.project.ok("rounds", "status", "--json", *A))
    assert status == {
        "experiment": "a", "rounds_done": 0, "stopped": None, "reported": False,
        "open": {"round": 1, "samples": 10, "answered": 0, "disputed": 0},
    }  # fmt: skip


def test_the_sensor_pulls_where_people_answer_on_a_server_and_bears_one_that_is_away_but_no_refusal(
    place: Place, load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = place.experiment.parameters_path
    started.write_text(started.read_text().replace('"annotator": "files"', '"annotator": "label_studio"'))
    options = ("--annotator", "label_studio", *A)
    namespace, given = load(file_of(place.project, "--", *options), place.project)
    first, sensor = namespace["dag"].tasks[:2]
    first.execute({})
    assert place.server.projects, "the task has sent the batch and does not wait"
    assert not sensor.poke({})
    assert ["pull", "--scheduled", *A] in given

    def away(*_: object) -> None:
        raise httpx2.ConnectError("nobody there")

    with monkeypatch.context() as patch:
        patch.setattr(place.server, "meet", away)
        assert not sensor.poke({})
        assert "cannot be asked now (nobody there)" in capsys.readouterr().out
        patch.setattr(place.server, "meet", lambda *_: None)
        patch.setenv("LABEL_STUDIO_API_KEY", "of-nobody")
        with pytest.raises(RuntimeError, match="does not take the token"):
            sensor.poke({})
    projects, place.server.projects = place.server.projects, {}
    with pytest.raises(RuntimeError, match="20 samples that wait for answers are not on"):
        sensor.poke({})
    place.server.projects = projects
    for sample_id in place.batch():
        place.server.say(sample_id, color(sample_id))
    assert sensor.poke({})
    assert place.experiment.rounds_done() == -1, "the next round is the scheduler's"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--", "--last", "3"), "Leave --first and --last away"),
        (("--", "--strategy", "wisdom"), "wisdom"),
        (("--", "--wisdom"), "No such option"),
        (("--", "--experiment", "été"), "Airflow takes ASCII names only"),
        (("--to", "pyproject.toml/dags"), "cannot be written"),
    ],
)
def test_bad_input_is_told_in_a_sentence(project: Project, arguments: tuple[str, ...], said: str) -> None:
    assert said in project.refused("rounds", "airflow", *arguments)


@pytest.mark.airflow
def test_a_real_airflow_parses_the_file_and_runs_two_rounds(project: Project, media: Callable[..., Path]) -> None:
    python = ROOT / ".venv-airflow" / "bin" / "python"
    home = project.path / "airflow"
    asked = ("--manifest", str(media(60)), *SMALL, "--annotator")
    for more in (("simulated", *A), ("label_studio", "--experiment", "people")):
        project.ok("rounds", "airflow", "--to", str(home / "dags"), "--schedule", "@daily", "--", *asked, *more)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        "PYTHONPATH": str(ROOT / "src"),
    }
    script = home / "test_run.py"
    script.write_text(
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(home / 'dags')!r})\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "people = bag.dags['rlmba_people']\n"
        "assert people.task_dict['answers_01'].upstream_task_ids == {'round_01'}\n"
        "assert people.task_dict['answers_01'].reschedule\n"
        "assert people.task_dict['answers_00'].poke({})\n"  # of an experiment that is not begun nobody waits
        "dag = bag.dags['rlmba_a']\n"
        "print('tasks', sorted(dag.task_dict), dag.max_active_runs)\n"
        "run = dag.test()\n"
        "print('state', run.state)\n"
    )
    airflow = [str(python), "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=environment, cwd=home, check=True, capture_output=True, timeout=300)
    test = [str(python), str(script)]
    ran = subprocess.run(test, env=environment, cwd=home, capture_output=True, text=True, timeout=900)
    told = ran.stdout + ran.stderr
    assert "tasks ['report', 'round_00', 'round_01', 'round_02'] 1" in told, told
    assert ran.returncode == 0, told
    assert "state success" in ran.stdout.lower().replace("dagrunstate.", ""), told
    assert Experiment.of(project.path, "a").rounds_done() == 2
    assert Experiment.of(project.path, "a").report_path.exists()
