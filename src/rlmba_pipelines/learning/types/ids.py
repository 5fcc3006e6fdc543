"""Sample ids: unique, looked up by name, and named when something is wrong with a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK_ROWS = 4096  # looked at at once, so that a check of a large pool takes no memory


class UserError(ValueError):
    """A mistake that a user can make and mend: one sentence with what, where and what to do."""


def check_ids(sample_ids: np.ndarray, where: str) -> None:
    """One axis, no id twice."""
    if sample_ids.ndim != 1:
        raise ValueError(f"{where}: sample_ids must be one-dimensional, got shape {sample_ids.shape}")
    if len(set(sample_ids.tolist())) != len(sample_ids):
        raise ValueError(f"{where}: sample_ids must be unique")


def check_finite(array: np.ndarray, where: str, sample_ids: np.ndarray) -> None:
    """Name the samples whose values are not finite; a NaN is never ranked.

    Raises:
        UserError: a value is NaN or infinite.
    """
    if len(array) == 0:  # nothing to split into rows
        return
    parts = (array[start : start + BLOCK_ROWS] for start in range(0, len(array), BLOCK_ROWS))
    bad_N = ~np.concatenate([np.isfinite(part).reshape(len(part), -1).all(axis=1) for part in parts])
    if bad_N.any():
        names = ", ".join(str(s) for s in sample_ids[bad_N][:3])
        raise UserError(f"{where}: {int(bad_N.sum())} samples have values that are not finite (first: {names}).")


def rows_of(sample_ids: np.ndarray, wanted_ids: np.ndarray | Sequence[str]) -> np.ndarray:
    """Positions of ``wanted_ids`` in ``sample_ids``, in the order asked for.

    Raises:
        KeyError: an id is not there.

    >>> rows_of(np.array(["b", "a", "c"]), ["c", "b"])
    array([2, 0])
    """
    position = {sample_id: row for row, sample_id in enumerate(sample_ids.tolist())}
    try:
        return np.array([position[s] for s in np.asarray(wanted_ids).tolist()], dtype=np.int64)
    except KeyError as missing:
        raise KeyError(f"sample id {missing} is not in these {len(sample_ids)} samples") from None
