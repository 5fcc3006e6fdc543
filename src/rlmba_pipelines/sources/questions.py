"""Visual questions as canonical JSON Lines: one object a question.

    {"id", "image", "question", "choices"?, "answer"?, "answers"?, "chain"?, "regions"?, "split"?, "group"?, "cost"?,
     "meta"?}

With ``choices`` the label is the letter of the answer, and the text ends with the choices and their letters.
``chain`` is a list of steps, ``regions`` follow it: x, y, width, height in shares of the image, or null. ``answers``
are those of several people; without an ``answer`` the most frequent of them is it. Published data sets of questions
are read into the same records.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.choices import LETTERS, letter_of, lettered
from rlmba_pipelines.learning.vlm.explanations import fault_of_regions
from rlmba_pipelines.records import bytes_of, decoded, quoted
from rlmba_pipelines.sources.trees import own_text, refuse_layout

Record = dict[str, Any]
Region = list[float]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

KNOWN = (
    "id", "image", "question", "choices", "answer", "answers", "chain", "regions", "split", "group", "cost", "meta"
)


def read(path: Path) -> pd.DataFrame:
    """The manifest of the questions in a JSON Lines file.

    Returns:
        ``sample_id, image, text, label, split, group, cost, explanation`` (JSON of chain and regions),
        ``meta_choices`` and ``meta_answers`` (JSON lists) and a ``meta_`` column of every entry of ``meta``.

    Raises:
        UserError: a line is not such an object; the row is named.
    """
    if os.path.isdir(path):
        raise UserError(f"{path}: this is a folder; name the JSON Lines file with the questions in it.")
    data = bytes_of(
        path, "give your questions as JSON Lines with --manifest, or make the generated ones with 'make data-scenes'"
    )
    return manifest_of(records_of(decoded(data, path.name), path.name), path.name)


def records_of(text: str, name: str) -> Iterator[tuple[int, Any]]:
    """The objects of a JSON Lines text with their row numbers."""
    for row, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield row, json.loads(line)
            except (ValueError, RecursionError):
                raise UserError(f"{name}, row {row}: this line is not JSON; write one object a line.") from None


def manifest_of(records: Iterator[tuple[int, Any]], name: str) -> pd.DataFrame:
    """Canonical records as a manifest, checked one by one.

    Raises:
        UserError: see :func:`read`.
    """
    rows, first = [], dict[str, int]()
    for row, record in records:
        rows.append(_row(row, record, name))
        sample_id = rows[-1]["sample_id"]
        if sample_id in first:
            raise UserError(
                f"{name}, row {row}: the id {quoted(sample_id)} was already used in row {first[sample_id]}; make the "
                "ids unique."
            )
        first[sample_id] = row
    if not rows:
        raise UserError(f"{name}: there is no question in it; write one JSON object a line.")
    return pd.DataFrame(rows).fillna("")


def read_parts(
    root: Path, title: str, parts: Mapping[str, str], records_of: Callable[[Path, str], Iterator[tuple[int, Any]]]
) -> pd.DataFrame:
    """The manifest of a data set that was published in files, one a split.

    Args:
        parts: file below ``root`` -> split; those that are there are read.
        records_of: the canonical records of a file and its split, with their numbers.

    Raises:
        UserError: none of the files is there, or one is damaged.
    """
    there = [(root / name, split) for name, split in parts.items() if (root / name).is_file()]
    if not there:
        refuse_layout(root, title, *parts)
    tables = [manifest_of(records_of(path, split), path.name) for path, split in there]
    return pd.concat(tables, ignore_index=True).fillna("")


def records_from(
    path: Path, entries: Iterable[Any], record_of: Callable[[Any], Record | None], has: str
) -> Iterator[tuple[int, Record]]:
    """A canonical record of every entry of a published file, with its number; None leaves an entry out.

    Raises:
        UserError: an entry does not have what ``record_of`` asks it for; ``has`` says what that is.
    """
    for number, entry in enumerate(entries, start=1):
        try:
            record = record_of(entry)
        except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path}, entry {number}: it has no {has}; fetch the file again.") from None
        if record is not None:
            yield number, record


def region_around(boxes: Sequence[Box], width: float, height: float) -> Region | None:
    """The least region around all boxes, what leaves the image cut off; None where nothing is left of them.

    >>> region_around([(10, 20, 30, 40), (-5, 30, 20, 60)], 100, 50)
    [0.0, 0.4, 0.3, 0.6]
    """
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    x, x_end = (round(min(max(edge / width, 0.0), 1.0), 4) for edge in (min(lefts), max(rights)))
    y, y_end = (round(min(max(edge / height, 0.0), 1.0), 4) for edge in (min(tops), max(bottoms)))
    return [x, y, round(x_end - x, 4), round(y_end - y, 4)] if x < x_end and y < y_end else None


def steps_of(text: str) -> list[str]:
    """The sentences of an explanation, as steps.

    >>> steps_of("Ice is solid. It melts at 0.5 degrees!\\n\\nSo, water.")
    ['Ice is solid', 'It melts at 0.5 degrees', 'So, water']
    """
    return [step for sentence in re.split(r"(?<=[.!?])\s+|\n+", text) if (step := sentence.strip().rstrip(".!?"))]


def choices_of(samples: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Sample -> what its question lets choose from, where it does."""
    if "meta_choices" not in samples:
        return {}
    told = samples.loc[samples["meta_choices"] != "", ["sample_id", "meta_choices"]]
    return {sample_id: tuple(json.loads(offered)) for sample_id, offered in told.itertuples(index=False, name=None)}


