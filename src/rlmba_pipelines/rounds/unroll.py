"""A round is a namespace: one template, wired into ``round_01``, ``round_02``, … and measured once more in ``final``.

One ``unroll`` feeds the registry and the driver, so what kedro-viz draws is what runs. Pipelines are immutable, so each
is built once a process: Kedro asks for all of them before every run.
"""

from __future__ import annotations

from functools import cache

from kedro.pipeline import Pipeline

from rlmba_pipelines.pipelines import policy_selection, report
from rlmba_pipelines.rounds.systems import RL_MBA, SYSTEMS

START, FINAL, REPORT = "round_00", "final", "report"
DRAWN_ROUNDS = 12  # kedro-viz slows super-linearly: 20 rounds load in 5 s, 60 in 104 s

# all that one round hands to the next: input of a round <- output of the round before
CARRIED = {"labels": "labels_next", "round_state": "round_state_next"}
SHARED = (
    "features", "samples", "validation_labels", "test_labels", "answers", "setup", "base", "manifest",
    "unfinished_training",
)


def stage_name(round_idx: int) -> str:
    """``round_03`` for 3."""
    return f"round_{round_idx:02d}"


@cache
def prepare(system: str = RL_MBA) -> Pipeline:
    """What is done once an experiment: samples are read and divided, frozen features made."""
    return Pipeline([create() for create in SYSTEMS[system].preparation.values()])


@cache
def build_round(round_idx: int, system: str = RL_MBA) -> Pipeline:
    """Round 0 buys the start batch; every later one learns from what was bought before and buys again."""
    if round_idx == 0:
        return _stage(policy_selection.create_start(), START, {"labels": "given_labels"})
    template = Pipeline([create() for create in SYSTEMS[system].steps.values()])
    return _stage(template, stage_name(round_idx), _carried_from(round_idx - 1))


@cache
def build_final(rounds: int, system: str = RL_MBA) -> Pipeline:
    """What everything bought is worth: train and measure once more after the last round."""
    template = Pipeline([SYSTEMS[system].steps[name]() for name in SYSTEMS[system].closing])
    return _stage(template, FINAL, _carried_from(rounds))


@cache
def build_report(rounds: int, system: str = RL_MBA) -> Pipeline:
    """The report over rounds 1 … ``rounds`` and the closing measurement."""
    stages = [stage_name(k) for k in range(rounds + 1)]
    return report.create_pipeline(stages, FINAL, questions=SYSTEMS[system].questions)


@cache
def unroll(rounds: int, system: str = RL_MBA) -> Pipeline:
    """The whole experiment as one graph."""
    drawn = range(max(0, rounds - DRAWN_ROUNDS) and rounds - DRAWN_ROUNDS + 1, rounds + 1)
    stages = [build_round(k, system) for k in drawn]
    return Pipeline([prepare(system), *stages, build_final(rounds, system), build_report(rounds, system)])


@cache
def step_of_round(step: str, round_idx: int, system: str = RL_MBA) -> Pipeline:
    """One of the steps of one round, by its name in ``SYSTEMS``."""
    template = SYSTEMS[system].steps[step]()
    stage = stage_name(round_idx)
    names = {node.name for node in template.nodes}
    return Pipeline([n for n in build_round(round_idx, system).nodes if n.name.removeprefix(f"{stage}.") in names])


def _carried_from(round_idx: int) -> dict[str, str]:
    return {name: f"{stage_name(round_idx)}.{source}" for name, source in CARRIED.items()}


def _stage(template: Pipeline, namespace: str, carried: dict[str, str]) -> Pipeline:
    free = template.inputs()
    shared = {name: name for name in SHARED if name in free}
    carried = {name: source for name, source in carried.items() if name in free}
    parameters = {name for name in free if name.startswith("params:")}
    return Pipeline(template, namespace=namespace, inputs={**shared, **carried}, parameters=parameters)
