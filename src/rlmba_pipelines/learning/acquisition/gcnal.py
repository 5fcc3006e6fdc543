"""CoreGCN and UncertainGCN: a graph network learns to tell labeled from unlabeled, and is asked where it is lost.

Concept  samples are nodes, similarities edges; a two-layer graph convolution is trained to say which nodes carry a
         label. ``core`` spreads the batch, by k-center, over the network's hidden nodes; ``uncertain`` takes the nodes
         whose score is nearest to a margin.
Source   Caramalau, Bhattarai & Kim 2021 (arXiv 2006.10219); code: razvancaramalau/Sequential-GCN-for-Active-Learning.
Stated   10,000 unlabeled nodes drawn anew; features at length 1; A = S D⁻¹ + I, S the similarities without their
         diagonal, D their column sums; ReLU(A X W₁) with dropout, σ(A H W₂); loss −mean log s over the labeled
         − λ mean log(1 − s) over the unlabeled; Adam with weight decay.
Chosen   the nodes are the fused embedding. S = (1 + cosine) / 2, since an embedding with negative entries may have a
         column sum of 0, which those after a ReLU do not. S is a product of thin matrices and is never written out. At
         most as many labeled nodes as unlabeled ones, drawn at random. ``core`` uses the hidden layer, as the paper
         says (the code overwrites it with the input). float32, on one thread: 200
         steps make much of a last bit. Two layers need no framework: the gradient is written out. In memory are X, A X
         and one hidden layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from rlmba_pipelines.learning.acquisition.coverage import fused_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.clusters import at_most, read_rows
from rlmba_pipelines.learning.selection.k_center import k_center
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

VARIANTS = ("core", "uncertain")
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 5e-4  # their code
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's own
LEAST_SUM = 1e-6  # a node alone, or opposite to all others, has no edges
BLOCK_VALUES = 60_000  # beside the arrays that are kept


class Nodes(NamedTuple):
    """Score in [0, 1], 1 = labeled, and hidden layer of every node: float32[R] and float32[R, H]."""

    score_R: np.ndarray
    hidden_RH: np.ndarray


class Weights(NamedTuple):
    """The network: float32[D, H], [H], [H] and [1]."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray


class Graph:
    """A = S D⁻¹ + I over rows of length 1 (float32[R, D]): S = (1 + cosine) / 2 off the diagonal, D its column sums.

    >>> graph = Graph(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))    # S: 1 between the first two, else ½
    >>> graph.spread(np.eye(3)).round(2).tolist()
    [[1.0, 0.67, 0.5], [0.67, 1.0, 0.5], [0.33, 0.33, 1.0]]
    """

    def __init__(self, unit_RD: np.ndarray) -> None:
        self.unit_RD = unit_RD
        self._own_R1 = (1 + np.square(unit_RD).sum(axis=1, keepdims=True)) / 2
        self._one_R1 = np.ones((len(unit_RD), 1), dtype=np.float32)
        sum_R1 = self._similar(self._one_R1, self._one_R1)
        self._inverse_R1 = np.where(sum_R1 > LEAST_SUM, 1 / np.maximum(sum_R1, LEAST_SUM), 0)

    def spread(self, values_RH: np.ndarray) -> np.ndarray:
        """``A @ values``."""
        out_RH = self._similar(self._inverse_R1, values_RH)
        out_RH += values_RH
        return out_RH

    def spread_back(self, values_RH: np.ndarray) -> np.ndarray:
        """``A.T @ values``, what a gradient comes back by."""
        return self._inverse_R1 * self._similar(self._one_R1, values_RH) + values_RH

    def _similar(self, weight_R1: np.ndarray, values_RH: np.ndarray) -> np.ndarray:
        """``S @ (weight * values)``: two thin products instead of one of R × R, and no array beside the answer."""
        out_RH = weight_R1 * values_RH
        total_H, product_DH = out_RH.sum(axis=0), self.unit_RD.T @ out_RH
        np.matmul(self.unit_RD, product_DH, out=out_RH)
        for part in _row_blocks(out_RH):
            weighted_BH = weight_R1[part] * values_RH[part]
            out_RH[part] = (total_H + out_RH[part]) / 2 - self._own_R1[part] * weighted_BH
        return out_RH


class Dropout:
    """What hidden values are multiplied by: 0 for those that are dropped, else 1 / (1 − share dropped); float32[R, H].

    One byte a value; a block of rows is made when it is asked for.
    """

    def __init__(self, n_rows: int, n_hidden: int, dropout: float, rng: np.random.Generator) -> None:
        self._kept_RH = np.empty((n_rows, n_hidden), dtype=bool)
        self._scale = np.float32(1 / (1 - dropout))
        for part in _row_blocks(self._kept_RH):
            self._kept_RH[part] = rng.random(self._kept_RH[part].shape, dtype=np.float32) >= dropout

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._kept_RH[rows] * self._scale


def hidden_layer(spread_RD: np.ndarray, weights: Weights) -> np.ndarray:
    """float32[R, H]: ReLU(A X W₁ + b₁)."""
    hidden_RH = spread_RD @ weights.w1
    hidden_RH += weights.b1
    return np.maximum(hidden_RH, 0, out=hidden_RH)


