"""Fetch the Tux Paint stamps: pictures, what they are called in twelve languages, and people saying it.

    make data-tuxpaint                # needs apt-get and dpkg-deb (Debian, Ubuntu); fetches 161 MB

One row is one stamp in one language; the label is the stamp's outermost folder, where at least twelve stamps have
speech. The recordings are the original ones (Ogg Vorbis); pictures are rendered in a square on white. All is GPL-2, by
Bill Kendrick and many others (see the package's own notice): it may be used, but is not committed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rawdata.debian import Package, fetch
from rawdata.files import pack, write, write_manifest, write_sums
from rawdata.splits import divide
from rawdata.tuxpaint import Stamp, groups_of, in_large_folders, read_stamps, sizes_of_groups

try:
    from tqdm import tqdm

    from rawdata.pictures import render
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install -r scripts/requirements-data.txt, then run this again.")

PACKAGE = Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
STAMPS = "./usr/share/tuxpaint/stamps/"
MANIFEST, PICTURES = "tux-13.csv", "image.zip"
MIN_STAMPS = 12
IMAGE_SIDE, WEBP_QUALITY = 160, 80


def members(package: Path) -> dict[str, bytes]:
    """Path below the stamps' folder -> content, unpacked but not installed."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacked,
        tarfile.open(fileobj=unpacked.stdout, mode="r|") as tar,
    ):
        return {
            entry.name.removeprefix(STAMPS): file.read()
            for entry in tar
            if entry.name.startswith(STAMPS) and entry.isfile() and (file := tar.extractfile(entry))
        }


def draw(picture: str, content: bytes) -> bytes:
    """A picture of the package as WebP."""
    return render(content.decode() if picture.endswith(".svg") else content, IMAGE_SIDE, WEBP_QUALITY)


def write_media(out: Path, stamps: Sequence[Stamp], files: dict[str, bytes]) -> None:
    """One archive of pictures, and one of recordings a language; those that are there are not made again."""
    if not (out / PICTURES).exists():
        pictures = [(f"{s.name}.webp", draw(s.picture, files[s.picture])) for s in tqdm(stamps, "stamps", unit="")]
        write(out / PICTURES, pack(pictures))
    recordings: dict[str, list[str]] = defaultdict(list)
    for stamp in stamps:
        for language, path in stamp.speech.items():
            recordings[language].append(path)
    for language, paths in tqdm(sorted(recordings.items()), "languages", unit=""):
        if not (out / f"audio-{language}.zip").exists():
            write(out / f"audio-{language}.zip", pack((path, files[path]) for path in paths))


def rows_of(stamps: Sequence[Stamp], files: dict[str, bytes]) -> list[dict[str, str]]:
    """The manifest."""
    group_of = groups_of(stamps, files)
    split_of = divide(sizes_of_groups(stamps, group_of))
    return [
        {
            "sample_id": f"{stamp.name.replace('/', '.')}.{language}",
            "image": f"{PICTURES}/{stamp.name}.webp",
            "text": stamp.texts[language],
            "audio": f"audio-{language}.zip/{path}",
            "label": stamp.label,
            "split": split_of[group_of[stamp.name]],
            "group": group_of[stamp.name],
            "meta_style": "drawn" if stamp.picture.endswith(".svg") else "painted",
            "meta_language": language,
        }
        for stamp in stamps
        for language, path in stamp.speech.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the Tux Paint stamps and write their manifest.")
    parser.add_argument("--out", type=Path, default=Path("data/01_raw/tuxpaint"), help="folder to write")
    out = parser.parse_args().out
    if (out / "SHA256SUMS").exists():
        print(f"{out} is complete; delete it to build it again.")
        return
    out.mkdir(parents=True, exist_ok=True)
    package = fetch([PACKAGE], out)[PACKAGE.name]
    files = members(package)
    stamps = in_large_folders(read_stamps(files), MIN_STAMPS)
    write_media(out, stamps, files)
    rows = rows_of(stamps, files)
    write_manifest(out / MANIFEST, rows)
    write_sums(out, [*sorted(out.glob("*.zip")), out / MANIFEST])
    package.unlink()
    print(f"{out / MANIFEST}: {len(rows):,} rows, {len({row['label'] for row in rows})} classes")


if __name__ == "__main__":
    main()
