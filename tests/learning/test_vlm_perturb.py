"""Small changes: named by their generator, of one modality, and small."""

import numpy as np
import pytest
from scipy.stats import chisquare

from rlmba_pipelines.learning.vlm import scenes
from rlmba_pipelines.learning.vlm.perturb import (
    IMAGE_CHANGES,
    QUESTION_CHANGES,
    READINGS,
    patch_flattened,
    reread,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image(rng):
    return scenes.noised(scenes.paint(scenes.draw_scene(rng)), rng)


@pytest.mark.parametrize("change", IMAGE_CHANGES)
def test_an_image_changes_alike_for_a_seed_keeps_its_form_and_is_not_written_on(change, image):
    before = image.copy()
    first, again = (change(image, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(image, before)
    assert not np.array_equal(first, image)
    assert (first.shape, first.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize("size", [(72, 72), (50, 91)])
def test_each_patch_loses_its_detail_as_often_and_all_else_is_as_it_was(size):
    draw, rng = np.random.default_rng(1), np.random.default_rng(0)
    image, flat = draw.integers(0, 256, size=(*size, 3), dtype=np.uint8), []
    for _ in range(720):
        out = patch_flattened(image, rng)
        changed = (out != image).any(axis=2)
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        patch = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert changed.sum() <= out[patch][..., 0].size <= (size[0] // 6 + 1) * (size[1] // 6 + 1)
        assert np.array_equal(out[patch][0, 0], image[patch].mean(axis=(0, 1)).astype(np.uint8))
        assert (out[patch] == out[patch][0, 0]).all()
        flat.append((rows[0], columns[0]))
    _, counts = np.unique(flat, axis=0, return_counts=True)
    assert len(counts) == 36
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 72)])
@pytest.mark.filterwarnings("error")
def test_a_tiny_image_has_patches_too(size, rng):
    image = rng.integers(0, 256, size=(*size, 3), dtype=np.uint8)
    for _ in range(100):
        changed = (patch_flattened(image, rng) != image).any(axis=2)
        assert changed.sum() <= max(size[0] // 6, 1) * max(size[1] // 6, 1)


def test_a_reading_replaces_the_words_that_have_one_and_no_other(rng):
    for kind in scenes.WORDINGS:
        scene = scenes.draw_scene(rng)
        question = scenes.ask(kind, scene, rng)
        words = (scenes.made_vague(question, scene, rng) or question).text.split()
        read = reread(" ".join(words), rng).split()
        assert len(read) == len(words)
        for word, other in zip(words, read, strict=True):
            assert other in READINGS[word] if word in READINGS else other == word


def test_no_word_is_a_reading_of_itself():
    assert all(word not in others and others for word, others in READINGS.items())


@pytest.mark.parametrize("change", QUESTION_CHANGES)
def test_a_question_changes_alike_for_a_seed(change):
    text = "do the warm thing and the blue object have the same shape ?"
    assert change(text, np.random.default_rng(5)) == change(text, np.random.default_rng(5)) != text
