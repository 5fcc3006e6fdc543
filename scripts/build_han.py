"""Build the Han characters: what a character looks like and what it means, from pinned Debian packages.

One row is one character of Unicode's Unihan database: its picture in one of four typefaces, and its English definition.
The label is the radical under which dictionaries file it: a part of the picture that hints at the meaning. Characters
that are variants of each other (simplified, traditional, "same as"), or are defined in the same words, share a split.

    pip install -r scripts/requirements-data.txt          # Python 3.11; also needs apt-get and dpkg-deb on the PATH
    python scripts/build_han.py --out data/01_raw/han

Every random choice is seeded by the sample id; the bytes are the same on every run. Nothing of it is committed: the
typefaces are under the Arphic Public License, GPL-2 with the font exception, and the SIL Open Font License, Unihan is
under the licence of Unicode. LICENSES.md, which is written beside the data, repeats what the packages say.
"""

from __future__ import annotations

import argparse
import bz2
import io
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rawdata.debian import Package, fetch
from rawdata.files import Shards, write, write_manifest, write_sums
from rawdata.splits import SPLIT_SHARE, digest, divide

try:
    from fontTools.ttLib import TTFont
    from PIL import Image, ImageDraw, ImageFont
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install -r scripts/requirements-data.txt, then run this again.")

SHARD_BYTES = 2 * 1024 * 1024
PACKAGES = tuple(
    Package(*pinned)
    for pinned in (
        ("unicode-data", "15.0.0-1", "5efef23bbb1c6a133ecbdd63a2cfa07159ccacf5466a49e2426101c5ecd691fc"),
        ("fonts-arphic-ukai", "0.2.20080216.2-5", "b9db73184895b067f7911f9adbf3b137df99c2d4ec5425b4ad779a9834b7110b"),
        ("fonts-arphic-uming", "0.2.20080216.2-11", "2676b21b90df94f23418610291b71b43720c95cdccb420b97ab56edfd3ce4cf5"),
        ("fonts-wqy-zenhei", "0.9.45-8", "cfed2c29164ff2f133e40ed2046610b172b8618d174840936ac4ec9b6fd668e7"),
        ("fonts-hanazono", "20170904-2.1", "a6943366b4f5a6cec34221f8b4eb22555a628f0ee6ef4e3d3401cabe9363aeae"),
    )
)
FONTS = {  # brush, print, sans serif, print drawn stroke by stroke
    "kai": "usr/share/fonts/truetype/arphic/ukai.ttc",
    "ming": "usr/share/fonts/truetype/arphic/uming.ttc",
    "hei": "usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "hana": "usr/share/fonts/truetype/hanazono/HanaMinA.ttf",
}
UNIHAN = "usr/share/unicode"
RELATIVES = {
    "kSimplifiedVariant",
    "kTraditionalVariant",
    "kSemanticVariant",
    "kSpecializedSemanticVariant",
    "kZVariant",
}

MIN_GROUPS_PER_CLASS, MAX_ROWS_PER_CLASS = 60, 220
IMAGE_SIDE, GLYPH_SIZE = 96, 84
MANIFEST = "manifest.csv"
COLUMNS = ("sample_id", "image", "text", "label", "split", "group", "meta_typeface")

POINTER = re.compile(r"\((?:[^()]*\b(?:same as|form|variant|interchangeable|abbreviated|simplified)\b[^()]*)\)", re.I)
GIVEAWAY = re.compile(r"[^,;.()]*\brad(?:ical|\.)[^,;.()]*", re.I)  # definitions that name the radical
NOT_ENGLISH = re.compile(r"U\+[0-9A-F]{4,5}|[\u2e80-\U0010ffff]")
MENTION = re.compile(r"U\+([0-9A-F]{4,5})")


class Character(NamedTuple):
    """What Unihan says of one character."""

    sample_id: str  # "u6c5f"
    group: str  # the least code of all its variants and of all that are defined in the same words
    text: str  # English definition, without pointers to other characters and without the radical's name
    label: str  # the radical's Unicode name, "water"

    @property
    def glyph(self) -> str:
        return chr(int(self.sample_id[1:], 16))


