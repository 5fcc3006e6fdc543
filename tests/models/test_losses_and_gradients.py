"""Losses against their formulas, and gradient balancing against values computed by hand and by search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.models import fit
from rlmba_pipelines.models.fusion import FusionNetwork
from rlmba_pipelines.models.gradients import (
    GradientBalance,
    alone_scores,
    gradients_of,
    min_norm_share,
    ogm_coefficients,
    pareto_direction,
)
from rlmba_pipelines.models.losses import cross_entropy, evidential, missing_evidence


def dirichlet_kl(alpha: np.ndarray) -> float:
    """KL(Dir(alpha) || Dir(1)) from the definition, by torch.distributions."""
    one = torch.distributions.Dirichlet(torch.as_tensor(alpha))
    flat = torch.distributions.Dirichlet(torch.ones_like(one.concentration))
    return float(torch.distributions.kl_divergence(one, flat))


def test_the_evidential_loss_is_its_formula():
    rng = np.random.default_rng(0)
    logits = torch.as_tensor(rng.normal(size=(2, 1, 6, 4)))
    y = torch.as_tensor(rng.integers(4, size=(1, 6)))
    alpha = torch.nn.functional.softplus(logits) + 1
    for annealing in (0.0, 0.3, 1.0):
        found = evidential(logits, y, annealing=annealing)
        for h in range(2):
            for b in range(6):
                a, right = alpha[h, 0, b], int(y[0, b])
                misfit = float(torch.digamma(a.sum()) - torch.digamma(a[right]))
                wrong = a.clone()
                wrong[right] = 1.0
                assert_allclose(found[h, 0, b], misfit + annealing * dirichlet_kl(wrong.numpy()), rtol=1e-6)


def test_the_misfit_is_the_expected_cross_entropy_under_the_dirichlet():
    logits = torch.tensor([[[[1.0, -0.5, 2.0]]]], dtype=torch.float64)
    alpha = torch.nn.functional.softplus(logits[0, 0, 0]) + 1
    draws = torch.as_tensor(np.random.default_rng(0).dirichlet(alpha.numpy(), size=200_000))
    loss = float(evidential(logits, torch.tensor([[1]]), annealing=0.0))
    costs = -draws[:, 1].log()
    assert abs(loss - float(costs.mean())) < 4 * float(costs.std()) / len(costs) ** 0.5


@pytest.mark.parametrize("level", [-30.0, -80.0, -500.0])
def test_where_there_is_no_evidence_only_the_regularizer_has_a_gradient(level):
    y = torch.tensor([[1]])
    plain, helped = (torch.full((1, 1, 1, 5), level, requires_grad=True) for _ in range(2))
    evidential(plain, y, annealing=1.0).sum().backward()
    assert plain.grad.abs().max() < 1e-10  # plain EDL learns nothing from this sample
    evidential(helped, y, annealing=1.0, correct_evidence=1.0).sum().backward()
    assert_allclose(helped.grad[0, 0, 0], [0, -1, 0, 0, 0], atol=1e-4)  # vacuity is 1


def test_the_regularizer_fades_with_vacuity_and_its_gradient_is_that_of_finite_differences():
    y = torch.tensor([[0]])
    for level in (-25.0, -3.0, 0.5, 4.0):
        logits = torch.tensor([[[[level, 1.0, -2.0]]]], dtype=torch.float64, requires_grad=True)
        missing_evidence(logits, y).sum().backward()
        evidence = torch.nn.functional.softplus(logits.detach())
        vacuity = float(3 / (evidence.sum() + 3))
        step = 1e-5
        up, down = (
            -vacuity * float(torch.log(torch.nn.functional.softplus(torch.tensor(level + s, dtype=torch.float64))))
            for s in (step, -step)
        )
        assert_allclose(logits.grad[0, 0, 0], [(up - down) / (2 * step), 0, 0], atol=1e-6)
    sure = torch.tensor([[[[60.0, 0.0, 0.0]]]], requires_grad=True)
    missing_evidence(sure, y).sum().backward()
    assert sure.grad.abs().max() < 1e-2


def test_correct_evidence_teaches_samples_that_plain_evidential_training_cannot_reach():
    y = torch.arange(8)[None] % 4
    starts = torch.full((1, 1, 8, 4), -60.0)
    right = []
    for weight in (0.0, 1.0):
        logits = starts.clone().requires_grad_()
        for _ in range(80):
            evidential(logits, y, annealing=0.5, correct_evidence=weight).sum().backward()
            with torch.no_grad():
                logits -= logits.grad
            logits.grad = None
        right.append(float((logits.detach()[0, 0].argmax(-1) == y[0]).float().mean()))
        assert torch.isfinite(logits).all()
    assert right == [0.25, 1.0]


# --- OGM-GE


@pytest.mark.parametrize("unimodal_loss", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [1.0, 1 / 3])
def test_the_slope_of_the_joint_loss_has_the_bits_that_autograd_finds(unimodal_loss, share):
    draw = torch.Generator().manual_seed(0)
    present = (torch.rand(3, 5, 64, generator=draw) < 0.7).float()
    loss_HKB = torch.rand(4, 5, 64, generator=draw, requires_grad=True)
    config = FusionConfig(unimodal_loss=unimodal_loss)
    (fit._joint_loss(loss_HKB, present, config).mean() * share).backward()
    assert loss_HKB.grad is not None
    assert_array_equal(fit._slope_of_joint_loss(present, config, share).numpy(), loss_HKB.grad.numpy())


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.7, 0.99])
def test_dropout_keeps_the_share_that_was_asked_for_at_mean_one(dropout):
    keep = fit._kept((3, 40, 1001), dropout, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert keep is not None
    dropped = round(256 * dropout)
    assert set(keep.unique().tolist()) == {0.0, float(np.float32(256 / (256 - dropped)))}
    assert abs(float((keep == 0).float().mean()) - dropped / 256) < 4 * (0.25 / keep.numel()) ** 0.5


def test_ogm_coefficients_of_two_modalities_are_those_of_the_paper():
    share_M = ogm_coefficients(torch.tensor([0.2, 0.6], dtype=torch.float64), alpha=0.4)
    assert_allclose(share_M, [1.0, 1 - np.tanh(0.4 * 3.0)], rtol=1e-12)


def test_ogm_coefficients_of_three_compare_with_the_mean_of_the_others():
    share_M = ogm_coefficients(torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64), alpha=1.0)
    assert_allclose(share_M, [1 - np.tanh(0.6 / 0.2), 1.0, 1.0], rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=5), st.floats(0, 3), st.randoms())
def test_ogm_holds_back_leaders_only_and_follows_the_order_of_modalities(scores, alpha, random):
    score_M = torch.tensor(scores, dtype=torch.float64)
    share_M = ogm_coefficients(score_M, alpha)
    assert ((share_M >= 0) & (share_M <= 1)).all()
    assert share_M[score_M.argmin()] == 1
    assert (ogm_coefficients(torch.full_like(score_M, scores[0]), alpha) == 1).all()  # equals are all left alone
    order = random.sample(range(len(scores)), len(scores))
    assert_allclose(ogm_coefficients(score_M[order], alpha), share_M[order], rtol=1e-12)


def test_ogm_leaves_alone_what_has_no_rival_or_no_sample():
    nan = float("nan")
    assert ogm_coefficients(torch.tensor([0.9]), 1.0).tolist() == [1.0]
    assert ogm_coefficients(torch.tensor([0.9, nan]), 1.0).tolist() == [1.0, 1.0]
    assert ogm_coefficients(torch.tensor([0.0, 0.0]), 1.0).tolist() == [1.0, 1.0]
    with_absent = ogm_coefficients(torch.tensor([0.9, nan, 0.3]), 1.0)
    assert_allclose(with_absent, [1 - np.tanh(3.0), 1, 1], rtol=1e-5)


def made(fusion: str = "concat", n_modalities: int = 3, seed: int = 0):
    """A network with a batch: heads, loss parts, labels and presence."""
    draw = torch.Generator().manual_seed(seed)
    dims = {f"m{i}": 6 for i in range(n_modalities)}
    weights_M = torch.full((n_modalities,), 1 / n_modalities)
    network = FusionNetwork(
        dims, n_classes=4, width=5, n_heads=2, fusion=fusion, activation="gelu", weights_M=weights_M
    )
    network.draw_weights(draw)
    blocks = [torch.randn(2, 12, 6, generator=draw) for _ in dims]
    present = (torch.rand(n_modalities, 2, 12, generator=draw) > 0.2).float()
    present[0] = 1
    y = torch.randint(4, (2, 12), generator=draw)
    heads = network(blocks, present)
    return network, heads, cross_entropy(heads.logits, y), y, present


def test_the_score_of_a_modality_is_the_fused_answer_with_it_alone():
    network, heads, _, y, present = made()
    sum_M, count_M = alone_scores(network, heads, y, present)
    for m in range(3):
        weight = network.fused_weight[:, m * 5 : (m + 1) * 5]  # the slice of the fused head that the paper uses
        logits = 3 * (1 / 3) * heads.modality_embedding[m] @ weight + network.fused_bias
        p_KB = logits.softmax(-1).gather(-1, y[..., None])[..., 0]
        assert_allclose(sum_M[m], (p_KB * present[m]).sum().detach(), rtol=1e-5)
    assert_array_equal(count_M, present.sum((1, 2)))


def test_ogm_ge_scales_the_trunks_adds_noise_of_their_spread_and_touches_no_head():
    network, heads, losses, y, present = made()
    balance = GradientBalance(network, "ogm_ge", 0.7, torch.Generator().manual_seed(5))
    balance.watch(heads, y, present, losses[-1].mean())
    losses.mean().backward()
    before = {name: p.grad.clone() for name, p in network.named_parameters()}
    balance.apply()
    sum_M, count_M = alone_scores(network, heads, y, present)
    share_M = ogm_coefficients(sum_M / count_M, 0.7)
    assert share_M.min() < 1
    draw = torch.Generator().manual_seed(5)
    after = {name: p.grad for name, p in network.named_parameters()}
    for m in range(3):
        for old, new in zip(gradients_of(before, m), gradients_of(after, m), strict=True):
            noise = torch.randn(old.shape, generator=draw) * (old.std(correction=0) + 1e-8)
            assert_allclose(new, share_M[m] * old + noise, rtol=1e-5, atol=1e-8)
    for name in ("head_weight", "fused_weight", "head_bias", "fused_bias"):
        assert_array_equal(before[name], after[name])


def test_ogm_ge_has_nothing_to_balance_with_one_modality():
    network, heads, losses, y, present = made(n_modalities=1)
    balance = GradientBalance(network, "ogm_ge", 0.7, torch.Generator().manual_seed(5))
    balance.watch(heads, y, present, losses[-1].mean())
    losses.mean().backward()
    before = network.trunks[0].grad.clone()
    balance.apply()
    assert torch.equal(before, network.trunks[0].grad)


# --- MMPareto


def by_search(one: torch.Tensor, other: torch.Tensor) -> float:
    shares = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    lengths = (shares[:, None] * one + (1 - shares[:, None]) * other).norm(dim=1)
    return float(shares[lengths.argmin()])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_min_norm_share_is_found_by_no_finer_search(seed, n):
    rng = np.random.default_rng(seed)
    one, other = (torch.as_tensor(rng.normal(size=n) * rng.exponential()) for _ in range(2))
    share = min_norm_share(one, other)
    found, best = (float((s * one + (1 - s) * other).norm()) for s in (share, by_search(one, other)))
    assert found <= best + 1e-9


def test_min_norm_shares_by_hand():
    e = torch.eye(2)
    assert min_norm_share(e[0], e[1]) == 0.5
    assert_allclose(min_norm_share(3 * e[0], e[1]), 0.1, rtol=1e-6)
    assert min_norm_share(e[0], 3 * e[0]) == 1.0  # the shorter of two that agree
    assert_allclose(min_norm_share(e[0], -3 * e[0]), 0.75, rtol=1e-6)  # they cancel
    assert min_norm_share(e[0], e[0]) == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_conflict_ends_in_a_direction_that_raises_neither_loss_and_is_as_long_as_the_sum(seed):
    rng = np.random.default_rng(seed)
    fused, own = (torch.as_tensor(rng.normal(size=5)) for _ in range(2))
    own = own if float(fused @ own) < 0 else -own
    direction = pareto_direction(fused, own)
    assert direction is not None
    assert float(direction @ fused) > -1e-9
    assert float(direction @ own) > -1e-9
    assert float(direction.norm()) >= float((fused + own).norm()) - 1e-9


def test_without_conflict_there_is_no_new_direction_and_exact_opposites_rest():
    assert pareto_direction(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) is None
    assert pareto_direction(torch.zeros(2), torch.tensor([0.0, 1.0])) is None
    assert pareto_direction(torch.tensor([1.0, 2.0]), torch.tensor([-2.0, -4.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n_modalities", [2, 3, 5])
def test_mmpareto_changes_the_trunks_in_conflict_and_no_bit_of_the_others(n_modalities):
    conflicts, peaces = 0, 0
    for seed in range(6):
        network, heads, losses, y, present = made("convex", n_modalities, seed)
        balance = GradientBalance(network, "mmpareto", 0.0, torch.Generator())
        fused_part = losses[-1].mean() / (1 + n_modalities)
        whole = (losses[-1] + (losses[:-1] * present).sum(0)).mean() / (1 + n_modalities)
        named = dict(network.named_parameters())
        trunk_names = [name for name in named if name.startswith("trunk")]
        parts = torch.autograd.grad(fused_part, [named[n] for n in trunk_names], retain_graph=True)
        fused = dict(zip(trunk_names, parts, strict=True))
        balance.watch(heads, y, present, fused_part)
        whole.backward()
        before = {name: p.grad.clone() for name, p in named.items()}
        balance.apply()
        after = {name: p.grad for name, p in named.items()}
        for m in range(n_modalities):
            flat = [torch.cat([g.flatten() for g in gradients_of(g_, m)]) for g_ in (before, fused, after)]
            total, g_fused, new = flat
            g_own = total - g_fused
            if float(g_fused @ g_own) >= 0:
                peaces += 1
                assert torch.equal(new, total)
            else:
                conflicts += 1
                a = float(((g_own - g_fused) @ g_own) / ((g_fused - g_own) @ (g_fused - g_own)))
                expected = 2 * a * g_fused + 2 * (1 - a) * g_own
                expected = expected * max(1.0, float(total.norm() / expected.norm()))
                assert_allclose(new, expected, rtol=1e-4, atol=1e-8)
        for name in ("head_weight", "fused_weight"):
            assert torch.equal(before[name], after[name])
    assert peaces > 0
    assert conflicts > 0
