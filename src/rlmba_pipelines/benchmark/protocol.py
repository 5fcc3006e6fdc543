"""``conf/benchmark/protocol.yml``: what is compared on what, fixed before anything was tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from rlmba_pipelines.config import Share
from rlmba_pipelines.rounds.parameters import merged

MAIN, ALL_LABELS = "main", "all_labels"
Plan = Literal["smoke", "standard", "full"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Seeds(_Frozen):
    """First and last of the seeds that tuning may look at, pre-training, and of those that are reported."""

    tuning: tuple[int, int]
    pretraining: tuple[int, int]
    reported: tuple[int, int]


class BenchmarkSet(_Frozen):
    """A data set and its budget.

    Attributes:
        manifest: path under the project.
        family: sets of one family share concepts; what is trained on one is never reported on another.
    """

    manifest: str
    family: str
    start_size: int = Field(ge=2)
    query_size: int = Field(ge=1)
    rounds: int = Field(ge=1)


class Damage(_Frozen):
    """What a control does to the data of a run, drawn by its seed.

    Attributes:
        shuffled: labels of the pool in another order; nothing can be learned, so nobody may win.
        long_tail: the most frequent class of the pool over the rarest; 1 leaves the pool as it is.
        missing: share of samples that lose the modality which is best alone, where they have another one.
        label_noise: share of the pool whose label, when bought, is another class.
    """

    shuffled: bool = False
    long_tail: float = Field(1.0, ge=1)
    missing: Share = 0.0
    label_noise: Share = 0.0


class Control(_Frozen):
    """A condition that differs from the main comparison.

    Attributes:
        parameters: what it changes, nested like the YAML files.
        strategies: who takes part; empty: ``control_strategies``.
    """

    data: Damage = Damage()
    parameters: dict[str, Any] = {}
    strategies: tuple[str, ...] = ()


class Goals(_Frozen):
    """What the benchmark was to show; areas in points.

    Attributes:
        over_best_baseline: of the candidate's area above the best single baseline's, mean over sets.
        over_reference: of its area above the reference's, by set.
        labels_share: of the labels that the reference needs, at most, on ``labels_sets`` sets.
        equivalence: what nothing may differ by where nothing can be learned.
        better_variants: variants that were to be above the candidate.
    """

    over_best_baseline: float
    over_reference: dict[str, float]
    labels_share: Share
    labels_sets: int
    equivalence: float
    better_variants: tuple[str, ...]


class Protocol(_Frozen):
    """The whole file.

    Attributes:
        tuned: what favors the candidate on these sets, in words for the reader of the page.
    """

    @classmethod
    def read(cls, project_path: Path) -> Protocol:
        return cls(**yaml.safe_load((project_path / "conf" / "benchmark" / "protocol.yml").read_text()))

    seeds: Seeds
    tuned: str
    sets: dict[str, BenchmarkSet]
    learner: dict[str, Any]
    start_strategy: str
    candidates: int | None
    reference: str
    candidate: str
    strategies: dict[Literal["standard", "full"], tuple[str, ...]]
    variants: dict[str, dict[str, Any]]
    standard_sets: tuple[str, ...]
    controls: dict[str, Control]
    control_strategies: tuple[str, ...]
    unimodal: tuple[str, ...]
    goals: Goals

    def parameters(self, cell: Cell) -> dict[str, Any]:
        """What a cell changes in ``conf/base``, nested."""
        of_set, control = self.sets[cell.set], self.controls.get(cell.condition, Control())
        budget = {"start_size": of_set.start_size, "query_size": of_set.query_size, "rounds": of_set.rounds}
        start = {"start_strategy": self.start_strategy, "candidates": self.candidates, "budget": None}
        changes = merged(self.learner, {"rounds": {**budget, **start}})
        changes = merged(merged(changes, control.parameters), {"rounds": {"seed": cell.seed}})
        if cell.strategy == "rl_mba_published":
            changes = merged(changes, {"policy": {"name": "published"}})
        if cell.strategy in self.variants:
            return merged(changes, self.variants[cell.strategy])
        return changes if cell.strategy == self.candidate else merged(changes, {"rounds": {"strategy": cell.strategy}})

    def cells(self, plan: Plan, sets: Sequence[str], modalities: Mapping[str, tuple[str, ...]]) -> list[Cell]:
        """Every run of a plan on ``sets``, seed by seed, so that a stopped benchmark has whole pairs.

        Args:
            modalities: those of each set, for the strategies on one modality alone.
        """
        first, last = self.seeds.reported
        found = []
        for seed in range(first, (first + 2 if plan == "smoke" else last + 1)):
            for name in sets:
                strategies = (*self._strategies(plan, modalities[name]), ALL_LABELS)
                found += [Cell(set=name, condition=MAIN, strategy=strategy, seed=seed) for strategy in strategies]
                if plan == "full":
                    found += [
                        Cell(set=name, condition=condition, strategy=strategy, seed=seed)
                        for condition, control in self.controls.items()
                        for strategy in control.strategies or self.control_strategies
                    ]
        return found

    def _strategies(self, plan: Plan, modalities: tuple[str, ...]) -> tuple[str, ...]:
        if plan == "smoke":
            return (self.reference, "margin", self.candidate)
        alone = tuple(f"unimodal:{m}:{s}" for m in modalities for s in self.unimodal) if plan == "full" else ()
        return (*self.strategies["full" if plan == "full" else "standard"], *alone)


class Cell(_Frozen):
    """One run: a strategy with a seed on a set, under a condition (``main`` or a control)."""

    set: str
    condition: str
    strategy: str
    seed: int
