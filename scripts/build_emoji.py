"""Build the committed three-modality emoji data set from pinned npm packages, byte for byte.

One row is one drawing of one concept: its picture, two of its English keywords, and its name spoken by
a synthetic voice in one of six languages, mostly under noise. The label is the Unicode subgroup.

    pip install -r scripts/requirements-data.txt          # Python 3.11; also needs npm on the PATH
    python scripts/build_emoji.py --out data/01_raw/emoji

Every random choice is seeded by the sample id. espeak-ng carries its oscillators from one utterance to the
next, so rows are spoken in one fixed order. The bytes are the same on every run; this was checked on one
Linux x86-64 machine, and another processor may round sound otherwise.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import hashlib
import io
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

try:
    import av
    import espeakng_loader
    import numpy as np
    import resvg_py
    from PIL import Image
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install -r scripts/requirements-data.txt, then run this again.")
from shards import Shards, digest, write_sums

# Style (or "words") -> npm package, version; and the sha256 of each tarball.
PACKAGES = {
    "noto": ("@iconify-json/noto", "1.2.9"),
    "noto-v1": ("@iconify-json/noto-v1", "1.2.5"),
    "fluent-flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "fluent-color": ("@iconify-json/fluent-emoji", "1.2.7"),
    "fluent-contrast": ("@iconify-json/fluent-emoji-high-contrast", "1.2.6"),
    "fluent-3d": ("@lobehub/fluent-emoji-3d", "1.1.0"),
    "words": ("emojibase-data", "17.0.0"),
}
SHA256 = {
    "noto": "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "noto-v1": "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    "fluent-flat": "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    "fluent-color": "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
    "fluent-contrast": "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    "fluent-3d": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "words": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
}
STYLES = [style for style in PACKAGES if style != "words"]

MIN_CONCEPTS_PER_CLASS = 8
MAX_ROWS_PER_CONCEPT, MAX_ROWS_PER_CLASS = 8, 140
SPLIT_SHARE = {"pool": 0.68, "validation": 0.07, "test": 0.25}  # of the rows of a class
NO_CLASS = {
    "family",  # the same few people in every combination
    "country-flag",  # no pinned package draws flags under a licence that is known for sure
}

IMAGE_SIDE, WEBP_QUALITY = 80, 60
TAGS_PER_ROW = 2

VOICE_OF_LANGUAGE = {"en": "en-us", "de": "de", "es": "es", "fr": "fr", "it": "it", "pl": "pl"}
SHARE_ENGLISH = 0.5  # the other languages share the rest evenly
SPEAKERS = ["m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4", "f5"]
SAMPLE_RATE, MAX_SECONDS, BIT_RATE = 16_000, 2.5, 10_000
SHARE_CLEAN_SPEECH = 0.08
SNR_DB = (5.0, 20.0)

COLUMNS = ["sample_id", "image", "text", "audio", "label", "split", "group", "meta_style", "meta_language"]


class Concept(NamedTuple):
    """What emojibase (Unicode CLDR) says of one emoji."""

    code: str  # lower-case code points without fe0f and 200d, joined by "-"
    group: str  # the code with gender left out: drawings that share it share a split
    label: str  # Unicode subgroup
    tags: list[str]  # English keywords
    names: dict[str, str]  # language -> CLDR short name


class Drawing(NamedTuple):
    """One picture of a concept in one style; ``art`` is SVG text or the bytes of a picture file."""

    sample_id: str
    style: str
    concept: Concept
    art: str | bytes


def fetch(folder: Path) -> dict[str, Path]:
    """Pack every pinned npm package into ``folder``, check its sha256 and say where it lies."""
    if shutil.which("npm") is None:
        sys.exit("npm is missing: install Node.js, which brings it, then run this again.")
    tarballs = {}
    for key, (name, version) in PACKAGES.items():
        tarball = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
        if not tarball.exists():
            command = ["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", str(folder)]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                sys.exit(f"npm could not fetch {name}@{version}: is the registry within reach?")
        if (found := hashlib.sha256(tarball.read_bytes()).hexdigest()) != SHA256[key]:
            sys.exit(f"{tarball.name} has sha256 {found}, not the pinned: delete it and run this again.")
        tarballs[key] = tarball
    return tarballs


def members(tarball: Path) -> dict[str, bytes]:
    """File name inside an npm package -> its bytes."""
    with tarfile.open(tarball) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar if entry.isfile()}
        return {name.removeprefix("package/"): file.read() for name, file in files.items() if file}


PEOPLE = {
    "1f468": "1f9d1",
    "1f469": "1f9d1",
    "1f466": "1f9d2",
    "1f467": "1f9d2",
    "1f474": "1f9d3",
    "1f475": "1f9d3",
}


def code_of(hexcode: str) -> str:
    """``"1F9D1-200D-2695-FE0F"`` -> ``"1f9d1-2695"``."""
    return "-".join(part for part in hexcode.lower().split("-") if part not in ("fe0f", "200d"))


def group_of(code: str) -> str:
    """Leave gender out, as the man, the woman and the person of one concept are nearly the same drawing."""
    return "-".join(PEOPLE.get(part, part) for part in code.split("-") if part not in ("2640", "2642"))


def squeeze(name: str) -> str:
    """``"Beer mug"``, ``"beer-mug"`` and ``"beermug"`` -> ``"beermug"``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_concepts(words: dict[str, bytes]) -> dict[str, Concept]:
    """Code -> concept, for every emoji that has a subgroup, two tags and a name in every language."""
    subgroups = json.loads(words["meta/groups.json"])["subgroups"]
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for language in VOICE_OF_LANGUAGE:
        for entry in json.loads(words[f"{language}/data.json"]):
            names[code_of(entry["hexcode"])][language] = entry["label"]
    concepts = {}
    for entry in json.loads(words["en/data.json"]):
        code, tags = code_of(entry["hexcode"]), sorted(set(entry.get("tags", [])) - {entry["label"]})
        if "subgroup" in entry and len(tags) >= TAGS_PER_ROW and len(names[code]) == len(VOICE_OF_LANGUAGE):
            label = subgroups[str(entry["subgroup"])]
            concepts[code] = Concept(code, group_of(code), label, tags, names[code])
    return concepts


