"""Kedro hooks: parameters checked before anything runs; load versions pinned; lineage and commits written."""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.io.core import Version
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rlmba_pipelines.datasets.atomic import AtomicFile
from rlmba_pipelines.disk import sync, writing
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger.snapshot import ledger_state
from rlmba_pipelines.rounds.branch import branching
from rlmba_pipelines.rounds.commits import ASKED, DONE, PREPARED, Commit, Experiment, damaged, digest_of
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.parameters import checked, shaping
from rlmba_pipelines.rounds.systems import SYSTEMS
from rlmba_pipelines.rounds.unroll import FINAL, REPORT, START, build_final, build_round, prepare
from rlmba_pipelines.rounds.withdraw import finish_what_was_killed

Seen = set[tuple[Path, int]]  # files as they were at a time

UNASKED = (PREPARED, FINAL, REPORT)  # stages that buy nothing


def closing_of(stage: str) -> set[str]:
    """The nodes after which a stage is done."""
    system = SYSTEMS[current.registered_system()]
    measured = {f"{FINAL}.{name}" for name in (system.trained_by, "measure_validation", "measure_test")}
    named = {PREPARED: {system.prepared_by}, FINAL: measured, REPORT: {""}}
    return named.get(stage, {f"{stage}.buy_labels", f"{stage}.close_round"})


class ParameterHooks:
    """Unknown keys and values out of range end the run before any node, in one sentence."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        parameters = checked(dict(context.config_loader["parameters"]))
        current.project_path = context.project_path
        current.experiment_name = parameters.experiment
        if current.rounds is None:
            current.rounds = parameters.rounds.rounds
        current.system = parameters.system


class RoundHooks:
    """Every run, by the driver or by a plain ``kedro run``, obeys commits and leaves lineage."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._experiment: Experiment | None = None
        self._catalog: CatalogProtocol | None = None
        self._run_id = ""
        self._done: set[str] = set()
        self._unsaved: dict[str, set[str]] = {}
        self._settler = ThreadPoolExecutor(1, thread_name_prefix="settle")  # files settle while the next node runs
        self._digests: dict[Path, Future[str]] = {}
        self._whole: Seen = set()  # committed inputs that were hashed already
        self._shaping: dict[str, Any] = {}
        self._started = self._seconds = 0.0

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        experiment = current.experiment
        fresh = self._open.enter_context(locked(experiment.folder))
        try:
            if fresh:
                finish_what_was_killed(experiment)
            self._catalog = catalog
            self._experiment, self._run_id = experiment, str(run_params.get("run_id") or run_params.get("session_id"))
            self._done, self._unsaved, self._digests = set(), {}, {}
            nodes_by_stage: dict[str, set[str]] = {}
            for node in pipeline.nodes:
                nodes_by_stage.setdefault(stage_of(node), set()).add(node.name)
            refuse_committed(experiment, nodes_by_stage)
            self._shaping = shaping(checked(catalog.load("parameters")))
            experiment.check_parameters(self._shaping)
            pin_inputs(experiment, pipeline, catalog, set(nodes_by_stage), self._whole)
            if PREPARED in nodes_by_stage:
                experiment.uncommit(PREPARED)  # it stops being true with the first file that is written anew
        except BaseException:
            self._open.close()
            raise

    @hook_impl
    def before_node_run(self) -> None:
        self._started = time.perf_counter()

    @hook_impl
    def after_node_run(self) -> None:
        self._seconds = time.perf_counter() - self._started

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """A node is over when its last output is on disk: Kedro calls ``after_node_run`` before it saves."""
        unsaved = self._unsaved.setdefault(node.name, set(node.outputs))
        unsaved.discard(dataset_name)
        if self._experiment is None or self._catalog is None:
            return
        catalog = self._catalog
        dataset = catalog.get(dataset_name)
        if isinstance(dataset, AtomicFile):
            _, path = dataset.written()
            self._digests[path] = self._settler.submit(settled, path)
        if unsaved:
            return
        self._log_lineage(self._experiment, node, catalog)
        stage = stage_of(node)
        self._done.add(node.name)
        if node.name.endswith(".request_labels"):
            self._commit(self._experiment, stage, ASKED, catalog)
        elif closing_of(stage) <= self._done:
            self._commit(self._experiment, stage, DONE, catalog)

    def _log_lineage(self, experiment: Experiment, node: Node, catalog: CatalogProtocol) -> None:
        line = {
            "run_id": self._run_id,
            "node": node.name,
            "seconds": round(self._seconds, 4),
            "inputs": {n: _loaded_version(catalog, n) for n in node.inputs if not n.startswith("params:")},
            "outputs": {name: _saved_version(catalog, name) for name in node.outputs},
        }
        with writing(experiment.lineage_path), experiment.lineage_path.open("a") as stream:
            stream.write(json.dumps(line, sort_keys=True) + "\n")

    def _commit(self, experiment: Experiment, stage: str, state: str, catalog: CatalogProtocol) -> None:
        """Whole or not at all: names all the stage has on disk, what an earlier run of its steps made included."""
        before = experiment.commit(stage) if state == DONE and stage not in UNASKED else None
        versions, digests, files = (
            (dict(before.versions), dict(before.digests), dict(before.files)) if before else ({}, {}, {})
        )
        for name in sorted(outputs_of(stage) - set(versions)):
            dataset = catalog.get(name)
            if isinstance(dataset, AtomicFile) and dataset.exists():
                versions[name], path = dataset.written()
                digests[name] = self._digests[path].result() if path in self._digests else settled(path)
                files[name] = experiment.place_of(path)
        experiment.remember_parameters(self._shaping)
        with writing(experiment.ledger_path):
            held = ledger_state(experiment.ledger_path)
        experiment.write_commit(Commit(stage, state, self._run_id, versions, digests, files, held))

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._open.close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        self._open.close()


