"""Evidence against its oracles and laws."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import xlogy

from rlmba_pipelines.learning import evidence as ev
from rlmba_pipelines.learning.types import Evidence, Predictions, UserError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def make_predictions(
    rng: np.random.Generator, *, n_modalities: int = 3, n_draws: int = 5, missing: float = 0.3
) -> Predictions:
    n, n_classes = 40, 6
    present_NM = rng.random((n, n_modalities)) >= missing
    present_NM[:, 0] |= ~present_NM.any(axis=1)
    draws_NMKC = rng.dirichlet(np.ones(n_classes), size=(n, n_modalities, n_draws))
    draws_NMKC[~present_NM] = 1 / n_classes
    draws_NKC = draws_NMKC.mean(axis=1)
    return Predictions(
        sample_ids=np.array([f"s{i:03d}" for i in range(n)]), modalities=("image", "text", "audio")[:n_modalities],
        present_NM=present_NM, probabilities_NC=draws_NKC.mean(1), unimodal_NMC=draws_NMKC.mean(2), draws_NKC=draws_NKC,
        unimodal_draws_NMKC=draws_NMKC, embedding_ND=np.zeros((n, 2), np.float32),
        modality_embedding_NMD=np.zeros((n, n_modalities, 2), np.float32),
    )


def pairwise_dempster(first_C: np.ndarray, second_C: np.ndarray) -> np.ndarray:
    """Dempster's rule on belief masses, the C x C way (Han et al. 2021, definition 4)."""
    n_classes = len(first_C)
    one, two = (np.append(e, n_classes) / (e.sum() + n_classes) for e in (first_C, second_C))  # beliefs, then vacuity
    clash = sum(one[i] * two[j] for i in range(n_classes) for j in range(n_classes) if i != j)
    belief_C = (one[:-1] * two[:-1] + one[:-1] * two[-1] + two[:-1] * one[-1]) / (1 - clash)
    vacuity = one[-1] * two[-1] / (1 - clash)
    return belief_C * n_classes / vacuity


def test_dempster_in_closed_form_is_the_pairwise_rule(rng):
    evidence_NMC = rng.gamma(1.0, 5.0, size=(30, 3, 7))
    fused_NC = ev.dempster(evidence_NMC, np.ones((30, 3), dtype=bool))
    for evidence_MC, fused_C in zip(evidence_NMC, fused_NC, strict=True):
        expected = pairwise_dempster(pairwise_dempster(evidence_MC[0], evidence_MC[1]), evidence_MC[2])
        assert_allclose(fused_C, expected, rtol=1e-12)


@pytest.mark.parametrize("rule", ["weighted_average", "dempster"])
def test_fusion_does_not_care_about_the_order_of_modalities(rng, rule):
    evidence_NMC, weights_M = rng.gamma(1.0, 5.0, size=(50, 3, 7)), np.array([0.5, 0.3, 0.2])
    present_NM = rng.random((50, 3)) < 0.7
    options = (weights_M,), (weights_M[::-1],)
    forward, backward = options if rule == "weighted_average" else ((), ())
    fuse = getattr(ev, rule)
    one, other = fuse(evidence_NMC, present_NM, *forward), fuse(evidence_NMC[:, ::-1], present_NM[:, ::-1], *backward)
    assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("rule", ["weighted_average", "dempster"])
def test_a_mask_is_the_same_as_dropping_the_modality(rng, rule):
    evidence_NMC = rng.gamma(1.0, 5.0, size=(50, 3, 7))
    masked = np.tile([True, False, True], (50, 1))
    fuse = getattr(ev, rule)
    assert_allclose(fuse(evidence_NMC, masked), fuse(evidence_NMC[:, [0, 2]], np.ones((50, 2), dtype=bool)), rtol=1e-12)


def test_with_nothing_present_there_is_no_evidence(rng):
    nothing = np.zeros((4, 3), dtype=bool)
    evidence_NMC = np.zeros((4, 3, 7))
    assert (ev.weighted_average(evidence_NMC, nothing) == 0).all()
    assert (ev.dempster(evidence_NMC, nothing) == 0).all()


