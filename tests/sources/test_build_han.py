"""The rules by which the Han set is built: what text stays, who shares a split, which rows are taken."""

from __future__ import annotations

import bz2
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from build_han import (  # noqa: E402
    MAX_ROWS_PER_CLASS,
    MIN_GROUPS_PER_CLASS,
    SPLIT_SHARE,
    Character,
    choose_rows,
    groups_of,
    plain,
    read_characters,
)


@pytest.mark.parametrize(
    ("definition", "kept"),
    [
        ("(same as U+60E1 惡) to hate; to hold a grudge against", "to hate; to hold a grudge against"),
        ("(non-classical form of 深) deep; profound", "deep; profound"),
        ("a net; net-like, radical 122", "a net; net-like"),
        ("(variant of 心) the heart, the radical on left side of the character", "the heart"),
        ("profession, business; GB radical 111", "profession, business"),
        ("rad. 85", ""),
        ("U+4711", ""),
        ("(Cant.) wrinkled, folded", "(Cant.) wrinkled, folded"),
    ],
)
def test_definitions_keep_their_english_and_lose_what_gives_the_answer_away(definition, kept):
    assert plain(definition) == kept


def test_variants_of_variants_are_one_group_named_by_its_least_whatever_the_order():
    related = {"U+5": {"U+4"}, "U+9": {"U+5"}, "U+2": {"U+9"}, "U+7": set(), "U+8": {"U+1"}}
    expected = {"U+2": "U+2", "U+4": "U+2", "U+5": "U+2", "U+9": "U+2", "U+7": "U+7", "U+1": "U+1", "U+8": "U+1"}
    assert groups_of(related) == expected
    assert groups_of(dict(reversed(related.items()))) == expected


def made_up(n: int, label: str, group_size: int = 1, start: int = 0) -> list[Character]:
    return [
        Character(f"u{start + i:05x}", f"u{start + i - i % group_size:05x}", "text", label) for i in range(n)
    ]


def test_rows_are_of_classes_with_enough_groups_and_none_above_its_share():
    few = made_up(2 * MIN_GROUPS_PER_CLASS - 2, "few", group_size=2)
    enough = made_up(MIN_GROUPS_PER_CLASS, "enough", start=10_000)
    many = made_up(3 * MAX_ROWS_PER_CLASS, "many", start=20_000)
    rows = choose_rows([*few, *enough, *many])
    assert Counter(character.label for _, character in rows) == {
        "enough": MIN_GROUPS_PER_CLASS, "many": MAX_ROWS_PER_CLASS
    }  # fmt: skip
    assert rows == choose_rows([*many, *few, *enough][::-1])


def test_a_group_is_in_one_split_even_if_its_characters_are_of_two_classes():
    left, right = made_up(300, "left", group_size=3), made_up(300, "right", group_size=3, start=1)
    shared = [character._replace(group=other.group) for character, other in zip(right, left, strict=True)]
    renamed = [character._replace(sample_id=f"x{character.sample_id}") for character in shared]
    splits: dict[str, set[str]] = {}
    for split, character in choose_rows([*left, *renamed]):
        splits.setdefault(character.group, set()).add(split)
    assert {len(found) for found in splits.values()} == {1}
    assert set.union(*splits.values()) == set(SPLIT_SHARE)


def test_every_class_comes_close_to_the_shares_of_the_splits():
    classes = {label: made_up(200, label, group_size=2, start=1000 * n) for n, label in enumerate("abc")}
    rows = choose_rows([character for characters in classes.values() for character in characters])
    for label in classes:
        found = Counter(split for split, character in rows if character.label == label)
        assert {split: found[split] / 200 for split in found} == pytest.approx(SPLIT_SHARE, abs=0.01)


def test_characters_are_read_without_radicals_themselves_and_second_copies_and_with_their_variants(tmp_path):
    files = {
        "Unihan_Readings.txt.bz2": (
            "# a comment\nU+6C34\tkDefinition\twater, liquid\nU+6C5F\tkDefinition\tlarge river; yangzi\n"
            "U+6CB3\tkDefinition\triver; stream\nU+6CB3\tkMandarin\thé\n"
            "U+5411\tkDefinition\t(same as U+6CB3 河) toward\n"
            "U+7000\tkDefinition\t(ancient form of 河) river; stream\nU+F900\tkDefinition\triver; stream\n"
        ),
        "Unihan_IRGSources.txt.bz2": (
            "U+6C34\tkRSUnicode\t85.0\nU+6C5F\tkRSUnicode\t85.3\nU+6CB3\tkRSUnicode\t85'.5 1.2\n"
            "U+5411\tkRSUnicode\t30.3\nU+7000\tkRSUnicode\t85.15\n"
            "U+F900\tkRSUnicode\t85.5\nU+F900\tkCompatibilityVariant\tU+6CB3\n"
        ),
        "Unihan_Variants.txt.bz2": "U+6C5F\tkSemanticVariant\tU+9999<kMatthews\nU+6C5F\tkSpoofingVariant\tU+6CB3\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(bz2.compress(text.encode()))
    (tmp_path / "UnicodeData.txt").write_text("2F1D;KANGXI RADICAL MOUTH;So\n2F54;KANGXI RADICAL WATER;So\n0041;A;Lu\n")
    assert read_characters(tmp_path) == [
        Character("u5411", "u5411", "toward", "mouth"),
        Character("u6c5f", "u6c5f", "large river; yangzi", "water"),
        Character("u6cb3", "u5411", "river; stream", "water"),
        Character("u7000", "u5411", "river; stream", "water"),
    ]
    assert read_characters(tmp_path)[1].glyph == "江"
