"""Worlds whose information is known: what any set of modalities is worth follows from the table they are drawn from.

Concept  the yardstick of AMCB: a set on which the right modality weights are known.
Source   unique, redundant and synergistic information: Williams & Beer 2010 (arXiv 1004.2515). Dividends of a game:
         Harsanyi 1963.
Chosen   worth is Bayes accuracy. A sample is an event of one of K classes, or nothing; what shows the event is one atom
         of information, and a share of all samples is each atom's. A coalition gains an atom's share when it can read
         it, so an atom that any of k modalities can read gives each 1/k of its share, and one that takes both a half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, NamedTuple

import numpy as np

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.balance import shapley
from rlmba_pipelines.simulation.round import Task
from rlmba_pipelines.simulation.tables import Answer
from rlmba_pipelines.simulation.toy import task_of_arrays

NOTHING = "nothing"  # the class of a sample without an event; without evidence it is the best guess
PROTOTYPE_LENGTH = 12.0  # in standard deviations of the noise: nearly no symbol is read wrongly, nor sums of them


@dataclass(frozen=True)
class Atom:
    """One piece of information, and who holds it.

    Attributes:
        share: of all samples, those whose event this atom shows.
        modalities: those it lies in.
        read_by: ``any`` of them alone (unique information of one, redundant of several); ``both`` of two together:
            each gives a hint of a class, and two hints of one class are an event, of two classes nothing; or
            ``parity`` of two: the class is the difference of their symbols, which no additive model can learn.
        decoys: hints that mean nothing, for every hint of an event; at least 1, so that a hint alone changes no guess.
            1 makes a hint of ``both`` a fair coin, more makes it evidence of nothing.
    """

    share: float
    modalities: tuple[str, ...]
    read_by: Literal["any", "both", "parity"] = "any"
    decoys: float = 1.0

    @property
    def mass(self) -> float:
        """Share of all samples that show symbols of this atom, decoys included."""
        return self.share * (1 if self.read_by == "any" else 1 + self.decoys)


class Row(NamedTuple):
    """One kind of sample: how probable it is, its class (0 is nothing) and the symbol in each modality (0 is blank)."""

    probability: float
    y: int
    symbols_M: tuple[int, ...]


@dataclass(frozen=True)
class World:
    """Samples of K classes of events, or of none; what no atom takes is blank in every modality.

    Raises:
        ValueError: an atom that cannot be laid out, or atoms that leave too little of nothing to be the best guess.
    """

    modalities: tuple[str, ...]
    atoms: tuple[Atom, ...]
    n_events: int = 3

    def __post_init__(self) -> None:
        for atom in self.atoms:
            known = set(atom.modalities) & set(self.modalities)
            if not known or len(known) != len(atom.modalities) or (atom.read_by != "any" and len(known) != 2):
                raise ValueError(f"{atom} needs modalities of {self.modalities}, each once; both and parity are of two")
            if atom.decoys < 1:
                raise ValueError(f"{atom}: with fewer decoys than events a hint alone is worth something")
        blank = 1 - sum(atom.mass for atom in self.atoms)
        if self.n_events < 2 or blank * self.n_events <= sum(atom.share for atom in self.atoms):
            raise ValueError(f"{blank:.2f} of the samples are blank: too few for nothing to be the best guess")

    @property
    def classes(self) -> tuple[str, ...]:
        return (NOTHING, *(f"event {k}" for k in range(1, self.n_events + 1)))

    @property
    def n_symbols(self) -> int:
        """Blank, and an alphabet of its own for every atom."""
        return 1 + len(self.atoms) * (self.n_events + 1)

    def rows(self) -> list[Row]:
        """The whole joint distribution of class and symbols; probabilities sum to 1."""
        told = [row for number, atom in enumerate(self.atoms) for row in self._told(number, atom)]
        blank = Row(1 - sum(row.probability for row in told), 0, (0,) * len(self.modalities))
        return [*told, blank]

    def bayes_accuracy(self, seen: frozenset[str]) -> float:
        """Accuracy of the best guess from the symbols of these modalities, in [0, 1]: the exact worth of the set."""
        columns = [m for m, name in enumerate(self.modalities) if name in seen]
        joint: dict[tuple[int, ...], np.ndarray] = {}
        for row in self.rows():
            shown = tuple(row.symbols_M[m] for m in columns)
            joint.setdefault(shown, np.zeros(len(self.classes)))[row.y] += row.probability
        return float(sum(mass_C.max() for mass_C in joint.values()))

    def contributions(self) -> np.ndarray:
        """float64[M]: the exact Shapley value of every modality, in shares of accuracy.

        >>> World(("a", "b"), (Atom(0.2, ("a",)), Atom(0.1, ("a", "b")))).contributions().round(3)
        array([0.25, 0.05])
        """
        return shapley(self.bayes_accuracy, self.modalities)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Classes int64[N] and modality -> float32[N, D]: a prototype for each symbol, and noise of variance 1.

        A modality that only ever shows blanks is noise alone.
        """
        rows = self.rows()
        drawn_N = rng.choice(len(rows), size=n, p=np.array([row.probability for row in rows]))
        y_N, symbols_NM = np.array([row.y for row in rows])[drawn_N], np.array([row.symbols_M for row in rows])[drawn_N]
        blocks = {}
        for m, name in enumerate(self.modalities):
            prototypes, _ = np.linalg.qr(rng.normal(size=(self.n_symbols, self.n_symbols)))
            clean = PROTOTYPE_LENGTH * prototypes[symbols_NM[:, m]]
            blocks[name] = (clean + rng.normal(size=clean.shape)).astype(np.float32)
        return y_N, blocks

    def _told(self, number: int, atom: Atom) -> Iterator[Row]:
        """Rows of an atom: its events and its decoys, each layout of symbols as probable as the others of its kind."""
        first = 1 + number * (self.n_events + 1)
        events = range(1, self.n_events + 1)
        meant: list[tuple[int, tuple[int, ...]]]
        false: list[tuple[int, ...]]
        if atom.read_by == "parity":
            sides = self.n_events + 1
            meant = [(k, (r, (r + k) % sides)) for k in events for r in range(sides)]
            false = [(r, r) for r in range(sides)]
        else:
            meant = [(k, (k,) * len(atom.modalities)) for k in events]
            false = list(permutations(events, 2)) if atom.read_by == "both" else []
        for k, values in meant:
            yield Row(atom.share / len(meant), k, self._laid_out(atom, first, values))
        for values in false:
            yield Row(atom.decoys * atom.share / len(false), 0, self._laid_out(atom, first, values))

    def _laid_out(self, atom: Atom, first: int, values: tuple[int, ...]) -> tuple[int, ...]:
        shown = dict(zip(atom.modalities, values, strict=True))
        return tuple(first + shown[name] if name in shown else 0 for name in self.modalities)


def synthetic_task(
    world: World, rng: np.random.Generator, *, n_pool: int, n_validation: int, parameters: Parameters
) -> tuple[Task, Answer]:
    """Samples of the world as a task, and who answers. No test split: nothing is to be tuned on one."""
    y_N, blocks = world.sample(n_pool + n_validation, rng)
    return task_of_arrays(blocks, y_N, world.classes, n_pool, parameters)
