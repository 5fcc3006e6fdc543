"""The page: complete, self-contained, unharmed by what samples say, the same bytes every time."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from demo_report import FACTS, HERDING, curves_of, gallery_of, picture, report_data, tone
from PIL import Image

from rlmba_pipelines.reporting.data import BoughtSample, Media, ReportData
from rlmba_pipelines.reporting.media import MAX_AUDIO_BYTES, MAX_IMAGE_BYTES, embed_audio, embed_image
from rlmba_pipelines.reporting.report import render_report

HOSTILE = "<script>alert(1)</script>\"' onerror=alert(2)><img src=https://evil.example/x.png>{{ 7 * 7 }}</style>"
NO_PARTNER = {"input", "img", "meta", "link", "br"}


class Page(HTMLParser):
    """Elements with their attributes; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in NO_PARTNER:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def of_class(self, name):
        return [attributes for _, attributes in self.elements if name in attributes.get("class", "").split()]


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(report_data())


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def one_sample(**changes) -> ReportData:
    sample = replace(BoughtSample(1, 0, "s1", "cat", "dog", 0.41, why="Drawn at random."), **changes)
    return ReportData(FACTS, pd.DataFrame(), (sample,))


def test_the_same_data_gives_the_same_bytes(html):
    assert render_report(report_data()) == html


def test_it_shows_every_sample_round_and_section(html, page):
    assert len(page.of_class("card")) == 72
    assert [a["id"] for a in page.of_class("batch")] == [f"batch-{k}" for k in range(6)]
    for words in (
        "What the labels bought",
        "Round by round",
        "What each modality brings",
        "What was bought, and why",
        "How to read this",
        "Set aside",
        "Provenance",
        "photos/0214.jpg",
        "torch 2.14.1",
        FACTS.command,
    ):
        assert words in html
    assert "33\u00a0% fewer labels" in html


def test_nothing_points_outside(html, page):
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "poster", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert re.findall(r"url\((?!#)[^)]*\)|@import|https?://", html) == []
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.elements}


def test_the_browser_is_told_to_refuse_requests_and_foreign_scripts(html, page):
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(script) == len(page.all("script")) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_what_samples_say_cannot_run():
    data = one_sample(
        sample_id=HOSTILE,
        label=HOSTILE,
        guess=HOSTILE,
        text=HOSTILE,
        why=HOSTILE,
        terms={HOSTILE: 1.0},
        image=Media(b"<svg onload=alert(1)>", "image/svg+xml"),
        audio=Media(b"x", 'audio/wav" onplay="alert(3)'),
    )
    facts = dict.fromkeys(
        ("title", "experiment", "dataset", "strategy_sentence", "measured_on", "stop_reason", "created", "command"),
        HOSTILE,
    )
    html = render_report(
        replace(
            data,
            curves=curves_of({"herding": HERDING}),
            facts=replace(data.facts, **facts, encoders={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}),
            quarantine=pd.DataFrame({HOSTILE: [HOSTILE]}),
        )
    )
    page = Page(html)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert page.all("img") == page.all("audio") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html


@pytest.mark.parametrize("mime", ["image/svg+xml", "text/html", "image/png;base64,x", "", "audio/wav"])
def test_only_listed_kinds_of_pictures_are_shown(mime):
    assert embed_image(Media(picture(0, 0).bytes, mime)).uri is None


@pytest.mark.parametrize("mime", ["text/html", "audio/x-unknown", "image/png"])
def test_only_listed_kinds_of_sounds_are_embedded(mime):
    assert embed_audio(Media(tone(440).bytes, mime)).uri is None


def noise(side: int) -> Media:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return Media(file.getvalue(), "image/png")


def test_a_sample_takes_bounded_room():
    many = {f"term_{k}" * 50: 1.0 for k in range(500)}
    data = one_sample(
        text="word " * 100_000,
        label="l" * 10_000,
        image=noise(800),
        poster=noise(600),
        audio=tone(440, seconds=60),
        terms=many,
        why="w" * 10_000,
    )
    bare = one_sample()
    grown = len(render_report(data)) - len(render_report(bare))
    assert len(data.gallery[0].image.bytes) > 10 * MAX_IMAGE_BYTES
    assert grown < 4 / 3 * (2 * MAX_IMAGE_BYTES + MAX_AUDIO_BYTES) + 20_000


def test_a_long_wav_is_cut_and_says_so_and_other_long_sounds_are_left_out():
    cut = embed_audio(tone(440, seconds=60))
    assert cut.uri is not None
    assert cut.note == "The first 10.0 s of the sound."
    assert embed_audio(Media(bytes(2_400_000), "audio/ogg")).note == "Sound of 2.4 MB, not embedded."
    assert embed_audio(Media(bytes(2_400_000), "audio/wav")).uri is None


