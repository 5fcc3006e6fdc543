"""BAIT: the batch after which the model's parameters are known best, measured by Fisher information.

Concept  choose S to minimise tr((λI + I(L) + Σ_{x ∈ S} I(x))⁻¹ · I(pool)): optimal design for the last layer.
Source   Gone Fishing, Ash et al. 2021 (arXiv 2106.09675); the binary reduction is Fast Fishing, Huseljic et al. 2024
         (arXiv 2404.08981), as the Fisher matrix of C classes has C·D rows.
Stated   forward greedy to 2Q samples, then backward greedy to Q; I(x) = Σ_c p_c ∇_c ∇_cᵀ of the last layer, rank one
         updates by the Woodbury identity. The authors' code: λ = 0.01, I(L) and I(pool) are means, and with n labeled
         I(L) counts n / (n + Q), the information of a pick Q / (n + Q).
Chosen   ``fisher="binary"`` (default): right or wrong instead of C classes, I(x) = p̂(1 − p̂) z zᵀ with p̂ = max p.
         ``fisher="multiclass"``: the paper's, on pools small enough to write its factors out. Beyond
         ``max_dimensions`` z is projected on the leading directions of I(pool), those that the trace consists of; up to
         there nothing is lost, as a rotation changes no trace. Picks come in the order of the forward pass.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks, check_finite, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

TIE = 1e-9  # gains this close, relative to the best, are equal
BLOCK_ROWS = 2048
MAX_FACTOR_VALUES = 50_000_000  # float64 values of multiclass factors: 400 MB


def binary_factors(probabilities_NC: np.ndarray, embedding_ND: np.ndarray, max_dimensions: int) -> np.ndarray:
    """float64[N, 1, d] with I(x) = VᵀV = p̂(1 − p̂) z zᵀ, z on its d leading directions where D is larger.

    >>> binary_factors(np.array([[0.8, 0.2]]), np.array([[3.0, 4.0]]), 2).round(3).tolist()
    [[[1.2, 1.6]]]
    """
    likeliest_N = probabilities_NC.max(axis=1).astype(np.float64)
    scale_N = np.sqrt(np.maximum(likeliest_N * (1 - likeliest_N), 0.0))
    n_rows, n_dims = embedding_ND.shape
    if n_dims <= max_dimensions:
        return (scale_N[:, None] * embedding_ND)[:, None]
    gram_DD = np.zeros((n_dims, n_dims))
    for part in blocks(n_rows, BLOCK_ROWS):
        scaled = scale_N[part, None] * embedding_ND[part]
        gram_DD += scaled.T @ scaled
    leading_Dd = np.linalg.eigh(gram_DD)[1][:, ::-1][:, :max_dimensions]
    factors = np.empty((n_rows, 1, max_dimensions))
    for part in blocks(n_rows, BLOCK_ROWS):
        factors[part, 0] = (scale_N[part, None] * embedding_ND[part]) @ leading_Dd
    return factors


def multiclass_factors(probabilities_NC: np.ndarray, embedding_ND: np.ndarray) -> np.ndarray:
    """float64[N, C, C·D] with I(x) = VᵀV = (diag(p) − ppᵀ) ⊗ zzᵀ: row c is √p_c (onehot(c) − p) ⊗ z."""
    probabilities_NC = probabilities_NC.astype(np.float64)
    n_rows, n_classes = probabilities_NC.shape
    residual_NCC = np.eye(n_classes) - probabilities_NC[:, None, :]
    residual_NCC *= np.sqrt(probabilities_NC)[:, :, None]
    return np.einsum("nck,nd->nckd", residual_NCC, embedding_ND).reshape(n_rows, n_classes, -1)


def mean_information(factors_NRP: np.ndarray) -> np.ndarray:
    """float64[P, P]: mean of VᵀV over the rows; zeros without rows."""
    n_rows, _, n_parameters = factors_NRP.shape
    total_PP = np.zeros((n_parameters, n_parameters))
    for part in blocks(n_rows, BLOCK_ROWS):
        flat = factors_NRP[part].reshape(-1, n_parameters)
        total_PP += flat.T @ flat
    return total_PP / max(1, n_rows)


class Design:
    """M⁻¹ and the trace of M⁻¹F under rank-R changes of M, and what every row of ``factors_NRP`` would change it by.

    Kept a row: VM⁻¹Vᵀ and VM⁻¹FM⁻¹Vᵀ, both float64[N, R, R]; a change of M costs one product of all V by 2R vectors.
    """

    def __init__(self, factors_NRP: np.ndarray, start_PP: np.ndarray, fisher_PP: np.ndarray) -> None:
        self._factors, self._fisher = factors_NRP, fisher_PP
        self.inverse_PP = np.linalg.inv(start_PP)
        n_rows, rank, _ = factors_NRP.shape
        self._within = np.empty((n_rows, rank, rank))
        self._through = np.empty((n_rows, rank, rank))
        middle_PP = self.inverse_PP @ fisher_PP @ self.inverse_PP
        for part in blocks(n_rows, BLOCK_ROWS):
            transposed = factors_NRP[part].transpose(0, 2, 1)
            self._within[part] = (factors_NRP[part] @ self.inverse_PP) @ transposed
            self._through[part] = (factors_NRP[part] @ middle_PP) @ transposed

    @property
    def trace(self) -> float:
        return float((self.inverse_PP * self._fisher).sum())

    def gains(self, rows: np.ndarray | slice, sign: int) -> np.ndarray:
        """float64: how much tr(M⁻¹F) falls if I(x) is added (``sign=1``), or less than 0 if it is taken away (-1)."""
        within, through = self._within[rows], self._through[rows]
        if within.shape[1] == 1:
            return sign * through[:, 0, 0] / (1 + sign * within[:, 0, 0])
        inner = np.eye(within.shape[1]) + sign * within
        return sign * np.trace(np.linalg.solve(inner, through), axis1=1, axis2=2)

    def change(self, row: int, sign: int) -> None:
        """Add I(x) of ``row`` to M, or take it away."""
        factor_RP = self._factors[row]
        rank, n_parameters = factor_RP.shape
        reach_PR = self.inverse_PP @ factor_RP.T
        inner = np.linalg.inv(np.eye(rank) + sign * factor_RP @ reach_PR) * sign  # K: M⁻¹ falls by reach K reachᵀ
        carried_PR = self.inverse_PP @ (self._fisher @ reach_PR)
        both = self._factors.reshape(-1, n_parameters) @ np.hstack([reach_PR, carried_PR])
        s, t = np.split(both.reshape(len(self._factors), rank, -1), 2, axis=2)
        weighted = _product(s, inner)
        self._within -= _product(weighted, s.transpose(0, 2, 1))
        cross = _product(weighted, t.transpose(0, 2, 1))
        self._through -= cross + cross.transpose(0, 2, 1)
        through = _product(weighted, reach_PR.T @ self._fisher @ reach_PR)
        self._through += _product(through, weighted.transpose(0, 2, 1))
        self.inverse_PP = self.inverse_PP - reach_PR @ inner @ reach_PR.T


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left @ right``; for 1 × 1 matrices without a call a row."""
    return left * right if left.shape[-2:] == right.shape[-2:] == (1, 1) else left @ right


