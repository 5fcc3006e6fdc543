"""The information value by hand, and the stages that move its weights."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.acquisition.active_vlm import active_vlm, value_of
from rlmba_pipelines.learning.acquisition.active_vlm_core_set import active_vlm_core_set
from rlmba_pipelines.learning.acquisition.bald import disagreement
from rlmba_pipelines.learning.mdp import State
from rlmba_pipelines.learning.policy.vlm_stages import STAGES, VlmStagesPolicy
from rlmba_pipelines.learning.types import Action, PoolView, Predictions, Terms, UserError

IDS = np.array(list("abcdef"))
LABELED = np.array([False, True, False, False, False, False])  # b is bought: candidates a, c, d, e, f
COLUMNS = {  # ranks of the candidates / 5
    "visual": np.array([0.1, 9.0, 0.4, 0.2, 0.3, 0.5]),  # 1 4 2 3 5
    "language": np.array([0.5, 9.0, 0.1, 0.4, 0.3, 0.2]),  # 5 1 4 3 2
    "reasoning": np.array([0.0, 9.0, 0.0, 0.6, 0.5, 0.7]),  # 1.5 1.5 4 3 5
    "boundary": np.array([1.0, 1.0, 0.0, 0.5, 1.0, 1.0]),
}


def seen(columns=COLUMNS, modalities=("image", "text"), **action):
    rng, n, m = np.random.default_rng(0), len(IDS), len(modalities)
    p_NC = rng.dirichlet(np.ones(3), size=n)
    unimodal = rng.dirichlet(np.ones(3), size=(n, m))
    predictions = Predictions(
        IDS, modalities, np.ones((n, m), dtype=bool), p_NC, unimodal,
        rng.dirichlet(np.ones(3), size=(n, 4)).astype(np.float32), unimodal[:, :, None],
        rng.normal(size=(n, 5)).astype(np.float32), rng.normal(size=(n, m, 5)).astype(np.float32),
    )
    return PoolView(
        IDS, LABELED, modalities, np.ones((n, m), dtype=bool),
        features={name: rng.normal(size=(n, 4)).astype(np.float32) for name in modalities},
        predictions=predictions, terms=Terms(IDS, columns) if columns else None, weights_M=np.full(m, 1 / m),
        action=Action(**{"fused_uncertainty": 0.5, "exponent": 1.0, **action}),
    )


def weights_of(view, reasons):
    """Of vision, language and reasoning, as a selection tells them: the modalities share what reasoning leaves."""
    share = view.action.fused_uncertainty
    return [(1 - share) * reasons["weight_image"][0], (1 - share) * reasons["weight_text"][0], share]


def test_the_value_is_the_weighted_sum_of_ranks_among_the_candidates():
    utility, reasons = value_of(seen(), 0.0)
    # w_r = 0.5; vision and language share the rest evenly
    by_hand = [
        0.25 * v + 0.25 * w + 0.5 * r
        for v, w, r in [(0.2, 1.0, 0.3), (0.8, 0.2, 0.3), (0.4, 0.8, 0.8), (0.6, 0.6, 0.6), (1.0, 0.4, 1.0)]
    ]
    assert_allclose(utility, [by_hand[0], 0.0, *by_hand[1:]], rtol=1e-12)
    assert weights_of(seen(), reasons) == [0.25, 0.25, 0.5]
    assert_allclose(reasons["visual"], COLUMNS["visual"])


def test_a_tilt_moves_weight_between_vision_and_language_and_the_share_to_reasoning():
    tilt = {"image": np.log(0.6), "text": np.log(0.3)}
    view = seen(fused_uncertainty=0.1, uncertainty_tilt=tilt)
    _, reasons = value_of(view, 0.0)
    assert weights_of(view, reasons) == pytest.approx([0.6, 0.3, 0.1])


def test_exponent_and_focus_are_powers():
    plain, _ = value_of(seen(), 0.0)
    squared, _ = value_of(seen(exponent=2.0), 0.0)
    assert_allclose(squared, plain**2)
    focused, reasons = value_of(seen(focus={"boundary": 0.5}), 0.0)
    assert_allclose(focused, plain * np.sqrt(0.2 + 0.8 * COLUMNS["boundary"]))
    assert_allclose(reasons["boundary"], COLUMNS["boundary"])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_guard_leaves_out_the_candidate_that_is_doubtful_in_its_surest_way(exponent):
    utility, _ = value_of(seen(exponent=exponent), 0.2)  # a fifth of five candidates is one
    # least ranks: a .2, c .2, d .4, e .6, f .4
    assert utility[IDS == "e"] == 0.0
    assert (utility[np.isin(IDS, list("acdf"))] > 0).all()


def test_a_term_that_is_not_told_is_refused_in_one_sentence():
    with pytest.raises(UserError, match="'active_vlm': θ looks for the term 'depth'"):
        value_of(seen(focus={"depth": 1.0}), 0.0)


def test_without_terms_the_ensemble_and_the_heads_of_the_modalities_stand_in():
    view = seen(columns=None)
    _, reasons = value_of(view, 0.0)
    assert_allclose(reasons["bald"], disagreement(view.predictions.draws_NKC))
    best = np.sort(view.predictions.unimodal_NMC, axis=2)
    for m, name in enumerate(("margin_image", "margin_text")):
        assert_allclose(reasons[name], 1 - (best[:, m, -1] - best[:, m, -2]), atol=1e-12)


def test_image_and_video_weigh_together_on_the_visual_doubt():
    with_video, _ = value_of(seen(modalities=("image", "text", "video")), 0.0)
    tilted, _ = value_of(seen(uncertainty_tilt={"image": np.log(2.0)}), 0.0)
    assert_allclose(with_video, tilted, rtol=1e-12)


@pytest.mark.parametrize("strategy", [active_vlm, active_vlm_core_set])
def test_both_strategies_choose_candidates_once_and_say_why(strategy):
    view = seen()
    found = strategy(view, 3, np.random.default_rng(0))
    assert len(set(found.sample_ids.tolist())) == 3
    assert "b" not in found.sample_ids
    rows = np.searchsorted(IDS, found.sample_ids)
    assert_allclose(found.reasons["visual"], COLUMNS["visual"][rows])


def test_the_core_set_is_value_times_distance():
    view = seen()
    utility, _ = value_of(view, 0.0)
    points = view.predictions.embedding_ND.astype(np.float64)
    gain = utility * np.linalg.norm(points - points[1], axis=1)
    first = active_vlm_core_set(view, 1, np.random.default_rng(0))
    assert first.sample_ids.tolist() == [IDS[gain.argmax()]]
    assert first.utility_Q == pytest.approx(gain.max())


STATE = State(accuracy=0.0, nll=1, ece=0, imbalance=0, spent=0.0, contribution={"image": 0.0, "text": 0.0})


@pytest.mark.parametrize(
    ("accuracy", "stage"), [(0.0, 0), (0.499, 0), (0.5, 1), (0.749, 1), (0.75, 2), (1.0, 2)]
)
def test_a_stage_begins_at_its_accuracy_and_its_weights_come_out_in_the_value(accuracy, stage):
    policy = VlmStagesPolicy(Action(exponent=0.8))
    action = policy.act(replace(STATE, accuracy=accuracy))
    columns = {**COLUMNS, "depth": COLUMNS["boundary"]}
    view = replace(seen(columns=columns), action=action)
    _, reasons = value_of(view, 0.0)
    found = weights_of(view, reasons)
    assert found == pytest.approx(STAGES[stage].weights)
    assert action.exponent == pytest.approx(0.8 * STAGES[stage].exponent)
    assert action.focus == STAGES[stage].focus


def test_every_stage_shares_out_one_whole():
    assert [sum(stage.weights) for stage in STAGES] == pytest.approx([1.0] * len(STAGES))
    assert [stage.name for stage in STAGES] == ["alignment", "boundary", "refinement"]


def test_by_budget_the_stage_hangs_on_what_is_spent_alone():
    policy = VlmStagesPolicy(Action(), until=(0.2, 0.4), by_budget=True)
    names = [policy.stage(replace(STATE, spent=spent, accuracy=0.9)).name for spent in (0.1, 0.2, 0.4)]
    assert names == ["alignment", "boundary", "refinement"]


def test_a_policy_that_was_saved_acts_alike():
    policy = VlmStagesPolicy.start(Action(exponent=0.3), np.random.default_rng(0), ("a",), until=[0.1, 0.2])
    again = VlmStagesPolicy.from_dict(policy.to_dict())
    for accuracy in (0.0, 0.15, 0.9):
        state = replace(STATE, accuracy=accuracy)
        assert again.act(state) == policy.act(state)
    assert again == policy


@pytest.mark.parametrize("until", [(0.8, 0.5), (-0.1, 0.5), (0.5, 1.1), (0.5,), (0.1, 0.2, 0.3)])
def test_stages_that_do_not_follow_each_other_are_refused(until):
    with pytest.raises(UserError, match="until must be two rising numbers"):
        VlmStagesPolicy(Action(), until=until)


def test_without_spread_the_most_valuable_are_chosen_and_nothing_covers_anything():
    view = seen()
    utility, _ = value_of(view, 0.0)
    chosen = active_vlm(view, 3, np.random.default_rng(0), spread=False).sample_ids
    best = sorted(np.flatnonzero(~LABELED), key=lambda row: -utility[row])[:3]
    assert chosen.tolist() == IDS[best].tolist()
