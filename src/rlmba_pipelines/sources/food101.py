"""UPMC Food-101: 101 dishes, a picture and the title or recipe of the page it stood on. Wang et al. 2015, ICME.

Three layouts are in use, with the pictures in ``images/{train,test}/<class>/<class>_<n>.jpg``:

tokens  ``train.json`` and ``test.json``: lists of {id, label, text_path, text_tokens, img_path}; the tokens are the 100
        after "ingredients" (github.com/MengShen0709/bmmal)
titles  ``texts/{train,test}_titles.csv`` without a header: image, title, class (the form on Kaggle)
split   ``class_idx.json``, ``text.json`` {image: [title]}, ``split.json`` {split: [image]}
        (github.com/YiLunLee/missing_aware_prompts)

A sample has the same id in all three. Pictures without text are left out, as the papers that use the set do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources.trees import manifest_of, own_text, read_json, read_rows, refuse_layout

PARTS = {"train": "pool", "test": "test"}
Row = dict[str, str]


def read(root: Path) -> pd.DataFrame:
    """The manifest of Food-101 in ``root``: image, text, label, split.

    Raises:
        UserError: no layout is there that is known, or one of its lists is damaged.
    """
    has = {name: (root / name).is_file() for name in ("train.json", "test.json", "text.json", "split.json")}
    if has["train.json"] and has["test.json"]:
        rows = _from_tokens(root)
    elif has["text.json"] and has["split.json"]:
        rows = _from_split(root)
    elif (root / "texts/train_titles.csv").is_file():
        rows = _from_titles(root)
    else:
        refuse_layout(
            root, "Food-101", "train.json and test.json", "text.json, split.json and class_idx.json",
            "texts/train_titles.csv and texts/test_titles.csv",
        )
    return manifest_of([row for row in rows if row["text"]])


def _from_tokens(root: Path) -> Iterator[Row]:
    for part, split in PARTS.items():
        path = root / f"{part}.json"
        for number, entry in enumerate(read_json(path, list), start=1):
            try:
                image, label, tokens = entry["img_path"], entry["label"], entry["text_tokens"]
                text = " ".join(tokens)
                # preprocessing wrote the folder that the set lay in then before the name
                image = image[image.rindex("images/"):] if "images/" in image else image
            except (KeyError, TypeError, AttributeError):
                raise UserError(
                    f"{path}, entry {number}: it has no img_path, label and text_tokens; make the file again."
                ) from None
            yield _row(image, text, str(label), split)


def _from_split(root: Path) -> Iterator[Row]:
    classes, texts = read_json(root / "class_idx.json", dict), read_json(root / "text.json", dict)
    for part, images in read_json(root / "split.json", dict).items():
        split = "validation" if part in ("val", "dev") else PARTS.get(part)
        if split is None or not isinstance(images, list):
            raise UserError(f"{root / 'split.json'}: {part!r} is not a list named train, val or test; correct it.")
        folder = "test" if part == "test" else "train"
        for image in map(str, images):
            label = image.rpartition("_")[0]
            if label not in classes:
                raise UserError(f"{root / 'split.json'}: the class of {image!r} is not in class_idx.json; correct it.")
            yield _row(f"images/{folder}/{label}/{image}", _title(texts.get(image)), label, split)


def _from_titles(root: Path) -> Iterator[Row]:
    for part, split in PARTS.items():
        for _, (image, title, label) in read_rows(root / f"texts/{part}_titles.csv", 3):
            yield _row(f"images/{part}/{label}/{image}", title, label, split)


def _title(found: Any) -> str:
    """A title, or a list of them."""
    return " ".join(map(str, found)) if isinstance(found, list) else str(found or "")


def _row(image: str, text: str, label: str, split: str) -> Row:
    sample_id = PurePosixPath(image).stem
    return {"sample_id": sample_id, "image": image, "text": own_text(text), "label": label, "split": split}
