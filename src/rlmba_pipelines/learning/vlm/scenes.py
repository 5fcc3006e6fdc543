"""Generated reasoning questions over small scenes, in the manner of Sort-of-CLEVR (Santoro et al. 2017, 1706.01427).

A scene is a grid of 6 × 6 cells of 12 pixels with six things of different colors, each a circle or a square, one in a
cell: a vision model with patches of 12 pixels sees one thing a patch, and the region of an answer is exact. Every
question comes with its answer, the chain of steps that leads there, and the region of each step.

What a pool is made of is set by knobs: the share of easy questions, of noised images, of ambiguous wording, of
questions that cannot be learned. Test sets beside the ordinary one: unseen pairs of color and shape, noise, a
shortcut of the pool (the color that nearly always is a circle) that does not hold.

Concept  questions whose answer, steps and regions are known, with the flaws that active learning meets.
Source   Sort-of-CLEVR, Santoro et al. 2017 (arXiv 1706.01427).
Stated   six objects of different colors, relational and non-relational questions.
Chosen   a grid, so that a patch holds one thing; chains, regions, knobs for flaws; test sets unlike the pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlmba_pipelines.learning.vlm.chains import ANSWER_MARK, SHAPES, STEP_MARK

GRID, CELL, THINGS = 6, 12, 6
COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (230, 60, 60),
    "green": (70, 200, 70),
    "blue": (70, 100, 240),
    "yellow": (240, 220, 60),
    "pink": (245, 130, 200),
    "gray": (150, 150, 150),
    "white": (245, 245, 245),
    "cyan": (60, 215, 225),
}
# words that may mean several colors: what makes a question ambiguous, and what a careful reader would try instead
VAGUE = {"warm": ("red", "yellow", "pink"), "cool": ("green", "blue", "cyan"), "pale": ("gray", "white")}
HELD_OUT = (("green", "square"), ("pink", "circle"))  # pairs that only the test set "unseen" shows
SHORTCUT = "yellow"  # nearly always a circle in the pool
SHORTCUT_SHARE = 0.9
EASY = ("shape", "side", "height", "exists")
RELATIONAL = ("left_of", "above", "same_shape", "count")
ANSWERS = ("circle", "square", "left", "right", "top", "bottom", "yes", "no", "1", "2", "3", "4", "5", "6")
Scene = list[dict[str, Any]]
TEST_SETS = ("ordinary", "unseen", "noise", "shortcut")

WORDINGS: Mapping[str, tuple[str, ...]] = {
    "shape": ("what shape is the {a} thing ?", "what is the shape of the {a} object ?"),
    "side": ("is the {a} thing on the left or the right ?", "on which side is the {a} object , left or right ?"),
    "height": ("is the {a} thing at the top or the bottom ?", "at which end is the {a} object , top or bottom ?"),
    "exists": ("is there a {a} thing ?", "can you see a {a} object ?"),
    "left_of": ("is the {a} thing left of the {b} thing ?", "does the {a} object stand left of the {b} object ?"),
    "above": ("is the {a} thing above the {b} thing ?", "does the {a} object stand above the {b} object ?"),
    "same_shape": (
        "do the {a} thing and the {b} thing have the same shape ?",
        "are the {a} object and the {b} object of the same shape ?",
    ),
    "count": ("how many {s} things are there ?", "what number of {s} objects can you see ?"),
}


@dataclass(frozen=True)
class Knobs:
    """What a pool is made of.

    Attributes:
        images, test_images, validation_images: scenes; ``test_images`` in each test set.
        questions: asked about each scene.
        easy: share of questions of one step.
        noise, ambiguous, unlearnable: shares of pool questions over a noised image, with a word that may mean several
            things (a little fewer: not every question names a color that has a rival), with an answer drawn at random.
    """

    images: int = 1500
    validation_images: int = 60
    test_images: int = 60
    questions: int = 4
    easy: float = 0.5
    noise: float = 0.1
    ambiguous: float = 0.1
    unlearnable: float = 0.05
    seed: int = 0


def draw_scene(
    rng: np.random.Generator, *, held_out: bool = False, shortcut: float | None = None
) -> list[dict[str, Any]]:
    """Six things in the order of the rows, then columns.

    Args:
        held_out: every thing whose color has a held-out shape shows it; otherwise none does.
        shortcut: probability that the shortcut color is a circle; None: as any other.
    """
    kept_apart = dict(HELD_OUT)
    cells = np.sort(rng.permutation(GRID * GRID)[:THINGS])
    colors = rng.permutation(list(COLORS))[:THINGS]
    if held_out and not set(colors) & set(kept_apart):
        colors[0] = rng.choice(list(kept_apart))
    things = []
    for cell, color in zip(cells, colors, strict=True):
        shape = str(rng.choice(SHAPES))
        if color in kept_apart:
            other = SHAPES[1 - SHAPES.index(kept_apart[color])]
            shape = kept_apart[color] if held_out else other
        elif color == SHORTCUT and shortcut is not None:
            shape = "circle" if rng.random() < shortcut else "square"
        row, column = divmod(int(cell), GRID)
        things.append({"color": str(color), "shape": shape, "row": row + 1, "column": column + 1})
    return things


def paint(scene: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """uint8[72, 72, 3]: the scene on black."""
    image = np.zeros((GRID * CELL, GRID * CELL, 3), dtype=np.uint8)
    offset = np.arange(CELL) - (CELL - 1) / 2
    inside = {
        "circle": offset[:, None] ** 2 + offset[None, :] ** 2 <= 4.6**2,
        "square": (np.abs(offset)[:, None] <= 4) & (np.abs(offset)[None, :] <= 4),
    }
    for thing in scene:
        top, left = (thing["row"] - 1) * CELL, (thing["column"] - 1) * CELL
        image[top : top + CELL, left : left + CELL][inside[thing["shape"]]] = COLORS[thing["color"]]
    return image


def noised(image: np.ndarray, rng: np.random.Generator, strength: float = 0.35) -> np.ndarray:
    """The image under Gaussian noise, ``strength`` being its standard deviation as a share of the range."""
    grains = rng.normal(0, 255 * strength, image.shape)
    return np.clip(image + grains, 0, 255).astype(np.uint8)


def region_of(thing: Mapping[str, Any]) -> list[float]:
    """x, y, width, height of a thing's cell, in shares of the image."""
    return [round((thing["column"] - 1) / GRID, 6), round((thing["row"] - 1) / GRID, 6), 1 / GRID, 1 / GRID]