def forward_backward(
    factors_NRP: np.ndarray,
    free_N: np.ndarray,
    start_PP: np.ndarray,
    fisher_PP: np.ndarray,
    n_picks: int,
    oversample: float,
) -> tuple[list[int], list[float]]:
    """Rows of ``factors_NRP``, in the order of the forward pass, and by how much each then lowered the trace.

    Args:
        free_N: bool[N], rows that may be chosen.
    """
    design = Design(factors_NRP, start_PP, fisher_PP)
    free_N = free_N.copy()
    picks: list[int] = []
    gain_of: dict[int, float] = {}
    for _ in range(min(int(free_N.sum()), max(n_picks, int(oversample * n_picks)))):
        gain_N = np.where(free_N, design.gains(slice(None), 1), -np.inf)
        best = gain_N.max()
        pick = int(np.flatnonzero(gain_N >= best - TIE * abs(best))[0])
        design.change(pick, 1)
        picks.append(pick)
        gain_of[pick] = float(gain_N[pick])
        free_N[pick] = False
    # the backward pass looks at the picks alone
    chosen = np.array(picks)
    design = Design(factors_NRP[chosen], np.linalg.inv(design.inverse_PP), fisher_PP)
    kept = np.ones(len(chosen), dtype=bool)
    for _ in range(len(chosen) - n_picks):
        loss = np.where(kept, -design.gains(slice(None), -1), np.inf)
        least = loss.min()
        drop = int(np.flatnonzero(loss <= least + TIE * abs(least))[-1])  # of equals the last chosen goes
        design.change(drop, -1)
        kept[drop] = False
    order = chosen[kept].tolist()
    return order, [gain_of[pick] for pick in order]