def test_weight_on_what_is_absent_goes_to_what_is_present():
    shares = ev.share_of_present(np.array([[True, True], [False, True], [False, False]]), np.array([1.0, 0.0]))
    assert_array_equal(shares, [[1, 0], [0, 1], [0, 0]])


def test_published_uncertainty_is_the_mean_variance_of_the_dirichlet(rng):
    for evidence_C in ([0.0, 0, 0], [4.0, 1, 0], [30.0, 2, 1]):
        draws = rng.dirichlet(np.array(evidence_C) + 1, size=200_000)
        squares = ((draws - draws.mean(0)) ** 2).mean(1)
        standard_error = squares.std() / np.sqrt(len(squares))
        assert abs(ev.uncertainty(np.array(evidence_C)) - squares.mean()) < 4 * standard_error


def test_mutual_information_is_that_of_the_dirichlet(rng):
    evidence_C = np.array([4.0, 1, 0])
    draws = rng.dirichlet(evidence_C + 1, size=200_000)
    entropies = -xlogy(draws, draws).sum(1)
    sampled = ev.entropy(ev.expected_probabilities(evidence_C)) - entropies.mean()
    assert abs(ev.mutual_information(evidence_C) - sampled) < 4 * entropies.std() / np.sqrt(len(draws))


def test_moment_matching_finds_the_precision_of_a_dirichlet(rng):
    for precision in (3.0, 30.0):
        mean_C = np.array([0.6, 0.3, 0.1])
        evidence_C = ev.match_moments(rng.dirichlet(precision * mean_C, size=100_000))
        assert_allclose(evidence_C, precision * mean_C, rtol=0.03)


def test_members_that_agree_to_the_last_bit_give_the_most_evidence_and_no_error():
    agreed = np.tile([1.0, 0.0, 0.0], (5, 1))
    assert_allclose(ev.match_moments(agreed), [ev.MOST_EVIDENCE, 0, 0])
    assert_allclose(ev.match_moments(np.full((5, 4), 0.25)).sum(), ev.MOST_EVIDENCE)


def test_vacuity_and_uncertainty_fall_with_evidence(rng):
    evidence_NC = rng.gamma(1.0, 5.0, size=(50, 7))
    more = evidence_NC * 1.5
    assert (ev.vacuity(more) < ev.vacuity(evidence_NC)).all()
    assert (ev.uncertainty(more) < ev.uncertainty(evidence_NC)).all()


def test_dissonance_is_its_definition_pair_by_pair(rng):
    evidence_NC = rng.gamma(0.5, 5.0, size=(20, 5)) * (rng.random((20, 5)) < 0.6)
    for evidence_C, dissonance in zip(evidence_NC, ev.dissonance(evidence_NC), strict=True):
        b = evidence_C / (evidence_C.sum() + 5)
        expected = 0.0
        for k in range(5):
            others = [j for j in range(5) if j != k]
            mass = sum(b[j] for j in others)
            balance = sum(b[j] * (1 - abs(b[j] - b[k]) / (b[j] + b[k])) for j in others if b[j] + b[k] > 0)
            expected += b[k] * balance / mass if mass > 0 else 0.0
        assert dissonance == pytest.approx(expected, abs=1e-14)


def test_dissonance_does_not_depend_on_how_the_work_is_cut(rng, monkeypatch):
    evidence_NC = rng.gamma(1.0, 5.0, size=(30, 6))
    whole = ev.dissonance(evidence_NC)
    monkeypatch.setattr(ev.terms, "CHUNK_ENTRIES", 20)
    assert_allclose(ev.dissonance(evidence_NC), whole, rtol=1e-14)
    assert ev.dissonance(np.zeros((0, 6))).shape == (0,)


def test_conflict_is_zero_for_agreement_and_grows_with_disagreement():
    both = np.ones((4, 2), dtype=bool)
    second = np.array([[9.0, 0, 0], [6, 3, 0], [3, 6, 0], [0, 9, 0]])
    conflict = ev.conflict(np.stack([np.tile([9.0, 0, 0], (4, 1)), second], axis=1), both)
    assert conflict[0] == 0
    assert (np.diff(conflict) > 0).all()


