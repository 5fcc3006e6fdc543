"""What people said on the server, as the rows of an answer file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlmba_pipelines.labeling.label_studio.template import EXPLANATION, FIELD
from rlmba_pipelines.ledger import ABSTAINED


def answers_of(tasks: Iterable[Mapping[str, Any]], people: Mapping[int, str]) -> list[dict[str, Any]]:
    """One row an annotation, in the order in which the server took them; a skipped task is an abstention.

    Nothing is judged here: an unknown label, a sample that nobody asked for or two answers of one person are rows like
    all others, as they would be in a file.

    Returns:
        ``sample_id, label, explanation, annotator`` (e-mail address), ``answered_at`` (by the server's clock),
        ``seconds`` spent, ``task, annotation`` (their numbers there). The label is empty where the annotation holds no
        answer.

    >>> said = {"id": 7, "completed_by": 1, "was_cancelled": True, "updated_at": "2026-01-01", "lead_time": 2.5}
    >>> answers_of([{"id": 3, "data": {"sample_id": "s1"}, "annotations": [said]}], {1: "ann@example.com"})[0]["label"]
    '(abstain)'
    """
    rows = []
    for task in tasks:
        for said in task["annotations"]:
            who, results = said.get("completed_by"), said.get("result") or ()
            rows.append(
                {
                    "sample_id": _cell(task["data"].get("sample_id", "")),
                    "label": _cell(ABSTAINED if said.get("was_cancelled") else _words(results, FIELD, ", ")),
                    "explanation": _cell(_words(results, EXPLANATION, "; ")),
                    "annotator": _cell(people.get(who, f"user {who}")),
                    "answered_at": said.get("updated_at"),
                    "seconds": said.get("lead_time"),
                    "task": task["id"],
                    "annotation": said["id"],
                }
            )
    return sorted(rows, key=lambda row: int(row["annotation"]))


def has_field(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation answers what was asked; otherwise the labeling interface was changed on the server."""
    results = annotation.get("result") or ()
    return bool(annotation.get("was_cancelled")) or any(result.get("from_name") == FIELD for result in results)


def _words(results: Iterable[Mapping[str, Any]], field: str, between: str) -> str:
    words: list[str] = []
    for result in results:
        if result.get("from_name") == field:
            value = result.get("value") or {}
            said = value.get("choices") or value.get("text") or []
            words += [said] if isinstance(said, str) else [str(word) for word in said]
    return between.join(words).strip()


def _cell(text: object) -> str:
    """As answer files hold it; NUL bytes and halves of characters, which they may not hold, become a ``?``."""
    return str(text).replace("\0", "?").encode("utf-8", "replace").decode()
