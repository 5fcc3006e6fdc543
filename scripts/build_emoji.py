"""Build the committed three-modality emoji data set from pinned npm packages, byte for byte.

One row is one drawing of one concept: its picture, two of its English keywords, and its name spoken by
a synthetic voice in one of six languages, mostly under noise. The label is the Unicode subgroup.

    pip install -r scripts/requirements-data.txt          # Python 3.11; also needs npm on the PATH
    python scripts/build_emoji.py --out data/01_raw/emoji

Every random choice is seeded by the sample id, and rows are spoken in one fixed order. The bytes are the same
on every run; this was checked on Linux x86-64, and another processor may round sound otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rawdata.emoji import STYLE_3D, STYLES, WORDS, Drawing, draw_tags, read_drawings
from rawdata.files import Shards, write_manifest, write_sums
from rawdata.npm import fetch
from rawdata.splits import SPLIT_SHARE, digest, divide
from rawdata.utterances import draw_utterance

try:
    from rawdata.pictures import render
    from rawdata.speech import Voice, speak
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install -r scripts/requirements-data.txt, then run this again.")

FREE = ("noto", "noto-v1", "fluent-flat", "fluent-color", "fluent-contrast")  # Apache-2.0 and MIT
PACKAGES = {**{style: STYLES[style] for style in FREE}, "fluent-3d": STYLE_3D}

MIN_CONCEPTS_PER_CLASS, MIN_TAGS = 8, 2
MAX_ROWS_PER_CONCEPT, MAX_ROWS_PER_CLASS = 8, 140
NO_CLASS = {
    "family",  # the same few people in every combination
    "country-flag",  # no pinned package draws flags under a licence that is known for sure
}
IMAGE_SIDE, WEBP_QUALITY = 80, 60
SNR_DB = (5.0, 20.0)
SHARD_BYTES = 2 * 1024 * 1024


def choose(drawings: Iterable[Drawing]) -> dict[str, list[Drawing]]:
    """Split name -> drawings. Concepts stay whole; every class of enough concepts occurs in every split."""
    classes: dict[str, dict[str, list[Drawing]]] = defaultdict(lambda: defaultdict(list))
    for drawing in drawings:
        classes[drawing.concept.label][drawing.concept.group].append(drawing)
    kept: dict[str, dict[str, list[Drawing]]] = {}
    for label, groups in classes.items():
        if len(groups) >= MIN_CONCEPTS_PER_CLASS and label not in NO_CLASS:
            kept[label] = _capped(label, groups)
    split_of = divide({label: {group: len(rows) for group, rows in groups.items()} for label, groups in kept.items()})
    splits: dict[str, list[Drawing]] = {split: [] for split in SPLIT_SHARE}
    for groups in kept.values():
        for group, rows in groups.items():
            splits[split_of[group]] += rows
    return {split: sorted(rows, key=lambda drawing: drawing.sample_id) for split, rows in splits.items()}


def _capped(label: str, groups: dict[str, list[Drawing]]) -> dict[str, list[Drawing]]:
    """The groups of a class that fit under both caps, in random order."""
    kept: dict[str, list[Drawing]] = {}
    n_rows = 0
    for group in sorted(groups, key=lambda group: digest(label, group)):
        rows = sorted(groups[group], key=lambda drawing: digest(drawing.sample_id))[:MAX_ROWS_PER_CONCEPT]
        if n_rows + len(rows) <= MAX_ROWS_PER_CLASS:
            kept[group] = rows
            n_rows += len(rows)
    return kept


def build(out: Path, tarballs: dict[str, Path]) -> None:
    """Write shards, manifest and sums into ``out``; its LICENSES.md, which is written by hand, stays."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("*.zip"):
        stale.unlink()
    images, audios, voice = Shards(out, "image", SHARD_BYTES), Shards(out, "audio", SHARD_BYTES), Voice()
    styles = {style: tarballs[style] for style in PACKAGES}
    rows: list[dict[str, str]] = []
    for split, drawings in choose(read_drawings(styles, tarballs["words"], MIN_TAGS)).items():
        for drawing in drawings:
            sample_id, style, concept, art = drawing
            how = draw_utterance(sample_id, SNR_DB)
            opus = speak(voice, concept.names[how.language], how)
            rows.append(
                {
                    "sample_id": sample_id,
                    "image": images.add(f"{sample_id}.webp", render(art, IMAGE_SIDE, WEBP_QUALITY)),
                    "text": draw_tags(drawing),
                    "audio": audios.add(f"{sample_id}.opus", opus),
                    "label": concept.label,
                    "split": split,
                    "group": concept.group,
                    "meta_style": style,
                    "meta_language": how.language,
                }
            )
    images.close()
    audios.close()
    write_manifest(out / "manifest.csv", rows)
    write_sums(out, [*sorted(out.glob("*.zip")), out / "manifest.csv"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the emoji data set from pinned npm packages.")
    parser.add_argument("--out", type=Path, default=Path("data/01_raw/emoji"), help="folder to write")
    parser.add_argument("--tarballs", type=Path, help="folder that keeps the npm tarballs (default: none)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.tarballs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        build(arguments.out, fetch({**PACKAGES, "words": WORDS}, folder))


if __name__ == "__main__":
    main()
