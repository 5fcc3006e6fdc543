"""Average-linkage clustering: again and again the two clusters that are nearest on average become one.

Concept  UPGMA: the distance of two clusters is the mean distance of their pairs of rows.
Source   nearest-neighbor chains, Murtagh 1983; the form and its ties are those of scipy.cluster.hierarchy.
Chosen   distances are computed in float64 and kept in float32, each pair once and in place: 2 n² bytes, where SciPy
         takes 8 n².
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.clusters import in_order_of_rows, mean_of, squared_distances

BLOCK_ROWS = 512


def average_linkage(points_ND: np.ndarray, n_clusters: int, rows: np.ndarray | None = None) -> np.ndarray:
    """int64[R]: at most ``n_clusters`` clusters by average linkage, numbered by first row.

    Merges as near as the last one that is needed are all made.

    Args:
        points_ND: float[N, D], finite.
        rows: int64[R], those that are clustered; None: all.

    >>> average_linkage(np.array([[0.0], [9.0], [1.0], [10.0]]), 2).tolist()
    [0, 1, 0, 1]
    """
    rows = np.arange(len(points_ND)) if rows is None else rows
    n_rows = len(rows)
    n_merges = n_rows - n_clusters
    if n_merges < 1:
        return np.arange(n_rows)
    gone, into, height = _merges(Pairs(points_ND, rows))
    made = height <= np.partition(height, n_merges - 1)[n_merges - 1]
    root_R = np.arange(n_rows)
    root_R[gone[made]] = into[made]
    while not np.array_equal(root_R, root_R[root_R]):
        root_R = root_R[root_R]
    return in_order_of_rows(root_R)


class Pairs:
    """float32 distances of n rows to each other, each once: of row 0 to 1, 2, …, then of row 1 to 2, 3, …

    >>> pairs = Pairs(np.array([[0.0], [1.0], [3.0]]), np.arange(3))
    >>> pairs.of(1).tolist()
    [1.0, inf, 2.0]
    >>> pairs.write(1, np.array([5.0, 0.0, 7.0])); pairs.of(2).tolist()
    [3.0, 7.0, inf]
    """

    def __init__(self, points_ND: np.ndarray, rows: np.ndarray) -> None:
        n = self.n_rows = len(rows)
        parts = list(blocks(n, BLOCK_ROWS))
        mean_D = mean_of(points_ND, rows)
        row = np.arange(n)
        self._before = row * n - row * (row + 1) // 2 - row - 1  # pair (i, j), i < j, is at before[i] + j
        self._values = np.empty(n * (n - 1) // 2, dtype=np.float32)
        for at, part in enumerate(parts):
            centered_BD = points_ND[rows[part]] - mean_D
            for others in parts[at:]:
                apart = np.sqrt(squared_distances(centered_BD, points_ND[rows[others]] - mean_D))
                for i in range(part.start, part.stop):
                    first = max(i + 1, others.start)
                    here = slice(self._before[i] + first, self._before[i] + others.stop)
                    self._values[here] = apart[i - part.start, first - others.start :]

    def _after(self, i: int) -> slice:
        return slice(self._before[i] + i + 1, self._before[i] + self.n_rows)

    def of(self, i: int) -> np.ndarray:
        """float64[n]: distances of row ``i``; infinite to itself."""
        out = np.empty(self.n_rows)
        out[:i] = self._values[self._before[:i] + i]
        out[i] = np.inf
        out[i + 1 :] = self._values[self._after(i)]
        return out

    def write(self, i: int, distance_R: np.ndarray) -> None:
        """Make these the distances of row ``i``; that to itself is not looked at."""
        self._values[self._before[:i] + i] = distance_R[:i]
        self._values[self._after(i)] = distance_R[i + 1 :]


def _merges(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64[n − 1] twice and float64[n − 1]: which row gives its cluster to which, and at what distance.

    A chain goes from a cluster to its nearest until two are each other's nearest; merging them does not change who is
    nearest to those before them in the chain. A cluster is kept at the last of its rows.
    """
    n_rows = pairs.n_rows
    size_R = np.ones(n_rows)
    closed_R = np.zeros(n_rows)  # infinite where there is no cluster any more
    gone, into, height = np.empty(n_rows - 1, np.int64), np.empty(n_rows - 1, np.int64), np.empty(n_rows - 1)
    chain: list[int] = []
    for step in range(n_rows - 1):
        if not chain:
            chain.append(int(closed_R.argmin()))
        while True:
            here = chain[-1]
            from_here_R = pairs.of(here) + closed_R
            nearest = int(from_here_R.argmin())
            if len(chain) > 1 and from_here_R[chain[-2]] <= from_here_R[nearest]:
                break
            chain.append(nearest)
        other = chain[-2]
        del chain[-2:]
        gone[step], into[step], height[step] = min(here, other), max(here, other), from_here_R[other]
        merged_R = (size_R[here] * from_here_R + size_R[other] * pairs.of(other)) / (size_R[here] + size_R[other])
        pairs.write(into[step], merged_R)
        size_R[into[step]] += size_R[gone[step]]
        closed_R[gone[step]] = np.inf
    return gone, into, height
