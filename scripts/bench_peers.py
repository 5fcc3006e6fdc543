"""What ``bench_selection.py`` runs: the synthetic pool, every strategy of the registry, and other people's code.

A call is prepared first and timed afterwards: ``prepare(pool, q)`` gives a function without arguments. Peers get
contiguous arrays in the layout that they ask for, and a classifier that hands out the prepared probabilities, so that
no time of theirs goes into a model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from rlmba_pipelines.learning.acquisition import get_strategy, select_batch, strategy_names
from rlmba_pipelines.learning.types import UNLABELED, Action, PoolView, Predictions, Terms

MODALITIES = ("image", "text")  # halves of the features
N_DRAWS = 5
BLOCK = 10_000
Run = Callable[[], Any]


@dataclass(frozen=True)
class Pool:
    """A seeded Gaussian mixture of C clusters, and the posterior of its classes as predictions.

    Cluster centers lie so far apart that the likeliest class is right for about four samples of five; 5 samples a
    class are labeled.
    """

    n: int
    width: int = 512
    n_classes: int = 101
    seed: int = 0

    @functools.cached_property
    def centers_CD(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 1])
        spread = 0.2 * np.sqrt(512 / self.width)
        return rng.normal(0, spread, size=(self.n_classes, self.width)).astype(np.float32)

    @functools.cached_property
    def y(self) -> np.ndarray:
        return np.random.default_rng([self.seed, 2]).integers(self.n_classes, size=self.n)

    @functools.cached_property
    def features_ND(self) -> np.ndarray:
        features_ND = np.random.default_rng([self.seed, 3]).standard_normal((self.n, self.width), dtype=np.float32)
        for start in range(0, self.n, BLOCK):
            features_ND[start : start + BLOCK] += self.centers_CD[self.y[start : start + BLOCK]]
        return features_ND

    @functools.cached_property
    def labeled_N(self) -> np.ndarray:
        labeled_N = np.zeros(self.n, dtype=bool)
        labeled_N[np.random.default_rng([self.seed, 4]).permutation(self.n)[: min(5 * self.n_classes, self.n // 4)]] = 1
        return labeled_N

    @functools.cached_property
    def probabilities_NC(self) -> np.ndarray:
        return self.posterior(slice(None), self.centers_CD)

    @functools.cached_property
    def draws_NKC(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 5])
        draws_NKC = np.empty((self.n, N_DRAWS, self.n_classes), dtype=np.float32)
        for k in range(N_DRAWS):
            moved = self.centers_CD + rng.normal(0, 0.05, size=self.centers_CD.shape).astype(np.float32)
            draws_NKC[:, k] = self.posterior(slice(None), moved)
        return draws_NKC

    def posterior(self, columns: slice, centers_CD: np.ndarray) -> np.ndarray:
        """float64[N, C]: probabilities of the classes given some columns of the features."""
        centers_CD = centers_CD[:, columns]
        out_NC = np.empty((self.n, self.n_classes))
        for start in range(0, self.n, BLOCK):
            logits = self.features_ND[start : start + BLOCK, columns] @ centers_CD.T
            logits -= np.square(centers_CD).sum(axis=1) / 2
            odds = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
            out_NC[start : start + BLOCK] = odds / odds.sum(axis=1, keepdims=True)
        return out_NC

    def view(self, requires: tuple[str, ...]) -> PoolView:
        """The view with what a strategy requires, and no other array."""
        ids, half = np.array([f"s{i:07d}" for i in range(self.n)]), self.width // 2
        here_NM = np.ones((self.n, 2), dtype=bool)
        columns = {"image": slice(0, half), "text": slice(half, 2 * half)}
        predictions = None
        if {"predictions", "embedding", "draws", "unimodal"} & set(requires):
            draws_NKC = self.draws_NKC if "draws" in requires else self.probabilities_NC[:, None]
            heads_NMC = np.empty((self.n, 2, self.n_classes))
            for m, modality in enumerate(MODALITIES):
                heads_NMC[:, m] = self.posterior(columns[modality], self.centers_CD)
            predictions = Predictions(
                sample_ids=ids,
                modalities=MODALITIES,
                present_NM=here_NM,
                probabilities_NC=self.probabilities_NC,
                unimodal_NMC=heads_NMC,
                draws_NKC=draws_NKC,
                unimodal_draws_NMKC=heads_NMC[:, :, None],
                embedding_ND=self.features_ND,
                modality_embedding_NMD=self.features_ND.reshape(self.n, 2, half),
            )
        rng = np.random.default_rng([self.seed, 6])
        return PoolView(
            sample_ids=ids,
            labeled_N=self.labeled_N,
            modalities=MODALITIES,
            present_NM=here_NM,
            features={m: np.ascontiguousarray(self.features_ND[:, columns[m]]) for m in MODALITIES},
            predictions=predictions,
            terms=Terms(ids, {name: rng.random(self.n) for name in ("margin", "entropy", "vacuity", "conflict")}),
            y=np.where(self.labeled_N, self.y, UNLABELED),
            arm_N=np.where(self.labeled_N, np.arange(self.n) % 3, UNLABELED),
            weights_M=np.array([0.5, 0.5]),
            action=Action(),
            policy={"name": "fixed"},
        )


# --- ours -------------------------------------------------------------------------------------------------------------


def ours(name: str, pool: Pool, q: int) -> Run:
    view = pool.view(get_strategy(name).requires)
    return lambda: select_batch(name, view, q, np.random.default_rng(0))


def door(pool: Pool, q: int) -> Run:
    """The public call, all its checks included."""
    select = import_module("rlmba_pipelines").select
    features, probabilities = pool.features_ND, pool.probabilities_NC
    labeled = np.flatnonzero(pool.labeled_N)
    return lambda: select(
        "margin", features=features, probabilities=probabilities, labeled_ids=labeled, query_size=q, rng=0
    )


# --- peers ------------------------------------------------------------------------------------------------------------


def naive_badge(pool: Pool, q: int) -> Run:
    """BADGE as its authors wrote it, with the inner product factorised: every distance, every pick."""
    free = np.flatnonzero(~pool.labeled_N)
    z_UD, a_UC = pool.features_ND[free], pool.probabilities_NC[free].astype(np.float32)
    a_UC[np.arange(len(free)), a_UC.argmax(axis=1)] -= 1

    def run() -> list[int]:
        rng = np.random.default_rng(0)
        norm_U = np.square(a_UC).sum(axis=1) * np.square(z_UD).sum(axis=1)
        picks, nearest_U = [int(norm_U.argmax())], np.full(len(free), np.inf)
        while len(picks) < q:
            inner_U = (a_UC @ a_UC[picks[-1]]) * (z_UD @ z_UD[picks[-1]])
            nearest_U = np.minimum(nearest_U, np.maximum(norm_U + norm_U[picks[-1]] - 2 * inner_U, 0))
            nearest_U[picks] = 0
            cumulative_U = np.cumsum(nearest_U, dtype=np.float64)
            picks.append(int(np.argmax(cumulative_U > rng.random() * cumulative_U[-1])))
        return picks

    return run


def naive_k_center(pool: Pool, q: int) -> Run:
    """Farthest-first with one product a pick and nearest distances kept."""
    free, labeled = np.flatnonzero(~pool.labeled_N), np.flatnonzero(pool.labeled_N)
    points_UD, centers_LD = pool.features_ND[free], pool.features_ND[labeled]

    def run() -> list[int]:
        norm_U = np.square(points_UD).sum(axis=1)
        products_UL = points_UD @ centers_LD.T
        nearest_U = (norm_U[:, None] - 2 * products_UL + np.square(centers_LD).sum(axis=1)).min(axis=1)
        picks = list[int]()
        while len(picks) < q:
            pick = int(nearest_U.argmax())
            picks.append(pick)
            nearest_U = np.minimum(nearest_U, norm_U - 2 * points_UD @ points_UD[pick] + norm_U[pick])
            nearest_U[picks] = -np.inf
        return picks

    return run


def activeml(class_name: str, pool: Pool, q: int, *, model: bool = False, **options: Any) -> Run:
    """A query strategy of scikit-activeml; ``model``: it asks a classifier, which knows the answers."""
    y = np.where(pool.labeled_N, pool.y, np.nan)
    base: Any = import_module("skactiveml.base").SkactivemlClassifier
    free = np.flatnonzero(~pool.labeled_N)
    known_UC = pool.probabilities_NC[free]

    class Known(base):
        """Predicts what is prepared for the candidates."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any) -> np.ndarray:
            return known_UC

    query = getattr(import_module("skactiveml.pool"), class_name)(random_state=0, **options).query
    features_ND = pool.features_ND
    more = {"clf": Known(classes=np.arange(pool.n_classes)), "fit_clf": False} if model else {}
    return lambda: query(features_ND, y, batch_size=q, **more)