def read_art(package: dict[str, bytes], code_of_name: dict[str, str]) -> Iterator[tuple[str, str | bytes]]:
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


def read_drawings(tarballs: dict[str, Path]) -> list[Drawing]:
    """Every drawing of every concept in every style."""
    words = members(tarballs["words"])
    concepts = read_concepts(words)
    packages = {style: members(tarballs[style]) for style in STYLES}

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
        for code, art in read_art(package, code_of_name):
            if code in concepts:
                sample_id = f"{style}-{code}"
                drawings.setdefault(sample_id, Drawing(sample_id, style, concepts[code], art))
    return list(drawings.values())


def choose_splits(drawings: Iterable[Drawing]) -> dict[str, list[Drawing]]:
    """Split name -> drawings. Concepts stay whole; every class of enough concepts occurs in every split."""
    classes: dict[str, dict[str, list[Drawing]]] = defaultdict(lambda: defaultdict(list))
    for drawing in drawings:
        classes[drawing.concept.label][drawing.concept.group].append(drawing)
    splits: dict[str, list[Drawing]] = {split: [] for split in SPLIT_SHARE}
    for label, groups in sorted(classes.items()):
        if len(groups) < MIN_CONCEPTS_PER_CLASS or label in NO_CLASS:
            continue
        kept: list[Drawing] = []
        for group in sorted(groups, key=lambda group: digest(label, group)):
            shuffled = sorted(groups[group], key=lambda drawing: digest(drawing.sample_id))
            groups[group] = shuffled[:MAX_ROWS_PER_CONCEPT]
            if len(kept) + len(groups[group]) <= MAX_ROWS_PER_CLASS:
                kept += groups[group]
        wanted = {split: share * len(kept) for split, share in SPLIT_SHARE.items()}
        for group in dict.fromkeys(drawing.concept.group for drawing in kept):
            split = max(wanted, key=lambda split: wanted[split] / SPLIT_SHARE[split])
            splits[split] += groups[group]
            wanted[split] -= len(groups[group])
    return {split: sorted(rows, key=lambda drawing: drawing.sample_id) for split, rows in splits.items()}


