"""Every strategy as a scikit-activeml query strategy, for people whose loop is written with that library.

    from rlmba_pipelines.learning.skactiveml_adapter import PoolStrategy
    picked = PoolStrategy("core_set", random_state=0).query(X, y, clf=clf, batch_size=10)

scikit-activeml is imported when ``PoolStrategy`` is first asked for; nothing else here needs it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from rlmba_pipelines.learning.acquisition import get_strategy
from rlmba_pipelines.learning.door import select
from rlmba_pipelines.learning.types import UserError

CLASS_NAME = "PoolStrategy"


class MissingPackageError(UserError, ImportError):
    """A package that only this part of the project needs is not installed."""


def __getattr__(name: str) -> Any:
    if name == CLASS_NAME:
        return _pool_strategy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def columns_of_labels(labels: np.ndarray, classes: Any) -> np.ndarray:
    """int64[L]: columns of labels as scikit-activeml keeps them, where whole numbers may be floats.

    >>> columns_of_labels(np.array([1.0, 0.0]), None).tolist()
    [1, 0]
    >>> columns_of_labels(np.array(["dog", "cat"]), ["cat", "dog", "emu"]).tolist()
    [1, 0]
    """
    if classes is not None:
        names = np.asarray(classes).tolist()
        unknown = [label for label in np.asarray(labels).tolist() if label not in names]
        if unknown:
            raise UserError(f"y: {unknown[0]!r} is not among classes.")
        return np.array([names.index(label) for label in np.asarray(labels).tolist()], dtype=np.int64)
    try:
        columns = np.asarray(labels, dtype=np.float64)
    except ValueError:
        raise UserError("y: labels are names; say with classes=… which column of the probabilities each has.") from None
    if (columns != np.floor(columns)).any() or (columns < 0).any():
        raise UserError("y: labels are no columns (0, 1, …); say with classes=… which column each has.")
    return columns.astype(np.int64)


@cache
def _pool_strategy() -> type:
    """The class, made once and only where scikit-activeml is installed."""
    try:
        base: Any = import_module("skactiveml.base").SingleAnnotatorPoolQueryStrategy
        is_labeled: Any = import_module("skactiveml.utils").is_labeled
    except ImportError:
        raise MissingPackageError(
            "scikit-activeml is not installed: pip install scikit-activeml, or call rlmba_pipelines.select, which does "
            "without."
        ) from None

    class PoolStrategy(base):
        """A strategy of rlmba_pipelines, chosen by name, behind scikit-activeml's interface.

        Parameters:
            strategy: its name.
            options: its options.
            classes: class labels in the order of the columns of the probabilities; by default those of ``clf``, else
                labels are the columns.
            missing_label, random_state: as everywhere in scikit-activeml.
        """

        def __init__(
            self,
            strategy: str = "margin",
            options: Any = None,
            classes: Any = None,
            missing_label: Any = np.nan,
            random_state: Any = None,
        ) -> None:
            super().__init__(missing_label=missing_label, random_state=random_state)
            self.strategy = strategy
            self.options = options
            self.classes = classes

        def query(
            self,
            X: Any,
            y: Any,
            clf: Any = None,
            fit_clf: bool = True,
            candidates: Any = None,
            batch_size: int = 1,
            return_utilities: bool = False,
            **parts: Any,
        ) -> Any:
            """Rows of ``X`` to have labeled next, best first.

            Args:
                clf: a classifier that predicts the probabilities where these are not among ``parts``; a clone of it is
                    fitted to ``X, y`` first unless ``fit_clf`` is false.
                candidates: rows of ``X`` (no label yet); by default all that have none. Other rows without a label are
                    not looked at.
                parts: further arguments of ``rlmba_pipelines.select`` whose row i is row i of ``X``:
                    ``probabilities``, ``embeddings``, ``draws``.

            Returns:
                int[Q], and with ``return_utilities`` float[Q, N]: row q holds the utility of what was picked q-th at
                that moment, and for pointwise strategies those of all others left; NaN = not known.
            """
            strategy = get_strategy(self.strategy)
            labels_of_caller = np.asarray(y)
            X, y, candidates, batch_size, return_utilities = self._validate_data(
                X, y, candidates, batch_size, return_utilities, reset=True
            )
            _, mapping = self._transform_candidates(
                candidates, X, y, enforce_mapping=True, allow_only_unlabeled=True
            )
            strange = sorted(set(parts) - {"probabilities", "embeddings", "draws"})
            if strange:
                raise UserError(f"query takes probabilities, embeddings and draws besides, not {strange[0]!r}.")
            labeled_rows = np.flatnonzero(is_labeled(y, missing_label=self.missing_label))
            classes = self.classes
            if clf is not None and "predictions" in strategy.requires and not {"probabilities", "draws"} & set(parts):
                clf = import_module("sklearn.base").clone(clf).fit(X, labels_of_caller) if fit_clf else clf
                parts["probabilities"] = clf.predict_proba(X)
                classes = clf.classes_ if classes is None else classes

            rows = np.union1d(labeled_rows, mapping)
            labels = columns_of_labels(y[labeled_rows], classes) if "y" in strategy.requires else None
            all_known = strategy.pointwise and strategy.deterministic and return_utilities
            batch = select(
                self.strategy,
                features=X[rows],
                sample_ids=rows,
                labeled_ids=labeled_rows,
                labels=labels,
                query_size=len(mapping) if all_known else batch_size,
                rng=int(self.random_state_.randint(2**31 - 1)),
                options=self.options,
                **{name: part[rows] for name, part in parts.items()},
            )
            picked = batch.sample_ids[:batch_size]
            if not return_utilities:
                return picked
            utilities_QN = np.full((len(picked), len(X)), np.nan)
            for q in range(len(picked)):
                known = slice(q, None if all_known else q + 1)
                utilities_QN[q, batch.sample_ids[known]] = batch.utility_Q[known]
            return picked, utilities_QN

    PoolStrategy.__module__, PoolStrategy.__qualname__ = __name__, CLASS_NAME
    return PoolStrategy
