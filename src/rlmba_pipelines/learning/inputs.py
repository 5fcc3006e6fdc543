"""What people pass, as arrays that can be trusted: each mistake is one sentence that names argument and sample.

Arrays may be NumPy's or those of PyTorch on any device, told by ``.detach().cpu()``, so that PyTorch is not needed.
Nothing is copied that is already right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlmba_pipelines.learning.types import UNLABELED, UserError

SUM_TOLERANCE = 1e-3  # of the sum of a row of probabilities
HALF_SUM_TOLERANCE = 2e-2  # the same for float16 and bfloat16, whose rows are brought to 1


def plain(value: Any) -> tuple[Any, bool]:
    """A tensor as NumPy array, and whether it was of half precision; anything else as it is.

    >>> plain([1, 2])
    ([1, 2], False)
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):  # which NumPy does not know
            return value.float().numpy(), True
        value = value.numpy()
    return value, getattr(value, "dtype", None) == np.float16


@dataclass(frozen=True)
class Rows:
    """The samples that every array follows: ids in ascending order, and the order that makes them so (None: they were).

    >>> rows = Rows.of(["b", "a"], 2)
    >>> rows.sample_ids.tolist(), rows.numbers([[1], [2]], "features", "ND").tolist()
    (['a', 'b'], [[2.0], [1.0]])
    """

    sample_ids: np.ndarray
    order: np.ndarray | None

    @classmethod
    def of(cls, sample_ids: Any, n: int) -> Rows:
        """Rows named by ``sample_ids``, or by their positions."""
        if sample_ids is None:
            return cls(np.arange(n), None)
        ids = ids_of(sample_ids, "sample_ids")
        if len(ids) != n:
            raise UserError(f"sample_ids: {len(ids)} ids for {n} rows of features.")
        if (ids[:-1] < ids[1:]).all():
            return cls(ids, None)
        order = np.argsort(ids, kind="stable")
        same = np.flatnonzero(ids[order][:-1] == ids[order][1:])
        if len(same):
            raise UserError(f"sample_ids: {ids[order][same[0]].item()!r} comes more than once.")
        return cls(ids[order], order)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def sort(self, array: np.ndarray) -> np.ndarray:
        """Rows in the order of the ids; the array itself where they already are."""
        return array if self.order is None else array[self.order]

    def numbers(self, value: Any, name: str, axes: str, here_N: np.ndarray | None = None) -> np.ndarray:
        """Finite floats in the order of the ids; outside ``here_N`` anything may lie and zeros take its place."""
        array = numbers(value, name, axes)
        if len(array) != len(self):
            raise UserError(f"{name}: {len(array)} rows for {len(self)} samples; row i of every array is sample i.")
        array = self.sort(array)
        rows_NX = array.reshape(len(array), -1)
        with np.errstate(all="ignore"):  # one product finds every NaN and infinity; an overflow is looked at again
            suspects = np.flatnonzero(~np.isfinite(rows_NX @ np.ones(rows_NX.shape[1], dtype=array.dtype)))
        bad = [row for row in suspects if (here_N is None or here_N[row]) and not np.isfinite(rows_NX[row]).all()]
        if bad:
            first = ", ".join(repr(s) for s in self.sample_ids[bad[:3]].tolist())
            raise UserError(f"{name}: NaN or infinity in {_counted(len(bad), 'sample')} (first: {first}).")
        if here_N is None or here_N.all():
            return array
        array = np.array(array)
        array[~here_N] = 0
        return array

    def distributions(self, value: Any, name: str, axes: str, here_N: np.ndarray | None = None) -> np.ndarray:
        """Nonnegative rows that sum to 1, over at least two classes; where the modality is absent they are uniform."""
        value, half = plain(value)
        array = self.numbers(value, name, axes, here_N)
        n_classes = array.shape[-1]
        if n_classes < 2:
            raise UserError(f"{name}: {_counted(n_classes, 'class', 'classes')}; choosing needs at least two.")
        if here_N is not None and not here_N.all():
            array[~here_N] = 1 / n_classes
        total = array @ np.ones(n_classes, dtype=array.dtype)
        wrong = (np.abs(total - 1) > (HALF_SUM_TOLERANCE if half else SUM_TOLERANCE)) | (array.min(axis=-1) < 0)
        wrong_N = wrong.reshape(len(array), -1).any(axis=1)
        if wrong_N.any():
            raise UserError(
                f"{name}: {_counted(int(wrong_N.sum()), 'sample')} without a distribution (nonnegative, sum 1; first: "
                f"{self.sample_ids[wrong_N][0].item()!r}); pass probabilities, not logits (softmax them first)."
            )
        return array / total[..., None] if half else array

    def positions(self, wanted: Any, name: str) -> np.ndarray:
        """Rows of the ids ``wanted``, in the order asked for.

        Raises:
            UserError: an id that no sample has, or that comes twice.
        """
        ids, known = ids_of(wanted, name), self.sample_ids
        if not len(ids):
            return np.zeros(0, dtype=np.int64)
        if len(known) and ids.dtype.kind != known.dtype.kind:
            kinds = {"U": "names", "i": "whole numbers"}
            raise UserError(f"{name}: these are {kinds[ids.dtype.kind]}, sample_ids are {kinds[known.dtype.kind]}.")
        rows = np.clip(np.searchsorted(known, ids), 0, max(len(known) - 1, 0))
        unknown = ids[known[rows] != ids] if len(known) else ids
        if len(unknown):
            raise UserError(f"{name}: no sample has the id {unknown[0].item()!r}.")
        if len(np.unique(rows)) < len(rows):
            raise UserError(f"{name}: an id comes more than once.")
        return rows

    def of_labeled(self, values_L: np.ndarray, rows_L: np.ndarray, name: str) -> np.ndarray:
        """int64[N] with ``values_L`` at ``rows_L`` and ``UNLABELED`` elsewhere."""
        if len(values_L) != len(rows_L):
            raise UserError(f"{name}: {len(values_L)} for {len(rows_L)} labeled_ids; one follows the other.")
        out_N = np.full(len(self), UNLABELED, dtype=np.int64)
        out_N[rows_L] = values_L
        return out_N


