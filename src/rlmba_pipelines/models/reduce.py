"""Principal components of every modality, fitted once on the unlabeled pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from rlmba_pipelines.disk import scratch
from rlmba_pipelines.learning.types import Features, UserError, rows_of

BLOCK_ROWS = 4096
FIT_ROWS = 20_000  # evenly spaced, where there are more to learn from
NEGLIGIBLE = 1e-9  # share of the largest variance below which a component is noise of the arithmetic


def reduce_features(features: Features, n_components: int, fit_ids: np.ndarray | Sequence[str]) -> Features:
    """Center each modality on unit rows and turn it to its principal components. Labels play no part.

    Center and components come from the rows of ``fit_ids`` that have the modality (evenly spaced ones where these are
    more than ``FIT_ROWS``), so samples outside (validation,
    test) are only projected. Rows get length 1 first, and the whole block is divided by one number, so that a component
    has variance 1 on average and components keep their proportions. On emoji features a logistic regression was up
    to 1 point better so than with standardized columns, and about 2 to 3 points better than whitened.

    Args:
        features: any number of modalities.
        n_components: at most this many a modality (fewer where the rank is lower); 0 keeps the axes as they are.
        fit_ids: the samples to learn from, usually the pool.

    Returns:
        Features with float32[N, <= n_components] blocks; rows of absent modalities are 0. The same bits whatever the
        number of threads: sums over several threads differ in their last bits, so there is one.

    Raises:
        UserError: a modality is present in none of ``fit_ids``, or a present row is not finite; the sample is named.
    """
    fit_rows = np.sort(rows_of(features.sample_ids, fit_ids))
    blocks = {}
    for column, (name, block) in enumerate(features.blocks.items()):
        present_N = features.present_NM[:, column]
        rows = fit_rows[present_N[fit_rows]]
        if not len(rows):
            raise UserError(f"The modality {name!r} is present in none of the {len(fit_rows)} samples to learn from; "
                            "leave it out of ingest.modalities or add samples that have it.")
        check_finite_rows(block, present_N, features.sample_ids, name)
        with threadpool_limits(limits=1):
            blocks[name] = _reduced(block, present_N, rows, n_components)
    suffix = f"|pca{n_components}" if n_components else "|centered"
    fingerprints = {name: features.fingerprints.get(name, "") + suffix for name in blocks}
    return replace(features, blocks=blocks, fingerprints=fingerprints)


def check_finite_rows(block: np.ndarray, present_N: np.ndarray, sample_ids: np.ndarray, name: str) -> None:
    """Raise a UserError that names the samples whose present rows hold NaN or infinity."""
    finite_N = np.concatenate([np.isfinite(block[part]).all(axis=1) for part in _parts(len(block))])
    bad_N = present_N & ~finite_N
    if bad_N.any():
        names = ", ".join(str(s) for s in sample_ids[bad_N][:3])
        n_bad = int(bad_N.sum())
        raise UserError(f"Features of {name!r}: {n_bad} samples have values that are not finite (first: {names}); "
                        "look at their media, or choose another encoder.")


def _reduced(block: np.ndarray, present_N: np.ndarray, fit_rows: np.ndarray, n_components: int) -> np.ndarray:
    if len(fit_rows) > FIT_ROWS:
        fit_rows = fit_rows[np.linspace(0, len(fit_rows) - 1, FIT_ROWS).astype(np.int64)]
    centered_FD = _unit(block[fit_rows])
    center_D = centered_FD.mean(axis=0)
    centered_FD -= center_D
    axes = _principal_axes(centered_FD, n_components) if n_components else None
    scale = np.sqrt(((centered_FD if axes is None else centered_FD @ axes) ** 2).mean()) or 1.0
    reduced = scratch((len(block), block.shape[1] if axes is None else axes.shape[1]))
    for part in _parts(len(block)):
        centered_BD = _unit(block[part]) - center_D
        turned_BD = centered_BD if axes is None else centered_BD @ axes
        reduced[part] = np.where(present_N[part, None], turned_BD / scale, 0.0)
    return reduced


def _unit(block: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(block.astype(np.float64), axis=1, keepdims=True)
    return block / np.where(length > 0, length, 1.0)


def _parts(n_rows: int) -> Iterator[slice]:
    """Rows of a few megabytes each, so that a pool on the disk need not fit into memory."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, max(n_rows, 1), BLOCK_ROWS))


def _principal_axes(centered_ND: np.ndarray, n_components: int) -> np.ndarray:
    """Leading eigenvectors of the covariance, float64[D, <= n_components]; the largest entry of each is positive."""
    variance, axes = np.linalg.eigh(centered_ND.T @ centered_ND / len(centered_ND))
    variance, axes = variance[::-1][:n_components], axes[:, ::-1][:, :n_components]
    axes = axes[:, : max(1, int((variance > NEGLIGIBLE * variance[0]).sum()))]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.sign(largest)
