"""A sample that stands for a pool: what herding looks at where all pairs are too many.

Scheme   the worthiest candidates are taken for sure; of the others, candidates are drawn without repeats in proportion
         to their worth (systematic sampling in random order), and each stands for worth / probability of being drawn.
Reason   a sum of worth over the pool keeps its value on average (Horvitz & Thompson 1952), and with weights in
         proportion to worth its variance is least; a batch made of the worthiest, as sharp kernels ask for, is never
         lost to a draw. What is lost: picks that cover few samples of the draw are chosen on noisy gains. Against
         exact greedy F fell short by under 1 % for wide kernels and for very sharp ones, by 1 to 3 % in between with
         two thirds of the pool drawn, by 3 to 15 % (worst: 20 %) with a sixth and u = 1.
         One sample serves for targets and candidates: its kernel is symmetric, half the arithmetic.
"""

from __future__ import annotations

import numpy as np


def draw_by_worth(
    worth_U: np.ndarray, n_drawn: int, n_sure: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions drawn, ascending, and what each of them stands for.

    Args:
        worth_U: float64[U], nonnegative.
        n_drawn: at most U; one more or less may come back, as sums round.
        n_sure: the so many worthiest are always there, save those worth no more than the next one.

    >>> some, standing_for = draw_by_worth(np.array([8.0, 1, 1, 1, 1, 0]), 3, 1, np.random.default_rng(0))
    >>> len(some), some[0].item(), standing_for.tolist()
    (3, 0, [8.0, 2.0, 2.0])
    """
    order = np.argsort(-worth_U, kind="stable")
    if 0 < n_sure < len(order):
        n_sure = int((worth_U > worth_U[order[n_sure]]).sum())
    sure_U = np.zeros(len(worth_U), dtype=bool)
    sure_U[order[:n_sure]] = True
    sure, rest = np.flatnonzero(sure_U), rng.permutation(np.flatnonzero(~sure_U))
    chance = _chances(worth_U[rest], n_drawn - len(sure))
    steps = np.floor(np.concatenate([[0.0], np.cumsum(chance)]) + rng.random())
    hit = (np.diff(steps) > 0) | (chance >= 1)
    some = np.concatenate([sure, rest[hit]])
    standing_for = np.concatenate([worth_U[sure], worth_U[rest[hit]] / chance[hit]])
    ascending = np.argsort(some)
    return some[ascending], standing_for[ascending]


def _chances(worth_R: np.ndarray, n_drawn: int) -> np.ndarray:
    """Probabilities of being drawn: in proportion to worth, at most 1, ``n_drawn`` in sum.

    >>> _chances(np.array([6.0, 1.0, 1.0, 0.0]), 2).tolist()
    [1.0, 0.5, 0.5, 0.0]
    >>> _chances(np.array([6.0, 0.0, 0.0]), 2).tolist()      # nothing else is worth anything: any will do
    [1.0, 1.0, 0.0]
    """
    chance = np.zeros(len(worth_R))
    open_R = worth_R > 0
    if open_R.sum() <= n_drawn:
        chance[open_R] = 1.0
        chance[np.flatnonzero(~open_R)[: n_drawn - int(open_R.sum())]] = 1.0
        return chance
    while True:
        share = worth_R[open_R] * ((n_drawn - (chance == 1).sum()) / worth_R[open_R].sum())
        if share.max() < 1:
            chance[open_R] = share
            return chance
        certain = np.flatnonzero(open_R)[share >= 1]
        chance[certain], open_R[certain] = 1.0, False
