"""Chains of thought over small scenes: their grammar, and whether each step is true of the scene.

A step says one thing of one object, or that an object is not there: what is told, of which color, and its value.

    shape red circle    the red thing is a circle
    column red 2        it stands in the second column from the left; "row" likewise from the top
    circle red 3        it is a circle, the third one counted
    no red              there is nothing red

The color stands right before the value: a small model then finds object and value with one look.

Concept  a chain of thought can be right for the wrong reason; over generated scenes each step can be checked.
Source   programs of CLEVR, Johnson et al. 2017 (arXiv 1612.06890).
Stated   functional programs whose every step has a value in the scene.
Chosen   one fact a step, in three words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

SHAPES = ("circle", "square")
STEP_MARK = " . "  # between two steps of a chain
ANSWER_MARK = " so "  # between a chain and the answer

Thing = Mapping[str, Any]  # color, shape, row, column; rows and columns count from 1


def join_chain(steps: Sequence[str], answer: str) -> str:
    """What a learner writes: the steps, then the answer.

    >>> join_chain(["shape red circle", "shape blue square"], "no")
    'shape red circle . shape blue square so no'
    """
    return (STEP_MARK.join(steps) + ANSWER_MARK + answer).strip()


def split_chain(text: str) -> tuple[list[str], str]:
    """Steps and answer of what a learner wrote; everything is the answer where no chain was given.

    Marks are whole words: neither "sofa" nor "2.5" holds one.

    >>> split_chain("shape red circle . shape blue square so no"), split_chain("so no")
    ((['shape red circle', 'shape blue square'], 'no'), ([], 'no'))
    """
    chain, mark, answer = parted(text)
    if not mark:
        return [], text.strip()
    steps = re.split(rf"{re.escape(STEP_MARK.strip())}(?:\s|$)", chain)
    return [step.strip() for step in steps if step.strip()], answer


def parted(text: str) -> tuple[str, str, str]:
    """The chain, the mark, and the answer as they were written; no mark and all of it the answer where none was.

    >>> parted("a person so sofa"), parted("sofa")
    (('a person', 'so', 'sofa'), ('', '', 'sofa'))
    """
    marks = list(re.finditer(rf"(?<!\S){ANSWER_MARK.strip()}(?!\S)", text))
    if not marks:
        return "", "", text.strip()
    return text[: marks[-1].start()].strip(), ANSWER_MARK.strip(), text[marks[-1].end() :].strip()


def without_answer_mark(step: str) -> str:
    """A step in the words of people without the word that ends a chain: ``is_chain`` would take it for an answer.

    >>> without_answer_mark("it is red so it is hot"), without_answer_mark("so what"), without_answer_mark("a sofa")
    ('it is red it is hot', 'what', 'a sofa')
    """
    mark = ANSWER_MARK.strip()
    return " ".join(word for word in step.split() if word != mark) if mark in step.split() else step


def is_chain(text: str) -> bool:
    """Whether a text comes to one answer: neither cut off before it nor with two of them.

    >>> is_chain("no red so 0"), is_chain("so yes"), is_chain("no red . no"), is_chain("so circle so circle")
    (True, True, False, False)
    """
    chain, mark, answer = parted(text)
    return bool(mark and answer) and ANSWER_MARK.strip() not in chain.split()


def step_holds(step: str, scene: Sequence[Thing]) -> bool:
    """Whether a step is true of a scene; what is no step of the grammar is not.

    >>> scene = [{"color": "red", "shape": "circle", "row": 1, "column": 2}]
    >>> said = ("shape red circle", "column red 3", "row red 1", "no blue", "circle red 1", "so")
    >>> [step_holds(step, scene) for step in said]
    [True, False, True, True, True, False]
    """
    words = step.split()
    things = {thing["color"]: thing for thing in scene}
    if len(words) == 2 and words[0] == "no":
        return words[1] not in things
    if len(words) != 3 or words[1] not in things:
        return False
    told, color, value = words
    if told in SHAPES:
        return bool(things[color]["shape"] == told and value.isdigit())
    return told in ("shape", "row", "column") and value == str(things[color][told])


def chain_holds(steps: Sequence[str], scene: Sequence[Thing]) -> bool:
    """Whether there is a chain, each of its steps is true, no object is counted twice, and a count goes up by one.

    >>> scene = [{"color": c, "shape": "circle", "row": 1, "column": k} for k, c in enumerate(("red", "blue"), 1)]
    >>> chain_holds(["circle red 1", "circle blue 2"], scene), chain_holds(["circle red 1", "circle red 2"], scene)
    (True, False)
    """
    if not steps or not all(step_holds(step, scene) for step in steps):
        return False
    counted = [step.split() for step in steps if step.split()[0] in SHAPES]
    in_order = [words[2] for words in counted] == [str(n) for n in range(1, len(counted) + 1)]
    return in_order and len({words[1] for words in counted}) == len(counted)


def names_absent(steps: Sequence[str], scene: Sequence[Thing], colors: Sequence[str]) -> bool:
    """Whether any step speaks of an object that is not in the scene as if it were: a hallucination."""
    there = {thing["color"] for thing in scene}
    told = [step.split() for step in steps]
    spoken = {words[1] for words in told if len(words) == 3 and words[1] in colors}
    return bool(spoken - there)