def test_ignorance_conflicts_with_nobody_and_neither_does_an_absent_modality():
    evidence_NMC = np.array([[[9.0, 0], [0, 0], [0, 9]]])
    assert ev.conflict(evidence_NMC, np.array([[True, True, False]])) == 0
    assert ev.conflict(evidence_NMC, np.array([[True, False, False]])) == 0
    one_pair = ev.conflict(evidence_NMC, np.array([[True, False, True]]))
    of_three = ev.conflict(evidence_NMC, np.ones((1, 3), dtype=bool))
    assert_allclose(of_three, one_pair / 3)


def test_terms_are_finite_in_range_and_named_for_every_modality(rng):
    predictions = make_predictions(rng)
    terms = ev.terms_of(ev.evidence_of(predictions), predictions)
    single = {f"{kind}_{m}" for kind in ev.MODALITY_TERMS for m in ("image", "text", "audio")}
    assert set(terms.columns) == set(ev.FUSED_TERMS) | single
    for name, column in terms.columns.items():
        most = np.log(6) if "entropy" in name or "information" in name else 1.0
        assert column.min() >= 0, name
        assert column.max() <= most + 1e-12, name


def test_columns_of_an_absent_modality_are_the_least_value(rng):
    predictions = make_predictions(rng)
    terms = ev.terms_of(ev.evidence_of(predictions), predictions)
    for column, name in enumerate(predictions.modalities):
        absent_N = ~predictions.present_NM[:, column]
        for kind in ("margin", "entropy", "vacuity"):
            assert (terms[f"{kind}_{name}"][absent_N] == 0).all()


def test_terms_do_not_care_about_the_order_of_classes(rng):
    predictions = make_predictions(rng)
    order = rng.permutation(6)
    arrays = ("probabilities_NC", "unimodal_NMC", "draws_NKC", "unimodal_draws_NMKC")
    other = Predictions(**{**vars(predictions), **{name: getattr(predictions, name)[..., order] for name in arrays}})
    one, two = (ev.terms_of(ev.evidence_of(p), p) for p in (predictions, other))
    for name, column in one.columns.items():
        assert_allclose(column, two[name], atol=1e-12)


def test_with_one_modality_its_evidence_is_the_fused_evidence(rng):
    predictions = make_predictions(rng, n_modalities=1, missing=0)
    for rule in ("weighted_average", "dempster"):
        evidence = ev.evidence_of(predictions, rule=rule)
        assert_allclose(evidence.fused_NC, evidence.evidence_NMC[:, 0], rtol=1e-12)


def test_evidential_heads_are_taken_at_their_word(rng):
    predictions = make_predictions(rng)
    stated = rng.gamma(1.0, 5.0, size=(40, 3, 6))
    predictions = Predictions(**{**vars(predictions), "evidence_NMC": stated})
    evidence = ev.evidence_of(predictions, source="edl")
    assert_array_equal(evidence.evidence_NMC, np.where(predictions.present_NM[..., None], stated, 0))


def test_sources_that_the_model_cannot_serve_are_refused_with_what_to_do(rng):
    with pytest.raises(UserError, match=r"fusion\.n_heads"):
        ev.evidence_of(make_predictions(rng, n_draws=1))
    with pytest.raises(UserError, match=r"fusion\.loss 'edl'"):
        ev.evidence_of(make_predictions(rng), source="edl")
    with pytest.raises(ValueError, match="unknown source"):
        ev.evidence_of(make_predictions(rng), source="oracle")
    with pytest.raises(ValueError, match="unknown rule"):
        ev.evidence_of(make_predictions(rng), rule="vote")


def test_evidence_of_other_samples_is_refused(rng):
    predictions = make_predictions(rng)
    evidence = ev.evidence_of(predictions)
    other = Evidence(evidence.sample_ids[::-1], evidence.modalities, *(
        getattr(evidence, name) for name in ("present_NM", "evidence_NMC", "fused_NC")
    ))
    with pytest.raises(ValueError, match="different samples"):
        ev.terms_of(other, predictions)