def numbers(value: Any, name: str, axes: str) -> np.ndarray:
    """float32 or float64 array of the axes ``axes``, uncopied where it is one; half precision becomes float32.

    >>> numbers([[1, 2]], "features", "ND").dtype
    dtype('float64')
    """
    try:
        array = np.asarray(plain(value)[0])
    except ValueError:  # rows of different lengths
        raise UserError(f"{name}: an array [{', '.join(axes)}] is needed, and these rows differ in length.") from None
    if array.dtype.kind not in "fiub":
        raise UserError(f"{name}: a dense array of numbers [{', '.join(axes)}] is needed, got dtype {array.dtype}.")
    if array.ndim != len(axes):
        raise UserError(f"{name}: an array [{', '.join(axes)}] is needed, got shape {array.shape}.")
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32 if array.dtype == np.float16 else np.float64)


def ids_of(value: Any, name: str) -> np.ndarray:
    """str[N] or int64[N] of ids that people gave; all of one kind.

    >>> ids_of(["b", "a"], "sample_ids").tolist(), ids_of((3, 1), "sample_ids").tolist()
    (['b', 'a'], [3, 1])
    """
    given = plain(value)[0]
    if not hasattr(given, "__iter__") or isinstance(given, str):
        raise UserError(f"{name}: a list is needed, got {given!r}.")
    items = given.tolist() if hasattr(given, "tolist") else list(given)
    if all(isinstance(item, str) for item in items):
        return np.asarray(given).astype(str, copy=False) if hasattr(given, "tolist") else np.array(items, dtype=str)
    if all(isinstance(item, int | np.integer) and not isinstance(item, bool) for item in items):
        return np.array(items, dtype=np.int64)
    hint = " Of a mask, np.flatnonzero(mask) gives the rows." if all(isinstance(item, bool) for item in items) else ""
    raise UserError(f"{name}: one list of names or of whole numbers is needed, all of one kind.{hint}")


def classes_of(labels: Any, classes: Sequence[Any] | None, n_classes: int | None) -> np.ndarray:
    """int64[L]: the column of each label.

    With ``classes`` labels are looked up there; whole numbers are columns; names are taken in alphabetical order where
    there are as many as columns (``n_classes``, None = unknown).

    >>> classes_of(["dog", "cat", "dog"], None, 2).tolist()
    [1, 0, 1]
    """
    given = ids_of(labels, "labels")
    if classes is not None:
        names = ids_of(classes, "classes").tolist()
        if n_classes not in (None, len(names)) or len(set(names)) < len(names):
            raise UserError(f"classes: {len(set(names))} different names for {n_classes or len(names)} classes.")
        columns = {name: column for column, name in enumerate(names)}
        strange = [label for label in given.tolist() if label not in columns]
        if strange:
            raise UserError(f"labels: {strange[0]!r} is not among classes.")
        return np.array([columns[label] for label in given.tolist()], dtype=np.int64)
    if not len(given):
        return np.zeros(0, dtype=np.int64)
    if given.dtype.kind == "i":
        wrong = given[(given < 0) | (given >= (n_classes or np.inf))]
        if len(wrong):
            columns_known = f"0 to {n_classes - 1}" if n_classes else "0 and up"
            raise UserError(f"labels: {int(wrong[0])} is no column ({columns_known}); name the columns with classes=….")
        return given
    found, columns_L = np.unique(given, return_inverse=True)
    if n_classes not in (None, len(found)):
        raise UserError(
            f"labels: {len(found)} different names for {n_classes} columns of probabilities; say with classes=… which "
            "name each column has."
        )
    return columns_L.astype(np.int64)


def by_modality(value: Any, name: str, modalities: Collection[str]) -> dict[str, Any]:
    """A mapping with exactly these modalities, in their order.

    >>> by_modality({"text": 1, "image": 2}, "weights", ("image", "text"))
    {'image': 2, 'text': 1}
    """
    if not isinstance(value, Mapping) or set(value) != set(modalities):
        got = f"got {', '.join(map(str, value))}" if isinstance(value, Mapping) else f"got {type(value).__name__}"
        raise UserError(f"{name}: a mapping with the modalities {', '.join(modalities)} is needed, {got}.")
    return {modality: value[modality] for modality in modalities}


def generator_of(rng: Any) -> np.random.Generator:
    """The generator itself, or the one that a whole number seeds."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise UserError(f"rng: a whole number of at least 0 or a numpy.random.Generator is needed, got {rng!r}.")
    return np.random.default_rng(int(rng))


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
