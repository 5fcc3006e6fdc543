"""Fetch and build the full emoji benchmark: every concept in ten styles, as picture, keywords and speech.

    make data-emoji                                       # needs npm on the PATH

Two manifests lie over the same media: emoji-70.csv (label: the Unicode subgroup, where it has at least eight concepts)
and emoji-9.csv (label: the Unicode group). Concepts stay whole in one split, which is the same in both. The art of
some styles is CC BY or CC BY-SA: it may be used, but is not committed; SOURCES.md, which is written along, says whose
it is. The speech is synthetic (espeak-ng), at 0 to 20 dB over the noise.

Media are made in parts of a thousand drawings. Each part is spoken by a process of its own, since espeak-ng carries
its oscillators from one utterance to the next; a part that is there is not made again, so a stopped build goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rawdata.emoji import (
    STYLES,
    WORDS,
    Drawing,
    draw_tags,
    large_subgroups,
    read_drawings,
    sizes_of_groups,
)
from rawdata.files import pack, write, write_manifest, write_sums
from rawdata.npm import fetch, members
from rawdata.splits import divide
from rawdata.utterances import draw_utterance

try:
    from tqdm import tqdm

    from rawdata.pictures import render
    from rawdata.speech import Voice, speak
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install -r scripts/requirements-data.txt, then run this again.")

MIN_CONCEPTS = 8
NO_THEME = "component"  # skin tones: parts of emoji
IMAGE_SIDE, WEBP_QUALITY = 80, 60
SNR_DB = (0.0, 20.0)
PART = 1000  # drawings


def make_part(job: tuple[Path, int, Sequence[Drawing]]) -> int:
    """Write the pictures and the speech of a part, given by folder and number; answer how many drawings it has."""
    out, number, drawings = job
    voice = Voice()
    pictures, speech = [], []
    for sample_id, _, concept, art in drawings:
        how = draw_utterance(sample_id, SNR_DB)
        speech.append((f"{sample_id}.opus", speak(voice, concept.names[how.language], how)))
        pictures.append((f"{sample_id}.webp", render(art, IMAGE_SIDE, WEBP_QUALITY)))
    for path, files in zip(archives(out, number), (pictures, speech), strict=True):
        write(path, pack(files))
    return len(drawings)


def archives(out: Path, number: int) -> tuple[Path, Path]:
    """Where a part's pictures and speech lie."""
    return out / f"image-{number:02d}.zip", out / f"audio-{number:02d}.zip"


def make_parts(out: Path, parts: Sequence[Sequence[Drawing]], workers: int) -> None:
    """Make the parts that are not there yet."""
    missing = [n for n in range(len(parts)) if not all(path.exists() for path in archives(out, n))]
    total = sum(len(part) for part in parts)
    done = total - sum(len(parts[n]) for n in missing)
    jobs = [(out, n, parts[n]) for n in missing]
    with (
        tqdm(total=total, initial=done, desc="drawings", unit="") as bar,
        multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=1) as pool,
    ):
        for made in pool.imap_unordered(make_part, jobs):
            bar.update(made)


def rows_of(out: Path, parts: Sequence[Sequence[Drawing]], split_of: dict[str, str]) -> list[dict[str, str]]:
    """The manifest by subgroup, small ones included."""
    rows = []
    for number, part in enumerate(parts):
        image, audio = archives(out, number)
        for drawing in part:
            sample_id, style, concept, _ = drawing
            rows.append(
                {
                    "sample_id": sample_id,
                    "image": f"{image.name}/{sample_id}.webp",
                    "text": draw_tags(drawing),
                    "audio": f"{audio.name}/{sample_id}.opus",
                    "label": concept.label,
                    "split": split_of[concept.group],
                    "group": concept.group,
                    "meta_style": style,
                    "meta_language": draw_utterance(sample_id, SNR_DB).language,
                }
            )
    return rows


def sources(tarballs: dict[str, Path]) -> str:
    """Whose the drawings are, as their packages say."""
    lines = ["# Whose this is", "", "| style | package | licence | author |", "|---|---|---|---|"]
    for style, package in STYLES.items():
        info = json.loads(members(tarballs[style])["info.json"])
        licence, author = info["license"], info["author"]
        lines.append(
            f"| {style} | {package.name} {package.version} | [{licence['title']}]({licence['url']}) "
            f"| [{author['name']}]({author['url']}) |"
        )
    return "\n".join(
        [
            *lines,
            "",
            "Mozilla puts the design of fxemoji under CC BY 4.0. Every picture was rendered anew, small, on white.",
            f"Keywords and names: {WORDS.name} {WORDS.version} (MIT), Unicode CLDR (Unicode-3.0).",
            "The speech is synthetic, made by espeak-ng.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch and build the full emoji benchmark.")
    parser.add_argument("--out", type=Path, default=Path("data/01_raw/emoji-full"), help="folder to write")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args()
    out, packages = arguments.out, arguments.out / "packages"
    if (out / "SHA256SUMS").exists():
        print(f"{out} is complete; delete it to build it again.")
        return
    packages.mkdir(parents=True, exist_ok=True)
    tarballs = fetch({**STYLES, "words": WORDS}, packages)
    found = read_drawings({style: tarballs[style] for style in STYLES}, tarballs["words"], min_tags=0)
    drawings = sorted((d for d in found if d.concept.theme != NO_THEME), key=lambda drawing: drawing.sample_id)
    parts = [drawings[start : start + PART] for start in range(0, len(drawings), PART)]
    make_parts(out, parts, arguments.workers)

    rows = rows_of(out, parts, divide(sizes_of_groups(drawings)))
    large = large_subgroups(drawings, MIN_CONCEPTS)
    theme = {drawing.concept.label: drawing.concept.theme for drawing in drawings}
    manifests = {
        "emoji-70.csv": [row for row in rows if row["label"] in large],
        "emoji-9.csv": [{**row, "label": theme[row["label"]]} for row in rows],
    }
    for name, kept in manifests.items():
        write_manifest(out / name, kept)
        print(f"{out / name}: {len(kept):,} rows, {len({row['label'] for row in kept})} classes")
    write(out / "SOURCES.md", sources(tarballs).encode())
    write_sums(out, [*sorted(out.glob("*.zip")), *(out / name for name in manifests)])
    shutil.rmtree(packages)


if __name__ == "__main__":
    main()