def activeml_batch_bald(pool: Pool, q: int) -> Run:
    free = np.flatnonzero(~pool.labeled_N)
    draws_KUC = np.ascontiguousarray(pool.draws_NKC[free].transpose(1, 0, 2), dtype=np.float64)
    batch_bald = import_module("skactiveml.pool").batch_bald
    return lambda: batch_bald(draws_KUC, q, random_state=0)


def small_text_k_center(pool: Pool, q: int) -> Run:
    order = np.argsort(pool.labeled_N, kind="stable")  # unlabeled rows first: there its ids are its positions
    points_ND, n_free = pool.features_ND[order], int((~pool.labeled_N).sum())
    rows = np.arange(pool.n)
    greedy = import_module("small_text.query_strategies.coresets").greedy_coreset
    return lambda: greedy(points_ND, rows[:n_free], rows[n_free:], q, distance_metric="euclidean")


def small_text_bald(pool: Pool, q: int) -> Run:
    draws_UKC = pool.draws_NKC[~pool.labeled_N]
    bald = import_module("small_text.query_strategies.bayesian")._bald
    return lambda: np.argpartition(-bald(draws_UKC), q)[:q]


def mundig(pool: Pool, q: int) -> Run:
    features_ND, labeled = pool.features_ND, np.flatnonzero(pool.labeled_N).tolist()
    selection_of = import_module("lightly_mundig").Selection

    def run() -> Any:
        selection = selection_of()
        selection.add_diversifying_strategy(features_ND, 1.0)
        return selection.run_selection(labeled, len(features_ND), len(labeled) + q)

    return run