def test_a_large_picture_becomes_a_thumbnail_and_a_broken_one_a_note():
    small = embed_image(noise(800))
    image = Image.open(io.BytesIO(base64.b64decode(small.uri.split(",")[1])))
    assert image.size == (224, 224)
    assert embed_image(Media(bytes(MAX_IMAGE_BYTES + 1), "image/png")).note == "Picture that cannot be read."


def test_right_and_wrong_are_said_in_words():
    assert "Guessed <b>dog</b>, 41\u00a0%" in render_report(one_sample())
    assert "Guessed right, 41\u00a0%" in render_report(one_sample(guess="cat"))
    unanswered = render_report(one_sample(label=""))
    assert "no answer yet" in unanswered
    assert "Guess: <b>dog</b>" in unanswered
    assert 'class="guess' not in render_report(one_sample(guess=float("nan"), guess_probability=float("nan")))


def test_everything_can_be_reached_and_heard(html, page):
    assert all(a["alt"] for a in page.all("img"))
    assert all(a["loading"] == "lazy" for a in page.all("img"))
    assert all(a["aria-label"] and a["preload"] == "none" for a in page.all("audio"))
    assert all(a["role"] == "img" and a["aria-label"] for a in page.all("svg"))
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in page.of_class("scroll"))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    named = {value for _, a in page.elements for key in ("aria-labelledby", "aria-controls") if (value := a.get(key))}
    assert named | {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert "prefers-reduced-motion" in html
    assert "prefers-color-scheme:dark" in html
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize(
    "data",
    [
        ReportData(FACTS, pd.DataFrame()),
        ReportData(replace(FACTS, reference=None, annotator="people"), pd.DataFrame(), gallery_of(0, 3)),
        report_data(rounds=0),
        report_data(reference=None, annotator="people", measured_on="random validation slice (84 samples)"),
        report_data(per_round=2, modalities=("text",)),
        report_data(per_round=2, modalities=("image", "text", "audio", "video")),
        ReportData(replace(FACTS, pool_size=0), curves_of({"herding": HERDING})),
    ],
    ids=["nothing", "only a start batch", "no rounds", "no reference", "one modality", "video", "reference missing"],
)
def test_it_stands_with_less(data):
    html = render_report(data)
    Page(html)
    assert "nan" not in re.sub(r"data:[^\"]*", "", html).lower().split()
    assert "None" not in re.sub(r"<style>.*?</style>|data:[^\"]*", "", html, flags=re.DOTALL)
    if data.facts.reference is None:
        assert "random reaches" not in html
    if len(data.facts.modalities) == 1:
        assert "What each modality brings" not in html


def test_a_video_is_shown_by_its_poster_and_a_missing_modality_is_named():
    facts = replace(FACTS, modalities=("text", "audio", "video"))
    html = render_report(replace(one_sample(poster=picture(0, 0)), facts=facts))
    assert 'alt="Frame of the video of sample s1"' in html
    assert "no text or sound" in html


def test_the_forecast_is_told_and_drawn_where_there_is_one(html):
    html = html.replace("\u00a0", " ")
    assert "Forecast from validation: the next 200 labels are expected to bring +1.3 points (+0.9 to +1.8)." in html
    assert "The target 65.0 % is expected with 2,600 training labels" in html
    assert 'id="forecast-wide-' in html
    assert 'id="forecast-narrow-' in html
    nothing_left = render_report(report_data(forecast="nothing is left to buy", rules=(), next_labels=0))
    assert "nothing is left to buy." in nothing_left
    assert "forecast-wide-" not in nothing_left
    assert "What more labels would bring" not in render_report(report_data(forecast="", rules=()))


def test_the_gallery_counts_what_it_shows(html):
    html = html.replace("\u00a0", " ")
    assert "12 of 210 labels bought, before there was a model." in html
    assert re.search(r"12 of 200 labels bought, the model had guessed \d+ of these 12 right\.", html)


def test_a_long_quarantine_is_cut_and_counted():
    data = ReportData(FACTS, pd.DataFrame(), quarantine=pd.DataFrame({"sample_id": [f"s{k}" for k in range(1300)]}))
    assert "and 1,200 more." in render_report(data)


def test_text_that_utf8_cannot_hold_still_makes_a_file():
    render_report(one_sample(text="half a \ud83d face", label="\ud800", sample_id="\udfff")).encode("utf-8")


def test_curves_are_checked_when_handed_over():
    curves = curves_of({"herding": HERDING})
    with pytest.raises(ValueError, match="'ece' is missing"):
        ReportData(FACTS, curves.drop(columns="ece"))
    with pytest.raises(ValueError, match="appears twice"):
        ReportData(FACTS, pd.concat([curves, curves]))
    with pytest.raises(ValueError, match="no row of the strategy 'herding'"):
        ReportData(FACTS, curves.assign(strategy="margin"))
