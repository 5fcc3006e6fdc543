"""Emoji: which concepts there are, and every drawing of them in every style."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rawdata.npm import Package, members

STYLES = {
    style: Package(f"@iconify-json/{name}", version, sha256)
    for style, name, version, sha256 in (
        ("noto", "noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
        ("noto-v1", "noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
        (
            "fluent-flat", "fluent-emoji-flat", "1.2.6",
            "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        ),
        ("fluent-color", "fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b"),
        (
            "fluent-contrast", "fluent-emoji-high-contrast", "1.2.6",
            "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
        ),
        ("fxemoji", "fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
        ("twemoji", "twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
        ("emojione", "emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
        ("emojione-v1", "emojione-v1", "1.2.3", "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3"),
        ("openmoji", "openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
    )
}
STYLE_3D = Package(
    "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
)
WORDS = Package("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
LANGUAGES = ("en", "de", "es", "fr", "it", "pl")
TAGS_PER_ROW = 2
PEOPLE = {
    "1f468": "1f9d1",
    "1f469": "1f9d1",
    "1f466": "1f9d2",
    "1f467": "1f9d2",
    "1f474": "1f9d3",
    "1f475": "1f9d3",
}


class Concept(NamedTuple):
    """What emojibase (Unicode CLDR) says of one emoji."""

    code: str  # lower-case code points without fe0f and 200d, joined by "-"
    group: str  # the code with gender left out: drawings that share it share a split
    label: str  # Unicode subgroup
    theme: str  # Unicode group, which subgroups belong to
    tags: list[str]  # English keywords
    names: dict[str, str]  # language -> CLDR short name


class Drawing(NamedTuple):
    """One picture of a concept in one style; ``art`` is SVG text or the bytes of a picture file."""

    sample_id: str
    style: str
    concept: Concept
    art: str | bytes


def code_of(hexcode: str) -> str:
    """Code points in lower case, without the two that only join or color others.

    >>> code_of("1F9D1-200D-2695-FE0F")
    '1f9d1-2695'
    """
    return "-".join(part for part in hexcode.lower().split("-") if part not in ("fe0f", "200d"))


def group_of(code: str) -> str:
    """Leave gender out, as the man, the woman and the person of one concept are nearly the same drawing.

    >>> group_of("1f469-2695"), group_of("1f9d1-2695"), group_of("1f3c3-2640")
    ('1f9d1-2695', '1f9d1-2695', '1f3c3')
    """
    return "-".join(PEOPLE.get(part, part) for part in code.split("-") if part not in ("2640", "2642"))


def squeeze(name: str) -> str:
    """Letters and digits alone.

    >>> squeeze("Beer mug"), squeeze("beer-mug")
    ('beermug', 'beermug')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_concepts(words: Mapping[str, bytes], min_tags: int) -> dict[str, Concept]:
    """Code -> concept, for every emoji that has a subgroup, so many tags and a name in every language."""
    meta = json.loads(words["meta/groups.json"])
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for language in LANGUAGES:
        for entry in json.loads(words[f"{language}/data.json"]):
            names[code_of(entry["hexcode"])][language] = entry["label"]
    concepts = {}
    for entry in json.loads(words["en/data.json"]):
        code, tags = code_of(entry["hexcode"]), sorted(set(entry.get("tags", [])) - {entry["label"]})
        if "subgroup" in entry and len(tags) >= min_tags and len(names[code]) == len(LANGUAGES):
            label, theme = meta["subgroups"][str(entry["subgroup"])], meta["groups"][str(entry["group"])]
            concepts[code] = Concept(code, group_of(code), label, theme, tags, names[code])
    return concepts


def draw_tags(drawing: Drawing) -> str:
    """The text of a row: two of the concept's tags; fewer where it has no more."""
    tags = drawing.concept.tags
    return ", ".join(random.Random(f"{drawing.sample_id}|text").sample(tags, min(TAGS_PER_ROW, len(tags))))


def read_drawings(tarballs: Mapping[str, Path], words: Path, min_tags: int) -> list[Drawing]:
    """Every drawing of every concept; ``tarballs`` are the styles, ``words`` is the package of concepts."""
    said = members(words)
    return find_drawings({style: members(tarball) for style, tarball in tarballs.items()}, said, min_tags)


def find_drawings(
    packages: Mapping[str, Mapping[str, bytes]], words: Mapping[str, bytes], min_tags: int
) -> list[Drawing]:
    """The same from the files inside the packages; the first drawing of a concept in a style counts."""
    concepts = read_concepts(words, min_tags)
    code_of_name: dict[str, str] = {}
    for package in packages.values():
        for code, name in json.loads(package.get("chars.json", b"{}")).items():
            code_of_name.setdefault(squeeze(name), code_of(code))
    for concept in concepts.values():
        code_of_name.setdefault(squeeze(concept.names["en"]), concept.code)
    for code, name in json.loads(words["meta/unicode-names.json"]).items():
        code_of_name.setdefault(squeeze(name), code_of(code))

    drawings: dict[str, Drawing] = {}
    for style, package in packages.items():
        for code, art in _read_art(package, code_of_name):
            if code in concepts:
                sample_id = f"{style}-{code}"
                drawings.setdefault(sample_id, Drawing(sample_id, style, concepts[code], art))
    return list(drawings.values())


def _read_art(package: Mapping[str, bytes], code_of_name: Mapping[str, str]) -> Iterator[tuple[str, str | bytes]]:
    """Yield (code, art) of a style, in the order of names. Icons are found by code point, else by name."""
    if "icons.json" not in package:
        for path in sorted(package):
            if path.startswith("assets/"):
                yield code_of(Path(path).stem), package[path]
        return
    icons = json.loads(package["icons.json"])
    own = {name: code_of(code) for code, name in json.loads(package["chars.json"]).items()}
    for name, icon in sorted(icons["icons"].items()):
        code = own.get(name) or code_of_name.get(squeeze(name))
        if code and not icon.get("hidden"):
            left, top, width, height = (
                icon.get(side, icons.get(side, default))
                for side, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
            )
            body = icon["body"].replace("currentColor", "#000")
            art = (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>'
            )
            yield code, art


def sizes_of_groups(drawings: Iterable[Drawing]) -> dict[str, dict[str, int]]:
    """Subgroup -> group of concepts -> number of drawings: what splits are drawn from."""
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for drawing in drawings:
        sizes[drawing.concept.label][drawing.concept.group] += 1
    return sizes


def large_subgroups(drawings: Iterable[Drawing], min_concepts: int) -> set[str]:
    """The subgroups of which at least so many concepts are drawn."""
    concepts: dict[str, set[str]] = defaultdict(set)
    for drawing in drawings:
        concepts[drawing.concept.label].add(drawing.concept.code)
    return {label for label, codes in concepts.items() if len(codes) >= min_concepts}
