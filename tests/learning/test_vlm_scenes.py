"""Generated questions: what is drawn is what was asked for, and what is told of it is true of the pixels."""

from collections import Counter

import numpy as np
import pytest

from rlmba_pipelines.learning.vlm import scenes
from rlmba_pipelines.learning.vlm.scenes import CELL, COLORS, GRID, HELD_OUT, THINGS, Knobs, generate

KNOBS = Knobs(images=250, validation_images=10, test_images=40)


@pytest.fixture(scope="module")
def made():
    return list(generate(KNOBS))


def of(made, split, test_set=""):
    return [record for record, _ in made if (record["split"], record["meta"]["test_set"]) == (split, test_set)]


def test_a_seed_names_every_record_and_pixel_and_another_seed_others(made):
    again = list(generate(KNOBS))
    assert [record for record, _ in again] == [record for record, _ in made]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(again, made, strict=True))
    other = list(generate(Knobs(images=5, validation_images=0, test_images=0, seed=1)))
    for (mine, _), (theirs, _) in zip(other, made[:20], strict=True):
        assert mine["meta"]["scene"] != theirs["meta"]["scene"]


def test_a_smaller_pool_begins_the_larger_one(made):
    few = list(generate(Knobs(images=3, validation_images=0, test_images=0)))
    assert [record for record, _ in few] == [record for record, _ in made[: len(few)]]


def test_every_split_has_its_images_and_every_image_its_questions(made):
    images = Counter((r["split"], r["meta"]["test_set"]) for r, _ in made if r["id"].endswith("_0"))
    assert images == {
        ("pool", ""): 250, ("validation", ""): 10, **{("test", name): 40 for name in scenes.TEST_SETS}
    }
    assert len({record["id"] for record, _ in made}) == len(made) == 4 * (250 + 10 + 4 * 40)
    assert set(Counter(record["group"] for record, _ in made).values()) == {4}


def test_a_scene_has_six_things_of_different_colors_in_different_cells(made):
    for record, _ in made:
        things = record["meta"]["scene"]
        assert len({thing["color"] for thing in things}) == THINGS
        assert len({(thing["row"], thing["column"]) for thing in things}) == THINGS
        assert all(1 <= thing[axis] <= GRID for thing in things for axis in ("row", "column"))


def test_the_region_of_a_step_holds_the_color_that_it_names_and_nothing_else(made):
    side, n = GRID * CELL, 0
    for record, image in made:
        if record["meta"]["noised"]:
            continue
        assert len(record["regions"]) == len(record["chain"])
        for step, region in zip(record["chain"], record["regions"], strict=True):
            if region is None:
                assert step.startswith("no ")
                continue
            x, y, width, height = (round(share * side) for share in region)
            found = {tuple(pixel) for pixel in image[y : y + height, x : x + width].reshape(-1, 3).tolist()}
            assert found == {(0, 0, 0), COLORS[step.split()[1]]}
            n += 1
    assert n > 1000


def test_a_square_and_a_circle_look_different_and_both_lie_in_the_middle_of_their_cell():
    for shape, area in (("circle", 68), ("square", 64)):
        image = scenes.paint([{"color": "white", "shape": shape, "row": 2, "column": 5}])
        inside = image[CELL : 2 * CELL, 4 * CELL : 5 * CELL, 0] > 0
        assert inside.sum() == (image[..., 0] > 0).sum() == area
        assert np.array_equal(inside, inside[::-1])
        assert np.array_equal(inside, inside[:, ::-1])


def test_held_out_pairs_are_seen_in_their_test_set_alone_and_there_in_every_scene(made):
    for record, _ in made:
        shown = {(thing["color"], thing["shape"]) for thing in record["meta"]["scene"]}
        assert bool(shown & set(HELD_OUT)) == (record["meta"]["test_set"] == "unseen")


def test_the_shortcut_holds_in_the_pool_and_never_in_its_test_set(made):
    def share(records):
        shapes = [t["shape"] for r in records for t in r["meta"]["scene"] if t["color"] == scenes.SHORTCUT]
        return np.mean([shape == "circle" for shape in shapes]), len(shapes)

    held, n = share(of(made, "pool"))
    assert n > 400
    assert held == pytest.approx(scenes.SHORTCUT_SHARE, abs=4 * 0.3 / np.sqrt(n / 4))  # a scene counts four times
    assert share(of(made, "test", "shortcut"))[0] == 0.0


