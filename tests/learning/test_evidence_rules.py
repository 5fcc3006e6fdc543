"""Fusion rules and sources of evidence against independent forms of them, and the laws of the terms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import xlogy

from rlmba_pipelines.learning import evidence as ev
from rlmba_pipelines.learning.types import Predictions


def opinions(seed: int, n: int, n_modalities: int, n_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence, presence (at least one modality) and weights on the simplex."""
    rng = np.random.default_rng(seed)
    evidence_NMC = rng.gamma(0.5, 8.0, size=(n, n_modalities, n_classes)) * (
        rng.random((n, n_modalities, n_classes)) < 0.8
    )
    present_NM = rng.random((n, n_modalities)) < 0.7
    present_NM[:, 0] |= ~present_NM.any(axis=1)
    return evidence_NMC, present_NM, rng.dirichlet(np.ones(n_modalities))


def predictions_of(draws_NMKC: np.ndarray, present_NM: np.ndarray | None = None) -> Predictions:
    n, m, _, _ = draws_NMKC.shape
    draws_NKC = draws_NMKC.mean(axis=1)
    return Predictions(
        sample_ids=np.array([f"s{i:03d}" for i in range(n)]),
        modalities=("image", "text", "audio", "video", "touch")[:m],
        present_NM=np.ones((n, m), dtype=bool) if present_NM is None else present_NM,
        probabilities_NC=draws_NKC.mean(axis=1), unimodal_NMC=draws_NMKC.mean(axis=2), draws_NKC=draws_NKC,
        unimodal_draws_NMKC=draws_NMKC, embedding_ND=np.zeros((n, 2), np.float32),
        modality_embedding_NMD=np.zeros((n, m, 2), np.float32),
    )


def mass_of(evidence_C: np.ndarray) -> tuple[np.ndarray, float]:
    """Belief of each class, and what is left to ignorance."""
    strength = evidence_C.sum() + len(evidence_C)
    return evidence_C / strength, len(evidence_C) / strength


def evidence_from(belief_C: np.ndarray, ignorance: float) -> np.ndarray:
    return len(belief_C) * belief_C / ignorance


def discount(mass: tuple[np.ndarray, float], trust: float) -> tuple[np.ndarray, float]:
    """Jøsang's discounting on masses: what is not trusted becomes ignorance."""
    return trust * mass[0], 1 - trust * mass[0].sum()


def combine(one: tuple[np.ndarray, float], other: tuple[np.ndarray, float]) -> tuple[np.ndarray, float]:
    """Dempster's rule on masses, pair by pair of classes."""
    n = len(one[0])
    clash = sum(one[0][i] * other[0][j] for i in range(n) for j in range(n) if i != j)
    return (one[0] * other[0] + one[0] * other[1] + other[0] * one[1]) / (1 - clash), one[1] * other[1] / (1 - clash)


@pytest.mark.parametrize("n_modalities", [1, 2, 3, 5])
def test_discounted_fusion_is_discounting_and_dempsters_rule_on_masses_pair_by_pair(n_modalities):
    evidence_NMC, present_NM, weights_M = opinions(n_modalities, 12, n_modalities, 4)
    trust_M = weights_M / weights_M.max()
    fused_NC = ev.discounted(evidence_NMC, present_NM, trust_M)
    for evidence_MC, here_M, fused_C in zip(evidence_NMC, present_NM, fused_NC, strict=True):
        masses = [discount(mass_of(e), t) for e, t, here in zip(evidence_MC, trust_M, here_M, strict=True) if here]
        joint = masses[0]
        for mass in masses[1:]:
            joint = combine(joint, mass)
        assert_allclose(fused_C, evidence_from(*joint), rtol=1e-12, atol=1e-12)


def test_whole_trust_is_dempsters_rule_and_no_trust_drops_the_modality():
    evidence_NMC, present_NM, _ = opinions(0, 40, 3, 5)
    assert_allclose(
        ev.discounted(evidence_NMC, present_NM, np.ones(3)), ev.dempster(evidence_NMC, present_NM), rtol=1e-12
    )
    without_last = present_NM & [True, True, False]
    assert_allclose(
        ev.discounted(evidence_NMC, present_NM, np.array([1.0, 1, 0])), ev.dempster(evidence_NMC, without_last),
        rtol=1e-12, atol=1e-12,
    )


