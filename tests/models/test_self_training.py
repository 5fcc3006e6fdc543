"""Self-training: what a student learns from, that it is the better model, and that chance and order have no say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from rlmba_pipelines.config import FusionConfig, PolicyConfig
from rlmba_pipelines.learning.types import Features, Labels, UserError
from rlmba_pipelines.models.fit import Taught, fit_fusion
from rlmba_pipelines.models.losses import cross_entropy
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.models.self_training import fit_student
from rlmba_pipelines.models.state import FREQUENCY
from rlmba_pipelines.simulation import steps

CONFIG = FusionConfig(width=16, dropout=0.3, predict_batch_size=64, device="cpu", self_training=0)
CLASSES = ("a", "b", "c", "d")
N, N_POOL = 500, 300


def task(seed: int) -> tuple[Features, Labels, np.ndarray, Labels]:
    """Clusters in 30 dimensions of two modalities, three labels each, a pool, and a held-out set."""
    rng = np.random.default_rng(seed)
    ids, y = np.array([f"s{i:03d}" for i in range(N)]), np.arange(N) % 4
    blocks = {
        name: (0.5 * rng.normal(size=(4, 30))[y] + rng.normal(size=(N, 30))).astype(np.float32)
        for name in ("image", "text")
    }
    features = Features(ids, blocks, np.ones((N, 2), dtype=bool))
    return features, Labels(ids[:12], y[:12], CLASSES), ids[12:N_POOL], Labels(ids[N_POOL:], y[N_POOL:], CLASSES)


def accuracy(model, features: Features, held: Labels) -> float:
    p_NC = predict_fusion(model, features.take(held.sample_ids), CONFIG).probabilities_NC
    return float((p_NC.argmax(axis=1) == held.y).mean())


def test_the_usual_learner_has_a_student_where_its_loss_knows_probabilities() -> None:
    assert FusionConfig().self_training == FusionConfig(self_training=None).self_training == 4000
    for other in ({"loss": "edl"}, {"gradient": "ogm_ge"}, {"mode": "finetune"}):
        assert FusionConfig(**other).self_training == FusionConfig(self_training=None, **other).self_training == 0
        assert FusionConfig(self_training=7, **other).self_training == 7  # which is refused where it cannot be


def test_a_student_of_few_labels_and_a_pool_is_better_than_its_teacher():
    gains = []
    for seed in range(6):
        features, labels, pool, held = task(seed)
        teacher = fit_fusion(features, labels, CONFIG, seed=seed)
        student = fit_student(features, labels, pool, CONFIG, seed=seed)
        gains.append(accuracy(student, features, held) - accuracy(teacher, features, held))
    assert np.mean(gains) > 0.02
    assert min(gains) > -0.02


def test_the_order_of_the_pool_does_not_matter_and_without_a_pool_the_teacher_is_the_answer():
    features, labels, pool, _ = task(0)
    first, again = (fit_student(features, labels, ids, CONFIG, seed=1) for ids in (pool, pool[::-1]))
    none = fit_student(features, labels, pool[:0], CONFIG, seed=1)
    teacher = fit_fusion(features, labels, CONFIG, seed=1)
    for name, value in first.tensors.items():
        assert_array_equal(value, again.tensors[name])
        assert_array_equal(none.tensors[name], teacher.tensors[name])
    assert any((first.tensors[name] != teacher.tensors[name]).any() for name in first.tensors)


def test_what_nobody_sees_is_still_said_by_the_frequency_of_the_labels_alone():
    features, labels, pool, _ = task(0)
    lopsided = Labels(labels.sample_ids[:5], labels.y[:5], CLASSES)  # a twice
    said = predict_fusion(fit_student(features, lopsided, pool, CONFIG, seed=0), features, CONFIG, only=())
    assert_allclose(said.probabilities_NC[0], [0.4, 0.2, 0.2, 0.2])


def test_a_target_that_is_sure_has_the_loss_of_a_label_and_others_that_of_a_plain_sum():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 2, 5, 4)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 4, (2, 5)))
    sure = torch.nn.functional.one_hot(y, 4).float()
    assert_allclose(cross_entropy(logits, sure), cross_entropy(logits, y), rtol=1e-5)
    p = torch.from_numpy(rng.dirichlet(np.ones(4), size=(2, 5)).astype(np.float32))
    expected = np.zeros((3, 2, 5))
    for h, k, b in np.ndindex(3, 2, 5):
        z = logits[h, k, b].double().numpy()
        expected[h, k, b] = -sum(float(p[k, b, c]) * (z[c] - np.log(np.exp(z).sum())) for c in range(4))
    assert_allclose(cross_entropy(logits, p), expected, rtol=1e-5)


def test_a_sample_taught_for_sure_counts_as_a_labeled_one():
    features, labels, _, _ = task(0)
    ids, sure = labels.sample_ids, np.eye(4)[labels.y]
    whole = fit_fusion(features, labels, CONFIG, seed=0)
    part = Labels(ids[:7], labels.y[:7], CLASSES)
    taught = fit_fusion(features, part, CONFIG, seed=0, taught=Taught(ids[7:], sure[7:]))
    for name in set(whole.tensors) - {FREQUENCY}:
        assert_allclose(taught.tensors[name], whole.tensors[name], atol=1e-4)


@pytest.mark.parametrize("change", [{"loss": "edl"}, {"gradient": "ogm_ge"}, {"gradient": "mmpareto"}])
def test_what_knows_hard_labels_only_is_refused_in_one_sentence(change):
    features, labels, pool, _ = task(0)
    with pytest.raises(UserError, match=r"fusion\.self_training learns from probabilities"):
        fit_student(features, labels, pool, CONFIG.model_copy(update=change), seed=0)


def test_a_round_learns_from_as_many_of_the_pool_as_asked_for_and_from_nothing_bought(monkeypatch):
    features, labels, pool, held = task(0)
    seen: list[np.ndarray] = []

    def fit(features, labels, unlabeled_ids, config, **more):
        seen.append(unlabeled_ids)
        return fit_fusion(features, labels, config, **more)

    monkeypatch.setattr(steps, "fit_student", fit)
    names = [CLASSES[c] for c in labels.y]
    bought = pd.DataFrame({"sample_id": labels.sample_ids, "label": names, "purpose": "training"})
    bought.loc[:2, "purpose"] = "validation"
    everything = np.concatenate([labels.sample_ids, pool])
    state = steps.next_state(steps.first_state(("image", "text"), CLASSES, 0, PolicyConfig()), bought[:0])
    config = CONFIG.model_copy(update={"self_training": 50})
    nothing = bought[["sample_id", "label"]][:0]
    for _ in range(2):
        steps.learn(features, bought, nothing, CLASSES, state, config, everything)
    large = config.model_copy(update={"self_training": 10_000})
    steps.learn(features, bought, nothing, CLASSES, state, large, everything)
    assert_array_equal(seen[0], seen[1])
    assert len(seen[0]) == 50
    assert set(seen[0]) < set(pool)
    assert_array_equal(seen[2], pool)
    steps.learn(features, bought, nothing, CLASSES, state, CONFIG, everything)
    assert len(seen) == 3
    assert not set(held.sample_ids) & set(seen[2])
