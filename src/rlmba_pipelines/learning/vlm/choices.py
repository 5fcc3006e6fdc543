"""Questions with answers to choose from: the answer is the letter of a choice.

What is chosen from differs from question to question, so letters are what a learner can tell apart: with the choices
themselves as classes, a choice that is nowhere right could not be answered, and which of a question's choices are
classes would give its answer away.

Concept  one small set of answers for questions that each bring choices of their own.
Source   ScienceQA, Lu et al. 2022 (arXiv 2209.09513).
Stated   choices are put as "(A) ice (B) steam"; the answer is a letter.
Chosen   a person may also name the choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

LETTERS = tuple(ascii_uppercase)
LETTER_FIRST = re.compile(r"(\()?([A-Za-z])\)?\.?(?: (.+))?")  # bracket, letter, and what follows


def lettered(choices: Sequence[str]) -> str:
    """What is to be chosen from, on one line; empty without choices.

    >>> lettered(["ice", "dry  steam"]), lettered([])
    ('(A) ice (B) dry steam.', '')
    """
    told = " ".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{' '.join(told.split())}." if choices else ""


def letter_of(answer: str, choices: Sequence[str]) -> str:
    """The letter of the first choice that is the answer.

    Raises:
        ValueError: none is.
    """
    return LETTERS[list(choices).index(answer)]


def letter_meant(said: str, choices: Sequence[str]) -> str | None:
    """The letter that somebody meant who wrote a letter, a choice, or both; None where none can be told, or two can.

    A letter in brackets is a letter; without, it may also be a choice that is called so. Of equal choices the first
    counts.

    >>> [letter_meant(said, ["ice", "steam"]) for said in ("(b)", "B", "Steam", "(B) steam.", "D", "(A) steam", "mist")]
    ['B', 'B', 'B', 'B', None, None, None]
    >>> [letter_meant(said, ["Ff", "FF", "A"]) for said in ("FF", "ff", "A", "(a)", "c")]
    ['B', None, None, 'A', 'C']
    """
    said = " ".join(said.split()).removesuffix(".")
    by_name, marked = _place_named(said, choices), LETTER_FIRST.fullmatch(said)
    if not marked:
        meant = {by_name}
    else:
        bracket, letter, rest = marked.groups()
        by_letter = _place_of(letter, choices)
        agrees = rest is not None and by_letter == _place_named(rest, choices)
        meant = {by_letter} if agrees or (bracket and not rest) else {by_name, None if rest else by_letter}
    places = [place for place in meant if place is not None]
    return LETTERS[places[0]] if len(places) == 1 else None


def _place_of(letter: str, choices: Sequence[str]) -> int | None:
    place = LETTERS.index(letter.upper())
    return list(choices).index(choices[place]) if place < len(choices) else None


def _place_named(said: str, choices: Sequence[str]) -> int | None:
    """The first choice that is called so, to the letter or else whatever the case; None: none, or several."""
    plain = [" ".join(choice.split()).removesuffix(".") for choice in choices]
    for wanted, names in ((said, plain), (said.lower(), [name.lower() for name in plain])):
        if len({plain[i] for i, name in enumerate(names) if name == wanted}) == 1:
            return names.index(wanted)
    return None
