"""BatchBALD against the joint mutual information written out configuration by configuration."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.acquisition import batch_bald as module
from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.bald import disagreement
from rlmba_pipelines.learning.acquisition.batch_bald import Belief, thin_out
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import UserError

EXACT = {"configurations": 100_000}


def rng(seed=0):
    return np.random.default_rng(seed)


def view_of_draws(draws_NKC, n_labeled=0):
    view = make_view(len(draws_NKC), n_labeled, n_classes=draws_NKC.shape[-1])
    predictions = replace(view.predictions, draws_NKC=draws_NKC, probabilities_NC=draws_NKC.mean(axis=1))
    return replace(view, predictions=predictions)


def plain_entropy(p):
    return -sum(x * np.log(x) for x in p if x > 0)


def joint_information(draws_BKC):
    """I(y_1 … y_B; ω), every configuration enumerated: H of the mixture minus the mean H of the members."""
    n_samples, n_draws, n_classes = draws_BKC.shape
    joint = []
    for classes in product(range(n_classes), repeat=n_samples):
        joint.append(np.mean([np.prod([draws_BKC[b, k, c] for b, c in enumerate(classes)]) for k in range(n_draws)]))
    members = [sum(plain_entropy(draws_BKC[b, k]) for b in range(n_samples)) for k in range(n_draws)]
    return plain_entropy(joint) - np.mean(members)


def plain_greedy(view, query_size):
    """Every joint information of every candidate at every pick; ids and gains."""
    draws, free, picks, gains = view.predictions.draws_NKC, view.candidate_rows.tolist(), [], []
    before = 0.0
    while free and len(picks) < query_size:
        information = [joint_information(draws[[*picks, row]]) for row in free]
        best = int(np.flatnonzero(np.array(information) >= max(information) - module.TIE)[0])
        gains.append(information[best] - before)
        before = information[best]
        picks.append(free.pop(best))
    return view.sample_ids[picks].tolist(), gains


def random_draws(n, n_draws, n_classes, seed=0, concentration=0.5):
    return rng(seed).dirichlet(np.full(n_classes, concentration), size=(n, n_draws))


@pytest.mark.parametrize(("n_draws", "n_classes", "n_picks"), [(2, 2, 5), (3, 3, 4), (6, 2, 5), (5, 4, 3)])
def test_batch_bald_is_greedy_joint_information_where_it_can_be_enumerated(n_draws, n_classes, n_picks):
    for seed in range(2):
        view = view_of_draws(random_draws(9, n_draws, n_classes, seed), n_labeled=2)
        batch = select_batch("batch_bald", view, n_picks, rng(), EXACT)
        ids, gains = plain_greedy(view, n_picks)
        assert batch.sample_ids.tolist() == ids
        assert_allclose(batch.utility_Q, gains, atol=1e-10)
        assert batch.reasons["exact"].all()
        assert batch.reasons["joint"].all()


def test_the_gains_of_an_exact_batch_add_up_to_its_joint_information_and_never_rise():
    view = view_of_draws(random_draws(12, 4, 3))
    batch = select_batch("batch_bald", view, 5, rng(), EXACT)
    rows = [int(i[1:]) for i in batch.sample_ids]
    assert batch.utility_Q.sum() == pytest.approx(joint_information(view.predictions.draws_NKC[rows]), abs=1e-10)
    assert (np.diff(batch.utility_Q) <= 1e-12).all()
    assert (batch.utility_Q <= batch.reasons["bald"] + 1e-12).all()


def test_the_first_pick_is_that_of_bald_and_a_copy_of_it_is_not_the_second():
    draws_NKC = random_draws(20, 5, 3)
    best = int(disagreement(draws_NKC).argmax())
    twins = view_of_draws(np.concatenate([draws_NKC, draws_NKC[[best]]]))
    by_bald = select_batch("bald", twins, 2, rng()).sample_ids.tolist()
    jointly = select_batch("batch_bald", twins, 2, rng()).sample_ids.tolist()
    assert by_bald == [f"s{best:06d}", "s000020"]
    assert jointly[0] == by_bald[0]
    assert jointly[1] != "s000020"


def test_drawn_configurations_estimate_the_exact_gain_without_bias():
    draws = random_draws(9, 5, 4, seed=4)
    exact = Belief(np.ones(1), np.full((1, 5), 0.2))
    for row in range(4):
        exact = exact.after(draws[row], 10_000, rng())
    truth = exact.gain(draws[4:])
    expected = [joint_information(draws[[0, 1, 2, 3, row]]) - joint_information(draws[:4]) for row in (4, 5)]
    assert_allclose(truth[:2], expected, atol=1e-10)
    estimates = []
    for seed in range(300):
        belief, generator = Belief(np.ones(1), np.full((1, 5), 0.2)), rng(seed)
        for row in range(4):
            belief = belief.after(draws[row], 40, generator)
        assert not belief.exact
        estimates.append(belief.gain(draws[4:]))
    standard_error = np.std(estimates, axis=0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - truth) < 4 * standard_error).all()


def test_the_default_number_of_configurations_is_within_a_fiftieth_of_a_nat():
    for n_draws, seed in ((5, 0), (20, 1)):
        draws = random_draws(40, n_draws, 4, seed, concentration=0.3)
        exact = drawn = Belief(np.ones(1), np.full((1, n_draws), 1 / n_draws))
        generator = rng(7)
        for row in range(7):
            exact, drawn = exact.after(draws[row], 10**6, generator), drawn.after(draws[row], 500, generator)
            assert_allclose(drawn.gain(draws[7:]), exact.gain(draws[7:]), atol=0.02)
        assert exact.exact
        assert not drawn.exact


def test_a_bound_is_never_below_the_gain_it_bounds():
    for seed in range(5):
        draws = random_draws(30, 6, 5, seed)
        belief = Belief(np.ones(1), np.full((1, 6), 1 / 6))
        for row in range(6):
            belief = belief.after(draws[row], 50, rng(seed))
            assert (belief.gain(draws) <= belief.bound(draws) + 1e-12).all()
            assert (belief.gain(draws) >= -1e-12).all()


def test_lazy_evaluation_changes_no_pick(monkeypatch):
    views = [view_of_draws(random_draws(60, 6, 4, seed), n_labeled=10) for seed in range(3)]
    options = {"configurations": 60}
    lazy = [select_batch("batch_bald", view, 8, rng(1), options) for view in views]

    def eager(bound_N, fresh_N, refresh, tie):
        rows = np.flatnonzero(bound_N > -np.inf)
        bound_N[rows] = refresh(rows)
        return int(np.flatnonzero(bound_N >= bound_N.max() - tie)[0])

    monkeypatch.setattr(module, "lazy_argmax", eager)
    for view, batch in zip(views, lazy, strict=True):
        plain = select_batch("batch_bald", view, 8, rng(1), options)
        assert plain.sample_ids.tolist() == batch.sample_ids.tolist()
        assert_allclose(plain.utility_Q, batch.utility_Q, atol=1e-12)


def test_blocks_change_no_pick(monkeypatch):
    view = view_of_draws(random_draws(50, 4, 5))
    whole = select_batch("batch_bald", view, 6, rng())
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 7)
    assert select_batch("batch_bald", view, 6, rng()).sample_ids.tolist() == whole.sample_ids.tolist()


def test_where_nothing_is_left_to_tell_apart_the_rest_of_the_batch_is_by_bald():
    sure = np.eye(2)[[0, 1]]  # two members that contradict each other outright: one label tells which is right
    draws_NKC = np.stack([sure, sure, 0.9 * sure + 0.05, 0.7 * sure + 0.15])
    batch = select_batch("batch_bald", view_of_draws(draws_NKC), 4, rng())
    assert batch.sample_ids.tolist() == ["s000000", "s000001", "s000002", "s000003"]
    assert batch.reasons["joint"].tolist() == [1, 0, 0, 0]
    assert_allclose(batch.utility_Q, [np.log(2), *disagreement(draws_NKC)[1:]])


def test_members_that_agree_leave_the_first_ids():
    same = np.tile(random_draws(6, 1, 3), (1, 4, 1))
    batch = select_batch("batch_bald", view_of_draws(same), 3, rng())
    assert batch.sample_ids.tolist() == ["s000000", "s000001", "s000002"]
    assert (batch.utility_Q == 0).all()


def test_a_large_batch_is_joint_for_its_first_picks_and_by_bald_after():
    view = view_of_draws(random_draws(80, 12, 3, concentration=2.0))
    batch = select_batch("batch_bald", view, 40, rng(), {"joint_picks": 6, "candidates": 30})
    assert batch.reasons["joint"].tolist() == [1.0] * 6 + [0.0] * 34
    assert (np.diff(batch.utility_Q[6:]) <= 0).all()
    assert set(batch.sample_ids[:6]) <= set(select_batch("bald", view, 30, rng()).sample_ids)


def test_float32_draws_choose_like_float64_draws():
    draws = random_draws(60, 5, 4).astype(np.float32)
    batches = [select_batch("batch_bald", view_of_draws(draws.astype(dtype)), 6, rng()) for dtype in ("f4", "f8")]
    assert batches[0].sample_ids.tolist() == batches[1].sample_ids.tolist()


def test_thinning_out_keeps_the_heavy_and_is_the_weights_given_on_average():
    for seed in range(5):
        weight = rng(seed).gamma(0.2, size=60) + 1e-12
        uniforms, mean = (np.arange(2000) + 0.5) / 2000, np.zeros(60)
        for uniform in uniforms:
            cells, kept = thin_out(weight, 20, uniform)
            assert len(cells) <= 20
            assert kept.sum() == pytest.approx(weight.sum())
            mean[cells] += kept / len(uniforms)
        assert_allclose(mean, weight, atol=2e-3 * weight.sum())
        heavy = weight > weight.sum() / 20
        assert_allclose(mean[heavy], weight[heavy])
    for weight in (np.ones(21), np.array([0.5, 0.3, 0.2, 1e-300] + [1e-308] * 18)):
        cells, kept = thin_out(weight, 3, 0.999)
        assert len(cells) <= 3
        assert kept.sum() == pytest.approx(weight.sum())


def test_options_below_one_are_refused():
    for name in ("configurations", "candidates", "joint_picks"):
        with pytest.raises(UserError, match="at least 1"):
            select_batch("batch_bald", make_view(6, 2), 2, rng(), {name: 0})
