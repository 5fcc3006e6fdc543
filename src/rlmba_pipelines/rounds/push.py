"""The open batch to an annotation server, once however often it is sent."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from rlmba_pipelines.labeling.label_studio import (
    SHOWN,
    UPLOADABLE,
    Board,
    Project,
    Unclear,
    Unreachable,
    Upload,
    task_of,
    template,
    with_classes,
)
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.answers import allowed_classes
from rlmba_pipelines.rounds.batches import OpenBatch, modalities_of, opened_batch, reasons_for
from rlmba_pipelines.rounds.desk import Desk, round_key
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.systems import SYSTEMS
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.simulation.tables import TRAINING
from rlmba_pipelines.sources.media import MediaError, read_medium

LOOKS = 5  # at what a server has, after calls that were cut off
TOLD = ("key", "sample_id", "round", "rank", "why", "note", "proposed")  # of a sample, beside its media
PART_SAMPLES, PART_BYTES = 100, 32_000_000  # of what is in memory at a time


@dataclass(frozen=True)
class Pushed:
    """What the server holds of the open batch: tasks that are new, tasks that were there, and the projects."""

    round_idx: int
    n_new: int
    n_there: int
    projects: tuple[Project, ...]


def push_batch(desk: Desk) -> Pushed:
    """Bring what is open of the batch to the server: a project for each set of modalities, one task a sample.

    What is there is left alone, so it can be cut off anywhere and repeated. A project shows nothing to people before
    it is whole.

    Raises:
        UserError: no batch is open, a medium cannot be read, or the server cannot be asked.
    """
    with locked(desk.experiment.folder):
        opened = opened_batch(desk.experiment, desk.parameters.labeling)
        key = round_key(desk.experiment, opened.round_idx)
        with Ledger(desk.experiment.ledger_path) as ledger:
            ledger.intend(opened.round_idx, desk.target, key)
        samples = _samples(desk, opened, uuid.UUID(key))
        for look in range(LOOKS):
            try:
                n_new = sum(_fill(desk, opened.round_idx, shown, of_set) for shown, of_set in samples.items())
                break
            except Unclear as unclear:
                if look == LOOKS - 1:
                    raise Unreachable(
                        f"{desk.client.url} breaks off ({unclear}); give the same command again: it goes on where it "
                        "stopped."
                    ) from None
                desk.client.sleep(2.0**look)
        n_all = sum(len(of_set) for of_set in samples.values())
        return Pushed(opened.round_idx, n_new, n_all - n_new, tuple(desk.board.projects({key})))


@dataclass(frozen=True)
class _Sample:
    """A row of the batch, and what of it is shown: modality -> cell of the manifest."""

    row: Mapping[str, Any]
    cells: Mapping[str, str]


def _samples(desk: Desk, opened: OpenBatch, name_of_round: uuid.UUID) -> dict[str, list[_Sample]]:
    """The open rows by the modalities that can be shown (``image+text``), in the order of choice."""
    rows = opened.batch[~opened.batch["sample_id"].isin(opened.settled_ids)]
    rows = rows.assign(why=reasons_for(desk.experiment, opened.round_idx, rows))
    modalities = [name for name in SHOWN if name in modalities_of(desk.experiment) and name in rows]
    found: dict[str, list[_Sample]] = {}
    for row in rows.to_dict("records"):
        there = {name: str(row[name]) for name in modalities if row[name]}
        cells = {name: cell for name, cell in there.items() if _can_be_shown(name, cell)}
        if not cells:
            raise UserError(
                f"Sample {row['sample_id']!r} has nothing that Label Studio can show ({', '.join(there.values())}); "
                "answer it by 'kedro rounds export' and 'import', or convert its media."
            )
        hidden = [f"{name} {cell}" for name, cell in there.items() if name not in cells]
        note = f"(Not shown here: {', '.join(hidden)}.)" if hidden else ""
        key = str(uuid.uuid5(name_of_round, str(row["sample_id"])))
        named = {str(name): value for name, value in row.items()}
        described = {**named, "key": key, "round": opened.round_idx, "note": note, "proposed": _proposed(named)}
        found.setdefault("+".join(cells), []).append(_Sample(described, cells))
    return found


def _can_be_shown(modality: str, cell: str) -> bool:
    return modality == "text" or PurePosixPath(cell.lower()).suffix in UPLOADABLE[modality]


def _fill(desk: Desk, round_idx: int, shown: str, samples: list[_Sample]) -> int:
    """Add what a project lacks; gives how many tasks were new.

    Raises:
        Unclear: a call was cut off; the next look finds what it did.
    """
    board, classes = desk.board, allowed_classes(desk.experiment, desk.parameters)
    project = _project(desk, round_idx, shown)
    if project is None:
        title = f"{desk.experiment.name[:20]} round {round_idx} {shown}"
        board.create(round_key(desk.experiment, round_idx), shown, title, _settings(desk, round_idx))
        project = _project(desk, round_idx, shown)
    if project is None:
        raise Unclear("a project that was made there is not there")
    there = {task["data"].get("key") for task in board.tasks(project)}
    missing = [sample for sample in samples if sample.row["key"] not in there]
    if project.is_built:
        config = with_classes(project.config, classes or ())
    else:
        config = template(shown.split("+"), classes, explained=SYSTEMS[desk.experiment.system()].questions)
    _add(desk, board, project, missing, stage_name(round_idx), guesses="<Choices" in config)
    if config != project.config:
        board.set_interface(project, config)
    return len(missing)


def _project(desk: Desk, round_idx: int, shown: str) -> Project | None:
    found = desk.board.projects({round_key(desk.experiment, round_idx)})
    return next((project for project in found if project.shown == shown), None)


def _settings(desk: Desk, round_idx: int) -> dict[str, Any]:
    return {
        "maximum_annotations": desk.parameters.labeling.annotators,
        "show_skip_button": True,
        "skip_queue": "IGNORE_SKIPPED",  # who skips has answered: nobody else is asked in their place
        "enable_empty_annotation": False,
        "show_collab_predictions": True,
        "model_version": stage_name(round_idx),
        "sampling": "Sequential sampling",  # best first
        "expert_instruction": "Give the label that fits. Skip what you cannot tell: it will not be asked again.",
    }


def _add(desk: Desk, board: Board, project: Project, samples: list[_Sample], model: str, guesses: bool) -> None:
    """Media first, then the tasks, part by part."""
    places = board.media(project) if samples else {}
    for part in _parts(desk, samples):
        media = [medium for _, contents in part for medium in contents.values() if isinstance(medium, Upload)]
        uploads = {medium.name: medium for medium in media if medium.name not in places}
        if uploads:
            board.upload(project, list(uploads.values()))
            places = board.media(project)
        tasks = []
        for sample, contents in part:
            shown = {name: places[c.name] if isinstance(c, Upload) else c for name, c in contents.items()}
            facts = {name: sample.row[name] for name in TOLD}
            tasks.append(task_of(facts, shown, model, guess=_guess(sample.row) if guesses else None))
        board.add_tasks(project, tasks)


def _parts(desk: Desk, samples: list[_Sample]) -> Iterator[list[tuple[_Sample, dict[str, str | Upload]]]]:
    """The samples with what is shown of them, no more at a time than may be in memory."""
    part: list[tuple[_Sample, dict[str, str | Upload]]] = []
    n_bytes = 0
    for sample in samples:
        contents: dict[str, str | Upload] = {}
        for name, cell in sample.cells.items():
            data = _read(desk, str(sample.row["sample_id"]), name, cell)
            n_bytes += len(data)
            is_text = name == "text"
            contents[name] = data.decode("utf-8", "replace") if is_text else Upload(data, PurePosixPath(cell).suffix)
        part.append((sample, contents))
        if len(part) == PART_SAMPLES or n_bytes >= PART_BYTES:
            yield part
            part, n_bytes = [], 0
    if part:
        yield part


def _read(desk: Desk, sample_id: str, modality: str, cell: str) -> bytes:
    try:
        return read_medium(desk.media, desk.parameters.ingest.caps.max_bytes, modality, cell)
    except MediaError as error:
        raise UserError(
            f"Sample {sample_id!r} cannot be shown: {error}; bring it back, or withdraw the sample "
            f"('kedro rounds withdraw{desk.experiment.flag()}')."
        ) from None


def _proposed(row: Mapping[str, Any]) -> str:
    """The chain of thought that the model would give, where its guess is to be shown."""
    chain = row.get("proposed_chain")
    return f"The model would say: {chain}" if isinstance(chain, str) and chain and row["purpose"] == TRAINING else ""


def _guess(row: Mapping[str, Any]) -> tuple[str, float] | None:
    """The model's guess where it is to be shown: an answer that is there already would flatter what is measured."""
    sure = row.get("guess_probability")
    if row["purpose"] != TRAINING or not isinstance(sure, float) or not math.isfinite(sure):
        return None
    return str(row["guess"]), sure
