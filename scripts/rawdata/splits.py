"""Splits of a data set by group, the same on every run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SPLIT_SHARE = {"pool": 0.68, "validation": 0.07, "test": 0.25}  # of the rows of a class


def digest(*parts: str) -> str:
    """A key that orders things at random, and always the same way."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def divide(classes: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Split of every group, so that the rows of every class come close to ``SPLIT_SHARE``.

    Args:
        classes: label -> group -> number of rows.

    Returns:
        group -> split. A group stays whole even where its rows have several labels; a class of three groups or more,
        none of which another class has, occurs in every split.

    >>> sorted(divide({"fruit": {"apple": 5, "pear": 5, "fig": 5}}).values())
    ['pool', 'test', 'validation']
    """
    split_of: dict[str, str] = {}
    for label, sizes in sorted(classes.items()):
        n_rows = sum(sizes.values())
        wanted = {split: share * n_rows for split, share in SPLIT_SHARE.items()}
        for group in [group for group in sizes if group in split_of]:
            wanted[split_of[group]] -= sizes[group]
        for group in sorted(set(sizes) - set(split_of), key=lambda group: digest(label, group)):
            split_of[group] = max(wanted, key=lambda split: wanted[split] / SPLIT_SHARE[split])
            wanted[split_of[group]] -= sizes[group]
    return split_of
