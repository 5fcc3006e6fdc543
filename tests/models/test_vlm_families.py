"""Four families of vision-language models take the path of the tiny one, from a folder to a taught model."""

import io
from contextlib import redirect_stderr
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from vlm_families import FAMILIES, questions, quick

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.vlm.chains import join_chain
from rlmba_pipelines.models.vlm import regions
from rlmba_pipelines.models.vlm.answers import answer_probabilities, answers_of
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, load_vlm
from rlmba_pipelines.models.vlm.base import freeze_vision
from rlmba_pipelines.models.vlm.fit import fit_vlm
from rlmba_pipelines.models.vlm.score import chain_of, say
from rlmba_pipelines.models.vlm.state import pack_vlm, unpack_vlm
from rlmba_pipelines.models.vlm.targets import IGNORED, targets_by_row, targets_for, targets_of

ANSWERS = ("circle", "square", "yes", "no", "3")


@pytest.fixture(scope="module", params=list(FAMILIES))
def vlm(request, tmp_path_factory):
    if request.param == "smolvlm":
        pytest.importorskip("num2words")
    folder = tmp_path_factory.mktemp(request.param)
    with redirect_stderr(io.StringIO()):
        FAMILIES[request.param](folder)
    return freeze_vision(load_vlm(str(folder), VlmConfig(device="cpu")))


@pytest.fixture(scope="module")
def asked():
    return questions(5)


def test_prompts_hold_the_question_and_one_image_and_end_where_the_answer_begins(vlm, asked):
    for one, prompt in zip(asked, vlm.prompts(asked), strict=True):
        assert prompt.count(one.question) == 1
        assert prompt.count(vlm.processor.image_token) == 1
        assert not prompt.endswith(" ")  # a space of its own would be a token that no answer begins after
        assert prompt.rstrip().lower().endswith(("assistant", "assistant:"))


def test_the_mark_of_an_image_within_a_question_is_left_out(vlm, asked):
    marked = [replace(one, question=f"{vlm.processor.image_token}\n{one.question}") for one in asked]
    assert vlm.prompts(marked) == vlm.prompts(asked)


def test_a_batch_is_padded_on_the_left_and_its_image_tokens_lie_on_the_grid(vlm, asked):
    inputs = vlm.batch([one.image for one in asked], vlm.prompts(asked))
    mask = inputs["attention_mask"]
    assert (mask.diff(dim=1) >= 0).all()
    assert len(set(mask.sum(1).tolist())) > 1
    for row in range(len(asked)):
        rows, columns = vlm.grid(inputs, row)
        positions = torch.nonzero(vlm.image_positions(inputs)[row]).flatten()
        assert len(positions) == rows * columns > 4
        assert (positions.diff() == 1).all()


@pytest.mark.parametrize("size", [(72, 72), (96, 48)])
def test_an_image_token_stands_for_the_part_of_the_image_that_the_grid_says(vlm, size):
    blank = Image.new("RGB", size)
    prompt = vlm.prompts([VisualQuestion("q", blank, "what ?")])

    def embedded(image):
        inputs = vlm.batch([image], prompt)
        with torch.no_grad():
            hidden = vlm.model(**inputs, output_hidden_states=True).hidden_states[0][0]
        return hidden[vlm.image_positions(inputs)[0]], vlm.grid(inputs, 0)

    before, (rows, columns) = embedded(blank)
    for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (1, columns - 1), (rows - 1, 1)):
        pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        down, across = np.linspace(0, size[1], rows + 1).round(), np.linspace(0, size[0], columns + 1).round()
        pixels[int(down[row]) : int(down[row + 1]), int(across[column]) : int(across[column + 1])] = 255
        after, grid = embedded(Image.fromarray(pixels))
        assert grid == (rows, columns)
        change = (after - before).norm(dim=1)
        assert int(change.argmax()) == row * columns + column