def render(art: str | bytes) -> bytes:
    """Draw on white, in a square, as lossy WebP."""
    if isinstance(art, bytes):
        png = art
    else:
        png = bytes(resvg_py.svg_to_bytes(svg_string=art, width=2 * IMAGE_SIDE, skip_system_fonts=True))
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    picture.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (IMAGE_SIDE, IMAGE_SIDE), "white")
    canvas.alpha_composite(picture, ((IMAGE_SIDE - picture.width) // 2, (IMAGE_SIDE - picture.height) // 2))
    file = io.BytesIO()
    canvas.convert("RGB").save(file, "WEBP", quality=WEBP_QUALITY, method=6)
    return file.getvalue()


class Voice:
    """espeak-ng, through ctypes. Its own chance is seeded from the clock unless told otherwise."""

    RATE, PITCH, UTF8 = 1, 3, 1

    def __init__(self) -> None:
        self._espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate = self._espeak.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
        self._heard: list[np.ndarray] = []
        samples_type = ctypes.POINTER(ctypes.c_short)
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, samples_type, ctypes.c_int, ctypes.c_void_p)
        self._callback = callback_type(self._hear)  # kept alive here: C holds only a pointer to it
        self._espeak.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, words: str, voice: str, rate: int, pitch: int, seed: int) -> np.ndarray:
        """float64[T] in [-1, 1] at ``sample_rate``; ``rate`` in words a minute, ``pitch`` in 0 to 99."""
        self._heard.clear()
        self._espeak.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        if self._espeak.espeak_SetVoiceByName(voice.encode()):
            sys.exit(f"espeak-ng has no voice {voice}: install the pinned espeakng-loader.")
        self._espeak.espeak_SetParameter(self.RATE, rate, 0)
        self._espeak.espeak_SetParameter(self.PITCH, pitch, 0)
        text = words.encode() + b"\0"
        self._espeak.espeak_Synth(text, len(text), 0, 0, 0, self.UTF8, None, None)
        self._espeak.espeak_Synchronize()
        return np.concatenate(self._heard) / 32768.0


def speak(voice: Voice, sample_id: str, names: dict[str, str]) -> tuple[str, bytes]:
    """The language drawn for a row, and the concept's name in it: trimmed, mostly noisy, 2.5 s at most."""
    draw = random.Random(f"{sample_id}|audio")
    others = sorted(set(VOICE_OF_LANGUAGE) - {"en"})
    language = "en" if draw.random() < SHARE_ENGLISH else draw.choice(others)
    speaker, rate, pitch = draw.choice(SPEAKERS), draw.randint(110, 150), draw.randint(30, 70)
    speech = voice.say(
        names[language], f"{VOICE_OF_LANGUAGE[language]}+{speaker}", rate, pitch, seed=draw.getrandbits(31)
    )
    loud = np.flatnonzero(np.abs(speech) > 0.01)
    speech = speech[loud[0] : loud[-1] + 1]
    speech = resample(speech, voice.sample_rate)[: int(MAX_SECONDS * SAMPLE_RATE)]
    if draw.random() >= SHARE_CLEAN_SPEECH:
        noise = np.random.default_rng(draw.getrandbits(64)).standard_normal(len(speech))
        noise *= np.sqrt(np.mean(speech**2) / 10 ** (draw.uniform(*SNR_DB) / 10))
        speech = speech + noise
    return language, encode_opus(0.7 * speech / np.abs(speech).max())


def resample(signal: np.ndarray, rate: int) -> np.ndarray:
    """From ``rate`` to SAMPLE_RATE by cutting the spectrum: no filter to choose, the same on every run."""
    n_out = round(len(signal) * SAMPLE_RATE / rate)
    return np.fft.irfft(np.fft.rfft(signal)[: n_out // 2 + 1], n_out) * (n_out / len(signal))


def encode_opus(signal: np.ndarray) -> bytes:
    """Mono Ogg Opus whose bytes hold no clock and no chance."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = BIT_RATE
        stream.options = {"flags": "+bitexact", "application": "voip", "frame_duration": "60"}
        frame = av.AudioFrame.from_ndarray(np.rint(signal * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0  # libsndfile calls a short stream without it malformed
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def build(out: Path, tarballs: dict[str, Path]) -> None:
    """Write shards, manifest and sums into ``out``; its LICENSES.md, which is written by hand, stays."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("*.zip"):
        stale.unlink()
    images, audios, voice = Shards(out, "image"), Shards(out, "audio"), Voice()
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        manifest.writeheader()
        for split, drawings in choose_splits(read_drawings(tarballs)).items():
            for sample_id, style, concept, art in drawings:
                tags = random.Random(f"{sample_id}|text").sample(concept.tags, TAGS_PER_ROW)
                language, opus = speak(voice, sample_id, concept.names)
                manifest.writerow(
                    {
                        "sample_id": sample_id,
                        "image": images.add(f"{sample_id}.webp", render(art)),
                        "text": ", ".join(tags),
                        "audio": audios.add(f"{sample_id}.opus", opus),
                        "label": concept.label,
                        "split": split,
                        "group": concept.group,
                        "meta_style": style,
                        "meta_language": language,
                    }
                )
    images.close()
    audios.close()
    write_sums(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the emoji data set from pinned npm packages.")
    parser.add_argument("--out", type=Path, default=Path("data/01_raw/emoji"), help="folder to write")
    parser.add_argument("--tarballs", type=Path, help="folder that keeps the npm tarballs (default: none)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.tarballs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        build(arguments.out, fetch(folder))


if __name__ == "__main__":
    main()
