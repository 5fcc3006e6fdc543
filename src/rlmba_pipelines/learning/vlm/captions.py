"""Captions of small scenes: what a tiny model is taught to see before it is asked anything.

Concept  a base model that sees, in place of one that was trained on the pictures of the web.
Source   LLaVA, Liu et al. 2023 (arXiv 2304.08485).
Stated   captions first, then instructions.
Chosen   captions of everything teach to see, asked captions to heed words; objects in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlmba_pipelines.learning.vlm.chains import STEP_MARK
from rlmba_pipelines.learning.vlm.scenes import COLORS

TOLD = ("shape", "column", "row")


def caption(scene: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> str:
    """Two things told of every object, in any order of objects."""
    steps: list[str] = []
    for i in rng.permutation(len(scene)):
        told = [f"{what} {scene[i]['color']} {scene[i][what]}" for what in TOLD]
        steps += [told[k] for k in rng.permutation(len(TOLD))[:2]]
    return STEP_MARK.join(steps)


def asked_caption(scene: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> tuple[str, str]:
    """Some colors, and what the scene shows of each in that order; a color that it has not is said to be missing."""
    things = {thing["color"]: thing for thing in scene}
    asked = [str(color) for color in rng.permutation(list(COLORS))[: rng.integers(2, 6)]]
    steps = [
        f"{(what := TOLD[rng.integers(len(TOLD))])} {color} {things[color][what]}" if color in things else f"no {color}"
        for color in asked
    ]
    return " ".join(asked), STEP_MARK.join(steps)