def settled(path: Path) -> str:
    """The digest of what was saved, once it is on the disk: a commit names nothing that a power cut could take."""
    with writing(path):
        sync(path)
        return digest_of(path)


def stage_of(node: Node) -> str:
    """The namespace of a round, ``final``; ``prepared`` for ingest and features; ``report`` for the rest."""
    if node.namespace:
        return node.namespace.split(".")[0]
    return PREPARED if node.name in {n.name for n in prepare(current.registered_system()).nodes} else REPORT


def outputs_of(stage: str) -> set[str]:
    """Every dataset that a stage writes."""
    system = current.registered_system()
    if stage == PREPARED:
        return prepare(system).all_outputs()
    round_idx = 0 if stage == FINAL else int(stage.removeprefix("round_"))
    return (build_final(1, system) if stage == FINAL else build_round(round_idx, system)).all_outputs()


def refuse_committed(experiment: Experiment, nodes_by_stage: dict[str, set[str]]) -> None:
    """A committed round is never run again: its labels were paid for and its successors stand on it."""
    for stage, names in nodes_by_stage.items():
        commit = experiment.commit(stage)
        if commit is None or stage in {FINAL, REPORT}:
            continue
        if stage == PREPARED:
            if experiment.commit(START) is not None:
                raise UserError(
                    f"Experiment {experiment.name!r} has rounds already, so its samples stay as they are; "
                    "go on with 'kedro rounds run', or start anew with --params experiment=NAME."
                )
            continue
        after_asking = {f"{stage}.buy_labels", f"{stage}.close_round"}
        if commit.state == DONE or not names <= after_asking:
            raise UserError(
                f"{stage} of experiment {experiment.name!r} is {commit.state} already; go on with 'kedro rounds "
                f"run', or try it another way: {branching(experiment, int(stage.removeprefix('round_')))}."
            )


def pin_inputs(
    experiment: Experiment, pipeline: Pipeline, catalog: CatalogProtocol, running: set[str], whole: Seen
) -> None:
    """Whatever comes from another stage is read in its committed version; an attempt that was killed is never read.

    Nor is a file that is not what was committed: each is hashed once a process, and then listed in ``whole``.
    """
    for name in sorted(pipeline.inputs()):
        if name.startswith("params:") or name == "parameters":
            continue
        stage, _, role = name.partition(".")
        commit = experiment.commit(stage if role else PREPARED)
        if commit and name in commit.versions:
            dataset = catalog[name]
            if name in commit.files:
                refuse_damaged(experiment, commit, name, whole)
            if commit.versions[name] and isinstance(dataset, AtomicFile):
                dataset._version = Version(commit.versions[name], dataset.resolve_save_version())
        elif role and stage not in running and (commit is None or isinstance(catalog[name], AtomicFile)):
            raise UserError(
                f"{name} is needed, but {stage} of experiment {experiment.name!r} is not finished; "
                "run 'kedro rounds run' to finish it."
            )
        elif isinstance(catalog[name], AtomicFile) and not catalog.exists(name):
            step = next(iter(SYSTEMS[current.registered_system()].preparation)) if not role else stage
            raise UserError(
                f"{name} is needed, but does not exist yet; run 'kedro run --pipelines={step}' first, "
                "or 'kedro rounds run' for everything."
            )


def refuse_damaged(experiment: Experiment, commit: Commit, name: str, whole: Seen) -> None:
    """Nothing is built on a file that is not what was committed."""
    path = experiment.data_path / commit.files[name]
    seen = path, path.stat().st_mtime_ns if path.exists() else 0
    if seen not in whole:
        found = experiment.damage(commit, name)
        if found:
            raise damaged(path, "it is missing" if found == "missing" else "it is not what was committed")
        whole.add(seen)


def _saved_version(catalog: CatalogProtocol, name: str) -> str | None:
    dataset = catalog.get(name)
    return dataset.resolve_save_version() if isinstance(dataset, AtomicFile) else None


def _loaded_version(catalog: CatalogProtocol, name: str) -> str | None:
    dataset = catalog.get(name)
    return dataset.resolve_load_version() if isinstance(dataset, AtomicFile) else None
