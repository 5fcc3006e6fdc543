"""Whether an answer that was given in words is right, by the rules of the data sets. Higher is better, all in [0, 1].

Concept  a question has several answers that people would accept.
Source   VQA v2: visualqa.org/evaluation.html; MathVista: Lu et al. 2024 (arXiv 2310.02255), its published scorer.
Stated   min(matches / 3, 1) over the ten sets of nine answers (VQA v2); text, choice or number (MathVista).
Chosen   as published; nothing of our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlmba_pipelines.learning.vlm.choices import LETTERS, letter_meant

ANSWER_TYPES = ("integer", "float", "text", "list")  # of MathVista
FEWEST_ANSWERS = 4  # with fewer nobody could score 1
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {
    word: str(n)
    for n, word in enumerate(("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))
} | {"zero": "0"}
ARTICLES = ("a", "an", "the")
CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd "
    "somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've "
    "something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't "
    "we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll "
    "who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've "
    "you'll you're you've"
)
APOSTROPHE_LEFT_OUT = {
    word[:i] + word[i + 1 :]: word for word in CONTRACTED.split() for i, letter in enumerate(word) if letter == "'"
}
DIGIT_COMMA_DIGIT, PERIOD, LETTER = re.compile(r"\d,\d"), re.compile(r"\.(?!\d)"), re.compile(r"\(([A-Za-z])\)")


def normalized(answer: str) -> str:
    """An answer as VQA v2 compares it: without punctuation and articles, numbers as digits, contractions whole.

    >>> normalized("The Dogs, two!"), normalized("dont"), normalized("1,000.5"), normalized("t-shirt")
    ('dogs 2', "don't", '1000.5', 't shirt')
    """
    text = answer
    glued = DIGIT_COMMA_DIGIT.search(answer)
    for mark in PUNCTUATION:
        text = text.replace(mark, "" if glued or f"{mark} " in answer or f" {mark}" in answer else " ")
    words = (NUMBERS.get(word, word) for word in PERIOD.sub("", text).lower().split())
    return " ".join(APOSTROPHE_LEFT_OUT.get(word, word) for word in words if word not in ARTICLES)


def vqa_score(said: str, answers: Sequence[str]) -> float:
    """VQA v2: ``min(matches / 3, 1)``, averaged over all ways to leave one person's answer out.

    Answers are normalized where people do not agree to the letter.

    Raises:
        ValueError: there are fewer than four answers.

    >>> [round(vqa_score("yes", ["yes"] * n + ["no"] * (10 - n)), 2) for n in range(6)]
    [0.0, 0.3, 0.6, 0.9, 1.0, 1.0]
    """
    n = len(answers)
    if n < FEWEST_ANSWERS:
        raise ValueError(f"the VQA score needs {FEWEST_ANSWERS} answers of people, here are {n}")
    said, given = _on_one_line(said), [_on_one_line(answer) for answer in answers]
    if len(set(given)) > 1:
        said, given = normalized(said), [normalized(answer) for answer in given]
    matches = given.count(said)
    without_a_match, without_another = min((matches - 1) / 3, 1), min(matches / 3, 1)
    return (matches * without_a_match + (n - matches) * without_another) / n


def exact_match(said: str, answer: str) -> float:
    """Whether both are the same but for case and spaces (GQA, CLEVR).

    >>> exact_match("Left ", "left"), exact_match("left side", "left")
    (1.0, 0.0)
    """
    return float(" ".join(said.lower().split()) == " ".join(answer.lower().split()))


def chosen(said: str, choices: Sequence[str]) -> str:
    """The choice that was meant: by a capital letter alone, which is how answers are learned, by letter or name as
    people are read, else by a letter in brackets, "(B) …", else the one that takes the fewest edits; none where nothing
    was said.

    >>> chosen("(b) a cat", ["dog", "cat"]), chosen("B", ["dog", "cat"]), chosen("cats", ["dog", "cat"])
    ('cat', 'cat', 'cat')
    >>> chosen("A", ["B", "A"]), chosen("I", ["I", "yes"])
    ('B', 'I')
    """
    said = said.strip()
    if not said:
        return ""
    if said in LETTERS[: len(choices)]:
        return choices[LETTERS.index(said)]
    letter = letter_meant(said, choices)
    if letter is None and (found := LETTER.search(said)):
        letter = letter_meant(found[0], choices)
    return choices[LETTERS.index(letter)] if letter else min(choices, key=lambda choice: edits(said, choice))


def multiple_choice(said: str, answer: str, choices: Sequence[str]) -> float:
    """Whether the choice that was meant is the answer (A-OKVQA, ScienceQA).

    >>> multiple_choice("C", "cab", ["train", "bus", "cab"])
    1.0
    """
    return float(chosen(said, choices) == answer)


def mathvista_score(
    said: str, answer: str, *, choices: Sequence[str], answer_type: str, precision: int | None
) -> float:
    """MathVista: a choice, a whole number, a number to ``precision`` digits after the point, or the text itself.

    Args:
        choices: to choose from; without any ``answer_type`` counts: ``integer``, ``float``, ``text`` or ``list``.

    >>> mathvista_score("1.249", "1.2", choices=(), answer_type="float", precision=1)
    1.0
    >>> mathvista_score("7.0", "7", choices=(), answer_type="integer", precision=None)
    1.0
    """
    if choices:
        return multiple_choice(said, answer, choices)
    try:
        if answer_type == "integer":
            said = str(int(float(said)))
        elif answer_type == "float":
            said = str(round(float(said), precision or 0))
    except (ValueError, OverflowError):
        return 0.0
    return float(said == answer)


def edits(first: str, second: str) -> int:
    """Levenshtein distance: letters put in, left out or exchanged.

    >>> edits("kitten", "sitting")
    3
    """
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
