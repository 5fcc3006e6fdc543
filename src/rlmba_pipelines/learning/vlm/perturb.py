"""Small changes of an image or of a question that leave the answer as it is; one modality at a time.

Concept  what a model does not know of a modality shows where small changes of it change the answer.
Source   2606.31407: changed together, the text dominates, and nothing can be told of the image.
Stated   perturbations of image and of question, one modality at a time.
Chosen   the least change that tells: one patch of 36 without its detail, which leaves a clear image nearly as it was;
         other readings of a question by a list of words. Blur, noise, several patches and a missing word move every
         answer and so point at no cause (docs/vqa.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

PATCHES = 6  # along a side of the grid that one is taken of

# words that mean the same, and vague words with what they may mean: other readings of a question
READINGS: Mapping[str, tuple[str, ...]] = {
    "thing": ("object",),
    "object": ("thing",),
    "things": ("objects",),
    "objects": ("things",),
    "big": ("large",),
    "large": ("big",),
    "small": ("little",),
    "picture": ("image", "photo"),
    "photo": ("image", "picture"),
    "image": ("picture", "photo"),
    "person": ("man", "woman"),
    "warm": ("red", "yellow", "pink"),
    "cool": ("green", "blue", "cyan"),
    "pale": ("gray", "white"),
}


def patch_flattened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8[H, W, 3] with one patch, drawn of a grid of 6 × 6, in its mean color; of a tiny image one pixel."""
    place = divmod(int(rng.integers(PATCHES * PATCHES)), PATCHES)
    rows, columns = (
        slice(start := k * size // PATCHES, max((k + 1) * size // PATCHES, start + 1))
        for k, size in zip(place, image.shape[:2], strict=True)
    )
    out = image.copy()
    out[rows, columns] = image[rows, columns].mean(axis=(0, 1))
    return out


IMAGE_CHANGES: Sequence[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = (patch_flattened, patch_flattened)


def reread(question: str, rng: np.random.Generator) -> str:
    """Another reading of a question: every word of ``READINGS`` is replaced by one that may be meant; else the same.

    >>> reread("is the warm thing red ?", np.random.default_rng(0))
    'is the pink object red ?'
    """
    words = []
    for word in question.split():
        others = READINGS.get(word.lower(), ())
        words.append(others[rng.integers(len(others))] if others else word)
    return " ".join(words)


QUESTION_CHANGES: Sequence[Callable[[str, np.random.Generator], str]] = (reread, reread, reread)
