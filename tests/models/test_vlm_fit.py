"""Training a vision-language model: the same bits for the same seed, what is learned, and what a batch in parts is."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from vlm_families import questions, quick, same, tiny, weights

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.vlm import fit as module
from rlmba_pipelines.models.vlm import regions
from rlmba_pipelines.models.vlm.backbone import Vlm
from rlmba_pipelines.models.vlm.fit import fit_vlm
from rlmba_pipelines.models.vlm.look import attention_in_regions
from rlmba_pipelines.models.vlm.state import pack_vlm
from rlmba_pipelines.models.vlm.targets import IGNORED, targets_of
from rlmba_pipelines.models.vlm.unfinished import Unfinished


@pytest.fixture(scope="module")
def base():
    return tiny()


@pytest.fixture(scope="module")
def bought():
    return questions(12)


def test_seed_and_samples_name_every_bit_and_their_order_does_not_matter(base, bought):
    before = weights(base)
    first, log = fit_vlm(base, bought, quick(attention=0.3), seed=3)
    torch.manual_seed(77)
    again, log_again = fit_vlm(base, bought[::-1], quick(attention=0.3), seed=3)
    assert same(weights(first), weights(again))
    assert log == log_again
    assert not same(weights(first), weights(fit_vlm(base, bought, quick(attention=0.3), seed=4)[0]))
    assert same(weights(base), before)
    assert not first.model.training


def test_the_vision_tower_stays_and_all_else_learns(base, bought):
    before, after = weights(base), weights(fit_vlm(base, bought, quick(), seed=0)[0])
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if "vision" in name]
    assert {name for name in before if "language_model" in name or "projector" in name} <= moved


@pytest.mark.parametrize("losses", [{}, {"attention": 0.3}, {"chain_of_thought": False}])
def test_the_loss_falls(base, bought, losses):
    _, log = fit_vlm(base, bought[:6], quick(min_steps=40, learning_rate=1e-2, **losses), seed=0)
    assert len(log["train_loss"]) == 10
    assert log["train_loss"][-1] < 0.5 * log["train_loss"][0]
    assert np.isfinite(log["gradient_norm"])


def test_every_share_of_the_epochs_is_a_step_and_no_fewer_than_the_least(base, bought):
    seen = []
    real = module.descend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "descend", lambda *args, **more: (seen.append(args[3]), real(*args, **more))[1])
        fit_vlm(base, bought, quick(epochs=1.6, min_steps=1), seed=0)  # 12 samples in batches of 6: 3.2 batches
        fit_vlm(base, bought, quick(epochs=0.1, min_steps=2), seed=0)
    assert seen == [4, 2]


@pytest.mark.parametrize("losses", [{}, {"attention": 0.5}, {"chain_of_thought": False}])
@pytest.mark.parametrize("parts", [2, 3, 6, 50])
def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole(base, bought, losses, parts):
    # parts hold chains of different length, and some have no region at all
    asked = [replace(one, regions=() if i % 3 else one.regions) for i, one in enumerate(bought[:6])]
    _, log = fit_vlm(base, asked, quick(min_steps=1, **losses), seed=0)
    _, cut_log = fit_vlm(base, asked, quick(min_steps=1, accumulate=parts, **losses), seed=0)
    assert_allclose(cut_log["train_loss"], log["train_loss"], rtol=1e-5)
    assert cut_log["gradient_norm"] == pytest.approx(log["gradient_norm"], rel=1e-4)


def test_nothing_to_learn_from_and_chains_too_long_are_refused_before_the_first_step(base, bought, monkeypatch):
    monkeypatch.setattr(module, "descend", None)
    with pytest.raises(UserError, match="no answer to train on yet"):
        fit_vlm(base, [], quick(), seed=0)
    long = replace(bought[3], chain=("shape red circle",) * 20)
    with pytest.raises(UserError, match=r"'q003' have 82 tokens, more than vlm.max_tokens \(48\)"):
        fit_vlm(base, [*bought[:3], long], quick(), seed=0)


def test_a_loss_that_is_not_finite_ends_training_in_one_sentence(base, bought):
    with pytest.raises(UserError, match=r"not finite in step \d+; lower vlm.learning_rate"):
        fit_vlm(base, bought, quick(learning_rate=1e30, min_steps=20), seed=0)


def test_steps_lie_exactly_where_their_tokens_stand(base, bought):
    batch = targets_of(base, bought, with_chain=True, longest=64)
    n_steps = 0
    for b, (one, spans) in enumerate(zip(bought, regions.spans_of_steps(base, bought), strict=True)):
        target = batch.labels_BT[b][batch.labels_BT[b] != IGNORED]
        told = [base.processor.tokenizer.decode(target[first:last]) for first, last in spans]
        assert told == [*one.chain]
        n_steps += len(spans)
    assert n_steps > 15


def test_what_is_to_be_looked_at_is_the_cell_of_the_thing_at_the_positions_of_its_step(base, bought):
    batch = targets_of(base, bought, with_chain=True, longest=64)
    image_BT, target_BTT = regions.where_to_look(base, bought, batch)
    n_looks = regions.n_looks(base, bought)
    for b, one in enumerate(bought):
        looks = torch.nonzero(target_BTT[b].sum(-1)).flatten().tolist()
        assert len(looks) == n_looks[b] == sum(len(s.split()) for s, r in zip(one.chain, one.regions, strict=True) if r)
        words = base.processor.tokenizer.convert_ids_to_tokens(batch.inputs["input_ids"][b])
        shown = {step.split()[1]: region for step, region in zip(one.chain, one.regions, strict=True)}
        for at in looks:
            share_P = target_BTT[b, at, image_BT[b]].numpy()
            color = next(words[i] for i in (at, at - 1, at - 2, at + 1) if words[i] in shown)
            x, y, _, _ = shown[color]
            assert share_P.argmax() == round(6 * y) * 6 + round(6 * x)
            assert share_P.max() == pytest.approx(1, abs=1e-4)
        assert not target_BTT[b][:, ~image_BT[b]].any()


def test_the_attention_loss_moves_the_head_into_the_region(base, bought):
    without, _ = fit_vlm(base, bought, quick(min_steps=30), seed=0)
    taught, _ = fit_vlm(base, bought, quick(min_steps=30, attention=1.0), seed=0)
    before, after = (attention_in_regions(vlm, bought, quick()) for vlm in (without, taught))
    assert after["attention_in_region"] > 1.5 * before["attention_in_region"]
    assert after["pointing"] > before["pointing"]


def test_attention_in_regions_is_the_mean_of_a_plain_loop_over_the_tokens_of_steps(base, bought):
    asked = [*bought[:5], replace(bought[5], regions=())]
    batch = targets_of(base, asked, with_chain=True, longest=64)
    image_BT, target_BTT = (part.numpy() for part in regions.where_to_look(base, asked, batch))
    with torch.no_grad():
        head_BTT = base.model(**batch.inputs, output_attentions=True).attentions[-1][:, 1].numpy()
    inside, hits = [], []
    for b in range(5):
        for t in np.flatnonzero(target_BTT[b].sum(-1)):
            look_P, region_P = head_BTT[b, t, image_BT[b]], target_BTT[b, t, image_BT[b]] > 0
            inside.append(look_P[region_P].sum() / look_P.sum())
            hits.append(region_P[look_P.argmax()])
    found = attention_in_regions(base, asked, quick(attention_head=1, train_batch_size=4, accumulate=2))
    assert found["attention_in_region"] == pytest.approx(np.mean(inside), rel=1e-5)
    assert found["pointing"] == np.mean(hits)
    assert attention_in_regions(base, asked[5:], quick()) == {}


@pytest.mark.parametrize("where", [{"attention_head": 4}, {"attention_layer": 3}, {"attention_layer": -4}])
def test_a_head_that_is_not_there_is_told_before_the_first_step(base, bought, where, monkeypatch):
    monkeypatch.setattr(module, "descend", None)
    with pytest.raises(UserError, match="of LlavaForConditionalGeneration, which has 3 layers of 4 heads"):
        fit_vlm(base, bought, quick(attention=0.1, **where), seed=0)


def test_a_chain_longer_than_the_model_can_read_is_refused(base, bought):
    long = replace(bought[3], chain=("shape red circle",) * 70)
    with pytest.raises(UserError, match=r"'q003' have \d+ tokens, more than the 256 that Llava"):
        fit_vlm(base, [*bought[:3], long], quick(max_tokens=600), seed=0)


def test_a_weight_that_nothing_hangs_on_is_no_hindrance_to_a_checkpoint(base, bought, tmp_path):
    idle = Vlm(copy.deepcopy(base.model), base.processor)
    idle.model.idle = torch.nn.Linear(2, 2)
    path = tmp_path / "unfinished.safetensors"
    _, log = fit_vlm(idle, bought, quick(checkpoint_steps=2), seed=0, unfinished=path)
    assert not path.exists()
    _, log_again = fit_vlm(idle, bought, quick(checkpoint_steps=0), seed=0)
    assert log == log_again


def test_what_is_packed_is_what_was_taught(base, bought):
    taught, _ = fit_vlm(base, bought, quick(), seed=0)
    arrays, facts = pack_vlm(taught, ("yes", "no"))
    assert facts == {"classes": ["yes", "no"], "kind": "LlavaForConditionalGeneration", "lora_rank": 0}
    assert set(arrays) == {name for name in weights(base) if "vision" not in name}


class Killed(BaseException):
    """What no code catches, as SIGKILL."""


def killed_at(monkeypatch, step, fit):
    """``fit`` until it has kept this step."""
    true = Unfinished.save

    def save(kept, vlm, optimizer, draw, progress):
        true(kept, vlm, optimizer, draw, progress)
        if progress.steps == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "save", save)
        with pytest.raises(Killed):
            fit()


LONG = quick(min_steps=9, checkpoint_steps=2, train_batch_size=4, attention=0.1)


@pytest.mark.parametrize("step", [2, 8])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(base, bought, tmp_path, monkeypatch, step):
    whole, log = fit_vlm(base, bought, LONG, seed=3)
    path = tmp_path / "unfinished.safetensors"
    killed_at(monkeypatch, step, lambda: fit_vlm(base, bought, LONG, seed=3, unfinished=path))
    steps = []
    monkeypatch.setattr(module, "targets_by_row", counting(module.targets_by_row, steps))
    again, its_log = fit_vlm(base, bought[::-1], LONG, seed=3, unfinished=path)
    assert len(steps) == 9 - step
    assert its_log == log
    assert same(weights(again), weights(whole))
    assert not path.exists()


def counting(true, steps):
    def by_row(*arguments, **options):
        targets = true(*arguments, **options)

        def counted(rows):
            steps.append(rows)
            return targets(rows)

        return counted

    return by_row


@pytest.mark.parametrize("change", ["seed", "answer", "setting", "base", "damage"])
def test_another_training_or_a_damaged_file_is_not_gone_on_with(base, bought, tmp_path, monkeypatch, change):
    path = tmp_path / "unfinished.safetensors"
    killed_at(monkeypatch, 4, lambda: fit_vlm(base, bought, LONG, seed=3, unfinished=path))
    start, asked, config, seed = base, bought, LONG, 3
    if change == "seed":
        seed = 4
    elif change == "answer":
        asked = [replace(bought[0], answer="other"), *bought[1:]]
    elif change == "setting":
        config = LONG.model_copy(update={"learning_rate": 1e-4})
    elif change == "base":
        start = Vlm(copy.deepcopy(base.model), base.processor)
        with torch.no_grad():
            next(p for p in start.model.parameters() if p.requires_grad).view(-1)[0] += 1e-3
    else:
        path.write_bytes(path.read_bytes()[:-100])
    expected, log = fit_vlm(start, asked, config, seed=seed)
    found, its_log = fit_vlm(start, asked, config, seed=seed, unfinished=path)
    assert its_log == log
    assert same(weights(found), weights(expected))
