"""Chains of thought: written and read again alike; true of their scene, and false with a word changed."""

import numpy as np
import pytest

from rlmba_pipelines.learning.vlm.captions import caption
from rlmba_pipelines.learning.vlm.chains import SHAPES, chain_holds, join_chain, names_absent, parted, split_chain
from rlmba_pipelines.learning.vlm.scenes import COLORS, EASY, GRID, RELATIONAL, ask, draw_scene


def asked(n, kinds=(*EASY, *RELATIONAL)):
    rng = np.random.default_rng(0)
    for i in range(n):
        scene = draw_scene(rng)
        yield scene, ask(kinds[i % len(kinds)], scene, rng)


def test_what_was_written_is_read_again_alike():
    for _, question in asked(400):
        assert split_chain(join_chain(question.chain, question.answer)) == ([*question.chain], question.answer)


@pytest.mark.parametrize(
    ("steps", "answer"),
    [
        (["a person sits"], "sofa"),  # "so" within words
        (["it is 2.5 m high", "so it is tall"], "yes"),  # a dot within a number, the mark within a chain
        (["it ends with a dot."], "no"),
        ([], "also"),
    ],
)
def test_marks_are_whole_words(steps, answer):
    read, said = split_chain(join_chain(steps, answer))
    assert (read, said) == ([step.rstrip(".") for step in steps], answer)


def test_a_decoder_that_leaves_out_the_space_before_a_dot_changes_nothing():
    assert split_chain("shape red circle. shape blue square so no") == (["shape red circle", "shape blue square"], "no")


@pytest.mark.parametrize("text", ["", "yes", "sofa", "shape red circle ."])
def test_a_text_without_a_mark_is_all_answer(text):
    assert split_chain(text) == ([], text)
    assert parted(text) == ("", "", text)


def test_every_generated_chain_holds_and_names_nothing_that_is_absent():
    for scene, question in asked(800):
        assert chain_holds(question.chain, scene), question
        assert not names_absent(question.chain, scene, tuple(COLORS))
        told = caption(scene, np.random.default_rng(1)).split(" . ")
        assert chain_holds(told, scene)


def test_no_generated_chain_holds_with_the_value_of_a_step_changed():
    values = {*SHAPES, *(str(n) for n in range(GRID + 1)), "red", "so", "", "²"}
    n = 0
    for scene, question in asked(300):
        for k, step in enumerate(question.chain):
            *told, value = step.split()
            possible = {thing["color"] for thing in scene} if told == ["no"] else values
            for other in possible - {value}:
                changed = [*question.chain[:k], " ".join([*told, other]), *question.chain[k + 1 :]]
                assert not chain_holds(changed, scene), (changed, scene)
                n += 1
    assert n > 3000


def test_no_chain_holds_in_which_a_step_is_told_of_a_thing_of_which_it_is_not_true():
    for scene, question in asked(200, ("shape", "side", "height", "left_of", "above", "same_shape")):
        things = {thing["color"]: thing for thing in scene}
        for k, step in enumerate(question.chain):
            told, color, value = step.split()
            for other in set(COLORS) - {color}:
                changed = [*question.chain[:k], f"{told} {other} {value}", *question.chain[k + 1 :]]
                true = other in things and str(things[other][told]) == value
                assert chain_holds(changed, scene) == true
                assert names_absent(changed, scene, tuple(COLORS)) == (other not in things)


@pytest.mark.parametrize(
    "steps",
    [[], ["shape red"], ["red circle"], ["shape red circle 1"], ["size red 3"], [""], ["circle blue 2", "circle red 1"],
     ["circle red 1", "circle red 2"], ["circle red 2"], ["circle red 0"]],
)
def test_what_is_no_chain_of_the_grammar_does_not_hold(steps):
    scene = [{"color": c, "shape": "circle", "row": 1, "column": k} for k, c in enumerate(("red", "blue"), 1)]
    assert not chain_holds(steps, scene)