def loss_and_gradient(
    graph: Graph,
    spread_RD: np.ndarray,
    labeled_R: np.ndarray,
    weights: Weights,
    kept_RH: np.ndarray | Dropout,
    unlabeled_weight: float,
) -> tuple[float, Weights]:
    """−mean log s over the labeled − λ mean log(1 − s) over the unlabeled, and its gradient.

    Args:
        spread_RD: ``A @ X``.
        kept_RH: float32[R, H], 0 where dropout takes a hidden value, else what it is multiplied by.
    """
    used_RH = hidden_layer(spread_RD, weights)
    for part in _row_blocks(used_RH):
        used_RH[part] *= kept_RH[part]
    logit_R = graph.spread(used_RH @ weights.w2[:, None])[:, 0] + weights.b2
    share_R = np.where(labeled_R, 1 / max(1, labeled_R.sum()), unlabeled_weight / max(1, (~labeled_R).sum()))
    loss = float(share_R @ np.logaddexp(0, np.where(labeled_R, -logit_R, logit_R)))
    logit_slope_R = (share_R * (expit(logit_R) - labeled_R)).astype(np.float32)
    slope_R = graph.spread_back(logit_slope_R[:, None])[:, 0]
    w2, b2 = used_RH.T @ slope_R, logit_slope_R.sum(keepdims=True)
    before_RH = used_RH  # the slopes before the ReLU take the place of the values after it
    for part in _row_blocks(used_RH):
        before_RH[part] = slope_R[part, None] * weights.w2 * kept_RH[part] * (used_RH[part] > 0)
    return loss, Weights(spread_RD.T @ before_RH, before_RH.sum(axis=0), w2, b2)


def _row_blocks(values_RH: np.ndarray) -> Iterator[slice]:
    return blocks(len(values_RH), max(1, BLOCK_VALUES // values_RH.shape[1]))


def train_graph_network(
    unit_RD: np.ndarray,
    labeled_R: np.ndarray,
    rng: np.random.Generator,
    *,
    n_epochs: int,
    n_hidden: int,
    dropout: float,
    unlabeled_weight: float,
) -> Nodes:
    """Train on the nodes by Adam, then read the same nodes without dropout."""
    graph = Graph(unit_RD)
    spread_RD = graph.spread(unit_RD)
    shapes = ((unit_RD.shape[1], n_hidden), (n_hidden,), (n_hidden,), (1,))
    bounds = (n_hidden**-0.5, n_hidden**-0.5, 1.0, 1.0)  # 1 / √(outputs of the layer), as in their code
    weights = [rng.uniform(-b, b, shape).astype(np.float32) for b, shape in zip(bounds, shapes, strict=True)]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step in range(1, n_epochs + 1):
        kept_RH = Dropout(len(unit_RD), n_hidden, dropout, rng)
        _, gradient = loss_and_gradient(graph, spread_RD, labeled_R, Weights(*weights), kept_RH, unlabeled_weight)
        for i, slope in enumerate(gradient):
            slope = slope + WEIGHT_DECAY * weights[i]
            first[i] = BETA_1 * first[i] + (1 - BETA_1) * slope
            second[i] = BETA_2 * second[i] + (1 - BETA_2) * slope**2
            size = np.sqrt(second[i] / (1 - BETA_2**step)) + EPSILON
            weights[i] = weights[i] - LEARNING_RATE / (1 - BETA_1**step) * first[i] / size
    trained = Weights(*weights)
    hidden_RH = hidden_layer(spread_RD, trained)
    return Nodes(expit(graph.spread(hidden_RH @ trained.w2[:, None])[:, 0] + trained.b2), hidden_RH)


@register(
    "gcnal",
    requires=("predictions",),
    cost="O(E n D H) for E epochs, H hidden units, n at most 2 max_candidates; then that of k-center",
    reference="Caramalau et al. 2021, arXiv 2006.10219",
    idea="Ask where a graph network that tells labeled from unlabeled samples finds the pool least covered.",
    formula="k-center on ReLU(A X W₁), or argmin |σ(A H W₂) − margin|, trained to tell labeled from unlabeled",
    when="A learned relative of core-set, on embeddings that the model has shaped; slow beside it.",
    deterministic=False,
    options_from={
        "variant": "Caramalau et al. 2021: CoreGCN does best",
        "max_candidates": "their code: 10,000",
        "n_epochs": "their code: 200",
        "n_hidden": "their code: 128",
        "dropout": "their code: 0.3",
        "unlabeled_weight": "their code: λ = 1.2",
        "score_margin": "their code: 0.1",
    },
)
def gcnal(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    variant: str = "core",
    max_candidates: int = 10_000,
    n_epochs: int = 200,
    n_hidden: int = 128,
    dropout: float = 0.3,
    unlabeled_weight: float = 1.2,
    score_margin: float = 0.1,
) -> Selection:
    """CoreGCN (utility: distance to the nearest center) or UncertainGCN (utility: minus the gap to the margin)."""
    if variant not in VARIANTS:
        raise UserError(f"Strategy 'gcnal' has no variant {variant!r}; choose one of: {', '.join(VARIANTS)}.")
    if not 0 <= dropout < 1:
        raise UserError(f"Strategy 'gcnal': dropout must be at least 0 and below 1, got {dropout}.")
    assert view.predictions is not None
    n_nodes = max(max_candidates, min(query_size, len(view.candidate_rows)))
    drawn = [at_most(rows, n_nodes, rng) for rows in (view.candidate_rows, view.labeled_rows)]
    rows = np.sort(np.concatenate(drawn))
    nodes_view = PoolView(view.sample_ids[rows], view.labeled_N[rows])
    with threadpool_limits(limits=1):
        nodes = train_graph_network(
            read_rows(fused_rows(view), rows),
            nodes_view.labeled_N,
            rng,
            n_epochs=n_epochs,
            n_hidden=n_hidden,
            dropout=dropout,
            unlabeled_weight=unlabeled_weight,
        )
    reasons = {"labeled_score": nodes.score_R}
    if variant == "core":
        return k_center(nodes_view, nodes.hidden_RH, query_size, reasons)
    return top_k(nodes_view, -np.abs(nodes.score_R - score_margin), query_size, reasons)