@dataclass(frozen=True)
class Question:
    """A question about a scene with all that is known of it; ``regions`` follow the steps of ``chain``."""

    kind: str
    text: str
    answer: str
    chain: tuple[str, ...]
    regions: tuple[list[float] | None, ...]


def ask(kind: str, scene: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> Question:
    """One question of a kind. Answers of yes and no, and of either side, come equally often where the scene allows."""
    things = {thing["color"]: thing for thing in scene}
    wording = WORDINGS[kind][rng.integers(len(WORDINGS[kind]))]

    def at(thing: Mapping[str, Any], axis: str) -> str:
        return f"{axis} {thing['color']} {thing[axis]}"

    if kind in ("shape", "side", "height"):
        thing = scene[int(rng.integers(len(scene)))]
        if kind == "shape":
            step, answer = at(thing, "shape"), thing["shape"]
        else:
            axis, ends = ("column", ("left", "right")) if kind == "side" else ("row", ("top", "bottom"))
            step, answer = at(thing, axis), ends[thing[axis] > GRID / 2]
        return Question(kind, wording.format(a=thing["color"]), answer, (step,), (region_of(thing),))
    if kind == "exists":
        if rng.random() < 0.5:
            thing = scene[int(rng.integers(len(scene)))]
            step, text = at(thing, "shape"), wording.format(a=thing["color"])
            return Question(kind, text, "yes", (step,), (region_of(thing),))
        color = str(rng.choice([name for name in COLORS if name not in things]))
        return Question(kind, wording.format(a=color), "no", (f"no {color}",), (None,))
    if kind == "count":
        shape = str(rng.choice(sorted({thing["shape"] for thing in scene})))
        found = [thing for thing in scene if thing["shape"] == shape]
        steps = tuple(f"{shape} {thing['color']} {n}" for n, thing in enumerate(found, 1))
        return Question(kind, wording.format(s=shape), str(len(found)), steps, tuple(map(region_of, found)))
    first, second = _pair(kind, scene, rng)
    if kind == "same_shape":
        steps = tuple(at(thing, "shape") for thing in (first, second))
        holds = first["shape"] == second["shape"]
    else:
        axis = "column" if kind == "left_of" else "row"
        steps = (at(first, axis), at(second, axis))
        holds = first[axis] < second[axis]
    text = wording.format(a=first["color"], b=second["color"])
    return Question(kind, text, "yes" if holds else "no", steps, (region_of(first), region_of(second)))


def _pair(kind: str, scene: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> tuple[Any, Any]:
    """Two things of which the question holds or does not, each with probability one half where both exist."""
    order = rng.permutation(len(scene))
    pairs = [(scene[i], scene[j]) for i in order for j in order if i != j]
    if kind == "same_shape":
        told = [(a["shape"] == b["shape"], a, b) for a, b in pairs]
    else:
        axis = "column" if kind == "left_of" else "row"
        told = [(a[axis] < b[axis], a, b) for a, b in pairs if a[axis] != b[axis]] or [(False, *pairs[0])]
    wanted = bool(rng.random() < 0.5)
    return next(((a, b) for holds, a, b in told if holds == wanted), told[0][1:])


def made_vague(question: Question, scene: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> Question | None:
    """The same question with one color named by a word that may mean another thing of the scene too; None without."""
    there = {thing["color"] for thing in scene}
    found = [
        (color, vague)
        for color in COLORS
        if color in question.text.split()
        for vague, meanings in VAGUE.items()
        if color in meanings and len(there & set(meanings)) > 1
    ]
    if not found:
        return None
    color, vague = found[rng.integers(len(found))]
    return replace(question, text=" ".join(vague if word == color else word for word in question.text.split()))


def hangs_on_the_shift(kind: str, chain: Sequence[str], scene: Sequence[Mapping[str, Any]], test_set: str) -> bool:
    """Whether the answer hangs on the shape of a thing that a test set shows as the pool does not.

    Of ``unseen`` these are the held-out pairs, of ``shortcut`` the thing whose shape the pool nearly always tells by
    its color. A test set is a mean over many questions that ask for something else.

    >>> scene = [{"color": "green", "shape": "square", "row": 1, "column": 2}]
    >>> told = ["shape green square"]
    >>> asked = [("shape", told), ("exists", told), ("side", ["column green 2"]), ("count", [])]
    >>> [hangs_on_the_shift(kind, chain, scene, "unseen") for kind, chain in asked]
    [True, False, False, True]
    """
    shown = {
        "unseen": {thing["color"] for thing in scene if (thing["color"], thing["shape"]) in HELD_OUT},
        "shortcut": {thing["color"] for thing in scene if thing["color"] == SHORTCUT},
    }.get(test_set, set())
    told = {step.split()[1] for step in chain}
    return bool(shown and (kind == "count" or (kind in ("shape", "same_shape") and told & shown)))


def generate(knobs: Knobs) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """All questions as canonical records, and the image of each; the questions of one image follow each other."""
    parts = [("pool", "", knobs.images), ("validation", "", knobs.validation_images)]
    parts += [("test", name, knobs.test_images) for name in TEST_SETS]
    for split, test_set, n_images in parts:
        for i in range(n_images):
            rng = np.random.default_rng([knobs.seed, *f"{split} {test_set}".encode(), i])
            yield from _about_one_image(split, test_set, i, knobs, rng)


def _about_one_image(
    split: str, test_set: str, i: int, knobs: Knobs, rng: np.random.Generator
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    seen = split != "test" or test_set == "ordinary"
    shortcut = SHORTCUT_SHARE if seen else 0.0 if test_set == "shortcut" else None
    scene = draw_scene(rng, held_out=test_set == "unseen", shortcut=shortcut)
    is_noised = test_set == "noise" or (split == "pool" and rng.random() < knobs.noise)
    image = paint(scene)
    if is_noised:
        image = noised(image, rng, 0.35 if split == "pool" else 0.25)
    name = f"{split}{'_' + test_set if test_set else ''}_{i:05d}"
    easy = knobs.easy if split == "pool" else 0.5
    for k in range(knobs.questions):
        kind = str(rng.choice(EASY if rng.random() < easy else RELATIONAL))
        question, flaw = ask(kind, scene, rng), ""
        drawn = rng.random() if split == "pool" else 1.0
        if drawn < knobs.ambiguous:
            vague = made_vague(question, scene, rng)
            question, flaw = (vague, "ambiguous") if vague else (question, "")
        elif drawn < knobs.ambiguous + knobs.unlearnable:
            question, flaw = replace(question, answer=str(rng.choice(ANSWERS)), chain=(), regions=()), "unlearnable"
        yield {
            "id": f"{name}_{k}",
            "image": f"images/{name}.png",
            "question": question.text,
            "answer": question.answer,
            "chain": list(question.chain),
            "regions": list(question.regions),
            "split": split,
            "group": name,
            "meta": {
                "kind": kind,
                "relational": kind in RELATIONAL,
                "steps": len(question.chain),
                "noised": is_noised,
                "flaw": flaw,
                "test_set": test_set,
                "shifted": hangs_on_the_shift(kind, question.chain, scene, test_set),
                "scene": scene,
            },
        }, image


def words() -> tuple[str, ...]:
    """All words of questions, chains and answers."""
    texts = [wording for wordings in WORDINGS.values() for wording in wordings]
    blanks = {"{a}", "{b}", "{s}"}
    found = {word for text in texts for word in text.split()} - blanks
    chain = {"shape", "row", "column", *(" ".join((STEP_MARK, ANSWER_MARK)).split())}
    return tuple(sorted(found | chain | set(COLORS) | set(VAGUE) | set(SHAPES) | set(ANSWERS)))
