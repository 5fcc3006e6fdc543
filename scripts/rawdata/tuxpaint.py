"""Tux Paint stamps: which have recorded speech, and which belong together."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SPEECH = re.compile(r"(?P<stamp>.+)_desc(_(?P<language>[a-z]+))?\.ogg")


class Stamp(NamedTuple):
    """A picture, and what is written and said of it.

    Attributes:
        name: path without its ending, ``animals/birds/robin``.
        picture: file of the picture.
        texts, speech: language -> words, and file of the recording; the same languages in both.
    """

    name: str
    picture: str
    texts: dict[str, str]
    speech: dict[str, str]

    @property
    def label(self) -> str:
        """The outermost folder."""
        return self.name.split("/")[0]


def read_texts(description: str) -> dict[str, str]:
    """Language -> words, of a stamp's ``.txt``: English in the first line, then ``de.utf8=…``.

    >>> read_texts("A robin.\\nde.utf8=Ein Rotkehlchen.\\nfr.utf8=\\n")
    {'en': 'A robin.', 'de': 'Ein Rotkehlchen.'}
    """
    english, *others = description.splitlines() or [""]
    texts = {"en": english.strip()}
    for line in others:
        language, found, words = line.partition(".utf8=")
        if found:
            texts.setdefault(language.strip(), words.strip())
    return {language: words for language, words in texts.items() if words}


def read_stamps(files: Mapping[str, bytes]) -> list[Stamp]:
    """Every stamp that has a picture and, in at least one language, both words and speech; by name.

    Args:
        files: path below the stamps' folder -> content. Where there is a drawn and a painted picture, the painted
            one (PNG) is taken.
    """
    speech: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(files):
        if match := SPEECH.fullmatch(path):
            speech[match["stamp"]][match["language"] or "en"] = path
    stamps = []
    for name, spoken in sorted(speech.items()):
        picture = next((path for path in (f"{name}.png", f"{name}.svg") if path in files), None)
        texts = read_texts(files.get(f"{name}.txt", b"").decode("utf-8", errors="replace"))
        both = sorted(set(texts) & set(spoken))
        if picture and both:
            kept = ({language: found[language] for language in both} for found in (texts, spoken))
            stamps.append(Stamp(name, picture, *kept))
    return stamps


def in_large_folders(stamps: Sequence[Stamp], min_stamps: int) -> list[Stamp]:
    """The stamps whose outermost folder has at least so many."""
    names: dict[str, list[str]] = defaultdict(list)
    for stamp in stamps:
        names[stamp.label].append(stamp.name)
    return [stamp for stamp in stamps if len(names[stamp.label]) >= min_stamps]


def groups_of(stamps: Sequence[Stamp], files: Mapping[str, bytes]) -> dict[str, str]:
    """Stamp -> group, named by its first stamp.

    Stamps that share a picture, a recording or the words of a language are one group, and so are those that hang
    together by others: in two splits, the one would be known from the other.
    """
    media: dict[tuple[str, ...], int] = {}
    edges = [
        (number, media.setdefault(medium, len(media)))
        for number, stamp in enumerate(stamps)
        for medium in _media_of(stamp, files)
    ]
    owners, shared = zip(*edges, strict=True)
    n_nodes = len(stamps) + len(media)
    links = coo_array(([1] * len(edges), (owners, [len(stamps) + m for m in shared])), shape=(n_nodes, n_nodes))
    _, parts = connected_components(links, directed=False)
    first: dict[int, str] = {}
    return {stamp.name: first.setdefault(parts[number], stamp.name) for number, stamp in enumerate(stamps)}


def _media_of(stamp: Stamp, files: Mapping[str, bytes]) -> Iterable[tuple[str, ...]]:
    for path in (stamp.picture, *stamp.speech.values()):
        yield "file", hashlib.sha256(files[path]).hexdigest()
    for language, words in stamp.texts.items():
        yield "words", language, words


def sizes_of_groups(stamps: Iterable[Stamp], group_of: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Folder -> group -> number of rows (a row is a stamp in a language): what splits are drawn from."""
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for stamp in stamps:
        sizes[stamp.label][group_of[stamp.name]] += len(stamp.speech)
    return sizes