def test_targets_are_exactly_chain_answer_and_end_and_steps_lie_where_their_tokens_stand(vlm, asked):
    batch = targets_of(vlm, asked, with_chain=True, longest=96)
    decode = vlm.processor.tokenizer.decode
    spans = regions.spans_of_steps(vlm, asked)
    for b, one in enumerate(asked):
        target = batch.labels_BT[b][batch.labels_BT[b] != IGNORED]
        assert decode(target).strip() == join_chain(one.chain, one.answer) + vlm.processor.tokenizer.eos_token
        assert [decode(target[first:last]).strip() for first, last in spans[b]] == [*one.chain]


def test_a_prompt_is_read_alike_with_and_without_what_follows(vlm, asked):
    prompts = vlm.prompts(asked)
    batch = targets_of(vlm, asked, with_chain=True, longest=96)
    for b, one in enumerate(asked):
        alone = vlm.batch([one.image], [prompts[b]])["input_ids"][0]
        row = batch.inputs["input_ids"][b][batch.inputs["attention_mask"][b].bool()]
        assert torch.equal(row[: -int(batch.n_target_B[b])], alone)


def test_targets_made_ready_are_those_read_again(vlm, asked):
    said = [join_chain(one.chain, one.answer) for one in asked]
    ready = targets_by_row(vlm, asked, said, longest=96)
    for rows in ([2], [0, 3], [*range(len(asked))][::-1]):
        found = ready(rows)
        expected = targets_for(vlm, [asked[row] for row in rows], [said[row] for row in rows], longest=96)
        assert set(found.inputs) == set(expected.inputs)
        assert all(torch.equal(found.inputs[name], value) for name, value in expected.inputs.items())
        assert torch.equal(found.labels_BT, expected.labels_BT)
        assert np.array_equal(found.n_target_B, expected.n_target_B)


@pytest.mark.parametrize("answers", [ANSWERS, ("red circle", "red square", "red")])
def test_company_and_padding_do_not_change_what_is_answered(vlm, asked, answers):
    def answered(part):
        chains = [chain_of(join_chain(one.chain, one.answer)) for one in part]
        ready = answers_of(vlm, answers)
        return answer_probabilities(vlm, [one.image for one in part], vlm.prompts(part), chains, ready).answers_BC

    together = answered(asked)
    assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    assert_allclose(together, np.concatenate([answered([one]) for one in asked]), atol=1e-5)


def test_it_writes_samples_and_says_how_sure_it_is(vlm, asked):
    said = say(vlm, asked, ANSWERS, VlmConfig(chains=2, max_tokens=6, predict_batch_size=3), seed=0)
    assert [len(texts) for texts in said.texts] == [2] * len(asked)
    assert said.visual_NJC.shape == (len(asked), 2, len(ANSWERS))
    assert said.language_NRC.shape == (len(asked), 3, len(ANSWERS))
    assert np.isfinite([said.visual_N, said.language_N]).all()
    assert np.isfinite(said.embedding_ND).all()


def test_two_steps_teach_it_and_its_arrays_give_the_same_model(vlm, asked):
    config = quick(min_steps=2, train_batch_size=3, attention=0.3, max_tokens=96, accumulate=2)
    taught, log = fit_vlm(vlm, asked, config, seed=0)
    assert np.isfinite(log["train_loss"]).all()
    arrays, facts = pack_vlm(taught, ANSWERS)
    assert not [name for name in arrays if "vision" in name or "visual" in name]
    again, _ = unpack_vlm((arrays, facts), vlm)
    batch = targets_of(vlm, asked, with_chain=True, longest=96)
    with torch.no_grad():
        found = [one.model(**batch.inputs).logits for one in (taught, again, vlm)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_images_of_different_sizes_learn_where_to_look_together(vlm, asked):
    sizes = [(72, 72), (96, 48), (48, 96)]
    mixed = [
        VisualQuestion(one.sample_id, one.image.resize(size), one.question, one.answer, one.chain, one.regions)
        for one, size in zip(asked, sizes, strict=False)
    ]
    _, log = fit_vlm(vlm, mixed, quick(min_steps=2, attention=0.3, max_tokens=96), seed=0)
    assert np.isfinite(log["train_loss"]).all()
