"""Small folders in the layouts of public data sets, with real small media that tell the label, noisily."""

import csv
import io
import json

import av
import numpy as np
import soundfile
from PIL import Image

COLORS = {"apple_pie": (220, 30, 30), "pho": (30, 200, 40), "sushi": (40, 60, 220)}
WORDS = {"apple_pie": "Apple pie", "pho": 'Pho, "the best"', "sushi": "Sushi rolls"}
CLIPS = {"people marching": 0, "playing bongo": 1, "ice cream truck, ice cream van": 2}  # label -> kind
NO_TEXT = "pho_7"  # has a picture and no text
RATE = 16_000


def jpg(color, rng, size=16):
    pixels = np.clip(np.array(color) + rng.normal(0, 40, (size, size, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def wave(kind, rng, seconds=0.4):
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 400 * kind) * time) + rng.normal(0, 0.05, len(time))).astype(np.float32)


def wav(kind, rng):
    file = io.BytesIO()
    soundfile.write(file, wave(kind, rng), RATE, format="WAV")
    return file.getvalue()


def mp4(kind, rng):
    """Four pictures of 32 pixels, and 0.4 s of sound."""
    color = list(COLORS.values())[kind]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(4):
            pixels = np.clip(np.array(color) + rng.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(wave(kind, rng)[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return buffer.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.write_bytes if isinstance(data, bytes) else path.write_text)(data)


def put_rows(path, rows, quoting=csv.QUOTE_MINIMAL):
    file = io.StringIO()
    csv.writer(file, quoting=quoting, lineterminator="\n").writerows(rows)
    put(path, file.getvalue())


def food_pictures(root, n):
    """``n`` pictures a class, every fifth of the test part; gives ``(part, class, name, title)`` of each."""
    rng = np.random.default_rng(0)
    found = []
    for label, color in COLORS.items():
        for number in range(n):
            part = "test" if number % 5 == 4 else "train"
            put(root / f"images/{part}/{label}/{label}_{number}.jpg", jpg(color, rng))
            found.append((part, label, f"{label}_{number}", f"{WORDS[label]}, recipe {number}"))
    return found


def food101_titles(root, n=10):
    for part in ("train", "test"):
        rows = [(f"{name}.jpg", title, label) for p, label, name, title in food_pictures(root, n)
                if p == part and name != NO_TEXT]
        put_rows(root / f"texts/{part}_titles.csv", rows)


def food101_split(root, n=10, validation=()):
    pictures = food_pictures(root, n)
    split = {"train": [], "test": []} | ({"val": []} if validation else {})
    for part, _, name, _ in pictures:
        split["val" if name in validation else part].append(f"{name}.jpg")
    put(root / "split.json", json.dumps(split))
    put(root / "class_idx.json", json.dumps({label: i for i, label in enumerate(COLORS)}))
    put(root / "text.json", json.dumps({f"{name}.jpg": [title] for _, _, name, title in pictures if name != NO_TEXT}))


def food101_tokens(root, n=10):
    pictures = food_pictures(root, n)
    for part in ("train", "test"):
        put(root / f"{part}.json", json.dumps([
            {"id": f"{label}_{name}.jpg", "label": label, "text_path": f"/old/place/texts_txt/{label}/{name}.txt",
             "text_tokens": title.lower().split(), "img_path": f"/old/place/images/{part}/{label}/{name}.jpg"}
            for p, label, name, title in pictures if p == part and name != NO_TEXT
        ]))


def clips(n):
    """``(part, label, kind, YouTube id, start)`` of ``n`` clips, every fifth of the test part."""
    for number in range(n):
        label = list(CLIPS)[number % 3]
        yield ("test" if number % 5 == 4 else "train"), label, CLIPS[label], f"-_{number:09d}", 10 * number


def put_frames(folder, kind, rng, n=10):
    for number in range(n):
        put(folder / f"frame_{number}.jpg", jpg(list(COLORS.values())[kind], rng))


def kinetics_sounds(root, n=20, as_files=False):
    """With folders of frames and wav, or as mp4 with sound in place of both."""
    rng = np.random.default_rng(0)
    for part, label, kind, video_id, start in clips(n):
        name = f"{video_id}_{start:06d}_{start + 10:06d}"
        if as_files:
            put(root / f"{part}/video/{label}/{name}.mp4", mp4(kind, rng))
        else:
            put_frames(root / f"{part}/video/{label}/{name}", kind, rng)
            put(root / f"{part}/audio/{label}/{name}.wav", wav(kind, rng))
        with (root / f"my_{part}.txt").open("a") as file:
            file.write(f"{name},10,{kind}\n")


def vggsound(root, n=20, form="mp4"):
    """``mp4`` with sound, ``wav`` alone, or ``frames`` and wav; the list quotes labels with commas."""
    rng = np.random.default_rng(0)
    put_rows(root / "vggsound.csv", [(v, start, label, part) for part, label, _, v, start in clips(n)],
             csv.QUOTE_NONNUMERIC)
    for part, label, kind, video_id, start in clips(n):
        folder = label.replace(",", "")
        if form == "mp4":
            put(root / f"video/{video_id}_{start:06d}.mp4", mp4(kind, rng))
        elif form == "wav":
            put(root / f"audio/{video_id}_{start:06d}.wav", wav(kind, rng))
        else:
            name = f"{video_id}_{start:06d}_{start + 10:06d}"
            put_frames(root / f"frames/{part}/{folder}/{name}", kind, rng)
            put(root / f"audio/{part}/{folder}/{name}.wav", wav(kind, rng))