def letters_of(samples: pd.DataFrame) -> tuple[str, ...]:
    """The letters that answer questions with choices."""
    return tuple(LETTERS[: max(map(len, choices_of(samples).values()), default=0)])


def _row(row: int, record: Any, name: str) -> dict[str, str]:
    def refuse(complaint: str) -> NoReturn:
        raise UserError(f"{name}, row {row}: {complaint}")

    if not isinstance(record, dict):
        refuse("this line is not a JSON object; write one object a line.")
    if re.search("[\ud800-\udfff]", json.dumps(record, ensure_ascii=False)):
        refuse("a \\u escape is half a character; write both halves or remove it.")
    for key in record:
        if key not in KNOWN:
            refuse(f"{quoted(str(key))} is not known; known are {', '.join(KNOWN)}. Put it into meta.")
    texts = {key: record.get(key) for key in ("id", "image", "question", "answer", "split", "group")}
    for key, value in texts.items():
        if value is not None and not isinstance(value, str):
            refuse(f"{key} is not text; write it in quotes.")
    for key, advice in (("id", "give every question a name of its own"), ("image", "name its file")):
        if not (texts[key] or "").strip():
            refuse(f"the {key} is missing; {advice}.")
    asked = texts["question"] or ""
    if not asked.strip():
        refuse(f"the question of {quoted(texts['id'] or '')} is empty; write it or drop the row.")
    choices, answers = _texts(record, "choices", refuse), _texts(record, "answers", refuse)
    possible = [one for one in answers if one in choices] if choices else answers
    answer = texts["answer"] or (max(sorted(set(possible)), key=possible.count) if possible else "")
    if choices and answer not in ("", *choices):
        refuse(f"the answer {quoted(answer)} is not among the choices {', '.join(map(quoted, choices))}; correct one.")
    if choices and answers and not answer:
        refuse(f"none of the answers is among the choices {', '.join(map(quoted, choices))}; correct them.")
    if len(choices) > len(LETTERS):
        refuse(f"there are {len(choices)} choices, and {len(LETTERS)} letters to name them; leave the choices out.")
    chain, regions = _texts(record, "chain", refuse), record.get("regions") or []
    if fault := fault_of_regions(regions, len(chain)):
        refuse(fault)
    meta = record.get("meta") or {}
    if not isinstance(meta, Mapping):
        refuse("meta is not an object; write {\"name\": value}.")
    for key in ("choices", "answers"):
        if key in meta:
            refuse(f"{key} stands in meta; write it beside the question.")
    notes = {f"meta_{key}": value if isinstance(value, str) else json.dumps(value) for key, value in meta.items()}
    explained = {"chain": chain, "regions": regions} if chain else {}
    return {
        "sample_id": texts["id"] or "",
        "image": texts["image"] or "",
        "text": own_text(f"{asked} {lettered(choices)}"),
        "label": letter_of(answer, choices) if choices and answer else answer,
        "split": texts["split"] or "",
        "group": texts["group"] or "",
        "cost": "" if record.get("cost") is None else str(record["cost"]),
        "explanation": json.dumps(explained) if explained else "",
        "meta_choices": json.dumps(choices) if choices else "",
        "meta_answers": json.dumps(answers) if answers else "",
        **notes,
    }


def _texts(record: Mapping[str, Any], key: str, refuse: Any) -> list[str]:
    found = record.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        refuse(f"{key} is not a list of texts; write [\"…\", \"…\"].")
    return found