@register(
    "bait",
    requires=("predictions",),
    cost="O(N D² + Q N d), d = min(D, max_dimensions)",
    reference="Ash et al. 2021, arXiv 2106.09675; binary reduction: Huseljic et al. 2024, arXiv 2404.08981",
    idea="Ask for the batch after which the model's last layer is known best.",
    formula="argmin_S tr((λI + I(L) + Σ_{x ∈ S} I(x))⁻¹ I(pool)), I(x) = p̂(1 − p̂) z zᵀ",
    when="Small and medium pools, when every label counts.",
    deterministic=True,
    options_from={
        "fisher": "binary from Huseljic et al. 2024; multiclass is the paper's",
        "ridge": "authors' code",
        "oversample": "paper: forward to 2Q, backward to Q",
        "max_dimensions": "chosen: half a second a hundred picks at 200,000 samples",
    },
)
def bait(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    fisher: str = "binary",
    ridge: float = 0.01,
    oversample: float = 2.0,
    max_dimensions: int = 64,
) -> Selection:
    """Forward-backward greedy; utility is the fall of the trace at the moment of choice.

    Args:
        fisher: ``binary`` or ``multiclass``.
        ridge: λ > 0.
        oversample: the forward pass chooses so many times Q, at least 1.
        max_dimensions: of the embedding in the binary Fisher information.

    Raises:
        UserError: an option has no sense, or the multiclass factors would not fit.
    """
    assert view.predictions is not None
    probabilities_NC, embedding_ND = view.predictions.probabilities_NC, view.predictions.embedding_ND
    if fisher not in ("binary", "multiclass") or not ridge > 0 or not oversample >= 1 or max_dimensions < 1:
        raise UserError("bait: fisher is binary or multiclass, ridge > 0, oversample >= 1 and max_dimensions >= 1.")
    check_finite(embedding_ND, view, "bait: embedding")
    n_classes = probabilities_NC.shape[1]
    if fisher == "multiclass" and embedding_ND.size * n_classes**2 > MAX_FACTOR_VALUES:
        raise UserError("bait: this pool is too large for fisher='multiclass'; use 'binary'.")
    if fisher == "binary":
        factors_NRP = binary_factors(probabilities_NC, embedding_ND, max_dimensions)
    else:
        factors_NRP = multiclass_factors(probabilities_NC, embedding_ND)
    n_labeled = len(view.labeled_rows)
    n_picks = min(query_size, len(view.sample_ids) - n_labeled)
    start_PP = n_labeled / (n_labeled + n_picks) * mean_information(factors_NRP[view.labeled_rows])
    start_PP += ridge * np.eye(len(start_PP))
    fisher_PP = mean_information(factors_NRP)
    factors_NRP *= np.sqrt(n_picks / (n_labeled + n_picks))
    rows, gain = forward_backward(factors_NRP, ~view.labeled_N, start_PP, fisher_PP, n_picks, oversample)
    likeliest_N = probabilities_NC.max(axis=1).astype(np.float64)
    reasons = {"uncertainty": likeliest_N * (1 - likeliest_N)}
    batch = selection_of(view, np.array(rows, dtype=np.int64), np.array(gain), reasons)
    return Selection(batch.sample_ids, batch.utility_Q, {**batch.reasons, "fisher_gain": batch.utility_Q})
