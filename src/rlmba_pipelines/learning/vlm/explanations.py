"""What an annotator gives as the reason of an answer: JSON as the export writes it, or steps as people type them.

Concept  an explanation teaches more than an answer: steps, and where the image shows each of them.
Source   ours; chains with regions as in GQA, Hudson & Manning 2019 (arXiv 1902.09506).
Stated   a region for each step of a program.
Chosen   {"chain": [...], "regions": [...]}, regions as shares of the image or null; whatever else is steps as people
         type them, one a line or set apart by semicolons.
"""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any

from rlmba_pipelines.learning.vlm.chains import without_answer_mark


def explained(text: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Chain and regions; an explanation with a fault counts as typed, and no step has the mark of an answer in it.

    >>> explained('{"chain": ["a", "b"], "regions": [null, [0, 0, 1, 1]]}')
    (('a', 'b'), (None, [0, 0, 1, 1]))
    >>> explained("first this; then that")
    (('first this', 'then that'), ())
    """
    found = _record(text)
    if found is None or fault_of(text) is not None:
        found = {"chain": [step.strip() for step in text.replace("\n", ";").split(";")]}
    regions = found.get("regions") or []
    steps = [(without_answer_mark(step), region) for step, region in zip_longest(found["chain"], regions)]
    kept = [(step, region) for step, region in steps if step]
    return tuple(step for step, _ in kept), tuple(region for _, region in kept) if regions else ()


def fault_of(text: str) -> str | None:
    """What is wrong with an explanation, as a sentence; None where nothing is.

    >>> fault_of('{"chain": "red"}')
    'the chain is not a list of texts; write ["…", "…"].'
    >>> fault_of("red; then blue"), fault_of('{"chain": ["red"], "regions": [[0, 0, 0.5, 1]]}')
    (None, None)
    """
    found = _record(text)
    if found is None:
        return None
    chain = found["chain"]
    if not isinstance(chain, list) or not all(isinstance(step, str) for step in chain):
        return 'the chain is not a list of texts; write ["…", "…"].'
    return fault_of_regions(found.get("regions") or [], len(chain))


def fault_of_regions(regions: Any, n_steps: int) -> str | None:
    """Why regions do not follow a chain of so many steps, or are none of the image; None where they do and are.

    >>> fault_of_regions([[0.5, 0, 0.6, 1]], 1)
    'the region [0.5, 0, 0.6, 1] leaves the image; x, y, width and height are shares of it, from 0 to 1.'
    """
    if not isinstance(regions, list) or len(regions) > n_steps:
        return "regions is not a list with at most one entry for each step of the chain."
    for region in regions:
        if region is None:
            continue
        numbers = isinstance(region, list) and len(region) == 4 and all(
            isinstance(n, int | float) and not isinstance(n, bool) for n in region
        )
        if not numbers:
            return "a region is not [x, y, width, height]; write four numbers."
        x, y, width, height = region
        reach = 1 + 1e-6
        if not (0 <= x < x + width <= reach and 0 <= y < y + height <= reach):  # so that no number that is none gets in
            return f"the region {region} leaves the image; x, y, width and height are shares of it, from 0 to 1."
    return None


def _record(text: str) -> dict[str, Any] | None:
    """The JSON object with a chain that a text is; None where it is anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "chain" in found else None