def read_unihan(file: Path, keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """``"U+6C5F"`` -> key -> value, of one file of the database."""
    wanted, found = set(keys), defaultdict[str, dict[str, str]](dict)
    with bz2.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("U+"):
                code, key, value = line.rstrip("\n").split("\t")
                if key in wanted:
                    found[code][key] = value
    return dict(found)


def plain(definition: str) -> str:
    """English alone: no pointers to other characters, no word on the radical, which is what is asked.

    >>> plain("(same as U+60E1 惡) to hate; Kangxi radical 61, to loathe")
    'to hate; to loathe'
    """
    text = NOT_ENGLISH.sub("", GIVEAWAY.sub("", POINTER.sub("", definition)))
    parts = [" ".join(part.split()) for part in re.split(r"([,;])", text)]
    kept = ""
    for part, mark in zip(parts[::2], [*parts[1::2], ""], strict=True):
        kept += f"{part}{mark} " if re.search(r"[A-Za-z]{2}", part) else ""
    return kept.strip(" ,;.")


def groups_of(related: Mapping[str, set[str]]) -> dict[str, str]:
    """Code -> the least code it is related to over any number of steps."""
    leader: dict[str, str] = {}

    def find(code: str) -> str:
        while (above := leader.setdefault(code, code)) != code:
            code = above
        return code

    for code, others in sorted(related.items()):
        for other in sorted(others):
            first, second = sorted((find(code), find(other)))
            leader[second] = first
    return {code: find(code) for code in [*leader, *related]}


def read_characters(folder: Path) -> list[Character]:
    """Every character that has an English definition and more strokes than its radical alone."""
    definitions = read_unihan(folder / "Unihan_Readings.txt.bz2", ["kDefinition"])
    radicals = read_unihan(folder / "Unihan_IRGSources.txt.bz2", ["kRSUnicode", "kCompatibilityVariant"])
    variants = read_unihan(folder / "Unihan_Variants.txt.bz2", RELATIVES)
    names = {}
    for line in (folder / "UnicodeData.txt").read_text(encoding="utf-8").splitlines():
        code, name, *_ = line.split(";")
        if name.startswith("KANGXI RADICAL "):
            names[int(code, 16) - 0x2F00 + 1] = name.removeprefix("KANGXI RADICAL ").lower()

    texts = {code: plain(said["kDefinition"]) for code, said in sorted(definitions.items())}
    first_of = {text: code for code, text in reversed(texts.items())}
    related = {code: {first_of[text]} if text else set() for code, text in texts.items()}
    for code in texts:
        related[code] |= {f"U+{other}" for other in MENTION.findall(definitions[code]["kDefinition"])}
        for value in variants.get(code, {}).values():
            related[code] |= {other.split("<")[0] for other in value.split()}
    leader = groups_of(related)
    found = []
    for code, text in texts.items():
        radical, strokes = radicals[code]["kRSUnicode"].split()[0].replace("'", "").split(".")
        if text and int(strokes) > 0 and "kCompatibilityVariant" not in radicals[code]:  # which would be a second copy
            found.append(Character(id_of(code), id_of(leader[code]), text, names[int(radical)]))
    return found


def id_of(code: str) -> str:
    """``"U+6C5F"`` -> ``"u6c5f"``."""
    return f"u{code[2:].lower()}"


def choose_rows(characters: Iterable[Character]) -> list[tuple[str, Character]]:
    """(split, character), by split and id: classes of enough groups, none above its share, groups whole in a split."""
    by_chance = sorted(characters, key=lambda character: digest(character.sample_id))
    groups = defaultdict[str, set[str]](set)
    for character in by_chance:
        groups[character.label].add(character.group)
    taken: dict[str, list[Character]] = defaultdict(list)
    for character in by_chance:
        if len(groups[character.label]) >= MIN_GROUPS_PER_CLASS and len(taken[character.label]) < MAX_ROWS_PER_CLASS:
            taken[character.label].append(character)
    split_of = divide({label: Counter(character.group for character in rows) for label, rows in taken.items()})
    rows = [(split_of[character.group], character) for rows in taken.values() for character in rows]
    return sorted(rows, key=lambda row: (list(SPLIT_SHARE).index(row[0]), row[1].sample_id))


class Typefaces:
    """Draws a character in the typeface that chance gives it, among those that have it."""

    def __init__(self, root: Path) -> None:
        paths = {name: root / path for name, path in FONTS.items()}
        self._font = {name: ImageFont.truetype(path, GLYPH_SIZE) for name, path in paths.items()}
        self._codes = {name: set(TTFont(path, fontNumber=0).getBestCmap()) for name, path in paths.items()}

    def draw(self, character: Character) -> tuple[str, bytes] | None:
        """The name of the typeface and a PNG, black on white; None where no typeface has the character."""
        for name in sorted(FONTS, key=lambda name: digest(character.sample_id, name)):
            if ord(character.glyph) in self._codes[name]:
                picture = Image.new("L", (IMAGE_SIDE, IMAGE_SIDE), 255)
                middle = (IMAGE_SIDE / 2, IMAGE_SIDE / 2)
                ImageDraw.Draw(picture).text(middle, character.glyph, fill=0, font=self._font[name], anchor="mm")
                if picture.getextrema() != (255, 255):  # some typefaces list characters that they leave blank
                    file = io.BytesIO()
                    picture.quantize(16).save(file, "PNG", optimize=True)
                    return name, file.getvalue()
        return None


def licences_of(root: Path) -> str:
    """The copyright file of every package, in one page."""
    pages = [f"# Han characters: whose they are\n\nBuilt from Debian packages by {Path(__file__).name}.\n"]
    for name, version, _ in PACKAGES:
        text = (root / "usr/share/doc" / name / "copyright").read_text(encoding="utf-8", errors="replace")
        pages.append(f"## {name} {version}\n\n```\n{text.rstrip()}\n```\n")
    return "\n".join(pages)


def build(out: Path, packages: Mapping[str, Path]) -> None:
    """Write shards, manifest, licences and sums into ``out``."""
    for stale in out.glob("*.zip"):
        stale.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for package in packages.values():
            subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
        images, typefaces = Shards(out, "image", SHARD_BYTES), Typefaces(root)
        rows = []
        for split, character in choose_rows(read_characters(root / UNIHAN)):
            if drawn := typefaces.draw(character):
                typeface, png = drawn
                image = images.add(f"{character.sample_id}.png", png)
                cells = (character.sample_id, image, character.text, character.label, split, character.group, typeface)
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
        images.close()
        write_manifest(out / MANIFEST, rows, COLUMNS)
        write(out / "LICENSES.md", licences_of(root).encode())
    write_sums(out, [*sorted(out.glob("*.zip")), out / MANIFEST])


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the Han characters from pinned Debian packages.")
    parser.add_argument("--out", type=Path, default=Path("data/01_raw/han"), help="folder to write")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    packages = fetch(PACKAGES, arguments.out)
    build(arguments.out, packages)
    for package in packages.values():
        package.unlink()


if __name__ == "__main__":
    main()
