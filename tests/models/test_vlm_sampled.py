"""What sampled chains teach: rejection sampling, contrasts, rewards."""

from dataclasses import replace

import pytest
import torch
from numpy.testing import assert_allclose
from vlm_families import questions, quick, same, tiny, weights

from rlmba_pipelines.learning.vlm.chains import join_chain
from rlmba_pipelines.models.vlm.fit import fit_vlm
from rlmba_pipelines.models.vlm.losses import sequence_log_probability
from rlmba_pipelines.models.vlm.sampled import sorted_out
from rlmba_pipelines.models.vlm.targets import targets_for

WRONG = "column red 1 so left"


@pytest.fixture(scope="module")
def base():
    return tiny()


@pytest.fixture(scope="module")
def bought():
    return questions(12)


def log_probability(vlm, asked, said):
    batch = targets_for(vlm, asked, said, longest=96)
    with torch.no_grad():
        logits = vlm.model(**batch.inputs).logits
    return float(sequence_log_probability(logits, batch.labels_BT).mean())


def gap(vlm, asked):
    """How much likelier the given chains are than the wrong one, nats a token."""
    given = [join_chain(one.chain, one.answer) for one in asked]
    return log_probability(vlm, asked, given) - log_probability(vlm, asked, [WRONG] * len(asked))


def test_a_batch_of_contrasts_in_parts_is_the_whole_too(base, bought):
    def sample(vlm, asked, seed):
        return [["shape red circle so left", "so 6"] for _ in asked]

    config = quick(min_steps=1, contrast_steps=1, train_batch_size=50)
    logs = [
        fit_vlm(base, bought[:5], config.model_copy(update={"accumulate": n}), seed=0, sample=sample)[1]
        for n in (1, 4)
    ]
    assert logs[0]["contrasts"] == 10
    assert_allclose(logs[1]["train_loss"], logs[0]["train_loss"], rtol=1e-5)


def test_sampled_chains_are_sorted_into_right_ones_and_contrasts(bought):
    one = replace(bought[1], chain=("column red 2", "column blue 3"), answer="yes", regions=([0, 0, 1, 1], None))
    given = join_chain(one.chain, one.answer)
    tried = [given, "column red 1 so yes", "column red 1 so yes", "yes", "column red 4 so no", "so left", "so left"]
    right, contrasts, share = sorted_out([one], [tried], with_chain=True)
    assert share == pytest.approx(4 / 7)
    assert [(r.chain, r.answer, r.regions, r.sample_id) for r in right] == [(("column red 1",), "yes", (), "q001")]
    assert [(c.right, c.wrong) for c in contrasts] == [(given, "column red 4 so no"), (given, "so left")]
    assert sorted_out([], [], with_chain=True) == ([], [], 0.0)


def test_what_is_no_chain_and_what_nothing_right_stands_beside_teaches_nothing(bought):
    one = replace(bought[1], chain=(), answer="yes", regions=())
    cut, twice, plain = "column red 1 . column", "no red so yes so yes", "no red so 6"
    assert sorted_out([one], [[cut, twice, plain]], with_chain=True)[:2] == ([], [])
    right, contrasts, _ = sorted_out([one], [[plain, "no red so yes", cut]], with_chain=True)
    assert [r.chain for r in right] == [("no red",)]
    assert [(c.right, c.wrong) for c in contrasts] == [("no red so yes", plain)]


def test_without_chains_answers_are_contrasted_and_no_chain_is_learned(bought):
    one = replace(bought[1], chain=("column red 2",), answer="yes")
    right, contrasts, _ = sorted_out([one], [["so no", "so yes"]], with_chain=False)
    assert (right, [(c.right, c.wrong) for c in contrasts]) == ([], [("so yes", "so no")])


def test_a_sampled_chain_that_is_too_long_to_learn_is_left_out(base, bought):
    def sample(vlm, asked, seed):
        assert not vlm.model.training
        return [[" ".join(["red"] * 46) + f" so {one.answer}"] for one in asked]

    config = quick(rejection_sampling=True, min_steps=4)
    taught, log = fit_vlm(base, bought, config, seed=0, sample=sample)
    assert log["sampled_right"] == 1.0
    assert same(weights(taught), weights(fit_vlm(base, bought, quick(min_steps=4), seed=0)[0]))


def test_contrasts_make_right_chains_likelier_than_wrong_ones(base, bought):
    def sample(vlm, asked, seed):
        return [[WRONG] for _ in asked]

    asked = [one for one in bought if one.answer != "left"]

    config = quick(min_steps=5, contrast_steps=15, contrast_learning_rate=1.0)
    taught, log = fit_vlm(base, asked, config, seed=0, sample=sample)
    without, _ = fit_vlm(base, asked, quick(min_steps=5), seed=0)
    assert (log["sampled_right"], log["contrasts"]) == (0.0, len(asked))
    assert gap(taught, asked) > gap(without, asked) + 0.5


def test_rejection_sampling_learns_chains_that_end_right(base, bought):
    def sample(vlm, asked, seed):
        return [[f"no gray so {one.answer}"] for one in asked]

    config = quick(rejection_sampling=True, min_steps=8)
    taught, log = fit_vlm(base, bought, config, seed=0, sample=sample)
    assert log["sampled_right"] == 1.0
    assert not same(weights(taught), weights(fit_vlm(base, bought, quick(min_steps=8), seed=0, sample=sample)[0]))


def test_rewards_make_right_chains_likelier_than_wrong_ones(base, bought):
    def sample(vlm, asked, seed):
        assert not vlm.model.training
        return [[join_chain(one.chain, one.answer), WRONG, WRONG] for one in asked]

    asked = [one for one in bought if one.answer != "left"]
    config = quick(min_steps=5, reward_steps=15, reward_learning_rate=1.0)
    taught, log = fit_vlm(base, asked, config, seed=0, sample=sample)
    assert_allclose(log["rewards"], 1 / 3)
    without, _ = fit_vlm(base, asked, quick(min_steps=5), seed=0)
    assert gap(taught, asked) > gap(without, asked) + 0.5
    again, _ = fit_vlm(base, asked[::-1], config, seed=0, sample=sample)
    assert same(weights(taught), weights(again))


@pytest.mark.parametrize("all_are", ["right", "wrong"])
def test_a_group_that_is_all_right_or_all_wrong_teaches_the_given_chain_alone(base, bought, all_are):
    asked = bought[:5]  # one batch: the order of rows hangs on the draw, which sampling takes from too

    def sample_as(text):
        return lambda vlm, part, seed: [[text(one)] * 3 for one in part]

    config = quick(min_steps=2, reward_steps=3, train_batch_size=5)
    ends = (lambda one: f"no gray so {one.answer}") if all_are == "right" else (lambda one: "so nothing")
    taught, log = fit_vlm(base, asked, config, seed=0, sample=sample_as(ends))
    other, _ = fit_vlm(base, asked, config, seed=0, sample=sample_as(lambda one: join_chain(one.chain, one.answer)))
    assert log["rewards"] == [float(all_are == "right")] * 3
    assert same(weights(taught), weights(other))


def test_a_batch_of_rewards_in_parts_is_the_whole_too(base, bought):
    def sample(vlm, asked, seed):
        return [[join_chain(one.chain, one.answer), WRONG, "so 6"] for one in asked]

    config = quick(min_steps=1, reward_steps=1, train_batch_size=50)
    logs = [
        fit_vlm(base, bought[:5], config.model_copy(update={"accumulate": n}), seed=0, sample=sample)[1]
        for n in (1, 4)
    ]
    assert_allclose(logs[1]["train_loss"], logs[0]["train_loss"], rtol=1e-5)
