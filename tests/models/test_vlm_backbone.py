"""The door to a vision-language model: what it reads, what it is to learn, and what it answers."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from vlm_families import questions, tiny

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.chains import join_chain
from rlmba_pipelines.models.vlm import answers as answering
from rlmba_pipelines.models.vlm import score
from rlmba_pipelines.models.vlm.answers import answer_probabilities, answers_of, node_of
from rlmba_pipelines.models.vlm.backbone import gone_on, load_vlm
from rlmba_pipelines.models.vlm.score import chain_of, movement, say, written
from rlmba_pipelines.models.vlm.state import pack_vlm, unpack_vlm
from rlmba_pipelines.models.vlm.targets import IGNORED, targets_of

ANSWERS = ("circle", "square", "left", "right", "yes", "no", "1", "2", "3")
CONFIG = VlmConfig(chains=3, predict_batch_size=4, max_tokens=8)


@pytest.fixture(scope="module")
def vlm():
    return tiny()


@pytest.fixture(scope="module")
def asked():
    return questions(7)


def logits(vlm, asked):
    batch = targets_of(vlm, asked, with_chain=True, longest=64)
    with torch.no_grad():
        return vlm.model(**batch.inputs).logits


def answered(vlm, asked, answers=ANSWERS, possible=None):
    chains, ready = [chain_of(join_chain(one.chain, one.answer)) for one in asked], answers_of(vlm, answers)
    images, prompts = [one.image for one in asked], vlm.prompts(asked)
    return answer_probabilities(vlm, images, prompts, chains, ready, possible).answers_BC


def test_saved_and_loaded_by_the_auto_classes_it_is_the_same_model(vlm, asked, tmp_path):
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    again = load_vlm(str(tmp_path), CONFIG)
    assert type(again.model) is type(vlm.model)
    assert torch.equal(logits(again, asked), logits(vlm, asked))
    assert written(again, asked[:2], CONFIG) == written(vlm, asked[:2], CONFIG)


def test_the_targets_are_exactly_chain_answer_and_end(vlm, asked):
    batch = targets_of(vlm, asked, with_chain=True, longest=64)
    tokenizer, lengths = vlm.processor.tokenizer, set()
    for b, one in enumerate(asked):
        labels, ids = batch.labels_BT[b], batch.inputs["input_ids"][b]
        is_target = labels != IGNORED
        said = f"{join_chain(one.chain, one.answer)} {tokenizer.eos_token}"
        assert tokenizer.decode(labels[is_target]) == said
        assert torch.equal(labels[is_target], ids[is_target])
        assert int(is_target.sum()) == batch.n_target_B[b] == len(said.split())
        assert is_target[-int(batch.n_target_B[b]) :].all()  # the end of the row: padding is on the left
        real = batch.inputs["attention_mask"][b].bool()
        read = tokenizer.decode(ids[real & ~is_target & (ids != vlm.image_token_id)], skip_special_tokens=True)
        assert read.split() == [*one.question.split(), ":"]
        lengths.add(int(real.sum()))
    assert len(lengths) > 3
    without = targets_of(vlm, asked, with_chain=False, longest=64)
    told = [tokenizer.decode(row[row != IGNORED]) for row in without.labels_BT]
    assert told == [f"so {one.answer} {tokenizer.eos_token}" for one in asked]


def test_a_target_that_is_too_long_is_refused_by_name(vlm, asked):
    longest = max(len(join_chain(one.chain, one.answer).split()) + 1 for one in asked)
    assert targets_of(vlm, asked, with_chain=True, longest=longest).n_target_B.max() == longest
    with pytest.raises(UserError, match=rf"have {longest} tokens, more than vlm.max_tokens \({longest - 1}\)"):
        targets_of(vlm, asked, with_chain=True, longest=longest - 1)


def test_only_the_letters_of_its_choices_answer_a_question(vlm, asked):
    classes = ("A", "B", "C", "red", "yes")
    answers = answers_of(vlm, classes)
    assert [answers.possible(("x",) * n) for n in (2, 3, 4)] == [(0, 1), (0, 1, 2), (0, 1, 2)]
    assert answers.possible(()) == (0, 1, 2, 3, 4)
    assert answers_of(vlm, ("red", "yes")).possible(("x", "y")) == (0, 1)  # nobody has given a letter yet
    mixed = [replace(one, choices=("x",) * (b % 3 and 1 + b % 3)) for b, one in enumerate(asked)]
    p_NC = say(vlm, mixed, classes, CONFIG, seed=0).chains_NKC.mean(axis=1)
    for b, p_C in enumerate(p_NC):
        assert np.flatnonzero(p_C).tolist() == [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2]][b % 3]


def test_choices_are_part_of_the_question(vlm, asked):
    one = replace(asked[0], choices=("circle", "square"))
    assert vlm.prompts([one])[0] == vlm.prompts([asked[0]])[0].replace("?", "? (A) circle (B) square.")


def word_by_word(vlm, asked, answers, possible=None):
    """The slow way: one question at a time, one word after the other, of those that lead to an answer."""
    tokenizer, rows = vlm.processor.tokenizer, []
    ended = [f"{answer} {tokenizer.eos_token}".split() for answer in answers]
    for b, one in enumerate(asked):
        before = gone_on(vlm.prompts([one])[0], chain_of(join_chain(one.chain, one.answer)))
        among = [ended[c] for c in possible[b]] if possible else ended

        @lru_cache
        def p_of(begun, before=before, image=one.image):
            with torch.no_grad():
                logits = vlm.model(**vlm.batch([image], [" ".join([before, *begun])])).logits[0, -1]
            return torch.softmax(logits.double(), -1).numpy()

        p_C = np.zeros(len(answers))
        for c, words in enumerate(ended):
            if words in among:
                p_C[c] = 1
                for n in range(len(words)):
                    alike = {other[n] for other in among if other[:n] == words[:n]}
                    if len(alike) == 1:  # nothing else could be written
                        continue
                    p = {word: p_of(tuple(words[:n]))[tokenizer.convert_tokens_to_ids(word)] for word in alike}
                    p_C[c] *= p[words[n]] / sum(p.values())
        rows.append(p_C)
    return np.array(rows)


ALIKE = ("red circle", "red square thing", "red", "blue square", "no", "red square", "red square circle")


def test_answers_of_one_word_have_the_probability_of_that_word_among_the_first_words(vlm, asked):
    assert_allclose(answered(vlm, asked), word_by_word(vlm, asked, ANSWERS), atol=1e-5)


def test_answers_that_begin_alike_have_the_probability_of_what_could_be_written(vlm, asked, monkeypatch):
    monkeypatch.setattr(answering, "LITTLE", 0.0)
    found = answered(vlm, asked, ALIKE)
    assert_allclose(found, word_by_word(vlm, asked, ALIKE), atol=1e-5)
    assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    possible = [(0, 3), (1, 5, 6), (2,), (0, 1, 2), (3, 4), (1, 6), (0, 1, 2, 3, 4, 5, 6)]
    found = answered(vlm, asked, ALIKE, possible)
    assert_allclose(found, word_by_word(vlm, asked, ALIKE, possible), atol=1e-5)
    for p_C, among in zip(found, possible, strict=True):
        assert set(np.flatnonzero(p_C)) == set(among)


def test_the_likeliest_nodes_are_looked_into_until_little_is_left(vlm, asked, monkeypatch):
    colors = ("red", "green", "blue", "yellow", "pink", "gray", "white", "cyan")
    many = tuple(f"{a} {b}" for a in colors for b in colors)
    exact = word_by_word(vlm, asked, many)
    first_exact = exact.reshape(len(asked), 8, 8).sum(axis=2)
    passes, forward = [], vlm.model.forward

    def counted(*args, logits_to_keep=0, **kwargs):
        passes.append(logits_to_keep)
        return forward(*args, logits_to_keep=logits_to_keep, **kwargs)

    monkeypatch.setattr(vlm.model, "forward", counted)
    for little, most in ((0.5, 99), (0.11, 99), (0.0, 99), (0.0, 3)):
        monkeypatch.setattr(answering, "LITTLE", little)
        monkeypatch.setattr(answering, "MOST_PASSES", most)
        passes.clear()
        found = answered(vlm, asked, many)
        order = np.argsort(-first_exact, axis=1)
        left = 1 - np.cumsum(np.take_along_axis(first_exact, order, axis=1), axis=1)
        n_looked = np.minimum(1 + (left > little + 1e-9).sum(axis=1), most)
        assert passes == [0] + [4] * n_looked.max()  # before both words, before the end, and after it
        for b in range(len(asked)):
            expected = np.repeat(first_exact[b] / 8, 8)
            for color in order[b, : n_looked[b]]:
                expected[8 * color : 8 * color + 8] = exact[b, 8 * color : 8 * color + 8]
            assert_allclose(found[b], expected, atol=1e-5)


def test_paths_part_where_their_tokens_do():
    paths = ((5, 7, 1), (5, 8, 1), (5, 7, 2, 1), (6, 1), (6, 1), (9, 1))
    root = node_of(paths, (0, 1, 2, 3, 4, 5), 0)
    assert (root.depth, root.tokens.tolist(), root.shared) == (0, [5, 6, 9], ((0, (0, 1, 2)), (1, (3, 4))))
    assert (root.alone_A.tolist(), root.only_A.tolist()) == ([2], [5])
    below = node_of(paths, (0, 1, 2), 1)
    assert (below.depth, below.tokens.tolist(), below.only_A.tolist(), below.shared) == (1, [7, 8], [1], ((0, (0, 2)),))
    assert node_of(paths, (0, 2), 0).depth == 2
    assert node_of(paths, (3, 4), 0) is None


def test_an_answer_with_unknown_words_is_scored_too(vlm, asked):
    found = answered(vlm, asked, ("zebra", "yes", "ostrich"))
    assert_allclose(found[:, 0], found[:, 2])  # both are the unknown word to the tiny model
    assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("answers", [ANSWERS, ("red circle", "red square", "red")])
def test_company_and_padding_do_not_change_what_is_answered(vlm, asked, answers):
    together = answered(vlm, asked, answers)
    alone = np.concatenate([answered(vlm, [one], answers) for one in asked])
    assert_allclose(together, alone, atol=1e-5)
    assert_allclose(answered(vlm, asked[::-1], answers), together[::-1], atol=1e-5)


def test_answers_hang_on_image_question_and_chain(vlm, asked):
    one = asked[0]
    others = [replace(one, image=asked[1].image), replace(one, question=asked[1].question), replace(one, chain=())]
    for other in others:
        assert np.abs(answered(vlm, [other]) - answered(vlm, [one])).max() > 1e-4


def test_what_is_said_is_named_by_its_seed_and_by_nothing_before_it(vlm, asked):
    first = say(vlm, asked, ANSWERS, CONFIG, seed=5)
    torch.manual_seed(99)
    again = say(vlm, asked, ANSWERS, CONFIG, seed=5)
    assert first.texts == again.texts
    arrays = [name for name in vars(first) if name[-1] in "NCD"]
    assert len(arrays) == 8
    for name in arrays:
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert first.texts != say(vlm, asked, ANSWERS, CONFIG, seed=6).texts
    assert first.chains_NKC.shape == (7, 3, len(ANSWERS))
    for p in (first.chains_NKC, first.visual_NJC, first.language_NRC):
        assert_allclose(p.sum(axis=2), 1, atol=1e-6)


def test_sampling_leaves_the_generator_of_torch_as_it_was(vlm, asked):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    written(vlm, asked, CONFIG, n=2, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_each_chain_has_its_answer_and_the_first_one_its_hidden_state(vlm, asked, monkeypatch):
    chains = ["shape red circle so yes", "column blue 2 . row red 1 so no", "yes"]
    monkeypatch.setattr(score, "written", lambda *args, **kwargs: [chains] * 4)
    said = say(vlm, asked[:4], ANSWERS, CONFIG, seed=5)
    for k in range(3):
        chains = [chain_of(texts[k]) for texts in said.texts]
        images, prompts, answers = [one.image for one in asked[:4]], vlm.prompts(asked[:4]), answers_of(vlm, ANSWERS)
        found = answer_probabilities(vlm, images, prompts, chains, answers)
        assert_allclose(found[0], said.chains_NKC[:, k], atol=1e-6)
        assert (k == 0) == bool(np.allclose(found[1][:, -1].numpy(), said.embedding_ND, atol=1e-6))


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 50.0])
def test_movement_is_the_mutual_information_of_word_and_change_over_the_chain_alone(sharpness):
    rng = np.random.default_rng(0)
    p_JBLV, n_written_B = rng.dirichlet(np.full(6, sharpness), size=(3, 8, 5)), np.array([0, 1, 2, 3, 4, 4, 1, 0])
    found = movement([torch.from_numpy(p_BLV) for p_BLV in p_JBLV], n_written_B)
    for b, n_written in enumerate(n_written_B):
        places = []
        for place in range(4 - n_written, 5):
            p_JV = p_JBLV[:, b, place]
            told = p_JV * np.log(np.where(p_JV > 0, p_JV / p_JV.mean(axis=0), 1))
            places.append(told.sum() / 3)
        assert found[b] == pytest.approx(np.mean(places), abs=1e-6)
    assert_allclose(movement([torch.from_numpy(p_JBLV[0])] * 3, n_written_B), 0, atol=1e-12)


def test_a_reading_that_changes_no_word_moves_nothing_and_one_that_names_another_thing_does(vlm, asked):
    texts = ("is red left ?", "is warm or cool or pale left ?")
    plain, vague = (replace(asked[0], sample_id=text, question=text) for text in texts)
    said = say(vlm, [plain, vague], ANSWERS, CONFIG, seed=5)
    assert said.language_N[0] == 0
    assert said.language_N[1] > 1e-5
    assert (said.visual_N >= 0).all()


def test_the_grid_is_square_or_is_refused(vlm, asked):
    inputs = vlm.batch([asked[0].image], vlm.prompts(asked[:1]))
    assert vlm.grid(inputs, 0) == (6, 6)
    ids = inputs["input_ids"].clone()
    ids[0, torch.nonzero(ids[0] == vlm.image_token_id)[0]] = 0
    with pytest.raises(UserError, match=r"35 image tokens .* no square grid.*set vlm.attention to 0"):
        vlm.grid({**inputs, "input_ids": ids}, 0)


def test_a_packed_model_on_its_base_is_the_same_and_on_another_base_is_refused(vlm, asked):
    taught = tiny()
    with torch.no_grad():
        for p in taught.model.parameters():
            if p.requires_grad:
                p.add_(0.01)
    packed = pack_vlm(taught, ANSWERS)
    assert not [name for name in packed[0] if "vision" in name]
    again, classes = unpack_vlm(packed, vlm)
    assert classes == ANSWERS
    assert torch.equal(logits(again, asked), logits(taught, asked))
    assert not torch.equal(logits(vlm, asked), logits(taught, asked))
    other = {f"other.{name}": array for name, array in packed[0].items()}
    with pytest.raises(UserError, match="taught on another base"):
        unpack_vlm((other, packed[1]), vlm)


def test_images_that_are_not_square_are_read_too(vlm, asked):
    wide = replace(asked[0], image=Image.new("RGB", (140, 60), "red"))
    assert answered(vlm, [wide, asked[1]]).shape == (2, len(ANSWERS))
