"""Figures: one drawing for kedro-viz and page, the same bytes every time, colors that everybody can tell apart."""

import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from demo_report import FACTS, HERDING, RANDOM, curves_of

from rlmba_pipelines.reporting import figures
from rlmba_pipelines.reporting.canvas import NARROW, WIDE, spread
from rlmba_pipelines.reporting.data import ReportData
from rlmba_pipelines.reporting.palette import DARK, LIGHT
from rlmba_pipelines.reporting.svg import themed_svg

CURVES = curves_of({"herding": HERDING, "random": RANDOM})
DRAWINGS = (
    figures.learning_curve,
    figures.forecast,
    figures.modality_accuracy,
    figures.modality_shares,
    figures.modality_weights,
    figures.calibration,
)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def test_the_curve_names_its_lines_its_labels_and_what_was_saved():
    words = texts(themed_svg(figures.learning_curve(CURVES, FACTS), "c", "a curve"))
    assert {"herding", "random", "210", "1,210", "400 fewer labels", "for 53.8 % accuracy"} <= set(words)


def test_the_forecast_goes_on_from_the_last_measurement_for_three_batches_and_shows_the_target():
    figure = figures.forecast(CURVES, FACTS)
    measured, ahead, _ = figure.axes[0].get_lines()
    assert list(measured.get_xdata()) == [210, 410, 610, 810, 1010, 1210]
    assert list(ahead.get_xdata()) == [1210, 1410, 1610, 1810]
    assert list(ahead.get_ydata()) == sorted(ahead.get_ydata())
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() < min(ahead.get_ydata()) < max(ahead.get_ydata()) < band.max()
    assert {"forecast", "target", "210", "1,810"} <= set(texts(themed_svg(figure, "f", "a forecast")))


def test_nothing_is_called_saved_where_nothing_was():
    svg = themed_svg(figures.learning_curve(curves_of({"herding": RANDOM, "random": HERDING}), FACTS), "c", "a curve")
    assert "fewer" not in svg


@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_a_drawing_follows_the_theme_and_is_the_same_every_time(draw, size):
    svg = themed_svg(draw(CURVES, FACTS, size=size), "x", "a chart")
    assert svg == themed_svg(draw(CURVES, FACTS, size=size), "x", "a chart")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", svg) == []  # every color is a variable of the page
    assert "var(--" in svg
    assert f'viewBox="0 0 {size[0]} {size[1]}"' in svg
    assert not re.search(r"https?:|<style|<metadata|DejaVu", svg)
    sizes = [float(s) for s in re.findall(r"font-size: ([\d.]+)px|font: [^\"]*?([\d.]+)px", svg) for s in s if s]
    assert min(sizes) >= 12


@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize(
    "curves",
    [
        ReportData(FACTS, pd.DataFrame()).curves,
        curves_of({"herding": HERDING[:1]}),
        curves_of({"herding": HERDING}, modalities=("text",)),
        curves_of({"herding": HERDING}).drop(columns=[f"{c}_audio" for c in ("accuracy", "shapley", "weight")]),
        curves_of({"herding": tuple(np.linspace(0.2, 0.6, 40))}),
    ],
    ids=["nothing", "one stage", "one modality", "a modality unknown", "forty rounds"],
)
def test_every_drawing_bears_every_kind_of_curve(draw, curves):
    file = io.BytesIO()
    draw(curves, FACTS).savefig(file, format="png", dpi=30)
    assert file.getvalue().startswith(b"\x89PNG")


def test_shares_count_a_harmful_modality_as_nothing():
    curves = curves_of({"herding": HERDING[:1]}).assign(shapley_image=0.3, shapley_text=0.1, shapley_audio=-0.2)
    words = texts(themed_svg(figures.modality_shares(curves, FACTS), "s", "shares"))
    assert {"75", "25"} <= set(words)


def test_direct_labels_never_lie_on_each_other():
    places = spread([1.0, 1.1, 1.2, 9.0], gap=1.0)
    assert min(np.diff(places)) >= 1.0 - 1e-12
    assert places[3] == 9.0


def test_mathematics_in_a_name_is_only_text():
    facts = replace(FACTS, strategy="cost$^2$ & <more>", reference=None)
    svg = themed_svg(figures.learning_curve(curves_of({facts.strategy: HERDING}), facts), "c", 'say "hi" <b>')
    assert "cost$^2$ &amp; &lt;more&gt;" in svg
    assert 'aria-label="say &#34;hi&#34; &lt;b&gt;"' in svg


# Contrast and color vision, measured --------------------------------------------------------------------------------

VISION = {  # Machado et al. 2009, severity 1, on linear RGB
    "full": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> np.ndarray:
    rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    x, y, z = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_a_contrast_of_at_least_4_5(palette):
    text = ("ink", "muted", "strategy", "reference", "image", "text", "audio", "video", "other", "good", "bad")
    for name, ground in itertools.product(text, ("surface", "page")):
        assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)
    for name in ("ink", "muted"):
        assert contrast(palette[name], palette["raised"]) >= 4.5, name
    for name in ("strategy", "image", "text", "audio", "video", "other"):
        assert contrast(palette["on-fill"], palette[name]) >= 4.5, name


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_modalities_are_told_apart_by_every_kind_of_eye(palette, vision):
    seen = {name: lab(np.array(VISION[vision]) @ linear(palette[name])) for name in ("image", "text", "audio", "video")}
    nearest = min(float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2))
    assert nearest >= 15  # some 2 can just be told apart side by side


def test_every_color_can_be_swapped_alone():
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert LIGHT.keys() == DARK.keys()
