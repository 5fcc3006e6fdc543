"""The losses of the vision-language learner against plain loops."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from rlmba_pipelines.models.vlm.losses import (
    attention_loss,
    contrast_loss,
    reward_loss,
    sequence_log_probability,
    token_loss,
)
from rlmba_pipelines.models.vlm.regions import patches_of
from rlmba_pipelines.models.vlm.targets import IGNORED


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def looking(rng, b=3, t=9, n_image=(4, 4, 2)):
    """Attention, the image's positions (not as many in each row), and targets of some positions."""
    attention = rng.dirichlet(np.ones(t), size=(b, t))
    image, target = np.zeros((b, t), dtype=bool), np.zeros((b, t, t))
    for row, n in enumerate(n_image):
        image[row, 1 : 1 + n] = True
        for query in (6, 7):
            target[row, query, 1 : 1 + n] = np.where(rng.random(n) < 0.4, 0, rng.random(n)) + np.eye(n)[0]
            target[row, query] /= target[row, query].sum()
    target[0, 7] = 0  # a step without a region
    return attention, image, target


def by_loop(attention, image, target):
    found = []
    for row in range(len(attention)):
        for query in range(attention.shape[1]):
            if target[row, query].sum() == 0:
                continue
            keys = np.flatnonzero(image[row])
            looked = attention[row, query, keys] / attention[row, query, keys].sum()
            wanted = target[row, query, keys]
            found.append(sum(w * np.log(w / p) for w, p in zip(wanted, looked, strict=True) if w > 0))
    return np.mean(found)


def test_the_attention_loss_is_the_divergence_from_region_to_attention(rng):
    case = looking(rng)
    found = attention_loss(*(torch.from_numpy(part) for part in case))
    assert float(found) == pytest.approx(by_loop(*case), rel=1e-5)
    assert float(found) > 0


def test_it_is_nothing_where_the_region_alone_is_looked_at_and_where_there_is_none(rng):
    attention, image, target = looking(rng)
    perfect = torch.from_numpy(target)
    assert float(attention_loss(perfect, torch.from_numpy(image), perfect)) == pytest.approx(0, abs=1e-6)
    none = attention_loss(torch.from_numpy(attention), torch.from_numpy(image), torch.zeros(3, 9, 9))
    assert float(none) == 0.0


def test_going_down_its_gradient_moves_attention_into_the_region_and_every_gradient_is_a_number(rng):
    attention, image, target = (torch.from_numpy(part) for part in looking(rng))
    scores = attention.log().requires_grad_()
    before = float((attention * (target > 0)).sum())
    for _ in range(50):
        loss = attention_loss(torch.softmax(scores, -1), image, target)
        (gradient,) = torch.autograd.grad(loss, scores)
        assert torch.isfinite(gradient).all()
        assert not gradient[0, 7].any()  # no region, no pull
        assert not gradient[:, :6].any()
        scores = (scores - 1.0 * gradient).detach().requires_grad_()
    assert float((torch.softmax(scores.detach(), -1) * (target > 0)).sum()) > before + 0.2


def test_the_token_loss_is_the_mean_over_target_tokens_alone(rng):
    logits, labels = rng.normal(size=(2, 5, 7)), np.full((2, 5), IGNORED)
    labels[0, 2:], labels[1, 4] = [3, 0, 6], 1
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    told = [[log_p[0, 1, 3], log_p[0, 2, 0], log_p[0, 3, 6]], [log_p[1, 3, 1]]]
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    assert float(token_loss(*tensors)) == pytest.approx(-np.mean([*told[0], *told[1]]), rel=1e-6)
    assert_allclose(sequence_log_probability(*tensors), [np.mean(row) for row in told], rtol=1e-6)


def test_the_contrast_loss_is_that_of_preferences():
    right, wrong = torch.tensor([0.5, -1.0, 0.0]), torch.tensor([0.1, 1.0, 0.0])
    expected = np.mean([np.log1p(np.exp(-2.0 * (r - w))) for r, w in zip(right.tolist(), wrong.tolist(), strict=True)])
    assert float(contrast_loss(right, wrong, 2.0)) == pytest.approx(expected, rel=1e-6)
    assert float(contrast_loss(right, right, 3.0)) == pytest.approx(np.log(2))
    assert contrast_loss(right + 1, wrong, 1.0) < contrast_loss(right, wrong, 1.0)


@pytest.mark.parametrize("grid", [(6, 6), (2, 5), (1, 1), (7, 3)])
def test_patches_share_a_region_by_area(rng, grid):
    fine = 420  # divided by all of the sides
    for _ in range(20):
        x0, x1 = sorted(rng.permutation(43)[:2] / 42)
        y0, y1 = sorted(rng.permutation(43)[:2] / 42)
        pixels = np.zeros((fine, fine))
        pixels[round(y0 * fine) : round(y1 * fine), round(x0 * fine) : round(x1 * fine)] = 1
        rows, columns = grid
        area = pixels.reshape(rows, fine // rows, columns, fine // columns).sum(axis=(1, 3))
        assert_allclose(patches_of((x0, y0, x1 - x0, y1 - y0), grid), (area / area.sum()).ravel(), atol=1e-6)


def test_of_a_region_outside_or_empty_no_patch_has_a_share():
    assert not patches_of((1.2, 0.1, 0.3, 0.3), (4, 4)).any()
    assert not patches_of((0.2, 0.1, 0.0, 0.3), (4, 4)).any()
    assert patches_of((-0.5, -0.5, 0.75, 0.75), (4, 4)).tolist() == [1.0, *[0.0] * 15]


def test_the_reward_loss_is_the_policy_gradient_of_every_group_that_can_be_drawn(rng):
    n_draws, worth = 3, np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    logits = torch.from_numpy(rng.normal(size=5)).requires_grad_()
    p = torch.softmax(logits, 0)
    (expected,) = torch.autograd.grad((p * torch.from_numpy(worth)).sum(), logits)
    found = torch.zeros(5, dtype=torch.float64)
    for drawn in product(range(5), repeat=n_draws):
        better = torch.from_numpy(worth[list(drawn)] - worth[list(drawn)].mean())
        rows = logits.expand(n_draws, 2, 5)  # the word before, and the drawn one
        labels = torch.tensor([[IGNORED, word] for word in drawn])
        (slope,) = torch.autograd.grad(reward_loss(rows, labels, better), logits)
        found -= slope * p.detach()[list(drawn)].prod() / n_draws
    assert_allclose(found, expected * (n_draws - 1) / n_draws, atol=1e-7)


def test_the_reward_loss_counts_every_target_word_of_a_text(rng):
    logits = torch.from_numpy(rng.normal(size=(3, 6, 4)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 4, (3, 6)))
    labels[0, :4] = labels[1, :2] = IGNORED
    better = torch.tensor([0.5, -0.25, -0.25])
    log_p = torch.log_softmax(logits, -1).numpy()
    wanted = -sum(
        float(better[b]) * log_p[b, t - 1, labels[b, t]] for b in range(3) for t in range(1, 6) if labels[b, t] >= 0
    )
    assert float(reward_loss(logits, labels, better)) == pytest.approx(wanted, rel=1e-5)