def test_more_trust_leaves_less_ignorance():
    evidence_NMC, present_NM, _ = opinions(1, 40, 3, 5)
    left = [ev.vacuity(ev.discounted(evidence_NMC, present_NM, np.full(3, eta))) for eta in (0.1, 0.5, 0.9)]
    informed_N = (evidence_NMC * present_NM[..., None]).sum(axis=(1, 2)) > 0
    assert (left[0][informed_N] > left[1][informed_N]).all()
    assert (left[1][informed_N] > left[2][informed_N]).all()


def test_trust_outside_its_range_is_refused():
    evidence_NMC, present_NM, _ = opinions(1, 4, 2, 3)
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match="trust"):
            ev.discounted(evidence_NMC, present_NM, np.array([1.0, wrong]))


def average_of_two(one: tuple[np.ndarray, float], other: tuple[np.ndarray, float]) -> tuple[np.ndarray, float]:
    """RCML's average of two opinions (Xu et al. 2024, definition 3)."""
    return (one[0] * other[1] + other[0] * one[1]) / (one[1] + other[1]), 2 * one[1] * other[1] / (one[1] + other[1])


def test_of_two_the_true_mean_is_rcmls_average_and_of_three_that_one_hangs_on_the_order():
    evidence_NMC, _, _ = opinions(2, 20, 3, 4)
    everyone = np.ones((20, 3), dtype=bool)
    two_NC = ev.true_mean(evidence_NMC[:, :2], everyone[:, :2])
    three_NC = ev.true_mean(evidence_NMC, everyone)
    for evidence_MC, two_C, three_C in zip(evidence_NMC, two_NC, three_NC, strict=True):
        a, b, c = (mass_of(e) for e in evidence_MC)
        assert_allclose(two_C, evidence_from(*average_of_two(a, b)), rtol=1e-12, atol=1e-12)
        one_way = evidence_from(*average_of_two(average_of_two(a, b), c))
        other_way = evidence_from(*average_of_two(a, average_of_two(b, c)))
        assert np.abs(one_way - other_way).max() > 1e-3
        assert_allclose(three_C, evidence_MC.mean(axis=0), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 8), st.sampled_from(sorted(ev.RULES)))
def test_every_rule_ignores_the_order_of_modalities_and_permutes_with_classes(seed, n_modalities, n_classes, rule):
    evidence_NMC, present_NM, weights_M = opinions(seed, 6, n_modalities, n_classes)
    rng = np.random.default_rng(seed)
    some, order = rng.permutation(n_modalities), rng.permutation(n_classes)
    fused_NC = ev.fuse(evidence_NMC, present_NM, rule=rule, weights_M=weights_M)
    assert (fused_NC >= 0).all()
    shuffled = ev.fuse(evidence_NMC[:, some], present_NM[:, some], rule=rule, weights_M=weights_M[some])
    assert_allclose(shuffled, fused_NC, rtol=1e-10, atol=1e-12)
    relabeled = ev.fuse(evidence_NMC[..., order], present_NM, rule=rule, weights_M=weights_M)
    assert_allclose(relabeled, fused_NC[:, order], rtol=1e-12)


@pytest.mark.parametrize("rule", sorted(ev.RULES))
def test_under_every_rule_a_mask_is_the_same_as_dropping_the_modality(rule):
    evidence_NMC, _, weights_M = opinions(3, 30, 4, 5)
    kept = [0, 2, 3]
    masked_NM = np.tile([True, False, True, True], (30, 1))
    evidence_NMC[:, 1] = np.nan  # whatever an absent modality says is not heard
    dropped = ev.fuse(evidence_NMC[:, kept], masked_NM[:, kept], rule=rule, weights_M=weights_M[kept])
    assert_allclose(ev.fuse(evidence_NMC, masked_NM, rule=rule, weights_M=weights_M), dropped, rtol=1e-12)