def modal(function: str, pool: Pool, q: int) -> Run:
    known_UC = pool.probabilities_NC[~pool.labeled_N]
    features_UD = pool.features_ND[~pool.labeled_N]

    class Known:
        def predict_proba(self, X: Any) -> np.ndarray:
            return known_UC

    query = getattr(import_module("modAL.uncertainty"), function)
    return lambda: query(Known(), features_UD, n_instances=q)


PEERS: dict[str, tuple[str, Callable[[Pool, int], Run]]] = {
    "naive BADGE loop (numpy)": ("badge", naive_badge),
    "naive k-center loop (numpy)": ("core_set", naive_k_center),
    "scikit-activeml Badge": ("badge", functools.partial(activeml, "Badge", model=True)),
    "scikit-activeml CoreSet": ("core_set", functools.partial(activeml, "CoreSet")),
    "scikit-activeml Falcun": ("falcun", functools.partial(activeml, "Falcun", model=True)),
    "scikit-activeml MaxHerding": ("max_herding", functools.partial(activeml, "MaxHerding")),
    "scikit-activeml ProbCover": ("probcover", functools.partial(activeml, "ProbCover")),
    "scikit-activeml TypiClust": ("typiclust", functools.partial(activeml, "TypiClust")),
    "scikit-activeml batch_bald": ("batch_bald", activeml_batch_bald),
    "scikit-activeml entropy": (
        "entropy",
        functools.partial(activeml, "UncertaintySampling", model=True, method="entropy"),
    ),
    "scikit-activeml margin": (
        "margin",
        functools.partial(activeml, "UncertaintySampling", model=True, method="margin_sampling"),
    ),
    "small-text BALD": ("bald", small_text_bald),
    "small-text greedy_coreset": ("core_set", small_text_k_center),
    "lightly-mundig diversifying": ("core_set", mundig),
    "modAL entropy": ("entropy", functools.partial(modal, "entropy_sampling")),
    "modAL margin": ("margin", functools.partial(modal, "margin_sampling")),
    "rlmba_pipelines.select, checks included": ("margin", door),
}
"""Name -> the strategy that it is compared with, and what prepares it."""


def contestants() -> dict[str, str]:
    """Every name that can be timed -> its strategy; ours bear the name of the strategy."""
    return {name: name for name in strategy_names()} | {name: strategy for name, (strategy, _) in PEERS.items()}


def prepare(name: str, pool: Pool, q: int) -> Run:
    """The call to be timed."""
    return PEERS[name][1](pool, q) if name in PEERS else ours(name, pool, q)
