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

from collections.abc import Sequence
from string import ascii_uppercase as LETTERS


def lettered(choices: Sequence[str]) -> str:
    """What is to be chosen from, on one line; empty without choices.

    >>> lettered(["ice", "dry  steam"]), lettered([])
    ('(A) ice (B) dry steam.', '')
    """
    told = (f"({letter}) {' '.join(choice.split())}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{' '.join(told)}." if choices else ""


def letter_of(answer: str, choices: Sequence[str]) -> str:
    """The letter of the first choice that is the answer.

    Raises:
        ValueError: none is.
    """
    return LETTERS[list(choices).index(answer)]


def letter_meant(said: str, choices: Sequence[str]) -> str | None:
    """The letter that somebody meant who wrote it, "b" or "(B)", or named its choice; None: none that can be told.

    >>> [letter_meant(said, ["ice", "steam", "A"]) for said in ("(b)", "Steam", "A", "D", "mist")]
    ['B', 'B', 'A', None, None]
    """
    letters = LETTERS[: len(choices)]
    letter = said.strip().removeprefix("(").removesuffix(")").upper()
    if len(letter) == 1 and letter in letters:
        return letter
    plain = [" ".join(choice.lower().split()) for choice in choices]
    wanted = " ".join(said.lower().split())
    return letters[plain.index(wanted)] if wanted in plain else None
