"""A fit is quick enough to be repeated every round of every simulated run."""

from __future__ import annotations

import time

import numpy as np
import torch

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels
from rlmba_pipelines.models.fit import fit_fusion


def test_a_fit_on_a_thousand_labels_takes_a_few_times_its_own_matrix_products():
    """0.4 s where a core does 60 GFLOP/s; the products that no fit can do without are the yardstick of the machine."""
    rng = np.random.default_rng(0)
    n, n_classes = 1000, 67
    ids = np.array([f"s{i:04d}" for i in range(n)])
    blocks = {m: rng.normal(size=(n, 128)).astype(np.float32) for m in ("image", "text", "audio")}
    features = Features(ids, blocks, np.ones((n, 3), dtype=bool))
    labels = Labels(ids, rng.integers(n_classes, size=n), tuple(f"c{i:02d}" for i in range(n_classes)))
    config = FusionConfig(device="cpu")

    x, trunk = torch.randn(3, 320, 128), torch.randn(3, 128, 128)
    features_KB, head = torch.randn(15, 64, 128), torch.randn(15, 128, n_classes)
    fused_KB, fused = torch.randn(5, 64, 384), torch.randn(5, 384, n_classes)

    def products() -> None:
        for _ in range(config.min_steps):
            x.mT @ (x @ trunk)  # forward, and the gradient of the trunk
            for rows, weights in ((features_KB, head), (fused_KB, fused)):
                out = rows @ weights
                out @ weights.mT, rows.mT @ out

    def seconds(work) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit_fusion(features, labels, config, seed=0)
        fit = min(seconds(lambda: fit_fusion(features, labels, config, seed=0)) for _ in range(2))
        yardstick = min(seconds(products) for _ in range(3))
    finally:
        torch.set_num_threads(threads)
    assert fit < 5 * yardstick, f"a fit took {fit:.3f} s, its matrix products {yardstick:.3f} s"
