"""What people said on an annotation server, through the importer of files; and waiting for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rlmba_pipelines.disk import replacing
from rlmba_pipelines.labeling import label_meant, read_answers
from rlmba_pipelines.labeling.label_studio import Gone, Project, Unreachable, answers_of, has_field
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.records import disarmed
from rlmba_pipelines.rounds.answers import Imported, import_answers
from rlmba_pipelines.rounds.batches import answers_in_force, open_batch, opened_batch
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_table
from rlmba_pipelines.rounds.desk import Desk, round_key
from rlmba_pipelines.rounds.lock import Busy
from rlmba_pipelines.sources.questions import choices_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pulled:
    """What a look at the server came to.

    Attributes:
        imported: what became of it in the ledger.
        missing: samples of the open batch that wait for an answer and are not on the server any more.
        changed: annotations of an interface that does not ask for the label any more.
    """

    imported: Imported
    missing: int
    changed: int


def pull_answers(desk: Desk, *, correct: bool = False, only: int | None = None) -> Pulled:
    """Take what people said on the server through the importer of files; late answers to earlier rounds too.

    All of it is written first, as the answer file that the ledger names as its source.

    Args:
        only: look at this round alone.

    Raises:
        UserError: the open batch was never sent there, or the server cannot be asked.
    """
    opened, sent = open_batch(desk.experiment, desk.parameters.labeling), desk.rounds_sent()
    if opened and opened.round_idx not in sent:
        raise UserError(
            f"Round {opened.round_idx} was not sent to {desk.client.url} yet; "
            f"send it with 'kedro rounds push{desk.experiment.flag()}'."
        )
    if not sent:
        raise UserError(f"Nothing of experiment {desk.experiment.name!r} was ever sent to {desk.client.url}.")
    _, tasks = _look(desk, sent if only is None else (only,))
    annotated = [task for task in tasks if task["annotations"]]
    changed = sum(not has_field(said) for task in annotated for said in task["annotations"])
    rows = _news(desk.experiment, answers_of(annotated, desk.board.people())) if annotated else []
    imported = _import(desk, rows, correct) if rows else Imported(0, 0, (), (), ())
    opened = open_batch(desk.experiment, desk.parameters.labeling)
    there = {task["data"].get("sample_id") for task in tasks}
    missing = opened.unanswered_ids - there if opened else frozenset()
    return Pulled(imported, len(missing), changed)


def progress(desk: Desk, round_idx: int) -> tuple[int, int, list[Project]]:
    """Samples of a round that somebody answered on the server, samples that are there, and its projects.

    Raises:
        UserError: the server cannot be asked.
    """
    projects, tasks = _look(desk, (round_idx,))
    return sum(bool(task["annotations"]) for task in tasks), len(tasks), projects


def _look(desk: Desk, rounds: Collection[int]) -> tuple[list[Project], list[dict[str, Any]]]:
    """The projects of some rounds that people see, and all their tasks."""
    found = desk.board.projects({round_key(desk.experiment, k) for k in rounds})
    projects = [project for project in found if project.is_built]
    tasks: list[dict[str, Any]] = []
    for project in projects:
        with suppress(Gone):  # deleted since
            tasks += desk.board.tasks(project)
    return projects, tasks


def gone(desk: Desk, n: int) -> str:
    """What is told where samples that are waited for are not on the server any more."""
    return (
        f"{n} samples that wait for answers are not on {desk.client.url} any more, or not yet; nothing that was pulled "
        f"is lost. 'kedro rounds push{desk.experiment.flag()}' sends them again."
    )


def _news(experiment: Experiment, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of every sample of which something is said that the ledger does not hold; none of withdrawn samples."""
    with Ledger(experiment.ledger_path) as ledger:
        known, withdrawn = answers_in_force(ledger.rows()), set(ledger.withdrawn())
    choices = choices_of(read_table(experiment.path_of(PREPARED, "samples")))
    said = {
        (r["sample_id"], r["annotator"], label_meant(r["label"], choices.get(r["sample_id"], ())))
        for r in rows
        if r["label"] and r["sample_id"] not in withdrawn
    }
    new = {sample_id for sample_id, annotator, label in said if known.get(sample_id, {}).get(annotator) != label}
    return [row for row in rows if row["sample_id"] in new]


def _import(desk: Desk, rows: list[dict[str, Any]], correct: bool) -> Imported:
    data = "".join(json.dumps({name: disarmed(cell) for name, cell in row.items()}) + "\n" for row in rows).encode()
    path = desk.experiment.folder / "answers" / f"label_studio-{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    return import_answers(desk.experiment, [read_answers(path)], desk.parameters, correct=correct)


def wait_for_answers(desk: Desk, say: Say, tell: Callable[[Pulled], None]) -> None:
    """Look for answers until nobody has to be waited for: the batch is settled, or only disputes are left.

    A server that cannot be asked is asked again, less and less often; so is an experiment that another command holds.

    Args:
        tell: gets what each look brought.

    Raises:
        UserError: samples that are waited for are not on the server any more, or as ``pull_answers``.
    """
    opened = opened_batch(desk.experiment, desk.parameters.labeling)
    k, before, pause, trouble = opened.round_idx, "", desk.parameters.label_studio.poll_seconds, ""
    only = None  # the first look takes late answers to earlier rounds along
    while True:
        try:
            pulled = pull_answers(desk, only=only)
            only, trouble = k, ""
        except (Unreachable, Busy) as error:
            pulled = None
            if str(error) != trouble:
                trouble = str(error)
                say(f"{trouble} It is asked again; nothing is lost.")
        if pulled:
            tell(pulled)
            now = open_batch(desk.experiment, desk.parameters.labeling)
            if now is None or now.round_idx != k or not now.unanswered_ids:
                return
            if pulled.missing:
                raise UserError(gone(desk, pulled.missing))
            far = f"round {k}: {now.progress()}"
            if far != before:
                say(far)
                before, pause = far, desk.parameters.label_studio.poll_seconds
        desk.client.sleep(pause)
        pause = min(2 * pause, desk.parameters.label_studio.max_poll_seconds)