@pytest.mark.parametrize("rule", sorted(ev.RULES))
def test_under_every_rule_one_modality_speaks_for_itself_and_none_is_ignorance(rule):
    evidence_NMC, _, weights_M = opinions(4, 10, 3, 5)
    only_NM = np.tile([False, True, False], (10, 1))
    assert_allclose(ev.fuse(evidence_NMC, only_NM, rule=rule, weights_M=weights_M), evidence_NMC[:, 1], rtol=1e-12)
    nothing_NC = ev.fuse(evidence_NMC, np.zeros((10, 3), dtype=bool), rule=rule, weights_M=weights_M)
    assert_array_equal(nothing_NC, np.zeros((10, 5)))
    assert_array_equal(ev.vacuity(nothing_NC), np.ones(10))


@pytest.mark.parametrize("rule", sorted(ev.RULES))
def test_under_every_rule_more_evidence_leaves_less_vacuity(rule):
    evidence_NMC, present_NM, weights_M = opinions(5, 40, 3, 5)
    evidence_NMC += 0.1
    less, more = (ev.fuse(e, present_NM, rule=rule, weights_M=weights_M) for e in (evidence_NMC, 2 * evidence_NMC))
    assert (ev.vacuity(more) < ev.vacuity(less)).all()


@pytest.mark.parametrize("rule", ["dempster", "discounted"])
def test_modalities_that_agree_leave_less_ignorance_than_either_alone(rule):
    evidence_NMC = np.repeat(opinions(6, 20, 1, 4)[0] + 0.1, 2, axis=1)
    both_NC = ev.fuse(evidence_NMC, np.ones((20, 2), dtype=bool), rule=rule)
    assert (ev.vacuity(both_NC) < ev.vacuity(evidence_NMC[:, 0])).all()


def test_expected_entropy_is_that_of_the_dirichlet_and_with_mutual_information_makes_the_whole():
    rng = np.random.default_rng(0)
    for evidence_C in ([4.0, 1, 0], [0.0, 0, 0, 0], [60.0, 50, 1]):
        alpha = np.array(evidence_C) + 1
        draws = rng.dirichlet(alpha, size=100_000)
        entropies = -xlogy(draws, draws).sum(axis=1)
        found = ev.expected_entropy(np.array(evidence_C))
        assert abs(found - entropies.mean()) < 4 * entropies.std() / np.sqrt(len(draws))
        assert ev.mutual_information(np.array(evidence_C)) + found == pytest.approx(ev.entropy(alpha / alpha.sum()))


def test_conflict_of_many_modalities_is_the_mean_over_pairs_and_zero_for_agreement():
    evidence_NMC, present_NM, _ = opinions(7, 30, 5, 4)
    p_NMC, sure_NM = ev.expected_probabilities(evidence_NMC), 1 - ev.vacuity(evidence_NMC)
    for row, conflict in enumerate(ev.conflict(evidence_NMC, present_NM)):
        here = np.flatnonzero(present_NM[row])
        pairs = [
            0.5 * np.abs(p_NMC[row, i] - p_NMC[row, j]).sum() * sure_NM[row, i] * sure_NM[row, j]
            for i in here for j in here if i < j
        ]
        assert conflict == pytest.approx(np.mean(pairs) if pairs else 0.0, abs=1e-15)
    agreeing_NMC = np.repeat(evidence_NMC[:, :1], 5, axis=1)
    assert_array_equal(ev.conflict(agreeing_NMC, present_NM), np.zeros(30))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0.05, 0.95))
def test_conflict_grows_as_one_modality_moves_its_evidence_to_another_class(first, second, share):
    evidence_NMC = np.array([[[first, 0.0], [second * (1 - s), second * s]] for s in (0.0, share, 1.0)])
    conflict = ev.conflict(evidence_NMC, np.ones((3, 2), dtype=bool))
    assert max(conflict[0], conflict[1]) < conflict[2]