def right_answer(kind, text, things):
    """The answer by the words of a question, from the scene alone."""
    named = [word for word in text.split() if word in COLORS]
    at = {thing["color"]: thing for thing in things}
    match kind:
        case "shape":
            return at[named[0]]["shape"]
        case "side":
            return "left" if at[named[0]]["column"] <= 3 else "right"
        case "height":
            return "top" if at[named[0]]["row"] <= 3 else "bottom"
        case "exists":
            return "yes" if named[0] in at else "no"
        case "count":
            return str(sum(thing["shape"] in text.split() for thing in things))
    a, b = (at[name] for name in named)
    holds = {
        "left_of": a["column"] < b["column"], "above": a["row"] < b["row"], "same_shape": a["shape"] == b["shape"]
    }
    return "yes" if holds[kind] else "no"


def test_every_answer_is_right_but_those_that_nobody_can_learn(made):
    wrong = 0
    for record, _ in made:
        meta = record["meta"]
        if meta["flaw"] == "ambiguous":
            assert set(record["question"].split()) & set(scenes.VAGUE)
            continue
        right = right_answer(meta["kind"], record["question"], meta["scene"]) == record["answer"]
        assert right or meta["flaw"] == "unlearnable"
        wrong += not right
        assert (not record["chain"]) == (meta["flaw"] == "unlearnable")
    assert wrong > 20


def with_other_shape(things, i):
    other = {"circle": "square", "square": "circle"}
    return [thing | {"shape": other[thing["shape"]]} if k == i else thing for k, thing in enumerate(things)]


def test_an_answer_hangs_on_the_shift_where_the_other_shape_would_change_it(made):
    n = 0
    for record in (*of(made, "test", "unseen"), *of(made, "test", "shortcut")):
        meta = record["meta"]
        shown = [
            (t["color"], t["shape"]) in HELD_OUT if meta["test_set"] == "unseen" else t["color"] == scenes.SHORTCUT
            for t in meta["scene"]
        ]
        hangs = any(
            right_answer(meta["kind"], record["question"], with_other_shape(meta["scene"], i)) != record["answer"]
            for i in np.flatnonzero(shown)
        )
        assert meta["shifted"] == hangs, record
        n += hangs
    assert n > 20


def test_every_word_that_is_used_is_known(made):
    known = set(scenes.words())
    for record, _ in made:
        told = " . ".join([record["question"], *record["chain"], record["answer"]])
        assert set(told.split()) <= known


@pytest.mark.parametrize("kind", ["exists", "left_of", "above", "same_shape"])
def test_yes_and_no_come_equally_often(kind):
    rng, n = np.random.default_rng(0), 2000
    answers = [scenes.ask(kind, scenes.draw_scene(rng), rng).answer for _ in range(n)]
    assert np.mean(np.array(answers) == "yes") == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(n))


def test_the_shares_of_easy_noised_ambiguous_and_unlearnable_questions_are_the_knobs():
    knobs = Knobs(1500, validation_images=0, test_images=0, easy=0.8, noise=0.3, ambiguous=0.2, unlearnable=0.1)
    records = [record for record, _ in generate(knobs)]
    n, metas = len(records), [record["meta"] for record in records]

    def near(share, expected, n_draws=n):
        assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n_draws))

    near(np.mean([not meta["relational"] for meta in metas]), 0.8)
    near(np.mean([meta["noised"] for meta in metas]), 0.3, knobs.images)  # drawn once an image
    near(np.mean([meta["flaw"] == "unlearnable" for meta in metas]), 0.1)
    plain = generate(Knobs(images=1500, validation_images=0, test_images=0, easy=0.8, ambiguous=0, unlearnable=0))
    possible = np.mean([
        scenes.made_vague(
            scenes.Question(record["meta"]["kind"], record["question"], "", (), ()), record["meta"]["scene"],
            np.random.default_rng(0),
        ) is not None
        for record, _ in plain
    ])
    assert 0.8 < possible < 0.9  # a count names no color, some colors have no rival in their scene
    near(np.mean([meta["flaw"] == "ambiguous" for meta in metas]), 0.2 * possible)


def test_an_ambiguous_word_may_mean_another_thing_of_the_scene():
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = scenes.draw_scene(rng)
        question = scenes.ask("shape", scene, rng)
        vague = scenes.made_vague(question, scene, rng)
        if vague is None:
            continue
        (word,) = set(vague.text.split()) & set(scenes.VAGUE)
        there = {thing["color"] for thing in scene} & set(scenes.VAGUE[word])
        assert len(there) > 1
        assert question.chain[0].split()[1] in there
        assert (vague.answer, vague.chain) == (question.answer, question.chain)