def test_dissonance_of_each_modality_is_that_of_its_plane_and_the_default_leaves_it_out():
    predictions = predictions_of(np.random.default_rng(0).dirichlet(np.ones(5), size=(9, 2, 4)))
    evidence = ev.evidence_of(predictions)
    every = ev.terms_of(evidence, predictions, ev.SINGLE_TERMS)
    assert_allclose(every["dissonance_text"], ev.dissonance(evidence.evidence_NMC[:, 1]), rtol=1e-14)
    assert_allclose(every["mutual_information_image"], ev.mutual_information(evidence.evidence_NMC[:, 0]))
    assert "dissonance_text" not in ev.terms_of(evidence, predictions).columns
    with pytest.raises(ValueError, match="conflict"):
        ev.terms_of(evidence, predictions, ("conflict",))


def test_calibrated_evidence_has_the_vacuity_of_its_entropy_and_the_mean_of_a_cooled_softmax():
    logits = np.random.default_rng(1).normal(0, 3, size=(30, 6))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cooled = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(axis=1, keepdims=True)
    evidence_NC = ev.calibrated_evidence(p, 2.5)
    assert_allclose(evidence_NC / evidence_NC.sum(axis=1, keepdims=True), cooled, rtol=1e-12)
    assert_allclose(ev.vacuity(evidence_NC), ev.entropy(cooled) / np.log(6), rtol=1e-12)


def test_a_head_that_is_certain_has_the_most_evidence_and_a_uniform_one_has_none():
    assert ev.calibrated_evidence(np.array([1.0, 0, 0])).sum() == pytest.approx(ev.MOST_EVIDENCE)
    assert_allclose(ev.calibrated_evidence(np.full(67, 1 / 67)), 0, atol=1e-12)


def test_a_hotter_temperature_leaves_less_evidence_and_each_modality_has_its_own():
    predictions = predictions_of(np.random.default_rng(2).dirichlet(np.ones(5), size=(20, 2, 1)))
    cold, hot = (
        ev.evidence_of(predictions, source="temperature", temperature=np.array([1.0, t])).evidence_NMC for t in (1, 3)
    )
    assert_array_equal(cold[:, 0], hot[:, 0])
    assert (cold[:, 1].sum(axis=1) > hot[:, 1].sum(axis=1)).all()


def test_no_temperature_can_be_zero_and_one_class_is_no_question():
    with pytest.raises(ValueError, match="positive"):
        ev.calibrated_evidence(np.array([0.5, 0.5]), 0.0)
    with pytest.raises(ValueError, match="two classes"):
        ev.calibrated_evidence(np.array([[1.0]]))


@pytest.mark.parametrize("source", ["ensemble", "temperature"])
def test_opinions_that_are_not_finite_are_refused_by_name_unless_the_modality_is_absent(source):
    draws_NMKC = np.random.default_rng(3).dirichlet(np.ones(4), size=(5, 2, 3))
    whole = predictions_of(draws_NMKC)
    broken_NMKC = draws_NMKC.copy()
    broken_NMKC[2, 1] = np.nan
    absent_NM = np.ones((5, 2), dtype=bool)
    absent_NM[2, 1] = False
    broken = replace(whole, unimodal_draws_NMKC=broken_NMKC, unimodal_NMC=broken_NMKC.mean(axis=2))
    with pytest.raises(ValueError, match="s002"):
        ev.evidence_of(broken, source=source)
    masked = ev.evidence_of(replace(broken, present_NM=absent_NM), source=source)
    assert_array_equal(masked.evidence_NMC[2, 1], np.zeros(4))


@pytest.mark.parametrize("source", ["ensemble", "temperature"])
@pytest.mark.parametrize("rule", sorted(ev.RULES))
def test_rows_that_are_all_alike_and_a_sample_with_nothing_present_have_defined_terms(source, rule):
    draws_NMKC = np.full((4, 2, 3, 5), 0.2)
    present_NM = np.ones((4, 2), dtype=bool)
    present_NM[3] = False
    predictions = predictions_of(draws_NMKC, present_NM)
    terms = ev.terms_of(ev.evidence_of(predictions, source=source, rule=rule), predictions, ev.SINGLE_TERMS)
    for name, column in terms.columns.items():
        assert_array_equal(column[:3], column[0], err_msg=name)
    assert terms["vacuity"][3] == 1
    assert terms["conflict"][3] == 0
    assert terms["vacuity_image"][3] == 0
